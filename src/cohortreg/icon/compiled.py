"""The loss of `fit` and its gradient for volumes on processors, by the loops of `kernels`.

The same numbers as by autograd, several times faster: what interpolation, windows and composition need for a gradient
is at hand when their values are computed.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from cohortreg.errors import NotFiniteError
from cohortreg.icon import kernels
from cohortreg.icon.similarities import GradientAtOnce

if TYPE_CHECKING:
    from cohortreg.icon.fit import FieldsLoss

Result = TypeVar("Result")

#: Beyond any voxel, where nothing bounds what was imaged.
FAR = 1e9
#: Voxels by which bounds are widened, so that voxel centres on them lie within.
ROUNDING = 1e-4
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
    """`CorrelationWithOne.value_and_gradient` for a fixed image whose windows are known, [batch, 1, *grid] each.

    taps: see `kernels.window`.
    """

    def __init__(
        self,
        fixed: Tensor,
        mean: Tensor,
        variance: Tensor,
        taps: Sequence[float],
        floor: float,
        squared: bool,
    ):
        shape = fixed.shape[2:]
        self.fixed, self.mean, self.variance = (
            each.numpy().reshape(len(fixed), -1) for each in (fixed, mean, variance)
        )
        self.taps, self.floor, self.squared = tuple(map(np.float32, taps)), np.float32(floor), squared
        self.values, self.between, self.windowed = np.empty((3, len(fixed), 3, *shape), np.float32)

    def __call__(self, warped: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of share * (1 - correlation), and its gradient by the warped images; both as large as the fixed."""
        warped_values, shares = (each.detach().numpy().reshape(self.fixed.shape) for each in (warped, share))
        by_warped = np.empty_like(self.fixed)

        def of_one(index: int) -> float:
            values, between, windowed = self.values[index], self.between[index], self.windowed[index]
            flat = values.reshape(3, -1), windowed.reshape(3, -1)
            one, fixed = warped_values[index], self.fixed[index]
            kernels.products(one, fixed, flat[0])
            kernels.window(values, self.taps, between, windowed)
            total = kernels.correlation(
                flat[1],
                self.mean[index],
                self.variance[index],
                shares[index],
                self.floor,
                self.squared,
                flat[0],
            )
            # Windows are symmetric: what a voxel's window took from another is what the gradient gives back.
            kernels.window(values, self.taps, between, windowed)
            kernels.by_warped(one, fixed, flat[1], by_warped[index])
            return total

        total = sum(for_each(len(self.fixed), of_one))
        return torch.tensor(total, dtype=torch.float32), torch.from_numpy(by_warped).reshape(warped.shape)


