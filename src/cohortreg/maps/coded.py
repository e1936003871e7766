"""Transforms of results on disk: a matrix, and of what deforms beyond it the coefficients of cosines.

An affine map takes the matrix alone. What another one adds to the affine map nearest to it is smooth, so that most
coefficients of its cosine transform are nearly zero, and rounded they take a fraction of what displacements do. Where
rounding moves a voxel by more than it may, a correction is stored too: every component of a displacement is what it was
to the `margin` of its grid. docs/outputs.md says how to read a file with NumPy and SciPy alone.
"""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError
from scipy.fft import dctn, idctn

from cohortreg.errors import UserError
from cohortreg.files import whole
from cohortreg.images.grid import Grid
from cohortreg.maps.matrices import ROUNDING, displacements, nearest
from cohortreg.maps.transforms import Transform, check_perpendicular

SUFFIX = ".map.gz"
#: Voxels that a component of a displacement may be off at most.
MARGIN = 0.005
#: And of a grid of less than 192 voxels along an axis, where structures have few voxels and one more or less counts.
PART_OF_AXIS = MARGIN / 192
#: Voxels beyond which a displacement cannot be stored; no image has as many.
LARGEST = 1e9


def margin(shape: Sequence[int]) -> float:
    """Voxels that a component of a displacement on a grid may be off."""
    return min(MARGIN, PART_OF_AXIS * max(shape))


def write_coded(path: Path, transform: Transform) -> None:
    """Write a transform to a file of `SUFFIX`, whole or not at all.

    Raises:
        UserError: As `check_perpendicular` does, or a displacement is NaN, infinite or absurdly large.
    """
    grid = transform.grid
    check_perpendicular(path, grid)
    if not np.abs(transform.displacement).max() < LARGEST * grid.spacing.min():
        raise UserError(f"{path} cannot be written: displacements are NaN, infinite or larger than any image")
    matrix, off = nearest(transform), margin(grid.shape)
    arrays = {"shape": np.array(grid.shape), "affine": grid.affine, "matrix": matrix}
    rest = _deformation(transform, matrix)
    if np.abs(rest).max() > min(ROUNDING, off):
        # Coefficients in steps of what a voxel may be off: then few voxels need a correction.
        steps = np.array([off, 2 * off])
        coefficients, corrections = zip(
            *(_rounded(each, *steps.astype(np.float32)) for each in rest), strict=True
        )
        arrays |= {
            "steps": steps,
            "coefficients": _to_bytes(np.stack(coefficients)),
            "corrections": _to_bytes(np.stack(corrections)),
        }
    # Runs of zeros are what there is to compress; a search for other repetitions takes ten times as long for nothing.
    gzipped = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16, 9, zlib.Z_RLE)
    content = gzipped.compress(safetensors.numpy.save(arrays)) + gzipped.flush()
    with whole(path) as beside:
        beside.write_bytes(content)


def read_coded(path: Path) -> Transform:
    """Read a transform that `write_coded` wrote.

    Raises:
        UserError: The file is missing, cut short or damaged, something else, or has NaN or infinite displacements.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such transform")
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is cut short or damaged: {error}") from error
    try:
        arrays = safetensors.numpy.load(content)
        grid, matrix = Grid(tuple(arrays["shape"]), arrays["affine"]), arrays["matrix"]
        displacement = np.stack([each.astype(np.float32) for each in displacements(matrix, grid)])
        if "coefficients" in arrays:
            step, correction = arrays["steps"].astype(np.float32)
            coefficients, corrections = (
                _from_bytes(arrays[name]) for name in ("coefficients", "corrections")
            )
            rest = np.stack([_restored(each, step) for each in coefficients])
            rest += corrections * correction
            displacement += _turned(grid.voxel_to_lps, rest)
    except (SafetensorError, LookupError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a transform of a cohort's results") from error
    if not np.isfinite(displacement).all():
        raise UserError(f"{path} has NaN or infinite displacements")
    return Transform(displacement, grid)


def _deformation(transform: Transform, matrix: np.ndarray) -> np.ndarray:
    """What a field adds to the displacements of a matrix, float32 [dim, *grid.shape] in voxels along the array axes."""
    parts = zip(transform.displacement, displacements(matrix, transform.grid), strict=True)
    rest = np.stack([(whole - affine).astype(np.float32) for whole, affine in parts])
    return _turned(transform.grid.lps_to_voxel, rest)


def _turned(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors [dim, *any] multiplied by the linear part of a matrix."""
    linear = matrix[:-1, :-1].astype(np.float32)
    return (linear @ vectors.reshape(len(vectors), -1)).reshape(vectors.shape)


def _rounded(
    component: np.ndarray, step: np.float32, correction: np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients of one component and its corrections in such steps, both whole numbers as float32."""
    coefficients = np.rint(dctn(component, norm="ortho") / step)
    return coefficients, np.rint((component - _restored(coefficients, step)) / correction)


def _restored(coefficients: np.ndarray, step: np.float32) -> np.ndarray:
    """The component that coefficients are of."""
    return idctn(coefficients.astype(np.float32) * step, norm="ortho", overwrite_x=True)


def _to_bytes(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers as bytes [n, *shape], the lowest first, as few as hold all of them: 0, -1, 1, -2 as 0, 1, 2, 3.

    So the bytes of small numbers are small and all others zero, which compresses well.
    """
    kind = np.dtype("<i4" if np.abs(numbers).max() < 2**30 else "<i8")
    numbers = numbers.astype(kind)
    numbers = (numbers << 1) ^ (numbers >> 8 * kind.itemsize - 1)
    used = -(-int(numbers.max()).bit_length() // 8)
    in_bytes = numbers.view(np.uint8).reshape(*numbers.shape, kind.itemsize)[..., :used]
    return np.ascontiguousarray(np.moveaxis(in_bytes, -1, 0))


def _from_bytes(in_bytes: np.ndarray) -> np.ndarray:
    """The whole numbers that `_to_bytes` was given."""
    kind = np.dtype("<i4" if len(in_bytes) < 4 else "<i8")
    numbers = np.zeros((*in_bytes.shape[1:], kind.itemsize), np.uint8)
    numbers[..., : len(in_bytes)] = np.moveaxis(in_bytes, 0, -1)
    numbers = numbers.view(kind)[..., 0]
    return (numbers >> 1) ^ -(numbers & 1)
