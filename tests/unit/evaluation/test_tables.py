"""Tables of the whole cohort, with means worked out by hand."""

import math
import shutil

import pandas as pd
import pytest
import typed
from cohorts import write_training_set

from cohortreg.cohort.shards import shard_of
from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table, write_table
from cohortreg.evaluation.tables import merge, refuse_failed_rows, summarise, write_tables
from cohortreg.files import write_json
from cohortreg.layout import Layout

MODELS = {"icon": typed.model({"similarity": "mse", "stages": [{"steps": 2, "downsample": 2}]})}
SIMILARITIES = {"identity": "", "icon-2step": "MSE"}
METHODS = ["identity", "icon-2step"]
SHARDS = 7


def row(method, moving, fixed, dice, folds=0, time=1.0, error=0.0, failure=""):
    return {
        "method": method,
        "moving": moving,
        "fixed": fixed,
        "dice_mean": dice,
        "dice_core": dice,
        "hd95_mean": 10 * dice,
        "hd95_core": 10 * dice,
        "folds": folds,
        "folds_percent": folds / 10,
        "log_jacobian_std": folds / 100,
        "inverse_consistency_voxels": error,
        "time_s": time,
        "failure": failure,
    }


def failed(method, moving, fixed, reason):
    return row(method, moving, fixed, math.nan, math.nan, math.nan, math.nan, reason)


def summary_of(rows) -> pd.DataFrame:
    return summarise(pd.DataFrame(rows), SIMILARITIES, "identity", 1)


def train(layout, *image_ids):
    """The images that the model icon was trained on."""
    write_json(layout.model_training("icon"), {"training_set": write_training_set(layout, *image_ids)})


@pytest.fixture
def layout(tmp_path) -> Layout:
    """Two methods and two pairs, each in its shard beside a pair that the cohort no longer has."""
    layout = Layout(tmp_path)
    layout.pairs.write_text("moving\tfixed\nb\tNA\na\tb\n")
    layout.images.write_text("image_id\tsubject_id\na\tanna\nb\tbert\nNA\tcleo\nbert-2\tbert\ndora\tdora\n")
    train(layout, "dora")
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
        hardware = "abacus" if one["method"] == "identity" or one["fixed"] == "b" else "GPU"
        registered = pd.DataFrame([one | {"hardware": hardware}])[["moving", "fixed", "time_s", "hardware"]]
        write_table(layout.registered_shard(one["method"], shard), registered)
    # Left behind by a run with more shards.
    stale = pd.DataFrame({"moving": ["a"], "fixed": ["b"], "time_s": [1.0], "hardware": ["slide rule"]})
    write_table(layout.registered_shard("identity", SHARDS), stale)
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


def test_a_method_that_always_failed_has_a_row_and_is_a_fault(layout):
    for path in sorted(layout.evaluated_shard("icon-2step", 0).parent.glob("*.csv")):
        table = read_table(path)
        empty = table.select_dtypes("number").columns
        write_table(path, table.assign(failure="exit 1, no field").assign(**dict.fromkeys(empty, math.nan)))
    write_tables(layout, METHODS, MODELS, SIMILARITIES, SHARDS, "identity", 1)
    summary = read_table(layout.methods_table).set_index("method")
    assert summary["pairs"].to_dict() == {"identity": 2, "icon-2step": 0}
    assert summary["failed"].to_dict() == {"identity": 0, "icon-2step": 2}
    assert summary.loc["icon-2step", ["dice_mean", "folds_mean", "time_s_mean", "p_value"]].isna().all()
    pairs = read_table(layout.pairs_table)
    assert pairs["failure"].tolist() == ["", "", "exit 1, no field", "exit 1, no field"]
    said = "icon-2step registered none of its 2 pairs, a to b because exit 1, no field; .*take icon-2step out"
    with pytest.raises(UserError, match=said):
        refuse_failed_rows(layout)


def test_tables_are_written(layout):
    write_tables(layout, METHODS, MODELS, SIMILARITIES, SHARDS, "identity", 1)
    assert "| icon-2step (2 step 1/2 res.) | MSE | 70.00 |" in layout.methods_markdown.read_text("utf-8")
    assert r"\begin{tabular}" in layout.methods_latex.read_text("utf-8")
    summary = read_table(layout.methods_table)
    assert summary["similarity"].tolist() == ["", "MSE"]
    assert summary["hardware"].tolist() == ["abacus", "GPU and abacus"]
    assert layout.pairs_table.read_text().splitlines()[1] == "identity,a,b,,0.25,0.25,2.5,2.5,0,0,0,0,1,"


def sets_of(layout) -> pd.DataFrame:
    write_tables(layout, METHODS, MODELS, SIMILARITIES, SHARDS, "identity", 1)
    return read_table(layout.sets_table).set_index(["method", "set"])


def test_one_set_is_the_table_of_methods_again(layout):
    sets = sets_of(layout)
    assert sets.index.tolist() == [("identity", "main"), ("icon-2step", "main")]
    columns = ["pairs", "dice_mean", "dice_std", "dice_core_mean", "folds_mean"]
    assert sets.columns.tolist() == [
        *("pairs", "failed", "dice_mean", "dice_mean_low", "dice_mean_high", "dice_std", "dice_core_mean"),
        *("folds_mean", "folds_mean_low", "folds_mean_high", "folds_percent_mean"),
    ]
    methods = read_table(layout.methods_table)[columns].values.tolist()
    assert sets[columns].values.tolist() == methods
    assert "Sets of pairs" not in layout.methods_markdown.read_text("utf-8")


