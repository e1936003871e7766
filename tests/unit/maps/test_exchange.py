"""Fields that other programs wrote, and where what we write lies: as ITK and nibabel have it."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.images.io import Image, write_image
from cohortreg.maps.coded import write_coded
from cohortreg.maps.exchange import Pair, read, write_field
from cohortreg.maps.transforms import Transform, field_of

SHAPE = (9, 8, 7)
AFFINE = np.array([[0, -1.5, 0, 7], [2.0, 0, 0, -3], [0, 0, 1.2, 20], [0, 0, 0, 1]])
SHIFT = np.array([3.0, -2.4, 4.0])  # RAS millimetres
LPS = np.array([-1.0, -1.0, 1.0])


def points(shape=SHAPE, affine=AFFINE) -> np.ndarray:
    """Voxel centres in RAS, [*shape, dim]."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(float)
    return index @ affine[:-1, :-1].T + affine[:-1, -1]


def field(path, vectors, code="vector", name="", kind=0, affine=AFFINE, five=True):
    """A NIfTI file of vectors [i, j, k, 3], or of 2D ones [i, j, 2]."""
    while five and vectors.ndim < 5:
        vectors = vectors[..., None, :]
    image = nibabel.Nifti1Image(np.ascontiguousarray(vectors, dtype=np.float32), affine)
    image.header.set_intent(code, name=name, allow_unknown=True)
    image.header["intent_p1"] = kind
    nibabel.save(image, path)
    return path


def moved(path, at) -> np.ndarray:
    """Where a field's file takes points [n, dim] in RAS, in RAS."""
    flip = LPS[: at.shape[1]]
    transform = read(path).transform
    return np.array([transform.TransformPoint(point) for point in (at * flip).tolist()]) * flip


@pytest.mark.parametrize(
    ("vectors", "name", "kind"),
    [
        (points() + SHIFT, "NREG_TRANS", 0),
        (np.broadcast_to(SHIFT, (*SHAPE, 3)), "NREG_TRANS", 1),
        (points() + SHIFT, "Mapping", 0),
    ],
    ids=["NiftyReg's points", "NiftyReg's displacements", "SPM's points"],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_fields_of_niftyreg_and_spm(tmp_path, vectors, name, kind, suffix):
    path = field(tmp_path / f"f{suffix}", vectors, name=name, kind=kind)
    at = points()[2:5, 3:5, 2:5].reshape(-1, 3)
    np.testing.assert_allclose(moved(path, at), at + SHIFT, atol=1e-4)


def test_a_field_of_niftyreg_in_two_dimensions(tmp_path):
    affine = np.diag([1.5, 2.0, 1])
    in_space = np.diag([1.5, 2.0, 1, 1])
    centres = points((6, 7), affine)
    path = field(
        tmp_path / "f.nii", (centres + SHIFT[:2])[:, :, None, None], name="NREG_TRANS", affine=in_space
    )
    at = centres[2:4, 3:5].reshape(-1, 2)
    np.testing.assert_allclose(moved(path, at), at + SHIFT[:2], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        *(({"name": "NREG_TRANS", "kind": kind}, "not a dense NiftyReg field") for kind in range(2, 8)),
        ({"name": "NREG_CPP_FILE"}, "a field of an old version of NiftyReg"),
        ({"code": 2006}, "an FSL warp"),
        ({"code": 2006, "five": False}, "an FSL warp"),
        ({"code": 2009, "five": False}, "an FSL warp"),
        ({"code": 0, "five": False}, "has four axes, like warps of FSL, MRtrix and Learn2Reg"),
        ({"code": 1003}, "look like points"),
        ({"code": 0}, "look like points"),
        ({"name": "another's"}, "look like points"),
    ],
    ids=str,
)
def test_what_is_no_displacement_is_refused(tmp_path, options, sentence):
    path = field(tmp_path / "f.nii", points() + SHIFT, **options)
    with pytest.raises(UserError, match=sentence):
        read(path)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.floats(-35, 35)] * 3),
    st.tuples(*[st.floats(0.7, 1.3)] * 3),
    st.booleans(),
    st.sampled_from(["points in RAS", "points in LPS", "displacements"]),
)
def test_points_are_told_from_displacements(tmp_path_factory, angles, scales, mirrors, kind):
    """Whatever else the map is: turned, stretched, and of a displacement also mirrored."""
    linear = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    if kind != "displacements":  # beyond, no one can tell
        linear = Rotation.from_rotvec(Rotation.from_matrix(linear).as_rotvec() / 2).as_matrix()
        scales = [(1 + scale) / 2 for scale in scales]
    linear = linear @ np.diag(scales)
    assume(kind == "displacements" or np.linalg.norm(linear - np.eye(3), 2) < 0.49)
    if mirrors and kind == "displacements":
        linear = linear @ np.diag([-1, 1, 1])
    to = points() * LPS @ linear.T + 40
    vectors = {"points in LPS": to, "points in RAS": to * LPS, "displacements": to - points() * LPS}[kind]
    path = field(tmp_path_factory.mktemp("told") / "f.nii", vectors)
    if kind == "displacements":
        at = points()[2:4, 3:5, 2:4].reshape(-1, 3)
        np.testing.assert_allclose(moved(path, at) * LPS, (at * LPS) @ linear.T + 40, atol=1e-3)
    else:
        with pytest.raises(UserError, match="look like points"):
            read(path)


