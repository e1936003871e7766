"""Tables of the whole cohort, with means worked out by hand."""

import math

import pandas as pd
import pytest

from cohortreg.cohort.shards import shard_of
from cohortreg.errors import UserError
from cohortreg.evaluation.tables import markdown, merge, read_table, summarise, write_table, write_tables
from cohortreg.layout import Layout

MODELS = {"icon": {"similarity": "mse", "stages": [{"steps": 2, "downsample": 2}]}}
SIMILARITIES = {"identity": "", "icon-2step": "MSE"}
METHODS = ["identity", "icon-2step"]
SHARDS = 7


def row(method, moving, fixed, dice, folds=0, time=1.0, error=0.0):
    return {
        "method": method,
        "moving": moving,
        "fixed": fixed,
        "dice_mean": dice,
        "dice_core": dice,
        "folds": folds,
        "folds_percent": folds / 10,
        "inverse_consistency_voxels": error,
        "time_s": time,
    }


@pytest.fixture
def layout(tmp_path) -> Layout:
    """Two methods and two pairs, each in its shard beside a pair that the cohort no longer has."""
    layout = Layout(tmp_path)
    layout.pairs.write_text("moving\tfixed\nb\tNA\na\tb\n")
    rows = [
        row("icon-2step", "b", "NA", 0.8, folds=3, time=3.0),
        row("icon-2step", "a", "b", 0.6),
        row("identity", "b", "NA", 0.5, error=math.nan),
        row("identity", "a", "b", 0.25),
    ]
    for one in rows:
        shard = shard_of(one["moving"], one["fixed"], shards=SHARDS)
        gone = row(one["method"], f"gone-{one['moving']}", "b", 0.1)
        write_table(layout.evaluated_shard(one["method"], shard), pd.DataFrame([one, gone]))
    return layout


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


def test_means_and_spread(layout):
    summary = summarise(merge(layout, METHODS, SHARDS), SIMILARITIES).set_index("method")
    assert summary.index.tolist() == METHODS
    icon = summary.loc["icon-2step"]
    assert icon["pairs"] == 2
    assert icon["dice_mean"] == icon["dice_core_mean"] == pytest.approx(0.7)
    assert icon["dice_std"] == pytest.approx(math.sqrt(0.02))
    assert icon["folds_mean"] == 1.5
    assert icon["folds_percent_mean"] == pytest.approx(0.15)
    assert icon["time_s_mean"] == 2
    # The pair without an inverse does not count.
    assert summary.loc["identity", "inverse_consistency_voxels_mean"] == 0


def test_columns_of_the_methods(layout):
    assert summarise(merge(layout, METHODS, SHARDS), SIMILARITIES).columns.tolist() == [
        "method",
        "similarity",
        "pairs",
        "dice_mean",
        "dice_std",
        "dice_core_mean",
        "folds_mean",
        "folds_percent_mean",
        "inverse_consistency_voxels_mean",
        "time_s_mean",
    ]


def test_without_labels_there_is_no_dice_and_everything_else(layout):
    rows = [row(method, "a", "b", math.nan, folds=2) for method in METHODS]
    summary = summarise(pd.DataFrame(rows), SIMILARITIES)
    assert summary["dice_mean"].isna().all()
    assert markdown(summary, MODELS).splitlines()[2:] == [
        "| identity | – | – | 2 (0.200 %) | 1.00 |",
        "| icon-2step (2 step 1/2 res.) | MSE | – | 2 (0.200 %) | 1.00 |",
    ]


def test_tables_are_written_in_the_form_of_the_paper(layout):
    write_tables(layout, METHODS, MODELS, SIMILARITIES, SHARDS)
    assert layout.methods_markdown.read_text("utf-8").splitlines() == [
        "| Method | L<sub>sim</sub> | Dice | Folds | Time [s] |",
        "| --- | --- | ---: | ---: | ---: |",
        "| identity | – | 37.50 | 0 (0 %) | 1.00 |",
        "| icon-2step (2 step 1/2 res.) | MSE | 70.00 | 1.5 (0.150 %) | 2.00 |",
    ]
    assert read_table(layout.methods_table)["similarity"].tolist() == ["", "MSE"]
    assert layout.pairs_table.read_text().splitlines()[1] == "identity,a,b,0.25,0.25,0,0,0,1"


def test_rounding_errors_of_zero_are_zero(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"method": ["m"], "folds": [3], "error": [4.3e-15]}))
    assert (tmp_path / "t.csv").read_text() == "method,folds,error\nm,3,0\n"
