"""Methods as points with names."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from cohortreg.report.figures import style
from cohortreg.report.figures.tradeoffs import draw_dice_against_folds, draw_dice_against_time


def summary(rows: int = 15) -> pd.DataFrame:
    """Methods of which most are close to one another; the first has no intervals."""
    rng = np.random.default_rng(7)
    table = pd.DataFrame({"method": [f"a-method-{number}" for number in range(rows)]})
    table["dice_mean"] = 0.74 + 0.02 * rng.random(rows)
    table["folds_mean"] = np.where(rng.random(rows) < 0.3, 0, 100 + 100 * rng.random(rows))
    table["time_s_mean"] = 0.2 + rng.random(rows)
    for mean in ("dice_mean", "folds_mean", "time_s_mean"):
        table[f"{mean}_low"], table[f"{mean}_high"] = 0.99 * table[mean], 1.02 * table[mean]
        table.loc[0, [f"{mean}_low", f"{mean}_high"]] = math.nan
    return table


@pytest.fixture(autouse=True)
def look():
    style.apply()
    yield
    plt.close("all")


def names(figure) -> list[Annotation]:
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation)]


def dice_against_folds(table: pd.DataFrame) -> Figure:
    return draw_dice_against_folds(SimpleNamespace(methods=table))


def dice_against_time(table: pd.DataFrame) -> Figure:
    return draw_dice_against_time(SimpleNamespace(methods=table))


@pytest.mark.parametrize("draw", [dice_against_folds, dice_against_time])
def test_names_of_fifteen_methods_do_not_overlap(draw):
    figure = draw(summary())
    figure.draw_without_rendering()
    extents = [Text.get_window_extent(name) for name in names(figure)]  # without the lines to the points
    assert [name.get_text() for name in names(figure)] == [f"a-method-{number}" for number in range(15)]
    for place, one in enumerate(extents):
        assert not any(one.overlaps(other) for other in extents[:place])


def test_points_and_bars_are_the_means_and_their_intervals():
    table = summary(3)
    lines = [line.get_xydata().tolist() for line in dice_against_time(table).axes[0].lines]
    row = table.loc[1]
    dice = 100 * row["dice_mean"]
    assert lines[3] == [[row["time_s_mean_low"], dice], [row["time_s_mean_high"], dice]]
    below, above = 100 * row["dice_mean_low"], 100 * row["dice_mean_high"]
    assert lines[4] == [[row["time_s_mean"], below], [row["time_s_mean"], above]]
    assert lines[5] == [[row["time_s_mean"], dice]]
    # Without intervals the bars end where they begin.
    assert lines[0][0] == lines[0][1] == lines[2][0]


def test_axes_are_logarithmic_and_zero_folds_have_a_place():
    table = summary()
    assert dice_against_time(table).axes[0].get_xscale() == "log"
    axes = dice_against_folds(table).axes[0]
    assert axes.get_xscale() == "symlog"
    assert axes.get_xlim()[0] < 0


def test_a_method_without_dice_has_no_point():
    table = summary(3)
    table.loc[1, ["dice_mean", "dice_mean_low", "dice_mean_high"]] = math.nan
    assert [name.get_text() for name in names(dice_against_folds(table))] == ["a-method-0", "a-method-2"]
    table["dice_mean"] = math.nan
    assert "there is no Dice to show" in dice_against_folds(table).axes[0].texts[0].get_text()
