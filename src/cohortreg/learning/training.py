"""Trains whatever turns a batch of pairs into loss terms."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from cohortreg.learning import checkpoints
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import TrainingImages, draw_pairs

HISTORY = ["step", "similarity", "inverse_consistency", "loss", "folds", "weight", "steps_per_second"]


class Objective(Protocol):
    """A module of images_a, images_b [batch, 1, *grid], the field of view of each [batch, 2, dim] in voxels, and a
    generator for what is random in the loss.

    Returns scalars: similarity, inverse_consistency (any regularity that the weight multiplies), and folds, the
    mean number of folds of a map.
    """

    def __call__(
        self,
        images_a: Tensor,
        images_b: Tensor,
        field_of_view_a: Tensor,
        field_of_view_b: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss terms of a batch of pairs."""


def learning_rate(settings: dict, step: int) -> float:
    """The learning rate of a step: constant, or a cosine from its value to zero with 20 steps of warm-up."""
    rate = settings["learning_rate"]
    if settings["schedule"] == "constant":
        return rate
    warm_up = min(1.0, (step + 1) / 20)
    return rate * warm_up * 0.5 * (1 + math.cos(math.pi * step / settings["training_steps"]))


def rise(settings: dict, step: int) -> float:
    """The part of the weight of inverse consistency that a step has: 1, or while it rises, (from / weight)^(1 - s).

    s goes from 0 to 1 over the part `weight_rise` of the stage's steps, the first ones, and the weight from
    `weight_from` to its own. A map learns to follow the images fast under a small weight and slowly under a large one;
    what it learnt lasts when the weight grows. Under too small a weight it learns folds, which last as well.
    """
    rising = settings.get("weight_rise", 0) * settings["training_steps"]
    start, weight = settings.get("weight_from", settings["weight"]), settings["weight"]
    return (start / weight) ** (1 - step / rising) if start < weight and step < rising else 1.0


def train(
    objective: nn.Module,
    images: TrainingImages,
    settings: dict,
    seed: int,
    fabric: Fabric,
    checkpoint_folder: Path,
    checkpoint_every: int,
    progress: Callable[[TrainingState], None] = lambda state: None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingState:
    """Train the objective's parameters that require a gradient, from its last checkpoint if there is one.

    settings: of the stage: training_steps, batch_size (pairs), learning_rate, schedule, weight, weight_increment,
    fold_threshold and, where the weight rises, weight_from and weight_rise (see `rise`). What a step sees depends on
    the seed and the step's number alone, so a training that was killed and goes on from a checkpoint ends with the
    same weights.

    The weight of inverse consistency rises by `weight_increment` after every step whose mean folds per map exceed
    `fold_threshold`.

    stop: asked after each step; where it says so, a checkpoint is written and training ends, maybe before its last
    step.
    """
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=settings["learning_rate"], fused=True)
    module, optimizer = fabric.setup(objective, optimizer)
    state = checkpoints.load_last(checkpoint_folder, module, optimizer)
    state = state or TrainingState(0, float(settings["weight"]))
    module.train()
    progress(state)
    while state.step < settings["training_steps"]:
        started = time.perf_counter()
        terms = training_step(fabric, module, optimizer, images, settings, seed, state)
        weight = rise(settings, state.step) * state.weight
        state.history.append([state.step + 1, *terms, weight, 1 / (time.perf_counter() - started)])
        state.step += 1
        if terms[-1] > settings["fold_threshold"]:
            state.weight += settings["weight_increment"]
        stopped = stop()
        if stopped or state.step % checkpoint_every == 0 or state.step == settings["training_steps"]:
            checkpoints.save(checkpoint_folder, state, module, optimizer)
        progress(state)
        if stopped:
            break
    return state


def training_step(
    fabric: Fabric,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: TrainingImages,
    settings: dict,
    seed: int,
    state: TrainingState,
) -> tuple[float, float, float, float]:
    """One step of Adam on one batch of pairs; similarity, inverse consistency, loss and folds before it."""
    rows_a, rows_b = draw_pairs(len(images), settings["batch_size"], seed, state.step)
    # Noise is drawn on the CPU, so that every device sees the same.
    generator = torch.Generator().manual_seed(
        int(np.random.default_rng([seed, state.step, 1]).integers(2**63))
    )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, state.step)
    similarity, inverse_consistency, folds = module(
        images.batch(rows_a),
        images.batch(rows_b),
        images.field_of_view(rows_a),
        images.field_of_view(rows_b),
        generator,
    )
    loss = similarity + rise(settings, state.step) * state.weight * inverse_consistency
    optimizer.zero_grad()
    fabric.backward(loss)
    optimizer.step()
    return similarity.item(), inverse_consistency.item(), loss.item(), folds.item()
