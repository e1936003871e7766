"""Ranking of pairs by Dice or, without labels, by the regularity of their maps."""

from collections.abc import Sequence

import pandas as pd

from cohortreg.evaluation.measures import BY_KEY, DICE, Measure

#: What pairs without labels are ranked by; the second decides between equals.
WITHOUT_LABELS = (BY_KEY["folds_percent"], BY_KEY["inverse_consistency_voxels"])


def labelled(pairs: pd.DataFrame) -> bool:
    """Whether pairs have labels, by their table: any Dice, or no pair that could have one."""
    return bool(pairs[DICE.column].notna().any() or pairs["failure"].ne("").all())


def ranked_by(pairs: pd.DataFrame) -> Sequence[Measure]:
    """The measures that decide which of the pairs are the best."""
    return (DICE,) if labelled(pairs) else WITHOUT_LABELS


def best_first(pairs: pd.DataFrame, method: str) -> pd.DataFrame:
    """Sort the pairs that a method registered from the best to the worst, equals by their names.

    Where any pair has a Dice, those without one are left out.
    """
    rows = pairs[(pairs["method"] == method) & (pairs["failure"] == "")]
    measures = ranked_by(rows)
    if measures[0] is DICE:
        rows = rows[rows[DICE.column].notna()]
    order = {measure.column: not measure.higher_is_better for measure in measures}
    return _sorted(rows, order)


def shown_pairs(pairs: pd.DataFrame, method: str) -> dict[str, pd.Series]:
    """The best, the median (the better of two) and the worst pair of a method, by name; none if all failed."""
    ranked = best_first(pairs, method)
    if ranked.empty:
        return {}
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    return {name: ranked.iloc[place] for name, place in places.items()}


def worst_first(pairs: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Sort the methods in their order and the pairs of each from the worst to the best, those that failed last."""
    order = {"order": True, **{measure.column: measure.higher_is_better for measure in ranked_by(pairs)}}
    places = pairs["method"].map({method: place for place, method in enumerate(methods)})
    return _sorted(pairs.assign(order=places), order).drop(columns="order")


def _sorted(pairs: pd.DataFrame, ascending: dict[str, bool]) -> pd.DataFrame:
    """Pairs by columns, whether each is ascending, and equals by their names."""
    ascending = ascending | {"moving": True, "fixed": True}
    return pairs.sort_values(list(ascending), ascending=list(ascending.values()), ignore_index=True)
