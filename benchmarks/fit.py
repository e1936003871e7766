"""Fit beside demons, pair by pair in turn, on subjects set aside from the training ones: Dice, folds, processor time.

python benchmarks/fit.py RESULTS OUTPUT.csv [--subjects 24] [--method fit --method demons]

RESULTS is a cohort's folder with preprocessed images and labels on their grid, such as results/hippocampus. The pairs
are neighbours among its last training subjects, on which the settings of fit were chosen; no test pair is looked at.
One thread; processor time, which other work on the machine changes little.
"""

import argparse
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cohortreg.cohort.sidecars import read_sidecar
from cohortreg.cohort.tables import read_table
from cohortreg.files import whole
from cohortreg.images.io import Image, read_image, read_label
from cohortreg.layout import Layout
from cohortreg.learning.devices import Device, use_processor
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.jacobian import fold_sites, folds
from cohortreg.methods.registry import open_method
from cohortreg.provenance import hardware


def read(layout: Layout, image_id: str) -> Image:
    image = read_image(layout.image(image_id))
    return replace(image, field_of_view=read_sidecar(layout, image_id)["field_of_view"])


def dice(moving: np.ndarray, fixed: np.ndarray, phi: torch.Tensor) -> float:
    """Mean over the structures, each warped linearly and cut at one half, as the project measures it."""
    values = []
    for value in np.unique(fixed[fixed > 0]):
        warped = (
            interpolate(torch.from_numpy((moving == value).astype(np.float32))[None, None], phi)[0, 0] > 0.5
        )
        target = torch.from_numpy(fixed == value)
        values.append(float(2 * (warped & target).sum() / (warped.sum() + target.sum())))
    return float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--subjects", type=int, default=24)
    parser.add_argument("--method", action="append")
    given = parser.parse_args()
    use_processor(1)
    layout, device = Layout(given.results), Device("cpu", "32-true")
    images = read_table(layout.images, ["image_id", "split"], "`cohortreg cohort`")
    last = images.loc[images["split"] == "train", "image_id"].tolist()[-given.subjects :][::-1]
    methods = {name: open_method(name, layout, 1, 1, device) for name in given.method or ["fit", "demons"]}
    rows = []
    for moving_id, fixed_id in pairwise(last):
        moving, fixed = read(layout, moving_id), read(layout, fixed_id)
        labels = [read_label(layout.label(image_id)).array for image_id in (moving_id, fixed_id)]
        for name, method in methods.items():
            start = time.process_time()
            found = method(moving, fixed)
            seconds = time.process_time() - start
            phi = identity_map(fixed.shape) + found.forward
            folded = int(folds(phi).item())
            rows.append(
                {
                    "method": name,
                    "moving": moving_id,
                    "fixed": fixed_id,
                    "dice": round(dice(*labels, phi), 4),
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
