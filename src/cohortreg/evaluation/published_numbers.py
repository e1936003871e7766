"""Published results, shown beside the measured ones."""

from pathlib import Path

import pandas as pd

from cohortreg.errors import UserError

MEASURES = ("dice", "folds", "time_s")


def read_published(path: Path) -> pd.DataFrame:
    """Read a table of published results, indexed by our names of the rows.

    Args:
        path: Of a CSV with the columns row, dice (percent), folds (mean count a pair), time_s; an empty cell was not
            published, more columns are not read.

    Returns:
        The index row and dice_published (0 to 1), folds_published, time_s_published.

    Raises:
        UserError: The table cannot be read, lacks a column or names a row twice.
    """
    try:
        table = pd.read_csv(path, dtype={"row": str}, keep_default_na=False, na_values=[""])
        if missing := {"row", *MEASURES} - set(table):
            raise ValueError(f"it has no column {min(missing)}")
        if twice := table.loc[table["row"].duplicated(), "row"].tolist():
            raise ValueError(f"it names the row {twice[0]} twice")
        values = table[list(MEASURES)].apply(pd.to_numeric)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"report.published: {path} cannot be used: {reason}; correct the table.") from None
    values["dice"] /= 100
    return values.set_index(table["row"]).add_suffix("_published")