class CompiledLoss:
    """A `FieldsLoss` of volumes on a processor.

    Raises NotFiniteError where the displacements that it starts from are not finite.
    """

    def __init__(self, loss: "FieldsLoss"):
        if not loss.before.isfinite().all():
            raise NotFiniteError("a map leads to points that are NaN or infinite.")
        self.similarity = loss.similarity
        images, shape = loss.images, loss.images.shape[2:]
        self.count = len(images)
        self.images, self.of_fixed = (each[:, 0].contiguous().numpy() for each in (images, loss.of_fixed))
        self.placement, self.first, self.last = _bounds(loss)
        self.onto_voxels, self.onto_points = _Gaussians(loss.onto_voxels), _Gaussians(loss.onto_points)
        per_unit = (1 / loss.voxel).reshape(3, 1, 1, 1)
        self.before = loss.before * per_unit
        # From voxels of the images to those of the grid of points, in whose displacements the three axes come last.
        off_grid = torch.tensor(loss.off_grid) - 1.0
        self.per_voxel = off_grid / (torch.tensor(shape) - 1.0)
        self.before_off_grid = (loss.before_off_grid * off_grid.reshape(3, 1, 1, 1)).movedim(1, -1)
        self.to_points = off_grid
        means = self.count * 3 * torch.tensor(loss.off_grid).prod()
        self.scale = (2 * loss.consistency_weight / (means * off_grid**2)).numpy()
        self.warped, self.weight = torch.empty_like(images), torch.empty_like(images)
        self.gradient = torch.empty_like(loss.before)

    def __call__(self, control: Tensor, points: Tensor) -> Tensor:
        """As a `FieldsLoss`."""
        return GradientAtOnce.apply(control, points, self)

    def value_and_gradient(self, control: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and its gradient by the control points."""
        control = control.detach()
        if not control.sum().isfinite():
            return control.sum(), control  # its gradient is as little a number
        similarity, by_similarity = self._similarity(control)
        inverse_consistency, by_consistency = self._inverse_consistency(control, points)
        return similarity + inverse_consistency, by_similarity.add_(by_consistency)

    def _similarity(self, control: Tensor) -> tuple[Tensor, Tensor]:
        displacement = self.onto_voxels(control).add_(self.before)
        arrays = [
            each.numpy() for each in (displacement, self.warped[:, 0], self.gradient, self.weight[:, 0])
        ]

        def warp(index: int) -> None:
            displacement, warped, gradient, weight = (array[index] for array in arrays)
            kernels.warp(
                self.images[index], displacement, self.of_fixed[index], self.placement[index],
                self.first[index], self.last[index], warped, gradient, weight,
            )  # fmt: skip

        for_each(self.count, warp)
        warped = self.warped.detach().requires_grad_()
        with torch.enable_grad():
            value = 2 * self.similarity(warped, self.weight)
            value.backward()
        assert warped.grad is not None  # of the backward pass
        return value.detach(), self.onto_voxels.transposed(self.gradient.mul_(warped.grad))

    def _inverse_consistency(self, control: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        fields = (
            (self.onto_points(control).movedim(1, -1) * self.per_voxel).add_(self.before_off_grid).numpy()
        )
        at = (points[0].flatten(1).T * self.to_points).contiguous().numpy()

        def there_and_back(index: int) -> tuple[float, int, np.ndarray, np.ndarray]:
            other = (index + self.count // 2) % self.count
            by_there, by_back = np.zeros((2, *fields.shape[1:]), np.float32)
            total = kernels.inverse_consistency(
                at, fields[other], fields[index], self.scale, by_there, by_back
            )
            return total, other, by_there, by_back

        gradient, value = np.zeros_like(fields), 0.0
        for index, (total, other, by_there, by_back) in enumerate(for_each(self.count, there_and_back)):
            gradient[other] += by_there
            gradient[index] += by_back
            value += total
        by_fields = torch.from_numpy(gradient).mul_(self.per_voxel).movedim(-1, 1).contiguous()
        return torch.tensor(value, dtype=torch.float32), self.onto_points.transposed(by_fields)


class _Gaussians:
    """`separable` with matrices that are banded, and its transpose, on volumes [batch, 3, *grid]."""

    def __init__(self, matrices: Sequence[Tensor]):
        self.matrices = [Banded(matrix) for matrix in matrices[:2]]
        self.transposes = [Banded(matrix.T) for matrix in matrices[:2]]
        #: Along the last axis, where what lies side by side is summed, a product of dense matrices is as fast.
        self.last = matrices[2]

    def __call__(self, values: Tensor) -> Tensor:
        """Displacements of control points."""
        return _along_first_axes((values @ self.last.T).numpy(), self.matrices[::-1], (1, 0))

    def transposed(self, values: Tensor) -> Tensor:
        """A gradient by displacements as one by control points."""
        return _along_first_axes(values.numpy(), self.transposes, (0, 1)) @ self.last


def _along_first_axes(values: np.ndarray, matrices: Sequence[Banded], axes: Sequence[int]) -> Tensor:
    """Multiply values [batch, 3, *grid] by a banded matrix along each of `axes` of the grid."""
    for matrix, axis in zip(matrices, axes, strict=True):
        before, after = values.shape[: 2 + axis], values.shape[3 + axis :]
        flat = values.reshape(-1, values.shape[2 + axis], int(np.prod(after)))
        values = matrix(flat).reshape(*before, matrix.size, *after)
    return torch.from_numpy(values)


def _bounds(loss: "FieldsLoss") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The imaged boxes as `kernels.warp` takes them for each image: placements, first and last voxels."""
    size = (1 / loss.voxel).reshape(3)
    placement = torch.eye(3, 4).expand(len(loss.images), 3, 4)
    if loss.imaged.places is not None:
        placement = loss.imaged.places.matrix * size[:, None] / torch.cat([size, torch.ones(1)])
    first, last = torch.full((2, len(loss.images), 3), FAR) * torch.tensor([-1.0, 1.0]).reshape(2, 1, 1)
    if loss.imaged.bounds is not None:
        first, last = (loss.imaged.bounds * size).clamp(-FAR, FAR).unbind(1)
    first, last = first - ROUNDING, last + ROUNDING
    return placement.contiguous().numpy(), first.contiguous().numpy(), last.contiguous().numpy()
