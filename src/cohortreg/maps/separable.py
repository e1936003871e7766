"""Products with a matrix along each axis of a grid, and the matrices of smooth fields: Gaussians on a control grid."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def separable(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Values [batch, channels, *grid] times a matrix [to, from] along each axis, [batch, channels, *to]."""
    for axis, matrix in enumerate(matrices, start=2):
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        if after:
            # Plain products of matrices, none of which has to be copied first.
            rows = values.reshape(math.prod(before), values.shape[axis], math.prod(after))
            values = torch.matmul(matrix, rows).reshape(*before, len(matrix), *after)
        else:
            values = (values.reshape(-1, values.shape[axis]) @ matrix.T).reshape(*before, len(matrix))
    return values


def control_points(size: int, spacing: float) -> int:
    """The number of control points of an axis of `size` voxels, the outer ones at its ends or beyond."""
    return math.ceil((size - 1) / spacing) + 1


def gaussians(size: int, spacing: float, deviation: float, like: Tensor) -> Tensor:
    """What each control point contributes to each voxel of an axis, [size, control_points(size, spacing)].

    Far from the ends the contributions to a voxel sum to 1.

    Args:
        spacing: Voxels between control points, around the middle of the axis.
        deviation: The Gaussians' standard deviation, in voxels.
        like: Tensor whose type and device the result has.
    """
    count = control_points(size, spacing)
    voxels = torch.arange(size, device=like.device, dtype=like.dtype)[:, None] - (size - 1) / 2
    centres = spacing * (torch.arange(count, device=like.device, dtype=like.dtype) - (count - 1) / 2)
    reach = math.ceil(8 * deviation / spacing)
    total = sum(math.exp(-0.5 * (step * spacing / deviation) ** 2) for step in range(-reach, reach + 1))
    return torch.exp(-0.5 * ((voxels - centres) / deviation) ** 2) / total


def sampled(matrix: Tensor, size: int) -> Tensor:
    """A matrix's rows at the voxels of a coarser axis between the same ends, by linear interpolation, [size, from]."""
    places = torch.linspace(0, len(matrix) - 1, size, device=matrix.device, dtype=matrix.dtype)
    below = places.floor().long().clamp(max=max(len(matrix) - 2, 0))
    above = (below + 1).clamp(max=len(matrix) - 1)
    return torch.lerp(matrix[below], matrix[above], (places - below)[:, None])


def smoothed(values: Tensor, deviation: float) -> Tensor:
    """Values [batch, channels, *grid] under a Gaussian, voxels; near the border, the mean of what lies within."""
    matrices = [gaussians(size, 1, deviation, values) for size in values.shape[2:]]
    return separable(values, [matrix / matrix.sum(1, keepdim=True) for matrix in matrices])
