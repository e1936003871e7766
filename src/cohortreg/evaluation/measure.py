"""Measures what registration achieved, pair by pair."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd

import cohortreg
from cohortreg.errors import UserError
from cohortreg.evaluation.dice import mean_dice, structure_dice
from cohortreg.evaluation.inverse_consistency import inverse_consistency_error
from cohortreg.evaluation.tables import read_table, write_table
from cohortreg.files import digest, digest_file, read_json, write_json
from cohortreg.images.io import read_image, read_label
from cohortreg.layout import Layout
from cohortreg.maps.jacobian import fold_sites, folds
from cohortreg.maps.transforms import Grid, read_transform, to_unit

Structures = Mapping[str, Sequence[int]]


def measure_pair(layout: Layout, method: str, moving: str, fixed: str, structures: Structures) -> dict:
    """Everything that is measured on the transforms of one registered pair.

    Returns dice_mean and dice_{structure} (0 to 1; NaN without labels), folds (voxels of the preprocessed grid
    with a negative volume form) and their percentage, and inverse_consistency_voxels (NaN without an inverse).
    """
    dice = dict.fromkeys(structures, math.nan)
    forward = read_transform(layout.forward(method, moving, fixed))
    labels = layout.label(moving), layout.label(fixed)
    if all(path.exists() for path in labels):
        dice = structure_dice(*(read_label(path) for path in labels), forward, structures)
    moving_image = read_image(layout.image(moving))
    phi = to_unit(forward, Grid(moving_image.shape, moving_image.affine))
    folded = int(folds(phi).item())
    error = math.nan
    if layout.inverse(method, moving, fixed).exists():
        inverse = read_transform(layout.inverse(method, moving, fixed))
        error = inverse_consistency_error(phi, to_unit(inverse, forward.grid))
    return {
        "dice_mean": mean_dice(dice),
        **{f"dice_{name}": value for name, value in dice.items()},
        "folds": folded,
        "folds_percent": 100 * folded / fold_sites(phi.shape[2:]),
        "inverse_consistency_voxels": error,
    }


def registered_pairs(layout: Layout, method: str, shard: int) -> pd.DataFrame:
    """What was registered in a shard: a row a pair with moving, fixed, time_s.

    Raises UserError where the shard was not registered.
    """
    path = layout.registered_shard(method, shard)
    if not path.exists():
        raise UserError(f"{path} is missing: run `cohortreg register` for shard {shard} of {method} first.")
    return read_table(path)


def evaluate_shard(
    layout: Layout,
    method: str,
    shard: int,
    pairs: pd.DataFrame,
    structures: Structures,
    progress: Callable[[], None],
) -> int:
    """Measure every registered pair of a shard and write its table; returns how many had to be measured.

    A pair measured before is taken over as long as nothing that its numbers come from has changed.
    """
    rows, measured = [], 0
    for pair in pairs.itertuples(index=False):
        ids = {"method": method, "moving": pair.moving, "fixed": pair.fixed}
        path = layout.evaluated_pair(**ids)
        inputs = _digest_inputs(layout, method, pair.moving, pair.fixed, structures)
        record = read_json(path) if path.exists() else {}
        if record.get("inputs") != inputs:
            measures = measure_pair(layout, **ids, structures=structures)
            record = {"inputs": inputs, "measures": _without_nan(measures)}
            write_json(path, record)
            measured += 1
        rows.append({**ids, **record["measures"], "time_s": pair.time_s})
        progress()
    write_table(layout.evaluated_shard(method, shard), pd.DataFrame(rows, columns=columns(structures)))
    return measured


def columns(structures: Iterable[str]) -> list[str]:
    """Columns of the table of pairs, in order."""
    dice = [f"dice_{name}" for name in structures]
    measures = ["folds", "folds_percent", "inverse_consistency_voxels", "time_s"]
    return ["method", "moving", "fixed", "dice_mean", *dice, *measures]


def _digest_inputs(layout: Layout, method: str, moving: str, fixed: str, structures: Structures) -> str:
    files = [
        layout.forward(method, moving, fixed),
        layout.inverse(method, moving, fixed),
        layout.image(moving),
        layout.label(moving),
        layout.label(fixed),
    ]
    contents = [digest_file(path) if path.exists() else "" for path in files]
    return digest(cohortreg.__version__, json.dumps(dict(structures)), *contents)


def _without_nan(row: dict) -> dict:
    """JSON has no NaN; None comes back as an empty cell of the table all the same."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()
    }
