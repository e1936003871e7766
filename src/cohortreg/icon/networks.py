"""Networks that look at a moving and a fixed image and predict a displacement field: the four of 4.2, and one of ours.

Each takes two images [batch, 1, *grid] and returns displacements [batch, dim, *grid] in unit coordinates; its
last layer, `last`, starts at zero, so that every registration starts at the identity. The four are the authors'
networks of the class named in their docstrings, to the last digit; `DualStream` is ours.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise, product
from typing import Any, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cohortreg.icon.steps import halve
from cohortreg.maps.grids import LINEAR, identity_map, interpolate, resize, voxel_size
from cohortreg.maps.separable import smoothed

_CONV: dict[int, type[nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}

Layer = TypeVar("Layer", bound=nn.Module)


def _zero(layer: Layer) -> Layer:
    """Initialise a last layer at zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _cropped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Crop x [batch, channels, *grid] to a grid, since upsampling adds a voxel to odd sizes."""
    return x[(slice(None), slice(None), *(slice(n) for n in shape))]


def _channels_last(x: Tensor) -> Tensor:
    """Store x [batch, channels, *grid] with its channels last in memory, where convolutions are fastest."""
    return x.contiguous(memory_format=_CHANNELS_LAST[x.dim() - 2])


def _store_channels_last(module: nn.Module, dim: int) -> None:
    """Store the weights of convolutions with their channels last in memory."""
    module.to(memory_format=_CHANNELS_LAST[dim])  # type: ignore[call-overload]  # the stubs lack this argument


def _double(x: Tensor) -> Tensor:
    """Double the resolution of x [batch, channels, *grid] by linear interpolation between voxel centres."""
    return F.interpolate(x, scale_factor=2, mode=LINEAR[x.dim() - 2], align_corners=False)


def _beside(x: Tensor, skip: Tensor) -> Tensor:
    """Concatenate the channels of x and those of skip."""
    if x.requires_grad:
        # Concatenation hands back a slice of its gradient, on which normalisation is several times slower.
        x.register_hook(_channels_last)
    return torch.cat([x, skip], 1)


def _convolve_beside(layer: nn.Conv2d | nn.Conv3d, x: Tensor, skip: Tensor) -> Tensor:
    """layer(_beside(x, skip)) for a convolution to few channels, which costs less than concatenation."""
    convolve = {2: F.conv2d, 3: F.conv3d}[x.dim() - 2]
    weights = layer.weight.split([x.shape[1], skip.shape[1]], 1)
    y = convolve(x, _channels_last(weights[0]), layer.bias, padding=layer.padding)
    return y + convolve(skip, _channels_last(weights[1]), padding=layer.padding)


def _plus(y: Tensor, x: Tensor, resample: Callable[[Tensor], Tensor]) -> Tensor:
    """Add resample(x), with as many channels as y has, zeros in front, to y; resample treats all axes alike.

    Three dimensions have no fast resampling with channels last in memory on processors. Planes do, as images of a
    batch; a product of matrices then resamples the first axis, and adds y on its way.
    """
    channels = y.shape[1]
    depth = x.shape[2]
    planes = x if x.dim() == 4 else x.transpose(1, 2).flatten(0, 1)
    planes = resample(_channels_last(planes[:, :channels]))
    if planes.shape[1] < channels:
        planes = F.pad(planes, [0, 0, 0, 0, channels - planes.shape[1], 0])
    if x.dim() == 4:
        return y + planes
    line = resample(torch.eye(depth, dtype=x.dtype, device=x.device)[None])[0].T
    rows = planes.permute(0, 2, 3, 1).reshape(len(x), depth, -1)
    y = y.movedim(1, -1)
    total = y.flatten(2).baddbmm_(line.expand(len(x), -1, -1).to(y.dtype), rows.to(y.dtype))
    return total.reshape(y.shape).movedim(-1, 1)


class Network(nn.Module):
    """The base class of all networks."""

    #: Whether training keeps neither its activations nor those of its map, and computes them again for the gradient.
    recompute = False

    @classmethod
    def build(cls, settings: Mapping[str, Any], grid: Sequence[int]) -> Self:
        """The network with the settings of the configuration, for images on a grid."""
        return cls(len(grid), **settings)

    def __call__(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Predict the displacements of the pairs, [batch, dim, *grid], in unit coordinates."""
        if not self.recompute:
            return super().__call__(moving, fixed)
        # Nothing in a network is random.
        return checkpoint(
            super().__call__,
            moving,
            fixed,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), self._batches_not_counted()),
        )

    @contextmanager
    def _batches_not_counted(self) -> Iterator[None]:
        """Freeze the running statistics of batch normalisation while a batch is recomputed."""
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
        before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        try:
            yield
        finally:
            for norm, (momentum, batches) in zip(norms, before, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, batches


def recompute_activations(module: nn.Module) -> None:
    """Train all networks in a module in less memory and more time, to the same weights, see `Network.recompute`."""
    for network in module.modules():
        if isinstance(network, Network):
            network.recompute = True


class MLP(Network):
    """Two hidden layers over all pixels of both images at once (`FCNet`); sees one grid only.

    Args:
        hidden: Widths of the hidden layers; the authors' are 8000 and 3000.
    """

    def __init__(self, grid: Sequence[int], hidden: Sequence[int]):
        super().__init__()
        self.grid = tuple(grid)
        pixels = math.prod(grid)
        self.first = nn.Linear(2 * pixels, hidden[0])
        self.second = nn.Linear(hidden[0], hidden[1])
        self.last = _zero(nn.Linear(hidden[1], len(grid) * pixels))

    @classmethod
    def build(cls, settings: Mapping[str, Any], grid: Sequence[int]) -> Self:
        """Build the network for images on a grid, the only one that it sees."""
        return cls(grid, **settings)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Predict the displacements of the pairs, [batch, dim, *grid], in unit coordinates."""
        x = torch.cat([moving, fixed], 1).flatten(1)
        x = self.last(F.relu(self.second(F.relu(self.first(x)))))
        return x.reshape(-1, len(self.grid), *self.grid)


class EncoderDecoder(Network):
    """Down and up again without skip connections (`Autoencoder`).

    Args:
        down, up: As for `UNet`; the last layer sees up[0] channels.
    """

    def __init__(self, dim: int, down: Sequence[int], up: Sequence[int]):
        super().__init__()
        self.down = nn.ModuleList(
            _CONV[dim](before, after, kernel_size=3, stride=2, padding=1) for before, after in pairwise(down)
        )
        below = [*up[1:], down[-1]]
        self.up = nn.ModuleList(
            _CONV_TRANSPOSE[dim](before, after, kernel_size=4, stride=2, padding=1)
            for before, after in zip(below, up, strict=True)
        )
        self.last = _zero(_CONV[dim](up[0], dim, kernel_size=3, padding=1))
        _store_channels_last(self, dim)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Predict the displacements of the pairs, [batch, dim, *grid], in unit coordinates."""
        x = _channels_last(torch.cat([moving, fixed], 1))
        shapes = []
        for convolve in self.down:
            shapes.append(x.shape[2:])
            x = F.relu(convolve(x))
        for convolve in reversed(self.up):
            x = _cropped(F.relu(convolve(x)), shapes.pop())
        return self.last(x) / 10


class ConvOnly(Network):
    """Layers without resampling, each of which sees the outputs of all before it (`RegisNet`).

    Args:
        channels: Of each layer, 10 in the authors' network.
        layers: 6, the last one included.
    """

    def __init__(self, dim: int, channels: int, layers: int):
        super().__init__()
        self.hidden = nn.ModuleList(
            _CONV[dim](2 + n * channels, channels, kernel_size=5, padding=2) for n in range(layers - 1)
        )
        self.last = _zero(_CONV[dim](2 + (layers - 1) * channels, dim, kernel_size=5, padding=2))
        _store_channels_last(self, dim)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Predict the displacements of the pairs, [batch, dim, *grid], in unit coordinates."""
        x = _channels_last(torch.cat([moving, fixed], 1))
        for convolve in self.hidden:
            x = torch.cat([x, F.relu(convolve(x))], 1)
        return self.last(x)


class UNet(Network):
    """U-Net with skip and residual connections (4.2), the authors' `UNet2`.

    The paper's network is down = 2, 16, 32, 64, 256, 512 and up = 16, 32, 64, 128, 256. With n fewer levels on the way
    up than down, the displacement is 2^n times coarser than the images along every axis: a smoother map from less
    computation.

    Args:
        down: Channels from the input (the two images) to the coarsest level, one more than there are levels.
        up: Channels of each level on the way up, finest first.
        bottleneck: Channels of a dense layer between both ways, for images on `grid` only (`UNet2ChunkyMiddle`).
    """

    def __init__(
        self,
        dim: int,
        down: Sequence[int],
        up: Sequence[int],
        bottleneck: int | None = None,
        grid: Sequence[int] = (),
    ):
        super().__init__()
        # Levels on the way down; of these, the finest have no way up where the displacement is coarser.
        levels = range(len(down) - 1)
        coarser = len(levels) - len(up)
        # A level's input on the way up: what came down to it, beside what came up to it from below.
        below = [down[coarser + level + 1] + width for level, width in enumerate([*up[1:], 0])]
        self.down = nn.ModuleList(
            _CONV[dim](down[level], down[level + 1], kernel_size=3, stride=2, padding=1) for level in levels
        )
        self.up = nn.ModuleList(
            _CONV_TRANSPOSE[dim](wide, width, kernel_size=4, stride=2, padding=1)
            for wide, width in zip(below, up, strict=True)
        )
        self.norm = nn.ModuleList(_BATCH_NORM[dim](width) for width in up)
        self.last = _zero(_CONV[dim](down[coarser] + up[0], dim, kernel_size=3, padding=1))
        self.dense = None
        if bottleneck is not None:
            voxels = math.prod(math.ceil(size / 2 ** len(levels)) for size in grid)
            widths = down[-1] * voxels, bottleneck * voxels
            self.dense = nn.ModuleList([nn.Linear(*widths), nn.Linear(*reversed(widths))])
        _store_channels_last(self, dim)

    @classmethod
    def build(cls, settings: Mapping[str, Any], grid: Sequence[int]) -> Self:
        """Build the network for images on a grid, which a bottleneck depends on."""
        return cls(len(grid), **settings, grid=grid)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Predict the displacements of the pairs, [batch, dim, *grid], in unit coordinates."""
        x = _channels_last(torch.cat([moving, fixed], 1))
        skips = []
        for convolve in self.down:
            skips.append(x)
            x = _plus(convolve(F.leaky_relu(x)), x, halve)
        if self.dense is not None:
            squeeze, expand = self.dense
            x = expand(F.leaky_relu(squeeze(x.flatten(1)))).reshape(x.shape)
        skips = skips[-len(self.up) :]
        for skip, convolve, normalise in reversed(list(zip(skips, self.up, self.norm, strict=True))):
            x = _cropped(normalise(_plus(convolve(F.leaky_relu(x)), x, _double)), skip.shape[2:])
            if skip is not skips[0]:
                x = _beside(x, skip)
        return _convolve_beside(self.last, x, skips[0]) / 10


class InstanceNorm(nn.Module):
    """Each channel of each image with mean 0 and variance 1 over its voxels, then scaled and shifted as was learnt.

    As `torch.nn.InstanceNorm3d`, which knows no channels last in memory.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise features [batch, channels, *grid]."""
        shape = [1, -1, *[1] * (x.dim() - 2)]
        variance, mean = torch.var_mean(x, list(range(2, x.dim())), correction=0, keepdim=True)
        scale = self.weight.reshape(shape) * torch.rsqrt(variance + 1e-5)
        return torch.addcmul(self.bias.reshape(shape) - mean * scale, x, scale)


def _block(dim: int, before: int, after: int, stride: int = 1) -> nn.Module:
    """Build a convolution with normalisation and nonlinearity."""
    return nn.Sequential(
        _CONV[dim](before, after, kernel_size=3, stride=stride, padding=1),
        InstanceNorm(after),
        nn.LeakyReLU(0.1),
    )


def local_correlation(fixed: Tensor, moving: Tensor, radius: int) -> Tensor:
    """Cosines between fixed features at each voxel and moving ones at each voxel within a radius along each axis.

    Of [batch, channels, *grid] both, [batch, (2 radius + 1)^dim, *grid]; beyond the grid moving features and cosines
    are 0.
    """
    fixed, moving = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-3) for x in (fixed, moving))
    around = F.pad(moving, [radius] * (2 * (moving.dim() - 2)))
    return _Correlation.apply(fixed, around, radius)


