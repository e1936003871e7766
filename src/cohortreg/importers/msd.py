"""Import of a folder in the layout of the Medical Segmentation Decathlon (Antonelli et al., 2022)."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from cohortreg.errors import UserError
from cohortreg.importers.additions import NOTHING, Before, place
from cohortreg.importers.folders import (
    Say,
    exists,
    few,
    fits_a_table,
    identifier,
    images_below,
    is_identifier,
    left_out,
    repeated,
    silent,
)
from cohortreg.importers.split import drawn


def import_msd(
    folder: Path,
    test_fraction: float,
    pairs: int,
    seed: int,
    before: Before = NOTHING,
    say: Say = silent,
    validation_fraction: float = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of images and pairs from `dataset.json`'s labelled images, with paths relative to `folder`.

    Only what is on disk is listed: an image, with its label where dataset.json names one; before any is, all of them.
    Every image is a subject of its own, named after its file; blanks in it become underscores. `test_fraction` of them,
    at least one, are test subjects, and `validation_fraction` validation subjects; `pairs` pairs are drawn among the
    test subjects; what is in the tables `before` stays, see `split.drawn`. The dataset's own unlabelled test images are
    left out: nothing could be measured on them. say: called with a sentence for each kind of file that is not used.

    Raises UserError where dataset.json is missing or malformed, or there are not as many pairs.
    """
    folder = Path(folder)
    source = folder / "dataset.json"
    content = _content(source)
    rows = [_row(source, number, entry) for number, entry in enumerate(content["training"], start=1)]
    named = [row for row in rows if _has_name(row)]
    if not named:
        raise UserError(f'{source} lists no image under "training"; give the folder of a whole dataset.')
    there = [row for row in named if all(exists(folder / path) for path in _paths(row))]
    if not there:
        say(
            f"{folder} has no image of dataset.json together with its label (the first should be "
            f"{few([named[0]['image']])}); the tables list all of them, download them before a run."
        )
    images = pd.DataFrame(there or named, dtype=str)
    if twice := repeated(images["image_id"]):
        raise UserError(f"{source} lists the image '{twice}' twice under \"training\"; remove or rename one.")
    for sentence in _not_used(folder, content, rows, images):
        say(sentence)
    subjects = len(images)
    tested, validation = (round(fraction * subjects) for fraction in (test_fraction, validation_fraction))
    return drawn(images, tested, pairs, seed, before, folder, validation)


def _content(source: Path) -> dict:
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
    given = entry if isinstance(entry, dict) else {"image": entry}
    for what in ("image", "label"):
        path = given.get(what)
        if not (isinstance(path, str) and path.strip()) and (path or what == "image"):
            raise UserError(
                f'{source}, entry {number} under "training" has no "{what}" that is a path; correct it.'
            )
    image = _path(source.parent, given["image"])
    name = PurePosixPath(image).name.removesuffix(".gz").removesuffix(".nii")
    return {
        "image_id": identifier(name),
        "subject_id": identifier(name),
        "side": "",
        "split": "",
        "image": image,
        "label": _path(source.parent, given["label"]) if given.get("label") else "",
    }


def _path(folder: Path, given: str) -> str:
    """A path as tables have it; Windows' separators count where no file is called so."""
    if "\\" in given and not exists(folder / given):
        given = given.replace("\\", "/")
    return str(PurePosixPath(given))


def _paths(row: dict[str, str]) -> list[str]:
    return [row[what] for what in ("image", "label") if row[what]]


def _has_name(row: dict[str, str]) -> bool:
    """Whether a row's name and paths can stand in a table."""
    return is_identifier(row["image_id"]) and all(map(fits_a_table, _paths(row)))


def _not_used(folder: Path, content: dict, rows: Sequence[dict[str, str]], images: pd.DataFrame) -> list[str]:
    """Sentences about what the dataset lists or its folder holds and no row has, and about images of many channels."""
    used = set(images["image"])
    odd = [row["image"] for row in rows if not _has_name(row)]
    missing = [row["image"] for row in rows if _has_name(row) and row["image"] not in used]
    test = content.get("test")
    unlabelled = [str(entry.get("image") if isinstance(entry, dict) else entry) for entry in _list(test)]
    listed = [path for row in rows for path in _paths(row)] + [_path(folder, entry) for entry in unlabelled]
    known = {place(folder, path) for path in listed if fits_a_table(path)}
    more = [path for path in images_below(folder) if place(folder, path) not in known]
    said = [
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
        said.append(
            f"dataset.json says that every image has {len(channels)} channels ({few([str(name) for name in names])}); "
            "images of one are registered: save it as a 3D file under the image's name, else the image is left out."
        )
    return said


def _list(value: object) -> list:
    return value if isinstance(value, list) else []
