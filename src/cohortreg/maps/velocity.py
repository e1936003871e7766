"""Maps that flow along a stationary velocity field, and the smoothing that turns a momentum into one.

Velocity v = K * m with K a sum of Gaussians (Shen et al., CVPR 2019, section 3.2); the map is where points have gone
after one unit of time, dx/dt = v(x). Momentum, velocity and displacement are [batch, dim, *grid] in unit coordinates.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cohortreg.maps.grids import identity_map, interpolate


class MultiGaussian:
    """K: a weighted sum of Gaussians, each of integral 1, on a grid over the unit square or cube.

    Beyond its border a field goes on as its mirror image. In its cosine coefficients K is a product then: symmetric,
    positive, and as fast for five Gaussians as for one. Standard deviations are in unit coordinates.
    """

    def __init__(self, grid: Sequence[int], deviations: Sequence[float], weights: Sequence[float]):
        self.cosines = [_cosines(size) for size in grid]
        # The k-th cosine of n voxels of size 1/(n-1) has the angular frequency pi k (n-1) / n.
        frequencies = [math.pi * (size - 1) / size * torch.arange(size, dtype=torch.float64) for size in grid]
        squares = torch.stack(torch.meshgrid(*frequencies, indexing="ij")).square().sum(0)
        gains = [w * torch.exp(-0.5 * d**2 * squares) for d, w in zip(deviations, weights, strict=True)]
        self.gain = torch.stack(gains).sum(0).float()

    def __call__(self, momentum: Tensor) -> Tensor:
        """K * m."""
        device = momentum.device
        # Velocities, as maps, are float32 also where training mixes precisions.
        with torch.autocast(device.type, enabled=False):
            values = momentum
            for axis, cosines in enumerate(self.cosines, start=2):
                values = _along(axis, cosines.to(device), values)
            values = values * self.gain.to(device)
            for axis, cosines in enumerate(self.cosines, start=2):
                values = _along(axis, cosines.mT.to(device), values)
        return values


def _cosines(size: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of an axis, [frequencies, voxels]."""
    index = torch.arange(size, dtype=torch.float64)
    cosines = torch.cos(math.pi / size * index[:, None] * (index + 0.5)) * math.sqrt(2 / size)
    cosines[0] /= math.sqrt(2)
    return cosines.float()


def _along(axis: int, matrix: Tensor, values: Tensor) -> Tensor:
    """The product of a matrix with the values along one axis."""
    return torch.tensordot(values, matrix, dims=([axis], [1])).movedim(-1, axis)


def flow(velocity: Tensor, steps: int) -> Tensor:
    """The displacement after one unit of time of points that start at the voxel centres and follow the velocity.

    By so many steps of the fourth-order Runge-Kutta method. The flow of -velocity is the inverse map.
    """
    start = identity_map(velocity.shape[2:], velocity.device, velocity.dtype)
    points, time = start.expand_as(velocity), 1 / steps
    for _ in range(steps):
        a = interpolate(velocity, points)
        b = interpolate(velocity, points + time / 2 * a)
        c = interpolate(velocity, points + time / 2 * b)
        d = interpolate(velocity, points + time * c)
        points = points + time / 6 * (a + 2 * b + 2 * c + d)
    return points - start
