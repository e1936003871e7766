"""Tables of the whole cohort, with means worked out by hand."""

import math

import pandas as pd
import pytest
from evaluated import METHODS, SHARDS, SIMILARITIES, failed, row, write_evaluated

from cohortreg.cohort.shards import shard_of
from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table, write_table
from cohortreg.evaluation.summaries import summarise
from cohortreg.jobs.tables import merge
from cohortreg.layout import Layout


@pytest.fixture
def layout(tmp_path) -> Layout:
    return write_evaluated(tmp_path)


def summary_of(rows) -> pd.DataFrame:
    return summarise(pd.DataFrame(rows), SIMILARITIES, "identity", 1)


def test_the_two_pairs_lie_in_two_shards_of_several():
    assert shard_of("b", "NA", shards=SHARDS) != shard_of("a", "b", shards=SHARDS)


def test_merge_keeps_the_cohorts_pairs_in_the_order_of_methods_and_names(layout):
    table = merge(layout, METHODS, SHARDS)
    assert table[["method", "moving", "fixed"]].values.tolist() == [
        ["identity", "a", "b"],
        ["identity", "b", "NA"],
        ["icon-2step", "a", "b"],
        ["icon-2step", "b", "NA"],
    ]
    assert table["folds"].tolist() == [0, 0, 0, 3]


def test_a_pair_or_a_shard_that_was_not_evaluated_is_named(layout):
    layout.pairs.write_text("moving\tfixed\nb\tNA\na\tb\ngone\td\n")
    _to_one_shard(layout)
    with pytest.raises(UserError, match="names 1 pairs that identity was not evaluated on"):
        merge(layout, METHODS, 1)
    layout.evaluated_shard("identity", 0).unlink()
    with pytest.raises(UserError, match=r"identity/0\.csv is missing: run `cohortreg evaluate`"):
        merge(layout, METHODS, 1)


def _to_one_shard(layout) -> None:
    """Gather the fixture's shards in a single one."""
    for method in METHODS:
        paths = sorted(layout.evaluated_shard(method, 0).parent.glob("*.csv"))
        write_table(layout.evaluated_shard(method, 0), pd.concat([read_table(path) for path in paths]))


def test_a_shard_of_an_earlier_version_is_named(layout):
    _to_one_shard(layout)
    path = layout.evaluated_shard("identity", 0)
    write_table(path, read_table(path).drop(columns="failure"))
    with pytest.raises(
        UserError, match=r"identity/0\.csv has no column failure, .* run `cohortreg evaluate`"
    ):
        merge(layout, METHODS, 1)


def test_means_and_spread(layout):
    summary = summary_of(merge(layout, METHODS, SHARDS)).set_index("method")
    assert summary.index.tolist() == METHODS
    icon = summary.loc["icon-2step"]
    assert icon["pairs"] == 2
    assert icon["dice_mean"] == icon["dice_core_mean"] == pytest.approx(0.7)
    assert icon["dice_std"] == pytest.approx(math.sqrt(0.02))
    assert icon["hd95_mean"] == icon["hd95_core_mean"] == pytest.approx(7)
    assert icon["folds_mean"] == 1.5
    assert icon["folds_percent_mean"] == pytest.approx(0.15)
    assert icon["log_jacobian_std_mean"] == pytest.approx(0.015)
    assert icon["time_s_mean"] == 2
    # The pair without an inverse does not count.
    assert summary.loc["identity", "inverse_consistency_voxels_mean"] == 0


def test_columns_of_the_methods(layout):
    assert summary_of(merge(layout, METHODS, SHARDS)).columns.tolist() == [
        *("method", "similarity", "pairs", "failed"),
        *("dice_mean", "dice_mean_low", "dice_mean_high", "dice_std", "p_value", "dice_core_mean"),
        *("hd95_mean", "hd95_core_mean"),
        *("folds_mean", "folds_mean_low", "folds_mean_high", "folds_percent_mean"),
        *("log_jacobian_std_mean", "inverse_consistency_voxels_mean"),
        *("time_s_mean", "time_s_mean_low", "time_s_mean_high"),
    ]


def test_intervals_and_the_test_against_the_reference():
    # On each of six pairs the row is better: of 2^6 signs two are as extreme.
    dice = [0.50, 0.52, 0.55, 0.61, 0.48, 0.57]
    rows = [row("identity", str(i), "f", value) for i, value in enumerate(dice)]
    rows += [row("icon-2step", str(i), "f", value + 0.01 * i + 0.1, folds=i) for i, value in enumerate(dice)]
    summary = summary_of(rows).set_index("method")
    icon, identity = summary.loc["icon-2step"], summary.loc["identity"]
    assert icon["p_value"] == pytest.approx(2 / 64)
    assert math.isnan(identity["p_value"])
    for mean in ("dice_mean", "folds_mean"):
        assert icon[f"{mean}_low"] < icon[mean] < icon[f"{mean}_high"]
    # Every pair of identity folds nowhere and takes as long.
    assert math.isnan(identity["folds_mean_low"])
    assert math.isnan(identity["time_s_mean_high"])
    # A row's interval does not depend on the other rows.
    alone = summarise(pd.DataFrame(rows[6:]), SIMILARITIES, "icon-2step", 1)
    assert alone["dice_mean_low"].item() == icon["dice_mean_low"]


def test_failed_pairs_are_counted_and_leave_the_means_alone():
    rows = [row("identity", "a", "b", 0.5), row("identity", "b", "c", 0.7)]
    rows += [failed("icon-2step", "a", "b", "exit 1"), row("icon-2step", "b", "c", 0.8, folds=3)]
    icon = summary_of(rows).set_index("method").loc["icon-2step"]
    assert (icon["pairs"], icon["failed"], icon["dice_mean"], icon["folds_mean"]) == (1, 1, 0.8, 3)
    # Compared on the one pair that both have.
    assert icon["p_value"] == 1


def test_a_structure_may_be_called_as_another_one_s_mean():
    rows = [{"method": "identity", "dice_mean": 0.5, "dice_a": 0.1, "dice_a_mean": 0.9, "failure": ""}] * 2
    rows = [row | {"moving": name, "fixed": "b"} for row, name in zip(rows, "cd", strict=True)]
    summary = summarise(pd.DataFrame(rows), SIMILARITIES, "identity", 1)
    assert summary.loc[0, ["dice_mean", "dice_a_mean", "dice_a_mean_mean"]].tolist() == pytest.approx(
        [0.5, 0.1, 0.9]
    )
