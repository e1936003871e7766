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
        table = _parsed(folder / name, _content(folder / name))
        _check_columns(folder / name, table, COLUMNS[name])
        tables[name] = table.reindex(
            columns=list(dict.fromkeys([*COLUMNS[name], *table.columns])), fill_value=""
        )
    if len(tables[IMAGES]):
        read_images(folder / IMAGES)
    return Before(tables[IMAGES], tables[PAIRS])


def _check_columns(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise UserError where a table has a header without some of the columns."""
    lacking = [column for column in columns if column not in table]
    if lacking and len(table.columns):
        refuse_other_separator(path, list(table.columns))
        raise UserError(
            f"{path} has no column {', '.join(lacking)}; add it to the first row (tabs separate columns), or name "
            "another folder."
        )


def recognised(images: pd.DataFrame, before: Before, folder: Path) -> pd.DataFrame:
    """Return imported images under the names that the cohort has for them.

    An image is there if its image_id is, or its file, under whatever id; it then has the table's image_id and
    subject_id. New images of a subject have the subject_id that the table has for the subject's others. Rows stay as
    many, so that two may have one name: that of a table's row whose file was changed by hand.

    Args:
        images: As an importer returns them.
        before: The cohort's tables.
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
        output: Folder of the tables.
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
    contents = {name: _content(output / name) for name in (IMAGES, PAIRS, *others)}
    before = read_before(output)
    for name, table in others.items():
        _check_columns(output / name, _parsed(output / name, contents[name]), list(table.columns))
    sentences = _differing(images, before.images, folder or Path())
    changed, numbers = {}, {}
    for name, table in {IMAGES: images, PAIRS: pairs, **others}.items():
        merged, numbers[name], lost = merge(
            output / name, contents[name], table, KEYS.get(name, _all_of(table))
        )
        sentences += lost
        if numbers[name]:
            changed[name] = merged
    _write(output, changed)
    now = read_before(output)
    sentences += [*_without_pairs(before, now), *_stale(output, contents, others)]
    if folder is not None and not lists_missing:
        sentences += _gone(now.images, folder)
    return Added(now.images, now.pairs, numbers[IMAGES], numbers[PAIRS], sentences)


def merge(path: Path, content: bytes, table: pd.DataFrame, key: Key) -> tuple[bytes, int, list[str]]:
    """Return a table's content with the rows that it lacks below its lines, their number, and what is lost of them.

    A row is there if another has its key; as often as the key stands there. Cells are put below the columns that the
    table has, and its line ends are used. Pairs of a set are not added where the table has no column for it: they would
    become pairs of the main set.
    """
    there = _parsed(path, content)
    keys = Counter(map(key, there.to_dict("records")))
    rows = []
    for row in table.to_dict("records"):
        if keys[key(row)]:
            keys[key(row)] -= 1
        else:
            rows.append(row)
    header, lost = _header(content) or list(table.columns), []
    if "set" not in header and (of_sets := [row for row in rows if row.get("set")]):
        rows = [row for row in rows if not row.get("set")]
        lost.append(
            f"{counted(len(of_sets), 'pair')} of set {', '.join(sorted({row['set'] for row in of_sets}))} not added: "
            f"{path} has no column set; add it to its first row and import again."
        )
    lacking = [column for column in table.columns if column not in header and column != "set"]
    if rows and lacking:
        lost.append(f"{path} has no column {', '.join(lacking)}, and gets none.")
    lines = [] if _header(content) else [header] * bool(rows)
    lines += [[row.get(column, "") for column in header] for row in rows]
    for cell in (cell for line in lines for cell in line):
        if ODD.search(cell):
            raise UserError(f"{cell!r} has a character that {path} cannot store; rename the file or folder.")
    return content + _text(content, lines), len(rows), lost


def _all_of(table: pd.DataFrame) -> Key:
    return lambda row: tuple(row.get(column, "") for column in table.columns)


def _pair(row: Mapping[str, str]) -> object:
    """Published lists repeat pairs; all other sets together have each once."""
    return row["moving"], row["fixed"], row.get("set") == PUBLISHED


KEYS: dict[str, Key] = {IMAGES: lambda row: row["image_id"], PAIRS: _pair}


def _content(path: Path) -> bytes:
    """The content of a table; empty where it does not exist."""
    if not os.path.lexists(path):
        return b""
    if not path.is_file():
        raise UserError(f"{path} is not a file, or is a broken link; move it, or name another folder.")
    return path.read_bytes()


def _lines(path: Path, content: bytes) -> list[str]:
    """The lines that are not blank."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text; save the table as tab-separated UTF-8 text, or name another folder."
        ) from error
    return [line for line in LINE_END.split(text) if line.strip()]


def _header(content: bytes) -> list[str]:
    lines = _lines(Path(), content)
    return lines[0].split("\t") if lines else []


def _parsed(path: Path, content: bytes) -> pd.DataFrame:
    """The rows of a table, cells that are not there being empty."""
    lines = [line.split("\t") for line in _lines(path, content)]
    header, rows = (lines[0], lines[1:]) if lines else ([], [])
    cells = [dict.fromkeys(header, "") | dict(zip(header, row, strict=False)) for row in rows]
    return pd.DataFrame(cells, columns=list(dict.fromkeys(header)), dtype=str)


def _text(content: bytes, lines: Sequence[Sequence[str]]) -> bytes:
    """Lines to be put behind a content, with its own line ends."""
    match = LINE_END.search(content.decode("utf-8-sig"))
    end = match[0] if match else "\n"
    unfinished = bool(lines) and bool(content) and not content.endswith((b"\n", b"\r", b"\xef\xbb\xbf"))
    return (end * unfinished + "".join("\t".join(line) + end for line in lines)).encode()


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
    other = [
        row["image_id"]
        for row in images.to_dict("records")
        if there.get(row["image_id"], content(row)) != content(row)
    ]
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


def _stale(output: Path, contents: Mapping[str, bytes], others: Mapping[str, pd.DataFrame]) -> list[str]:
    """Sentences about rows of further tables that hold no more."""
    sentences = []
    for name, table in others.items():
        key = _all_of(table)
        there = Counter(map(key, _parsed(output / name, contents[name]).to_dict("records")))
        there -= Counter(map(key, table.to_dict("records")))
        if number := there.total():
            sentences.append(
                f"{output / name} keeps {counted(number, 'row')} of earlier imports that this one did not find."
            )
    return sentences


def _gone(images: pd.DataFrame, folder: Path) -> list[str]:
    """A sentence about rows whose files are not there."""
    gone = [
        path
        for path in dict.fromkeys([*images["image"], *images["label"]])
        if path and not exists(place(folder, path))
    ]
    if not gone:
        return []
    return [
        f"Not below {folder}: {counted(len(gone), 'file')} that {IMAGES} names ({few(gone)}); their rows are kept, and "
        "preprocessing says what it leaves out."
    ]
