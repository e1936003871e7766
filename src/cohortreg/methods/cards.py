"""A model's card, model.json, validated before anything is built from it or from the weights beside it.

Nothing here needs PyTorch, since the workflow looks at imported models before it starts.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, Literal, NoReturn, Self

from annotated_types import Len
from pydantic import ConfigDict, Field, model_validator

from cohortreg.config import (
    ARCHITECTURES,
    FITTED,
    LEARNED,
    SIMILARITIES,
    AnyNetwork,
    AvsmStaged,
    CardStage,
    IconCardStage,
    IconModel,
    Model,
    Network,
    PairPreprocess,
    Positive,
    Preprocess,
    SettingsStaged,
    Similarity,
    Staged,
    VoxelMorphStaged,
    with_settings,
)
from cohortreg.digests import digest_file
from cohortreg.errors import UserError
from cohortreg.files import read_json
from cohortreg.maps.axes import Axes
from cohortreg.model_files import CARD, WEIGHTS
from cohortreg.settings import Fault, Number, Text, attempt, wrong

#: What of `preprocess` has to be the same for a model and the images that it registers, but for the grid.
_SEEN_BY_NETWORKS = ("fit", "mirror", "percentiles")

_Grid = Annotated[list[Positive], Len(2, 3)]


class Card(Staged):
    """What registration needs to know of a model; other keys of a card are ignored."""

    model_config = ConfigDict(extra="ignore")

    grid: _Grid
    model: Text | None = None
    axes: Text | None = None
    final_weight: Number | None = None
    weights_sha256: Text | None = None
    preprocess: PairPreprocess | None = None

    @model_validator(mode="after")
    def _axes_of_3d_images(self) -> Self:
        if self.axes and len(self.grid) != 3:
            raise wrong(f"{self.axes}, but the grid {self.grid} is 2D", "axes")
        return self

    def up_to(self, stage: int) -> Self:
        """Return the card of the first stages, from 1."""
        return self.model_copy(update={"stages": self.stages[:stage]})


class IconCard(Card):
    """The card of a model of ICON."""

    method: Literal["icon"] = "icon"
    network: AnyNetwork
    similarity: Similarity
    regularity: Literal["icon", "gradicon"] | None = None
    noise: Annotated[Number, Field(ge=0)] | None = None
    stages: Annotated[list[IconCardStage], Len(1)]


class _OtherCard(SettingsStaged, Card):
    """The card of a model of any other learning method."""

    method: Text
    stages: Annotated[list[CardStage], Len(1)]


class VoxelMorphCard(VoxelMorphStaged, Card):
    """The card of a model of VoxelMorph."""

    method: Literal["voxelmorph"]
    stages: Annotated[list[CardStage], Len(1)]


class AvsmCard(AvsmStaged, Card):
    """The card of a model of AVSM."""

    method: Literal["avsm"]
    stages: Annotated[list[CardStage], Len(1)]


CARDS: dict[str, type[Card]] = {"icon": IconCard, "voxelmorph": VoxelMorphCard, "avsm": AvsmCard}


def read_card(folder: Path, optimised: bool = False) -> Card:
    """Read a model's card; one whose networks are to be `optimised`, fitted to each pair, has to say more.

    Raises:
        UserError: There is no card, it is damaged, or it is of a model that this version does not know.
    """
    path = folder / CARD
    if folder.is_file():
        raise UserError(
            f"{folder} is not a folder; name the folder of a model, which `cohortreg import weights` makes of "
            "published weights"
        )
    if not os.path.lexists(path):
        if stages := sorted(folder.glob(f"stage-*/{CARD}")):
            raise UserError(
                f"{folder} has the stages of a model; name one of them, such as {stages[-1].parent}."
            )
        raise UserError(f"{path}: no such file; train the model, or import its weights, first")
    try:
        content = read_json(path, "the training, or the import of its weights,")
    except PermissionError:
        raise UserError(f"{path}: no permission to read this file; ask its owner for access") from None
    method = content.get("method", "icon")
    if not isinstance(method, str) or method not in LEARNED:
        _refuse(path, f"no trainable method {method!r}; known are {', '.join(LEARNED.names())}")
    kind = CARDS[method] if method in CARDS else with_settings(method, _OtherCard)
    try:
        card = attempt(kind, content)
    except Fault as fault:
        known = {"unknown_key": "unknown", "missing_key": "missing"}
        _refuse(path, f"{fault.place}: {known.get(fault.kind, shorten(fault.problem, 200))}")
    if card.axes:
        Axes(card.axes)
    if optimised and (absent := _absent(card)):
        _refuse(path, f"{absent}: missing")
    return card


def _absent(card: Card) -> str | None:
    """The first key that instance optimisation needs and a card lacks."""
    needed = [(key, getattr(card, key, None)) for key in ("regularity", "noise", "final_weight")]
    for number, stage in enumerate(card.stages):
        needed += [(f"stages[{number}].{key}", getattr(stage, key, None)) for key in ("stride", "window")]
    return next((key for key, value in needed if value is None), None)


def _refuse(path: Path, problem: str) -> NoReturn:
    raise UserError(
        f"{path}: {problem}; the model is from another version of cohortreg, or its card is damaged."
    )


def completed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add to a configuration what follows from trained models, where it does not say so itself.

    How images are preprocessed is said by those that rows use, the network of a model by the one that it starts from.
    The configuration is not validated yet: what is wrong in it is as wrong as before.

    Raises:
        UserError: A model that a row uses is not there, or two are of images that differ.
    """
    config = _inherited(config)
    pretrained, preprocess = config.get("pretrained"), config.get("preprocess") or {}
    if not (isinstance(pretrained, Mapping) and isinstance(preprocess, Mapping)):
        return config
    absent = {"grid", *_SEEN_BY_NETWORKS} - preprocess.keys()
    source: dict[str, str] = {}
    taken: dict[str, Any] = {}
    for name, folder in pretrained.items():
        named = isinstance(name, str) and isinstance(folder, str) and folder
        if not (absent and named and uses(config.get("methods"), name)):
            continue
        for key, value in _learnt(f"configuration: pretrained.{name}", Path(folder))[1].items():
            if key in absent and taken.setdefault(key, value) != value:
                raise UserError(
                    f"configuration: pretrained: {source[key]} is a model for images with {key} {taken[key]}, and "
                    f"{name} for {value}; take one of them out of methods."
                )
            source.setdefault(key, name)
    return {**config, "preprocess": {**preprocess, **taken}} if taken else config


