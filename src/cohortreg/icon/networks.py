"""Networks that look at a moving and a fixed image and predict a displacement field.

Each takes two images [batch, channels, *grid] and returns displacements [batch, dim, *grid] in unit
coordinates; the last layer starts at zero, so that every registration starts at the identity (4.2).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_AVERAGE_POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}
_LINEAR = {2: "bilinear", 3: "trilinear"}
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def _with_channels(x: Tensor, channels: int) -> Tensor:
    """The first channels of x, or x behind channels of zeros, so that it can be added to a layer's output."""
    missing = channels - x.shape[1]
    if missing <= 0:
        return x[:, :channels]
    zeros = x.new_zeros(x.shape[0], missing, *x.shape[2:])
    return torch.cat([zeros, x], 1)


class UNet(nn.Module):
    """U-Net with skip and residual connections (4.2), the authors' `UNet2`.

    down: channels from the input (the two images) to the coarsest level, one more than there are levels.
    up: channels of each level on the way up, finest first. The paper's network is
    down = 2, 16, 32, 64, 256, 512 and up = 16, 32, 64, 128, 256.
    """

    def __init__(self, dim: int, down: Sequence[int], up: Sequence[int]):
        super().__init__()
        self.dim = dim
        levels = range(len(up))
        # A level's input on the way up: what came down to it, beside what came up to it from below.
        below = [down[level + 1] + (up[level + 1] if level + 1 < len(up) else 0) for level in levels]
        self.down = nn.ModuleList(
            _CONV[dim](down[level], down[level + 1], kernel_size=3, stride=2, padding=1) for level in levels
        )
        self.up = nn.ModuleList(
            _CONV_TRANSPOSE[dim](below[level], up[level], kernel_size=4, stride=2, padding=1)
            for level in levels
        )
        self.norm = nn.ModuleList(_BATCH_NORM[dim](up[level]) for level in levels)
        self.last = _CONV[dim](down[0] + up[0], dim, kernel_size=3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.to(memory_format=_CHANNELS_LAST[dim])

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        x = self._contiguous(torch.cat([moving, fixed], 1))
        skips = []
        for convolve in self.down:
            skips.append(x)
            y = convolve(F.leaky_relu(x))
            x = y + _with_channels(_AVERAGE_POOL[self.dim](x, 2, ceil_mode=True), y.shape[1])
        for skip, convolve, normalise in reversed(list(zip(skips, self.up, self.norm, strict=True))):
            y = convolve(F.leaky_relu(x))
            # A slice of channels is strided, which makes upsampling several times slower.
            residue = self._contiguous(_with_channels(x, y.shape[1]))
            x = y + F.interpolate(residue, scale_factor=2, mode=_LINEAR[self.dim], align_corners=False)
            x = normalise(x)
            if x.requires_grad:
                # Concatenation hands back a slice of its gradient, on which normalisation is several times slower.
                x.register_hook(self._contiguous)
            if x.shape[2:] != skip.shape[2:]:  # an odd size comes back one voxel too large
                x = x[(..., *[slice(n) for n in skip.shape[2:]])]
            x = torch.cat([x, skip], 1)
        return self.last(x) / 10

    def _contiguous(self, x: Tensor) -> Tensor:
        """x with its channels last in memory: what convolutions on processors and accelerators are fastest on."""
        return x.contiguous(memory_format=_CHANNELS_LAST[self.dim])
