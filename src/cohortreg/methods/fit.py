"""The maps of a pair themselves, optimised under ICON's loss: the paper's direct optimisation (4.3) as a method."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, cycle, repeat
from operator import itemgetter

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cohortreg.config import FieldSimilarity, MethodSettings
from cohortreg.digests import digest
from cohortreg.errors import NotFiniteError, UserError
from cohortreg.icon.alignment import align
from cohortreg.icon.fit import Level, fit, lacking
from cohortreg.images.image import Image
from cohortreg.learning.devices import Device
from cohortreg.losses.fields_of_view import unit_bounds
from cohortreg.losses.similarities import SimilarityToOne, SumWithOne, TermByTerm, similarity_to
from cohortreg.losses.words import in_turn, similarity_in_words
from cohortreg.maps.fields import AffineMap, Composition, DisplacementField
from cohortreg.maps.grids import identity_map, voxel_size
from cohortreg.maps.separable import smoothed
from cohortreg.methods.interface import Method, Registration, check_finite
from cohortreg.methods.registry import PAIRWISE, REFINED, packages_of_similarity
from cohortreg.settings import Number

#: Voxels of the finest level at most: beyond them, the images' own resolution costs minutes and gains next to nothing.
LARGEST = 3_000_000
#: Voxels that the longest axis of the coarsest level has at least.
COARSEST = 12
#: How much squared local correlation images have to gain by being brought to one place before they are fitted, at the
#: level before the finest. Of 23 pairs of hippocampi as they lie, the one that the search took for turned gained 0.02;
#: turned by 45 degrees, all gained 0.07 and more.
MORE_ALIKE = 0.03
#: Of each level, from the images' own resolution to the coarser ones; the last one serves those beyond.
LEVELS = (
    Level(downsample=1, steps=55, rate=0.6, deviation=1.7, spacing=2, window=1.0, weight=2.6, stride=3),
    Level(downsample=2, steps=20, rate=0.8, deviation=2.0, spacing=1, window=1.3, weight=0.2, stride=2),
    Level(downsample=4, steps=20, rate=0.8, deviation=2.0, spacing=1, window=1.3, weight=0.08, stride=1),
)


def levels(shape: Sequence[int], smoothness: float, consistency: float, steps: float) -> list[Level]:
    """The levels for images of a shape, from coarse to fine, under settings of `Fit`."""
    chosen = [
        replace(
            level,
            downsample=downsample,
            steps=max(round(steps * level.steps), 1),
            deviation=smoothness * level.deviation,
            weight=consistency * level.weight,
        )
        for downsample, level in zip(_resolutions(shape), chain(LEVELS, repeat(LEVELS[-1])), strict=False)
    ]
    return chosen[::-1]


def _resolutions(shape: Sequence[int]) -> Iterator[int]:
    """How much coarser than the images each level is, the finest first."""
    downsample = 1
    while math.prod(math.ceil(size / downsample) for size in shape) > LARGEST:
        downsample *= 2
    yield downsample
    while max(shape) / (downsample := 2 * downsample) >= COARSEST:
        yield downsample


@dataclass(frozen=True)
class _Start:
    """Where a fit may start; see `icon.fit.fit`.

    Attributes:
        levels: Those that are fitted before starts are compared.
        displacements: Where it begins, of both directions; at the identity if None.
        places: At which both images are sampled; see `_places`.
        handicap: How much more alike its images have to be than those of another start.
    """

    levels: Sequence[Level]
    displacements: Tensor | None = None
    places: AffineMap | None = None
    handicap: float = 0


class Fit:
    """Displacement fields of both directions, from coarse to fine by Adam, under Eq. 13; see `icon.fit`.

    The same pair and seed give the same maps on the same number of threads; on a device, in single precision.
    """

    class Settings(MethodSettings):
        """Settings of the row fit, and of rows that it refines."""

        similarity: FieldSimilarity = Field(
            "lncc_mind",
            description="what is maximised; lncc_mind and squared_lncc also handle reversed contrast, mse only equal "
            "grey values",
        )
        smoothness: Number = Field(
            1,
            ge=0.1,
            le=10,
            description="multiplies the widths of the Gaussians that make up displacements; larger is smoother",
        )
        consistency: Number = Field(
            1,
            ge=1e-3,
            le=1e3,
            description="multiplies the weights of inverse consistency; larger means fewer folds",
        )
        steps: Number = Field(1, gt=0, le=100, description="multiplies the numbers of steps, and the time")

    @staticmethod
    def similarity_in_words(settings: Settings) -> str:
        """Name the similarity as the report does."""
        return similarity_in_words(settings.similarity)

    def __init__(self, settings: Settings, seed: int, threads: int, device: Device | None = None):
        self.settings = settings
        #: Called after each step.
        self.report: Callable[[], None] = lambda: None
        self.seed = seed
        self.device = device.device if device else torch.device("cpu")
        self.similarity = self.similarity_in_words(settings)
        self.version = digest(
            PAIRWISE["fit"].release,
            json.dumps([settings.whole(), seed], sort_keys=True),
            *packages_of_similarity(settings.similarity),
        )
        if self.device.type == "cpu":
            # A tiny pair, so that the time to compile the loops counts for no real one.
            images = torch.linspace(0, 1, 128).reshape(2, 1, 4, 4, 4)
            once = [replace(level, downsample=1, steps=1) for level in LEVELS]
            fit(images, once, partial(similarity_to, self.settings.similarity))

    def __call__(
        self, moving: Image, fixed: Image, start: Tensor | None = None, deforms: bool = True
    ) -> Registration:
        """Register a preprocessed pair, from the maps of another registration of it; from nothing if there is none.

        Where these deform, the fit is from nothing too, up to its finest level, and goes on from the better. Where they
        are affine, it is from them alone, and at every level.

        Args:
            start: The displacements of both directions to start from, [2, dim, *grid] in unit coordinates.
            deforms: Whether their maps are more than affine.
        """
        check_finite(moving, fixed)
        images = torch.stack([torch.from_numpy(image.array) for image in (moving, fixed)])[:, None]
        boxes = torch.tensor([moving.imaged, fixed.imaged]).transpose(1, 2)
        # What preprocessing added around both images costs time and says nothing.
        first, end = boxes[:, 0].amin(0), boxes[:, 1].amax(0)
        box = [slice(*ends) for ends in zip(first.tolist(), end.tolist(), strict=True)]
        seen = images[:, :, *box]
        seen, boxes = seen.to(self.device), (boxes - first).to(self.device)
        begin = None if start is None else _within(start, box).to(seen)
        try:
            displacement = self._displacement(seen, boxes, fixed, begin, deforms)
        except NotFiniteError as error:
            raise UserError(
                "fit: the optimisation diverged; leave smoothness and consistency at 1"
            ) from error
        forward, inverse = _continued(displacement.cpu(), first.tolist(), images.shape[2:]).split(1)
        return Registration(forward, inverse)

    def _displacement(
        self, images: Tensor, boxes: Tensor, fixed: Image, start: Tensor | None, deforms: bool
    ) -> Tensor:
        """Displacements from the best start: from nothing, from a rigid map, or from the maps of another method.

        A search at a coarse resolution may take a pair for one that lies far apart that does not, and a network may be
        far off on images unlike those it learnt from. So each start is fitted at all levels but the finest, which goes
        on from the one whose images are then the most alike; where these are the other method's maps, from their mean
        with the result from nothing.
        """
        levels = self._levels(images.shape[2:])
        if start is not None and not deforms:
            return self._fit(images, boxes, levels, start)
        coarser, finest = levels[:-1] or levels, levels[1:][-1:]
        starts, apart = [_Start(coarser)], _apart(images, boxes, fixed)
        if apart:
            starts.append(_Start(coarser, places=_places(apart), handicap=MORE_ALIKE))
        # One step in so many: of these fits `steps` counts one.
        turn = cycle([False] * (len(starts) - 1) + [True])

        def one_in_each() -> None:
            if next(turn):
                self.report()

        if start is not None:
            # Folds between voxels, which a sum of wider Gaussians cannot undo, are smoothed away.
            start = smoothed(start, levels[-1].deviation * levels[-1].downsample)
            starts.append(_Start(coarser[-1:], start))
        if len(starts) == 1:
            return self._fit(images, boxes, levels)
        correlation, candidates = partial(similarity_to, "squared_lncc"), []
        for each in starts:
            report = one_in_each if each.displacements is None else self.report
            fitted = self._fit(images, boxes, each.levels, each.displacements, each.places, report)
            lack = lacking(images, fitted, coarser[-1], correlation, boxes, each.places)
            candidates.append((lack + each.handicap, fitted, each.places))
        best = min(candidates, key=itemgetter(0))
        _, displacement, places = best
        if start is not None and best is candidates[-1]:
            # Two estimates of one map, made independently: their mean errs less than either.
            displacement = (displacement + candidates[0][1]) / 2
        displacement = self._fit(images, boxes, finest, displacement, places)
        return _from_apart(displacement, apart) if apart and places else displacement

    def _fit(
        self,
        images: Tensor,
        boxes: Tensor,
        levels: Sequence[Level],
        start: Tensor | None = None,
        places: AffineMap | None = None,
        report: Callable[[], None] | None = None,
    ) -> Tensor:
        """`icon.fit.fit` with these settings; of a similarity that is a sum, each step sees one term."""

        def similarity(window: float, images: Tensor) -> SimilarityToOne:
            found = similarity_to(self.settings.similarity, window, images)
            return TermByTerm(found) if isinstance(found, SumWithOne) else found

        return fit(images, levels, similarity, boxes, start, places, self.seed, report or self.report)

    def steps(self, shape: Sequence[int], deforms: bool = False) -> int:
        """Count the steps for a pair of images of a shape, from maps that are more than affine if `deforms`."""
        levels = self._levels(shape)
        return sum(level.steps for level in levels + (levels[:-1] or levels)[-1:] * deforms)

    def _levels(self, shape: Sequence[int]) -> list[Level]:
        return levels(shape, self.settings.smoothness, self.settings.consistency, self.settings.steps)


def _apart(images: Tensor, boxes: Tensor, fixed: Image) -> AffineMap | None:
    """The rigid map between images [2, 1, *grid] that lie far apart, see `align`; None where they do not."""
    shape = images.shape[2:]
    extent = [max(size - 1, 1) * step for size, step in zip(shape, fixed.spacing.tolist(), strict=True)]
    return align(images, unit_bounds(boxes, shape, beyond_grid=False), extent)


def _places(apart: AffineMap) -> AffineMap:
    """The places at which both images are sampled, on the fixed grid, so that they lie near each other."""
    identity = torch.eye(*apart.matrix.shape[1:], device=apart.matrix.device)
    return AffineMap(torch.cat([apart.matrix, identity[None]]))


def _from_apart(displacement: Tensor, apart: AffineMap) -> Tensor:
    """Displacements of both directions [2, dim, *grid] between images as they lie, from those of the aligned ones."""
    shape = displacement.shape[2:]
    forward, inverse = (DisplacementField(each) for each in displacement.split(1))
    phi = Composition(apart, forward).on_grid(shape), Composition(inverse, apart.inverse()).on_grid(shape)
    return torch.cat(phi) - identity_map(shape, displacement.device)


class Refined:
    """Registration by a method, both of whose maps `Fit` then starts from; more than affine ones if `deforms`."""

    def __init__(self, method: Method, fit: Fit, deforms: bool = True):
        self.method = method
        self.fit = fit
        self.deforms = deforms
        #: Called after each step of the fit.
        self.report: Callable[[], None] = lambda: None
        self.steps = partial(fit.steps, deforms=deforms)
        self.similarity = in_turn([method.similarity, fit.similarity])
        self.version = digest(REFINED, method.version, fit.version)

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair with the method, then refine its maps."""
        start = self.method(moving, fixed)
        if start.inverse is None:
            raise UserError(
                "fit needs maps in both directions to start from, but the method computes only one"
            )
        self.fit.report = self.report
        return self.fit(moving, fixed, torch.cat([start.forward, start.inverse]), self.deforms)


def _within(displacement: Tensor, box: Sequence[slice]) -> Tensor:
    """A displacement [batch, dim, *grid] at the voxels of a part of the grid, in the part's unit coordinates."""
    part = displacement[:, :, *box]
    return part / voxel_size(displacement.shape[2:], part) * voxel_size(part.shape[2:], part)


def _continued(displacement: Tensor, first: Sequence[int], shape: Sequence[int]) -> Tensor:
    """A displacement [batch, dim, *part] on the whole grid, in its unit coordinates; beyond the part, as at its border.

    The part, in whose unit coordinates it is given, begins at the voxel `first` of the grid.
    """
    part = displacement.shape[2:]
    margins = [(begin, size - begin - length) for begin, size, length in zip(first, shape, part, strict=True)]
    padding = [margin for both in reversed(margins) for margin in both]
    in_voxels = displacement / voxel_size(part, displacement)
    return F.pad(in_voxels, padding, mode="replicate") * voxel_size(shape, displacement)
