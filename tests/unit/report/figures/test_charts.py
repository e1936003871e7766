"""Boxes over pairs, and training curves."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cohortreg.report.figures import style
from cohortreg.report.figures.charts import CURVES, draw_dice, join_stages, training_figure


@pytest.fixture(autouse=True)
def with_style():
    style.apply()


def test_stages_are_joined_one_after_another():
    first, second = (pd.DataFrame({"step": range(1, n + 1), "folds": 0.0}) for n in (3, 2))
    joined, starts = join_stages([first, second])
    assert joined["step"].tolist() == [1, 2, 3, 4, 5]
    assert joined["stage"].tolist() == [1, 1, 1, 2, 2]
    assert starts == [0, 3]


def test_a_similarity_whose_loss_is_below_zero_is_drawn():
    """Mutual information is one; an axis of logarithms would leave it out."""
    history = pd.DataFrame(
        {
            "step": [1, 2],
            "similarity": [-0.5, -0.7],
            "inverse_consistency": [0.2, 0.1],
            "folds": [0, 1],
            "weight": [1, 1],
        }
    )
    figure = training_figure({"mi": [history]})
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log", "symlog", "linear"]


def test_a_loss_that_begins_at_zero_and_folds_have_axes_of_logarithms():
    """Before its first step a network is the identity, which has neither."""
    losses = {"similarity": [0.5, 0.3], "inverse_consistency": [0.0, 0.1], "folds": [0, 30]}
    figure = training_figure({"icon": [pd.DataFrame({"step": [1, 2], "weight": 1.0} | losses)]})
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "symlog", "linear"]
    assert -1 < figure.axes[2].get_ylim()[0] < 0


def test_what_was_measured_on_validation_pairs_is_drawn_as_dots():
    losses = {"similarity": [0.5, 0.3, 0.2], "inverse_consistency": [0.1, 0.1, 0.2], "folds": [0, 3, 1]}
    measured = {
        "validation_similarity": [None, 0.4, 0.35],
        "validation_inverse_consistency": [None, 0.1, 0.1],
    }
    history = pd.DataFrame({"step": [1, 2, 3], "weight": 1.0} | losses | measured)
    figure = training_figure({"icon": [history]})
    dots = [[line for line in axes.lines if line.get_marker() == "o"] for axes in figure.axes]
    assert [len(each) for each in dots] == [1, 1, 0, 0]
    assert dots[0][0].get_ydata()[1:].tolist() == [0.4, 0.35]
    assert figure.axes[-1].get_xlabel() == "Training step; dots: validation pairs"


def test_dice_of_validation_pairs_has_a_panel_of_its_own_where_there_is_one():
    history = pd.DataFrame({"step": [1, 2, 3]} | dict.fromkeys(CURVES, 1.0))
    measured = history.assign(validation_dice=[None, 0.4, 0.5])
    figure = training_figure({"icon": [measured, measured], "unlabelled": [history]})
    *others, panel = figure.axes
    dots = [line for line in panel.lines if line.get_marker() == "o"]
    assert len(others) == 4 and panel.get_ylabel() == "Dice,\nvalidation" and len(dots) == 1
    assert dots[0].get_xdata().tolist() == [2, 3, 5, 6] and dots[0].get_ydata().tolist() == [0.4, 0.5] * 2
    assert len(training_figure({"icon": [history.assign(validation_dice=None)]}).axes) == 4


@pytest.mark.parametrize(("pairs", "dots"), [(400, 400), (1001, 2)])
def test_of_many_pairs_only_those_beyond_the_whiskers_are_dots(pairs, dots):
    dice = np.linspace(0.7, 0.8, pairs)
    dice[[0, -1]] = 0.1, 0.99
    table = pd.DataFrame({"method": "m", "dice_core": dice})
    (axes,) = draw_dice(SimpleNamespace(main_pairs=table, structures=["core"])).axes
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o") == dots


def test_of_many_structures_the_first_have_a_panel_and_the_figure_says_so():
    names = [f"s{k}" for k in range(40)]
    pairs = pd.DataFrame({"method": ["m", "m"], **{f"dice_{name}": [0.5, 0.6] for name in names}})
    figure = draw_dice(SimpleNamespace(main_pairs=pairs, structures=names))
    assert [axes.get_title(loc="left") for axes in figure.axes] == names[:24]
    assert "The first 24 of 40 structures; tables/pairs.csv has all." in figure.get_supxlabel()
