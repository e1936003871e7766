"""Every figure of a cohort. Their names and number do not depend on the data: see `cohortreg.layout.FIGURES`."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from cohortreg.config import Model
from cohortreg.evaluation import numbers
from cohortreg.evaluation.csv_files import read_table
from cohortreg.evaluation.names import main_method
from cohortreg.evaluation.sets import main_set
from cohortreg.layout import Layout
from cohortreg.report import charts, style, tradeoffs
from cohortreg.report.pairs import pair_figure, read_pair

Structures = Mapping[str, Sequence[int]]
NAME = 32  # letters of an id in a title
NONE = "Registration by {} failed for every pair, so there is none to show."


def rank(pairs: pd.DataFrame, method: str) -> pd.DataFrame:
    """The pairs that a method registered, from the best to the worst.

    By mean Dice; without labels by folds, then by the inverse consistency error. Ties go by the pair's names.
    """
    rows = pairs[(pairs["method"] == method) & (pairs["failure"] == "")]
    if rows["dice_mean"].notna().any():
        rows = rows[rows["dice_mean"].notna()]
        order = {"dice_mean": False}
    else:
        order = {"folds_percent": True, "inverse_consistency_voxels": True}
    order |= {"moving": True, "fixed": True}
    return rows.sort_values(list(order), ascending=list(order.values()), ignore_index=True)


def shown_pairs(pairs: pd.DataFrame, method: str) -> dict[str, pd.Series]:
    """The best, the median (the better of two) and the worst pair of a method, by name; none if all failed."""
    ranked = rank(pairs, method)
    if ranked.empty:
        return {}
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    return {name: ranked.iloc[place] for name, place in places.items()}


def draw(layout: Layout, methods: Sequence[str], models: Mapping[str, Model], structures: Structures) -> None:
    """Write every figure of `FIGURES` as PNG and SVG, of the main set, from the tables, transforms and histories."""
    style.apply()
    pairs, summary = main_set(read_table(layout.pairs_table)), read_table(layout.methods_table)
    method = main_method(methods, models)
    shown = shown_pairs(pairs, method)
    for name in ("best", "median", "worst"):
        figure = _pair(layout, name, shown[name], structures) if shown else style.message(NONE.format(method))
        style.save(figure, layout, f"pairs-{name}")
    style.save(charts.dice_figure(pairs, list(structures)), layout, "dice")
    style.save(charts.folds_figure(pairs), layout, "folds")
    style.save(tradeoffs.dice_against_folds(summary), layout, "dice-folds")
    style.save(tradeoffs.dice_against_time(summary), layout, "dice-time")
    histories = charts.read_histories(layout, models)
    style.save(charts.training_figure(histories), layout, "training")


def _pair(layout: Layout, name: str, row: pd.Series, structures: Structures) -> Figure:
    method, moving, fixed = (style.short(row[key], NAME) for key in ("method", "moving", "fixed"))
    if not layout.forward(row["method"], row["moving"], row["fixed"]).is_file():
        return style.message(f"The transform of {moving} to {fixed} was deleted.")
    title = f"{name.capitalize()} pair of {method}: {moving} to {fixed}"
    dice, folds = numbers.dice(row["dice_mean"]), numbers.folds(row["folds"], row["folds_percent"])
    pair = read_pair(layout, row["method"], row["moving"], row["fixed"])
    return pair_figure(pair, structures, f"{title}\nDice [%] {dice}, folds {folds}")
