"""Reading and writing images and labels.

In memory an image is always what NIfTI means: an array [i, j, k] and an affine from voxel indices to RAS
millimetres. A 2D image is an array [i, j] with an affine of two axes, right and anterior: as in ITK, x and y. A picture
without anatomy has its columns run left and its rows posterior, so that viewers show it as it is.
"""

from pathlib import Path

import numpy as np

from cohortreg.errors import BadImage, UserError
from cohortreg.files import whole
from cohortreg.images.dicom import is_dicom_file, is_series, read_series
from cohortreg.images.grid import Grid
from cohortreg.images.guarded import call
from cohortreg.images.image import Image
from cohortreg.images.itk import to_sitk
from cohortreg.images.stored import cut_short, no_image
from cohortreg.inputs import check_whole

WRITTEN_BY_NIBABEL, WRITTEN_BY_ITK = (".nii", ".nii.gz"), (".mha", ".nrrd")
MOST_LABEL = 2**53
#: Of so many voxels the values are compared with their float32. Of those that differ by more than NOISE of the largest,
#: so many have to stay different.
SAMPLED, NOISE, CONTRAST_KEPT = 2**14, 2.0**-40, 0.9


def read_grid(path: Path | str) -> Grid:
    """Read the grid of a 3D image file from its header, or raise BadImage where it has none."""
    path = Path(path)
    shape, affine, _ = read_file(path, voxels=False)
    if len(shape) != 3:
        raise BadImage(f"{path} is not 3D; give a 3D image.")
    _check_affine(path, affine)
    return Grid(shape, affine)


def read_image(path: Path | str) -> Image:
    """Read a 2D or 3D image as float32, of any format that nibabel or SimpleITK reads, or a DICOM series.

    A volume of one slice, [i, j, 1], is a 2D image. For a series see `read_series`. What the machine refuses stays an
    OSError or MemoryError.

    Raises:
        BadImage: The file is missing, cut short, not an image, of more dimensions, a slice that is not axial, constant,
            has NaN or infinite values, or values that float32 cannot hold or tell apart.
    """
    path = Path(path)
    _, affine, array = read_file(path)
    return image_of(path, array, affine)


def image_of(name: Path | str, array: np.ndarray, affine: np.ndarray) -> Image:
    """Check voxels as `read_image` does, and raise as it does.

    Args:
        name: What a sentence on a fault begins with: the file, or words for an image that is none.
        array: Voxels [i, j, k] or [i, j]; further axes are of length 1.
        affine: From voxels to RAS millimetres, [4, 4], or [3, 3] in two dimensions.
    """
    array, affine = _checked(name, array, affine)
    if not np.isfinite(array).all():
        raise BadImage(
            f"{name} has NaN or infinite values; replace them (for instance by 0) or leave it out."
        )
    array = _single(name, array)
    if array.min() == array.max():
        raise BadImage(f"{name} has the value {array.flat[0]:g} in every voxel; export the scan again.")
    return Image(array, affine)


def grid_of(name: Path | str, shape: tuple[int, ...], affine: np.ndarray) -> Grid:
    """The grid of an image, checked as `image_of` does, whatever the voxels are."""
    array, affine = _checked(name, np.broadcast_to(np.uint8(0), shape), affine)
    return Grid(array.shape, affine)


