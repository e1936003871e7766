"""The unit grid and linear interpolation on it.

Unit coordinates: the centre of voxel i on an axis of n voxels is at i/(n-1). Axis 0 of a map is the first
spatial axis of the tensor.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cohortreg.errors import NotFiniteError

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


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
    """Values at points by linear interpolation, [batch, channels, *out]; outside the grid, the value at the border.

    Args:
        values: [batch, channels, *grid].
        points: [batch or 1, dim, *out] in unit coordinates.

    Raises:
        NotFiniteError: Points are NaN or infinite and a gradient is asked for.
    """
    points = points.expand(len(values), *points.shape[1:])
    rows = values.shape[2:4].numel()
    if values.dim() == 5 and values.device.type == "cpu" and values.shape[3] > 1 and rows <= 2**14:
        return _interpolate_volume(values, points)
    # grid_sample counts axes backwards and spans -1 to 1.
    return _sample(values, (points.flip(1) * 2 - 1).movedim(1, -1))


def _interpolate_volume(values: Tensor, points: Tensor) -> Tensor:
    """`interpolate` of a volume on a processor, where PyTorch is several times faster at images than at volumes.

    The slices of the volume, one below the other, are one image; each voxel of it holds the channels of its slice and
    of the next one, so that one look-up interpolates within both. Rows are numbers up to 2**14, which float32 resolves
    to 1/1024: points are off by up to about 1/500 voxel, and kept so far from a slice's ends that none sees another.
    """
    channels, depth, height = values.shape[1:4]
    z = (points[:, 0] * (depth - 1)).clamp(0, depth - 1)
    margin = depth * height * 2**-24
    y = (points[:, 1] * (height - 1)).clamp(margin, height - 1 - margin)
    slices = z.detach().floor()
    rows = (y + slices * height) * (2 / max(depth * height - 1, 1)) - 1
    sampling = torch.stack([points[:, 2] * 2 - 1, rows], 1)
    following = torch.cat([values[:, :, 1:], values[:, :, -1:]], 2)
    image = torch.cat([values, following], 1).flatten(2, 3)
    sampled = _sample(image, sampling.flatten(2, 3).movedim(1, -1)).unflatten(2, points.shape[2:4])
    return torch.lerp(sampled[:, :channels], sampled[:, channels:], (z - slices)[:, None])


def _sample(values: Tensor, sampling: Tensor) -> Tensor:
    """grid_sample; where threads could share out but a batch of one, they get slabs of the points instead."""
    slabs = math.gcd(torch.get_num_threads(), sampling.shape[1]) if len(values) == 1 else 1
    if slabs > 1 and values.device.type == "cpu":
        sampling = sampling.reshape(slabs, -1, *sampling.shape[2:])
        return torch.cat(_sample(values.expand(slabs, *values.shape[1:]), sampling).split(1), 2)
    writes = values.device.type == "cpu" and (values.requires_grad or sampling.requires_grad)
    # Of a NaN, the gradient would write outside of the values' memory. To look at each takes many times as long.
    if writes and not sampling.detach().sum().isfinite():
        raise NotFiniteError("a map leads to points that are NaN or infinite.")
    return F.grid_sample(values, sampling, mode="bilinear", padding_mode="border", align_corners=True)


def resize(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Values [batch, channels, *grid] at the voxel centres of another grid over the same unit square or cube.

    The same as `interpolate` at `identity_map(shape)`, and several times faster.
    """
    if tuple(values.shape[2:]) == tuple(shape):
        return values
    return F.interpolate(values, size=tuple(shape), mode=LINEAR[len(shape)], align_corners=True)
