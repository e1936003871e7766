"""What is left of a cohort after preprocessing: the job of the rule `cohort`."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from cohortreg.cohort.ratings import rated_out
from cohortreg.cohort.shards import pair_shards, shard_of
from cohortreg.cohort.tables import (
    leak_warnings,
    pair_ids,
    read_images,
    read_pairs,
    read_table,
    require_training,
    write_table,
)
from cohortreg.config import Shards
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.files import write_json
from cohortreg.jobs.preprocess import INDEX
from cohortreg.jobs.registered import IDS
from cohortreg.jobs.training_sets import assign_training_sets, trained_on
from cohortreg.layout import Layout
from cohortreg.provenance import running


def merge_cohort(
    layout: Layout,
    name: str,
    images_path: Path,
    pairs_path: Path,
    shards: Shards,
    models: Sequence[str] = (),
    retrain: str | None = None,
    ratings_path: Path | None = None,
    exclude_rated: Collection[str] = (),
    inits: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write the tables of the usable cohort: `images.tsv`, `pairs.tsv` and its shards, `excluded.tsv`, `cohort.json`.

    Args:
        models: See `assign_training_sets`, as for `retrain` and `inits`.
        ratings_path: Of a report's qc.tsv, by which pairs are left out, see `rated_out`.
        exclude_rated: The ratings whose pairs are.

    Returns:
        What `cohort.json` holds.

    Raises:
        UserError: A shard's index is missing or of another table, or no image or no pair is left.
    """
    images = read_images(images_path)
    pairs = read_pairs(pairs_path, images)
    for path in (images_path, pairs_path):
        running().reads(path)
    index = _index(layout, images, shards.images)
    made = index.set_index("image_id")
    reasons = made["reason"][made["status"] == "excluded"].to_dict()
    bad = images["image_id"].isin(reasons)
    excluded = [("image", image_id, reasons[image_id]) for image_id in images["image_id"][bad]]
    once = ~pairs.duplicated(["moving", "fixed"])
    rated, unknown = rated_out(ratings_path, exclude_rated, pairs)
    why = _pairs_left_out(pairs, reasons, rated)
    bad_pairs = pd.Series([pair in why for pair in pair_ids(pairs)], pairs.index, dtype=bool)
    excluded += [("pair", " ".join(pair), reason) for pair, reason in why.items()]
    for what, every in (("image", bad), ("pair", bad_pairs)):
        if every.all():
            first = next(reason for kind, _, reason in excluded if kind == what)
            raise UserError(f"every {what} of {name} is excluded, the first of them because {first}")
    write_table(layout.excluded, pd.DataFrame(excluded, columns=["kind", "id", "reason"], dtype=str))
    good, good_pairs = images[~bad], pairs[~bad_pairs]
    require_training(images_path, images, models)
    behind = assign_training_sets(layout, good, made["digest"].to_dict(), models, retrain, inits)
    leaks = leak_warnings(good, good_pairs, trained_on(layout, models))
    summary = {
        "name": name,
        "images": len(good),
        **{split: int(good["split"].eq(split).sum()) for split in ("train", "validation", "test")},
        "pairs": int((~bad_pairs & once).sum()),
        "excluded_images": int(bad.sum()),
        "excluded_pairs": int((bad_pairs & once).sum()),
        "warnings": [*leaks, *behind, *unknown],
        # Changes when an image does, so that what depends on the images is made again.
        "digest": digest(*index.drop(columns="row").to_numpy().ravel()),
    }
    write_table(layout.images, good)
    # Before the table of pairs, which says which pairs were asked for until now.
    _write_pair_shards(layout, pairs[once], good_pairs, made["sidecar"].to_dict(), shards.pairs)
    write_table(layout.pairs, good_pairs)
    write_json(layout.cohort, summary)
    return summary


def _pairs_left_out(
    pairs: pd.DataFrame, reasons: Mapping[str, str], rated: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str]:
    """Tell why each pair that is left out is: because of an image, see `reasons`, or since it was rated so."""
    why = {}
    for pair in pair_ids(pairs):
        image_id = next((image_id for image_id in pair if image_id in reasons), None)
        if image_id is not None:
            why[pair] = f"image '{image_id}' is excluded: {reasons[image_id]}"
        elif pair in rated:
            why[pair] = rated[pair]
    return why


def _write_pair_shards(
    layout: Layout, pairs: pd.DataFrame, good: pd.DataFrame, sidecars: Mapping[str, str], shards: int
) -> None:
    """Each shard's good pairs with what their images were made from: a shard's file changes when one of them does.

    One that only lost pairs stays as it was: there is nothing to register. A pair that comes back counts how often it
    was asked for, or nobody would look whether it is still registered. A shard whose pairs are all excluded has an
    empty table.
    """
    listed = set(pair_ids(_read(layout.pairs, IDS)))
    for shard, rows in pairs.groupby(pair_shards(pairs, shards)):
        path = layout.pair_shard(shard)
        rows = rows.loc[rows.index.intersection(good.index), IDS].sort_values(IDS)
        rows = rows.assign(**{f"{column}_sidecar": rows[column].map(sidecars) for column in IDS})
        before = _read(path, [*rows, "times"])
        times = rows.merge(before, "left", IDS)["times"].fillna("0").astype(int)
        back = [pair not in listed for pair in pair_ids(rows)]
        rows["times"] = (times + back).astype(str).to_numpy()
        write_table(path, rows if len(rows.merge(before)) < len(rows) or before.empty else before)


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of a table of an earlier run; no rows where it is missing or damaged, or lacks one of them."""
    try:
        return read_table(path, columns)[columns]
    except UserError:
        return pd.DataFrame(columns=columns, dtype=str)


def _index(layout: Layout, images: pd.DataFrame, shards: int) -> pd.DataFrame:
    """The rows of these images in the shards' indices, which keep images that were removed from the table."""
    tables = []
    for shard in sorted({shard_of(image_id, shards=shards) for image_id in images["image_id"]}):
        path = layout.image_shard(shard)
        tables.append(read_table(path, INDEX, f"`cohortreg preprocess` for shard {shard}")[INDEX])
        running().reads(path)
    index = pd.concat(tables, ignore_index=True)
    index = index[index["image_id"].isin(images["image_id"])]
    if unknown := {*images["image_id"]} - {*index["image_id"]}:
        raise UserError(
            f"{layout.root} has no image '{min(unknown)}'; run `cohortreg preprocess` on this table again."
        )
    return index
