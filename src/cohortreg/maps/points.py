"""Points in files: tables, 3D Slicer landmarks and surface meshes, moved and otherwise left unchanged.

Coordinates are LPS millimetres, ITK's, unless the file, or who gives it, says RAS.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cohortreg.errors import UserError
from cohortreg.files import whole, write_json
from cohortreg.images.grid import in_lps

#: Given points [n, 3] and returning as many, both LPS millimetres.
Mover = Callable[[np.ndarray], np.ndarray]
COLUMNS = ("x", "y", "z")
#: Types of Slicer's markups that are their control points and nothing else.
OF_POINTS = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")


def move_points(path: Path, output: Path, mover: Mover, frame: str = "", mirrors: bool = False) -> int:
    """Move a file's points and write them under another name with the rest of the file; return their number.

    Args:
        path: .csv with columns x, y, z; .mrk.json of 3D Slicer; .vtk (legacy polygons) or .stl, for which the package
            vtk is needed.
        frame: "LPS" or "RAS", where the file does not say it; "" is what it says, or LPS.
        mirrors: Whether `mover` turns left into right, so that the polygons of a mesh are turned over for their outside
            to stay outside.

    Raises:
        UserError: The file is missing or has no points of that kind.
    """
    name = path.name.lower()
    kinds = {".csv": _move_table, ".json": _move_markups, ".vtk": _move_mesh, ".stl": _move_mesh}
    if not path.is_file():
        raise UserError(f"{path}: no such file; correct the path.")
    for suffix, move in kinds.items():
        if name.endswith(suffix):
            if not output.name.lower().endswith(suffix):
                raise UserError(
                    f"{output}: the output must have the format of the input; use the extension {suffix}."
                )
            return move(path, output, mover, frame, mirrors)
    raise UserError(f"{path}: unsupported extension; use .csv, .mrk.json, .vtk or .stl.")


def _in_frame(points: np.ndarray, mover: Mover, frame: str) -> np.ndarray:
    """Move points of a frame, "LPS" or "RAS", and return them in the same frame."""
    return in_lps(mover(in_lps(points))) if frame.upper() == "RAS" else mover(points)


def _finite(points: np.ndarray) -> np.ndarray:
    if not np.isfinite(points).all():
        raise ValueError("one is NaN or infinite")
    return points


def _move_table(path: Path, output: Path, mover: Mover, frame: str, mirrors: bool) -> int:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header, *rows = [row for row in csv.reader(stream, strict=True) if row] or [[]]
        places = [[name.strip().lower() for name in header].index(axis) for axis in COLUMNS]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a table of points ({error}); save it as CSV, in UTF-8.") from error
    except ValueError:
        raise UserError(
            f"{path} has no columns x, y and z; name them in its first row, with commas between columns."
        ) from None
    try:
        if uneven := [number for number, row in enumerate(rows, start=1) if len(row) != len(header)]:
            raise ValueError(f"of {len(header)} columns, row {uneven[0]} below the names has another number")
        points = _finite(np.array([[float(row[place]) for place in places] for row in rows]).reshape(-1, 3))
    except ValueError as error:
        raise UserError(
            f"{path} is not a table of numbers in columns x, y and z ({error}); correct it."
        ) from error
    for row, point in zip(rows, _in_frame(points, mover, frame).tolist(), strict=True):
        for place, value in zip(places, point, strict=True):
            row[place] = f"{value:.6f}"
    with whole(output) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return len(points)


def _move_markups(path: Path, output: Path, mover: Mover, frame: str, mirrors: bool) -> int:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        count = sum(_move_markup(path, markup, mover, frame) for markup in content["markups"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path} has no landmarks in 3D Slicer's format; save them again in 3D Slicer."
        ) from error
    write_json(output, content)
    return count


def _move_markup(path: Path, markup: dict[str, Any], mover: Mover, frame: str) -> int:
    """Move the control points of a markup in place and return their number.

    What Slicer measured on them (lengths, angles) is left out, since it would be that of before: Slicer measures anew.
    """
    kind, system = markup["type"], markup.get("coordinateSystem") or frame or "LPS"
    if kind not in OF_POINTS:
        raise UserError(
            f"{path} has a markup of type {kind}, whose size and axes no deformation preserves; use markups of type "
            f"{', '.join(OF_POINTS)}, for instance its corners as points."
        )
    if system.upper() not in ("LPS", "RAS"):
        raise UserError(f"{path} has coordinates in {system}; save it in LPS or RAS.")
    units = markup.get("coordinateUnits") or "mm"
    if any(unit != "mm" for unit in (units if isinstance(units, list) else [units])):
        raise UserError(f"{path} has coordinates in {units}; save it in millimetres.")
    # One that its author has still to place, or skipped, lies nowhere.
    placed = [
        point
        for point in markup["controlPoints"]
        if point.get("position") and point.get("positionStatus", "defined") == "defined"
    ]
    points = np.array([point["position"] for point in placed], dtype=float).reshape(len(placed), 3)
    for point, position in zip(placed, _in_frame(_finite(points), mover, system).tolist(), strict=True):
        point["position"] = position
    markup.pop("measurements", None)
    return len(placed)


def _move_mesh(path: Path, output: Path, mover: Mover, frame: str, mirrors: bool) -> int:
    try:
        from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
        from vtkmodules.vtkCommonCore import vtkLogger
        from vtkmodules.vtkFiltersCore import vtkReverseSense
        from vtkmodules.vtkIOGeometry import vtkSTLReader, vtkSTLWriter
        from vtkmodules.vtkIOLegacy import vtkPolyDataReader, vtkPolyDataWriter
    except ImportError:
        raise UserError(
            "meshes need the package vtk; install it with: pip install 'cohortreg[meshes]'"
        ) from None
    of_vtk = path.name.lower().endswith(".vtk")
    reader = vtkPolyDataReader() if of_vtk else vtkSTLReader()
    reader.SetFileName(str(path))
    faults = []
    for event in ("ErrorEvent", "WarningEvent"):
        # VTK takes names of events, too, which its stubs do not know.
        reader.AddObserver(event, lambda *what: faults.append(what))  # type: ignore[arg-type]
    before = vtkLogger.GetCurrentVerbosityCutoff()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)  # what matters is in the sentence below
    reader.Update()
    vtkLogger.SetStderrVerbosity(before)
    mesh = reader.GetOutput()
    # Where a file ends within its points, VTK makes up the rest of them.
    if not mesh.GetNumberOfPoints() or not mesh.GetNumberOfCells():
        raise UserError(f"{path} is not a surface mesh, or is cut short; export it again, as polygons.")
    if faults or (not of_vtk and _stl_is_short(path)):
        raise UserError(f"{path} is cut short or damaged; export it again.")
    header = reader.GetHeader() or ""
    space = next((known for known in ("LPS", "RAS") if f"SPACE={known}" in header), frame)
    points = vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)
    if not np.isfinite(points).all():
        raise UserError(f"{path} has points that are NaN or infinite; export it again.")
    mesh.GetPoints().SetData(numpy_to_vtk(_in_frame(points, mover, space), deep=True))
    mesh.GetPointData().SetNormals(None)  # of the shape as it was
    if mirrors:
        reverse = vtkReverseSense()
        reverse.SetInputData(mesh)
        reverse.Update()
        mesh = reverse.GetOutput()
    writer = vtkPolyDataWriter() if of_vtk else vtkSTLWriter()
    if not of_vtk:
        writer.SetFileTypeToBinary()
    writer.SetHeader(header)
    writer.SetInputData(mesh)
    with whole(output) as beside:
        writer.SetFileName(str(beside))
        writer.Write()
    return len(points)


def _stl_is_short(path: Path) -> bool:
    """Whether triangles are missing at the end of an STL file, which VTK does not report."""
    content = path.read_bytes()
    as_binary = 84 + 50 * int.from_bytes(content[80:84], "little")
    return len(content) < as_binary and b"endsolid" not in content[-1000:].lower()
