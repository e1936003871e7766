"""Direct optimisation of the two maps of a pair under the loss of ICON (4.3): no network, and none of its weights.

The maps of both directions are displacement fields made of few Gaussians, found coarse to fine by Adam. A step
interpolates both images, looks at a window around each voxel, and composes the maps at points off the grid; that is all
that it costs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cohortreg.errors import NotFiniteError
from cohortreg.icon.losses import inverse_consistency, sample_points, swap, unit_bounds, within
from cohortreg.icon.steps import halve
from cohortreg.maps.fields import AffineMap, DisplacementField, Map
from cohortreg.maps.grids import identity_map, interpolate, resize, voxel_size
from cohortreg.maps.separable import control_points, gaussians, sampled, separable


@dataclass(frozen=True)
class Level:
    """How the maps are found at one resolution.

    downsample: a power of two. steps: of Adam. rate: its learning rate at the start, voxels of the level; it falls to
    zero as a cosine. deviation: of the Gaussians that the field is made of, voxels of the level. spacing: voxels
    between them. window: see `similarities`. weight: of inverse consistency, the lambda of Eq. 13 times the mean
    square, over the axes, of a voxel's size, so that it serves images of any size. stride: inverse consistency is
    evaluated at one point in so many voxels along each axis.
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

    images: the moving images and then the fixed ones, [2 * pairs, 1, *grid]. levels: from coarse to fine.
    similarity_to: makes the similarity to a batch of images from a window in voxels, see `similarities.similarity_to`.
    fields_of_view: of the images, [2 * pairs, 2, dim], see `losses.unit_bounds`; voxels beyond them do not count.
    start: the displacements to start from, on any grid over the same field of view; the identity if None. places: where
    in each image its part of a pair is, [2 * pairs, dim, dim + 1]: images that lie far apart are brought to one place
    first, and the displacements are between what is there; as they lie if None. report: called after each step.

    Raises NotFiniteError where the optimisation diverges.
    """
    generator = torch.Generator().manual_seed(seed)
    found = start
    images = _placed(images, places)
    for level in levels:
        seen, imaged = _seen(images, level, fields_of_view, places)
        found = _at_level(seen, level, similarity_to, imaged, found, generator, report)
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

    level: at whose resolution, with whose window. Other arguments as of `fit`.
    """
    images, imaged = _seen(_placed(images, places), level, fields_of_view, places)
    centres = identity_map(images.shape[2:], images.device, images.dtype)
    phi = centres + resize(displacements, images.shape[2:])
    weight = imaged(phi) * swap(imaged(centres.expand_as(phi)))
    return similarity_to(level.window, swap(images))(interpolate(images, phi), weight).item()


#: Given points [2 * pairs, dim, *any], 1 where they lie within what was imaged of each image, else 0.
Imaged = Callable[[Tensor], Tensor]


def _placed(images: Tensor, places: AffineMap | None) -> Tensor:
    """Images where their parts of a pair are, see `fit`."""
    return images if places is None else interpolate(images, places.on_grid(images.shape[2:]))


def _seen(
    images: Tensor, level: Level, fields_of_view: Tensor | None, places: AffineMap | None
) -> tuple[Tensor, Imaged]:
    """Placed images at a level's resolution, and what of them was imaged; see `fit`."""
    for _ in range(round(math.log2(level.downsample))):
        images = halve(images)
    if fields_of_view is None:
        return images, lambda points: torch.ones_like(points[:, :1])
    bounds = unit_bounds(fields_of_view, images.shape[2:], level.downsample, beyond_grid=False)
    return images, partial(_imaged, bounds=bounds, places=places)


def _at_level(
    images: Tensor,
    level: Level,
    similarity_to: Callable[[float, Tensor], SimilarityTo],
    imaged: Imaged,
    start: Tensor | None,
    generator: torch.Generator,
    report: Callable[[], None],
) -> Tensor:
    """The displacements that are best at one level, on its images' grid; other arguments as of `fit`."""
    shape, dim = images.shape[2:], images.dim() - 2
    before = images.new_zeros(len(images), dim, *shape) if start is None else resize(start, shape)
    off_grid = [math.ceil(size / level.stride) for size in shape]
    onto_voxels = [gaussians(size, level.spacing, level.deviation, images) for size in shape]
    onto_points = [sampled(matrix, size) for matrix, size in zip(onto_voxels, off_grid, strict=True)]
    before_off_grid = resize(before, off_grid)
    voxel = voxel_size(shape, images)
    counts = [control_points(size, level.spacing) for size in shape]
    control = images.new_zeros(len(images), dim, *counts).requires_grad_(True)  # voxels
    similarity = similarity_to(level.window, swap(images))
    centres = identity_map(shape, images.device, images.dtype)
    start_on_grid = before + centres
    of_fixed = swap(imaged(centres.expand(len(images), *centres.shape[1:])))
    consistency_weight = level.weight / voxel.square().mean().item()

    def loss() -> Tensor:
        phi = start_on_grid + separable(control * voxel, onto_voxels)
        weight = imaged(phi.detach()) * of_fixed
        field = DisplacementField(before_off_grid + separable(control * voxel, onto_points))
        points = sample_points(off_grid, 1, generator, images)
        return maps_loss(images, phi, field, points, similarity, weight, consistency_weight)

    descend(control, loss, level.steps, level.rate, report)
    with torch.no_grad():
        return before + separable(control * voxel, onto_voxels)


def _imaged(points: Tensor, bounds: Tensor, places: AffineMap | None) -> Tensor:
    """1 where points lie within what was imaged of their image, else 0; see `losses.within` and `fit`."""
    return within(points if places is None else places(points), bounds)


def maps_loss(
    images: Tensor,
    phi: Tensor,
    field: Map,
    points: Tensor,
    similarity: SimilarityTo,
    weight: Tensor,
    consistency_weight: float,
) -> Tensor:
    """Eq. 13 for the maps of pairs, a scalar.

    images: as of `fit`. phi: the maps' values on the images' grid, [2 * pairs, dim, *grid]. field: the same maps, for
    inverse consistency at the points, [1, dim, *any]. similarity: to the images swapped. consistency_weight: lambda.
    """
    found = 2 * similarity(interpolate(images, phi), weight)
    return found + consistency_weight * inverse_consistency(field, points)


def descend(
    values: Tensor,
    loss: Callable[[], Tensor],
    steps: int,
    rate: float,
    report: Callable[[], None] = lambda: None,
) -> None:
    """Lower a loss of values, in their place, by steps of Adam whose rate falls to zero as a cosine.

    Raises NotFiniteError where it diverges.
    """
    optimizer = torch.optim.Adam([values], lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()
        report()
    if not values.isfinite().all():
        raise NotFiniteError("the optimisation diverged.")
