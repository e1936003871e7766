"""Sets of pairs: the main one, which tables and figures are about, and others with means of their own."""

from collections.abc import Collection

import pandas as pd

from cohortreg.cohort.tables import PUBLISHED

MAIN, AS_PUBLISHED, UNSEEN = "main", "as published", "unseen subjects"
WHAT = {
    MAIN: "those of the other tables and the figures",
    AS_PUBLISHED: "the published list with its repeats and images with themselves, each as often as it stands there",
    UNSEEN: "the main ones without a subject that a model of this configuration was trained on",
}
OTHER = "those of this name in the table of pairs"


def main_set(pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of pairs whose set is empty; all where there is none."""
    if "set" not in pairs:
        return pairs
    rows = pairs[pairs["set"] == ""]
    return pairs if rows.empty else rows


def gather_sets(
    measured: pd.DataFrame, asked: pd.DataFrame, seen: Collection[str]
) -> dict[str, pd.DataFrame]:
    """Of each set its rows of the table of pairs, the main set first.

    measured: the table of pairs, in which a pair is once a method. asked: the cohort's pairs with their sets and
    repeats, each of which counts in the published set. seen: images of the subjects that a model was trained on; the
    set of the others is there only where they are not all.
    """
    main = main_set(measured)
    sets = {MAIN: main}
    if asked["set"].eq(PUBLISHED).any():
        published = asked.loc[asked["set"].isin(["", PUBLISHED]), ["moving", "fixed"]]
        sets[AS_PUBLISHED] = published.merge(measured, on=["moving", "fixed"])
    unseen = main[~(main["moving"].isin(seen) | main["fixed"].isin(seen))]
    if len(unseen) < len(main):
        sets[UNSEEN] = unseen
    others = sorted(set(asked["set"]) - {"", PUBLISHED})
    return sets | {name: measured[measured["set"] == name] for name in others}


def sets_in_words(sets: pd.DataFrame) -> str:
    """What each set of the table of sets is, with its number of pairs."""
    counts = (sets["pairs"] + sets["failed"]).groupby(sets["set"], sort=False).max()
    named = (
        f"{name}, {int(pairs):,} pair{'' if pairs == 1 else 's'}, {WHAT.get(name, OTHER)}"
        for name, pairs in counts.items()
    )
    return f"Sets of pairs: {'; '.join(named)}."
