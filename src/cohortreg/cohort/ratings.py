"""Ratings of pairs: which of them a cohort leaves out."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from cohortreg.cohort.tables import pair_ids, read_ratings
from cohortreg.provenance import running

NAMED = 5  # pairs in a warning


def rated_out(
    path: Path | None, words: Collection[str], pairs: pd.DataFrame
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Find the pairs with one of these ratings.

    Returns:
        (moving, fixed) -> the reason, such as "rated bad: upside down", and a sentence where pairs are rated that the
        cohort does not have.
    """
    if path is None:
        return {}, []
    ratings = read_ratings(path)
    running().reads(path)
    known = set(pair_ids(pairs))
    reasons, unknown = {}, []
    for moving, fixed, rating, note in ratings.itertuples(index=False, name=None):
        if (moving, fixed) not in known:
            unknown.append(f"{moving} {fixed}")
        elif rating in words:
            reasons[moving, fixed] = f"rated {rating}" + (f": {note}" if note else "")
    return reasons, _warnings(path, unknown)


def _warnings(path: Path, unknown: list[str]) -> list[str]:
    if not unknown:
        return []
    number = len(unknown)
    named = ", ".join(unknown[:NAMED]) + (", ..." if number > NAMED else "")
    pairs, what = ("1 pair", "rating has") if number == 1 else (f"{number} pairs", "ratings have")
    return [f"{path} rates {pairs} that the cohort does not have ({named}): the {what} no effect."]
