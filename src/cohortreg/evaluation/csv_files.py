"""The project's CSV files of measures, read and written."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from cohortreg.errors import UserError
from cohortreg.files import check_seal, damaged, whole
from cohortreg.provenance import running

IDS = ("method", "moving", "fixed", "set")
TEXT = dict.fromkeys((*IDS, "similarity", "hardware", "failure"), str)


def read_table(
    path: Path,
    columns: Collection[str] = (),
    command: str = "the command that writes it",
    texts: Mapping[str, type] = TEXT,
) -> pd.DataFrame:
    """Read a CSV of the project's, with `texts` as text and all else as numbers.

    Only empty cells are missing values, since an image may well be called NA.

    Raises:
        UserError: The table is missing, damaged, or lacks one of the columns.
    """
    if path.is_file():
        check_seal(path, command)
    try:
        # Without a line's end at its end something is missing, and a number may have lost digits.
        whole_lines = path.read_bytes().endswith(b"\n")
        table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run {command} first.") from None
    except ValueError as error:
        raise UserError(damaged(path, str(error), command)) from error
    numbers = [column for column in table if column not in texts and len(table)]
    odd = [column for column in numbers if not is_numeric_dtype(table[column])]
    if not whole_lines or odd:
        reason = f"column {odd[0]} has more than numbers" if odd else "its last row has no end"
        raise UserError(damaged(path, reason, command))
    if missing := [column for column in columns if column not in table]:
        raise UserError(
            f"{path} has no column {missing[0]}, as if from an earlier version; delete it and run {command} again."
        )
    running().reads(path)
    return table.fillna({column: "" for column in texts if column in table})


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV, whole or not at all.

    With six digits, and nothing beyond the ninth decimal: what is left of zero by rounding errors is zero, unless it
    is a p value.
    """
    decimals = {column: 9 for column in table if column != "p_value"}
    with whole(path) as beside:
        table.round(decimals).to_csv(beside, index=False, float_format="%.6g", lineterminator="\n")
