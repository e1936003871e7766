"""Import of the published lists of pairs of knees of the Osteoarthritis Initiative (OAI)."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from cohortreg.cohort.tables import PUBLISHED, read_images
from cohortreg.errors import UserError
from cohortreg.importers.folders import Say, few, fits_a_table, silent
from cohortreg.importers.found import Found, image_row

# The published name of a file: subject, day, protocol, side, barcode, and what it is.
NAME = re.compile(r"(\d+)_(\d{8})_\w*?(LEFT|RIGHT)_(\d+)_(.+)\.nii\.gz")
FILES = ("image", "label")
#: Table of files that are not there.
MISSING = "missing.tsv"


class Scan(NamedTuple):
    """A scan of a knee; two of one knee and day differ by their barcode."""

    subject: str
    visit: str
    side: str
    barcode: str


class Entry(NamedTuple):
    """What a line of a list says of one of its images: the scan, and the names of its files."""

    scan: Scan
    image: str
    label: str


#: Paths below root of a scan's image and label, empty where there is none.
Find = Callable[[Entry], tuple[str, str]]


def import_oai_split(
    lists: Sequence[Path],
    say: Say = silent,
    root: Path = Path("resources/oai"),
    images: Path | None = None,
    as_published: bool = False,
) -> Found:
    """Read published lists, whose lines are the paths of moving image, fixed image, moving and fixed label.

    Of the paths the names count; files of these names are looked up below root, or in a table of images. "test" or
    "train" in a list's name is the split of its images, and one of both is to train on. The pairs are those of the test
    lists or, without any, of all.

    The images have more columns visit (YYYYMMDD) and barcode (12 digits), the pairs set if as_published, missing.tsv
    image_id, file (image or label), name. A missing image keeps its published name; a missing label is left empty.

    Args:
        root: Folder below which the images are.
        images: Table of an archive's images, with a column visit and where known barcode.
        as_published: Keep repeated pairs and images with themselves, as rows of set `PUBLISHED`.

    Raises:
        UserError: The root, a list or the archive's table cannot be used.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} does not exist; name the folder that the images are in with --root.")
    # Test lists first: where files of a scan differ between lists, those count that Dice is to be measured with.
    read = {path: read_list(path) for path in sorted(lists, key=lambda path: split_of(path) != "test")}
    scans, splits, differ = _scans(read)
    ids = image_ids(scans)
    find = _in_archive(images, root) if images else _below(root)
    table, missing = _images(scans, splits, ids, find, root)
    paired = [path for path in read if split_of(path) == "test"] or read
    rows = [[ids[entry.scan] for entry in pair] for path in paired for pair in read[path]]
    pairs, sentences = _pairs(pd.DataFrame(rows, columns=["moving", "fixed"], dtype=str), as_published)
    both = sum({"test", "train"} <= several for several in splits.values())
    if both:
        sentences.append(f"Images of both test and training lists: {both:,}; their split is train.")
    if differ:
        sentences.append(
            f"Images with other files in another list: {differ:,}; the first, of test lists, is kept."
        )
    for sentence in [*sentences, *_missing_in_words(missing, root)]:
        say(sentence)
    return Found(table, root, pairs, others={MISSING: missing}, lists_missing=True)


def split_of(path: Path) -> str:
    """Return the split of a list's images, by the list's name."""
    return next((split for split in ("train", "test") if split in Path(path).name.lower()), "")


