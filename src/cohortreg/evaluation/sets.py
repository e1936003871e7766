"""Sets of pairs: the main one, which tables and figures are about, and others with means of their own."""

from collections.abc import Collection

import pandas as pd

from cohortreg.cohort.tables import PUBLISHED

MAIN, AS_PUBLISHED, UNSEEN = "main", "as published", "unseen subjects"


def main_set(pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of pairs whose set is empty; all where there is none."""
    if "set" not in pairs:
        return pairs
    rows = pairs[pairs["set"] == ""]
    return pairs if rows.empty else rows


def gather_sets(
    measured: pd.DataFrame, pairs: pd.DataFrame, seen: Collection[str]
) -> dict[str, pd.DataFrame]:
    """Of each set its rows of the table of pairs, the main set first.

    Args:
        measured: The table of pairs, in which a pair is once a method.
        pairs: The cohort's pairs with their sets and repeats, each of which counts in the published set.
        seen: Images of the subjects that a model was trained on; the set of the others is there only where they are not
            all.
    """
    main = main_set(measured)
    sets = {MAIN: main}
    if pairs["set"].eq(PUBLISHED).any():
        published = pairs.loc[pairs["set"].isin(["", PUBLISHED]), ["moving", "fixed"]]
        sets[AS_PUBLISHED] = published.merge(measured, on=["moving", "fixed"])
    unseen = main[~(main["moving"].isin(seen) | main["fixed"].isin(seen))]
    if len(unseen) < len(main):
        sets[UNSEEN] = unseen
    others = sorted(set(pairs["set"]) - {"", PUBLISHED})
    return sets | {name: measured[measured["set"] == name] for name in others}
