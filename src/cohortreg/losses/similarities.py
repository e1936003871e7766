"""Similarities of a warped moving and a fixed image, as training lowers them; all but MI are 0 where they agree.

Each takes the two images and a weight per voxel, all [batch, 1, *grid], and returns the mean over pairs as a scalar
tensor. Voxels of weight 0 do not count: there, at least one of the images was never imaged.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial, reduce
from itertools import cycle
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from cohortreg.config import SIMILARITIES
from cohortreg.maps.separable import separable
from cohortreg.plugins import resolve

Similarity = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Given warped images and a weight per voxel.
SimilarityToOne = Callable[[Tensor, Tensor], Tensor]

FLOOR = 1e-5  # of variances


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over each pair's voxels, each as heavy as its weight, [batch, 1, ..., 1]; 0 where nothing has weight."""
    axes = tuple(range(1, values.dim()))
    return (values * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True).clamp(min=1e-6)


def mean_squared_error(warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
    """L_sim of Eq. 15."""
    return weighted_mean((warped - fixed) ** 2, weight).mean()


def normalised_cross_correlation(warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
    """1 - the correlation coefficient of each pair of images, in [0, 2]."""
    warped, fixed = (image - weighted_mean(image, weight) for image in (warped, fixed))
    covariance = weighted_mean(warped * fixed, weight)
    variances = weighted_mean(warped**2, weight) * weighted_mean(fixed**2, weight)
    return (1 - covariance / torch.sqrt(variances + 1e-10)).mean()


class LocalCrossCorrelation:
    """1 - the correlation of both images in a Gaussian window around each voxel (LNCC).

    Beyond the grid both images count as 0, and `FLOOR` is added to the variances, as in the authors' package.

    Args:
        window: Standard deviation of the Gaussian in voxels, one for all axes or one for each; it ends at two of them.
        squared: 1 - the squared correlation, to which contrast may be reversed.
    """

    def __init__(self, window: float | Sequence[float], squared: bool = False):
        self.window = window
        self.squared = squared

    def __call__(self, warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
        """Compute the similarity term, a scalar."""
        # Differences of products lose the digits that half precision has.
        with torch.autocast(warped.device.type, enabled=False):
            warped, fixed = warped.float(), fixed.float()
            moments = torch.cat([warped, fixed, warped**2, fixed**2, warped * fixed], 1)
            mean_w, mean_f, square_w, square_f, product = self._windowed(moments).split(1, 1)
            covariance = product - mean_w * mean_f
            spreads = torch.relu(square_w - mean_w**2), torch.relu(square_f - mean_f**2)
            variances = (spreads[0] + FLOOR) * (spreads[1] + FLOOR)
            correlation = covariance**2 / variances if self.squared else covariance / torch.sqrt(variances)
            return weighted_mean(1 - correlation, weight).mean()

    def with_one(self, fixed: Tensor) -> SimilarityToOne:
        """The same to one fixed image [batch, 1, *grid]."""
        if isinstance(self.window, Sequence):
            return lambda warped, weight: self(warped, fixed, weight)
        return CorrelationWithOne(self.window, fixed, self.squared)

    def _windowed(self, values: Tensor) -> Tensor:
        """Values averaged over the window: along each axis, a product with a banded matrix."""
        axes = values.dim() - 2
        windows = self.window if isinstance(self.window, Sequence) else [self.window] * axes
        for axis, window in enumerate(windows, start=2):
            matrix = gaussian(window, values.shape[axis], values)
            values = torch.tensordot(values, matrix, dims=([axis], [0])).movedim(-1, axis)
        return values


squared_local_cross_correlation = partial(LocalCrossCorrelation, squared=True)


class TermByTerm:
    """One term of a `SumWithOne` a call, in turn, as many times heavier as there are terms.

    A descent on it takes more steps for the same result than one on the sum, each of which costs a fraction.
    """

    def __init__(self, similarity: "SumWithOne"):
        self.terms = [(len(similarity.terms) * share, term) for share, term in similarity.terms]
        self.turn = cycle(self.terms)

    def __call__(self, warped: Tensor, weight: Tensor) -> Tensor:
        """Compute the term whose turn it is, a scalar."""
        share, term = next(self.turn)
        return share * term(warped, weight)


def kernels_for(*volumes: Tensor) -> ModuleType | None:
    """The module `loops`, where Numba is installed and its kernels serve these; None where they do not.

    They serve volumes on a processor, in single precision, of two voxels at least along each axis.
    """
    for volume in volumes:
        single = volume.device.type == "cpu" and volume.dtype == torch.float32
        if not (single and volume.dim() == 5 and min(volume.shape[2:]) > 1):
            return None
    return _compiled()


@cache
def _compiled() -> ModuleType | None:
    """The module `loops`; None, with a warning unless Numba is simply missing, where Numba cannot be imported."""
    try:
        import numba  # noqa: F401
    except ModuleNotFoundError:
        return None
    except ImportError as error:  # it refuses versions of NumPy that it does not know
        warnings.warn(f"fit takes several times as long as it could: {error}", stacklevel=2)
        return None
    from cohortreg.losses import loops  # seconds to import

    return loops


class GradientAtOnce(torch.autograd.Function):
    """A scalar computed together with its gradient by the first argument, by `of.value_and_gradient(first, second)`."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, of: Any) -> Tensor:
        """Compute the scalar and keep its gradient."""
        value, gradient = of.value_and_gradient(first, second)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Scale the gradient that was kept."""
        (by_first,) = ctx.saved_tensors
        return gradient * by_first, None, None


class CorrelationWithOne:
    """`LocalCrossCorrelation` of many warped images with the same fixed one [batch, 1, *grid], several times faster.

    It is called with warped images and a weight per voxel of the same shape.
    """

    def __init__(self, window: float, fixed: Tensor, squared: bool = False):
        self.fixed, self.squared = fixed.float(), squared
        self.windows = [gaussian(window, size, self.fixed) for size in fixed.shape[2:]]
        self.mean, square = separable(torch.cat([self.fixed, self.fixed**2], 1), self.windows).split(1, 1)
        self.variance = torch.relu(square - self.mean**2) + FLOOR
        self.loops = None
        if compiled := kernels_for(self.fixed):
            taps = gaussian_taps(window)
            self.loops = compiled.Correlation(self.fixed, self.mean, self.variance, taps, FLOOR, squared)

    def __call__(self, warped: Tensor, weight: Tensor) -> Tensor:
        """Compute the similarity term, a scalar."""
        return GradientAtOnce.apply(warped, weight, self)

    def value_and_gradient(self, warped: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The similarity, a scalar, and its gradient by the warped images, of their shape."""
        if self.loops and warped.shape == weight.shape == self.fixed.shape and kernels_for(warped, weight):
            by_warped = torch.ones_like(self.fixed)
            return self.loops(warped, weight, by_warped), by_warped
        # The mean over pairs of each one's weighted mean over voxels, of 1 - correlation.
        total = weight.sum(tuple(range(1, weight.dim())), keepdim=True)
        share = weight / (total.clamp(min=1e-6) * len(weight))
        moments = separable(torch.cat([warped, warped * warped, warped * self.fixed], 1), self.windows)
        mean, square, product = moments.split(1, 1)
        covariance = product - mean * self.mean
        spread = square - mean * mean
        variance = torch.relu(spread) + FLOOR
        inverse = 1 / (variance * self.variance)
        if self.squared:
            correlation = covariance * covariance * inverse
            by_covariance, by_variance = 2 * covariance * inverse, -correlation / variance
        else:
            root = inverse.sqrt()
            correlation = covariance * root
            by_covariance, by_variance = root, -0.5 * correlation / variance
        by_covariance, by_variance = share * by_covariance, share * by_variance * (spread > 0)
        by_mean = -by_covariance * self.mean - 2 * by_variance * mean
        # Windows are symmetric: what a voxel's window took from another is what the gradient gives back.
        back = separable(torch.cat([by_mean, by_variance, by_covariance], 1), self.windows)
        by_mean, by_square, by_product = back.split(1, 1)
        by_warped = -(by_mean + 2 * warped * by_square + self.fixed * by_product)
        return (share * (1 - correlation)).sum(), by_warped


def gaussian_taps(window: float) -> list[float]:
    """A Gaussian that ends at two standard deviations: the weight of its middle, and of each voxel outward from it."""
    weights = [math.exp(-0.5 * (distance / window) ** 2) for distance in range(round(2 * window) + 1)]
    total = 2 * sum(weights) - weights[0]
    return [weight / total for weight in weights]


def gaussian(window: float, size: int, like: Tensor) -> Tensor:
    """[size, size], symmetric: the weight of each voxel of an axis for each other."""
    taps = torch.tensor([*gaussian_taps(window), 0], device=like.device, dtype=like.dtype)
    index = torch.arange(size, device=like.device)
    return taps[(index[:, None] - index).abs().clamp(max=len(taps) - 1)]


class Sum:
    """Similarities, each times its weight."""

    def __init__(self, terms: Sequence[tuple[float, Similarity]]):
        self.terms = terms

    def __call__(self, warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
        """Compute the similarity term, a scalar."""
        return reduce(torch.add, (share * term(warped, fixed, weight) for share, term in self.terms))

    def with_one(self, fixed: Tensor) -> "SumWithOne":
        """The same to one fixed image [batch, 1, *grid]."""
        return SumWithOne([(share, _with_one(term, fixed)) for share, term in self.terms])


class SumWithOne:
    """`Sum` of many warped images with the same fixed one [batch, 1, *grid]."""

    def __init__(self, terms: Sequence[tuple[float, SimilarityToOne]]):
        self.terms = terms

    def __call__(self, warped: Tensor, weight: Tensor) -> Tensor:
        """Compute the similarity term, a scalar."""
        return reduce(torch.add, (share * term(warped, weight) for share, term in self.terms))


def multi_kernel_correlation(
    grid: Sequence[int], fractions: Sequence[float], weights: Sequence[float]
) -> Sum:
    """The weighted sum of squared LNCC in windows that are fractions of the image's size (Shen et al., CVPR 2019)."""

    def window(fraction: float) -> list[float]:
        # A Gaussian as wide as a box of that size: of the same variance.
        return [max(fraction * size / math.sqrt(12), 0.5) for size in grid]

    terms = (LocalCrossCorrelation(window(fraction), squared=True) for fraction in fractions)
    return Sum(list(zip(weights, terms, strict=True)))


def mutual_information(warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
    """Minus the mutual information of grey values in [0, 1], in nats, by Parzen windows: MONAI's, with its defaults."""
    information = _mutual_information()
    with torch.autocast(warped.device.type, enabled=False):
        pairs = zip(warped.float(), fixed.float(), weight > 0.5, strict=True)
        values = [information(w[at][None, None], f[at][None, None]) for w, f, at in pairs if at.any()]
        return torch.stack(values).mean() if values else 0 * warped.sum()


@cache
def _mutual_information() -> torch.nn.Module:
    from monai.losses import GlobalMutualInformationLoss  # seconds to import

    return GlobalMutualInformationLoss()


def make_similarity(name: str, window: float) -> Similarity:
    """A similarity of the configuration, with a window in voxels if it has one."""
    entry = SIMILARITIES[name]
    similarity = resolve(entry.path, __package__)
    return similarity(window) if entry.windowed else similarity


def similarity_to(name: str, window: float, fixed: Tensor) -> SimilarityToOne:
    """The same to one fixed image [batch, 1, *grid], of warped images and a weight per voxel."""
    return _with_one(make_similarity(name, window), fixed)


def _with_one(similarity: Similarity, fixed: Tensor) -> SimilarityToOne:
    if hasattr(similarity, "with_one"):
        return similarity.with_one(fixed)
    return lambda warped, weight: similarity(warped, fixed, weight)
