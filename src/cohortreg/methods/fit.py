"""The maps of a pair themselves, optimised under ICON's loss: the paper's direct optimisation (4.3) as a method."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cohortreg.errors import NotFiniteError, UserError
from cohortreg.evaluation.names import similarity_in_words
from cohortreg.files import digest
from cohortreg.icon.fit import Level, fit
from cohortreg.icon.similarities import similarity_to
from cohortreg.images.io import Image
from cohortreg.maps.grids import voxel_size
from cohortreg.methods.interface import Registration

SETTINGS = {
    "similarity": {
        "enum": ["squared_lncc", "lncc", "mse", "ncc", "mi"],
        "default": "squared_lncc",
        "description": "what is maximised; squared_lncc also takes reversed contrast, mse only equal grey values",
    },
    "smoothness": {
        "type": "number",
        "minimum": 0.1,
        "maximum": 10,
        "default": 1,
        "description": "multiplies the widths of the Gaussians that displacements are made of; more is smoother",
    },
    "consistency": {
        "type": "number",
        "minimum": 1e-3,
        "maximum": 1e3,
        "default": 1,
        "description": "multiplies the weights of inverse consistency; more means fewer folds",
    },
    "steps": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 100,
        "default": 1,
        "description": "multiplies the numbers of steps, and the time",
    },
}

#: Voxels of the finest level at most: beyond them, the images' own resolution costs minutes and gains next to nothing.
LARGEST = 3_000_000
#: Voxels that the longest axis of the coarsest level has at least.
COARSEST = 12
#: Of each level, from the images' own resolution to the coarser ones; the last one serves those beyond.
LEVELS = (
    Level(downsample=1, steps=25, rate=0.3, deviation=2.0, spacing=2, window=1.5, weight=0.8, stride=2),
    Level(downsample=2, steps=60, rate=0.3, deviation=1.5, spacing=1, window=1.3, weight=0.2, stride=1),
    Level(downsample=4, steps=60, rate=0.3, deviation=1.2, spacing=1, window=1.3, weight=0.08, stride=1),
)


def levels(shape: Sequence[int], smoothness: float, consistency: float, steps: float) -> list[Level]:
    """The levels for images of a shape, from coarse to fine. The other arguments are those of `SETTINGS`."""
    chosen, downsample = [], 1
    while math.prod(math.ceil(size / downsample) for size in shape) > LARGEST:
        downsample *= 2
    while not chosen or max(shape) / downsample >= COARSEST:
        level = LEVELS[min(len(chosen), len(LEVELS) - 1)]
        chosen.append(
            replace(
                level,
                downsample=downsample,
                steps=max(round(steps * level.steps), 1),
                deviation=smoothness * level.deviation,
                weight=consistency * level.weight,
            )
        )
        downsample *= 2
    return chosen[::-1]


class Fit:
    """Displacement fields of both directions, from coarse to fine by Adam, under Eq. 13; see `icon.fit`.

    It starts from the identity. The same pair and seed give the same maps on the same number of threads.
    """

    settings = SETTINGS

    @staticmethod
    def similarity_in_words(settings: Mapping) -> str:
        return similarity_in_words(settings.get("similarity", SETTINGS["similarity"]["default"]))

    def __init__(self, settings: dict, seed: int, threads: int):
        self.given = settings
        #: Called after each step.
        self.report: Callable[[], None] = lambda: None
        self.seed = seed
        self.similarity = self.similarity_in_words(settings)
        self.version = digest("fit-1", json.dumps([settings, seed], sort_keys=True))

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        if not all(np.isfinite(image.array).all() for image in (moving, fixed)):
            raise UserError("an image has NaN or infinite values; preprocess it again")
        images = torch.stack([torch.from_numpy(image.array) for image in (moving, fixed)])[:, None]
        boxes = torch.tensor(
            [image.field_of_view or [[0, size] for size in image.shape] for image in (moving, fixed)]
        ).transpose(1, 2)
        # What preprocessing added around both images costs time and says nothing.
        first, end = boxes[:, 0].amin(0), boxes[:, 1].amax(0)
        seen = images[(..., *map(slice, first.tolist(), end.tolist()))]
        try:
            found = fit(
                seen,
                self._levels(seen.shape[2:]),
                partial(similarity_to, self.given["similarity"]),
                boxes - first,
                seed=self.seed,
                report=self.report,
            )
        except NotFiniteError as error:
            raise UserError(
                "fit: the optimisation diverged; leave smoothness and consistency at 1"
            ) from error
        forward, inverse = _continued(found, first.tolist(), images.shape[2:]).split(1)
        return Registration(forward, inverse)

    def steps(self, shape: Sequence[int]) -> int:
        """How many steps a pair of images of a shape takes."""
        return sum(level.steps for level in self._levels(shape))

    def _levels(self, shape: Sequence[int]) -> list[Level]:
        return levels(shape, *(self.given[key] for key in ("smoothness", "consistency", "steps")))


def _continued(displacement: Tensor, first: Sequence[int], shape: Sequence[int]) -> Tensor:
    """A displacement within a part of a grid on the whole grid, in its unit coordinates; beyond, as at the border.

    displacement: [batch, dim, *part]. first: the whole grid's voxel at which the part begins, along each axis.
    """
    part = displacement.shape[2:]
    margins = [(begin, size - begin - length) for begin, size, length in zip(first, shape, part, strict=True)]
    padding = [margin for both in reversed(margins) for margin in both]
    in_voxels = displacement / voxel_size(part, displacement)
    return F.pad(in_voxels, padding, mode="replicate") * voxel_size(shape, displacement)
