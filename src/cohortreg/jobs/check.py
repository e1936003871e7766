"""A look at every raw image of a cohort before a long run: the job of the rule `check`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from cohortreg.cohort.tables import write_table
from cohortreg.config import Preprocess
from cohortreg.files import check_writable
from cohortreg.images.checks import Checked, check_images, check_table
from cohortreg.images.image import Structures
from cohortreg.layout import SHEET_IMAGES, CheckLayout
from cohortreg.report.figures.contacts import draw_sheets


def check_cohort(
    layout: CheckLayout,
    rows: pd.DataFrame,
    root: Path,
    settings: Preprocess,
    structures: Structures,
    report: Callable[[str, str], None],
) -> tuple[list[Checked], list[str]]:
    """Write the table of what `check_images` finds, and the contact sheet; arguments and what is returned as there."""
    check_writable(layout.table)  # before hours of work
    checked, notes = check_images(rows, root, settings, structures, report)
    write_table(layout.table, check_table(checked, structures))
    write_sheets(layout, checked, structures)
    return checked, notes


def write_sheets(layout: CheckLayout, checked: Sequence[Checked], structures: Structures) -> None:
    """Write the contact sheet, and remove pages that a larger cohort left there."""
    pages = layout.sheets(len(checked))
    draw_sheets(pages, checked, structures, SHEET_IMAGES)
    for path in set(layout.root.glob("contact-sheet*.png")) - set(pages):
        path.unlink()
