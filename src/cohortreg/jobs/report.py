"""The report of a cohort: the job of the rule `report`."""

import shutil
from collections.abc import Callable, Sequence

from cohortreg.cohort.tables import read_table
from cohortreg.errors import UserError
from cohortreg.files import renewed_folder
from cohortreg.layout import Layout
from cohortreg.provenance import running
from cohortreg.report.comparison import Comparison
from cohortreg.report.figures.registry import FIGURES
from cohortreg.report.pages.index import copy_static, templates, write_index
from cohortreg.report.pages.pair_pages import write_pair_pages
from cohortreg.report_layout import FIGURE_SUFFIXES, ReportLayout


def write_report(
    layout: Layout,
    comparison: Comparison,
    left_out: Sequence[str] = (),
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Write the files of the report from the tables, figures and model cards, all of them or none.

    What else lies in the folder, such as ratings that a browser saved there, stays as it is.

    Args:
        left_out: A sentence for each row whose software is missing.
        advance: Called after each page of a pair.

    Raises:
        UserError: The cohort's summary is missing.
    """
    for path in (layout.cohort, layout.excluded):
        if not path.is_file():
            raise UserError(f"{path} is missing; run `cohortreg cohort` again before the report.")
    environment = templates()
    with renewed_folder(layout.report.root, layout.report.manifest) as folder:
        report = ReportLayout(folder)
        copy_static(report)
        _copy_figures(layout, report)
        pages = write_pair_pages(folder, comparison, environment, advance)
        for path in (layout.cohort, layout.excluded):
            running().reads(path)
        excluded = read_table(layout.excluded, ["kind", "id", "reason"], "`cohortreg cohort`")
        write_index(report, comparison, excluded.to_dict("records"), pages, left_out, environment)


def _copy_figures(layout: Layout, report: ReportLayout) -> None:
    for name in FIGURES:
        for suffix in FIGURE_SUFFIXES:
            if layout.figure(name, suffix).is_file():
                report.figure(name, suffix).parent.mkdir(exist_ok=True)
                shutil.copyfile(layout.figure(name, suffix), report.figure(name, suffix))
