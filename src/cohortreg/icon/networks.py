"""Networks that look at a moving and a fixed image and predict a displacement field: the four of 4.2.

Each takes two images [batch, 1, *grid] and returns displacements [batch, dim, *grid] in unit coordinates; its
last layer, `last`, starts at zero, so that every registration starts at the identity. Every one is the authors'
network of the class named in its docstring, to the last digit.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def _with_channels(x: Tensor, channels: int) -> Tensor:
    """The first channels of x, or x behind channels of zeros, so that it can be added to a layer's output."""
    missing = channels - x.shape[1]
    if missing <= 0:
        return x[:, :channels]
    return F.pad(x, [0, 0] * (x.dim() - 2) + [missing, 0])


def _zero(layer: nn.Module) -> nn.Module:
    """A last layer, which starts at zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _cropped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """x [batch, channels, *grid] without what upsampling added to odd sizes."""
    return x[(..., *[slice(n) for n in shape])]


def _channels_last(x: Tensor) -> Tensor:
    """x [batch, channels, *grid] with its channels last in memory: what convolutions are fastest on."""
    return x.contiguous(memory_format=_CHANNELS_LAST[x.dim() - 2])


def _halve(x: Tensor) -> Tensor:
    """x [batch, channels, *grid] at half resolution, by averaging over 2 voxels along every axis."""
    return _AVERAGE_POOL[x.dim() - 2](x, 2, ceil_mode=True)


def _double(x: Tensor) -> Tensor:
    """x [batch, channels, *grid] at twice the resolution, by linear interpolation between voxel centres."""
    return F.interpolate(x, scale_factor=2, mode=_LINEAR[x.dim() - 2], align_corners=False)


def _beside(x: Tensor, skip: Tensor) -> Tensor:
    """The channels of x, then those of skip."""
    if x.requires_grad:
        # Concatenation hands back a slice of its gradient, on which normalisation is several times slower.
        x.register_hook(_channels_last)
    return torch.cat([x, skip], 1)


def _convolve_beside(layer: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
    """layer(_beside(x, skip)) for a convolution to few channels, which costs less than concatenation."""
    convolve = {2: F.conv2d, 3: F.conv3d}[x.dim() - 2]
    weights = layer.weight.split([x.shape[1], skip.shape[1]], 1)
    y = convolve(x, _channels_last(weights[0]), layer.bias, padding=layer.padding)
    return y + convolve(skip, _channels_last(weights[1]), padding=layer.padding)


def _plus(y: Tensor, x: Tensor, resample: Callable[[Tensor], Tensor]) -> Tensor:
    """y + resample(x), with as many channels as y has, where resample treats one axis like the other.

    Three dimensions have no fast resampling with channels last in memory on processors. Planes do, as images of a
    batch; a product of matrices then resamples the first axis, and adds y on its way.
    """
    channels = y.shape[1]
    depth = x.shape[2]
    planes = x if x.dim() == 4 else x.transpose(1, 2).flatten(0, 1)
    planes = _channels_last(planes[:, :channels])
    planes = _with_channels(resample(planes), channels)
    if x.dim() == 4:
        return y + planes
    line = resample(torch.eye(depth, dtype=x.dtype, device=x.device)[None])[0].T
    rows = planes.permute(0, 2, 3, 1).reshape(len(x), depth, -1)
    y = y.movedim(1, -1)
    total = y.flatten(2).baddbmm_(line.expand(len(x), -1, -1).to(y.dtype), rows.to(y.dtype))
    return total.reshape(y.shape).movedim(-1, 1)


class Network(nn.Module):
    """What all networks have in common."""

    #: Whether training keeps neither its activations nor those of its map, and computes them again for the gradient.
    recompute = False

    def __call__(self, moving: Tensor, fixed: Tensor) -> Tensor:
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
        """Normalisation does not see a batch that it sees again: its running statistics have it already."""
        norms = [m for m in self.modules() if isinstance(m, tuple(_BATCH_NORM.values()))]
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

    hidden: widths of the hidden layers; the authors' are 8000 and 3000.
    """

    def __init__(self, grid: Sequence[int], hidden: Sequence[int]):
        super().__init__()
        self.grid = tuple(grid)
        pixels = math.prod(grid)
        self.first = nn.Linear(2 * pixels, hidden[0])
        self.second = nn.Linear(hidden[0], hidden[1])
        self.last = _zero(nn.Linear(hidden[1], len(grid) * pixels))

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        x = torch.cat([moving, fixed], 1).flatten(1)
        x = self.last(F.relu(self.second(F.relu(self.first(x)))))
        return x.reshape(-1, len(self.grid), *self.grid)


class EncoderDecoder(Network):
    """Down and up again without skip connections (`Autoencoder`).

    down, up: as for `UNet`; the last layer sees up[0] channels.
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
        self.to(memory_format=_CHANNELS_LAST[dim])

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
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

    channels: of each layer, 10 in the authors' network. layers: 6, the last one included.
    """

    def __init__(self, dim: int, channels: int, layers: int):
        super().__init__()
        self.hidden = nn.ModuleList(
            _CONV[dim](2 + n * channels, channels, kernel_size=5, padding=2) for n in range(layers - 1)
        )
        self.last = _zero(_CONV[dim](2 + (layers - 1) * channels, dim, kernel_size=5, padding=2))
        self.to(memory_format=_CHANNELS_LAST[dim])

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        x = _channels_last(torch.cat([moving, fixed], 1))
        for convolve in self.hidden:
            x = torch.cat([x, F.relu(convolve(x))], 1)
        return self.last(x)


class UNet(Network):
    """U-Net with skip and residual connections (4.2), the authors' `UNet2`.

    down: channels from the input (the two images) to the coarsest level, one more than there are levels.
    up: channels of each level on the way up, finest first. The paper's network is
    down = 2, 16, 32, 64, 256, 512 and up = 16, 32, 64, 128, 256. With n fewer levels on the way up than down, the
    displacement is 2^n times coarser than the images along every axis: a smoother map from less computation.
    bottleneck: channels of a dense layer between both ways, for images on `grid` only (`UNet2ChunkyMiddle`).
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
        self.to(memory_format=_CHANNELS_LAST[dim])

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        x = _channels_last(torch.cat([moving, fixed], 1))
        skips = []
        for convolve in self.down:
            skips.append(x)
            x = _plus(convolve(F.leaky_relu(x)), x, _halve)
        if self.dense is not None:
            squeeze, expand = self.dense
            x = expand(F.leaky_relu(squeeze(x.flatten(1)))).reshape(x.shape)
        skips = skips[-len(self.up) :]
        for skip, convolve, normalise in reversed(list(zip(skips, self.up, self.norm, strict=True))):
            x = _cropped(normalise(_plus(convolve(F.leaky_relu(x)), x, _double)), skip.shape[2:])
            if skip is not skips[0]:
                x = _beside(x, skip)
        return _convolve_beside(self.last, x, skips[0]) / 10


#: Each name of the configuration, and how its network is made from the settings of `network` and the grid that it sees.
ARCHITECTURES: dict[str, Callable[[dict, Sequence[int]], nn.Module]] = {
    "mlp": lambda settings, grid: MLP(grid, settings["hidden"]),
    "enc_dec": lambda settings, grid: EncoderDecoder(len(grid), settings["down"], settings["up"]),
    "conv_only": lambda settings, grid: ConvOnly(len(grid), settings["channels"], settings["layers"]),
    "unet": lambda settings, grid: UNet(
        len(grid), settings["down"], settings["up"], settings.get("bottleneck"), grid
    ),
}
