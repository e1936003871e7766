"""Preprocessing of a shard of images, and collection of the usable cohort afterwards."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from cohortreg.cohort.ratings import rated_out
from cohortreg.cohort.shards import pair_shards, row_digest, shard_of
from cohortreg.cohort.sidecars import read_sidecar, write_sidecar
from cohortreg.cohort.tables import (
    leak_warnings,
    read_images,
    read_pairs,
    read_table,
    require_training,
    write_table,
)
from cohortreg.cohort.training_sets import assign_training_sets, image_digest, trained_on
from cohortreg.config import Shards
from cohortreg.digests import digest
from cohortreg.errors import BadImage, UserError
from cohortreg.files import write_json
from cohortreg.images.io import write_image
from cohortreg.images.preprocess import Settings, preprocess, read_labelled
from cohortreg.inputs import check_whole
from cohortreg.layout import Layout
from cohortreg.places import require_root
from cohortreg.provenance import running

INDEX = ["image_id", "status", "reason", "sidecar", "digest", "row"]
#: What other commands look up in a sidecar, beside what the image was made from.
SIDECAR = ("mirrored", "field_of_view", "source_shape", "source_affine", "to_source")
Structures = Mapping[str, Sequence[int]]


def shard_rows(images: pd.DataFrame, shard: int, shards: int) -> pd.DataFrame:
    """The rows of `images` that belong to a shard (from 0)."""
    return images[[shard_of(image_id, shards=shards) == shard for image_id in images["image_id"]]]


def preprocess_shard(
    layout: Layout,
    rows: pd.DataFrame,
    root: Path,
    settings: Settings,
    structures: Structures,
    fail: bool = False,
    report: Callable[[str, str], None] = lambda image_id, reason: None,
) -> pd.DataFrame:
    """Preprocess the images in `rows`; one that cannot be used is excluded and the others go on.

    An image is excluded for what its files are (`BadImage`). A full disk, or any other fault of the machine, stops the
    shard instead, which goes on later.

    root: the folder that the table's paths start from.
    fail: stop at the first bad image instead; what was done before stays whole.
    report: called after each image with its id and the reason why it is excluded, or "".

    Returns the shard's index: image_id, status (ok or excluded), reason, sidecar (SHA-256 of the sidecar, so that
    the index changes when an image does), digest (see `image_digest`), row (see `row_digest`). Images that are there
    already, made from the same files with the same settings, are kept.
    """
    require_root(root)
    index = []
    for line, row in zip(rows.index, rows.to_dict("records"), strict=True):
        # Before it is read: a file that is replaced from here on must look changed.
        made_of, reason = row_digest(row, root), ""
        try:
            _preprocess_row(layout, row, root, settings, structures)
        except BadImage as error:
            if fail:
                raise UserError(f"image '{row['image_id']}' (row {line} of its table): {error}") from error
            reason = " ".join(str(error).split())  # a cell of a table
            _remove(layout, row["image_id"])
        report(row["image_id"], reason)
        sidecar = layout.sidecar(row["image_id"])
        made_from = "" if reason else image_digest(read_sidecar(layout, row["image_id"]))
        status = "excluded" if reason else "ok"
        index.append([row["image_id"], status, reason, _sha256(sidecar), made_from, made_of])
    return pd.DataFrame(index, columns=INDEX, dtype=str)


def _preprocess_row(
    layout: Layout, row: dict[str, str], root: Path, settings: Settings, structures: Structures
) -> None:
    """Preprocess one image and its label, unless that is done."""
    image_id = row["image_id"]
    image_path = root / row["image"]
    label_path = root / row["label"] if row["label"] else None
    for path in filter(None, (image_path, label_path)):
        check_whole(path)
    made_from = {  # as it reads back from JSON
        "image": row["image"],
        "image_sha256": _sha256(image_path),
        "label": row["label"],
        "label_sha256": _sha256(label_path),
        "side": row["side"],
        "settings": json.loads(json.dumps(asdict(settings))),
        "settings_digest": settings.digest,
        "structures": {name: list(values) for name, values in structures.items()},
    }
    if _is_done(layout, image_id, made_from):
        return
    image, label = read_labelled(image_path, label_path, structures)
    try:
        image, label, record = preprocess(image, label, row["side"], settings)
    except BadImage as error:
        raise BadImage(f"{image_path}: {error}") from error
    _remove(layout, image_id)
    write_image(layout.image(image_id), image)
    if label is not None:
        write_image(layout.label(image_id), label)
    write_sidecar(layout, image_id, made_from | record)  # last: it says that the others are there


def _sha256(path: Path | None) -> str:
    """SHA-256 of a file or a folder of slices; "" of what is not there."""
    return running().reads(path) if path is not None and path.exists() else ""


def _is_done(layout: Layout, image_id: str, made_from: dict) -> bool:
    """Whether the outputs are there and the sidecar says that they were made from the same input."""
    files = [layout.image(image_id)] + ([layout.label(image_id)] if made_from["label"] else [])
    if not all(path.exists() for path in files):
        return False
    try:
        sidecar = read_sidecar(layout, image_id)
    except UserError:
        return False
    return all(key in sidecar for key in SIDECAR) and all(
        sidecar.get(key) == value for key, value in made_from.items()
    )


def _remove(layout: Layout, image_id: str) -> None:
    """Delete the outputs of an earlier run, the sidecar first, so that none passes for this one's."""
    for path in (layout.sidecar(image_id), layout.image(image_id), layout.label(image_id)):
        path.unlink(missing_ok=True)


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
) -> dict:
    """Write the tables of the usable cohort: `images.tsv`, `pairs.tsv` and its shards, `excluded.tsv`, `cohort.json`.

    shards: how many of images and of pairs. models, retrain: see `assign_training_sets`. ratings_path, exclude_rated:
    which pairs are left out, see `rated_out`.

    Returns what `cohort.json` holds. Raises UserError where a shard's index is missing or of another table,
    or where no image or no pair is left.
    """
    images = read_images(images_path)
    pairs = read_pairs(pairs_path, images)
    for path in (images_path, pairs_path):
        running().reads(path)
    index = _index(layout, images, shards.images)
    reasons = {image_id: reason for image_id, status, reason, *_ in index if status == "excluded"}
    bad = images["image_id"].isin(reasons)
    excluded = [("image", image_id, reasons[image_id]) for image_id in images["image_id"][bad]]
    once = ~pairs.duplicated(["moving", "fixed"])
    rated, unknown = rated_out(ratings_path, exclude_rated, pairs)
    why = _pairs_left_out(pairs, reasons, rated)
    bad_pairs = pd.Series([pair in why for pair in _names(pairs)], pairs.index, dtype=bool)
    excluded += [("pair", " ".join(pair), reason) for pair, reason in why.items()]
    for what, every in (("image", bad), ("pair", bad_pairs)):
        if every.all():
            first = next(reason for kind, _, reason in excluded if kind == what)
            raise UserError(f"every {what} of {name} is excluded, the first of them because {first}")
    write_table(layout.excluded, pd.DataFrame(excluded, columns=["kind", "id", "reason"], dtype=str))
    good, good_pairs = images[~bad], pairs[~bad_pairs]
    sidecars = {image_id: sidecar for image_id, _, _, sidecar, *_ in index}
    digests = {image_id: made_from for image_id, _, _, _, made_from, _ in index}
    require_training(images_path, images, models)
    behind = assign_training_sets(layout, good, digests, models, retrain)
    leaks = leak_warnings(good, good_pairs, trained_on(layout, models))
    summary = {
        "name": name,
        "images": len(good),
        "train": int(good["split"].eq("train").sum()),
        "validation": int(good["split"].eq("validation").sum()),
        "test": int(good["split"].eq("test").sum()),
        "pairs": int((~bad_pairs & once).sum()),
        "excluded_images": int(bad.sum()),
        "excluded_pairs": int((bad_pairs & once).sum()),
        "warnings": [*leaks, *behind, *unknown],
        # Changes when an image does, so that what depends on the images is made again.
        "digest": digest(*(cell for row in index for cell in row[:-1])),
    }
    write_table(layout.images, good)
    # Before the table of pairs, which says which pairs were asked for until now.
    _write_pair_shards(layout, pairs[once], good_pairs, sidecars, shards.pairs)
    write_table(layout.pairs, good_pairs)
    write_json(layout.cohort, summary)
    return summary


