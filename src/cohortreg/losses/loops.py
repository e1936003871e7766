"""Correlations and products with banded matrices on processors, by the loops of `kernels`.

The same numbers as by PyTorch, several times faster.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cohortreg.losses import kernels

Result = TypeVar("Result")

#: Numbers of a product from which on threads save more time than they take to start.
WORTH_THREADS = 1_000_000


def for_each(number: int, work: Callable[[int], Result]) -> list[Result]:
    """Call work for 0, ..., number - 1 on as many threads as PyTorch has, and list the results."""
    threads = min(number, torch.get_num_threads())
    if threads == 1:
        return [work(index) for index in range(number)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(number)))


class Banded:
    """A matrix [to, from] whose rows are zero outside of a band, as `kernels.banded` takes it."""

    def __init__(self, matrix: Tensor):
        dense: np.ndarray = matrix.numpy()
        filled = np.abs(dense) > 1e-7 * np.abs(dense).max()
        first, end = filled.argmax(1), dense.shape[1] - filled[:, ::-1].argmax(1)
        # Rows of fewer columns than a band would reach beyond the values.
        band = -(-int((end - first).max()) // 4) * 4
        self.padding = max(band - dense.shape[1], 0)
        self.first = np.minimum(first, max(dense.shape[1] - band, 0))
        columns = self.first[:, None] + np.arange(band)
        padded = np.pad(dense, ((0, 0), (0, self.padding)))
        self.weights = np.ascontiguousarray(np.take_along_axis(padded, columns, 1))
        self.size = len(dense)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The product with the middle axis of values, [many, from, width]."""
        if self.padding:
            values = np.pad(values, ((0, 0), (0, self.padding), (0, 0)))
        out = np.empty((len(values), self.size, values.shape[2]), np.float32)
        parts = torch.get_num_threads() if out.size > WORTH_THREADS else 1
        ends = [len(values) * number // parts for number in range(parts + 1)]

        def of_part(number: int) -> None:
            part = slice(ends[number], ends[number + 1])
            kernels.banded(values[part], self.first, self.weights, out[part])

        for_each(parts, of_part)
        return out


class Correlation:
    """`CorrelationWithOne` for a fixed image whose windows are known, [batch, 1, *grid] each; taps as of `kernels`."""

    def __init__(
        self,
        fixed: Tensor,
        mean: Tensor,
        variance: Tensor,
        taps: Sequence[float],
        floor: float,
        squared: bool,
    ):
        given = (fixed, mean, variance)
        self.fixed, self.mean, self.variance = (tensor[:, 0].contiguous().numpy() for tensor in given)
        self.taps, self.floor, self.squared = tuple(map(np.float32, taps)), np.float32(floor), squared

    def __call__(self, warped: Tensor, weight: Tensor, slopes: Tensor) -> Tensor:
        """The mean over pairs of each one's mean of 1 - correlation over voxels.

        Args:
            weight: Of each voxel in the mean of its pair; it and the warped images are as large as the fixed ones.
            slopes: Of the warped images by what they depend on, [batch, any, *grid]; multiplied in place by the
                gradient by these images.
        """
        scale = (1 / (weight.sum((1, 2, 3, 4)).clamp(min=1e-6) * len(weight))).numpy()
        images, weights = (tensor.detach()[:, 0].contiguous().numpy() for tensor in (warped, weight))
        by_images = slopes.numpy()

        def of_one(index: int) -> float:
            return kernels.correlation(
                images[index], self.fixed[index], self.mean[index], self.variance[index], weights[index],
                scale[index], self.taps, self.floor, self.squared, by_images[index],
            )  # fmt: skip

        return torch.tensor(sum(for_each(len(self.fixed), of_one)), dtype=torch.float32)


class SelfSimilarity:
    """`mind.SelfSimilarityWithOne` for a fixed image's MIND [batch, 6, *grid] and the least V of each pair."""

    def __init__(self, fixed: Tensor, least: Tensor, taps: Sequence[float]):
        self.fixed, self.least = fixed.contiguous().numpy(), least.reshape(-1).numpy()
        self.taps = tuple(map(np.float32, taps))
        depth, height, width = (size + 1 for size in fixed.shape[2:])
        room = (depth, 3, height, width)
        margins = (depth + 2 * (len(taps) - 1), *room[1:])
        self.planes = [np.zeros(margins, np.float32) for _ in fixed]
        self.windowed = [np.empty((2, *room), np.float32) for _ in fixed]

    def value_and_gradient(self, warped: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over pairs of each one's mean over voxels, a scalar, and its gradient by the warped images."""
        scale = (1 / (weight.sum((1, 2, 3, 4)).clamp(min=1e-6) * len(weight))).numpy()
        images, weights = (tensor.detach()[:, 0].contiguous().numpy() for tensor in (warped, weight))
        by_warped = torch.empty_like(warped, memory_format=torch.contiguous_format)
        by_images = by_warped[:, 0].numpy()

        def of_one(index: int) -> float:
            return kernels.self_similarity(
                images[index], self.fixed[index], weights[index], scale[index], self.taps, self.least[index],
                self.planes[index], *self.windowed[index], by_images[index],
            )  # fmt: skip

        total = sum(for_each(len(self.fixed), of_one))
        return torch.tensor(total, dtype=torch.float32), by_warped
