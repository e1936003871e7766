"""Import of a folder in the layout of the Medical Segmentation Decathlon (Antonelli et al., 2022)."""

from pathlib import Path
from typing import Any

from cohortreg.errors import UserError
from cohortreg.importers.additions import place
from cohortreg.importers.dataset_json import entries, image_name, read_dataset
from cohortreg.importers.folders import (
    Say,
    can_be_listed,
    exists,
    few,
    fits_a_table,
    images_below,
    left_out,
    silent,
)
from cohortreg.importers.found import Found, image_row, image_table


def import_msd(folder: Path, say: Say = silent) -> Found:
    """Read the labelled images of `dataset.json`, with paths relative to `folder`.

    Only what is on disk is listed: an image, with its label where dataset.json names one; before any is, all of them.
    Every image is a subject of its own, named after its file; blanks in it become underscores. The dataset's own
    unlabelled test images are left out: nothing could be measured on them.

    Raises:
        UserError: dataset.json is missing or malformed.
    """
    folder = Path(folder)
    source = folder / "dataset.json"
    content = read_dataset(source)
    rows = [
        image_row(image_name(entry["image"]), entry["image"], entry["label"])
        for entry in entries(source, content, "training", ("image",), ("label",))
    ]
    named = [row for row in rows if _has_name(row)]
    if not named:
        raise UserError(f'{source} lists no image under "training"; give the folder of a whole dataset.')
    present = [row for row in named if all(exists(folder / path) for path in _paths(row))]
    if not present:
        say(
            f"{folder} has no image of dataset.json together with its label (the first should be "
            f"{few([named[0]['image']])}); the tables list all of them, download them before a run."
        )
    images = image_table(present or named, source)
    for sentence in _not_used(folder, content, rows, set(images["image"])):
        say(sentence)
    return Found(images, folder)


def _paths(row: dict[str, str]) -> list[str]:
    return [row[what] for what in ("image", "label") if row[what]]


def _has_name(row: dict[str, str]) -> bool:
    return can_be_listed(row["image_id"], *_paths(row))


def _not_used(folder: Path, content: dict[str, Any], rows: list[dict[str, str]], used: set[str]) -> list[str]:
    """Sentences about what the dataset lists or its folder holds and no row has, and about images of many channels."""
    odd = [row["image"] for row in rows if not _has_name(row)]
    missing = [row["image"] for row in rows if _has_name(row) and row["image"] not in used]
    unlabelled = [entry["image"] for entry in entries(folder / "dataset.json", content, "test", ("image",))]
    listed = [path for row in rows for path in _paths(row)] + unlabelled
    known = {place(folder, path) for path in listed if fits_a_table(path)}
    more = [path for path in images_below(folder) if place(folder, path) not in known]
    absent = "listed in dataset.json, but the image or its label is not in the folder"
    sentences = [
        *left_out(odd, "image", "the name is hidden, too long, or has characters that a table cannot store"),
        *left_out(missing, "image", absent),
        *left_out(unlabelled, "image", 'listed under "test", without labels'),
        *left_out(more, "file", "not listed in dataset.json"),
    ]
    channels = content.get("modality") or content.get("channel_names")
    if isinstance(channels, dict | list) and len(channels) > 1:
        names = channels.values() if isinstance(channels, dict) else channels
        sentences.append(
            f"dataset.json says that every image has {len(channels)} channels ({few([str(name) for name in names])}); "
            "images of one are registered: save it as a 3D file under the image's name, else the image is left out."
        )
    return sentences
