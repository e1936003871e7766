"""Dice of pairs of images while a registration of theirs is being trained, which never sees their labels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from cohortreg.evaluation.overlap import dice, mean_of_structures
from cohortreg.evaluation.structures import structure_masks
from cohortreg.images.image import Image
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import to_physical


@dataclass(frozen=True)
class LabelOverlap:
    """Mean Dice of the structures of a pair, measured as the tables' is, but on the images' grid.

    Labels that keep voxels of their own are brought to it by nearest neighbour: that takes a part of the time and
    memory, and serves a curve.

    Attributes:
        registration: Of images on that grid.
        labels: By the images' rows; an image without a label has no Dice.
        structures: Name -> label values.
    """

    registration: nn.Module
    labels: Mapping[int, Image]
    structures: Mapping[str, Sequence[int]]

    def __call__(self, moving: int, fixed: int, moving_image: Tensor, fixed_image: Tensor) -> float:
        """The pair's Dice under the registration's map as it is now. Images [1, 1, *grid]; NaN without both labels."""
        if not {moving, fixed} <= self.labels.keys():
            return math.nan
        phi = self.registration(moving_image, fixed_image).on_grid(fixed_image.shape[2:])
        labels = self.labels[moving], self.labels[fixed]
        displacement = phi - identity_map(phi.shape[2:], phi.device)
        transform = to_physical(displacement, *(label.grid for label in labels))
        masks = structure_masks(*labels, transform, self.structures)
        return mean_of_structures({name: dice(*both) for name, *both in masks})