def test_a_published_list_counts_its_repeats_and_images_with_themselves(layout):
    rows = ["b\tNA\t", "a\tb\t", "b\tNA\tpublished", "a\ta\tpublished", "b\ta\tyears"]
    layout.pairs.write_text("moving\tfixed\tset\n" + "\n".join(rows) + "\n")
    for method in METHODS:
        more = [row(method, "a", "a", 0.1), row(method, "b", "a", 0.1)]
        for shard in range(SHARDS):
            there = [one for one in more if shard_of(one["moving"], one["fixed"], shards=SHARDS) == shard]
            path = layout.evaluated_shard(method, shard)
            before = [read_table(path)] if path.exists() else []
            write_table(path, pd.concat([*before, pd.DataFrame(there, columns=list(more[0]))]))
    sets = sets_of(layout)
    icon = sets.loc["icon-2step"]
    assert icon["pairs"].to_dict() == {"main": 2, "as published": 4, "years": 1}
    # 0.8 and 0.6; 0.8 twice, 0.6 and 0.1; 0.1.
    assert icon["dice_mean"].tolist() == pytest.approx([0.7, 0.575, 0.1])
    assert icon["folds_mean"].tolist() == pytest.approx([1.5, 1.5, 0])
    assert icon["dice_std"].iloc[:2].tolist() == pytest.approx([0.1414214, 0.3304038], abs=1e-6)
    # The other tables are about the main pairs, and the table of pairs has each once.
    assert read_table(layout.methods_table)["dice_mean"].tolist() == pytest.approx([0.375, 0.7])
    pairs = read_table(layout.pairs_table)
    assert pairs.loc[pairs["method"] == "identity", ["moving", "fixed", "set"]].values.tolist() == [
        *(["a", "a", "published"], ["a", "b", ""], ["b", "NA", ""], ["b", "a", "years"]),
    ]
    text = layout.methods_markdown.read_text("utf-8")
    assert "| icon-2step | 70.00 | 1.5 (0.150 %) | 57.50 [" in text
    assert "] | 1.5 (0.150 %) | 10.00 | 0 (0 %) |\n" in text
    assert "Means over 2 pairs." in text and "as published, 4 pairs, the published list" in text
    assert "years, 1 pair, " in text


def test_without_a_row_of_the_main_set_all_are_main(layout):
    layout.pairs.write_text("moving\tfixed\tset\nb\tNA\tone\na\tb\ttwo\n")
    assert sets_of(layout).loc["icon-2step", "dice_mean"].to_dict() == {"main": 0.7, "one": 0.8, "two": 0.6}
    assert read_table(layout.methods_table)["dice_mean"].tolist() == pytest.approx([0.375, 0.7])


def test_unseen_subjects_are_those_that_no_model_was_trained_on(layout):
    train(layout, "NA", "dora")
    sets = sets_of(layout)
    assert sets.loc[("icon-2step", "unseen subjects"), ["pairs", "dice_mean"]].tolist() == [1, 0.6]
    assert sets.loc[("identity", "unseen subjects"), ["pairs", "dice_mean"]].tolist() == [1, 0.25]
    # Another image of a subject is enough; both pairs have one of Bert's.
    train(layout, "bert-2")
    sets = sets_of(layout)
    assert sets.loc[("icon-2step", "unseen subjects"), "pairs"] == 0
    assert sets.loc[("icon-2step", "unseen subjects"), ["dice_mean", "folds_mean"]].isna().all()
    # A model whose row is not asked for does not count.
    write_tables(layout, ["identity"], MODELS, SIMILARITIES, SHARDS, "identity", 1)
    assert read_table(layout.sets_table)["set"].tolist() == ["main"]


def test_tables_outlive_the_transforms(layout):
    shutil.rmtree(layout.registered_shard("identity", 0).parent)
    write_tables(layout, METHODS, MODELS, SIMILARITIES, SHARDS, "identity", 1)
    assert read_table(layout.methods_table)["hardware"].tolist() == ["", "GPU and abacus"]


def test_published_results_are_beside_the_rows_that_they_name(layout, tmp_path):
    (tmp_path / "published.csv").write_text(
        "row,dice,folds,time_s\nicon-2step,59.36,49.35,0.09\nsyn,65.71,0,1330\n"
    )
    write_tables(
        layout, METHODS, MODELS, SIMILARITIES, SHARDS, "identity", 1, published=tmp_path / "published.csv"
    )
    summary = read_table(layout.methods_table).set_index("method")
    columns = ["dice_published", "folds_published", "time_s_published"]
    assert summary.loc["icon-2step", columns].tolist() == [0.5936, 49.35, 0.09]
    assert summary.loc["identity", columns].isna().all()


def test_a_structure_may_be_called_as_another_one_s_mean():
    rows = [{"method": "identity", "dice_mean": 0.5, "dice_a": 0.1, "dice_a_mean": 0.9, "failure": ""}] * 2
    rows = [row | {"moving": name, "fixed": "b"} for row, name in zip(rows, "cd", strict=True)]
    summary = summarise(pd.DataFrame(rows), SIMILARITIES, "identity", 1)
    assert summary.loc[0, ["dice_mean", "dice_a_mean", "dice_a_mean_mean"]].tolist() == pytest.approx(
        [0.5, 0.1, 0.9]
    )
