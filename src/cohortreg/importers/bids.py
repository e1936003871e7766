"""Import of a folder in the Brain Imaging Data Structure (BIDS; Gorgolewski et al., 2016)."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.images.io import read_grid
from cohortreg.importers.folders import Say, check_folder, fits_a_table, images_below, left_out, silent
from cohortreg.importers.found import Found, image_row, image_table

NAME = re.compile(r"(sub-[A-Za-z0-9+]+(?:_[A-Za-z0-9]+-[A-Za-z0-9+]+)*)_([A-Za-z0-9]+)\.nii(\.gz)?")
LABEL = "dseg"
#: Suffixes of what is derived from images, which are no images themselves.
DERIVED = (LABEL, "mask", "probseg", "defacemask")
#: What a label's name may have more than its image's, if it is to lie on that image's grid.
DESCRIBING = ("space", "label", "seg", "atlas", "desc")
SIDES = {"hemi-L": "left", "hemi-R": "right"}
DERIVATIVES = "derivatives"
#: Folders that BIDS keeps for files that are not in its layout.
FREE = ("sourcedata", "code", "stimuli", "phenotype")


class File(NamedTuple):
    """An image or label: its path relative to the folder, the name before its suffix, and the suffix."""

    path: str
    stem: str
    suffix: str

    @property
    def subject(self) -> str:
        """The subject's label, with its prefix, such as "sub-01"."""
        return self.stem.split("_")[0]

    @property
    def entities(self) -> frozenset[str]:
        """The parts of the name, such as sub-01 and run-2."""
        return frozenset(self.stem.split("_"))


def import_bids(folder: Path, say: Say = silent, suffix: str = "") -> Found:
    """Read sub-*/[ses-*/]anat/*_{suffix}.nii[.gz], with paths relative to `folder`.

    Every such file is an image, several of a subject and session too, and is named after its entities. For its label
    see `_labels`. The side is that of the entity hemi.

    Args:
        suffix: Of the images; empty for the only one that there is.

    Raises:
        UserError: There is no such image, the suffix has to be named, two images have one name, or two labels fit one
            image equally.
    """
    folder = Path(folder)
    check_folder(folder)
    paths = [path for path in images_below(folder) if path.split("/")[0] not in FREE]
    raw, other = _sorted([path for path in paths if path.split("/")[0] != DERIVATIVES])
    derived, other_derived = _sorted([path for path in paths if path.split("/")[0] == DERIVATIVES])
    present = [file for file in raw if file.suffix not in DERIVED]
    for sentence in _not_used(other):
        say(sentence)
    images = _of_suffix(folder, present, suffix)
    labels, sentences = _labels(folder, images, [file for file in derived if file.suffix == LABEL])
    unlike = [file for file in raw if file.suffix != images[0].suffix]
    no_labels = [file for file in derived if file.suffix != LABEL]
    for sentence in (
        *_of_other_suffix(unlike, "other suffixes"),
        *sentences,
        *_of_other_suffix(no_labels, f"derivatives that are not {LABEL}"),
        *_not_used(other_derived, "file of derivatives"),
    ):
        say(sentence)
    return Found(image_table([_row(file, labels) for file in images], folder), folder)


def _sorted(paths: Sequence[str]) -> tuple[list[File], dict[str, list[str]]]:
    """Images in subjects' anat folders, those without a session first, and by reason what is no such image."""
    files: list[File] = []
    other: dict[str, list[str]] = {}
    for path in sorted(paths, key=lambda path: (path.count("/"), path.split("/"))):
        *parents, name = path.split("/")
        match = NAME.fullmatch(name)
        if not parents or parents[-1] != "anat":
            why = "in no anat folder"
        elif not match:
            why = "the name is not BIDS' sub-LABEL_KEY-LABEL_SUFFIX.nii.gz with letters and digits in each LABEL"
        elif not _in_own_folder(parents[:-1], match[1].split("_")):
            why = "not in the folder of the subject and session that the name has"
        elif not fits_a_table(path):
            why = "a folder's name has characters that a table cannot store"
        else:
            files.append(File(path, match[1], match[2]))
            continue
        other.setdefault(why, []).append(path)
    return files, other


