"""Direct optimisation of the two maps of a pair under the loss of ICON (4.3), without a network.

The maps of both directions are displacement fields made of few Gaussians, found coarse to fine by Adam. A step
interpolates both images, looks at a window around each voxel, and composes the maps at points off the grid; that is all
that it costs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cohortreg.errors import NotFiniteError
from cohortreg.icon.adam import Adam
from cohortreg.icon.objective import inverse_consistency, sample_points, swap
from cohortreg.icon.steps import halve
from cohortreg.losses.fields_of_view import unit_bounds, within
from cohortreg.losses.similarities import kernels_for
from cohortreg.maps.fields import AffineMap, DisplacementField
from cohortreg.maps.grids import identity_map, interpolate, resize, voxel_size
from cohortreg.maps.separable import gaussians, sampled, separable


@dataclass(frozen=True)
class Level:
    """Settings of the optimisation at one resolution.

    Attributes:
        downsample: A power of two.
        steps: Of Adam.
        rate: Its learning rate at the start, voxels of the level; it falls to zero as a cosine.
        deviation: Of the Gaussians that the field is made of, voxels of the level.
        spacing: Voxels between them.
        window: See `similarities`.
        weight: Of inverse consistency, the lambda of Eq. 13 times the mean square, over the axes, of a voxel's size, so
            that it serves images of any size.
        stride: Inverse consistency is evaluated at one point in so many voxels along each axis.
    """

    downsample: int
    steps: int
    rate: float
    deviation: float
    spacing: float
    window: float
    weight: float
    stride: int


#: Given a pair's warped images and the weight of each voxel, both [batch, 1, *grid], a scalar.
SimilarityTo = Callable[[Tensor, Tensor], Tensor]


def fit(
    images: Tensor,
    levels: Sequence[Level],
    similarity_to: Callable[[float, Tensor], SimilarityTo],
    fields_of_view: Tensor | None = None,
    start: Tensor | None = None,
    places: AffineMap | None = None,
    seed: int = 1,
    report: Callable[[], None] = lambda: None,
) -> Tensor:
    """Displacements of Phi^AB and Phi^BA that minimise Eq. 13 for each pair, [2 * pairs, dim, *grid], unit coordinates.

    Args:
        images: The moving images and then the fixed ones, [2 * pairs, 1, *grid].
        levels: From coarse to fine.
        similarity_to: Makes the similarity to a batch of images from a window in voxels, see
            `similarities.similarity_to`.
        fields_of_view: Of the images, [2 * pairs, 2, dim], see `unit_bounds`; voxels beyond them do not count.
        start: The displacements to start from, on any grid over the same field of view; the identity if None.
        places: Where in each image its part of a pair is, [2 * pairs, dim, dim + 1]: images that lie far apart are
            brought to one place first, and the displacements are between what is there; as they lie if None.
        seed: Of the points at which inverse consistency is evaluated.
        report: Called after each step.

    Raises:
        NotFiniteError: The optimisation diverges.
    """
    generator = torch.Generator().manual_seed(seed)
    images = _placed(images, places)
    # Of any grid: resized, it is the identity on each.
    found = images.new_zeros(len(images), images.dim() - 2, *images.shape[2:]) if start is None else start
    for level in levels:
        seen, imaged = _seen(images, level, fields_of_view, places)
        loss = FieldsLoss(seen, level, similarity_to, imaged, resize(found, seen.shape[2:]))
        found = _at_level(loss, generator, report)
    return resize(found, images.shape[2:])


def lacking(
    images: Tensor,
    displacements: Tensor,
    level: Level,
    similarity_to: Callable[[float, Tensor], SimilarityTo],
    fields_of_view: Tensor | None = None,
    places: AffineMap | None = None,
) -> float:
    """The similarity term under displacements that `fit` found: the mean of both directions, less is better.

    Args:
        images: As of `fit`, and so are the other arguments.
        displacements: As `fit` returns them.
        level: At whose resolution, with whose window.
    """
    images, imaged = _seen(_placed(images, places), level, fields_of_view, places)
    centres = identity_map(images.shape[2:], images.device, images.dtype)
    phi = centres + resize(displacements, images.shape[2:])
    weight = imaged(phi) * swap(imaged(centres.expand_as(phi)))
    return similarity_to(level.window, swap(images))(interpolate(images, phi), weight).item()


def _placed(images: Tensor, places: AffineMap | None) -> Tensor:
    """Images where their parts of a pair are, see `fit`."""
    return images if places is None else interpolate(images, places.on_grid(images.shape[2:]))


def _seen(
    images: Tensor, level: Level, fields_of_view: Tensor | None, places: AffineMap | None
) -> tuple[Tensor, "Imaged"]:
    """Placed images at a level's resolution, and their imaged parts; see `fit`."""
    for _ in range(round(math.log2(level.downsample))):
        images = halve(images)
    bounds = None
    if fields_of_view is not None:
        bounds = unit_bounds(fields_of_view, images.shape[2:], level.downsample, beyond_grid=False)
    return images, Imaged(bounds, places)


