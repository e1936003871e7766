"""How much better networks do on the subjects that they were trained on: Dice and similarity of pairs of each split.

python benchmarks/training_pairs.py RESULTS CONFIG.yaml OUTPUT.csv METHODS...

RESULTS: a cohort's folder with its trained models. Ten pairs of two subjects are drawn from the training images and ten
from the test images, and registered anew; one thread. similarity: 1 - squared LNCC, window of 2.5 voxels.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cohortreg import config as configuration
from cohortreg.cohort.tables import read_images
from cohortreg.evaluation.structures import structure_masks
from cohortreg.images.io import read_image, read_label
from cohortreg.jobs.register import open_row
from cohortreg.layout import Layout
from cohortreg.learning.devices import Device
from cohortreg.losses.similarities import LocalCrossCorrelation
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.transforms import to_physical

PAIRS, SEED = 10, 5


def draw(images: pd.DataFrame, random: np.random.Generator) -> list[tuple[str, str]]:
    """Ids of the images of `PAIRS` pairs of two subjects."""
    pairs = []
    while len(pairs) < PAIRS:
        moving, fixed = images.sample(2, random_state=int(random.integers(1e9))).itertuples(index=False)
        if moving.subject_id != fixed.subject_id:
            pairs.append((moving.image_id, fixed.image_id))
    return pairs


def measure(layout: Layout, method, moving: str, fixed: str, structures: dict) -> tuple[float, float]:
    """Mean Dice of the structures and similarity of a pair."""
    images = [read_image(layout.image(name)) for name in (moving, fixed)]
    labels = [read_label(layout.label(name)) for name in (moving, fixed)]
    forward = method(*images).forward
    transform = to_physical(forward, *(image.grid for image in images))
    phi = (identity_map(images[1].shape) + forward).float()
    warped = interpolate(torch.from_numpy(images[0].array)[None, None], phi)
    target = torch.from_numpy(images[1].array)[None, None]
    similarity = LocalCrossCorrelation(2.5, squared=True)(warped, target, torch.ones_like(target))
    masks = structure_masks(*labels, transform, structures)
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for _, a, b in masks])), float(similarity)


def main(results: str, config: str, output: str, *methods: str) -> None:
    torch.set_num_threads(1)
    layout, random = Layout(results), np.random.default_rng(SEED)
    settings = configuration.load(Path(config))
    images = read_images(layout.images)
    device = Device("cpu", settings.training.precision)
    opened = {name: open_row(name, layout, settings.seed, 1, device) for name in methods}
    rows = []
    for split in ("train", "test"):
        for moving, fixed in draw(images[images["split"] == split], random):
            for name, method in opened.items():
                measured = measure(layout, method, moving, fixed, settings.structures)
                rows.append([split, name, moving, fixed, *measured])
    columns = ["split", "method", "moving", "fixed", "dice_mean", "similarity"]
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(output, index=False, float_format="%.5f")
    print(table.groupby(["split", "method"])[["dice_mean", "similarity"]].mean().round(3))


if __name__ == "__main__":
    main(*sys.argv[1:])
