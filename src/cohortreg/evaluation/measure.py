"""Measures what registration achieved, pair by pair."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

import cohortreg
from cohortreg.cohort.sidecars import read_sidecar
from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table, write_table
from cohortreg.evaluation.inverse_consistency import inverse_consistency_error
from cohortreg.evaluation.overlap import dice, hausdorff95, mean_of_structures
from cohortreg.evaluation.regularity import log_jacobian_std
from cohortreg.evaluation.structures import structure_masks
from cohortreg.files import digest, digest_file, read_kept, sealed, write_sealed
from cohortreg.images.io import read_image, read_label
from cohortreg.layout import Layout
from cohortreg.maps.jacobian import fold_sites, folds
from cohortreg.maps.results import read_registered, registration, seals
from cohortreg.maps.transforms import Transform, to_unit

Structures = Mapping[str, Sequence[int]]

#: All structures together as one, which has a Dice of its own where there are several; no structure has this name.
UNION = "union"


def measure_pair(layout: Layout, method: str, moving: str, fixed: str, structures: Structures) -> dict:
    """Everything that is measured on the transforms of one registered pair.

    Returns dice_mean and dice_{structure} (0 to 1), where there are several structures dice_union of all as one, which
    is no part of the mean, hd95_mean and hd95_{structure} (millimetres), all NaN without labels; folds (voxels of the
    preprocessed grid with a negative volume form) and their percentage; log_jacobian_std; and
    inverse_consistency_voxels (NaN without an inverse).
    """
    forward = read_registered(layout, method, moving, fixed)
    moving_image = read_image(layout.image(moving))
    phi = to_unit(forward, moving_image.grid)
    folded = int(folds(phi).item())
    error = math.nan
    had_inverse = "inverse" in registration(layout, method, moving, fixed).get("seals", {})
    if had_inverse or layout.inverse(method, moving, fixed).exists():
        inverse = read_registered(layout, method, moving, fixed, "inverse")
        error = inverse_consistency_error(phi, to_unit(inverse, forward.grid))
    for image in (moving, fixed):
        _require_label(layout, image)
    return {
        **_overlaps(layout.label(moving), layout.label(fixed), forward, structures),
        "folds": folded,
        "folds_percent": 100 * folded / fold_sites(phi.shape[2:]),
        "log_jacobian_std": log_jacobian_std(phi),
        "inverse_consistency_voxels": error,
    }


def _require_label(layout: Layout, image: str) -> None:
    """Raise UserError where an image had a label when it was preprocessed, and has none now: not one without."""
    path = layout.label(image)
    if path.is_file() or not layout.sidecar(image).is_file():
        return
    if read_sidecar(layout, image).get("label"):
        again = f"delete {layout.image_shard(0).parent}, and the workflow makes what is missing"
        raise UserError(f"{path} is missing; {again}.")


def _overlaps(moving: Path, fixed: Path, transform: Transform, structures: Structures) -> dict[str, float]:
    """Dice and 95 % Hausdorff distance of every structure and their means, of the labels at two paths; Dice of all
    structures as one."""
    masked = dict(structures)
    if len(structures) > 1:
        masked[UNION] = [value for values in structures.values() for value in values]
    overlap, distance = dict.fromkeys(masked, math.nan), dict.fromkeys(structures, math.nan)
    if moving.exists() and fixed.exists():
        fixed_label = read_label(fixed)
        for name, *masks in structure_masks(read_label(moving), fixed_label, transform, masked):
            overlap[name] = dice(*masks)
            if name in distance:
                distance[name] = hausdorff95(*masks, fixed_label.spacing)
    measures = {"dice_mean": mean_of_structures({name: overlap[name] for name in structures})}
    measures |= {f"dice_{name}": value for name, value in overlap.items()}
    measures["hd95_mean"] = mean_of_structures(distance)
    return measures | {f"hd95_{name}": value for name, value in distance.items()}


def registered_pairs(layout: Layout, method: str, shard: int) -> pd.DataFrame:
    """What was registered in a shard: a row a pair with moving, fixed, time_s and failure.

    failure: why the pair has no transforms, empty where it has. A table without that column has no failures.
    Raises UserError where the shard was not registered.
    """
    path = layout.registered_shard(method, shard)
    if not path.exists():
        raise UserError(
            f"{path} is missing: run `cohortreg register-shard` for shard {shard} of {method} first."
        )
    table = read_table(path, ["moving", "fixed", "time_s"], "`cohortreg register-shard` for it")
    return table if "failure" in table else table.assign(failure="")


def evaluate_shard(
    layout: Layout,
    method: str,
    shard: int,
    pairs: pd.DataFrame,
    structures: Structures,
    progress: Callable[[], None],
) -> int:
    """Measure every registered pair of a shard and write its table; returns how many had to be measured.

    A pair measured before is taken over as long as nothing that its numbers come from has changed. A pair whose
    registration failed has no numbers but the reason.
    """
    rows, measured = [], 0
    for pair in pairs.itertuples(index=False):
        row = {"method": method, "moving": pair.moving, "fixed": pair.fixed, "failure": pair.failure}
        if not pair.failure:
            measures, anew = _measures(layout, method, pair.moving, pair.fixed, structures)
            row |= {**measures, "time_s": pair.time_s}
            measured += anew
        rows.append(row)
        progress()
    path = layout.evaluated_shard(method, shard)
    with sealed(path):
        write_table(path, pd.DataFrame(rows, columns=columns(structures)))
    return measured


def columns(structures: Iterable[str]) -> list[str]:
    """Columns of a shard's table of pairs, in order. Raises UserError where a structure is called as another column."""
    names = ["mean", *structures]
    for name in names[1:]:
        if name in ("mean", UNION):
            raise UserError(f"a structure is called {name}, as a column of the tables is; rename it.")
    overlaps = [f"dice_{name}" for name in [*names, *([UNION] if len(names) > 2 else [])]]
    distances = [f"hd95_{name}" for name in names]
    regularity = ["folds", "folds_percent", "log_jacobian_std", "inverse_consistency_voxels"]
    return ["method", "moving", "fixed", *overlaps, *distances, *regularity, "time_s", "failure"]


