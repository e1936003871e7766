"""Sampling at points in physical space, where labels and displacement fields on different grids meet.

Points are [1, dim, *any] float64 in ITK's physical space (LPS millimetres), as the displacements are.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cohortreg.evaluation.structures import bounding_box
from cohortreg.images.grid import Grid
from cohortreg.maps.transforms import Transform, apply_affine


def centres(grid: Grid) -> Tensor:
    """Points of the voxel centres of a grid, [1, dim, *grid.shape]."""
    axes = [torch.arange(n, dtype=torch.float64) for n in grid.shape]
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


def crop(mask: np.ndarray, grid: Grid) -> tuple[Tensor, Grid]:
    """The box around a mask [i, j, k], as values [1, 1, *box] float32, and where that box lies.

    Sampled with zeros outside it equals the whole mask, at a fraction of the memory.
    """
    box = bounding_box(mask)
    values = torch.from_numpy(mask[box])[None, None].float()
    return values, grid.part([side.start for side in box], values.shape[2:])
