"""Reading and writing images and labels.

In memory an image is always what NIfTI means: an array [i, j, k] and an affine from voxel indices to RAS
millimetres. A 2D image is an array [i, j] with an affine of two axes, right and anterior: as in ITK, x and y. A picture
without anatomy has its columns run left and its rows posterior, so that viewers show it as it is.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK

from cohortreg.errors import UserError
from cohortreg.files import check_whole, whole
from cohortreg.images.dicom import is_dicom_file, is_series, read_series
from cohortreg.images.itk import LPS_TO_RAS, quiet_itk, ras_affine

READ_BY_NIBABEL = (".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz")
WRITTEN_BY_NIBABEL, WRITTEN_BY_ITK = (".nii", ".nii.gz"), (".mha", ".nrrd")


@dataclass(frozen=True)
class Image:
    """An image or a label map.

    array: [i, j, k] or [i, j], float32 for images, an integer type for labels.
    affine: (4, 4) or (3, 3) float64, voxel index to RAS millimetres.
    field_of_view: along each axis the first voxel that was imaged and the one behind the last, [[from, to], ...];
        what lies outside was added by preprocessing. None: all was imaged.
    """

    array: np.ndarray
    affine: np.ndarray
    field_of_view: list[list[int]] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def spacing(self) -> np.ndarray:
        """Size of a voxel along each array axis, in millimetres, [dim]."""
        return np.linalg.norm(self.affine[:-1, :-1], axis=0)


@dataclass(frozen=True)
class Grid:
    """Where an image's voxels lie, without their values: its shape, and its affine as an `Image` has it."""

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Size of a voxel along each array axis, in millimetres, [dim]."""
        return np.linalg.norm(self.affine[:-1, :-1], axis=0)


def read_grid(path: Path | str) -> Grid:
    """Read the grid of a 3D image file from its header. Raises UserError where it has none."""
    path = Path(path)
    if path.name.lower().endswith(READ_BY_NIBABEL):
        image = _load_by_nibabel(path)
        shape, affine = image.shape, np.asarray(image.affine, dtype=np.float64)
    else:
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        with quiet_itk():
            try:
                reader.ReadImageInformation()
            except RuntimeError as error:
                raise UserError(
                    f"{path} is not an image, or is cut short; export or copy it again."
                ) from error
        shape, affine = (
            reader.GetSize(),
            ras_affine(reader.GetDirection(), reader.GetSpacing(), reader.GetOrigin()),
        )
    if len(shape) != 3:
        raise UserError(f"{path} is not 3D; give a 3D image.")
    return Grid(tuple(shape), affine)


def read_image(path: Path | str) -> Image:
    """Read a 2D or 3D image of any format that nibabel or SimpleITK reads, or a DICOM series (see `read_series`), as
    float32.

    A volume of one slice, [i, j, 1], is a 2D image. Raises UserError where the file is missing, cut short, not an
    image, of more dimensions, a slice that is not axial, of one value, or has NaN or infinite values.
    """
    array, affine = _read(Path(path))
    if not np.isfinite(array).all():
        raise UserError(
            f"{path} has NaN or infinite values; replace them (for instance by 0) or leave it out."
        )
    array = array.astype(np.float32, copy=False)
    if array.min() == array.max():
        raise UserError(f"{path} has the value {array.flat[0]:g} in every voxel; export the scan again.")
    return Image(array, affine)


def read_label(path: Path | str) -> Image:
    """Read a 2D or 3D label map, in the smallest integer type that holds its values.

    Whole numbers stored as floats are labels too; anything else, a probability map for instance, raises
    UserError, as does what `read_image` refuses, except that a label may be of one value.
    """
    array, affine = _read(Path(path))
    if not np.issubdtype(array.dtype, np.integer):
        if not np.isfinite(array).all():
            raise UserError(
                f"{path} has NaN or infinite values; a label holds whole numbers: export it again."
            )
        if (array != np.rint(array)).any():
            raise UserError(
                f"{path} has values that are not whole numbers; give a label map, not probabilities."
            )
    low, high = int(array.min()), int(array.max())
    smallest = np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high))
    return Image(array.astype(smallest, copy=False), affine)


def check_image_name(path: Path) -> None:
    """Raise UserError where a file's name ends in nothing that `write_image` writes."""
    if not path.name.endswith((*WRITTEN_BY_NIBABEL, *WRITTEN_BY_ITK)):
        raise UserError(
            f"{path}: no image is written under this name; let it end in .nii.gz, .nii, .mha or .nrrd."
        )


