"""The tables of images and pairs: read, checked against their schemas, written.

The schema files are the one truth for columns, allowed values and what each means; they are applied to whole
columns at once, since tables of fifty thousand rows are checked at the start of every job.

Every table of tabs is read here. A cell is what stands between two tabs, quotation marks included.
"""

import unicodedata
from collections.abc import Collection, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cohortreg.errors import UserError
from cohortreg.files import LONGEST, damaged, write_text

#: The set of rows that only a published list has: repeats of other rows and images with themselves.
PUBLISHED = "published"
#: Bytes of an image_id: the longest name of a file after it ends in .nii.gz.
LONGEST_ID = LONGEST - len(".nii.gz")
WITHOUT_QUOTES = "save the table as tab-separated text without quotation"


def read_images(path: Path | str) -> pd.DataFrame:
    """Read `images.tsv`, every column as strings, in the table's order; the index is the line in the file.

    Raises:
        UserError: The table does not fit its schema or has an image_id twice; names file, row (the line in the file)
            and column.
    """
    images = _read(Path(path), "images")
    _unique(Path(path), images, ["image_id"])
    _check_names(Path(path), images["image_id"])
    return images


def read_pairs(path: Path | str, images: pd.DataFrame) -> pd.DataFrame:
    """Read `pairs.tsv`, every column as strings, in the table's order; the index is the line in the file.

    Raises:
        UserError: The table does not fit its schema, names an image that `images` does not have, or, other than in rows
            of set `PUBLISHED`, pairs an image with itself or has a pair twice; names file, row and column.
    """
    path = Path(path)
    pairs = _read(path, "pairs")
    for column in ("moving", "fixed"):
        for line, image_id in pairs[column][~pairs[column].isin(images["image_id"])].items():
            raise UserError(
                f"{path}, row {line}, column {column}: no image '{image_id}' in the table of images; "
                "correct the name, or add the image there."
            )
    own = pairs[with_sets(pairs)["set"] != PUBLISHED]
    for line, image_id in own["moving"][own["moving"] == own["fixed"]].items():
        raise UserError(f"{path}, row {line}: image '{image_id}' is paired with itself; remove the row.")
    _unique(path, own, ["moving", "fixed"])
    return pairs


def read_ratings(path: Path | str) -> pd.DataFrame:
    """Read the `qc.tsv` of a report: moving, fixed, rating, note, each pair once; there may be no rows.

    Raises:
        UserError: The table does not fit its schema or rates a pair twice; names file, row and column.
    """
    ratings = _read(Path(path), "ratings", may_be_empty=True)
    _unique(Path(path), ratings, ["moving", "fixed"])
    return ratings.reindex(columns=["moving", "fixed", "rating", "note"], fill_value="")


