"""Every figure of a cohort: the job of the rule `figures`."""

from cohortreg.layout import Layout
from cohortreg.report.comparison import Comparison
from cohortreg.report.figures import style
from cohortreg.report.figures.registry import FIGURES


def draw_figures(layout: Layout, comparison: Comparison) -> None:
    """Write every figure of `FIGURES` as PNG and SVG, of the main set, from the tables, transforms and histories."""
    style.apply()
    for name, figure in FIGURES.items():
        style.save(figure.drawn(comparison), layout.figure_files(name))
