"""Trains whatever turns a batch of pairs into loss terms."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cohortreg.config import Stage
from cohortreg.errors import NotFiniteError, UserError
from cohortreg.learning import checkpoints, weights
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import TrainingImages, draw_pairs
from cohortreg.learning.validation import Validation
from cohortreg.losses.terms import Objective

if TYPE_CHECKING:
    from lightning_fabric import Fabric

HISTORY = ["step", "similarity", "inverse_consistency", "loss", "folds", "weight", "steps_per_second"]


def learning_rate(settings: Stage, step: int) -> float:
    """The learning rate of a step: constant, or a cosine from its value to zero with 20 steps of warm-up."""
    rate = settings.learning_rate
    if settings.schedule == "constant":
        return rate
    warm_up = min(1.0, (step + 1) / 20)
    return rate * warm_up * 0.5 * (1 + math.cos(math.pi * step / settings.training_steps))


def rise(settings: Stage, step: int) -> float:
    """The part of the weight of inverse consistency that a step has: 1, or while it rises, (from / weight)^(1 - s).

    s goes from 0 to 1 over the part `weight_rise` of the stage's steps, the first ones, and the weight from
    `weight_from` to its own. A map learns to follow the images fast under a small weight and slowly under a large one;
    what it learnt lasts when the weight grows. Under too small a weight it learns folds, which last as well.
    """
    rising = (settings.weight_rise or 0) * settings.training_steps
    start, weight = settings.weight_from or settings.weight, settings.weight
    return (start / weight) ** (1 - step / rising) if start < weight and step < rising else 1.0


def train(
    objective: Objective,
    images: TrainingImages,
    settings: Stage,
    seed: int,
    fabric: "Fabric",
    checkpoint_folder: Path,
    checkpoint_every: int,
    progress: Callable[[TrainingState], None] = lambda state: None,
    stop: Callable[[], bool] = lambda: False,
    accumulate: int = 1,
    validation: Validation | None = None,
) -> TrainingState:
    """Train the objective's parameters that require a gradient, from its last checkpoint if there is one.

    What a step sees depends on the seed and the step's number alone, so a training that was killed and goes on from a
    checkpoint ends with the same weights. The weight of inverse consistency rises by `weight_increment` after every
    step whose mean folds per map exceed `fold_threshold`.

    Args:
        progress: Called with the state that training starts from, and after each step.
        stop: Asked after each step; where it says so, a checkpoint is written and training ends, maybe before its last
            step.
        validation: Measures in between, under the stage's weight, which changes no step, and says whether the weights
            of the last step are kept or its best.

    Raises:
        UserError: The loss, the weights or what Adam keeps of gradients are not finite any more; of such a step nothing
            is written.
    """
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=settings.learning_rate, fused=True)
    module, optimizer = fabric.setup(objective, optimizer)
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    state = checkpoints.load_last(checkpoint_folder, module, optimizer, scaler)
    state = state or TrainingState(0, float(settings.weight))
    module.train()

    def measure() -> None:
        # The first process, whose batch statistics are those of checkpoints; the others wait for it in the next step.
        if validation and fabric.is_global_zero and validation.due(state, settings.training_steps):
            validation.measure(objective, float(settings.weight), state, fabric)

    measure()  # of a training that was asked to end there
    progress(state)
    while state.step < settings.training_steps:
        started = time.perf_counter()
        try:
            terms = training_step(fabric, module, optimizer, images, settings, seed, state, accumulate)
        except NotFiniteError:
            raise UserError(_why_not_finite(images, settings, seed, state.step)) from None
        weight = rise(settings, state.step) * state.weight
        state.history.append([state.step + 1, *terms, weight, 1 / (time.perf_counter() - started)])
        state.step += 1
        if terms[-1] > settings.fold_threshold:
            state.weight += settings.weight_increment
        # A process that is asked to end takes the others with it, at the same step.
        stopped = bool(fabric.all_reduce(torch.tensor(float(stop()), device=fabric.device), reduce_op="sum"))
        if not stopped or state.step == settings.training_steps:
            measure()
        due = stopped or state.step % checkpoint_every == 0 or state.step == settings.training_steps
        if due:
            moments = (value for kept in optimizer.state_dict()["state"].values() for value in kept.values())
            if not weights.finite([*module.state_dict().values(), *moments]):
                raise UserError(
                    f"training diverged by step {state.step}, where weights are not finite: lower its learning_rate"
                )
            if fabric.is_global_zero:
                checkpoints.save(checkpoint_folder, state, module, optimizer, scaler)
        progress(state)
        if stopped:
            break
    done = state.step == settings.training_steps
    if done and validation and validation.keep == "best" and state.best:
        objective.load_state_dict(state.best)
    return state


def _why_not_finite(images: TrainingImages, settings: Stage, seed: int, step: int) -> str:
    """One sentence on why the loss of a step is not finite."""
    for row in np.unique(draw_pairs(len(images), settings.batch_size, seed, step)):
        if not images.batch(np.array([row])).isfinite().all():
            return f"training image '{images.ids[row]}' has NaN or infinite values: correct or exclude it"
    return f"training diverged at step {step + 1}, where the loss is not finite: lower its learning_rate"


def _over_processes(fabric: "Fabric", values: Tensor, operation: str) -> Tensor:
    """The sum or mean of a tensor over the processes of a training."""
    reduced = fabric.all_reduce(values, reduce_op=operation)
    assert isinstance(reduced, Tensor)  # as what it was given
    return reduced


def training_step(
    fabric: "Fabric",
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: TrainingImages,
    settings: Stage,
    seed: int,
    state: TrainingState,
    accumulate: int = 1,
) -> tuple[float, float, float, float]:
    """Take one step of Adam on one batch of pairs.

    The processes of the fabric share the batch equally, and each divides its share into `accumulate` parts: the mean of
    the parts' gradients is that of the batch, since every loss is a mean over pairs.

    Returns:
        Similarity, inverse consistency, loss and folds before the step.

    Raises:
        NotFiniteError: In all of the processes, where the loss of one is not finite, before a gradient is taken.
    """
    rows_a, rows_b = draw_pairs(len(images), settings.batch_size, seed, state.step)
    parts = fabric.world_size * accumulate
    if settings.batch_size % parts:
        raise UserError(f"a batch of {settings.batch_size} pairs cannot be divided into {parts} equal parts")
    weight = rise(settings, state.step) * state.weight
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, state.step)
    optimizer.zero_grad()
    sums = torch.zeros(3, device=fabric.device)
    for part in range(fabric.global_rank, parts, fabric.world_size):
        here_a, here_b = rows_a[part::parts], rows_b[part::parts]
        # Drawn on the CPU, so that every device sees the same, and every part the points of the whole batch.
        generator = torch.Generator().manual_seed(
            int(np.random.default_rng([seed, state.step, 1]).integers(2**63))
        )
        # Processes exchange gradients once a step.
        last = part + fabric.world_size >= parts
        with nullcontext() if last else fabric.no_backward_sync(module):  # type: ignore[arg-type]  # of Fabric, as set up
            try:
                terms = module(images.pairs(here_a, here_b, generator, state.step / settings.training_steps))
            except NotFiniteError:
                terms = torch.full((3,), torch.nan, device=fabric.device)
            similarity, inverse_consistency, _ = terms
            loss = (similarity + weight * inverse_consistency) / accumulate
            # Processes end together, or one would wait for the gradients of another.
            finite = _over_processes(fabric, loss.detach().isfinite().float(), "sum")
            if finite.item() < fabric.world_size:
                raise NotFiniteError("the loss is NaN or infinite.")
            fabric.backward(loss)
        sums += torch.stack([term.detach().float() for term in terms])
    optimizer.step()
    similarity, inverse_consistency, folds = _over_processes(fabric, sums / accumulate, "mean").tolist()
    return similarity, inverse_consistency, similarity + weight * inverse_consistency, folds
