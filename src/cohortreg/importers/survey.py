"""A look at a cohort's images and labels, for a configuration that fits them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cohortreg.errors import UserError
from cohortreg.images import geometry
from cohortreg.images.grid import Grid
from cohortreg.images.io import read_grid, read_image, read_label
from cohortreg.importers.folders import Bar, each, no_bar

#: Images of which headers, and labels of which values are looked at, evenly spread over the table.
HEADERS, LABELS = 200, 60


class Survey(NamedTuple):
    """What a cohort's images are like.

    Attributes:
        shapes: Voxels of each image along right, anterior, superior, [n, dim].
        spacings: Millimetres between them, [n, dim].
        values: Values above 0 of the labels, those with the most voxels first.
        missing: Those of `values` that some labels do not have, and in how many.
        labels: Number of labels that were read.
        unreadable: Number of images that could not be read.
    """

    shapes: np.ndarray
    spacings: np.ndarray
    values: list[int]
    missing: dict[int, int]
    labels: int
    unreadable: int


def survey(images: pd.DataFrame, root: Path, progress_bar: Bar = no_bar) -> Survey:
    """Look at some of the images and labels of a table.

    Raises:
        UserError: No image can be read.
    """
    grids: list[Grid] = []
    unreadable: list[UserError] = []
    for path in each(_some(images["image"], HEADERS), "Images", progress_bar):
        try:
            grids.append(_grid(root / path))
        except UserError as error:
            unreadable.append(error)
    if not grids:
        raise unreadable[0]
    dim = Counter(len(grid.shape) for grid in grids).most_common(1)[0][0]
    grids = [grid for grid in grids if len(grid.shape) == dim]
    voxels: Counter[int] = Counter()
    present: Counter[int] = Counter()
    number = 0
    labels = images["label"][images["label"] != ""]
    for path in each(_some(labels, LABELS), "Labels", progress_bar):
        try:
            values, counts = np.unique(read_label(root / path).array, return_counts=True)
        except UserError:
            continue  # preprocessing leaves it out, with the reason
        number += 1
        voxels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        present.update(values.tolist())
    ordered = [value for value, _ in voxels.most_common() if value > 0]
    return Survey(
        np.array([grid.shape for grid in grids]),
        np.array([grid.spacing for grid in grids]),
        ordered,
        {value: number - present[value] for value in ordered if present[value] < number},
        number,
        len(unreadable),
    )


def _some(paths: Sequence[str] | pd.Series, number: int) -> list[str]:
    """So many of the paths, evenly spread."""
    return list(paths)[:: -(-len(paths) // number) or 1]


def _grid(path: Path) -> Grid:
    """The grid of an image along right, anterior, superior; of a 2D image that of its voxels."""
    try:
        return read_grid(path).canonical()
    except UserError:
        return geometry.canonical(read_image(path)).grid
