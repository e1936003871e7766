"""FreeSurfer's MGH and MGZ: what the header claims, compared with the file. ITK reads neither."""

import math
from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import DATA_OFFSET, MGHHeader

from cohortreg.images.nifti import check_compression
from cohortreg.images.stored import beginning, check_size, content, is_gzipped, no_image

SUFFIXES = (".mgh", ".mgz")
BYTES = MGHHeader._hdrdtype.itemsize


def read(path: Path, voxels: bool) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Shape, affine (4, 4) to RAS millimetres, and the array, as `nifti.read` returns them and raises."""
    check_compression(path)
    block = beginning(path, BYTES)
    if len(block) < BYTES:
        raise no_image(path)
    header = MGHHeader(block, check=False)
    if header["version"] != 1 or header["dims"].min() < 1 or int(header["type"]) not in (0, 1, 3, 4, 10):
        raise no_image(path)
    shape = tuple(int(size) for size in header.get_data_shape())
    affine = np.asarray(header.get_affine(), dtype=np.float64)
    if not voxels:
        return shape, affine, np.empty(0)
    dtype = header.get_data_dtype()
    needed = DATA_OFFSET + math.prod(shape) * dtype.itemsize
    check_size(path, path.stat().st_size, needed, math.prod(shape), is_gzipped(path))
    return shape, affine, np.ndarray(shape, dtype, content(path, needed), DATA_OFFSET, order="F")
