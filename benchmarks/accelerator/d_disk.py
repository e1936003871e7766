"""From disk to disk: how much longer does a registration job take than its pairs take on the device?

The job of the workflow, `jobs.register.register_shard`, on images that lie on the disk, with transforms written to it:
200 pairs of hippocampi by the four-step network of their configuration, and pairs of knees by the paper's, both with
random weights. Beside it the same pairs on the device alone, with their images there already, and reading and writing
alone. Goal: the job takes at most 1.2 times as long as the device.
"""

import copy
import shutil
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from b_model import SMALL_NETWORK
from bench import Bench, Measurement, synchronise
from data import Cohort, read, settings
from torch import nn

from cohortreg.config import IconModel
from cohortreg.files import write_sealed
from cohortreg.icon.steps import DisplacementNetwork
from cohortreg.images.grid import Grid
from cohortreg.images.io import write_image
from cohortreg.jobs import register
from cohortreg.layout import Layout
from cohortreg.learning.devices import Device
from cohortreg.maps.coded import write_coded
from cohortreg.maps.grids import resize
from cohortreg.maps.transforms import to_physical
from cohortreg.methods.icon import Icon
from cohortreg.methods.trained import Trained
from cohortreg.provenance import hardware

#: Each cohort's configuration, and how many pairs are registered.
COHORTS = {"hippocampi": ("hippocampus", 200), "knees": ("oai-anatomy-full", 12)}
GOAL = 1.2


class InMemory(Trained):
    """A registration as a method, without the folder that its card and weights would lie in."""

    def __init__(self, registration: nn.Module, model: IconModel, grid: tuple[int, ...], device: Device):
        self.card, self.grid, self.device = model, grid, device
        self.axes, self.optimisation = None, None
        self.version, self.similarity = "measured", model.similarity
        self.registration = Icon.ready(registration, model, device)


def measurements(bench: Bench) -> Iterator[Measurement]:
    for name in COHORTS:
        yield Measurement(name, partial(job, bench, name), 20)


def model_of(bench: Bench, name: str) -> IconModel:
    """The icon model of a cohort's configuration; small, a network that is quick on a processor."""
    model = copy.deepcopy(settings(bench.packed, COHORTS[name][0])["models"]["icon"])
    return IconModel.read(model | ({"network": SMALL_NETWORK} if bench.small else {}))


def moving_registration(model: IconModel, grid: tuple[int, ...], seed: int) -> nn.Module:
    """A registration with random weights under which voxels move by a little."""
    torch.manual_seed(seed)
    registration, _ = Icon.build(model, grid)
    for step in registration.modules():
        if isinstance(step, DisplacementNetwork):
            nn.init.normal_(step.network.last.weight, std=0.01)
    return registration


def job(bench: Bench, name: str) -> dict:
    """Seconds of the job, of its pairs on the device alone, and of reading and writing alone."""
    cohort, model = read(bench.packed, name), model_of(bench, name)
    if bench.small:
        cohort = cohort.coarser(4)
    pairs = np.concatenate([cohort.pairs, cohort.pairs[:, ::-1]])[: 6 if bench.small else COHORTS[name][1]]
    device = Device(bench.device.type, "auto")
    method = InMemory(moving_registration(model, cohort.grid, bench.seed), model, cohort.grid, device)
    layout = Layout(bench.work / "d" / name)
    shutil.rmtree(layout.root, ignore_errors=True)
    _to_disk(cohort, layout, pairs)
    table = pd.DataFrame([[cohort.ids[a], cohort.ids[b]] for a, b in pairs], columns=["moving", "fixed"])
    method(cohort.image(pairs[0, 0]), cohort.image(pairs[0, 1]))  # the device is made ready
    started = time.perf_counter()
    register.register_shard(layout, name, method, table, 0, hardware(bench.device.type), lambda said: None)
    seconds = time.perf_counter() - started
    alone = _writing(cohort, layout, len(pairs))
    on_device = _on_device(bench, method, cohort, pairs)
    shown = pd.read_csv(layout.registered_shard(name, 0))
    if shown["time_s"].isna().any():
        raise RuntimeError(f"pairs could not be registered: {shown['failure'].dropna().iloc[0]}")
    result = {
        "pairs": len(pairs), "precision": device.precision, "job_s": seconds,
        "device_s": on_device, "ratio": seconds / on_device, "goal": GOAL, "method_s": shown["time_s"].sum(),
        "reading_s": _reading(layout, table), "writing_s": alone,
    }  # fmt: skip
    shutil.rmtree(layout.root)
    return result


def _to_disk(cohort: Cohort, layout: Layout, pairs: np.ndarray) -> None:
    """The images as the workflow leaves them after preprocessing."""
    for row in sorted(set(pairs.flatten().tolist())):
        image = cohort.image(row)
        write_image(layout.image(cohort.ids[row]), image)
        write_sealed(layout.sidecar(cohort.ids[row]), {"field_of_view": image.field_of_view})


@torch.inference_mode()
def _on_device(bench: Bench, method: InMemory, cohort: Cohort, pairs: np.ndarray) -> float:
    """Seconds that the device takes for all pairs, both directions, whose images are there."""
    rows = sorted(set(pairs.flatten().tolist()))
    images = torch.from_numpy(cohort.images[rows]).to(bench.device).float()[:, None]
    where = {row: place for place, row in enumerate(rows)}
    synchronise(bench.device)
    started = time.perf_counter()
    for moving, fixed in pairs.tolist():
        pair = images[[where[moving], where[fixed]]]
        method.registration(pair, pair.flip(0)).on_grid(cohort.grid)
    synchronise(bench.device)
    return time.perf_counter() - started


def _reading(layout: Layout, table: pd.DataFrame) -> float:
    """Seconds to read the images of all pairs, one after the other."""
    started = time.perf_counter()
    for ids in table.itertuples(index=False):
        for image_id in ids:
            register._preprocessed(layout, image_id)
    return time.perf_counter() - started


def _writing(cohort: Cohort, layout: Layout, count: int) -> float:
    """Seconds to write both transforms of that many pairs, one after the other."""
    grid = Grid(cohort.grid, np.diag([*cohort.spacing, 1.0]))
    coarse = torch.randn(1, 3, 12, 12, 12, generator=torch.Generator().manual_seed(1))
    field = 1e-2 * resize(coarse, cohort.grid)
    started = time.perf_counter()
    for number in range(2 * count):
        path = layout.forward("writing", "alone", str(number % 4))
        write_coded(path, to_physical(field, grid, grid))
    return time.perf_counter() - started
