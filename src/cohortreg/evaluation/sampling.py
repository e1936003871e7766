"""Sampling at points in physical space, where labels and displacement fields on different grids meet.

Points are [1, dim, *any] float64 in ITK's physical space (LPS millimetres), as the displacements are.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cohortreg.images.grid import Grid
from cohortreg.maps.transforms import Transform, apply_affine

VOXELS_AT_ONCE = 2**20


def slabs(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """First index and the one after the last, along axis 0, of slabs of about `VOXELS_AT_ONCE` that cover a grid."""
    thickness = max(1, VOXELS_AT_ONCE // math.prod(shape[1:]))
    return [(start, min(start + thickness, shape[0])) for start in range(0, shape[0], thickness)]


def slab_points(grid: Grid, start: int, stop: int) -> Tensor:
    """Points of the voxel centres of one slab, [1, dim, stop - start, *grid.shape[1:]]."""
    axes = [torch.arange(start, stop, dtype=torch.float64)]
    axes += [torch.arange(n, dtype=torch.float64) for n in grid.shape[1:]]
    return apply_affine(grid.voxel_to_lps, torch.stack(torch.meshgrid(*axes, indexing="ij"))[None])


def sample(values: Tensor, grid: Grid, points: Tensor, outside: str) -> Tensor:
    """Sample values at points by linear interpolation, [1, channels, *any].

    Args:
        values: [1, channels, *grid.shape], float32.
        points: [1, dim, *any], LPS millimetres.
        outside: "border" takes the border's value; "zeros" falls to zero within one voxel beyond the last centre, so
            that the outer half of a border voxel, which is still in the field of view, keeps more than half its value.
    """
    dim = points.shape[1]
    # From -1 to 1 between the outer edges of the grid: unit coordinates do not exist on an axis of one voxel.
    size = np.array(grid.shape)
    to_sampled = np.diag([*(2 / size), 1.0])
    to_sampled[:-1, -1] = 1 / size - 1
    affine = to_sampled @ grid.lps_to_voxel
    affine[:-1] = affine[-2::-1]  # `grid_sample` takes the last axis first
    sampling = apply_affine(affine, points.flatten(2)).movedim(1, -1).float()
    sampled = F.grid_sample(
        values, sampling.reshape(1, -1, *[1] * (dim - 1), dim), padding_mode=outside, align_corners=False
    )
    return sampled.reshape(1, -1, *points.shape[2:])


def displace(points: Tensor, transform: Transform) -> Tensor:
    """Where a transform takes points of the image it starts from, [1, dim, *any].

    The displacement is interpolated linearly; beyond the field's last voxel centres, which a label with smaller
    voxels reaches, it is that of the border.
    """
    return points + sample(torch.from_numpy(transform.displacement)[None], transform.grid, points, "border")
