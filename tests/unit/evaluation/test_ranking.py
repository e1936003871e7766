"""Which pairs are the best and the worst."""

import math

import pandas as pd

from cohortreg.evaluation.ranking import best_first, shown_pairs, worst_first


def table(rows) -> pd.DataFrame:
    columns = ["method", "moving", "fixed", "dice_mean", "folds_percent", "inverse_consistency_voxels"]
    return pd.DataFrame(rows, columns=columns).assign(failure="")


def test_pairs_are_ranked_by_dice_of_the_method():
    pairs = table(
        [
            ["m", "a", "b", 0.5, 0, 0],
            ["m", "a", "c", 0.9, 3, 0],
            ["m", "a", "d", math.nan, 0, 0],
            ["m", "b", "c", 0.7, 0, 0],
            ["m", "b", "d", 0.6, 0, 0],
            ["other", "x", "y", 1.0, 0, 0],
        ]
    )
    assert best_first(pairs, "m")["fixed"].tolist() == ["c", "c", "d", "b"]
    shown = shown_pairs(pairs, "m")
    assert {name: row["dice_mean"] for name, row in shown.items()} == {
        "best": 0.9,
        "median": 0.7,
        "worst": 0.5,
    }


def test_without_labels_pairs_are_ranked_by_folds_then_inverse_consistency():
    nan = math.nan
    pairs = table([["m", "a", "b", nan, 2, 0], ["m", "b", "c", nan, 1, 0.5], ["m", "c", "d", nan, 1, 0.1]])
    assert best_first(pairs, "m")["moving"].tolist() == ["c", "b", "a"]


def test_a_single_pair_is_best_median_and_worst():
    shown = shown_pairs(table([["m", "a", "b", 0.5, 0, 0]]), "m")
    assert [row["moving"] for row in shown.values()] == ["a", "a", "a"]


def test_failed_pairs_are_not_shown():
    pairs = table([["m", "a", "b", 0.5, 0, 0], ["m", "b", "c", math.nan, math.nan, math.nan]])
    pairs["failure"] = ["", "exit 1"]
    assert best_first(pairs, "m")["moving"].tolist() == ["a"]
    without_labels = pairs.assign(dice_mean=math.nan)
    assert best_first(without_labels, "m")["moving"].tolist() == ["a"]
    assert shown_pairs(pairs.assign(failure="exit 1"), "m") == {}


def test_the_worst_first_is_the_other_way_round_and_failures_come_last():
    pairs = table([["m", "a", "b", 0.5, 0, 0], ["m", "a", "c", 0.9, 3, 0], ["n", "a", "b", 0.7, 0, 0]])
    pairs.loc[len(pairs)] = ["m", "a", "d", math.nan, math.nan, math.nan, "exit 1"]
    rows = worst_first(pairs, ["n", "m"])
    assert rows["method"].tolist() == ["n", "m", "m", "m"] and rows["fixed"].tolist() == ["b", "b", "c", "d"]
    unlabelled = pairs.assign(dice_mean=math.nan)
    assert worst_first(unlabelled, ["m"])["fixed"].tolist()[:2] == ["c", "b"]
