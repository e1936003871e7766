"""Differences of the self-similarities of two images (MIND; Heinrich et al., Medical Image Analysis 2012).

What an image shows at a voxel is described by how unlike the voxels beside it are, whatever its grey values mean:

    MIND(I, x, a) = exp(-D(x, x + a) / V(x)),

a a voxel forth or back along an axis, D the squared difference of the grey values, averaged in a Gaussian window, and V
the mean of D over the neighbours. D(x, x - a) is D(x - a, x), so one window for each axis serves both.
"""

import torch
from torch import Tensor

from cohortreg.losses.similarities import (
    GradientAtOnce,
    LocalCrossCorrelation,
    Sum,
    gaussian,
    gaussian_taps,
    kernels_for,
    weighted_mean,
)
from cohortreg.maps.separable import separable

#: Standard deviation of the window, in voxels.
DEVIATION = 0.8
#: The least V, as a part of its mean over the fixed image.
LEAST = 1e-3
#: Added to it, for images that are flat.
TINY = 1e-12


def distances(image: Tensor) -> Tensor:
    """D of each voxel of an image [batch, 1, *grid] to its neighbours, [batch, 2 * dim, *grid].

    First to the next along each axis, then to the one before; what lies beyond the grid is at no distance.
    """
    onward, back = [], []
    for axis in range(2, image.dim()):
        size = image.shape[axis]
        beyond = torch.zeros_like(image.narrow(axis, 0, 1))
        squares = torch.cat([beyond, image.diff(dim=axis) ** 2, beyond], axis)
        windowed = separable(squares, [gaussian(DEVIATION, length, image) for length in squares.shape[2:]])
        onward.append(windowed.narrow(axis, 1, size))
        back.append(windowed.narrow(axis, 0, size))
    return torch.cat(onward + back, 1)


def descriptors(found: Tensor, least: Tensor) -> Tensor:
    """MIND of distances, of their shape, with the least V of each pair, [batch, 1, ..., 1]."""
    return torch.exp(-found / torch.maximum(found.mean(1, keepdim=True), least))


class SelfSimilarity:
    """The mean squared difference of MIND."""

    def __call__(self, warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
        """Compute the similarity term, a scalar."""
        return self.with_one(fixed)(warped, weight)

    def with_one(self, fixed: Tensor) -> "SelfSimilarityWithOne":
        """The same to one fixed image [batch, 1, *grid]."""
        return SelfSimilarityWithOne(fixed)


class SelfSimilarityWithOne:
    """`SelfSimilarity` of many warped images with the same fixed one [batch, 1, *grid]."""

    def __init__(self, fixed: Tensor):
        with torch.autocast(fixed.device.type, enabled=False):
            found = distances(fixed.float())
            self.least = LEAST * found.mean(tuple(range(1, found.dim())), keepdim=True) + TINY
            self.fixed = descriptors(found, self.least)
        self.loops = None
        if compiled := kernels_for(fixed):
            self.loops = compiled.SelfSimilarity(self.fixed, self.least, gaussian_taps(DEVIATION))

    def __call__(self, warped: Tensor, weight: Tensor) -> Tensor:
        """Compute the similarity term, a scalar."""
        if self.loops and warped.shape == weight.shape and kernels_for(warped, weight):
            return GradientAtOnce.apply(warped, weight, self.loops)
        # Differences of squares lose the digits that half precision has.
        with torch.autocast(warped.device.type, enabled=False):
            error = (descriptors(distances(warped.float()), self.least) - self.fixed) ** 2
            return weighted_mean(error.mean(1, keepdim=True), weight).mean()


def correlation_and_self_similarity(window: float) -> Sum:
    """0.6 times squared LNCC and 5 times the mean squared difference of MIND.

    Chosen on pairs of training subjects, see docs/measured/fit.
    """
    return Sum([(0.6, LocalCrossCorrelation(window, squared=True)), (5, SelfSimilarity())])
