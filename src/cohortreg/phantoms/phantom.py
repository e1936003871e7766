"""The embedded cohort: its tables, and their raw images and labels, generated from seeds and identifiers."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from cohortreg.config import Phantom, expand_root
from cohortreg.digests import digest_file
from cohortreg.errors import UserError
from cohortreg.files import read_json, write_json
from cohortreg.images.image import Image
from cohortreg.images.io import read_label, write_image
from cohortreg.importers.found import Found, image_row, image_table
from cohortreg.phantoms.anatomy import anatomy
from cohortreg.phantoms.dess import dess
from cohortreg.provenance import running


def phantom_knees(subjects: int) -> Found:
    """Return images of `subjects` knees, one a subject, right and left in turn."""
    rows = []
    for number in range(1, subjects + 1):
        subject, side = f"demo-{number:03d}", "right" if number % 2 else "left"
        path = f"{subject}-{side}.nii.gz"
        rows.append(image_row(f"{subject}-{side}", f"images/{path}", f"labels/{path}", subject, side))
    return Found(image_table(rows, Path("demo")), None)


def make_phantoms(
    images: pd.DataFrame,
    output: Path,
    settings: Phantom,
    seed: int,
    report: Callable[[str], None] = lambda image_id: None,
) -> dict[str, str]:
    """Make every image and label that the table names, below `output`, the image_id serving as identifier.

    A JSON beside each image says what it was made from, and the SHA-256 of image and label. What is there already, made
    from the same seed and settings, is kept.

    Args:
        output: Folder that their paths start from.
        settings: The section `phantom` of the configuration. With `labels`, a folder, an image is made from the label
            map there that has the name of the row's label, which is copied; otherwise the anatomy is made as well, with
            `grid` and `spacing`, voxels and their size in millimetres, along right, anterior, superior.

    Returns:
        The SHA-256 of every file, by the table's path.

    Raises:
        UserError: A path leads out of `output`, or a file lies there that was not made here; nothing is written then.
    """
    rows = images.to_dict("records")
    for row in rows:
        _refuse_what_is_not_ours(row, output)
    made: dict[str, str] = {}
    for row in rows:
        made |= _make(row, output, settings, seed)
        report(row["image_id"])
    return made


def _note(row: Mapping[str, str], output: Path) -> Path:
    """The JSON record of what an image and its label were generated from."""
    return (output / row["image"]).with_name(f"{row['image_id']}.json")


def _refuse_what_is_not_ours(row: Mapping[str, str], output: Path) -> None:
    image_id = row["image_id"]
    if not row["label"]:
        raise UserError(f"image '{image_id}' needs the path of a label to be generated; fill it in.")
    note = _note(row, output)
    paths = {column: output / row[column] for column in ("image", "label")}
    for path in (*paths.values(), note):
        if not path.resolve().is_relative_to(output.resolve()):
            raise UserError(
                f"image '{image_id}': {path} leads out of {output}; generated images lie below it."
            )
    record = read_json(note) if note.is_file() else {}
    for column, path in paths.items():
        if not os.path.lexists(path):
            continue
        ours = record.get("id") == image_id and path.is_file() and not path.is_symlink()
        # Of earlier versions, and of what was interrupted, there is none.
        recorded = record.get(f"{column}_made")
        if not ours or (recorded and recorded != digest_file(path)):
            raise UserError(
                f"{path} already exists and was not generated here; move it elsewhere, or, where images are real, set "
                "`phantom: null`."
            )


def _make(row: Mapping[str, str], output: Path, settings: Phantom, seed: int) -> dict[str, str]:
    """Make an image and its label unless they are there; return the SHA-256 of both, by the table's path."""
    image_path, label_path, note = output / row["image"], output / row["label"], _note(row, output)
    made_from, label = _anatomy(row, settings, seed)
    record = read_json(note) if note.is_file() else {}
    present = image_path.is_file() and label_path.is_file()
    if not present or any(record.get(key) != value for key, value in made_from.items()):
        # First, so that what an interrupted run leaves is known as ours.
        write_json(note, {"id": row["image_id"]})
        label_map = label()
        write_image(label_path, label_map)
        write_image(image_path, dess(label_map, seed, row["image_id"]))
    digests = {"image_made": running().reads(image_path), "label_made": running().reads(label_path)}
    if record != made_from | digests:
        write_json(note, made_from | digests)
    return {row["image"]: digests["image_made"], row["label"]: digests["label_made"]}


def _anatomy(
    row: Mapping[str, str], settings: Phantom, seed: int
) -> tuple[dict[str, Any], Callable[[], Image]]:
    """What a row's label map follows from, and a function that makes or reads it."""
    made_from = {"id": row["image_id"], "side": row["side"], "seed": seed}
    if settings.labels:
        path = expand_root(settings.labels) / Path(row["label"]).name
        if not path.is_file():
            raise UserError(f"{path} does not exist; correct phantom.labels, or set $COHORTREG_DATA.")
        return made_from | {"label_sha256": running().reads(path)}, partial(read_label, path)
    if not row["side"]:
        raise UserError(f"image '{row['image_id']}' needs a side to be generated; fill it in.")
    grid, spacing = settings.grid, settings.spacing
    assert grid and spacing  # as it has no labels
    make = partial(anatomy, seed, row["image_id"], row["side"], grid, spacing)
    return made_from | {"grid": grid, "spacing": spacing}, make
