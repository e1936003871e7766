"""Models that the authors of ICON and GradICON published, with their weights translated to our names.

Their four-step models nest two-step and half-resolution registrations as ours do; only the names differ.
"""

import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cohortreg.config import read_network, read_steps
from cohortreg.errors import UserError
from cohortreg.icon.releases import DOWN, UP, Release, recognise
from cohortreg.icon.stages import build_registration


@dataclass(frozen=True)
class Published:
    """The architecture of a published model, and what it was trained with, as in the configuration of a model.

    Attributes:
        steps: Name of each step's network there, in order, and the resolution that it sees.
    """

    steps: dict[str, int]
    similarity: str
    window: float
    regularity: str
    weight: float


#: The networks of a two-step registration are `netPhi` and `netPsi`; `net` is inside of any other.
_FINE = {"netPhi.netPsi.net.": 1, "netPsi.net.": 1}
MODELS = (
    Published(
        {"netPhi.netPhi.net.netPhi.net.": 2, "netPhi.netPhi.net.netPsi.net.": 2} | _FINE,
        similarity="mse", window=1, regularity="icon", weight=3600,
    ),
    Published(
        {"netPhi.netPhi.net.netPhi.net.net.": 4, "netPhi.netPhi.net.netPsi.net.": 2} | _FINE,
        similarity="lncc", window=5, regularity="gradicon", weight=1.5,
    ),
)  # fmt: skip

#: A layer's name here and there.
LAYERS = {
    "down.": "downConvs.",
    "up.": "upConvs.",
    "norm.": "batchNorms.",
    "last.": "lastConv.",
    "dense.": "middle_dense.",
}

#: Grids that the authors' package keeps beside the weights; they follow from the images.
NOT_WEIGHTS = ("identity_map", "spacing")


