"""Hippocampi, trained as long as it takes: how accurate do networks become, and after how much training?

The U-Net and the dual-stream network of config/hippocampus.yaml, stage by stage, with some training subjects set aside
for validation; then both with four times as many steps. Dice of validation and test pairs, by seconds of training.
"""

import copy
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from a_works import NETWORKS
from bench import Bench, Measurement
from data import Cohort, dice_on_grid, read, settings
from staged import Plan, trained
from torch import nn

from cohortreg.learning.data import VALIDATION_PAIRS
from cohortreg.maps.jacobian import folds

#: Training subjects that are set aside.
SET_ASIDE = 24
AT_ONCE = 20


def measurements(bench: Bench) -> Iterator[Measurement]:
    for times in (1, 4):
        for name in ("dual", "icon"):
            yield Measurement(
                f"{name}, {times} x the steps", partial(curve, bench, name, times), 20, watched=False
            )


def curve(bench: Bench, name: str, times: int) -> dict:
    """The curve of one model."""
    configuration = settings(bench.packed, "hippocampus")
    model = copy.deepcopy(configuration["models"][name])
    cohort = read(bench.packed, "hippocampi")
    train_rows, aside = np.split(cohort.rows("train"), [-SET_ASIDE])
    test = cohort.pairs
    if bench.small:
        cohort, train_rows, aside, test = cohort.coarser(4), train_rows[:6], aside[:3], test[:4]
        model["network"] = NETWORKS["dual_stream" if name == "dual" else "unet"]
    for stage in model["stages"]:
        stage["training_steps"] = 2 * times if bench.small else times * stage["training_steps"]
    images, validation = (
        cohort.training_images(rows, bench.work / "e" / which, bench.device)
        for which, rows in (("train", train_rows), ("validation", aside))
    )
    chosen = np.stack([aside, np.roll(aside, -1)], 1)[:VALIDATION_PAIRS]
    measure = partial(measured, cohort, {"validation": chosen, "test": test}, bench.device)
    plan = Plan(f"{name}, {times} x the steps", model, configuration["training"], 2 if bench.small else 8)
    return trained(bench, plan, images, validation, measure)


def measured(
    cohort: Cohort, sets: dict[str, np.ndarray], device: torch.device, registration: nn.Module
) -> dict[str, float]:
    """Mean Dice and folds of each set of pairs, by name."""
    found = {}
    for name, pairs in sets.items():
        dice, folded = [], []
        for start in range(0, len(pairs), AT_ONCE):
            rows = pairs[start : start + AT_ONCE].T
            images = [torch.from_numpy(cohort.images[each]).to(device).float()[:, None] for each in rows]
            phi = registration(*images).on_grid(cohort.grid)
            labels = [torch.from_numpy(cohort.labels[each]).to(device) for each in rows]
            dice += dice_on_grid(phi, *labels, cohort.structures).tolist()
            folded += folds(phi).tolist()
        found |= {f"{name}_dice": float(np.mean(dice)), f"{name}_folds": float(np.mean(folded))}
    return found