def test_a_field_lies_where_itk_has_it(tmp_path):
    """In micrometres, and with a qform elsewhere than the sform."""
    path = field(tmp_path / "f.nii", np.broadcast_to(SHIFT, (*SHAPE, 3)))
    content = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]))
    for change in (lambda: header.set_xyzt_units("micron"), lambda: header.set_qform(np.eye(4), 1)):
        change()
        content[:348] = header.binaryblock
        path.write_bytes(content)
        theirs = sitk.ReadImage(str(path))
        grid = read(path).grid
        last = [n - 1 for n in SHAPE]
        np.testing.assert_allclose(
            (grid.voxel_to_lps @ [*last, 1])[:3], theirs.TransformIndexToPhysicalPoint(last), rtol=1e-5
        )


@pytest.mark.parametrize(
    "note",
    [
        b"[" * 100_000,
        b"\xff\xfe",
        b"null",
        b'{"cohortreg": {"moving": {"shape": "abc", "affine": [[1]]}, "fixed": 5}}',
        b'{"cohortreg": {"moving": {"shape": [4, 4, 4], "affine": [[1]]}, "fixed": {"shape": [], "affine": []}}}',
        json.dumps({"cohortreg": {"moving": {"shape": [1e999, 4, 4], "affine": 3}}}).encode(),
    ],
    ids=str,
)
def test_a_header_extension_that_is_not_ours_says_nothing(tmp_path, note):
    path = field(tmp_path / "f.nii", np.broadcast_to(SHIFT, (*SHAPE, 3)))
    image = nibabel.load(path)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", note))
    nibabel.save(image, tmp_path / "g.nii")
    assert read(tmp_path / "g.nii").pair is None


def grids(dim):
    """Grids of any orientation, turned by any angle, of voxels from 1 micrometre to 1 metre."""

    def made(shape, sizes, angles, flips, origin):
        turn = Rotation.from_euler("xyz", angles if dim == 3 else (0, 0, angles[2]), degrees=True).as_matrix()
        affine = np.eye(dim + 1)
        affine[:dim, :dim] = turn[:dim, :dim] @ np.diag(sizes[:dim]) @ np.diag(flips[:dim])
        affine[:dim, dim] = np.array(origin[:dim]) * max(sizes)
        return Grid(shape, affine)

    return st.builds(
        made,
        st.tuples(*[st.integers(2, 6)] * dim),
        st.tuples(*[st.floats(1e-3, 1e3)] * 3),
        st.tuples(*[st.floats(-180, 180)] * 3),
        st.tuples(*[st.sampled_from([-1, 1])] * 3),
        st.tuples(*[st.floats(-100, 100)] * 3),
    )


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(grids(2), grids(3)),
    st.sampled_from(["field", "image.nii.gz", "image.mha", "image.nrrd"]),
)
def test_what_we_write_lies_at_one_place_for_all_programs(tmp_path_factory, grid, kind):
    folder, dim = tmp_path_factory.mktemp("geometry"), len(grid.shape)
    ours = Transform(np.random.default_rng(0).normal(size=(dim, *grid.shape)).astype(np.float32), grid)
    if kind == "field":
        path = folder / "f.nii.gz"
        write_field(path, ours, Pair(grid, grid))
    else:
        path = folder / kind
        write_image(path, Image(ours.displacement[0], grid.affine))
    corners = np.array([[0] * dim, *(np.eye(dim, dtype=int) * (np.array(grid.shape) - 1))])
    expected = corners @ grid.voxel_to_lps[:-1, :-1].T + grid.voxel_to_lps[:-1, -1]
    tolerance = 1e-4 * grid.spacing.min() + 1e-5 * np.abs(expected).max()
    # Of a half turn, NIfTI's quaternion holds an angle to the root of what float32 resolves.
    tolerance += 5e-4 * np.linalg.norm(expected - expected[0], axis=1).max()
    theirs = sitk.ReadImage(str(path))
    by_itk = [theirs.TransformIndexToPhysicalPoint(corner) for corner in corners.tolist()]
    np.testing.assert_allclose(by_itk, expected, atol=tolerance, rtol=0)
    if path.name.endswith((".nii", ".nii.gz")):
        affine = nibabel.load(path).affine
        there = corners @ affine[:dim, :dim].T + affine[:dim, 3]
        np.testing.assert_allclose(there * LPS[:dim], expected, atol=tolerance, rtol=0)
    if kind == "field":
        found = read(path)
        np.testing.assert_allclose(found.grid.affine, grid.affine, atol=tolerance, rtol=0)
        again = field_of(found.transform, found.grid).displacement
        np.testing.assert_allclose(again, ours.displacement, atol=1e-3)