@dataclass(frozen=True)
class Imaged:
    """Tests whether points lie within the imaged part of their image.

    Attributes:
        bounds: See `fields_of_view.within`; everything was imaged if None.
        places: See `fit`.
    """

    bounds: Tensor | None
    places: AffineMap | None

    def __call__(self, points: Tensor) -> Tensor:
        """1 at points [2 * pairs, dim, *any] that were imaged, else 0, [2 * pairs, 1, *any]."""
        if self.bounds is None:
            return torch.ones_like(points[:, :1])
        return within(points if self.places is None else self.places(points), self.bounds)


class FieldsLoss:
    """Eq. 13 for displacement fields made of Gaussians, as a function of their control points.

    Args:
        images: See `fit`, and for the other arguments; at the level's resolution.
        before: Displacements on their grid that the Gaussians are added to, [2 * pairs, dim, *grid], unit coordinates.
    """

    def __init__(
        self,
        images: Tensor,
        level: Level,
        similarity_to: Callable[[float, Tensor], SimilarityTo],
        imaged: Imaged,
        before: Tensor,
    ):
        shape = images.shape[2:]
        self.level = level
        self.images, self.imaged, self.before = images, imaged, before
        self.voxel = voxel_size(shape, images)
        self.centres = identity_map(shape, images.device, images.dtype)
        #: Of the grid of points at which inverse consistency is evaluated.
        self.off_grid = [math.ceil(size / level.stride) for size in shape]
        self.before_off_grid = resize(before, self.off_grid)
        self.onto_voxels = [gaussians(size, level.spacing, level.deviation, images) for size in shape]
        self.onto_points = [
            sampled(matrix, size) for matrix, size in zip(self.onto_voxels, self.off_grid, strict=True)
        ]
        self.similarity = similarity_to(level.window, swap(images))
        self.consistency_weight = level.weight / self.voxel.square().mean().item()
        self.of_fixed = swap(imaged(self.centres.expand(len(images), *self.centres.shape[1:])))

    def start(self) -> Tensor:
        """Control points of displacements that change nothing, [2 * pairs, dim, *counts], voxels."""
        counts = [matrix.shape[1] for matrix in self.onto_voxels]
        return self.images.new_zeros(len(self.images), len(counts), *counts)

    def displacements(self, control: Tensor) -> Tensor:
        """[2 * pairs, dim, *grid], unit coordinates."""
        return self.before + separable(control * self.voxel, self.onto_voxels)

    def __call__(self, control: Tensor, points: Tensor) -> Tensor:
        """The loss, a scalar, with `points` as of `inverse_consistency`."""
        phi = self.centres + self.displacements(control)
        weight = self.imaged(phi.detach()) * self.of_fixed
        field = DisplacementField(self.before_off_grid + separable(control * self.voxel, self.onto_points))
        similarity = 2 * self.similarity(interpolate(self.images, phi), weight)
        return similarity + self.consistency_weight * inverse_consistency(field, points)


def _at_level(loss: FieldsLoss, generator: torch.Generator, report: Callable[[], None]) -> Tensor:
    """The displacements that are best at one level, on its images' grid; other arguments as of `fit`."""
    level = loss.level
    control = loss.start().requires_grad_(True)
    evaluate: Callable[[Tensor, Tensor], Tensor] = loss
    if kernels_for(loss.before, loss.before_off_grid):
        from cohortreg.icon.compiled import CompiledLoss  # seconds to import

        evaluate = CompiledLoss(loss)

    def at_new_points() -> Tensor:
        return evaluate(control, sample_points(loss.off_grid, 1, generator, loss.images))

    descend(control, at_new_points, level.steps, level.rate, report)
    with torch.no_grad():
        return loss.displacements(control)


def descend(
    values: Tensor,
    loss: Callable[[], Tensor],
    steps: int,
    rate: float,
    report: Callable[[], None] = lambda: None,
) -> None:
    """Minimise a loss over values, in place, by Adam at a rate that falls to zero as a cosine; or NotFiniteError."""
    optimizer = Adam(values, rate, steps, fused=True)
    for _ in range(steps):
        loss().backward()
        optimizer.step()
        report()
    if not values.isfinite().all():
        raise NotFiniteError("the optimisation diverged.")