def _in_own_folder(parents: Sequence[str], entities: Sequence[str]) -> bool:
    """Whether a file is in the folder of its subject, or in that of one of the subject's sessions and not another's."""
    *above, last = parents or [""]
    if not last.startswith("ses-"):
        return last == entities[0]
    sessions = [entity for entity in entities if entity.startswith("ses-")]
    return above[-1:] == [entities[0]] and sessions in ([], [last])


def _not_used(other: Mapping[str, Sequence[str]], what: str = "file") -> list[str]:
    """Sentences about what is in a folder and no image in BIDS' layout."""
    return [sentence for why, paths in other.items() for sentence in left_out(paths, what, why)]


def _of_other_suffix(files: Sequence[File], what: str) -> list[str]:
    """A sentence with the number of files of each suffix."""
    counts = sorted(Counter(file.suffix for file in files).items())
    words = ", ".join(f"{number:,} {suffix}" for suffix, number in counts)
    return [f"Left out: {what} ({words})."] if counts else []


def _of_suffix(folder: Path, images: Sequence[File], suffix: str) -> list[File]:
    """The images of a suffix, or of the only one there is."""
    present = sorted({file.suffix for file in images})
    if not present:
        raise UserError(
            f"{folder} has no sub-*/anat/*.nii.gz, with or without ses-*; give a folder in BIDS layout."
        )
    if suffix and suffix not in present:
        raise UserError(f"{folder} has no images with suffix {suffix}, only with {', '.join(present)}.")
    if not suffix and len(present) > 1:
        raise UserError(f"{folder} has images with suffixes {', '.join(present)}; choose one with --suffix.")
    return [file for file in images if file.suffix == (suffix or present[0])]


def _labels(folder: Path, images: Sequence[File], labels: Sequence[File]) -> tuple[dict[str, str], list[str]]:
    """Stem of an image -> path of its label, and sentences about the labels that are of none.

    A label is of the image whose entities it has all of, of several of the one with the most, if it has no others than
    those of `DESCRIBING`, is in no other space than the image's own, and lies on the image's grid, where the headers of
    both can be read. Of several labels that with the fewest entities counts.
    """
    of_subject: dict[str, list[File]] = {}
    for file in images:
        of_subject.setdefault(file.subject, []).append(file)
    fitting: dict[str, list[File]] = {}
    other: dict[str, list[str]] = {}
    grid_of = cache(partial(_grid, folder))
    for label in labels:
        image, why = _image_of(label, of_subject.get(label.subject, []))
        grids = (grid_of(label), grid_of(image)) if image else (None, None)
        if grids[0] and grids[1] and not grids[0].matches(grids[1]):
            why = "on another grid than the image"
        if why or image is None:
            other.setdefault(why, []).append(label.path)
        else:
            fitting.setdefault(image.stem, []).append(label)
    chosen = {}
    for stem, several in fitting.items():
        first, *others = sorted(several, key=lambda label: len(label.entities))
        if others and len(others[0].entities) == len(first.entities):
            raise UserError(
                f"{folder} has two labels for '{stem}', {first.path} and {others[0].path}; move one elsewhere."
            )
        chosen[stem] = first.path
        if others:
            other.setdefault("beside one with fewer entities", []).extend(label.path for label in others)
    return chosen, _not_used(other, "label")


def _image_of(label: File, images: Sequence[File]) -> tuple[File | None, str]:
    """The image of its subject that a label is of by its name; else why it is of none."""
    candidates = [file for file in images if file.entities <= label.entities]
    if not candidates:
        return None, "of no image by name"
    image, *others = sorted(candidates, key=lambda file: -len(file.entities))
    if others and len(others[0].entities) == len(image.entities):
        return None, "several images have the same entities"
    more = dict(entity.partition("-")[::2] for entity in label.entities - image.entities)
    if more.get("space", "orig") not in ("orig", image.suffix):
        return None, "in another space than the image"
    if more.keys() - set(DESCRIBING):
        return None, "of no image by name"
    return image, ""


def _grid(folder: Path, file: File) -> Grid | None:
    """The grid of a file; None where its header cannot be read, which preprocessing will say."""
    try:
        return read_grid(folder / file.path).canonical()
    except (UserError, ValueError):
        return None


def _row(file: File, labels: Mapping[str, str]) -> dict[str, str]:
    """The row of images.tsv for one image."""
    side = next((side for entity, side in SIDES.items() if entity in file.entities), "")
    return image_row(file.stem, file.path, labels.get(file.stem, ""), file.subject, side)
