"""Fit beside other methods, pair by pair in turn, on training subjects: Dice, folds, processor time.

python benchmarks/fit.py RESULTS OUTPUT.csv [--images 24] [--method fit --method demons ...]

RESULTS is a cohort's folder with preprocessed images and labels, such as results/hippocampus. The pairs are neighbours
among its last training images, on which the settings of fit were chosen; no test pair is looked at. One thread;
processor time, of programs that a method starts as well, which other work on the machine changes little.
"""

import argparse
import resource
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from cohortreg.cohort.tables import read_table
from cohortreg.evaluation import overlap
from cohortreg.evaluation.overlap import mean_of_structures
from cohortreg.evaluation.structures import structure_masks
from cohortreg.files import whole
from cohortreg.images.io import Image, read_image, read_label
from cohortreg.jobs.register import open_row
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.layout import Layout
from cohortreg.learning.devices import Device, use_processor
from cohortreg.maps.grids import identity_map
from cohortreg.maps.jacobian import fold_sites, folds
from cohortreg.maps.transforms import Transform, to_physical
from cohortreg.provenance import hardware


def read(layout: Layout, image_id: str) -> Image:
    image = read_image(layout.image(image_id))
    return replace(image, field_of_view=read_sidecar(layout, image_id)["field_of_view"])


def dice(labels: list[Image], transform: Transform) -> float:
    """Mean over the structures of the two labels, at their own resolution, as the project measures it."""
    structures = {str(value): [value] for value in np.unique(labels[1].array) if value > 0}
    masks = structure_masks(*labels, transform, structures)
    return mean_of_structures({name: overlap.dice(warped, fixed) for name, warped, fixed in masks})


def processor_seconds() -> float:
    """Of this process and of the programs that it started and that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--method", action="append")
    given = parser.parse_args()
    use_processor(1)
    layout, device = Layout(given.results), Device("cpu", "32-true")
    images = read_table(layout.images, ["image_id", "split"], "`cohortreg cohort`")
    last = images.loc[images["split"] == "train", "image_id"].tolist()[-given.images :][::-1]
    methods = {name: open_row(name, layout, 1, 1, device) for name in given.method or ["fit", "demons"]}
    rows = []
    for moving_id, fixed_id in pairwise(last):
        moving, fixed = read(layout, moving_id), read(layout, fixed_id)
        labels = [read_label(layout.label(image_id)) for image_id in (moving_id, fixed_id)]
        for name, method in methods.items():
            start = processor_seconds()
            found = method(moving, fixed)
            seconds = processor_seconds() - start
            transform = to_physical(found.forward, moving.grid, fixed.grid)
            phi = identity_map(fixed.shape) + found.forward
            folded = int(folds(phi).item())
            rows.append(
                {
                    "method": name,
                    "moving": moving_id,
                    "fixed": fixed_id,
                    "dice": round(dice(labels, transform), 4),
                    "folds": folded,
                    "folds_percent": round(100 * folded / fold_sites(fixed.shape), 5),
                    "processor_s": round(seconds, 3),
                    "hardware": hardware("cpu", 1),
                }
            )
            print(*list(rows[-1].values())[:7], flush=True)
    table = pd.DataFrame(rows)
    with whole(given.output) as beside:
        table.to_csv(beside, index=False)
    print(table.groupby("method", sort=False)[["dice", "folds", "folds_percent", "processor_s"]].mean())


if __name__ == "__main__":
    main()