def pair_ids(pairs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return moving and fixed of each row."""
    return list(pairs[["moving", "fixed"]].itertuples(index=False, name=None))


def with_sets(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the table of pairs with a column set, empty throughout where it had none."""
    return pairs if "set" in pairs else pairs.assign(set="")


def distinct(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return each pair once, with its set: `PUBLISHED` where it stands in no other row."""
    last = with_sets(pairs).sort_values("set", key=lambda names: names == PUBLISHED, kind="stable")
    return last.drop_duplicates(["moving", "fixed"]).sort_index()


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table as tab-separated text, whole or not at all; it has no quotation: cells stand as they are."""
    rows = [list(table.columns), *table.astype(str).values.tolist()]
    write_text(Path(path), "".join("\t".join(row) + "\n" for row in rows))


def read_table(
    path: Path | str, columns: Collection[str], command: str = "the command that writes it"
) -> pd.DataFrame:
    """Read a table that `write_table` wrote, every cell as the text that it is; the index counts from 0.

    Args:
        columns: Those that it must have.
        command: What writes it, for messages.

    Raises:
        UserError: The table is missing, damaged, or lacks one of the columns.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; run {command} first.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(damaged(path, "it is not UTF-8 text", command)) from error
    header, *rows = [line.split("\t") for line in text.split("\n")[:-1]] or [[]]
    if not text.endswith("\n") or any(len(row) != len(header) for row in rows):
        raise UserError(damaged(path, "a row is incomplete", command))
    if missing := [column for column in columns if column not in header]:
        raise UserError(
            f"{path} has no column {missing[0]}, as if from an earlier version; delete it and run {command} again."
        )
    return pd.DataFrame(rows, columns=header, dtype=str)


def leak_warnings(images: pd.DataFrame, pairs: pd.DataFrame, trained: Collection[str] = ()) -> list[str]:
    """Return a sentence for each two of tested (split test, or in a pair), validation and training that share subjects.

    Args:
        trained: Images that models learnt from, whatever their split is now.
    """
    paired = images["image_id"].isin(pairs["moving"]) | images["image_id"].isin(pairs["fixed"])
    tested = images["split"].eq("test") | paired
    validation = images["split"].eq("validation")
    learnt = images["split"].eq("train") | images["image_id"].isin(trained)
    rows = {"test": tested, "validation": validation, "training": learnt}
    subjects_of = {name: set(images["subject_id"][chosen]) for name, chosen in rows.items()}
    shared = [
        ("test", "training", "the results on them are not those of unseen subjects"),
        ("validation", "training", "what is measured on them says little of unseen subjects"),
        ("test", "validation", "weights may have been chosen by them"),
    ]
    sentences = []
    for one, other, why in shared:
        if both := sorted(subjects_of[one] & subjects_of[other]):
            named = ", ".join(both[:5]) + (", ..." if len(both) > 5 else "")
            subjects = f"1 {one} subject is" if len(both) == 1 else f"{len(both)} {one} subjects are"
            sentences.append(f"{subjects} also in {other} ({named}): {why}.")
    return sentences


def require_training(path: Path | str, images: pd.DataFrame, learning: Sequence[str]) -> None:
    """Refuse a cohort with fewer than two images to train on, and something to train.

    Args:
        learning: Models, or rows of the comparison, that need training.
    """
    training = int(images["split"].eq("train").sum())
    if learning and training < 2:
        number = "only one image" if training else "no image"
        raise UserError(
            f"{path}: {number} has train in the column split, and {', '.join(learning)} must be trained on pairs of "
            "them; mark at least two, or name only methods that need no training."
        )


@cache
def _schema(name: str) -> dict[str, Any]:
    text = resources.files("cohortreg").joinpath("schemas", f"{name}.schema.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _read(path: Path, schema_name: str, may_be_empty: bool = False) -> pd.DataFrame:
    """Read a table with the line in the file as index, checked against its schema; with no rows if `may_be_empty`."""
    header, rows = _rows(path, schema_name)
    schema = _schema(schema_name)
    _check_header(path, header, schema)
    for line, row in rows.items():
        if lacking := len(header) - 1 - row.count("\t"):
            if lacking < 0:
                raise UserError(
                    f"{path}, row {line} has {len(header) - lacking} cells for {len(header)} columns; correct the row."
                )
            rows[line] = row + "\t" * lacking
    if not rows and not may_be_empty:
        raise UserError(f"{path} has no rows below its header; list the {schema_name} there.")
    # All at once: a million lists, one for each row, would take several times as long.
    cells = "\t".join(rows.values()).split("\t") if rows else []
    columns = {column: cells[number :: len(header)] for number, column in enumerate(header)}
    table = pd.DataFrame(columns, index=list(rows), dtype=str)
    for column, rule in schema["properties"].items():
        if column in table:
            _check_column(path, table[column], rule)
    return table


def _rows(path: Path, schema_name: str) -> tuple[list[str], dict[int, str]]:
    """The cells of the header, and each other row by its line in the file; blank lines do not count."""
    try:
        if not path.is_file():
            made = "save it in a report" if schema_name == "ratings" else "make it with an import"
            raise UserError(f"{path} does not exist; name the table in the configuration, or {made}.")
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save the table as tab-separated UTF-8 text.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); fix that.") from error
    # Parsed by hand: pandas takes quotation marks for quotation, shortens long rows and counts blank lines in its own
    # way, and the row in the message must be the one that a text editor shows.
    rows = {number: line for number, line in enumerate(lines, start=1) if line.strip()}
    if not rows:
        raise UserError(f"{path} is empty; list the {schema_name} there, below a row of column names.")
    header = rows.pop(next(iter(rows))).split("\t")
    # A spreadsheet may end every row with tabs.
    while header and not header[-1] and all(not _behind(row, len(header) - 1) for row in rows.values()):
        header.pop()
        rows = {number: "\t".join(row.split("\t")[: len(header)]) for number, row in rows.items()}
    return header, rows


def _behind(row: str, cells: int) -> str:
    """What stands in a row behind so many cells, without tabs."""
    return "".join(row.split("\t")[cells:])


def _check_header(path: Path, header: Sequence[str], schema: dict[str, Any]) -> None:
    """Refuse a header that lacks a column or has one twice."""
    missing = [column for column in schema["required"] if column not in header]
    if missing:
        refuse_other_separator(path, header)
    if any(f'"{column}"' in header for column in missing):
        raise UserError(f"{path} has {missing[0]} in quotation marks in its first row; {WITHOUT_QUOTES}.")
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)}; add it to the first row (tabs separate columns)."
        )
    if twice := [column for place, column in enumerate(header) if column in header[:place]]:
        raise UserError(f"{path} has the column '{twice[0]}' twice; remove or rename one.")


def refuse_other_separator(path: Path, header: Sequence[str]) -> None:
    """Refuse a header without tabs that is separated by something else."""
    for character, name in ((";", "semicolons"), (",", "commas"), (" ", "spaces")):
        if len(header) == 1 and character in header[0].strip():
            raise UserError(f"{path} is separated by {name}; save it as tab-separated text.")


def _check_names(path: Path, image_ids: pd.Series) -> None:
    """Refuse ids that no files can be named after, or whose files are the same on some file systems."""
    for line, image_id in image_ids.items():
        size = len(image_id.encode())
        if size > LONGEST_ID:
            raise UserError(
                f"{path}, row {line}, column image_id: '{image_id[:20]}...' has {size} bytes, and file names "
                f"have room for {LONGEST_ID}; give it a shorter name, here and in the table of pairs."
            )
    alike = image_ids.map(lambda image_id: unicodedata.normalize("NFC", image_id).casefold())
    for line in alike[alike.duplicated()].index:
        first = alike.index[alike == alike[line]][0]
        raise UserError(
            f"{path}, row {line}: image_id '{image_ids[line]}' and '{image_ids[first]}' of row {first} differ only "
            "in case or in how accents are written, and some file systems take their files for the same; rename one."
        )


def _check_column(path: Path, column: pd.Series, rule: dict[str, Any]) -> None:
    """Apply `enum` and `pattern` of one property to a column; the message quotes the description."""
    good = pd.Series(True, index=column.index)
    if "enum" in rule:
        good &= column.isin(rule["enum"])
    if "pattern" in rule:
        good &= column.str.contains(rule["pattern"], regex=True)
    for line, value in column[~good].items():
        named = f"'{value}'" if value.isprintable() else repr(value)
        what = f"{named} is not allowed" if value else "is empty"
        raise UserError(
            f"{path}, row {line}, column {column.name}: {what}; correct it ({rule['description']})."
        )
    if "enum" in rule or "pattern" in rule:
        for line, value in column[column.str.fullmatch('".+"')].items():
            raise UserError(
                f"{path}, row {line}, column {column.name}: {value} is in quotation marks; {WITHOUT_QUOTES}."
            )


def _unique(path: Path, table: pd.DataFrame, columns: list[str]) -> None:
    """Refuse a second row with the same values in `columns`."""
    for line, row in table[table.duplicated(columns)].iterrows():
        first = table.index[(table[columns] == row[columns]).all(axis=1)][0]
        what = ", ".join(f"{column} '{row[column]}'" for column in columns)
        raise UserError(f"{path}, row {line}: {what} is already in row {first}; remove or rename one.")
