"""Points in files: tables, landmarks of 3D Slicer and surface meshes, read, moved and written as they were else.

Coordinates are LPS millimetres, ITK's, unless the file, or who gives it, says RAS.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from cohortreg.errors import UserError
from cohortreg.files import whole, write_json

#: Given points [n, 3] and returning as many, both LPS millimetres.
Mover = Callable[[np.ndarray], np.ndarray]
COLUMNS = ("x", "y", "z")


def move_points(path: Path, output: Path, mover: Mover, frame: str = "", mirrors: bool = False) -> int:
    """Write a file's points, moved, under another name; whatever else is in the file stays. Returns how many they are.

    path: .csv with columns x, y, z; .mrk.json of 3D Slicer; .vtk (legacy polygons) or .stl, for which the package vtk
    is needed. frame: "LPS" or "RAS", where the file does not say it; "" is what it says, or LPS. mirrors: whether
    `mover` turns left into right, so that the polygons of a mesh are turned over for their outside to stay outside.

    Raises UserError where the file is missing or has no points of that kind.
    """
    name = path.name.lower()
    kinds = {".csv": _move_table, ".json": _move_markups, ".vtk": _move_mesh, ".stl": _move_mesh}
    if not path.is_file():
        raise UserError(f"{path} does not exist; correct the path.")
    for suffix, move in kinds.items():
        if name.endswith(suffix):
            if not output.name.lower().endswith(suffix):
                raise UserError(
                    f"{output}: points of a {suffix} file are written as one; let it end in {suffix}."
                )
            return move(path, output, mover, frame, mirrors)
    raise UserError(f"{path}: points are read from .csv, .mrk.json, .vtk and .stl files; give one of those.")


def _in_frame(points: np.ndarray, mover: Mover, frame: str) -> np.ndarray:
    """Points of a frame, "LPS" or "RAS", moved, in the same frame."""
    flip = np.array([-1.0, -1.0, 1.0]) if frame.upper() == "RAS" else np.ones(3)
    return mover(points * flip) * flip


def _finite(points: np.ndarray) -> np.ndarray:
    if not np.isfinite(points).all():
        raise ValueError("one is NaN or infinite")
    return points


def _move_table(path: Path, output: Path, mover: Mover, frame: str, mirrors: bool) -> int:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        names = [next(name for name in table if name.strip().lower() == axis) for axis in COLUMNS]
        points = _finite(table[names].astype(float).to_numpy())
    except StopIteration:
        raise UserError(
            f"{path} has no columns x, y and z; name them in its first row, with commas between columns."
        ) from None
    except (ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is no table of numbers in columns x, y and z ({reason}); correct it."
        ) from error
    table[names] = np.vectorize(lambda value: format(value, ".6f"), otypes=[object])(
        _in_frame(points, mover, frame)
    )
    with whole(output) as beside:
        table.to_csv(beside, index=False)
    return len(points)


def _move_markups(path: Path, output: Path, mover: Mover, frame: str, mirrors: bool) -> int:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        count = 0
        for markup in content["markups"]:
            placed = [point for point in markup["controlPoints"] if point.get("position")]
            points = np.array([point["position"] for point in placed], dtype=float).reshape(-1, 3)
            moved = _in_frame(_finite(points), mover, markup.get("coordinateSystem") or frame)
            for point, position in zip(placed, moved.tolist(), strict=True):
                point["position"] = position
            count += len(points)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} has no landmarks as 3D Slicer writes them; save them there again."
        ) from error
    write_json(output, content)
    return count


def _move_mesh(path: Path, output: Path, mover: Mover, frame: str, mirrors: bool) -> int:
    try:
        from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
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
    reader.GlobalWarningDisplayOff()
    reader.Update()
    mesh = reader.GetOutput()
    if not mesh.GetNumberOfPoints():
        raise UserError(f"{path} is no surface mesh, or has no points; export it again, as polygons.")
    header = reader.GetHeader() or ""
    said = next((known for known in ("LPS", "RAS") if f"SPACE={known}" in header), frame)
    points = vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)
    mesh.GetPoints().SetData(numpy_to_vtk(_in_frame(points, mover, said), deep=True))
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
