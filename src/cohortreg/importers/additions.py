"""Additions of an import to the tables of a cohort: new lines below the existing ones, which stay to the byte.

People write into these tables, and results stand on them. So an import changes no line, moves no image to another
split, and removes nothing; run again, it adds nothing.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cohortreg.cohort.tables import PUBLISHED, read_images, read_pairs, refuse_other_separator
from cohortreg.errors import UserError
from cohortreg.files import whole
from cohortreg.importers.folders import ODD, counted, exists, few

LINE_END = re.compile("\r\n|\r|\n")
IMAGES, PAIRS = "images.tsv", "pairs.tsv"
COLUMNS = {
    IMAGES: ["image_id", "subject_id", "side", "split", "image", "label"],
    PAIRS: ["moving", "fixed"],
}


class Table:
    """A table as an import finds it.

    Attributes:
        header: The columns; none where it does not exist or is empty.
        rows: Cells that are not there are empty.
    """

    def __init__(self, path: Path):
        if os.path.lexists(path) and not path.is_file():
            raise UserError(f"{path} is not a file, or is a broken link; move it, or name another folder.")
        self.path, self.content = path, path.read_bytes() if path.is_file() else b""
        try:
            self.text = self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} is not UTF-8 text; save the table as tab-separated UTF-8 text, or name another folder."
            ) from error
        lines = [line.split("\t") for line in LINE_END.split(self.text) if line.strip()]
        self.header = lines[0] if lines else []
        empty = dict.fromkeys(self.header, "")
        self.rows = [empty | dict(zip(self.header, line, strict=False)) for line in lines[1:]]

    def require(self, columns: Sequence[str]) -> None:
        """Raise UserError where it has a header without some of the columns."""
        lacking = [column for column in columns if column not in self.header]
        if lacking and self.header:
            refuse_other_separator(self.path, self.header)
            raise UserError(
                f"{self.path} has no column {', '.join(lacking)}; add it to the first row (tabs separate columns), or "
                "name another folder."
            )

    def followed_by(self, lines: Sequence[Sequence[str]]) -> bytes:
        """Return its content with lines behind it, which end as its own do."""
        match = LINE_END.search(self.text)
        end = match[0] if match else "\n"
        start = end if lines and self.text and not self.text.endswith(("\n", "\r")) else ""
        return self.content + (start + "".join("\t".join(line) + end for line in lines)).encode()


class Before(NamedTuple):
    """A cohort's tables as an import finds them, without rows where there is no table."""

    images: pd.DataFrame
    pairs: pd.DataFrame


#: What tells a row from others.
Key = Callable[[Mapping[str, str]], object]
NOTHING = Before(*(pd.DataFrame(columns=COLUMNS[name], dtype=str) for name in (IMAGES, PAIRS)))


class Added(NamedTuple):
    """Both tables as they now are, how many rows of each are new, and what else to say, a sentence each."""

    images: pd.DataFrame
    pairs: pd.DataFrame
    new_images: int
    new_pairs: int
    sentences: list[str]


def read_before(folder: Path) -> Before:
    """Read the tables in a folder; whichever is missing or empty has no rows.

    Raises:
        UserError: One cannot be read.
    """
    tables = {}
    for name in (IMAGES, PAIRS):
        table = Table(folder / name)
        table.require(COLUMNS[name])
        columns = list(dict.fromkeys([*COLUMNS[name], *table.header]))
        tables[name] = pd.DataFrame(table.rows, columns=columns, dtype=str)
    if len(tables[IMAGES]):
        read_images(folder / IMAGES)
    return Before(tables[IMAGES], tables[PAIRS])


