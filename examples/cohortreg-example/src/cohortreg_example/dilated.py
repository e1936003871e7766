"""Convolutions with gaps, a network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohortreg.icon.networks import Network


class Dilated(Network):
    """Convolutions with gaps that double, which see far without resampling.

    channels: of each layer. layers: of them, without the last one; the widest gap is 2^(layers - 1) voxels.
    """

    def __init__(self, dim: int, channels: int, layers: int):
        super().__init__()
        convolution = nn.Conv2d if dim == 2 else nn.Conv3d
        self.hidden = nn.ModuleList(
            convolution(channels if n else 2, channels, kernel_size=3, padding=2**n, dilation=2**n)
            for n in range(layers)
        )
        self.last = convolution(channels, dim, kernel_size=3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        x = torch.cat([moving, fixed], 1)
        for convolve in self.hidden:
            x = F.leaky_relu(convolve(x))
        return self.last(x) / 10