def of_itk(kind: str, value: float) -> sitk.Transform:
    """A transform of ITK's with one value somewhere in it."""
    if kind == "affine":
        affine = sitk.AffineTransform(3)
        affine.SetTranslation([value, 0, 0])
        return affine
    if kind == "composite":
        return sitk.CompositeTransform([sitk.Euler3DTransform(), of_itk("field", value)])
    vectors = np.zeros((4, 5, 6, 3))
    vectors[2, 2, 2, 1] = value
    return sitk.DisplacementFieldTransform(sitk.GetImageFromArray(vectors, isVector=True))


@pytest.mark.parametrize("kind", ["affine", "field", "composite"])
def test_a_transform_of_itk_with_a_value_that_is_no_number(tmp_path, kind):
    path = tmp_path / "t.h5"
    sitk.WriteTransform(of_itk(kind, 0.5), str(path))
    assert read(path).transform.GetDimension() == 3
    for value in (np.nan, np.inf):
        sitk.WriteTransform(of_itk(kind, value), str(path))
        with pytest.raises(UserError, match=r"t\.h5 has NaN or infinite values"):
            read(path)


@pytest.mark.parametrize("name", ["t.tfm", "t.h5", "t.mat", "f.mha", "f.nrrd"])
def test_a_damaged_transform_is_one_sentence_and_no_crash(tmp_path, name):
    """Each cut, halfway zero, or with a byte that is no text: a library that crashes does so elsewhere."""
    whole = tmp_path / f"whole{name[1:]}"
    if name[0] == "f":
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((6, 7, 8, 3), np.float32), isVector=True), str(whole))
    elif name == "t.h5":
        vectors = sitk.GetImageFromArray(np.ones((6, 7, 8, 3)), isVector=True)
        sitk.WriteTransform(sitk.DisplacementFieldTransform(vectors), str(whole))
    else:
        sitk.WriteTransform(sitk.TranslationTransform(3, (1, 2, 3)), str(whole))
    data, path = whole.read_bytes(), tmp_path / name
    assert read(whole).transform.GetDimension() == 3
    for damaged in (
        data[: len(data) // 2],
        data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        *(data[:at] + b"\xa0" + data[at + 1 :] for at in (5, 30, 60, len(data) - 3)),
    ):
        path.write_bytes(damaged)
        try:
            read(path)
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("key", "value"),
    [("DimSize", "0 0 0"), ("ElementDataFile", "x" * 3000), ("ElementDataFile", "%s%s%s%n"), ("NDims", "-1")],
)
def test_a_field_with_an_absurd_header_is_one_sentence(tmp_path, key, value):
    path = tmp_path / "f.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((6, 7, 8, 3), np.float32), isVector=True), str(path))
    head, mark, voxels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    lines = [line for line in (head + mark).decode().splitlines() if not line.startswith(f"{key} ")]
    path.write_bytes("\n".join([*lines, f"{key} = {value}", ""]).encode() + voxels)
    with pytest.raises(UserError) as refused:
        read(path)
    assert "\n" not in str(refused.value)


def test_a_transform_of_results_is_read_by_its_name(tmp_path):
    grid = Grid((6, 7, 8), np.diag([2.0, 1, 1, 1]))
    bent = np.random.default_rng(0).normal(size=(3, *grid.shape)).astype(np.float32)
    write_coded(tmp_path / "bent.map.gz", Transform(bent, grid))
    write_coded(tmp_path / "shift.map.gz", Transform(np.full((3, *grid.shape), 1.5, np.float32), grid))
    found, shift = (read(tmp_path / f"{name}.map.gz") for name in ("bent", "shift"))
    assert found.grid.matches(grid, tolerance=1e-9) and found.pair is None
    np.testing.assert_allclose(field_of(found.transform, grid).displacement, bent, atol=0.011)
    assert isinstance(shift.transform, sitk.AffineTransform) and shift.grid.shape == grid.shape
    np.testing.assert_allclose(shift.transform.TransformPoint((0, 0, 0)), [1.5] * 3, atol=1e-6)
    (tmp_path / "bent.map.gz").write_bytes((tmp_path / "bent.map.gz").read_bytes()[:-9])
    with pytest.raises(UserError, match=r"bent\.map\.gz is cut short or damaged.*; give a transform as"):
        read(tmp_path / "bent.map.gz")
