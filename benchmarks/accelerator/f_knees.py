"""Knees at full size: what does the paper's recipe reach on knees from label maps, and after how much training?

The stages of config/oai-anatomy-full.yaml at 80 x 192 x 192 voxels. Images are made from the label maps first, by as
many processes as there are cores. Dice of femoral and tibial cartilage of the test pairs at the label maps' own
resolution, by seconds of training. A stage that does not fit into one run goes on from its checkpoint in the next one,
as long as the folder of work is there.
"""

import copy
import json
import lzma
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from b_model import SMALL_NETWORK
from bench import Bench, Measurement
from data import dice_at_labels, settings
from ladder import end_with_parent
from records import OutOfTime
from scipy.ndimage import gaussian_filter
from staged import Plan, trained
from torch import nn

from cohortreg.images.image import Image
from cohortreg.images.preprocess import normalised
from cohortreg.learning.data import TrainingImages, pack
from cohortreg.maps.grids import identity_map
from cohortreg.maps.jacobian import folds
from cohortreg.phantoms.dess import dess

#: Test pairs on which the curve is measured, and times that a stage is.
PAIRS, POINTS = 20, 40


def measurements(bench: Bench) -> Iterator[Measurement]:
    yield Measurement("icon", partial(curve, bench), 20, watched=False)


def curve(bench: Bench) -> dict:
    """The curve of the paper's model."""
    configuration = settings(bench.packed, "oai-anatomy-full")
    model, training = copy.deepcopy(configuration["models"]["icon"]), dict(configuration["training"])
    cohort = _Knees(bench, configuration)
    if bench.small:
        model["network"] = SMALL_NETWORK
        for stage in model["stages"]:
            stage |= {"training_steps": 2, "batch_size": 4}
    cohort.make()
    images = cohort.packed("train")
    cohort.load()
    plan = Plan("icon", model, training, 2 if bench.small else POINTS, keep="last")
    return trained(bench, plan, images, None, cohort.measured)


class _Knees:
    """The knees of the configuration, made where they are not there yet."""

    def __init__(self, bench: Bench, configuration: dict):
        self.bench, self.about = (
            bench,
            json.loads((bench.packed / "data" / "oai-labels.json").read_text("utf-8")),
        )
        self.configuration = configuration
        self.coarser = 8 if bench.small else 1
        self.grid = [size // self.coarser for size in configuration["preprocess"]["grid"]]
        splits = {split: [i for i, s in zip(self.about["ids"], self.about["split"], strict=True) if s == split]
                  for split in ("train", "test")}  # fmt: skip
        pairs = [[self.about["ids"][row] for row in pair] for pair in self.about["pairs"]]
        self.pairs = pairs[: 2 if bench.small else PAIRS]
        needed = [name for pair in self.pairs for name in pair]
        self.ids = {"train": splits["train"][: 3 if bench.small else None], "test": sorted(set(needed))}

    def _path(self, image_id: str) -> Path:
        return self.bench.work / "f" / "images" / f"{image_id}.npy"

    def make(self) -> None:
        """Make the images that are missing; what is there when the time ends is kept."""
        missing = [i for ids in self.ids.values() for i in ids if not self._path(i).is_file()]
        self._path("any").parent.mkdir(parents=True, exist_ok=True)
        affines = dict(zip(self.about["ids"], self.about["affines"], strict=True))
        percentiles, seed = self.configuration["preprocess"]["percentiles"], self.configuration["seed"]
        # Not forked: what a forked process inherits of PyTorch's threads may never wake up.
        fresh, count = multiprocessing.get_context("spawn"), min(os.cpu_count(), max(len(missing), 1))
        with ProcessPoolExecutor(count, fresh, end_with_parent, (os.getpid(),)) as processes:
            made = [
                processes.submit(
                    make_knee, self._label(i), np.array(affines[i]), self.coarser, self.grid, seed, percentiles,
                    self._path(i),
                )
                for i in missing
            ]  # fmt: skip
            for each in made:
                if self.bench.clock.left() < 0:
                    processes.shutdown(cancel_futures=True)
                    raise OutOfTime
                each.result()

    def _label(self, image_id: str) -> Path:
        return self.bench.packed / "data" / "oai-labels" / f"{image_id}.npy.xz"

    def packed(self, split: str) -> TrainingImages:
        """A split's images as a training reads them."""
        paths = self.bench.work / "f" / f"{split}.npy", self.bench.work / "f" / f"{split}.json"
        if not paths[1].is_file():
            whole = [[0, size] for size in self.grid]
            pack(self.ids[split], lambda i: (np.load(self._path(i)).astype(np.float32), whole), *paths)
        return TrainingImages(*paths, self.bench.device)

    def load(self) -> None:
        """Put the test images [1, 1, *grid] and their label maps onto the device, where they stay."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            self.on_device = dict(
                zip(self.ids["test"], threads.map(self._load, self.ids["test"]), strict=True)
            )

    def _load(self, image_id: str) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = np.load(self._path(image_id)), read_label(self._label(image_id), self.coarser)
        images = torch.from_numpy(image).to(self.bench.device).float()[None, None]
        return images, torch.from_numpy(label).to(self.bench.device)

    def measured(self, registration: nn.Module) -> dict[str, float]:
        """Mean Dice and folds of the test pairs."""
        dice, folded, device = [], [], self.bench.device
        for moving, fixed in self.pairs:
            images, labels = zip(self.on_device[moving], self.on_device[fixed], strict=True)
            phi = registration(*images).on_grid(self.grid)
            displacement = phi - identity_map(self.grid, device)
            dice.append(dice_at_labels(displacement, *labels, self.configuration["structures"]))
            folded += folds(phi).tolist()
        return {"test_dice": float(np.mean(dice)), "test_folds": float(np.mean(folded))}


def read_label(path: Path, coarser: int = 1) -> np.ndarray:
    """A packed label map, or every so many of its voxels along each axis."""
    with lzma.open(path) as stream:
        label = np.lib.format.read_array(stream)
    return np.ascontiguousarray(label[(slice(None, None, coarser),) * label.ndim])


def make_knee(
    path: Path,
    affine: np.ndarray,
    coarser: int,
    grid: list[int],
    seed: int,
    percentiles: list[float],
    output: Path,
) -> None:
    """Make a knee's image from its label map and preprocess it as the workflow does, without SimpleITK; float16."""
    affine = affine @ np.diag([coarser, coarser, coarser, 1])
    scan = dess(Image(read_label(path, coarser), affine), seed, path.name.split(".")[0])
    image, _ = normalised(scan, percentiles)
    beside = output.with_suffix(".part.npy")
    np.save(beside, resampled(image.array, grid).astype(np.float16))
    beside.replace(output)


def resampled(array: np.ndarray, shape: list[int]) -> np.ndarray:
    """`images.geometry.resampled` by PyTorch: smoothed, then linear between voxels, the outer edges of both aligned."""
    factors = np.array(array.shape) / np.array(shape)
    smooth = gaussian_filter(array, np.sqrt(np.maximum(factors**2 - 1, 0) / (8 * np.log(2))), mode="nearest")
    values = torch.from_numpy(smooth)[None, None]
    options = {"size": tuple(shape), "mode": "trilinear", "align_corners": False}
    return torch.nn.functional.interpolate(values, **options)[0, 0].numpy()
