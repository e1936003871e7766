"""Points and meshes through known transforms; in the files everything else stays as it was."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.images.itk import to_sitk
from cohortreg.maps.apply import mirrors, move
from cohortreg.maps.points import move_points
from cohortreg.maps.transforms import field_of

SHIFT = np.array([1.0, -2.0, 3.0])  # LPS millimetres


def shifted(points):
    return points + SHIFT


def markups(position=(1, 2, 3), **more) -> str:
    """A file of Slicer's with one markup of two points, the second at another place."""
    points = [{"position": list(position)}, {"position": [4, 5, 6]}]
    return json.dumps({"markups": [{"type": "Fiducial", "controlPoints": points} | more]})


def test_table(tmp_path):
    (tmp_path / "in.csv").write_text('name,Z,y,x\nknee,3,2,1\n"a, b",30,20,10\n')
    assert move_points(tmp_path / "in.csv", tmp_path / "out.csv", shifted) == 2
    moved = pd.read_csv(tmp_path / "out.csv")
    assert list(moved) == ["name", "Z", "y", "x"]
    assert moved["name"].tolist() == ["knee", "a, b"]
    np.testing.assert_allclose(moved[["x", "y", "Z"]], [[2, 0, 6], [11, 18, 33]])


def test_table_of_ras_coordinates(tmp_path):
    (tmp_path / "in.csv").write_text("x,y,z\n1,2,3\n")
    move_points(tmp_path / "in.csv", tmp_path / "out.csv", shifted, "RAS")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv"), [[0, 4, 6]])


def test_landmarks_of_slicer_in_both_frames(tmp_path):
    def markup(frame):
        placed = {"id": "1", "position": [1.0, 2.0, 3.0], "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1]}
        return {
            "type": "Fiducial",
            "coordinateSystem": frame,
            "controlPoints": [placed, {"id": "2", "position": None}],
        }

    content = {"@schema": "markups", "markups": [markup("LPS"), markup("RAS")]}
    (tmp_path / "in.mrk.json").write_text(json.dumps(content))
    assert move_points(tmp_path / "in.mrk.json", tmp_path / "out.mrk.json", shifted) == 2
    found = json.loads((tmp_path / "out.mrk.json").read_text())
    positions = [each["controlPoints"][0].pop("position") for each in found["markups"]]
    assert positions == [[2.0, 0.0, 6.0], [0.0, 4.0, 6.0]]
    for each in content["markups"]:
        each["controlPoints"][0].pop("position")
    assert found == content


@pytest.mark.parametrize("kind", ["Fiducial", "Line", "Angle", "Curve", "ClosedCurve"])
def test_what_slicer_measured_before_is_left_out_and_undefined_points_stay(tmp_path, kind):
    placed = [[1.0, 2, 3], [4.0, 5, 6], [7.0, 8, 9], [0.0, 0, 0]]
    statuses = ["defined", "undefined", "preview", "missing"]
    points = [{"position": p, "positionStatus": s} for p, s in zip(placed, statuses, strict=True)]
    markup = {"type": kind, "coordinateSystem": "LPS", "coordinateUnits": ["mm"] * 3, "controlPoints": points}
    measured = {"measurements": [{"name": "length", "enabled": True, "value": 9.5, "units": "mm"}]}
    (tmp_path / "in.mrk.json").write_text(json.dumps({"markups": [markup | measured]}))
    assert move_points(tmp_path / "in.mrk.json", tmp_path / "out.mrk.json", shifted) == 1
    points[0]["position"] = [2.0, 0.0, 6.0]
    assert json.loads((tmp_path / "out.mrk.json").read_text()) == {"markups": [markup]}


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["markups", "type", "controlPoints", "position"]), inner)
        ),
    )
)
def test_json_of_any_kind_is_moved_or_one_sentence(content):
    with TemporaryDirectory() as name:
        path = Path(name) / "in.mrk.json"
        for whole in (
            content,
            {"markups": content},
            {"markups": [{"type": "Line", "controlPoints": content}]},
        ):
            path.write_text(json.dumps(whole))
            try:
                move_points(path, path.with_name("out.json"), shifted)
            except UserError as error:
                assert str(path) in str(error)


@pytest.fixture
def sphere():
    sources = pytest.importorskip("vtkmodules.vtkFiltersSources", reason="vtk is not installed")
    source = sources.vtkSphereSource()
    source.SetCenter(10, 20, 30)
    source.SetRadius(5)
    source.Update()
    return source.GetOutput()