def _names(pairs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Moving and fixed of each row."""
    return pairs[["moving", "fixed"]].itertuples(index=False, name=None)


def _pairs_left_out(
    pairs: pd.DataFrame, reasons: Mapping[str, str], rated: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str]:
    """(moving, fixed) -> why, of each pair that is left out.

    reasons: image -> why it is left out. rated: pair -> its rating in words, if that leaves it out.
    """
    why = {}
    for pair in _names(pairs):
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
    ids = ["moving", "fixed"]
    asked = set(_read(layout.pairs, ids).itertuples(index=False, name=None))
    for shard, rows in pairs.groupby(pair_shards(pairs, shards)):
        path = layout.pair_shard(shard)
        rows = rows.loc[rows.index.intersection(good.index), ids].sort_values(ids)
        rows = rows.assign(**{f"{column}_sidecar": rows[column].map(sidecars) for column in ids})
        before = _read(path, [*rows, "times"])
        times = rows.merge(before, "left", ids)["times"].fillna("0").astype(int)
        back = [pair not in asked for pair in rows[ids].itertuples(index=False, name=None)]
        rows["times"] = (times + back).astype(str).to_numpy()
        write_table(path, rows if len(rows.merge(before)) < len(rows) or before.empty else before)


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of a table of an earlier run.

    There are no rows where the table is missing or damaged, or lacks one of the columns.
    """
    try:
        return read_table(path, columns)[columns]
    except UserError:
        return pd.DataFrame(columns=columns, dtype=str)


def _index(layout: Layout, images: pd.DataFrame, shards: int) -> list[list[str]]:
    """The rows of these images in the shards' indices, which keep images that were removed from the table."""
    ids, index = set(images["image_id"]), []
    for shard in sorted({shard_of(image_id, shards=shards) for image_id in images["image_id"]}):
        path = layout.image_shard(shard)
        rows = read_table(path, INDEX, f"`cohortreg preprocess` for shard {shard}")[INDEX].values.tolist()
        running().reads(path)
        index += [row for row in rows if row[0] in ids]
    unknown = ids - {row[0] for row in index}
    if unknown:
        raise UserError(
            f"{layout.root} has no image '{min(unknown)}'; run `cohortreg preprocess` on this table again."
        )
    return index
