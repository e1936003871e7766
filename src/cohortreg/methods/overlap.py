"""Dice of pairs of images while a registration of theirs is being trained, which never sees their labels."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from cohortreg.cohort.sidecars import read_sidecar
from cohortreg.evaluation.overlap import dice, mean_of_structures
from cohortreg.evaluation.structures import structure_masks
from cohortreg.images.geometry import resampled
from cohortreg.images.io import Image, read_label
from cohortreg.layout import Layout
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import to_physical


class LabelOverlap:
    """Mean Dice of the structures of a pair, measured as the tables' is, but on the images' grid.

    Labels that keep voxels of their own are brought to it by nearest neighbour: that takes a part of the time and
    memory, and serves a curve. registration: of images on that grid. image_ids: of each row, None where a row's label
    is not wanted. Structures are those that the images were preprocessed with; an image without a label has no Dice.
    """

    def __init__(self, registration: nn.Module, layout: Layout, image_ids: Sequence[str | None]):
        self.registration = registration
        self.structures: dict[str, list[int]] = {}
        self.labels: dict[int, Image] = {}
        for row, image_id in enumerate(image_ids):
            if (
                image_id is not None
                and layout.label(image_id).is_file()
                and layout.sidecar(image_id).is_file()
            ):
                sidecar = read_sidecar(layout, image_id)
                self.structures = sidecar["structures"]
                label = read_label(layout.label(image_id))
                shape = tuple(sidecar["shape"])
                self.labels[row] = label if label.shape == shape else resampled(label, shape, nearest=True)

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