def _measures(
    layout: Layout, method: str, moving: str, fixed: str, structures: Structures
) -> tuple[dict, bool]:
    """What was measured on a pair, and whether that had to be done now."""
    path = layout.evaluated_pair(method, moving, fixed)
    inputs = _digest_inputs(layout, method, moving, fixed, structures)
    record, there = read_kept(path, "inputs", "measures"), seals(layout, method, moving, fixed)
    # A field that was deleted after it was measured leaves its numbers; another one in its place does not.
    same = all(record.get("seals", {}).get(direction, "") == seal for direction, seal in there.items())
    outdated = record.get("inputs") != inputs or not same
    if outdated:
        forward = layout.forward(method, moving, fixed)
        if record and not forward.exists():
            records = layout.registration_record(method, moving, fixed).parents[1]
            raise UserError(
                f"{forward} was deleted, but has to be measured again; delete {records} and run snakemake with "
                "--forcerun register register_networks"
            )
        measures = measure_pair(layout, method, moving, fixed, structures)
        record = {"inputs": inputs, "seals": there, "measures": _without_nan(measures)}
        write_sealed(path, record)
    return record["measures"], outdated


def _digest_inputs(layout: Layout, method: str, moving: str, fixed: str, structures: Structures) -> str:
    # A shard that gets one more pair need not read its thousands of displacement fields again: the small records of
    # registration and preprocessing change with what they say was made.
    record = layout.registration_record(method, moving, fixed)
    transforms = [layout.forward(method, moving, fixed), layout.inverse(method, moving, fixed)]
    files = [*([record] if record.exists() else transforms), layout.sidecar(moving), layout.sidecar(fixed)]
    contents = [digest_file(path) if path.exists() else "" for path in files]
    return digest(cohortreg.__version__, json.dumps(dict(structures)), *columns(structures), *contents)


def _without_nan(row: dict) -> dict:
    """JSON has no NaN; None comes back as an empty cell of the table all the same."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()
    }