def volume(mesh) -> float:
    """Signed by where the polygons' outside is."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    points = vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)
    triangles = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return float(np.linalg.det(points[triangles] - points.mean(0)).sum() / 6)


def written(mesh, path, header=""):
    from vtkmodules.vtkIOGeometry import vtkSTLWriter
    from vtkmodules.vtkIOLegacy import vtkPolyDataWriter

    writer = vtkPolyDataWriter() if path.suffix == ".vtk" else vtkSTLWriter()
    writer.SetFileName(str(path))
    writer.SetHeader(header)
    writer.SetInputData(mesh)
    writer.Write()
    return path


def read(path):
    from vtkmodules.vtkIOGeometry import vtkSTLReader
    from vtkmodules.vtkIOLegacy import vtkPolyDataReader

    reader = vtkPolyDataReader() if path.suffix == ".vtk" else vtkSTLReader()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput(), reader.GetHeader()


@pytest.mark.parametrize("suffix", [".vtk", ".stl"])
@pytest.mark.parametrize(
    ("header", "centre"), [("", [11, 18, 33]), ("3D Slicer output. SPACE=RAS", [9, 22, 33])]
)
def test_mesh(sphere, tmp_path, suffix, header, centre):
    path = written(sphere, tmp_path / f"in{suffix}", header)
    assert move_points(path, tmp_path / f"out{suffix}", shifted) == sphere.GetNumberOfPoints()
    mesh, said = read(tmp_path / f"out{suffix}")
    np.testing.assert_allclose(mesh.GetCenter(), centre, atol=1e-4)
    assert mesh.GetNumberOfPolys() == sphere.GetNumberOfPolys()
    np.testing.assert_allclose(volume(mesh), volume(sphere), rtol=1e-4)
    assert header in said


@pytest.mark.parametrize("suffix", [".vtk", ".stl"])
def test_a_mesh_that_is_cut_short(sphere, tmp_path, capfd, suffix):
    """Within its points or polygons; what is behind these in a .vtk file, its normals, is not kept anyway."""
    whole = written(sphere, tmp_path / f"in{suffix}").read_bytes()
    end = whole.index(b"POINT_DATA") - 10 if suffix == ".vtk" else whole.rindex(b"endsolid")
    for length in np.linspace(0, end, 40).astype(int).tolist():
        (tmp_path / f"in{suffix}").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"is not a surface mesh|is cut short"):
            move_points(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", shifted)
    assert capfd.readouterr().err == ""


def test_a_field_mirrors_though_it_is_the_identity_beyond_its_grid():
    """A left and a right knee lie to both sides of the scanner's middle, and neither image holds that."""
    mirror = sitk.AffineTransform(3)
    mirror.SetMatrix([-1, 0, 0, 0, 1, 0, 0, 0, 1])
    for transform in (mirror, sitk.AffineTransform(3)):
        affine = np.array([[0, -2.0, 0, 40], [1.5, 0, 0, 30], [0, 0, 1, -70], [0, 0, 0, 1]])
        grid = Grid((10, 11, 12), affine)
        field = field_of(transform, grid)
        vectors = sitk.Cast(to_sitk(field.displacement, grid), sitk.sitkVectorFloat64)
        assert mirrors(sitk.DisplacementFieldTransform(vectors), grid) == mirrors(transform)


def test_the_outside_of_a_mirrored_mesh_stays_outside(sphere, tmp_path):
    mirror = sitk.AffineTransform(3)
    mirror.SetMatrix([-1, 0, 0, 0, 1, 0, 0, 0, 1])
    assert mirrors(mirror)
    assert not mirrors(sitk.AffineTransform(3))
    path = written(sphere, tmp_path / "in.vtk")
    move_points(path, tmp_path / "out.vtk", lambda points: move(points, mirror), mirrors=True)
    mesh, _ = read(tmp_path / "out.vtk")
    np.testing.assert_allclose(mesh.GetCenter(), [-10, 20, 30], atol=1e-4)
    assert volume(mesh) > 0.9 * volume(sphere) > 0


@pytest.mark.parametrize(
    ("name", "content", "output", "sentence"),
    [
        ("in.csv", "x,y\n1,2\n", "out.csv", "has no columns x, y and z"),
        ("in.csv", "x,y,z\n1,2,far\n", "out.csv", "not a table of numbers"),
        ("in.csv", "", "out.csv", "has no columns x, y and z"),
        ("in.csv", "x,y,z\n1,2,nan\n", "out.csv", "NaN or infinite"),
        ("in.csv", "x,y,z\n1,2,3\n", "out.json", "use the extension .csv"),
        ("in.mrk.json", "{}", "out.mrk.json", "no landmarks in 3D Slicer"),
        ("in.mrk.json", "[1", "out.mrk.json", "no landmarks in 3D Slicer"),
        ("in.csv", "x,y,z\n1,2,3\nfour,4,5,6\n", "out.csv", "row 2 below the names has another number"),
        ("in.csv", 'x,y,z,note\n1,2,3,"never closed\n', "out.csv", "not a table of points"),
        ("in.mrk.json", "", "out.mrk.json", "no landmarks in 3D Slicer"),
        ("in.mrk.json", "[" * 200_000, "out.mrk.json", "no landmarks in 3D Slicer"),
        ("in.mrk.json", markups(position=[1, 2]), "out.mrk.json", "no landmarks in 3D Slicer"),
        ("in.mrk.json", markups(position=["a", 2, 3]), "out.mrk.json", "no landmarks in 3D Slicer"),
        ("in.mrk.json", markups(position=[10**400, 2, 3]), "out.mrk.json", "no landmarks in 3D Slicer"),
        ("in.mrk.json", markups(position=[1e999, 2, 3]), "out.mrk.json", "no landmarks in 3D Slicer"),
        ("in.mrk.json", markups(coordinateSystem="IJK"), "out.mrk.json", "coordinates in IJK"),
        ("in.mrk.json", markups(coordinateUnits="um"), "out.mrk.json", "coordinates in um"),
        ("in.mrk.json", markups(type="ROI", center=[1, 2, 3]), "out.mrk.json", "markup of type ROI"),
        ("in.mrk.json", markups(type="Plane", origin=[1, 2, 3]), "out.mrk.json", "markup of type Plane"),
        ("in.vtk", "nothing of VTK's", "out.vtk", "not a surface mesh"),
        ("in.stl", "solid nothing", "out.stl", "not a surface mesh"),
        ("in.ply", "ply", "out.ply", "unsupported extension; use .csv"),
    ],
)
def test_files_without_points_are_one_sentence(tmp_path, name, content, output, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=sentence):
        move_points(tmp_path / name, tmp_path / output, shifted)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such file; correct the path"):
        move_points(tmp_path / "in.csv", tmp_path / "out.csv", shifted)
