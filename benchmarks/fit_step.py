"""Where a step of fit spends its time at full resolution, and how far each part is from what the processor can do.

python benchmarks/fit_step.py OUTPUT.csv [--shape 48 64 48] [--repetitions 20] [--pair MOVING FIXED --threads 2]

The floor of a part is the largest of its arithmetic over the processor's rate (a product of matrices of float32), of
the bytes that it reads and writes at least once over the bandwidth (a sum of two arrays as large as its own), and of
the numbers that it looks up in or adds to places that depend on the data, over the rate of a loop that does nothing
else. Arithmetic counts additions and multiplications of the formulas as they are written in `losses/kernels.py`.
Processor time on one thread, the minimum over the repetitions. With --pair, two images are resampled to 80x192x192
voxels each, and a whole fit of them is timed.
"""

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numba import njit

from cohortreg.config import Preprocess
from cohortreg.files import whole
from cohortreg.icon.compiled import CompiledLoss
from cohortreg.icon.fit import FieldsLoss, Imaged
from cohortreg.icon.objective import sample_points
from cohortreg.images.io import read_image
from cohortreg.images.preprocess import preprocess
from cohortreg.learning.devices import use_processor
from cohortreg.losses import kernels
from cohortreg.losses.similarities import similarity_to
from cohortreg.methods.fit import LEVELS, Fit
from cohortreg.provenance import git_commit, hardware

GRID = (80, 192, 192)


def seconds(work: Callable[[], object], repetitions: int) -> float:
    """The least processor time of several runs, after one that does not count."""
    work()
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def rate() -> float:
    """Operations a second of a product of matrices."""
    a, b = torch.rand(2, 768, 768)
    return 2 * 768**3 / seconds(lambda: a @ b, 10)


