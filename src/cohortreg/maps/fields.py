"""Maps as functions from points of the fixed image to points of the moving image, and their composition.

A map is called with points [batch, dim, *any] in unit coordinates and returns points of the same shape.
`on_grid(shape)` gives its values at the voxel centres of a grid, and skips interpolation where the map's own
displacement already lies there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cohortreg.maps.grids import identity_map, interpolate, resize


class Map(Protocol):
    """The interface of all maps."""

    def __call__(self, points: Tensor) -> Tensor:
        """The map's values at points, both [batch, dim, *any] in unit coordinates."""

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """The map's values at the voxel centres of a grid, [batch, dim, *shape]."""

    def halves(self) -> "tuple[Map, Map]":
        """The map of the first half of the batch, and that of the second."""


@dataclass(frozen=True)
class DisplacementField:
    """Phi = D + Id with D interpolated linearly between voxel centres (Eq. 12).

    Attributes:
        displacement: [batch, dim, *grid] in unit coordinates.
    """

    displacement: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Map points [batch, dim, *any] in unit coordinates."""
        return points + interpolate(self.displacement, points)

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """Evaluate the map at the voxel centres of a grid, [batch, dim, *shape]."""
        displacement = resize(self.displacement, shape)
        return displacement + identity_map(shape, displacement.device, displacement.dtype)

    def halves(self) -> "tuple[DisplacementField, DisplacementField]":
        """Split the batch into its two halves, one map each."""
        first, second = self.displacement.chunk(2)
        return DisplacementField(first), DisplacementField(second)


@dataclass(frozen=True)
class Recomputed:
    """A map that recomputes its values in the backward pass, which saves memory."""

    map: Map

    def __call__(self, points: Tensor) -> Tensor:
        """Map points [batch, dim, *any] in unit coordinates."""
        return checkpoint(self.map, points, use_reentrant=False, preserve_rng_state=False)

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """Evaluate the map at the voxel centres of a grid, [batch, dim, *shape]."""
        return self.map.on_grid(shape)

    def halves(self) -> "tuple[Recomputed, Recomputed]":
        """Split the batch into its two halves, one map each."""
        first, second = self.map.halves()
        return Recomputed(first), Recomputed(second)


@dataclass(frozen=True)
class AffineMap:
    """Phi(x) = A x + b.

    Attributes:
        matrix: [batch, dim, dim + 1], A and b side by side, in unit coordinates.
    """

    matrix: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Map points [batch, dim, *any] in unit coordinates."""
        linear, shift = self.matrix[..., :-1], self.matrix[..., -1:]
        return (_product(linear, points.flatten(2)) + shift).unflatten(2, points.shape[2:])

    def after(self, inner: "AffineMap") -> "AffineMap":
        """Compose self ∘ inner, an affine map again."""
        product = _product(self.matrix[..., :-1], inner.matrix)
        return AffineMap(torch.cat([product[..., :-1], product[..., -1:] + self.matrix[..., -1:]], -1))

    def inverse(self) -> "AffineMap":
        """The inverse map."""
        linear = torch.linalg.inv(self.matrix[..., :-1])
        return AffineMap(torch.cat([linear, -_product(linear, self.matrix[..., -1:])], -1))

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """Evaluate the map at the voxel centres of a grid, [batch, dim, *shape]."""
        return self(identity_map(shape, self.matrix.device, self.matrix.dtype))

    def halves(self) -> "tuple[AffineMap, AffineMap]":
        """Split the batch into its two halves, one map each."""
        first, second = self.matrix.chunk(2)
        return AffineMap(first), AffineMap(second)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply a @ b in their own precision even under autocast: half precision would shift points."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


@dataclass(frozen=True)
class Composition:
    """outer ∘ inner: points go through `inner` first."""

    outer: Map
    inner: Map

    def __call__(self, points: Tensor) -> Tensor:
        """Map points [batch, dim, *any] in unit coordinates."""
        return self.outer(self.inner(points))

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """Evaluate the map at the voxel centres of a grid, [batch, dim, *shape]."""
        return self.outer(self.inner.on_grid(shape))

    def halves(self) -> "tuple[Composition, Composition]":
        """Split the batch into its two halves, one map each."""
        first, second = zip(self.outer.halves(), self.inner.halves(), strict=True)
        return Composition(*first), Composition(*second)