def recognised(images: pd.DataFrame, before: Before, folder: Path) -> pd.DataFrame:
    """Return imported images under the names that the cohort has for them.

    An image is there if its image_id is, or its file, under whatever id; it then has the table's image_id and
    subject_id. New images of a subject have the subject_id that the table has for the subject's others. Rows stay as
    many, so that two may have one name: that of a table's row whose file was changed by hand.

    Args:
        folder: Where relative paths of both start from.
    """
    rows = before.images.to_dict("records")
    by_id = {row["image_id"]: row for row in rows}
    by_place: dict[str, dict[str, str]] = {}
    for row in rows:
        by_place.setdefault(place(folder, row["image"]), row)
    known = [
        by_id.get(image_id) or by_place.get(place(folder, image))
        for image_id, image in zip(images["image_id"], images["image"], strict=True)
    ]
    subjects: dict[str, str] = {}
    for subject, row in zip(images["subject_id"], known, strict=True):
        if row:
            subjects.setdefault(subject, row["subject_id"])

    def of_table(column: str, imported: Sequence[str]) -> list[str]:
        return [row[column] if row else value for row, value in zip(known, imported, strict=True)]

    return images.assign(
        image_id=of_table("image_id", images["image_id"]),
        subject_id=of_table("subject_id", [subjects.get(name, name) for name in images["subject_id"]]),
    )


def place(folder: Path, path: str) -> str:
    """Return where a path of a table is, however it is spelt."""
    return os.path.normpath(folder.absolute() / path)


def add(
    output: Path,
    images: pd.DataFrame,
    pairs: pd.DataFrame,
    folder: Path | None = None,
    others: Mapping[str, pd.DataFrame] | None = None,
    lists_missing: bool = False,
) -> Added:
    """Add to the tables in `output` what an import found that is not there yet; all of it, or nothing.

    Args:
        images: As `recognised` returns them.
        pairs: Moving, fixed and, of further sets, set.
        folder: Where the images' paths start from; None where the files are yet to be made.
        others: Further tables by name, rows of which are there if all of their cells are.
        lists_missing: Whether one of these lists the files that are not there, of which nothing is said then.

    Raises:
        UserError: A table cannot be read or written, or what it would become is not one that the workflow reads; then
            none is changed.
    """
    others = others or {}
    there = {name: Table(output / name) for name in (IMAGES, PAIRS, *others)}
    before = read_before(output)
    for name, table in others.items():
        there[name].require(list(table.columns))
    sentences = _differing(images, before.images, folder or Path())
    changed, numbers = {}, {}
    for name, table in {IMAGES: images, PAIRS: pairs, **others}.items():
        merged, numbers[name], lost = merge(there[name], table, KEYS.get(name, _all_of(table)))
        sentences += lost
        if numbers[name]:
            changed[name] = merged
    _write(output, changed)
    now = read_before(output)
    sentences += _without_pairs(before, now)
    for name, table in others.items():
        sentences += _stale(there[name], table)
    if folder is not None and not lists_missing:
        sentences += _gone(now.images, folder)
    return Added(now.images, now.pairs, numbers[IMAGES], numbers[PAIRS], sentences)


def merge(there: Table, table: pd.DataFrame, key: Key) -> tuple[bytes, int, list[str]]:
    """Return a table's content with the rows that it lacks below its lines, their number, and what is lost of them.

    A row is there if another has its key; as often as the key stands there. Cells are put below the columns that the
    table has, and its line ends are used. Pairs of a set are not added where the table has no column for it: they would
    become pairs of the main set.
    """
    keys = Counter(map(key, there.rows))
    rows = []
    for row in table.to_dict("records"):
        if keys[key(row)]:
            keys[key(row)] -= 1
        else:
            rows.append(row)
    header, lost = there.header or list(table.columns), []
    if "set" not in header and (of_sets := [row for row in rows if row.get("set")]):
        rows = [row for row in rows if not row.get("set")]
        lost.append(
            f"{counted(len(of_sets), 'pair')} of set {', '.join(sorted({row['set'] for row in of_sets}))} not added: "
            f"{there.path} has no column set; add it to its first row and import again."
        )
    lacking = [column for column in table.columns if column not in header and column != "set"]
    if rows and lacking:
        lost.append(f"{there.path} has no column {', '.join(lacking)}, and gets none.")
    lines = [] if there.header else [header] * bool(rows)
    lines += [[row.get(column, "") for column in header] for row in rows]
    for cell in (cell for line in lines for cell in line):
        if ODD.search(cell):
            raise UserError(
                f"{cell!r} has a character that {there.path} cannot store; rename the file or folder."
            )
    return there.followed_by(lines), len(rows), lost


