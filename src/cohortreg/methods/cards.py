"""A model's card, model.json: looked at before anything is built from it, or from the weights beside it.

Nothing here needs PyTorch, since the workflow looks at imported models before it starts.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from cohortreg.config import dotted, is_icon, network_problem, schema
from cohortreg.errors import UserError
from cohortreg.files import read_json
from cohortreg.layout import CARD, WEIGHTS
from cohortreg.maps.axes import Axes
from cohortreg.methods.registry import LEARNED, method_class, method_of

if TYPE_CHECKING:
    from jsonschema import ValidationError

#: What instance optimisation needs to know beside what registration does; of a stage's keys, see `_schema`.
_FOR_OPTIMISATION = ("regularity", "noise", "final_weight")
#: What of `preprocess` has to be the same for a model and the images that it registers, but for the grid.
_SEEN_BY_NETWORKS = ("fit", "mirror", "percentiles")


def read_card(folder: Path, optimised: bool = False) -> dict:
    """What a model's card says of it. optimised: its networks are to be fitted to each pair.

    Raises UserError where there is no card, it is damaged, or it is of a model that this version does not know.
    """
    from jsonschema import Draft202012Validator

    path = Path(folder) / CARD
    if Path(folder).is_file():
        raise UserError(f"{folder} is not a folder; name the folder of a model")
    if not os.path.lexists(path):
        if stages := sorted(Path(folder).glob(f"stage-*/{CARD}")):
            raise UserError(
                f"{folder} has the stages of a model; name one of them, such as {stages[-1].parent}."
            )
        raise UserError(f"{path}: no such file; train the model, or import its weights, first")
    try:
        card = read_json(path, "the training, or the import of its weights,")
    except PermissionError:
        raise UserError(f"{path}: no permission to read this file; ask its owner for access") from None
    if method_of(card) not in list(LEARNED):
        _refuse(path, f"no trainable method {method_of(card)!r}; known are {', '.join(LEARNED)}")
    error = next(Draft202012Validator(_schema(is_icon(card), optimised)).iter_errors(card), None)
    if error is not None:
        _refuse(path, _problem(error))
    if "axes" in card:
        Axes(card["axes"])
        if len(card["grid"]) != 3:
            _refuse(path, f"axes: {card['axes']}, but the grid {card['grid']} is 2D")
    for network in (
        [card["network"], *(stage.get("network") for stage in card["stages"])] if is_icon(card) else []
    ):
        if network is not None and (problem := network_problem(network)):
            _refuse(path, f"network{problem[0]}: {problem[1]}")
    return card


def _problem(error: "ValidationError") -> str:
    """What a card lacks, or has that this version does not know."""
    keys, problem = list(error.absolute_path), shorten(error.message, 200)
    if error.validator == "required":
        keys, problem = (
            [*keys, next(key for key in error.validator_value if key not in error.instance)],
            "missing",
        )
    elif error.validator == "additionalProperties":
        known = error.schema["properties"]
        keys, problem = [*keys, next(key for key in error.instance if key not in known)], "unknown"
    return f"{dotted(keys)}: {problem}"


def _refuse(path: Path, problem: str) -> None:
    raise UserError(
        f"{path}: {problem}; the model is of another version of cohortreg, or its card is damaged."
    )


def _schema(icon: bool, optimised: bool) -> dict:
    """The JSON schema of a card, as far as registration reads it."""
    configured = schema()["properties"]
    model = configured["models"]["additionalProperties"]["properties"]
    stage = model["stages"]["items"]["properties"]
    preprocess = configured["preprocess"]["properties"] | {"grid": _GRID}
    known = ("network", "similarity", "regularity", "noise", "settings") if icon else ("settings",)
    in_stage = ("steps", "downsample", "stride", "window") if icon else ("steps",)
    stage_needs = in_stage if optimised else in_stage[:2]
    return {
        "type": "object",
        "required": ["grid", "stages", *known[: 2 * icon], *(_FOR_OPTIMISATION if optimised else ())],
        "properties": {name: model[name] for name in known}
        | {
            "grid": _GRID,
            "axes": {"type": "string"},
            "final_weight": {"type": "number"},
            "weights_sha256": {"type": "string"},
            "preprocess": {
                "type": ["object", "null"],
                "required": ["grid"],
                "additionalProperties": False,
                "properties": preprocess,
            },
            "stages": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": list(stage_needs),
                    "properties": {name: stage[name] for name in in_stage}
                    | ({"network": model["network"]} if icon else {}),
                },
            },
        },
    }


_GRID = {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "integer", "minimum": 1}}


def check_pretrained(name: str, folder: Path, preprocess: Mapping) -> None:
    """Raise UserError where an imported model cannot register a cohort's images, or sees others than it learnt from.

    name: of the row. preprocess: the section of the configuration.
    """
    where = f"configuration: pretrained.{name}"
    try:
        card = read_card(folder)
        check_weights(folder / WEIGHTS)
        learnt = dict(card.get("preprocess") or {})
        turned = Axes(card["axes"]) if "axes" in card else None
        grid = list(turned.ours(card["grid"]) if turned else card["grid"])
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if grid != list(preprocess["grid"]):
        raise UserError(
            f"{where}: {folder} is a model of images of {grid} voxels, but preprocess.grid is "
            f"{list(preprocess['grid'])}; set preprocess.grid to {grid}, or take {name} out of methods."
        )
    for key in _SEEN_BY_NETWORKS:
        if key in learnt and learnt[key] != preprocess[key]:
            raise UserError(
                f"{where}: {folder} is a model of images with {key} {learnt[key]}, but preprocess.{key} is "
                f"{preprocess[key]}; set preprocess.{key} to {learnt[key]}, or take {name} out of methods."
            )
    if not is_icon(card):
        method_class(method_of(card)).check(card, grid, f"{folder / CARD}")


def check_weights(path: Path) -> None:
    """Raise UserError where there are no weights, or they are cut short, from the file's header and length alone."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, path.stat().st_size)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        is_whole = path.stat().st_size == 8 + length + max(ends)
    except FileNotFoundError:
        raise UserError(f"{path}: no such weights; train the model, or import its weights, first") from None
    except PermissionError:
        raise UserError(f"{path}: no permission to read these weights; ask their owner for access") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder and not a file of weights") from None
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        is_whole = False
    if not is_whole:
        raise UserError(
            f"{path}: not a safetensors file, or cut short; train the model, or import its weights, again"
        )
