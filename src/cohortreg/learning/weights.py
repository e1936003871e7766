"""Weights and training states as safetensors: read without executing anything in them."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cohortreg.errors import UserError
from cohortreg.files import whole


def save(path: Path, tensors: dict[str, Tensor], **facts: object) -> None:
    """Write named tensors and JSON-able facts, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole(path) as beside:
        save_file(tensors, beside, metadata={name: json.dumps(fact) for name, fact in facts.items()})
        # On the disk before it has its name, or a loss of power could leave a name with nothing behind it.
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read the tensors and facts that `save` wrote.

    Raises UserError where the file is missing or is not whole.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such weights; train the stage that makes them first") from error
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file, or cut short; delete it and train again") from error
    return tensors, facts


def load_into(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load named tensors into a module that has exactly these names and shapes.

    Raises UserError with the first name that differs.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors:
            raise UserError(f"{path}: {name} is missing; the weights are of another network")
        if name not in own:
            raise UserError(f"{path}: {name} is not a part of the network; the weights are of another one")
        if own[name].shape != tensors[name].shape:
            shapes = f"{list(tensors[name].shape)}, the network needs {list(own[name].shape)}"
            raise UserError(f"{path}: {name} is {shapes}; the weights are of another network")
    module.load_state_dict(tensors)