def _single(name: Path | str, array: np.ndarray) -> np.ndarray:
    """The array as float32, or BadImage where that loses values or contrast."""
    with np.errstate(over="ignore"):
        single = array.astype(np.float32, copy=False)
    if np.can_cast(array.dtype, np.float32):
        return single
    if not np.isfinite(single).all():
        raise BadImage(
            f"{name} has values beyond the range of single precision, 3.4e38; divide them by a constant."
        )
    some, kept = (values.ravel(order="K")[:: -(-array.size // SAMPLED)] for values in (array, single))
    if some.dtype.kind == "f":  # what two float64 differ by from rounding alone is no contrast
        step = max(np.abs(some).max() * NOISE, np.finfo(some.dtype).tiny)
        some, kept = np.rint(some / step), np.rint(kept / step)
    if len(np.unique(kept)) < CONTRAST_KEPT * len(np.unique(some)):
        raise BadImage(
            f"{name} has values from {array.min():g} to {array.max():g}, whose differences are lost in single "
            "precision; subtract a constant from them."
        )
    return single


def read_label(path: Path | str) -> Image:
    """Read a 2D or 3D label map, in the smallest integer type that holds its values.

    Whole numbers stored as floats are labels too; anything else, a probability map for instance, raises
    BadImage, as do values beyond 2^53 and what `read_image` refuses, except that a label may be of one value.
    """
    path = Path(path)
    _, affine, array = read_file(path)
    return label_of(path, array, affine)


def label_of(name: Path | str, array: np.ndarray, affine: np.ndarray) -> Image:
    """Check labels as `read_label` does; arguments as of `image_of`."""
    array, affine = _checked(name, array, affine)
    if not np.issubdtype(array.dtype, np.integer):
        if not np.isfinite(array).all():
            raise BadImage(
                f"{name} has NaN or infinite values; a label holds whole numbers: export it again."
            )
        if (array != np.rint(array)).any():
            raise BadImage(
                f"{name} has values that are not whole numbers; give a label map, not probabilities."
            )
    low, high = int(array.min()), int(array.max())
    if max(-low, high) > MOST_LABEL:  # resampling is in float64
        raise BadImage(
            f"{name} has values up to {max(-low, high)}; labels are whole numbers up to 2^53: renumber them."
        )
    smallest = label_type(np.min_scalar_type(low), np.min_scalar_type(high))
    return Image(array.astype(smallest, copy=False), affine)


def label_type(one: np.dtype, other: np.dtype) -> np.dtype:
    """The integer type that holds the labels of two; of negative ones and uint64 NumPy would make float64."""
    wider = np.promote_types(one, other)
    return wider if wider.kind in "ui" else np.dtype(np.int64)


def check_image_name(path: Path) -> None:
    """Raise UserError where a file's name ends in nothing that `write_image` writes."""
    if not path.name.endswith((*WRITTEN_BY_NIBABEL, *WRITTEN_BY_ITK)):
        raise UserError(f"{path}: unsupported extension; use .nii.gz, .nii, .mha or .nrrd.")


def write_image(path: Path | str, image: Image) -> None:
    """Write an image or label map, whole or not at all, with the array's type; see `check_image_name`."""
    path = Path(path)
    check_image_name(path)
    with whole(path) as beside:
        if path.name.endswith(WRITTEN_BY_ITK):
            import SimpleITK

            written = to_sitk(image.array, image.grid, image.array.dtype)
            SimpleITK.WriteImage(written, str(beside), useCompression=True)
        else:
            from cohortreg.images.nifti import to_nifti

            to_nifti(image.array, image.grid).to_filename(beside)


def _checked(name: Path | str, array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The array [i, j, k] or [i, j] and its affine, or BadImage where either is none of an image's."""
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or min(array.shape) < 2:
        size = " x ".join(map(str, array.shape))
        raise BadImage(
            f"{name} has {size} voxels; give a 2D or 3D image (of a time series, one volume as its own file)."
        )
    in_plane, out_of_it = affine[: array.ndim, : array.ndim], affine[array.ndim : -1, : array.ndim]
    if np.abs(out_of_it).max(initial=0) > 1e-3 * np.abs(in_plane).max():
        raise BadImage(
            f"{name} is a slice that is not axial, for which 2D coordinates (right, anterior) cannot describe; "
            "save it as PNG, TIFF or a 2D MetaImage."
        )
    affine = Grid.from_nifti(array.shape, affine).affine
    if array.dtype.kind not in "uif":
        raise BadImage(
            f"{name} has voxels of type {array.dtype}; give an image with one real number per voxel."
        )
    _check_affine(name, affine)
    return array, affine


def read_file(path: Path, voxels: bool = True) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Shape, affine to RAS and array of a file or series as they are there, whatever its format.

    Nothing but files and folders is opened. Without `voxels`, the array may have none.
    """
    from cohortreg.images import mgh, nifti

    check_whole(path)
    if is_series(path):
        array, affine = read_series(path)
        return array.shape, affine, array
    if not path.stat().st_size:
        raise cut_short(path)
    name = path.name.lower()
    if name.endswith((*nifti.SINGLE, *nifti.PAIR)):
        return nifti.read(path, voxels)
    if name.endswith(mgh.SUFFIXES):
        return mgh.read(path, voxels)
    if is_dicom_file(path):
        array, affine = read_series(path)
        return array.shape, affine, array
    return _read_by_itk(path, voxels)


def _read_by_itk(path: Path, voxels: bool) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    try:
        header, arrays = call("cohortreg.images.itk:read", path, voxels, about=path)
    except RuntimeError as error:  # whatever a damaged header sets off, the file cannot be used
        raise no_image(path) from error
    if header.pop("values") > 1:
        raise BadImage(
            f"{path} has several values per voxel; give an image with one, such as a greyscale picture."
        )
    return tuple(header["size"]), Grid.from_itk(**header).affine, arrays[0].T if voxels else np.empty(0)


def _check_affine(name: Path | str, affine: np.ndarray) -> None:
    from cohortreg.images import nifti

    last = np.eye(len(affine))[-1]
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12 or (affine[-1] != last).any():
        raise BadImage(
            f"{name} has no usable geometry in its header (its affine is singular, or its last row is not "
            "0 ... 0 1); correct the header."
        )
    if not nifti.has_right_angles(affine):
        raise nifti.sheared(name)
