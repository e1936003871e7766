"""Figures of numbers: Dice, folds, training curves."""

import math
from collections.abc import Mapping, Sequence
from itertools import product, zip_longest
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cohortreg.report.comparison import Comparison
from cohortreg.report.figures import style

# Column of history.csv -> how its panel is labelled, and whether its axis is logarithmic. Mutual information, which is
# maximised, has losses below zero.
CURVES = {
    "similarity": ("Similarity loss", "log"),
    "inverse_consistency": ("Regularity loss,\nunweighted", "log"),
    "folds": ("Folds a pair", "symlog"),
    "weight": ("Weight λ", "linear"),
}
# Measured on validation pairs alone, and drawn where it was.
VALIDATION_DICE = "validation_dice"
DOTS_AT_MOST = 400
STRUCTURES_AT_MOST = 24  # of which a figure still fits a page
NAME = 30  # letters
PANELS_ACROSS = 3
DOTS: dict[str, Any] = {
    "markersize": 3,
    "markeredgecolor": "white",
}  # of what was measured on validation pairs


def draw_training(comparison: Comparison) -> Figure:
    """Draw the training curves of the configuration's models."""
    return training_figure(comparison.source.histories(comparison.config.models))


def draw_dice(comparison: Comparison) -> Figure:
    """Draw Dice of the main set by method, a panel a structure."""
    pairs = comparison.main_pairs
    measured = [name for name in comparison.structures if pairs[f"dice_{name}"].notna().any()]
    columns = measured[:STRUCTURES_AT_MOST]
    if not columns:
        return style.message("No pair has labels on both images, so there is no Dice to show.")
    methods = list(pairs["method"].unique())
    rows = math.ceil(len(columns) / PANELS_ACROSS)
    across = math.ceil(len(columns) / rows)
    size = (style.COLUMN if len(columns) == 1 else style.PAGE, rows * height(methods))
    figure, grid = plt.subplots(rows, across, figsize=size, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip_longest(grid.flat, columns):
        if name is None:
            axes.set_axis_off()
            continue
        boxes(axes, pairs.assign(percent=100 * pairs[f"dice_{name}"]), "percent", methods)
        axes.set_title(style.short(name.replace("_", " "), NAME))
        axes.xaxis.set_tick_params(labelbottom=True)
    label = "Dice [%]"
    if len(columns) < len(measured):
        label += f"\nThe first {len(columns)} of {len(measured)} structures; tables/pairs.csv has all."
    figure.supxlabel(label, fontsize="medium")
    return figure


def draw_folds(comparison: Comparison) -> Figure:
    """Draw folds of the main set in percent of voxels, by method."""
    pairs = comparison.main_pairs
    methods = list(pairs["method"].unique())
    figure, axes = plt.subplots(figsize=(style.COLUMN, height(methods)))
    boxes(axes, pairs, "folds_percent", methods)
    axes.set_xscale("symlog", linthresh=0.001, linscale=0.5)
    axes.set_xlim(-0.0001, max(0.1, 2 * pairs["folds_percent"].max()))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="Folds [% of voxels]")
    return figure


def height(methods: Sequence[str]) -> float:
    """Inches of a panel in which every method has a line."""
    return 0.7 + 0.19 * len(methods)


def boxes(axes: Axes, pairs: pd.DataFrame, column: str, methods: Sequence[str]) -> None:
    """Draw a box over the pairs for each method, the first on top, and the pairs as dots behind it.

    Where there are too many to be told apart, only those beyond the whiskers are drawn.
    """
    for place, (method, colour) in enumerate(style.colours(methods).items()):
        values = pairs.loc[pairs["method"] == method, column].dropna()
        dots: dict[str, Any] = {"marker": "o", "markersize": 3, "alpha": 0.35}
        dots |= {"markeredgewidth": 0, "markerfacecolor": colour}
        few = len(values) <= DOTS_AT_MOST
        if few:
            axes.plot(values, [place] * len(values), linestyle="", **dots)
        line = {"color": colour, "linewidth": 1.1}
        parts: dict[str, Any] = dict.fromkeys(("boxprops", "whiskerprops", "capprops"), line)
        parts["medianprops"] = line | {"linewidth": 2}
        parts |= {"showfliers": not few, "flierprops": dots}
        drawn = axes.boxplot(values, positions=[place], widths=0.6, orientation="horizontal", **parts)
        for flier in drawn["fliers"]:
            flier.set_rasterized(True)  # of a large cohort they are thousands
    axes.set_yticks(range(len(methods)), [style.short(method, NAME) for method in methods])
    axes.set_ylim(len(methods) - 0.4, -0.6)


