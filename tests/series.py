"""DICOM series that tests write: small, with the geometry and the tags that they ask for."""

import contextlib
import locale
import tarfile
from pathlib import Path

import numpy as np
import SimpleITK

SIZE, SPACING, ORIGIN = (10, 12, 16), (0.4, 0.5, 0.7), (-20.0, 35.5, 12.25)
#: Sagittal as a scanner writes it: rows run to posterior, columns to inferior, the normal to the right.
SAGITTAL = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])


def rotation(x: float, z: float) -> np.ndarray:
    """[3, 3] by angles about two axes, in radians."""
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_x)


OBLIQUE = rotation(0.2, -0.3) @ SAGITTAL


def volume(size=SIZE, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE, seed=1) -> SimpleITK.Image:
    """Whole numbers from 0 to 900, on the grid that is asked for."""
    image = SimpleITK.GetImageFromArray(np.random.default_rng(seed).integers(0, 900, size[::-1], np.uint16))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(np.ravel(direction).tolist())
    return image


def write_series(folder: Path, image: SimpleITK.Image, flipped: bool = False, **tags: str) -> Path:
    """Write each slice as a file without suffix, 001 and on, from the last slice to the first where flipped.

    tags: values by "gggg|eeee"; whatever differs between two series must be among them, as their UID does by itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = {"0020|000e": f"1.2.{abs(hash(str(folder))) % 10**9}", "0008|0060": "MR"} | tags
    direction = np.reshape(image.GetDirection(), (3, 3))
    about["0020|0037"] = "\\".join(f"{value:.12g}" for value in direction[:, :2].T.ravel())
    order = range(image.GetSize()[2])
    for number, k in enumerate(reversed(order) if flipped else order, start=1):
        plane = image[:, :, k : k + 1]
        position = image.TransformIndexToPhysicalPoint((0, 0, k))
        about["0020|0032"] = "\\".join(f"{value:.12g}" for value in position)
        about["0020|0013"] = str(number)
        for key, value in about.items():
            plane.SetMetaData(key, value)
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(folder / f"{number:03}.dcm"))
        with _same_locale():
            writer.Execute(plane)
        (folder / f"{number:03}.dcm").rename(folder / f"{number:03}")
    return folder


@contextlib.contextmanager
def _same_locale():
    """GDCM leaves the locale C behind when it writes, in which Python takes every file for ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def packed(folder: Path, suffix: str = ".tar.gz") -> Path:
    """The folder as an archive beside it."""
    path = folder.with_name(folder.name + suffix)
    with tarfile.open(path, "w" if suffix == ".tar" else "w:gz") as archive:
        archive.add(folder, folder.name)
    return path