def read_list(path: Path) -> list[tuple[Entry, Entry]]:
    """Return the pairs of a list, moving and fixed.

    Raises:
        UserError: One sentence that names the line that cannot be read.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist; name a published list of pairs.")
    pairs = []
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.split("\n"), start=1):
        paths = line.split()
        if not paths:
            continue
        if len(paths) != 4:
            raise UserError(
                f"{path}, line {number} has {len(paths)} paths and not 4 (moving image, fixed image, moving label, "
                "fixed label); correct it."
            )
        names = [PurePosixPath(path).name for path in paths]
        try:
            pairs.append((_entry(names[0], names[2]), _entry(names[1], names[3])))
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}; correct it.") from None
    if not pairs:
        raise UserError(f"{path} lists no pair; name a published list of pairs.")
    return pairs


def _entry(image: str, label: str) -> Entry:
    """The entry of two names.

    Raises:
        ValueError: They are not those of an image and of a label of its scan.
    """
    match = NAME.fullmatch(image)
    if match is None or match[5] != "image":
        raise ValueError(f"'{image}' is not SUBJECT_YYYYMMDD_..._LEFT or RIGHT_BARCODE_image.nii.gz")
    labelled = NAME.fullmatch(label)
    if labelled is None or _scan(labelled) != _scan(match):
        raise ValueError(f"'{label}' is not named as a label of '{image}'")
    return Entry(_scan(match), image, label)


def _scan(match: re.Match[str]) -> Scan:
    subject, visit, side, barcode = match.groups()[:4]
    return Scan(subject, visit, side.lower(), full_barcode(barcode))


def full_barcode(barcode: str) -> str:
    """Return all 12 digits of a barcode, which lists also have without its first zero or by its last 8 digits alone.

    Seven scans of the test list are in the training list by their last 8.
    """
    return f"0166{barcode}" if len(barcode) == 8 else barcode.zfill(12)


def image_ids(scans: Collection[Scan]) -> dict[Scan, str]:
    """Scan -> {subject}_{visit}_{side}, and the barcode behind it for scans that would share a name.

    Of the published lists that is two of two scans, each in the training list: whatever lists are imported together,
    a scan has the same name.
    """
    names = {scan: "_".join(scan[:3]) for scan in scans}
    counts = Counter(names.values())
    return {scan: name if counts[name] == 1 else f"{name}_{scan.barcode}" for scan, name in names.items()}


def _scans(
    read: dict[Path, list[tuple[Entry, Entry]]],
) -> tuple[dict[Scan, Entry], dict[Scan, set[str]], int]:
    """Of each scan its first entry, and the splits of its lists; and how many have entries that differ."""
    first: dict[Scan, Entry] = {}
    splits: dict[Scan, set[str]] = defaultdict(set)
    differ: set[Scan] = set()
    for path, pairs in read.items():
        for entry in (entry for pair in pairs for entry in pair):
            splits[entry.scan].add(split_of(path))
            if first.setdefault(entry.scan, entry) != entry:
                differ.add(entry.scan)
    return first, splits, len(differ)


def _images(
    scans: dict[Scan, Entry], splits: dict[Scan, set[str]], ids: dict[Scan, str], find: Find, root: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of images and that of missing files."""
    images: list[dict[str, str]] = []
    missing: list[tuple[str, str, str]] = []
    for scan, entry in scans.items():
        paths = [path if path and (root / path).exists() else "" for path in find(entry)]
        named = zip(FILES, (entry.image, entry.label), paths, strict=True)
        missing += [(ids[scan], what, name) for what, name, path in named if not path]
        split = next(split for split in ("train", "test", "") if split in splits[scan])
        row = image_row(ids[scan], paths[0] or entry.image, paths[1], scan.subject, scan.side, split)
        images.append(row | {"visit": scan.visit, "barcode": scan.barcode})
    columns = ["image_id", "file", "name"]
    return pd.DataFrame(images, dtype=str), pd.DataFrame(missing, columns=columns, dtype=str)


def _below(root: Path) -> Find:
    """Finds a scan's files anywhere below a folder: those of the published names or, failing that, another's."""
    there: dict[tuple[str, Scan], dict[str, str]] = defaultdict(dict)
    for folder, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        for match in filter(None, map(NAME.fullmatch, sorted(names))):
            what = "image" if match[5] == "image" else "label"
            path = (Path(folder) / match[0]).relative_to(root).as_posix()
            if fits_a_table(path):
                there[what, _scan(match)].setdefault(match[0], path)

    def find(entry: Entry) -> tuple[str, str]:
        image, label = (there.get((what, entry.scan), {}) for what in FILES)
        return (
            image.get(entry.image) or next(iter(image.values()), ""),
            label.get(entry.label) or next(iter(label.values()), ""),
        )

    return find


def _in_archive(path: Path, root: Path) -> Find:
    """Finds a scan's files by an archive's table of images; a row without barcode is any scan of its knee and day.

    Raises UserError where the table lacks visits, or starts from another folder than root.
    """
    table = read_images(path)
    if "visit" not in table:
        raise UserError(f"{path} has no column visit; name the table that `cohortreg import oai` wrote.")
    if not any((root / image).exists() for image in table["image"]):
        raise UserError(
            f"none of the images in {path} is below {root}; --root is the folder that `cohortreg import oai` was given."
        )
    there: dict[tuple[str, ...], tuple[str, str]] = {}
    for row in table.to_dict("records"):
        barcode = full_barcode(row["barcode"]) if row.get("barcode") else ""
        scan = (row["subject_id"], row["visit"], row["side"], barcode)
        there.setdefault(scan, (row["image"], row["label"]))
    return lambda entry: there.get(entry.scan) or there.get((*entry.scan[:3], ""), ("", ""))


def _pairs(pairs: pd.DataFrame, as_published: bool) -> tuple[pd.DataFrame, list[str]]:
    """The table of pairs, and what became of rows that only a published list has."""
    itself = pairs["moving"] == pairs["fixed"]
    extra = pairs.duplicated() | itself
    counts = f"Pairs that stand again: {(extra & ~itself).sum():,}; images paired with themselves: {itself.sum():,}"
    if as_published:
        sentence = f"{counts}; they have set {PUBLISHED}."
        pairs = pairs.assign(set=extra.map({True: PUBLISHED, False: ""}))
    else:
        sentence = f"{counts}; they are left out, --as-published keeps them."
        pairs = pairs[~extra]
    return pairs, [sentence] if extra.any() else []


def _missing_in_words(missing: pd.DataFrame, root: Path) -> list[str]:
    """How many files are not there, and the first of them."""
    if missing.empty:
        return []
    images, labels = (int(missing["file"].eq(what).sum()) for what in FILES)
    names = few(missing["name"].tolist())
    return [
        f"Not below {root}: {images:,} images and {labels:,} labels ({names}), all of them in missing.tsv. "
        "Preprocessing leaves out an image without its file, and says so; one without a label has no Dice."
    ]