def write_image(path: Path | str, image: Image) -> None:
    """Write an image or a label map, whole or not at all, with the array's own type.

    .nii.gz, .nii, .mha, .nrrd; raises UserError for another name.
    """
    path = Path(path)
    check_image_name(path)
    if path.name.endswith(WRITTEN_BY_ITK):
        _write_by_itk(path, image)
        return
    axes = [*range(len(image.affine) - 1), 3]
    affine = np.eye(4)
    affine[np.ix_(axes, axes)] = image.affine
    nifti = nibabel.Nifti1Image(image.array, affine, dtype=image.array.dtype)
    nifti.set_sform(affine, code=1)
    nifti.set_qform(affine, code=1)
    nifti.header.set_xyzt_units("mm")
    with whole(path) as beside:
        nibabel.save(nifti, beside)


def _write_by_itk(path: Path, image: Image) -> None:
    dim = len(image.affine) - 1
    written = SimpleITK.GetImageFromArray(np.ascontiguousarray(image.array.T))
    matrix = LPS_TO_RAS[: dim + 1, : dim + 1] @ image.affine  # it is its own inverse
    written.SetOrigin(matrix[:dim, dim].tolist())
    written.SetSpacing(image.spacing.tolist())
    written.SetDirection((matrix[:dim, :dim] / image.spacing).flatten().tolist())
    with whole(path) as beside:
        SimpleITK.WriteImage(written, str(beside), useCompression=True)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array [i, j, k] or [i, j] and affine to RAS millimetres, of whatever format the image has."""
    if not path.exists():
        raise UserError(
            f"{path} does not exist; correct the path, or the folder that a table's paths start from."
        )
    check_whole(path)
    if is_series(path):
        array, affine = read_series(path)
    elif path.name.lower().endswith(READ_BY_NIBABEL):
        array, affine = _read_by_nibabel(path)
    elif is_dicom_file(path):
        array, affine = read_series(path)
    else:
        array, affine = _read_by_itk(path)
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or min(array.shape) < 2:
        size = " x ".join(map(str, array.shape))
        raise UserError(
            f"{path} has {size} voxels; give a 2D or 3D image (of a time series, one volume as its own file)."
        )
    affine = _of_axes(affine, array.ndim, path)
    if array.dtype.kind not in "uif":
        raise UserError(f"{path} has voxels of type {array.dtype}; give an image of one real number a voxel.")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise UserError(
            f"{path} has no usable geometry in its header (its affine is singular); mend the header."
        )
    return array, affine


def _load_by_nibabel(path: Path) -> nibabel.spatialimages.SpatialImage:
    try:
        return nibabel.load(path)
    except Exception as error:  # whatever a damaged header sets off, the file cannot be used
        raise UserError(
            f"{path} is not an image, or is cut short or damaged; export or copy it again."
        ) from error


def _read_by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = _load_by_nibabel(path)
    try:
        array = np.asanyarray(image.dataobj)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is cut short or damaged; copy or export it again.") from error
    return array, np.asarray(image.affine, dtype=np.float64)


def _read_by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with quiet_itk():
        try:
            image = SimpleITK.ReadImage(str(path))
        except RuntimeError as error:
            raise UserError(f"{path} is not an image, or is cut short; export or copy it again.") from error
    array = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise UserError(
            f"{path} has several values a voxel; give one real number a voxel, of a picture grey."
        )
    return array.T, ras_affine(image.GetDirection(), image.GetSpacing(), image.GetOrigin())


def _of_axes(affine: np.ndarray, dim: int, path: Path) -> np.ndarray:
    """The affine of an array's first axes; raises UserError where they lead out of right and anterior."""
    if np.abs(affine[dim:-1, :dim]).max(initial=0) > 1e-3 * np.abs(affine[:dim, :dim]).max():
        raise UserError(
            f"{path} is a slice that is not axial, for which 2D coordinates, right and anterior, have no place; "
            "save it as PNG, TIFF or a 2D MetaImage."
        )
    kept = [*range(dim), len(affine) - 1]
    return affine[np.ix_(kept, kept)]
