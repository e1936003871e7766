"""What ITK says about an image, in the terms of `Image`; reading DICOM and the other formats share it."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_affine(direction: Sequence[float], spacing: Sequence[float], origin: Sequence[float]) -> np.ndarray:
    """(4, 4) from voxel indices i, j, k to RAS millimetres, of ITK's 9, 3 and 3 numbers in LPS."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing)
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """ITK's warnings would stand between the lines of a progress bar; what matters becomes an exception."""
    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)
