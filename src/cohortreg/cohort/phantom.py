"""The embedded cohort: its tables, and every raw image and label they name, from seeds and identifiers."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from cohortreg.cohort.additions import NOTHING, Before
from cohortreg.cohort.anatomy import anatomy
from cohortreg.cohort.dess import dess
from cohortreg.cohort.split import drawn
from cohortreg.config import expand_root
from cohortreg.errors import UserError
from cohortreg.files import digest_file, read_json, write_json
from cohortreg.images.io import Image, read_label, write_image


def phantom_tables(
    subjects: int, test: int, pairs: int, seed: int, name: str = "demo", before: Before = NOTHING
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of images and pairs for `subjects` knees, right and left in turn, `test` of them to test on.

    What is in the tables `before` stays, see `split.drawn`. Raises UserError where the test subjects do not make that
    many pairs.
    """
    numbered = [(f"{name}-{n:03d}", "right" if n % 2 else "left") for n in range(1, subjects + 1)]
    images = pd.DataFrame(
        [
            {
                "image_id": f"{subject}-{side}",
                "subject_id": subject,
                "side": side,
                "split": "train",
                "image": f"images/{subject}-{side}.nii.gz",
                "label": f"labels/{subject}-{side}.nii.gz",
            }
            for subject, side in numbered
        ],
        dtype=str,
    )
    return drawn(images, test, pairs, seed, before)


def make_phantoms(
    images: pd.DataFrame,
    output: Path,
    settings: Mapping,
    seed: int,
    report: Callable[[str], None] = lambda image_id: None,
) -> None:
    """Make every image and label that the table names, below `output`, the image_id serving as identifier.

    settings: the section `phantom` of the configuration. With `labels`, a folder, an image is made from the label map
    there that has the name of the row's label, which is copied; otherwise the anatomy is made as well, with `grid` and
    `spacing`, voxels and their size in millimetres, along right, anterior, superior. report: called after each image
    with its id. What is there already, made from the same seed and settings, is kept; a JSON beside each image says
    from which it was made.
    """
    for row in images.to_dict("records"):
        image_id = row["image_id"]
        if not row["label"]:
            raise UserError(f"image '{image_id}' needs a label's path to be made; fill it in.")
        image_path, label_path = output / row["image"], output / row["label"]
        made_from, label = _anatomy(row, settings, seed)
        note = image_path.with_name(f"{image_id}.json")
        present = note.exists() and image_path.exists() and label_path.exists()
        if not present or read_json(note) != made_from:
            note.unlink(missing_ok=True)
            made = label()
            write_image(label_path, made)
            write_image(image_path, dess(made, seed, image_id))
            write_json(note, made_from)
        report(image_id)


def _anatomy(row: Mapping[str, str], settings: Mapping, seed: int) -> tuple[dict, Callable[[], Image]]:
    """What a row's label map follows from, and a function that makes or reads it."""
    made_from = {"id": row["image_id"], "side": row["side"], "seed": seed}
    if "labels" in settings:
        path = expand_root(settings["labels"]) / Path(row["label"]).name
        if not path.is_file():
            raise UserError(f"{path} does not exist; correct phantom.labels, or set $COHORTREG_DATA.")
        return made_from | {"label_sha256": digest_file(path)}, partial(read_label, path)
    if not row["side"]:
        raise UserError(f"image '{row['image_id']}' needs a side to be made; fill it in.")
    grid, spacing = list(settings["grid"]), list(settings["spacing"])
    make = partial(anatomy, seed, row["image_id"], row["side"], grid, spacing)
    return made_from | {"grid": grid, "spacing": spacing}, make
