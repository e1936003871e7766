"""What of two images was imaged: only there is a similarity measured."""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from cohortreg.maps.grids import identity_map


def within(points: Tensor, bounds: Tensor) -> Tensor:
    """1 where a point lies within its image's field of view, else 0, [batch, 1, *any].

    Args:
        points: [batch or 1, dim, *any] in unit coordinates.
        bounds: [batch, 2, dim], its first and last voxel centres along each axis, in unit coordinates.
    """
    first, last = bounds.reshape(*bounds.shape, *[1] * (points.dim() - 2)).unbind(1)
    inside = ((points >= first) & (points <= last)).split(1, 1)
    return reduce(torch.logical_and, inside).to(points.dtype)


def both_imaged(phi: Tensor, moving_bounds: Tensor, fixed_bounds: Tensor) -> Tensor:
    """1 at voxels of the fixed image that were imaged, and that a map takes to where the moving image was, else 0.

    Of the map's values on the grid, phi [batch, dim, *grid], and bounds as for `within`: [batch, 1, *grid].
    """
    return within(phi, moving_bounds) * within(identity_map(phi.shape[2:], phi.device), fixed_bounds)


def unit_bounds(
    field_of_view: Tensor, shape: Sequence[int], downsample: int = 1, beyond_grid: bool = True
) -> Tensor:
    """Fields of view in unit coordinates, [batch, 2, dim], see `within`.

    Args:
        field_of_view: [batch, 2, dim] in voxels of the full grid, the first voxel imaged along each axis and the one
            after the last.
        shape: Of the grid, `downsample` times coarser.
        beyond_grid: An image that reaches the grid's end is not bounded there, and beyond the grid its border's value
            counts, as in the paper.
    """
    size = torch.tensor(shape, device=field_of_view.device, dtype=torch.float32)
    first = torch.ceil(field_of_view[:, 0] / downsample)
    end = torch.floor(field_of_view[:, 1] / downsample)
    spans = (size - 1).clamp(min=1)
    first = torch.where((first <= 0) & beyond_grid, -math.inf, first / spans)
    last = torch.where((end >= size) & beyond_grid, math.inf, (end - 1) / spans)
    return torch.stack([first, last], 1)
