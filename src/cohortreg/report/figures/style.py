"""The look that all figures share."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cohortreg.files import whole

# Inches, of every figure: one column of a journal or two. 89 and 182 mm, within what IEEE, Elsevier and Nature print.
COLUMN, PAGE = 3.5, 7.16
INK = "#222222"
MUTED = "#767676"
# Seaborn's colours for colour-blind readers, without the two that are too pale for a line on white.
ON_WHITE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9")
# Okabe and Ito's colours, those that stand out from every grey first.
ON_GREY = ("#56b4e9", "#e69f00", "#cc79a7", "#f0e442", "#009e73", "#d55e00")

NAMED = 14  # structures in a legend, whose colours have been round twice by then


def apply() -> None:
    """Set matplotlib up: no display, and the look of every figure."""
    matplotlib.use("agg")
    look()


def look() -> None:
    """Set matplotlib's look: sans serif of 8 points, pale grid, colours told apart by colour-blind readers."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font_scale=8 / 9.6)
    plt.rcParams.update(
        {
            "axes.edgecolor": "#cccccc",
            "axes.labelcolor": INK,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "figure.constrained_layout.use": True,
            "font.sans-serif": ["DejaVu Sans"],
            "grid.color": "#eeeeee",
            "legend.frameon": False,
            "savefig.dpi": 300,
            "savefig.facecolor": "white",
            # Without these an SVG would differ from run to run.
            "svg.hashsalt": "cohortreg",
            "text.color": INK,
        }
    )


def colours(names: Sequence[str]) -> dict[str, str]:
    """Assign a colour to each name by its position, so that a method has one colour in all figures.

    Colours repeat after eight.
    """
    return dict(zip(names, cycle(ON_WHITE), strict=False))


def colours_on_grey(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name that can be seen on a grey image; they repeat after six."""
    return dict(zip(names, cycle(ON_GREY), strict=False))


def plain(text: str) -> str:
    """Text for a figure in which a dollar is a dollar, and begins no formula."""
    return text.replace("$", r"\$")


def short(name: str, longest: int) -> str:
    """A name of at most so many letters, without some in the middle: names of a cohort mostly begin alike."""
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-(longest // 2) :]}"


def structure_lines(structures: Sequence[str], longest: int = 24) -> list[Line2D]:
    """A legend's entries for structures in their colours: the first ones, and how many more there are."""
    colours = list(colours_on_grey(structures).items())[:NAMED]
    lines = [
        Line2D([], [], color=colour, label=short(name.replace("_", " "), longest)) for name, colour in colours
    ]
    more = len(structures) - len(lines)
    return [*lines, Line2D([], [], color="none", label=f"and {more} more")] if more else lines


def save(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to each path, in the format that its suffix names, and close it."""
    for path in paths:
        with whole(path) as beside:
            figure.savefig(beside, metadata={"Date": None} if path.suffix == ".svg" else None)
        # As laid out for the first one, which takes a third of the time. With "none" it would still be drawn twice.
        with plt.rc_context({"figure.constrained_layout.use": False}):
            figure.set_layout_engine(None)
    plt.close(figure)


def message(text: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure, axes = plt.subplots(figsize=(PAGE, 1.4))
    axes.text(0.5, 0.5, plain(text), ha="center", va="center", color=MUTED)
    axes.set_axis_off()
    return figure
