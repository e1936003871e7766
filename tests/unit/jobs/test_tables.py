"""The tables of a cohort as they are written."""

import math
import shutil

import pandas as pd
import pytest
from evaluated import METHODS, MODELS, SHARDS, SIMILARITIES, row, train, write_evaluated

from cohortreg.cohort.shards import shard_of
from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table, write_table
from cohortreg.jobs.tables import refuse_failed_rows, write_tables
from cohortreg.layout import Layout


@pytest.fixture
def layout(tmp_path) -> Layout:
    return write_evaluated(tmp_path)


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
