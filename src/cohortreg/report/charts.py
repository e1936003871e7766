"""Figures of numbers: Dice, folds, training curves."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cohortreg.layout import Layout
from cohortreg.report import style

# Column of history.csv -> how its panel is labelled, and whether its axis is logarithmic.
CURVES = {
    "similarity": ("Similarity loss", "log"),
    "inverse_consistency": ("Inverse consistency\nloss, unweighted", "log"),
    "folds": ("Folds a pair", "symlog"),
    "weight": ("Weight λ", "linear"),
}
DOTS_AT_MOST = 400


def dice_figure(pairs: pd.DataFrame, structures: Sequence[str]) -> Figure:
    """Dice of every structure by method, a box over the pairs and a dot a pair; pairs is the table of pairs."""
    columns = {f"dice_{name}": name.replace("_", " ") for name in structures}
    long = pairs.rename(columns=columns).melt(
        id_vars=["method"], value_vars=list(columns.values()), var_name="structure", value_name="dice"
    )
    long = long.dropna(subset=["dice"])
    if long.empty:
        return style.message("No pair has labels on both images, so there is no Dice to show.")
    long["dice"] *= 100
    figure, axes = plt.subplots(figsize=(style.WIDTH, 4.4))
    _boxes(axes, long, x="structure", y="dice", methods=list(pairs["method"].unique()))
    axes.set(xlabel="", ylabel="Dice [%]", ylim=(-2, 102))
    handles, labels = axes.get_legend_handles_labels()
    axes.get_legend().remove()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 5))
    return figure


def folds_figure(pairs: pd.DataFrame) -> Figure:
    """Folds in percent of voxels by method, a box over the pairs and a dot a pair."""
    methods = list(pairs["method"].unique())
    figure, axes = plt.subplots(figsize=(style.WIDTH, 1.4 + 0.45 * len(methods)))
    _boxes(axes, pairs, x="folds_percent", y="method", methods=methods)
    axes.set_xscale("symlog", linthresh=0.001, linscale=0.5)
    axes.set_xlim(-0.0001, max(0.1, 2 * pairs["folds_percent"].max()))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="Folds, percent of voxels (logarithmic above 0.001)", ylabel="")
    return figure


def _boxes(axes: Axes, table: pd.DataFrame, x: str, y: str, methods: Sequence[str]) -> None:
    """Boxes in the methods' colours, and behind them the pairs as dots while they can be told apart."""
    common = {"data": table, "x": x, "y": y, "hue": "method", "hue_order": methods, "ax": axes}
    common["palette"] = style.colours(methods)
    dodge = "method" not in (x, y)
    if table.groupby("method").size().max() <= DOTS_AT_MOST:
        # Seaborn scatters the dots by numpy's global generator; jitter off keeps the figure the same every time.
        sns.stripplot(**common, dodge=dodge, jitter=False, size=3, alpha=0.5, legend=False)
    shape = {
        "dodge": dodge,
        "gap": 0.15 if dodge else 0,
        "fill": False,
        "linewidth": 1.1,
        "showfliers": False,
    }
    sns.boxplot(**common, **shape, legend="full" if dodge else False)


def read_histories(layout: Layout, models: Mapping[str, dict]) -> dict[str, list[pd.DataFrame]]:
    """Training history of every stage of every model, as far as there is one."""
    histories = {}
    for model, settings in models.items():
        paths = [layout.history(model, stage) for stage in range(1, len(settings["stages"]) + 1)]
        histories[model] = [pd.read_csv(path) for path in paths if path.exists()]
    return {model: stages for model, stages in histories.items() if stages}


def training_figure(histories: Mapping[str, Sequence[pd.DataFrame]]) -> Figure:
    """Training curves, the stages of a model one after another; a stage begins at each dashed line."""
    if not histories:
        return style.message("No model was trained, so there are no training curves.")
    figure, panels = plt.subplots(len(CURVES), 1, figsize=(style.WIDTH, 8), sharex=True)
    for model, colour in style.colours(list(histories)).items():
        joined, starts = join_stages(histories[model])
        for axes, (column, (label, scale)) in zip(panels, CURVES.items(), strict=True):
            _curve(axes, joined, column, colour, model)
            axes.set_yscale(scale, **({"linthresh": 1} if scale == "symlog" else {}))
            axes.set_ylabel(label)
            for start in starts[1:]:
                axes.axvline(start, color=style.MUTED, linewidth=0.8, linestyle="--")
        if len(histories) == 1:
            _name_stages(panels[0], starts)
    panels[-1].set_xlabel("Training step")
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


def _curve(axes: Axes, joined: pd.DataFrame, column: str, colour: tuple, model: str) -> None:
    """Every step thinly, and its running median within the stage."""
    for stage, history in joined.groupby("stage"):
        axes.plot(history["step"], history[column], color=colour, linewidth=0.6, alpha=0.35)
        window = max(3, len(history) // 25)
        smooth = history[column].rolling(window, center=True, min_periods=1).median()
        axes.plot(history["step"], smooth, color=colour, label=model if stage == 1 else None)


def _name_stages(axes: Axes, starts: Sequence[float]) -> None:
    for stage, start in enumerate(starts, start=1):
        axes.annotate(
            f"stage {stage}",
            (start, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, 3),
            textcoords="offset points",
            color=style.MUTED,
        )
