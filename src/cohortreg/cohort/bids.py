"""Import of a folder in the Brain Imaging Data Structure (BIDS; Gorgolewski et al., 2016)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cohortreg.cohort.split import choose_test_subjects, draw_pairs
from cohortreg.errors import UserError

NAME = re.compile(r"(sub-[A-Za-z0-9]+(?:_[A-Za-z0-9]+-[A-Za-z0-9+]+)*)_([A-Za-z0-9]+)\.nii(\.gz)?")
LABEL = "dseg"
SIDES = {"hemi-L": "left", "hemi-R": "right"}


class File(NamedTuple):
    """An image or label: its path relative to the folder, the name before its suffix, and the suffix."""

    path: str
    stem: str
    suffix: str

    @property
    def entities(self) -> frozenset[str]:
        """The parts of the name, such as sub-01 and run-2."""
        return frozenset(self.stem.split("_"))


def import_bids(
    folder: Path, suffix: str, test_fraction: float, pairs: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of images and pairs of sub-*/[ses-*/]anat/*_{suffix}.nii[.gz], with paths relative to `folder`.

    Every such file is an image, several of a subject and session too, and is named after its entities. Its label is the
    file *_dseg.nii[.gz] in an anat folder below derivatives that has all of its entities and the fewest others; a label
    that fits several images is of the one with the most. The side is that of the entity hemi. suffix: empty for the
    only one that there is. `test_fraction` of the subjects, at least one, are test subjects; `pairs` pairs are drawn
    among those.

    Raises UserError where there is no such image, the suffix has to be named, two images have one name, a label is not
    certain, or there are not as many pairs.
    """
    folder = Path(folder)
    images = [file for file in _files(folder, folder) if file.suffix != LABEL]
    images = _of_suffix(folder, images, suffix)
    labels = _labels(folder, images)
    table = pd.DataFrame([_row(file, labels) for file in images], dtype=str)
    twice = table["image_id"][table["image_id"].duplicated()]
    if not twice.empty:
        raise UserError(f"{folder} has two images '{twice.iloc[0]}'; remove one.")
    count = max(1, round(test_fraction * table["subject_id"].nunique()))
    tested = table["subject_id"].isin(choose_test_subjects(table["subject_id"], count, seed))
    table["split"] = tested.map({True: "test", False: "train"})
    return table, draw_pairs(table[tested], pairs, seed)


def _files(folder: Path, start: Path) -> Iterator[File]:
    """The files in subjects' anat folders right below `start`, in the order of their paths."""
    for pattern in ("sub-*/anat/*", "sub-*/ses-*/anat/*"):
        for path in sorted(start.glob(pattern)):
            if match := NAME.fullmatch(path.name):
                yield File(path.relative_to(folder).as_posix(), match[1], match[2])


def _of_suffix(folder: Path, images: Sequence[File], suffix: str) -> list[File]:
    """The images of a suffix, or of the only one there is."""
    present = sorted({file.suffix for file in images})
    if not present:
        raise UserError(
            f"{folder} has no sub-*/anat/*.nii.gz, with or without ses-*; give a folder in BIDS' layout."
        )
    if suffix and suffix not in present:
        raise UserError(f"{folder} has no images of suffix {suffix}, but of {', '.join(present)}.")
    if not suffix and len(present) > 1:
        raise UserError(f"{folder} has images of {', '.join(present)}; name one of them with --suffix.")
    return [file for file in images if file.suffix == (suffix or present[0])]


def _labels(folder: Path, images: Sequence[File]) -> dict[str, str]:
    """Stem of an image -> path of its label."""
    fitting: dict[str, list[File]] = {}
    of_subject: dict[str, list[File]] = {}
    for file in images:
        of_subject.setdefault(file.stem.split("_")[0], []).append(file)
    for label in _derived_labels(folder):
        candidates = of_subject.get(label.stem.split("_")[0], [])
        candidates = [file for file in candidates if file.entities <= label.entities]
        if candidates:
            image = max(candidates, key=lambda file: len(file.entities))
            fitting.setdefault(image.stem, []).append(label)
    chosen = {}
    for stem, several in fitting.items():
        first, *others = sorted(several, key=lambda label: len(label.entities))
        if others and len(others[0].entities) == len(first.entities):
            raise UserError(
                f"{folder} has two labels for '{stem}', {first.path} and {others[0].path}; move one elsewhere."
            )
        chosen[stem] = first.path
    return chosen


def _derived_labels(folder: Path) -> Iterator[File]:
    """Every label in a subject's anat folder at any depth below derivatives."""
    starts = {path.parent for path in (folder / "derivatives").rglob("sub-*") if path.is_dir()}
    for start in sorted(starts):
        yield from (file for file in _files(folder, start) if file.suffix == LABEL)


def _row(file: File, labels: Mapping[str, str]) -> dict[str, str]:
    """The row of images.tsv for one image."""
    return {
        "image_id": file.stem,
        "subject_id": file.stem.split("_")[0],
        "side": next((side for entity, side in SIDES.items() if entity in file.entities), ""),
        "split": "",
        "image": file.path,
        "label": labels.get(file.stem, ""),
    }
