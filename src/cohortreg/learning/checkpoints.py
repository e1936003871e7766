"""Checkpoints of a training, from which a killed run resumes as if it had never stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cohortreg.errors import UserError
from cohortreg.learning import weights

KEPT = 2


@dataclass
class TrainingState:
    """The progress of a training.

    Attributes:
        step: Training steps done.
        weight: The weight of inverse consistency for the next step.
        history: A row of numbers for each step done.
        validation: A row for each time that it was measured on validation pairs, first the step.
        best: The weights that were the best of these.
        dice: Of those times with labels, the step and the Dice.
    """

    step: int
    weight: float
    history: list[list[float]] = field(default_factory=list)
    validation: list[list[float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    dice: list[list[float]] = field(default_factory=list)


def save(
    folder: Path,
    state: TrainingState,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write a checkpoint, whole or not at all, and keep the last two; the scaler is of losses in float16."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    tensors["history"] = torch.tensor(state.history, dtype=torch.float64)
    for name, rows in (("validation", state.validation), ("dice", state.dice)):
        if rows:
            tensors[name] = torch.tensor(rows, dtype=torch.float64)
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    facts = {"step": state.step, "weight": state.weight, "scaler": scaler and scaler.state_dict()}
    weights.save(folder / f"step-{state.step:08d}.safetensors", tensors, **facts)
    for old in _all(folder)[:-KEPT]:
        old.unlink()


def load_last(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
) -> TrainingState | None:
    """Put the last checkpoint's state into the model, the optimizer and the scaler; None where there is none.

    A checkpoint that cannot be read, as a node that lost power may leave it, gives way to the one before it, and so
    does one with NaN.

    Raises:
        UserError: None can be read.
    """
    paths = _all(folder)
    if not paths:
        return None
    path, tensors, facts = _last_readable(paths)
    rows = {name: tensors[name].tolist() for name in ("history", "validation", "dice") if name in tensors}
    model_state, best = (
        {name.removeprefix(whose): tensor for name, tensor in tensors.items() if name.startswith(whose)}
        for whose in ("model.", "best.")
    )
    weights.load_into(model, model_state, path)
    groups = optimizer.state_dict()["param_groups"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:
                # Adam walks through memory, and would take values of a moment in another layout for others.
                tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
            moments.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    if scaler is not None and facts.get("scaler"):
        scaler.load_state_dict(facts["scaler"])
    return TrainingState(facts["step"], facts["weight"], best=best, **rows)


def _last_readable(paths: Sequence[Path]) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    *before, path = paths
    try:
        tensors, facts = weights.load(path)
        if "history" not in tensors or not {"step", "weight"} <= facts.keys():
            raise UserError(f"{path}: is not a training checkpoint; delete it and train again")
        if not weights.finite(tensors.values()):
            raise UserError(
                f"{path}: has NaN or infinite values from a training that diverged; "
                "delete it and lower the learning_rate"
            )
    except UserError:
        if not before:
            raise
        return _last_readable(before)
    return path, tensors, facts


def _all(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))
