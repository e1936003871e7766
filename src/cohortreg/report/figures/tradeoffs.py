"""Figures of methods as points: Dice against folds and against time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from cohortreg.report.comparison import Comparison
from cohortreg.report.figures import style
from cohortreg.report.figures.labels import place
from cohortreg.report.table2 import hardware_in_words

# Points: the size of a marker, and how far at least a name is from its centre.
MARKER, GAP = 4, 4
NAME = 24  # letters


def draw_dice_against_folds(comparison: Comparison) -> Figure:
    """Draw mean Dice of every method against its folds a pair."""
    scale = {"value": "symlog", "linthresh": 1, "linscale": 0.5}
    return _scatter(comparison.methods, "folds_mean", "Folds a pair, mean (logarithmic above 1)", scale)


def draw_dice_against_time(comparison: Comparison) -> Figure:
    """Draw mean Dice of every method against its seconds a pair."""
    return _scatter(comparison.methods, "time_s_mean", "Time a pair, mean [s]", {"value": "log"})


def about_time(comparison: Comparison) -> str:
    """The hardware that times were measured on; empty where it is unknown."""
    machines = hardware_in_words(comparison.methods)
    return f"Time on {machines}." if machines else ""


def _scatter(summary: pd.DataFrame, column: str, label: str, scale: dict[str, Any]) -> Figure:
    """A point a method with its 95 % intervals in both directions, and its name."""
    colours = style.colours(list(summary["method"]))
    rows = summary[summary[["dice_mean", column]].notna().all(axis=1)].to_dict("records")
    if not rows:
        return style.message("No pair has labels on both images, so there is no Dice to show.")
    figure, axes = plt.subplots(figsize=(style.COLUMN, 3.4))
    axes.set_xscale(**scale)
    axes.margins(x=0.14, y=0.08)
    bars = []
    for row in rows:
        x, y = _mean_and_ends(row, column), [100 * value for value in _mean_and_ends(row, "dice_mean")]
        colour = colours[row["method"]]
        axes.plot(x[1:], [y[0]] * 2, [x[0]] * 2, y[1:], color=colour, linewidth=1.2)
        axes.plot(x[0], y[0], "o", color=colour, markersize=MARKER)
        bars.append([*zip(x, [y[0]] * 3, strict=True), *zip([x[0]] * 3, y, strict=True)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set(xlabel=label, ylabel="Dice, mean [%]")
    _name(figure, axes, [row["method"] for row in rows], bars)
    return figure


def _mean_and_ends(row: dict[str, Any], mean: str) -> tuple[float, float, float]:
    """A mean and the ends of its interval, which are the mean itself where there is none."""
    ends = (row[f"{mean}_low"], row[f"{mean}_high"])
    return row[mean], *(row[mean] if np.isnan(end) else end for end in ends)


def _name(
    figure: Figure, axes: Axes, names: Sequence[str], bars: Sequence[Sequence[tuple[float, float]]]
) -> None:
    """Write names beside the points, where they cover neither one another nor a point nor a bar.

    `bars` has every point itself and the ends of its two bars, in data coordinates.
    """
    line: dict[str, Any] = {"arrowstyle": "-", "color": style.MUTED}
    line |= {"linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
    look: dict[str, Any] = {"textcoords": "offset points", "fontsize": "small", "zorder": 1}
    look |= {"ha": "center", "va": "center"}
    texts = [
        axes.annotate(style.short(name, NAME), bar[0], (0, 0), arrowprops=line, **look)
        for name, bar in zip(names, bars, strict=True)
    ]
    figure.draw_without_rendering()  # where in pixels everything lies is known only now
    sizes = [Text.get_window_extent(text).size for text in texts]  # without the line
    ends = axes.transData.transform(np.array(bars).reshape(-1, 2)).reshape(len(names), 2, 3, 2)
    points, pixels = ends[:, 0, 0], figure.dpi / 72  # of a typographic point
    taken = np.concatenate([ends.min(axis=2), ends.max(axis=2)], axis=-1).reshape(-1, 4)
    taken += np.array([-1, -1, 1, 1]) * MARKER / 2 * pixels
    centres = place(points, sizes, taken, np.array(axes.bbox.extents), GAP * pixels)
    for text, offset in zip(texts, centres - points, strict=True):
        text.set_position(offset / pixels)