class _Correlation(torch.autograd.Function):
    """Products of fixed features with padded moving ones at each shift; keeps none of them for its gradient."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, around: Tensor, radius: int) -> Tensor:
        ctx.save_for_backward(fixed, around)
        ctx.radius = radius
        return torch.stack([(fixed * near).sum(1) for near in _shifted(around, fixed.shape[2:], radius)], 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        fixed, around = ctx.saved_tensors
        shape = fixed.shape[2:]
        by_fixed, by_around = torch.zeros_like(fixed), torch.zeros_like(around)
        nearby = zip(*(_shifted(x, shape, ctx.radius) for x in (around, by_around)), strict=True)
        for of_shift, (near, by_near) in zip(gradient.split(1, 1), nearby, strict=True):
            by_fixed.addcmul_(near, of_shift)
            by_near.addcmul_(fixed, of_shift)
        return by_fixed, by_around, None


def _shifted(around: Tensor, shape: Sequence[int], radius: int) -> Iterator[Tensor]:
    """Views of padded values [batch, channels, *shape + 2 radius] at each shift, [batch, channels, *shape]."""
    for shift in product(range(2 * radius + 1), repeat=len(shape)):
        window = (slice(first, first + size) for first, size in zip(shift, shape, strict=True))
        yield around[(slice(None), slice(None), *window)]


class DualStream(Network):
    """One encoder sees each image by itself; displacements add up from coarse to fine, from what correlates where.

    A decoder never sees an image's features, only how the fixed ones correlate with the moving ones around the place
    that the displacement found so far leads to: it learns how images move against each other, and less of which
    subjects there are.

    Args:
        down: Channels from the input (one image) to the coarsest level, one more than there are levels, each of them
            twice as coarse as the one before.
        finest: How many times coarser than the images the first level is, 1 or 2: with 1, its features show what is as
            thin as a voxel; with 2, a step takes about half of the time.
        up: Channels of each level's decoder, finest first; with n fewer than levels, the displacement is 2^n times
            coarser than the first level.
        smoothing: Standard deviation of the Gaussian that smooths the displacement, in its voxels; none if None.
            Between voxels the displacement is interpolated linearly and bends at each of them, and where one bend
            folds, it folds all image voxels beside it.
    """

    def __init__(
        self,
        dim: int,
        down: Sequence[int],
        up: Sequence[int],
        finest: int = 1,
        smoothing: float | None = None,
    ):
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(_block(dim, before, after, 2 if level else finest), _block(dim, after, after))
            for level, (before, after) in enumerate(pairwise(down))
        )
        self.smoothing = smoothing
        #: Voxels to each side within which features are compared: more where the images may lie far apart.
        self.radius = [1] * (len(up) - 1) + [2]
        seen = [(2 * radius + 1) ** dim + dim for radius in self.radius]
        from_below = [*up[1:], 0]
        self.up = nn.ModuleList(
            nn.Sequential(_block(dim, here + below, width), _block(dim, width, width))
            for here, below, width in zip(seen, from_below, up, strict=True)
        )
        self.last = nn.ModuleList(_zero(_CONV[dim](width, dim, kernel_size=3, padding=1)) for width in up)
        _store_channels_last(self, dim)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Predict the displacements of the pairs, [batch, dim, *grid], in unit coordinates."""
        of_moving, of_fixed = self._features(moving, fixed)
        shape = of_fixed[-1].shape[2:]
        displacement = torch.zeros(len(fixed), len(shape), *shape, device=fixed.device, dtype=torch.float32)
        hidden: Tensor | None = None
        for level in reversed(range(len(self.up))):
            here, there = of_fixed.pop(), of_moving.pop()
            shape = here.shape[2:]
            if hidden is not None:
                displacement, hidden = resize(displacement, shape), resize(hidden, shape)
                phi = identity_map(shape, here.device) + displacement
                there = interpolate(there.float(), phi).to(here.dtype)
            voxel = voxel_size(shape, displacement)
            correlation = local_correlation(here, there, self.radius[level])
            known = [correlation, (displacement / voxel / 4).to(here.dtype)]
            if hidden is not None:
                known.append(hidden)
            hidden = self.up[level](_channels_last(torch.cat(known, 1)))
            displacement = displacement + self.last[level](hidden).float() * voxel
        if self.smoothing is None:
            return displacement
        with torch.autocast(displacement.device.type, enabled=False):
            return smoothed(displacement, self.smoothing)

    def _features(self, moving: Tensor, fixed: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The features of both images at each level, finest first, computed once where both batches are the same."""
        both = len(moving) % 2 == 0 and torch.equal(moving, torch.cat(fixed.chunk(2)[::-1]))
        x = _channels_last(moving if both else torch.cat([moving, fixed]))
        of_moving, of_fixed = [], []
        for level in self.down:
            x = level(x)
            first, second = x.chunk(2)
            of_moving.append(x if both else first)
            of_fixed.append(torch.cat([second, first]) if both else second)
        return of_moving, of_fixed
