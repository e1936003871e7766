"""Weights and training states as safetensors: read without executing anything in them."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.files import whole

#: Under which a file keeps the digest of all else that it holds.
DIGEST = "sha256"


def save(path: Path, tensors: dict[str, Tensor], **facts: object) -> str:
    """Write named tensors and JSON-able facts, whole or not at all; return the digest of the tensors.

    The file is one that the umask gives, and holds a digest of its content.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = digest_of(tensors)
    metadata = {name: json.dumps(fact) for name, fact in facts.items()}
    with whole(path) as beside:
        beside.touch()
        mode = beside.stat().st_mode
        save_file(tensors, beside, metadata=metadata | {DIGEST: json.dumps(_of_file(content, metadata))})
        beside.chmod(mode)  # safetensors puts a file of its own there, which nobody else may read
        # On the disk before it has its name, or a loss of power could leave a name with nothing behind it.
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
    return content


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and facts that `save` wrote; of another program's file, those facts that are JSON.

    Raises UserError where the file is missing, may not be read, is not whole, or is not as it was written any more.
    """
    try:
        with Path(path).open("rb"):
            pass
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such weights; train the stage that makes them first") from error
    except PermissionError as error:
        raise UserError(f"{path}: no permission to read these weights; ask their owner for access") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder, not a file of weights; name the file") from error
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file, or cut short; delete it and train again") from error
    recorded = metadata.pop(DIGEST, None)
    if recorded is not None and recorded != json.dumps(_of_file(digest_of(tensors), metadata)):
        raise UserError(f"{path}: damaged, its content is not what was written; delete it and train again")
    facts = {}
    for name, text in metadata.items():
        with suppress(ValueError, RecursionError):  # other programs write texts, such as {"format": "pt"}
            facts[name] = json.loads(text)
    return tensors, facts


def load_into(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load named tensors into a module; UserError where it has not exactly these names and shapes."""
    own = module.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors:
            raise UserError(f"{path}: {name} is missing; the weights belong to another network")
        if name not in own:
            raise UserError(f"{path}: {name} is not part of the network; the weights belong to another one")
        if own[name].shape != tensors[name].shape:
            shapes = f"{list(tensors[name].shape)}, the network needs {list(own[name].shape)}"
            raise UserError(f"{path}: {name} is {shapes}; the weights belong to another network")
    module.load_state_dict(tensors)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, hexadecimal: of their names, types, shapes and values, whatever the order."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def finite(tensors: Iterable[object]) -> bool:
    """Whether no tensor among them has a NaN or an infinite value."""
    return all(bool(each.isfinite().all()) for each in tensors if isinstance(each, Tensor))


def _of_file(content: str, metadata: Mapping[str, str]) -> str:
    """A digest of a file's tensors, given theirs, and of its metadata."""
    return digest(content, json.dumps(metadata, sort_keys=True))
