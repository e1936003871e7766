"""The loss of `fit` and its gradient for volumes on processors, by the loops of `kernels`.

The same numbers as by autograd, several times faster: what interpolation, windows and composition need for a gradient
is at hand when their values are computed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cohortreg.errors import NotFiniteError
from cohortreg.losses import kernels
from cohortreg.losses.loops import Banded, for_each
from cohortreg.losses.similarities import CorrelationWithOne, GradientAtOnce

if TYPE_CHECKING:
    from cohortreg.icon.fit import FieldsLoss

#: Beyond any voxel, where nothing bounds what was imaged.
FAR = 1e9
#: Voxels by which bounds are widened, so that voxel centres on them lie within.
ROUNDING = 1e-4


class CompiledLoss:
    """A `FieldsLoss` of volumes on a processor; NotFiniteError where displacements to start from are not finite."""

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
        #: Where each voxel leads before anything is added, voxels.
        self.before = ((loss.centres + loss.before) * per_unit).contiguous().numpy()
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
        displacement, gradient = self.onto_voxels(control).numpy(), self.gradient.numpy()
        warped, weight = self.warped[:, 0].numpy(), self.weight[:, 0].numpy()

        def warp(index: int) -> None:
            kernels.warp(
                self.images[index], self.before[index], displacement[index], self.of_fixed[index],
                self.placement[index], self.first[index], self.last[index],
                warped[index], gradient[index], weight[index],
            )  # fmt: skip

        for_each(self.count, warp)
        value = self._onto_slopes()
        return 2 * value, self.onto_voxels.transposed(self.gradient).mul_(2)

    def _onto_slopes(self) -> Tensor:
        """The similarity; the warped images' gradient is multiplied in place by that of the similarity by them."""
        if isinstance(self.similarity, CorrelationWithOne) and self.similarity.loops:
            return self.similarity.loops(self.warped, self.weight, self.gradient)
        warped = self.warped.detach().requires_grad_()
        with torch.enable_grad():
            value = self.similarity(warped, self.weight)
        self.gradient.mul_(torch.autograd.grad(value, warped)[0])
        return value.detach()

    def _inverse_consistency(self, control: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        displacements = self.onto_points(control).movedim(1, -1) * self.per_voxel
        fields = displacements.add_(self.before_off_grid).numpy()
        at = (points[0].flatten(1).T * self.to_points).contiguous().numpy()

        def there_and_back(index: int) -> tuple[float, int, np.ndarray, np.ndarray]:
            other = (index + self.count // 2) % self.count
            by_there, by_back = np.zeros((2, *fields.shape[1:]), np.float32)
            both = fields[other], fields[index]
            return (
                kernels.inverse_consistency(at, *both, self.scale, by_there, by_back),
                other,
                by_there,
                by_back,
            )

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