def _all_of(table: pd.DataFrame) -> Key:
    return lambda row: tuple(row.get(column, "") for column in table.columns)


def _pair(row: Mapping[str, str]) -> object:
    """Published lists repeat pairs; all other sets together have each once."""
    return row["moving"], row["fixed"], row.get("set") == PUBLISHED


KEYS: dict[str, Key] = {IMAGES: lambda row: row["image_id"], PAIRS: _pair}


def _write(output: Path, contents: Mapping[str, bytes]) -> None:
    """Write tables, all or none, if both that the workflow reads can be read."""
    with ExitStack() as stack:
        # Those written last appear first: pairs of images that are not there yet would be noticed.
        beside: dict[Path, Path] = {}
        for name, content in contents.items():
            path = output / name
            if path.exists() and not os.access(path, os.W_OK):
                raise UserError(f"{path} is not writable; change its permissions, or name another folder.")
            beside[path] = stack.enter_context(whole(path.resolve() if path.is_symlink() else path))
            beside[path].write_bytes(content)
            if path.exists():
                shutil.copymode(path, beside[path])
        if contents:
            _check(output, beside)


def _check(output: Path, beside: Mapping[Path, Path]) -> None:
    """Raise UserError where the workflow could not read the tables as they would become."""
    images, pairs = (beside.get(path, path) for path in (output / IMAGES, output / PAIRS))
    try:
        table = read_images(images)
        if pairs.is_file():
            read_pairs(pairs, table)
    except UserError as error:
        sentence = str(error)
        for path, temporary in beside.items():
            sentence = sentence.replace(str(temporary), f"{path}, with what is to be added")
        raise UserError(sentence) from error


def _differing(images: pd.DataFrame, before: pd.DataFrame, folder: Path) -> list[str]:
    """A sentence about rows that say something else than what was imported."""

    def content(row: Mapping[str, str]) -> tuple[str, ...]:
        return place(folder, row["image"]), place(folder, row["label"]), row["split"]

    there = {row["image_id"]: content(row) for row in before.to_dict("records")}
    found = {row["image_id"]: content(row) for row in images.to_dict("records")}
    other = [name for name in found if there.get(name, found[name]) != found[name]]
    if not other:
        return []
    return [
        f"{counted(len(other), 'image')} with another image, label or split in {IMAGES} than was found ({few(other)}): "
        "the table's rows are kept; to have one as found, remove its row and import again."
    ]


def _without_pairs(before: Before, now: Before) -> list[str]:
    """A sentence about new test images that were left without a pair since there were enough already."""
    paired = {*now.pairs["moving"], *now.pairs["fixed"]}
    new = now.images[~now.images["image_id"].isin(before.images["image_id"]) & now.images["split"].eq("test")]
    alone = [image_id for image_id in new["image_id"] if image_id not in paired]
    if before.pairs.empty or not alone:
        return []
    return [
        f"{counted(len(alone), 'new test image')} in no pair ({few(alone)}): {PAIRS} has {len(now.pairs):,} already; "
        "write rows of your own, or remove the rows of these images and import again with a larger --pairs."
    ]


def _stale(there: Table, table: pd.DataFrame) -> list[str]:
    """A sentence about rows of a further table that hold no more."""
    key = _all_of(table)
    number = (Counter(map(key, there.rows)) - Counter(map(key, table.to_dict("records")))).total()
    if not number:
        return []
    return [f"{there.path} keeps {counted(number, 'row')} of earlier imports that this one did not find."]


def _gone(images: pd.DataFrame, folder: Path) -> list[str]:
    """A sentence about rows whose files are not there."""
    paths = dict.fromkeys([*images["image"], *images["label"]])
    gone = [path for path in paths if path and not exists(place(folder, path))]
    if not gone:
        return []
    return [
        f"Not below {folder}: {counted(len(gone), 'file')} that {IMAGES} names ({few(gone)}); their rows are kept, and "
        "preprocessing says what it leaves out."
    ]