def read_published(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file of weights, safetensors or as torch saves them; nothing in the file is executed.

    Raises:
        UserError: The file is neither, or holds anything but named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name the weights to import") from None
    except PermissionError:
        raise UserError(f"{path}: no permission to read this file; ask its owner for access") from None
    except Exception as error:  # whatever a damaged file, or one of another kind, sets off
        reason = str(error).strip().split("\n")[0].split(". ")[0]
        raise UserError(f"{path}: not a plain file of weights, or cut short ({reason})") from error
    if zipfile.is_zipfile(path) and (member := _damaged_member(path)):
        raise UserError(
            f"{path}: damaged, the checksum of {member} does not match; copy or download it again"
        )
    named = isinstance(tensors, dict) and all(
        isinstance(name, str) and _is_plain(value) for name, value in tensors.items()
    )
    if not named:
        raise UserError(
            f"{path}: contains something other than named tensors; save the model's state_dict alone"
        )
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise UserError(f"{path}: has NaN or infinite weights, as if training had diverged")
    return {name.removeprefix("regis_net."): tensor for name, tensor in tensors.items()}


def release_of(tensors: Mapping[str, Tensor], path: Path) -> Release:
    """Return the release that a file's tensors, see `read_published`, are of.

    Raises:
        UserError: They are not of a published model, or of one that cannot be told from others.
    """
    maps = tensors.get("identity_map")
    grid = None if maps is None else tuple(maps.shape[2:])
    release = recognise(path, any(".middle_dense." in name for name in tensors), grid)
    check_release(release, tensors, path)
    return release


def check_release(release: Release, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError where a file's tensors do not have the names and shapes of a release's."""
    _, settings = translate(tensors, list(release.grid), path)
    networks = [stage["network"] for stage in settings["stages"]]
    bottlenecks = [network.pop("bottleneck", 0) for network in networks]
    same = all((network["down"], network["up"]) == (DOWN, UP) for network in networks)
    if not same or bottlenecks != [release.bottleneck, 0, 0, 0]:
        raise UserError(
            f"{path}: its networks have other channels than those of {release.name}; give --grid and --axes if it is a "
            "model of your own."
        )


def _damaged_member(path: Path) -> str | None:
    """The first member of an archive whose checksum does not match, which PyTorch does not verify."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except Exception as error:  # whatever a damaged archive sets off
        return " ".join(str(error).split())


def _is_plain(value: object) -> bool:
    """Whether a value is a dense tensor in memory: not sparse, quantised or on a device without storage."""
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        return False
    return not value.is_quantized and value.device.type == "cpu"


def translate(
    tensors: Mapping[str, Tensor], grid: list[int], path: Path
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Translate weights to our names, and derive the settings of their model, as in its card.

    Args:
        tensors: Of a file, see `read_published`.
        grid: Of the images that the model is for, along its own axes.

    Raises:
        UserError: With the first name that differs from the published models'.
    """
    tensors = {name: part for name, part in tensors.items() if name.rpartition(".")[2] not in NOT_WEIGHTS}
    networks = {re.split("|".join(LAYERS.values()), name)[0] for name in tensors}
    model = max(MODELS, key=lambda model: len(networks & model.steps.keys()))
    settings = _settings(model, tensors, grid, path)
    with torch.device("meta"):
        network, stages = read_network(settings["network"]), read_steps(settings["stages"])
        registration, _ = build_registration(network, stages, grid)
    expected = {_their_name(name): (name, own.shape) for name, own in registration.state_dict().items()}
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise UserError(f"{path}: {name} is missing; it is not a published model of ICON or GradICON")
        if name not in expected:
            raise UserError(f"{path}: {name} is not a part of the published models of ICON and GradICON")
        shape = expected[name][1]
        if tensors[name].shape != shape:
            raise UserError(
                f"{path}: {name} is {list(tensors[name].shape)}, but {list(shape)} fits the rest and {grid} voxels"
            )
    return {ours: tensors[theirs] for theirs, (ours, _) in expected.items()}, settings


def _settings(model: Published, tensors: Mapping[str, Tensor], grid: list[int], path: Path) -> dict[str, Any]:
    """The card's settings; a network's widths are those of its tensors."""
    stages = [
        {"steps": 1, "downsample": downsample, "stride": 1, "window": model.window}
        | {"network": _network(prefix, tensors, [math.ceil(size / downsample) for size in grid], path)}
        for prefix, downsample in model.steps.items()
    ]
    return {
        "network": stages[-1]["network"],
        "stages": stages,
        "similarity": model.similarity,
        "regularity": model.regularity,
        "noise": 0,
        "final_weight": model.weight,
    }


def _network(prefix: str, tensors: Mapping[str, Tensor], grid: list[int], path: Path) -> dict[str, Any]:
    """Settings of the U-Net that a step's tensors make up, for images of `grid` voxels."""

    def shapes(layer: str) -> list[torch.Size]:
        layers: list[torch.Size] = []
        while (name := f"{prefix}{layer}.{len(layers)}.weight") in tensors:
            layers.append(tensors[name].shape)
        if not layers:
            raise UserError(f"{path}: {name} is missing; it is not a published model of ICON or GradICON")
        return layers

    down, up = shapes("downConvs"), shapes("upConvs")
    network: dict[str, Any] = {"architecture": "unet", "down": [down[0][1], *(shape[0] for shape in down)]}
    network["up"] = [shape[1] for shape in up]
    dense = tensors.get(f"{prefix}middle_dense.0.weight")
    if dense is not None:
        coarsest = math.prod(math.ceil(size / 2 ** len(down)) for size in grid)
        network["bottleneck"] = dense.shape[0] // coarsest
    return network


def _their_name(name: str) -> str:
    """The published name of a tensor of ours, such as first.second.network.down.0.weight."""
    steps, layer = name.split("network.")
    ours, theirs = next(names for names in LAYERS.items() if layer.startswith(names[0]))
    for here, there in {"first.": "netPhi.", "second.": "netPsi.", "registration.": "net."}.items():
        steps = steps.replace(here, there)
    return f"{steps}net.{theirs}{layer.removeprefix(ours)}"
