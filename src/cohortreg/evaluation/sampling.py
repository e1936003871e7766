"""Arrays and displacement fields at points in physical space (RAS millimetres).

Labels, images and displacement fields each have a grid of their own; physical space is where they meet.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cohortreg.maps.transforms import Transform

POINTS_AT_ONCE = 2**20


def to_physical(indices: Tensor, affine: np.ndarray) -> Tensor:
    """Physical points of voxel indices, both [..., dim] float64; indices may lie between voxels."""
    dim = indices.shape[-1]
    matrix = torch.from_numpy(np.asarray(affine, dtype=np.float64))
    return indices @ matrix[:dim, :dim].T + matrix[:dim, 3]


def to_indices(points: Tensor, affine: np.ndarray) -> Tensor:
    """Voxel indices of physical points, both [..., dim] float64."""
    dim = points.shape[-1]
    matrix = torch.from_numpy(np.asarray(affine, dtype=np.float64))
    return (points - matrix[:dim, 3]) @ torch.linalg.inv(matrix[:dim, :dim]).T


def slabs(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last-plus-one index along axis 0 of slabs of about `POINTS_AT_ONCE` voxels that cover a grid."""
    thickness = max(1, POINTS_AT_ONCE // math.prod(shape[1:]))
    return [(start, min(start + thickness, shape[0])) for start in range(0, shape[0], thickness)]


def slab_points(affine: np.ndarray, shape: tuple[int, ...], start: int, stop: int) -> Tensor:
    """Physical points of the voxel centres of one slab, [stop - start, *shape[1:], dim] float64."""
    axes = [torch.arange(start, stop, dtype=torch.float64)]
    axes += [torch.arange(n, dtype=torch.float64) for n in shape[1:]]
    return to_physical(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1), affine)


def sample(values: Tensor, affine: np.ndarray, points: Tensor, outside: str) -> Tensor:
    """Values [channels, *grid] at physical points [..., dim], by linear interpolation: [channels, ...] float32.

    outside: "border" takes the border's value, "zeros" falls to zero over the width of one voxel, so that half
    of the voxel beyond the last centre still counts more than one half.
    """
    dim = points.shape[-1]
    size = torch.tensor(values.shape[1:], dtype=torch.float64)
    # Not align_corners: its coordinates are undefined on an axis of one voxel.
    coordinates = ((2 * to_indices(points, affine) + 1) / size - 1).flip(-1)
    coordinates = coordinates.reshape(1, -1, *[1] * (dim - 1), dim).to(torch.float32)
    sampled = F.grid_sample(values[None], coordinates, mode="bilinear", padding_mode=outside, align_corners=False)
    return sampled.reshape(values.shape[0], *points.shape[:-1])


def displace(points: Tensor, transform: Transform) -> Tensor:
    """Where a transform takes physical points [..., dim] of the image it starts from; the same shape.

    The field is interpolated linearly between its voxel centres. Beyond them, as where labels reach further
    than the image they belong to, it is that of the border.
    """
    dim = points.shape[-1]
    lps = sample(torch.from_numpy(transform.displacement), transform.affine, points, "border")
    sign = torch.tensor([-1.0, -1.0, 1.0][:dim], dtype=torch.float64)
    return points + lps.movedim(0, -1) * sign
