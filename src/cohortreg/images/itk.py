"""What ITK says about an image, in the terms of `Image`; reading DICOM and the other formats share it."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # its first three rows and columns are those of two dimensions


def ras_affine(direction: Sequence[float], spacing: Sequence[float], origin: Sequence[float]) -> np.ndarray:
    """(dim + 1, dim + 1) from voxel indices to RAS millimetres, of ITK's dim x dim, dim and dim numbers in LPS.

    dim: 2 or 3; of more axes, the fourth of which is time, the first three count.
    """
    whole, dim = len(spacing), min(len(spacing), 3)
    affine = np.eye(dim + 1)
    affine[:dim, :dim] = (np.reshape(direction, (whole, whole)) * np.asarray(spacing))[:dim, :dim]
    affine[:dim, dim] = origin[:dim]
    return LPS_TO_RAS[: dim + 1, : dim + 1] @ affine


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """ITK's warnings would stand between the lines of a progress bar; what matters becomes an exception.

    MetaIO and HDF5 write theirs to the process's standard error, past ITK and Python.
    """
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