def bandwidth(size: int) -> float:
    """Bytes a second of a sum of two arrays that make up so many bytes with the result."""
    a, b, out = torch.rand(3, size // 12)
    return size / seconds(lambda: torch.add(a, b, out=out), 20)


@njit(fastmath=True)
def _look_up(values, places, out):
    for n in range(len(places)):
        out[n] = values[places[n]]


def look_ups(size: int) -> float:
    """Numbers a second that a loop looks up next to where it looked before, in an array of that many."""
    values, generator = np.ones(size, np.float32), np.random.default_rng(1)
    places = np.clip(np.arange(size) + generator.integers(-3, 4, size), 0, size - 1).astype(np.uint32)
    out = np.empty_like(values)
    return size / seconds(lambda: _look_up(values, places, out), 20)


def parts(loss: FieldsLoss, control: torch.Tensor, points: torch.Tensor) -> dict[str, tuple]:
    """Of a step: its parts' names, what runs, operations, numbers read and written once, and numbers looked up."""
    fast = CompiledLoss(loss)
    voxels, off_grid = fast.images.size, points[0, 0].numel() * fast.count
    taps = len(loss.similarity.loops.taps)
    fast.weight.fill_(1)
    gradient = torch.rand_like(loss.before)
    bands = [matrix.weights.shape[1] for matrix in fast.onto_voxels.matrices]
    displacement = fast.onto_voxels(control).numpy()

    def warp() -> None:
        for index in range(fast.count):
            kernels.warp(
                fast.images[index], fast.before[index], displacement[index], fast.of_fixed[index],
                fast.placement[index], fast.first[index], fast.last[index], fast.warped[index, 0].numpy(),
                fast.gradient[index].numpy(), fast.weight[index, 0].numpy(),
            )  # fmt: skip

    gaussian_work = 3 * (
        2 * bands[0] + 2 * bands[1] / LEVELS[0].spacing + 2 * loss.onto_voxels[2].shape[1] / 4
    )
    return {
        "interpolation and its gradient": (warp, 70 * voxels, 9 * voxels, 8 * voxels),
        "local correlation and its gradient": (
            lambda: loss.similarity.loops(fast.warped, fast.weight, gradient),
            (2 * 3 * 3 * (3 * taps - 2) + 45) * voxels,
            6 * voxels,
            0,
        ),
        "Gaussians onto voxels": (lambda: fast.onto_voxels(control), gaussian_work * voxels, 3 * voxels, 0),
        "Gaussians, the gradient": (
            lambda: fast.onto_voxels.transposed(gradient), gaussian_work * voxels, 3 * voxels, 0,
        ),
        "inverse consistency and its gradient": (
            lambda: fast._inverse_consistency(control, points), 400 * off_grid, 4 * 3 * off_grid, 3 * 48 * off_grid,
        ),
        "a whole step": (lambda: fast.value_and_gradient(control, points), None, None, None),
    }  # fmt: skip


def by_autograd(loss: FieldsLoss, control: torch.Tensor, points: torch.Tensor) -> None:
    """The same step as on GPUs, and where there is no Numba."""
    loops, loss.similarity.loops = loss.similarity.loops, None
    control = control.clone().requires_grad_()
    loss(control, points).backward()
    loss.similarity.loops = loops


def of_step(shape: list[int], repetitions: int) -> list[dict]:
    """A row for each part of a step on smooth random images."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 1, *[size // 4 for size in shape], generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")
    before = torch.zeros(2, 3, *shape)
    similarity = partial(similarity_to, Fit.Settings().similarity)
    loss = FieldsLoss(images, LEVELS[0], similarity, Imaged(None, None), before)
    control = torch.randn(loss.start().shape, generator=generator)
    points = sample_points(loss.off_grid, 1, generator, images)
    operations_a_second, look_ups_a_second, rows = rate(), look_ups(loss.centres[0, 0].numel()), []
    for name, (work, operations, numbers, looked_up) in parts(loss, control, points).items():
        took = seconds(work, repetitions)
        row = {"part": name, "voxels": " x ".join(map(str, shape)), "ms": 1e3 * took}
        if operations:
            floors = {
                "arithmetic": operations / operations_a_second,
                "bytes": 4 * numbers / bandwidth(4 * int(numbers)),
                "look-ups": looked_up / look_ups_a_second,
            }
            floor = max(floors.values())
            row |= {
                "giga_operations_a_second": operations / took / 1e9,
                "floor_ms": 1e3 * floor,
                "floor_by": max(floors, key=floors.get),
                "times_floor": took / floor,
            }
        rows.append(row)
    plain = partial(by_autograd, loss, control, points)
    rows[-1]["floor_ms"] = sum(row["floor_ms"] for row in rows[:-1])
    rows[-1]["times_floor"] = rows[-1]["ms"] / rows[-1]["floor_ms"]
    rows[-1]["giga_operations_a_second"] = operations_a_second / 1e9  # what a product of matrices reaches
    took = 1e3 * seconds(plain, repetitions)
    times = took / rows[-1]["floor_ms"]
    return [
        *rows,
        rows[-1] | {"part": "a whole step by PyTorch's operations", "ms": took, "times_floor": times},
    ]


def of_pair(paths: list[Path], threads: int) -> dict:
    """A whole fit of two raw images at 80x192x192, once its loops are compiled: seconds and peak memory."""
    use_processor(threads)
    settings = Preprocess(grid=list(GRID))
    pair = [preprocess(read_image(path), None, "right", settings)[0] for path in paths]
    small = [replace(image, array=np.ascontiguousarray(image.array[::4, ::4, ::4])) for image in pair]
    Fit(Fit.Settings(), 1, threads)(*small)
    start, processor = time.perf_counter(), time.process_time()
    Fit(Fit.Settings(), 1, threads)(*pair)
    return {
        "part": f"a pair, {threads} threads",
        "voxels": " x ".join(map(str, GRID)),
        "ms": 1e3 * (time.perf_counter() - start),
        "processor_ms": 1e3 * (time.process_time() - processor),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, default=[48, 64, 48])
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--pair", type=Path, nargs=2)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    use_processor(1)
    rows = of_step(given.shape, given.repetitions)
    if given.pair:
        rows.append(of_pair(given.pair, given.threads))
    table = pd.DataFrame(rows).assign(hardware=hardware("cpu", 1), commit=git_commit())
    print(table.drop(columns=["hardware", "commit"]).round(2).to_string(index=False))
    with whole(given.output) as beside:
        table.round(3).to_csv(beside, index=False)


if __name__ == "__main__":
    main()
