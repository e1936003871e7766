"""The fit of a pair: how long does `fit` take on a GPU, and is its Dice the processor's?

Pairs of hippocampi (48 x 64 x 48 voxels) and of knees (80 x 192 x 192), one after the other as the method registers
them, and several at once; some of them on the processor too. Goals: 1.5 s a pair of knees, Dice within 0.002.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from bench import Bench, Measurement, allocated, memory, synchronise
from data import Cohort, dice_on_grid, read
from torch import Tensor

from cohortreg.icon.fit import fit
from cohortreg.learning.devices import Device
from cohortreg.losses.similarities import similarity_to
from cohortreg.maps.grids import identity_map
from cohortreg.maps.jacobian import folds
from cohortreg.methods.fit import Fit, levels


def measurements(bench: Bench) -> Iterator[Measurement]:
    pairs = {"hippocampi": 2 if bench.small else 24, "knees": 1 if bench.small else 4}
    at_once = {"hippocampi": (2,) if bench.small else (8, 32), "knees": (2,) if bench.small else (2, 4)}
    on_processor = {"hippocampi": 2 if bench.small else 8, "knees": 1}
    for name, count in pairs.items():
        yield Measurement(f"{name}, one after the other", partial(one_by_one, bench, name, count), 2 + count)
    for name, counts in at_once.items():
        for count in counts:
            yield Measurement(f"{name}, {count} at once", partial(together, bench, name, count), 5)
    for name, count in on_processor.items():
        work = partial(beside_processor, bench, name, count)
        yield Measurement(f"{name} beside the processor", work, 20 if name == "hippocampi" else 40)


def _cohort(bench: Bench, name: str) -> Cohort:
    cohort = read(bench.packed, name)
    return cohort.coarser(2 if name == "hippocampi" else 8) if bench.small else cohort


def _settings(bench: Bench) -> Fit.Settings:
    return Fit.Settings(steps=0.1) if bench.small else Fit.Settings()


def _labels(cohort: Cohort, rows: Sequence[int], device: torch.device) -> Tensor:
    return torch.from_numpy(cohort.labels[list(rows)]).to(device)


def _measured(cohort: Cohort, displacement: Tensor, pairs: np.ndarray) -> tuple[list[float], list[int]]:
    """Dice and folds of the maps of pairs, [pairs, dim, *grid]."""
    phi = displacement + identity_map(cohort.grid, displacement.device)
    moving, fixed = (_labels(cohort, rows, phi.device) for rows in pairs.T)
    return dice_on_grid(phi, moving, fixed, cohort.structures).tolist(), folds(phi).tolist()


def _registered(bench: Bench, cohort: Cohort, pairs: np.ndarray, accelerator: str) -> list[dict]:
    """A row for each pair that the method registers: seconds, Dice, folds."""
    method = Fit(_settings(bench), bench.seed, torch.get_num_threads(), Device(accelerator, "32-true"))
    rows = []
    for moving, fixed in pairs:
        started = time.perf_counter()
        found = method(cohort.image(moving), cohort.image(fixed))
        seconds = time.perf_counter() - started
        (dice,), (folded,) = _measured(cohort, found.forward, np.array([[moving, fixed]]))
        pair = {"moving": cohort.ids[moving], "fixed": cohort.ids[fixed]}
        rows.append(pair | {"seconds": seconds, "dice": dice, "folds": folded})
    return rows


def one_by_one(bench: Bench, name: str, count: int) -> dict:
    """Median seconds a pair, the first left out, and the mean Dice."""
    cohort = _cohort(bench, name)
    lying = allocated(bench.device)
    with memory(bench.device, lying) as taken:
        # The first one also waits for the device to be made ready.
        first, *rows = _registered(bench, cohort, cohort.pairs[[0, *range(count)]], bench.device.type)
    return {
        "pairs": count,
        "median_s": statistics.median(row["seconds"] for row in rows),
        "first_s": first["seconds"],
        "dice": statistics.mean(row["dice"] for row in rows),
        "folds": statistics.mean(row["folds"] for row in rows),
        **taken,
        "each": rows,
    }


def together(bench: Bench, name: str, count: int) -> dict:
    """Seconds a pair where so many are fitted in one batch, as they lie."""
    cohort = _cohort(bench, name)
    pairs = cohort.pairs[:count]
    rows = np.concatenate(pairs.T)
    images = torch.from_numpy(cohort.images[rows]).to(bench.device).float()[:, None]
    seen = torch.from_numpy(cohort.fields_of_view[rows]).to(bench.device).mT
    similarity = partial(similarity_to, Fit.Settings().similarity)
    chosen = levels(cohort.grid, 1, 1, _settings(bench).steps)
    seconds = []
    for _ in range(2):  # the first one warms up
        synchronise(bench.device)
        started = time.perf_counter()
        with memory(bench.device) as taken:
            found = fit(images, chosen, similarity, seen, seed=bench.seed)
            synchronise(bench.device)
        seconds.append(time.perf_counter() - started)
    dice, folded = _measured(cohort, found[:count], pairs)
    return {
        "pairs": count,
        "median_s": seconds[-1] / count,
        "dice": statistics.mean(dice),
        "folds": statistics.mean(folded),
        **taken,
    }


def beside_processor(bench: Bench, name: str, count: int) -> dict:
    """How far Dice of the same pairs is apart on the device and on the processor, and both times."""
    cohort = _cohort(bench, name)
    device, processor = (
        _registered(bench, cohort, cohort.pairs[:count], each) for each in (bench.device.type, "cpu")
    )
    apart = [abs(one["dice"] - other["dice"]) for one, other in zip(device, processor, strict=True)]
    means = [statistics.mean(row["dice"] for row in rows) for rows in (device, processor)]
    return {
        "pairs": count,
        "dice": means[0],
        "dice_processor": means[1],
        "apart": abs(means[0] - means[1]),
        "apart_at_most": max(apart),
        "goal": 0.002,
        "median_s": statistics.median(row["seconds"] for row in device),
        "processor_s": statistics.median(row["seconds"] for row in processor),
        "processor_threads": torch.get_num_threads(),
    }
