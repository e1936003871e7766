"""Trainings stage by stage under the clock, with Dice on validation and test pairs by training time."""

import copy
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from bench import Bench
from records import OutOfTime
from torch import nn

from cohortreg.config import IconModel, Training
from cohortreg.digests import digest
from cohortreg.icon.networks import recompute_activations
from cohortreg.icon.stages import at_resolution
from cohortreg.learning import weights
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import TrainingImages
from cohortreg.learning.devices import precision_on
from cohortreg.learning.fabric import make_fabric
from cohortreg.learning.training import train
from cohortreg.learning.validation import Validation
from cohortreg.methods.icon import Icon

#: Given a registration of images on the full grid, what is measured of it, by name.
Measure = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Plan:
    """A model to train.

    key: of the results. model, training: sections of the configuration. points: times that a stage is measured.
    keep: the weights that a stage ends with, "best" or "last".
    """

    key: str
    model: dict
    training: dict
    points: int
    keep: str = "best"


def trained(
    bench: Bench, plan: Plan, images: TrainingImages, validation: TrainingImages | None, measure: Measure
) -> dict:
    """Train a model's stages, and measure each at several moments; goes on where an earlier run stopped.

    Returns the curve: a row for each moment, with the stage, its step, the seconds of training so far, measuring left
    out, and what was measured. Raises OutOfTime where the clock ends it; what was done is kept.
    """
    made_from = digest(json.dumps([plan.model, plan.training, bench.seed], sort_keys=True))
    folder = bench.work / "trained" / made_from[:16]
    curve = [] if not folder.is_dir() else copy.deepcopy(_kept(bench, plan).get("curve", []))
    started, before_seconds = time.perf_counter(), 0.0
    for number in range(1, len(plan.model["stages"]) + 1):
        stages = plan.model["stages"][:number]
        run = _Stage(bench, plan, stages, folder, curve, before_seconds, measure)
        if not run.weights.is_file():
            run.train(images, validation, lambda: time.perf_counter() - started)
        before_seconds = max(row["seconds"] for row in curve if row["stage"] <= number)
    shutil.rmtree(folder, ignore_errors=True)
    last = {name: value for name, value in curve[-1].items() if name.endswith(("_dice", "_folds"))}
    return {"training_s": before_seconds, **last, "curve": curve}


def moments(steps: int, points: int) -> set[int]:
    """The steps after which a stage is measured: so many, evenly spread, and three halvings before the first."""
    even = [round(steps * point / points) for point in range(1, points + 1)]
    return {max(step, 1) for step in (*even, *(even[0] // 2**half for half in range(1, 4)))}


def _kept(bench: Bench, plan: Plan) -> dict:
    return bench.results.measurements.get(plan.key, {})


class _Stage:
    """One stage of a plan."""

    def __init__(
        self, bench: Bench, plan: Plan, stages: list[dict], folder: Path, curve: list[dict],
        seconds: float, measure: Measure,
    ):  # fmt: skip
        self.bench, self.plan, self.stages, self.folder = bench, plan, stages, folder
        self.number, self.curve, self.seconds, self.measure = len(stages), curve, seconds, measure
        self.weights = folder / f"stage-{self.number}.safetensors"
        self.model, self.begun = IconModel.read(plan.model).up_to(self.number), False
        #: Seconds that measuring took at most; so many are kept for it.
        self.longest = 0.0

    def build(self, grid: Sequence[int]) -> nn.Module:
        """The stage's objective, with the weights of the stages before it."""
        torch.manual_seed(self.bench.seed + self.number)
        registration, before = Icon.build(self.model, grid)
        if before is not None:
            path = self.folder / f"stage-{self.number - 1}.safetensors"
            weights.load_into(before, weights.load(path)[0], path)
            Icon.inherit(registration, before)
        return Icon.objective(registration, before, self.model)

    def train(
        self, images: TrainingImages, validation: TrainingImages | None, elapsed: Callable[[], float]
    ) -> None:
        stage, training, seed = self.model.stages[-1], Training.read(self.plan.training), self.bench.seed
        objective = self.build(images.grid)
        if training.recompute_activations:
            recompute_activations(objective)
        fabric = make_fabric(self.bench.device.type, precision_on(self.bench.device, training.precision))
        steps = stage.training_steps
        marks = moments(steps, self.plan.points)
        measured = validation and Validation(
            validation, seed, max(steps // self.plan.points, 1), self.plan.keep
        )
        folder = self.folder / f"checkpoints-{self.number}"

        def progress(state: TrainingState) -> None:
            if not self.begun:
                self.begun = True
                # What was measured after the checkpoint that the training goes on from is measured again.
                self.curve[:] = [r for r in self.curve if r["stage"] < self.number or r["step"] <= state.step]
            if state.step in marks and not self._has(state.step):
                self._measure(objective, fabric, state, elapsed())

        state = train(
            objective, images, stage, seed + self.number, fabric, folder, training.checkpoint_every, progress,
            lambda: self.bench.clock.left() < self.longest, training.accumulate, measured,
        )  # fmt: skip
        if state.step < steps:
            raise OutOfTime
        if self.plan.keep == "best" and measured:
            self._measure(objective, fabric, state, elapsed(), kept=True)
        weights.save(self.weights, objective.registration.state_dict())
        shutil.rmtree(folder, ignore_errors=True)

    def _has(self, step: int) -> bool:
        return any(row["stage"] == self.number and row["step"] == step for row in self.curve)

    def _measure(self, objective, fabric, state: TrainingState, elapsed: float, kept: bool = False) -> None:
        """Add a row to the curve, and write it. kept: of the weights that the stage ends with."""
        started = time.perf_counter()
        objective.eval()
        registration = at_resolution(objective.registration, self.model.stages[-1].downsample, 1)
        with torch.no_grad(), fabric.autocast():
            found = self.measure(registration)
        objective.train()
        self.longest = max(self.longest, time.perf_counter() - started)
        row = {"stage": self.number, "step": state.step, "kept": kept}
        row["seconds"] = self.seconds + sum(1 / each[-1] for each in state.history)
        recent = state.history[-20:]
        row |= {
            name: sum(each[place] for each in recent) / len(recent)
            for name, place in (("loss", 3), ("folds", 4))
        }
        if state.validation:
            row["validation_loss"] = state.validation[-1][-1]
        self.curve.append(row | found)
        self.bench.results.add(self.plan.key, {"curve": self.curve}, elapsed, done=False)