def _inherited(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add to the models of a configuration the networks of those that they start from, where they name none."""
    models = config.get("models")
    if not isinstance(models, Mapping):
        return config
    taken = {}
    for name, model in models.items():
        if not (isinstance(model, Mapping) and isinstance(model.get("init"), str) and "network" not in model):
            continue
        card = _learnt(f"configuration: models.{name}.init", Path(model["init"]))[0]
        if isinstance(card, IconCard) and model.get("method", "icon") == card.method:
            taken[name] = {**model, "network": card.network.plain()}
    return {**config, "models": {**models, **taken}} if taken else config


def init_of(folder: str) -> dict[str, str]:
    """What identifies the model that a training starts from: its folder, its name and the SHA-256 of its weights."""
    card = read_card(Path(folder))
    sha256 = card.weights_sha256 or digest_file(Path(folder) / WEIGHTS)
    return {"folder": folder, "model": card.model or Path(folder).resolve().name, "weights_sha256": sha256}


def check_init(name: str, model: Model, grid: Sequence[int]) -> None:
    """Raise UserError where a model cannot start from the weights of the one that its `init` names."""
    assert model.init is not None
    where, folder = f"configuration: models.{name}.init", Path(model.init)
    card, _ = _learnt(where, folder)
    if misfit := _unlike(card, model, list(grid)):
        raise UserError(
            f"{where}: {folder} {misfit}; a model can start only from one of its own architecture."
        )


def _unlike(card: Card, model: Model, grid: list[int]) -> str | None:
    """How a trained model's architecture differs from that of one that is to start from it, if it does."""
    if card.method != model.method:
        return f"is a model of {card.method}, and this one's method is {model.method}"
    if card.axes:
        return (
            f"learnt from images whose axes run to {card.axes}, and training here is on axes that run to RAS"
        )
    parts: list[tuple[str, object, object]] = []
    bound = False
    if isinstance(card, IconCard) and isinstance(model, IconModel):
        bound = model.network.bound_to_grid
        for number, (before, stage) in enumerate(zip(card.stages, model.stages, strict=False)):
            network = before.network or card.network
            parts += [
                (f"network of stages[{number}]", _in_line(network), _in_line(model.network)),
                (f"steps of stages[{number}]", before.steps, stage.steps),
                (f"downsample of stages[{number}]", before.downsample, stage.downsample),
            ]
    elif isinstance(card, SettingsStaged) and isinstance(model, SettingsStaged):
        theirs, own = card.settings, model.settings
        bound = own.bound_to_grid
        parts = [(key, getattr(theirs, key), getattr(own, key)) for key in own.architecture]
    for key, of_card, of_model in parts:
        if of_card != of_model:
            return f"has {of_card} as the {key}, and this one {of_model}"
    if bound and card.grid != grid:
        return f"has weights of images of {card.grid} voxels, and preprocess.grid is {grid}"
    return None


def packages_of(model: Model | Card, training: bool) -> list[str]:
    """The other packages, with their versions, that a model's registration follows from, or its `training`."""
    found = [] if LEARNED[model.method].release else [LEARNED.package(model.method)]
    if isinstance(model, IconModel | IconCard):
        networks = [model.network, *(stage.network for stage in model.stages)]
        found += [ARCHITECTURES.package(network.name()) for network in networks if network]
        found += [SIMILARITIES.package(model.similarity)] if training else []
    return sorted({*found} - {""})


def _in_line(network: Network) -> str:
    return ", ".join(f"{key} {value}" for key, value in network if value is not None)


def uses(methods: object, name: str) -> bool:
    """Whether a row among the configuration's `methods`, if any are named, is of a model under `pretrained`."""
    return methods is None or (
        isinstance(methods, Sequence) and any(row in (name, name + FITTED) for row in methods)
    )


def _learnt(where: str, folder: Path) -> tuple[Card, dict[str, Any]]:
    """The card of a model, and what it says of how its images were preprocessed, with the grid along our axes."""
    try:
        card = read_card(folder)
        check_weights(folder / WEIGHTS)
        grid = list(Axes(card.axes).ours(card.grid) if card.axes else card.grid)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    recorded = card.preprocess.model_dump(exclude_unset=True) if card.preprocess else {}
    return card, {"grid": grid} | {key: recorded[key] for key in _SEEN_BY_NETWORKS if key in recorded}


def check_pretrained(name: str, folder: Path, preprocess: Preprocess) -> None:
    """Raise UserError where a row's model cannot register a cohort's images, or sees others than it learnt from."""
    where = f"configuration: pretrained.{name}"
    card, learnt = _learnt(where, folder)
    for key, value in learnt.items():
        if value != (configured := getattr(preprocess, key)):
            of = f"of {value} voxels" if key == "grid" else f"with {key} {value}"
            raise UserError(
                f"{where}: {folder} is a model for images {of}, but preprocess.{key} is {configured}; set "
                f"preprocess.{key} to {value} or leave it out, or take {name} out of methods."
            )
    if isinstance(card, SettingsStaged) and (misfit := card.misfit(learnt["grid"])):
        raise UserError(f"{where}: {folder / CARD}: {misfit[0]}: {misfit[1]}; see docs/methods.md.")


def check_weights(path: Path) -> int:
    """Count the parameters of weights from the file's header; raises UserError where there are none, or not all."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, path.stat().st_size)))
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        parameters = sum(math.prod(entry["shape"]) for entry in entries)
        is_whole = path.stat().st_size == 8 + length + max(entry["data_offsets"][1] for entry in entries)
    except FileNotFoundError:
        raise UserError(f"{path}: no such weights; train the model, or import its weights, first") from None
    except PermissionError:
        raise UserError(f"{path}: no permission to read these weights; ask their owner for access") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a file of weights") from None
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        is_whole = False
    if not is_whole:
        raise UserError(
            f"{path}: not a safetensors file, or cut short; train the model, or import its weights, again"
        )
    return parameters