def training_figure(histories: Mapping[str, Sequence[pd.DataFrame]]) -> Figure:
    """Training curves, the stages of a model one after another; a stage begins at each dashed line.

    Dots are the means over validation pairs, where there are any; their Dice has a panel of its own.
    """
    if not histories:
        return style.message("No model was trained, so there are no training curves.")
    everything = pd.concat(history for stages in histories.values() for history in stages)
    has_dice = everything.get(VALIDATION_DICE, pd.Series()).notna().any()
    figure, panels = plt.subplots(
        len(CURVES) + has_dice, 1, figsize=(style.PAGE, 6 + 1.5 * has_dice), sharex=True
    )
    for model, colour in style.colours(list(histories)).items():
        joined, starts = join_stages(histories[model])
        for axes, (column, (label, _)) in zip(panels, CURVES.items(), strict=False):
            _curve(axes, joined, column, colour, model)
            axes.set_ylabel(label)
        if has_dice and VALIDATION_DICE in joined:
            dice = joined[["step", VALIDATION_DICE]].dropna()
            panels[-1].plot(dice["step"], dice[VALIDATION_DICE], "o-", color=colour, **DOTS)
        for axes, start in product(panels, starts[1:]):
            axes.axvline(start, color=style.MUTED, linewidth=0.8, linestyle="--")
        for stage, start in enumerate(starts if len(histories) == 1 else [], start=1):
            where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            panels[0].annotate(f"stage {stage}", (start, 1), xytext=(4, 3), color=style.MUTED, **where)
    if has_dice:
        panels[-1].set_ylabel("Dice,\nvalidation")
    for axes, (column, (_, scale)) in zip(panels, CURVES.items(), strict=False):
        scale = "linear" if scale == "log" and everything[column].min() < 0 else scale
        axes.set_yscale(scale, **({"linthresh": 1} if scale == "symlog" else {}))
        if scale == "symlog":
            axes.set_ylim(bottom=-0.2)  # none are below zero, whose line stays visible
    measured = any(everything.get(f"validation_{column}", pd.Series()).notna().any() for column in CURVES)
    panels[-1].set_xlabel("Training step" + ("; dots: validation pairs" if measured else ""))
    figure.align_ylabels()
    if len(histories) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def join_stages(stages: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, list[float]]:
    """Histories one after another on one axis of steps, and the step at which each stage starts."""
    shifted, starts, end = [], [], 0.0
    for stage, history in enumerate(stages, start=1):
        starts.append(end)
        shifted.append(history.assign(step=history["step"] + end, stage=stage))
        end = shifted[-1]["step"].max() if len(history) else end
    return pd.concat(shifted, ignore_index=True), starts


def _curve(axes: Axes, joined: pd.DataFrame, column: str, colour: str, model: str) -> None:
    """Every step thinly, its running median within the stage, and as dots what was measured on validation pairs."""
    if (measured := f"validation_{column}") in joined:
        axes.plot(joined["step"], joined[measured], "o", color=colour, **DOTS)
    for stage, history in joined.groupby("stage"):
        axes.plot(history["step"], history[column], color=colour, linewidth=0.6, alpha=0.35)
        window = max(3, len(history) // 25)
        smooth = history[column].rolling(window, center=True, min_periods=1).median()
        label = style.short(model, NAME) if stage == 1 else None
        axes.plot(history["step"], smooth, color=colour, label=label)
