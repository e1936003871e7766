"""The dataset.json of the Medical Segmentation Decathlon and of Learn2Reg: lists of images, labels and pairs."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from cohortreg.errors import UserError
from cohortreg.importers.folders import exists, identifier


def read_dataset(source: Path) -> dict[str, Any]:
    """Read a dataset.json, which has a list under "training".

    Raises:
        UserError: It is missing or malformed.
    """
    content = read_description(source)
    if not isinstance(content.get("training"), list):
        raise UserError(f'{source} has no list "training"; give the folder of a whole dataset.')
    return content


def read_description(source: Path) -> dict[str, Any]:
    """Read a dataset.json of any kind; nnU-Net's lists no images.

    Raises:
        UserError: It is missing or malformed.
    """
    if not source.is_file():
        raise UserError(f"{source} does not exist; give the folder of a whole dataset.")
    try:
        content = json.loads(source.read_bytes())  # in UTF-8, 16 or 32, with a byte order mark or without
    except RecursionError as error:
        raise UserError(f"{source} is not valid JSON (nested too deep); download it again.") from error
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON ({error}); download it again.") from error
    return content if isinstance(content, dict) else {}


def entries(
    source: Path, content: dict[str, Any], name: str, needed: tuple[str, ...], more: tuple[str, ...] = ()
) -> list[dict[str, str]]:
    """Return the paths of every entry of a list, "" for what an entry does not have.

    Args:
        name: Of the list; one that is not there has no entries.
        needed: Keys of an entry; an entry may also be the path of its first alone.
        more: Keys that an entry may have.

    Raises:
        UserError: An entry lacks what it needs, or has what is no path.
    """
    listed = content.get(name)
    table = []
    for number, entry in enumerate(listed if isinstance(listed, list) else [], start=1):
        paths: dict[str, Any] = entry if isinstance(entry, dict) else {needed[0]: entry}
        for key in (*needed, *more):
            path = paths.get(key)
            if not (isinstance(path, str) and path.strip()) and (path or key in needed):
                raise UserError(
                    f'{source}, entry {number} under "{name}" has no "{key}" that is a path; correct it.'
                )
        table.append({key: _path(source.parent, paths.get(key) or "") for key in (*needed, *more)})
    return table


def image_name(path: str) -> str:
    """Make an image_id of an image's path."""
    return identifier(PurePosixPath(path).name.removesuffix(".gz").removesuffix(".nii"))


def _path(folder: Path, path: str) -> str:
    """A path as tables have it; Windows' separators count where no file is called so."""
    if "\\" in path and not exists(folder / path):
        path = path.replace("\\", "/")
    return str(PurePosixPath(path)) if path else ""
