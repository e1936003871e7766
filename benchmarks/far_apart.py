"""Fit where images lie far apart: the same pairs with the moving image turned and shifted, beside as they are.

python benchmarks/far_apart.py RESULTS OUTPUT.csv [--pairs 23]

RESULTS is a cohort's folder with preprocessed images and labels on their grid, such as results/hippocampus; the
pairs are those of `benchmarks/fit.py`, of subjects set aside from the training ones. The moving image is turned around
a random axis through its middle and shifted along each axis by up to a part of the field of view; what leaves the field
is lost. Its label stays where it is, and is warped by both maps in turn. Beside what fit finds by itself, a row
each for a fit that is told how the image was moved: what it lacks, no search can bring. One thread; processor time.
"""

import argparse
import time
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from fit import dice, read

from cohortreg.cohort.tables import read_table
from cohortreg.files import whole
from cohortreg.images.io import read_label
from cohortreg.jobs.register import open_row
from cohortreg.layout import Layout
from cohortreg.learning.devices import use_processor
from cohortreg.maps.fields import AffineMap
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.methods import fit as fit_module
from cohortreg.provenance import hardware

#: Degrees, and parts of the field of view.
CASES = [(0, 0.0), (20, 0.1), (45, 0.0), (0, 0.25), (45, 0.25)]


def moved(
    shape, spacing: np.ndarray, degrees: float, farthest: float, random: np.random.Generator
) -> AffineMap:
    """A rotation in millimetres around the middle of the grid and a shift, as a map of unit coordinates."""
    axis = random.normal(size=3)
    x, y, z = np.radians(degrees) * axis / np.linalg.norm(axis)
    rotation = torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])).float()
    extent = torch.tensor((np.array(shape) - 1) * spacing).float()
    linear = rotation * extent / extent[:, None]
    shift = torch.from_numpy(random.uniform(-farthest, farthest, 3)).float()
    middle = torch.full((3,), 0.5)
    return AffineMap(torch.cat([linear, (middle - linear @ middle + shift)[:, None]], 1)[None])


def told(there: AffineMap):
    """While it lasts, fit's search finds how the moving image was moved, whatever the images look like."""
    return patch.object(fit_module, "align", lambda *images: there.inverse())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--pairs", type=int, default=23)
    given = parser.parse_args()
    use_processor(1)
    layout = Layout(given.results)
    images = read_table(layout.images, ["image_id", "split"], "`cohortreg cohort`")
    last = images.loc[images["split"] == "train", "image_id"].tolist()[-given.pairs - 1 :][::-1]
    method = open_row("fit", layout, seed=1, threads=1)
    random = np.random.default_rng(1)
    rows = []
    for moving_id, fixed_id in pairwise(last):
        moving, fixed = read(layout, moving_id), read(layout, fixed_id)
        labels = [read_label(layout.label(image_id)).array for image_id in (moving_id, fixed_id)]
        spacing = moving.spacing
        for degrees, farthest in CASES:
            there = moved(moving.shape, spacing, degrees, farthest, random)
            turned, searches = moving, {"searched": nullcontext()}
            if degrees or farthest:
                searches["told"] = told(there)
                array = interpolate(torch.from_numpy(moving.array)[None, None], there.on_grid(moving.shape))
                whole_grid = [[0, size] for size in moving.shape]
                turned = replace(moving, array=array[0, 0].numpy(), field_of_view=whole_grid)
            for name, search in searches.items():
                began = time.process_time()
                with search:
                    found = method(turned, fixed)
                seconds = time.process_time() - began
                phi = identity_map(fixed.shape) + found.forward
                rows.append(
                    {
                        "moving": moving_id,
                        "fixed": fixed_id,
                        "degrees": degrees,
                        "shift": farthest,
                        "start": name,
                        "dice": round(dice(*labels, there(phi)), 4),
                        "seconds": round(seconds, 2),
                        "processor": hardware("cpu"),
                    }
                )
                print(*list(rows[-1].values())[:-1], flush=True)
    table = pd.DataFrame(rows)
    with whole(given.output) as beside:
        table.to_csv(beside, index=False)
    print(table.groupby(["degrees", "shift", "start"])[["dice", "seconds"]].mean().round(4))


if __name__ == "__main__":
    main()
