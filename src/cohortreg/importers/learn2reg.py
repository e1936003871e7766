"""Import of a dataset of the Learn2Reg challenge (Hering et al., 2022)."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cohortreg.errors import UserError
from cohortreg.importers.dataset_json import entries, image_name, read_dataset
from cohortreg.importers.folders import Say, can_be_listed, check_folder, counted, exists, left_out, silent
from cohortreg.importers.found import Found, image_row, image_table

#: Lists of images in dataset.json, and the split of those in no evaluated pair.
IMAGES = {"training": "train", "validation": "validation", "test": "test"}
#: Lists of evaluated pairs: those of the first one that there is are the main set.
EVALUATED = ("registration_val", "registration_test")
TRAINED = "training_paired_images"
#: An image's name: data set and case, and which of the case's images it is.
NAME = re.compile(r"(.+)_\d{4}")
MORE = ("mask", "keypoints")


def import_learn2reg(folder: Path, say: Say = silent) -> Found:
    """Read the images and the pairs of dataset.json, with paths relative to `folder`.

    Images are those under training, validation and test, and those in pairs, which are on disk. Subjects with an image
    in a pair of registration_val or registration_test are for testing, all others for what their list says; images of
    one case, whose names differ in the last four digits, are of one subject. An image without a label has its mask for
    one. Further columns, mask and keypoints, have the paths of these files. Without evaluated pairs, splits and pairs
    are drawn.

    Args:
        folder: The one with dataset.json, or NAME_dataset.json.

    Raises:
        UserError: dataset.json is missing, malformed, or lists no image that is on disk.
    """
    check_folder(folder)
    source = dataset_file(folder)
    content = read_dataset(source)
    pairs = {name: entries(source, content, name, ("moving", "fixed")) for name in (*EVALUATED, TRAINED)}
    tested = {path for name in EVALUATED for pair in pairs[name] for path in pair.values()}
    subjects = {_subject(path) for path in tested}
    rows: dict[str, dict[str, str]] = {}
    missing, odd, unpaired = [], [], []
    for path, (split, files) in _images(source, content, pairs).items():
        files = {key: file for key, file in files.items() if file and exists(folder / file)}
        if not can_be_listed(image_name(path), path, *files.values()):
            odd.append(path)
        elif not exists(folder / path):
            missing.append(path)
        elif split == "test" and path not in tested:
            unpaired.append(path)
        else:
            label = files.get("label") or files.get("mask", "")
            split = "test" if _subject(path) in subjects else split
            row = image_row(image_name(path), path, label, _subject(path), split=split)
            rows[path] = row | {key: files.get(key, "") for key in MORE}
    for sentence in (
        *left_out(odd, "image", "the name is hidden, too long, or has characters that a table cannot store"),
        *left_out(missing, "image", f"listed in {source.name}, but not in the folder"),
        *left_out(unpaired, "image", 'listed under "test", and in no pair'),
    ):
        say(sentence)
    if not rows:
        raise UserError(f"{folder} has no image that {source.name} lists; download them first.")
    images = image_table([*rows.values()], source)
    images = images.drop(columns=[key for key in MORE if not images[key].any()])
    if trained := [pair for pair in pairs[TRAINED] if not tested & {*pair.values()}]:
        say(
            f"Not used: {counted(len(trained), 'pair')} under {TRAINED}; networks learn from pairs of training images "
            "drawn at random."
        )
    evaluated = _evaluated(pairs, rows)
    return Found(images, folder, evaluated) if len(evaluated) else Found(images.assign(split=""), folder)


def dataset_file(folder: Path) -> Path:
    """Return the path of a folder's dataset.json, which may also be called NAME_dataset.json."""
    named = sorted(folder.glob("*_dataset.json"))
    return named[0] if len(named) == 1 and not (folder / "dataset.json").exists() else folder / "dataset.json"


def is_learn2reg(content: Mapping[str, Any]) -> bool:
    """Whether the content of a dataset.json is that of a Learn2Reg dataset: it lists pairs, or says how images pair."""
    return any(key in content for key in (*EVALUATED, TRAINED, "pairings", "registration_direction"))


def _subject(path: str) -> str:
    match = NAME.fullmatch(image_name(path))
    return match[1] if match else image_name(path)


def _images(
    source: Path, content: dict[str, Any], pairs: Mapping[str, list[dict[str, str]]]
) -> dict[str, tuple[str, dict[str, str]]]:
    """Path of an image -> split of its list, and paths of its files; those in pairs alone are for training."""
    images: dict[str, tuple[str, dict[str, str]]] = {}
    for name, split in IMAGES.items():
        for files in entries(source, content, name, ("image",), ("label", *MORE)):
            images.setdefault(files.pop("image"), (split, files))
    for listed in pairs.values():
        for pair in listed:
            for path in pair.values():
                images.setdefault(path, ("train", {}))
    return images


def _evaluated(pairs: Mapping[str, list[dict[str, str]]], rows: Collection[str]) -> pd.DataFrame:
    """The evaluated pairs whose images are there, each once, those of a second list as a set of its name."""
    table: list[dict[str, str]] = []
    for name in EVALUATED:
        of_set = {"set": name if table else ""}
        there = [pair for pair in pairs[name] if all(path in rows for path in pair.values())]
        table += [{key: image_name(path) for key, path in pair.items()} | of_set for pair in there]
    columns = ["moving", "fixed", "set"]
    evaluated = pd.DataFrame(table, columns=columns, dtype=str).drop_duplicates(columns[:2])
    return evaluated if evaluated["set"].any() else evaluated[columns[:2]]
