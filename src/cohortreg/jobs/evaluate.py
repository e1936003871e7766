"""Computation of the measures of registered pairs."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

import cohortreg
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table, write_table
from cohortreg.evaluation.measures import (
    BY_KEY,
    MEASURES,
    OTHERS,
    Maps,
    Measure,
    columns,
    measures_of_labels,
    measures_of_maps,
)
from cohortreg.files import read_kept, sealed, write_sealed
from cohortreg.images.image import Structures
from cohortreg.images.io import grid_of, read_file, read_label
from cohortreg.jobs.registered import DIRECTIONS, read_registered, registration, seals, transform_path
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.layout import Layout
from cohortreg.maps.transforms import Transform
from cohortreg.provenance import running

PAIR = ("method", "moving", "fixed")


def measure_pair(
    layout: Layout,
    method: str,
    moving: str,
    fixed: str,
    structures: Structures,
    measures: Sequence[Measure] = MEASURES,
) -> dict[str, float]:
    """Compute every measure on the transforms of one registered pair.

    Returns:
        Column of the table of pairs -> value; NaN where there is nothing to measure, such as Dice without labels.
    """
    for image in (moving, fixed):
        _require_label(layout, image)
    forward = read_registered(layout, method, moving, fixed)
    # The inverse is let go of before labels are read, which are large, too.
    of_maps = measures_of_maps(_maps(layout, method, moving, fixed, forward), measures)
    paths = layout.label(moving), layout.label(fixed)
    if not all(path.exists() for path in paths):
        every = columns(structures, measures)
        lacking = [column for column in every if column not in of_maps and column != "time_s"]
        return of_maps | dict.fromkeys(lacking, math.nan)
    labels = read_label(paths[0]), read_label(paths[1])
    return of_maps | measures_of_labels(*labels, forward, structures, measures)


def _maps(layout: Layout, method: str, moving: str, fixed: str, forward: Transform) -> Maps:
    """Read a pair's maps.

    Raises:
        UserError: An inverse was registered and is gone.
    """
    path = layout.image(moving)
    shape, affine, _ = read_file(path, voxels=False)
    grid = grid_of(path, shape, affine)
    had_inverse = "inverse" in registration(layout, method, moving, fixed).get("seals", {})
    if not (had_inverse or transform_path(layout, method, moving, fixed, "inverse").exists()):
        return Maps(forward, None, grid)
    inverse = read_registered(layout, method, moving, fixed, "inverse")
    return Maps(forward, inverse, grid)


def _require_label(layout: Layout, image: str) -> None:
    """Raise UserError where the label that an image had when it was preprocessed is gone."""
    path = layout.label(image)
    if path.is_file() or not layout.sidecar(image).is_file():
        return
    if read_sidecar(layout, image).get("label"):
        again = f"delete {layout.image_shard(0).parent}, and the workflow will recreate what is missing"
        raise UserError(f"{path} is missing; {again}.")


def registered_pairs(layout: Layout, method: str, shard: int) -> pd.DataFrame:
    """Read the registered pairs of a shard: one row each with moving, fixed, time_s and failure.

    A failure says why the pair has no transforms, and is empty where it has. A table without that column has none.

    Raises:
        UserError: The shard was not registered.
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
    measures: Sequence[Measure] = MEASURES,
) -> int:
    """Measure every registered pair of a shard and write its table; return how many had to be measured.

    A pair measured before is taken over as long as nothing that its numbers come from has changed. A pair whose
    registration failed has no numbers but the reason.
    """
    rows, measured = [], 0
    for pair in pairs.itertuples(index=False):
        row = {"method": method, "moving": pair.moving, "fixed": pair.fixed, "failure": pair.failure}
        if not pair.failure:
            values, anew = _measures(layout, (method, pair.moving, pair.fixed), structures, measures)
            row |= {**values, "time_s": pair.time_s}
            measured += anew
        rows.append(row)
        progress()
    path = layout.evaluated_shard(method, shard)
    with sealed(path):
        write_table(path, pd.DataFrame(rows, columns=[*PAIR, *columns(structures, measures), "failure"]))
    return measured


def _measures(
    layout: Layout, pair: tuple[str, str, str], structures: Structures, measures: Sequence[Measure]
) -> tuple[dict[str, Any], bool]:
    """The measures of a pair by a method, see `PAIR`, and whether they were computed now."""
    path, inputs = layout.evaluated_pair(*pair), _digest_inputs(layout, pair, structures, measures)
    record, there = read_kept(path, "inputs", "measures"), seals(layout, *pair)
    # A field that was deleted after it was measured leaves its numbers; another one in its place does not.
    same = all(record.get("seals", {}).get(direction, "") == seal for direction, seal in there.items())
    outdated = record.get("inputs") != inputs or not same
    if outdated:
        forward = transform_path(layout, *pair)
        if record and not forward.exists():
            records = layout.registration_record(*pair).parents[1]
            raise UserError(
                f"{forward} was deleted, but has to be measured again; delete {records} and run snakemake with "
                "--forcerun register register_networks"
            )
        values = measure_pair(layout, *pair, structures, measures)
        # JSON has no NaN; None comes back as an empty cell of the table all the same.
        numbers = {key: None if math.isnan(value) else value for key, value in values.items()}
        record = {"inputs": inputs, "seals": there, "measures": numbers}
        write_sealed(path, record)
    return record["measures"], outdated


def _digest_inputs(
    layout: Layout, pair: tuple[str, str, str], structures: Structures, measures: Sequence[Measure]
) -> str:
    # A shard that gets one more pair need not read its thousands of displacement fields again: the small records of
    # registration and preprocessing change with what they say was made.
    record = layout.registration_record(*pair)
    paths = [transform_path(layout, *pair, direction) for direction in DIRECTIONS]
    made = [record] if record.exists() else paths
    files = [*made, *map(layout.sidecar, pair[1:])]
    contents = [running().reads(path) if path.exists() else "" for path in files]
    named = [*PAIR, *columns(structures, measures), "failure"]
    named += [OTHERS.package(measure.key) for measure in measures if measure.key not in BY_KEY]
    return digest(cohortreg.__version__, json.dumps(dict(structures)), *named, *contents)
