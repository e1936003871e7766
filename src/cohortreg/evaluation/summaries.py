"""Means over pairs, with what tells their spread: one row a method, or one a method and set."""

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd

from cohortreg.evaluation.csv_files import IDS
from cohortreg.evaluation.measures import DICE, MEASURES, Measure
from cohortreg.evaluation.statistics import mean_interval, paired_p_values


def summarise(
    pairs: pd.DataFrame,
    similarities: Mapping[str, str],
    reference: str,
    seed: int,
    measures: Sequence[Measure] = MEASURES,
) -> pd.DataFrame:
    """One row a method, in their order: means over the pairs that were registered.

    A pair without a value (no label, no inverse) does not count. `dice_std` is the sample standard deviation between
    pairs; means of headline measures have the ends of their 95 % bootstrap interval; `p_value` tests whether Dice
    differs from the reference's, see `cohortreg.evaluation.statistics`. `similarities` are those that methods maximise.
    """
    summary = pd.DataFrame(
        {"method": method, "similarity": similarities[method], **_means(rows, seed, measures)}
        for method, rows in pairs.groupby("method", sort=False)
    )
    dice = pairs.pivot(index=["moving", "fixed"], columns="method", values=DICE.column)
    p_values = paired_p_values(dice, reference)
    summary.insert(summary.columns.get_loc("dice_std") + 1, "p_value", summary["method"].map(p_values))
    return summary


def _means(rows: pd.DataFrame, seed: int, measures: Sequence[Measure]) -> dict[str, float]:
    """The means of one method: numbers of pairs, and the mean of every measure with its spread."""
    registered = rows[rows["failure"] == ""]
    means: dict[str, float] = {"pairs": len(registered), "failed": len(rows) - len(registered)}
    of_pairs = {measure.column: measure for measure in measures}
    for column in (column for column in rows if column not in (*IDS, "failure")):
        measure = of_pairs.get(column)
        # Of a structure, which may be called x_mean beside another one called x, the mean has a name of its own.
        mean = measure.mean if measure else f"{column}_mean"
        means[mean] = registered[column].mean()
        if measure and measure.headline:
            means[f"{mean}_low"], means[f"{mean}_high"] = mean_interval(registered[column], seed)
        if measure is DICE:
            means["dice_std"] = registered[column].std()
    return means


def summarise_sets(
    sets: Mapping[str, pd.DataFrame],
    methods: Sequence[str],
    seed: int,
    measures: Sequence[Measure] = MEASURES,
) -> pd.DataFrame:
    """A row for each method and set: means of the measures `by_set` over the set's pairs that the method registered."""
    of_sets = [measure for measure in measures if measure.by_set]
    kept = {"failure", *(measure.column for measure in of_sets)}
    of_structures = tuple(measure.of("") for measure in of_sets if measure.by_structure)
    rows = []
    for method, (name, pairs) in product(methods, sets.items()):
        columns = [column for column in pairs if column in kept or column.startswith(of_structures)]
        own = pairs.loc[pairs["method"] == method, columns]
        rows.append({"method": method, "set": name, **_means(own, seed, measures)})
    return pd.DataFrame(rows)
