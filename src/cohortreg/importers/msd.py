"""Import of a folder in the layout of the Medical Segmentation Decathlon (Antonelli et al., 2022)."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from cohortreg.errors import UserError
from cohortreg.importers.additions import place
from cohortreg.importers.folders import (
    Say,
    exists,
    few,
    fits_a_table,
    identifier,
    images_below,
    is_identifier,
    left_out,
    silent,
)
from cohortreg.importers.found import Found, image_row, image_table


def import_msd(folder: Path, say: Say = silent) -> Found:
    """Read the labelled images of `dataset.json`, with paths relative to `folder`.

    Only what is on disk is listed: an image, with its label where dataset.json names one; before any is, all of them.
    Every image is a subject of its own, named after its file; blanks in it become underscores. The dataset's own
    unlabelled test images are left out: nothing could be measured on them.

    Args:
        folder: The one with dataset.json.
        say: Called with a sentence for each kind of file that is not used.

    Raises:
        UserError: dataset.json is missing or malformed.
    """
    folder = Path(folder)
    source = folder / "dataset.json"
    content = _content(source)
    rows = [_row(source, number, entry) for number, entry in enumerate(content["training"], start=1)]
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
    for sentence in _not_used(folder, content, rows, images):
        say(sentence)
    return Found(images, folder)


def _content(source: Path) -> dict[str, Any]:
    """The content of dataset.json, which has a list under "training"."""
    if not source.is_file():
        raise UserError(
            f"{source} does not exist; give a folder in the Medical Segmentation Decathlon's layout."
        )
    try:
        content = json.loads(source.read_bytes())  # in UTF-8, 16 or 32, with a byte order mark or without
    except RecursionError as error:
        raise UserError(f"{source} is not valid JSON (nested too deep); download it again.") from error
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON ({error}); download it again.") from error
    if not isinstance(content, dict) or not isinstance(content.get("training"), list):
        raise UserError(
            f'{source} has no list "training"; it is not a Medical Segmentation Decathlon dataset.'
        )
    return content


def _row(source: Path, number: int, entry: object) -> dict[str, str]:
    """The row of images.tsv for one entry under "training": an image and its label, or an image's path alone."""
    paths: dict[str, Any] = entry if isinstance(entry, dict) else {"image": entry}
    for what in ("image", "label"):
        path = paths.get(what)
        if not (isinstance(path, str) and path.strip()) and (path or what == "image"):
            raise UserError(
                f'{source}, entry {number} under "training" has no "{what}" that is a path; correct it.'
            )
    image = _path(source.parent, paths["image"])
    name = PurePosixPath(image).name.removesuffix(".gz").removesuffix(".nii")
    label = _path(source.parent, paths["label"]) if paths.get("label") else ""
    return image_row(identifier(name), image, label)


def _path(folder: Path, path: str) -> str:
    """A path as tables have it; Windows' separators count where no file is called so."""
    if "\\" in path and not exists(folder / path):
        path = path.replace("\\", "/")
    return str(PurePosixPath(path))


def _paths(row: dict[str, str]) -> list[str]:
    return [row[what] for what in ("image", "label") if row[what]]


def _has_name(row: dict[str, str]) -> bool:
    """Whether a row's name and paths can stand in a table."""
    return is_identifier(row["image_id"]) and all(map(fits_a_table, _paths(row)))


def _not_used(
    folder: Path, content: dict[str, Any], rows: Sequence[dict[str, str]], images: pd.DataFrame
) -> list[str]:
    """Sentences about what the dataset lists or its folder holds and no row has, and about images of many channels."""
    used = set(images["image"])
    odd = [row["image"] for row in rows if not _has_name(row)]
    missing = [row["image"] for row in rows if _has_name(row) and row["image"] not in used]
    test = content.get("test")
    unlabelled = [str(entry.get("image") if isinstance(entry, dict) else entry) for entry in _list(test)]
    listed = [path for row in rows for path in _paths(row)] + [_path(folder, entry) for entry in unlabelled]
    known = {place(folder, path) for path in listed if fits_a_table(path)}
    more = [path for path in images_below(folder) if place(folder, path) not in known]
    sentences = [
        *left_out(odd, "image", "the name is hidden, too long, or has characters that a table cannot store"),
        *left_out(
            missing, "image", "listed in dataset.json, but the image or its label is not in the folder"
        ),
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


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
