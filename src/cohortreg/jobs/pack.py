"""Packing of a training set into one file: the job of the rule `pack`."""

from collections.abc import Callable, Sequence

import numpy as np

from cohortreg.images.io import read_image
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.layout import Layout
from cohortreg.learning.data import pack


def pack_training_set(
    layout: Layout, training_set: str, image_ids: Sequence[str], progress: Callable[[], None]
) -> None:
    """Write the images of a training set as one array, with their fields of view; call `progress` before each."""

    def read(image_id: str) -> tuple[np.ndarray, list[list[int]]]:
        progress()
        return read_image(layout.image(image_id)).array, read_sidecar(layout, image_id)["field_of_view"]

    pack(list(image_ids), read, layout.packed(training_set), layout.packed_index(training_set))
