"""What ITK says about an image, in the terms of `Image`; reading DICOM and the other formats share it."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cohortreg.errors import BadImage
from cohortreg.images.grid import Grid
from cohortreg.images.guarded import allow
from cohortreg.images.headers import check_text_header, check_voxels
from cohortreg.images.stored import check_size, no_image, read_through

if TYPE_CHECKING:
    import SimpleITK as sitk

#: ITK's readers of formats of which can be told whether a file is whole.
READERS = (
    "MetaImageIO", "NrrdImageIO", "TIFFImageIO", "LSMImageIO", "PNGImageIO", "JPEGImageIO", "BMPImageIO",
    "JPEG2000ImageIO", "HDF5ImageIO", "MINCImageIO", "GiplImageIO", "GDCMImageIO",
)  # fmt: skip


def itk_geometry(image: "sitk.Image | sitk.ImageFileReader") -> dict[str, Any]:
    """What `Grid.from_itk` takes, of SimpleITK's image or of a reader that has read a header."""
    named = {"size": image.GetSize(), "spacing": image.GetSpacing()}
    return named | {"origin": image.GetOrigin(), "direction": image.GetDirection()}


def to_sitk(array: np.ndarray, grid: Grid, dtype: np.typing.DTypeLike = np.float32) -> "sitk.Image":
    """An image [*grid.shape], or vectors [dim, *grid.shape] in LPS, as SimpleITK's image of a type."""
    import SimpleITK as sitk

    is_vector = array.ndim > len(grid.shape)
    # SimpleITK's memory runs k, j, i, and then over the components.
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T, dtype=dtype), isVector=is_vector)
    image.SetOrigin(grid.origin)
    image.SetSpacing(grid.spacing)
    image.SetDirection(grid.direction.flatten())
    return image


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """ITK's warnings would stand between the lines of a progress bar; what matters becomes an exception.

    MetaIO and HDF5 write theirs to the process's standard error, past ITK and Python.
    """
    import SimpleITK

    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)


def read(path: str, voxels: bool = True) -> tuple[dict[str, Any], list[np.ndarray]]:
    """ITK's size, spacing, origin and direction of a file, and the number of values a voxel; its array [..., j, i].

    For `guarded.call`: what is in a file can end the process that ITK reads it in.

    Raises:
        BadImage: The file is no image, is not whole, or is of a format of which nobody can tell.
    """
    import SimpleITK

    file = Path(path)
    claimed = check_text_header(file)
    with quiet_itk():
        try:
            name = SimpleITK.ImageFileReader.GetImageIOFromFileName(path)
            if name and name not in READERS:
                raise BadImage(
                    f"{path} has a format ({name.removesuffix('ImageIO')}) that is not read, since it cannot be "
                    "checked for completeness; convert it to .nii.gz or .mha."
                )
            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(path)
            reader.SetImageIO(name)
            reader.ReadImageInformation()
            size, values = reader.GetSize(), reader.GetNumberOfComponents()
            voxel = SimpleITK.Image([1] * len(size), reader.GetPixelID(), values)
            needed = math.prod(size) * values * voxel.GetSizeOfPixelComponent()
            if name in ("MetaImageIO", "NrrdImageIO"):
                if claimed != needed:  # ITK reads another header than we do
                    raise no_image(file)
            else:
                check_size(file, file.stat().st_size, needed, math.prod(size), compressed=True)
                check_voxels(file, name, needed)
            allow(4 * needed)  # ITK's, as it is and unpacked, and NumPy's
            header = itk_geometry(reader) | {"values": values}
            return header, [SimpleITK.GetArrayFromImage(reader.Execute())] if voxels else []
        except RuntimeError as error:
            raise not_read(file, error) from error


def not_read(path: Path, error: RuntimeError) -> BadImage:
    """The error for a file that ITK could not read.

    Raises:
        MemoryError, OSError: The machine is why, and not the file.
    """
    if "allocate" in str(error) or "bad_alloc" in str(error):
        raise MemoryError from error
    read_through(path)
    return no_image(path)


def direction(path: str) -> tuple[list[list[float]], list[np.ndarray]]:
    """The directions in RAS of a file's axes, one column an axis, by ITK's reader. For `guarded.call`."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(path)
    with quiet_itk():
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise not_read(Path(path), error) from error
    unit = {"spacing": [1.0] * reader.GetDimension(), "origin": [0.0] * reader.GetDimension()}
    grid = Grid.from_itk(**itk_geometry(reader) | unit)
    return grid.affine[:-1, :-1].tolist(), []


def attempt(path: str, field: bool) -> tuple[None, list[np.ndarray]]:
    """Read a transform, or a displacement field, and use it once; lesser faults are for who reads it then.

    For `guarded.call`; here, since that process needs no PyTorch for it.
    """
    import SimpleITK

    with contextlib.suppress(RuntimeError, UnicodeDecodeError), quiet_itk():
        if field:
            SimpleITK.ReadImage(path, SimpleITK.sitkVectorFloat32)
        else:
            transform = SimpleITK.ReadTransform(path)
            transform.TransformPoint([0.0] * transform.GetDimension())
    return None, []
