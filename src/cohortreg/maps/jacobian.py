"""Folds of a map, and its local change of volume."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from cohortreg.maps.transforms import Transform

_SLAB = 16  # layers at a time: a whole field's derivatives would take gigabytes


def volume_form(phi: Tensor) -> Tensor:
    """Determinant of the finite differences between neighbouring voxels of a map.

    Differences are backward in three dimensions and forward in one and two, as in the authors' package, so that counts
    of folds can be compared with published ones.

    Args:
        phi: [batch, dim, *grid], in any coordinates.

    Returns:
        [batch, *(n - 1 for n in grid)], proportional to the volume that each voxel is mapped to, negative where the map
        reverses orientation.
    """
    dim = phi.shape[1]
    columns = []
    for axis in range(dim):
        ahead = [slice(None), slice(None), *_sites(dim)]
        behind = list(ahead)
        ahead[2 + axis], behind[2 + axis] = slice(1, None), slice(None, -1)
        columns.append(phi[tuple(ahead)] - phi[tuple(behind)])
    if dim == 1:
        return columns[0][:, 0]
    if dim == 2:
        a, b = columns
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    # `linalg.cross` takes several times as long.
    (a, b, c), (d, e, f), (g, h, i) = (column.unbind(1) for column in columns)
    return (b * f - c * e) * g + (c * d - a * f) * h + (a * e - b * d) * i


def _sites(dim: int) -> list[slice]:
    """Which voxels of a grid have a volume form: those with a neighbour on the side where differences look."""
    return [slice(1, None) if dim == 3 else slice(None, -1)] * dim


def folded(phi: Tensor) -> Tensor:
    """The voxels with a negative volume form, [batch, *grid] bool, for maps phi [batch, dim, *grid]."""
    where = torch.zeros(len(phi), *phi.shape[2:], dtype=torch.bool, device=phi.device)
    where[(slice(None), *_sites(phi.shape[1]))] = volume_form(phi) < 0
    return where


def folds(phi: Tensor) -> Tensor:
    """Number of voxels with a negative volume form, [batch], for maps phi [batch, dim, *grid]."""
    return (volume_form(phi.detach()) < 0).flatten(1).sum(1)


def fold_sites(shape: Sequence[int]) -> int:
    """Number of voxels of a grid that have a volume form: the denominator of the percentage of folds."""
    return math.prod(n - 1 for n in shape)


def determinant(transform: "Transform") -> np.ndarray:
    """Determinant of the Jacobian of x -> x + u(x) at every voxel of a displacement field, float32 [*grid].

    Derivatives in space, whatever the grid's axes: central differences, one-sided at the border. 1 where volume is
    kept; where it has the other sign than in most places, the map folds.
    """
    matrix = transform.grid.voxel_to_lps[:-1, :-1]
    dim, size = len(matrix), transform.grid.shape[0]
    result = np.empty(transform.grid.shape, np.float32)
    for start in range(0, size, _SLAB):
        # With a layer more on both sides, where there is one, so that differences are central.
        first, last = max(start - 1, 0), min(start + _SLAB + 1, size)
        part = transform.displacement[:, first:last].astype(np.float64)
        slopes = np.stack([np.gradient(part, axis=axis) for axis in range(1, dim + 1)], axis=-1)
        jacobian = np.moveaxis(slopes, 0, -2) + matrix  # of voxel indices to millimetres
        inner = slice(start - first, start - first + min(_SLAB, size - start))
        result[start : start + _SLAB] = np.linalg.det(jacobian[inner]) / np.linalg.det(matrix)
    return result
