"""The unit grid and linear interpolation on it.

Unit coordinates: the centre of voxel i on an axis of n voxels is at i/(n-1). Axis 0 of a map is the first
spatial axis of the tensor.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def identity_map(
    shape: Sequence[int], device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Unit coordinates of every voxel centre, [1, dim, *shape]."""
    axes = [torch.arange(n, device=device, dtype=dtype) / max(n - 1, 1) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def voxel_size(shape: Sequence[int], like: Tensor) -> Tensor:
    """Distance between neighbouring voxel centres in unit coordinates, [1, dim, 1, ...], on `like`'s device."""
    size = torch.tensor([1.0 / max(n - 1, 1) for n in shape], device=like.device, dtype=like.dtype)
    return size.reshape(1, -1, *[1] * len(shape))


def interpolate(values: Tensor, points: Tensor) -> Tensor:
    """Values at points by linear interpolation; outside the grid, the value at the border.

    values: [batch, channels, *grid]. points: [batch or 1, dim, *out] in unit coordinates.
    Returns [batch, channels, *out].
    """
    # grid_sample counts axes backwards and spans -1 to 1.
    sampling = points.flip(1).mul_(2).sub_(1).movedim(1, -1).expand(len(values), *points.shape[2:], -1)
    slabs = math.gcd(torch.get_num_threads(), points.shape[2])
    if len(values) == 1 and slabs > 1 and values.device.type == "cpu":
        # Threads share out a batch and nothing smaller: they get slabs of the points for it.
        values = values.expand(slabs, *values.shape[1:])
        sampling = sampling.reshape(slabs, -1, *sampling.shape[2:])
        return torch.cat(_sample(values, sampling).split(1), 2)
    return _sample(values, sampling)


def _sample(values: Tensor, sampling: Tensor) -> Tensor:
    return F.grid_sample(values, sampling, mode="bilinear", padding_mode="border", align_corners=True)


def resize(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Values [batch, channels, *grid] at the voxel centres of another grid over the same unit square or cube.

    The same as `interpolate` at `identity_map(shape)`, and several times faster.
    """
    if tuple(values.shape[2:]) == tuple(shape):
        return values
    return F.interpolate(values, size=tuple(shape), mode=_LINEAR[len(shape)], align_corners=True)
