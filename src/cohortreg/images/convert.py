"""Images as other libraries have them, as ours: the one adapter of the Python API.

The other way, an image has `to_sitk`, `to_nibabel`, `array` and `affine`.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.images.image import Image
from cohortreg.images.io import grid_of, image_of, label_of, read_file, read_image, read_label
from cohortreg.inputs import expanded

if TYPE_CHECKING:
    import SimpleITK as sitk
    from nibabel.spatialimages import SpatialImage

#: A file or a DICOM folder; an image of SimpleITK, of nibabel or of ours; or an array [i, j, k] or [i, j] with its
#: affine from voxels to RAS millimetres.
AnyImage: TypeAlias = Union[
    str, os.PathLike[str], "sitk.Image", "SpatialImage", Image, tuple[np.ndarray, np.ndarray]
]


def to_image(source: AnyImage, name: str = "the image", label: bool = False) -> Image:
    """Take an image or a label map from wherever it is; of an array in memory, a copy.

    Args:
        source: See `AnyImage`. Its geometry is what the library in question says of it; a file's is ITK's, see `nifti`.
        name: What a sentence on an image that has no file begins with.
        label: Whether it is a label map, whose values keep their integer type; an image becomes float32.

    Raises:
        UserError: It is none of these, or not what `read_image` and `read_label` take.
    """
    if isinstance(source, str | os.PathLike):
        path = _path(source, name)
        return read_label(path) if label else read_image(path)
    array, affine = _voxels(source, name)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    return (label_of if label else image_of)(name, np.array(array), affine)


def to_grid(source: AnyImage, name: str = "the image") -> Grid:
    """Where the voxels of an image lie, see `to_image`; what values they have does not matter."""
    if isinstance(source, str | os.PathLike):
        path = _path(source, name)
        shape, affine, _ = read_file(path, voxels=False)
        return grid_of(path, shape, affine)
    array, affine = _voxels(source, name)
    return grid_of(name, array.shape, affine)


def _path(source: str | os.PathLike[str], name: str) -> Path:
    if not os.fspath(source):  # which would be the folder that the program runs in
        raise UserError(f"{name} has an empty path; give a file.")
    return expanded(source)


def name_of(source: AnyImage, otherwise: str) -> str:
    """What to call an image: its file's or folder's name without the suffix; of one in memory, `otherwise`."""
    if not isinstance(source, str | os.PathLike):
        return otherwise
    path = Path(source)
    return path.name.split(".")[0] or path.resolve().name


def _voxels(source: object, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Array and affine of an image in memory; the libraries that are not loaded have made none."""
    if isinstance(source, Image):
        return source.array, source.affine
    sitk, nibabel = (sys.modules.get(library) for library in ("SimpleITK", "nibabel"))
    if sitk and isinstance(source, sitk.Image):
        from cohortreg.images.itk import itk_geometry

        # Asked for its array, one of these ends the process.
        if source.GetPixelIDTypeAsString().startswith("label"):
            raise UserError(f"{name} is a LabelMap of SimpleITK; give an image, see LabelMapToLabel.")
        if source.GetNumberOfComponentsPerPixel() > 1:
            raise UserError(f"{name} has several values per voxel; give an image with one.")
        return sitk.GetArrayFromImage(source).T, Grid.from_itk(**itk_geometry(source)).affine
    if nibabel and isinstance(source, nibabel.spatialimages.SpatialImage):
        if source.affine is None:
            raise UserError(f"{name} has no affine, so its place in space is undefined; give it one.")
        return np.asanyarray(source.dataobj), np.asarray(source.affine)
    if isinstance(source, np.ndarray):
        raise UserError(f"{name} is an array without a place in space; give (array, affine).")
    if isinstance(source, tuple) and len(source) == 2:
        return _with_affine(*source, name)
    raise UserError(
        f"{name} is of type {type(source).__name__}; give a path, an image of SimpleITK or nibabel, or (array, affine)."
    )


def _with_affine(array: object, affine: object, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        voxels, matrix = np.asarray(array), np.asarray(affine, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} is no array of numbers with a matrix; give (array, affine).") from error
    if np.ma.is_masked(array):
        raise UserError(
            f"{name} has masked voxels, whose values are undefined; fill them, see numpy.ma.filled."
        )
    if matrix.shape not in {(4, 4), (voxels.ndim + 1,) * 2}:
        size = " x ".join(map(str, matrix.shape)) or "one number"
        raise UserError(
            f"{name} has an affine of {size}; give one of 4 x 4, from voxels to RAS millimetres, or of 3 x 3 in 2D."
        )
    return voxels, matrix
