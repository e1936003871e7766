"""What figures and pages are made from is read once, and is all there."""

import shutil
from collections import Counter

import pandas as pd
import pytest

from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table, write_table
from cohortreg.jobs.comparison import read_comparison
from cohortreg.jobs.figures import draw_figures
from cohortreg.jobs.report import write_report
from cohortreg.layout import Layout
from cohortreg.report.pages.pair_pages import choose_pairs


def test_each_table_is_read_once_for_figures_and_for_the_report(results, tmp_path, monkeypatch):
    layout = Layout(tmp_path / "results")
    shutil.copytree(results[0].root, layout.root)
    read, counts = pd.read_csv, Counter()

    def counted(path, **given):
        counts[path] += 1
        return read(path, **given)

    monkeypatch.setattr(pd, "read_csv", counted)
    draw_figures(layout, read_comparison(layout, results[1]))
    tables = (layout.pairs_table, layout.methods_table, layout.sets_table)
    assert [counts[path] for path in tables] == [1, 1, 1]
    counts.clear()
    comparison = read_comparison(layout, results[1])
    assert len(choose_pairs(comparison)) == 3
    write_report(layout, comparison)
    assert [counts[path] for path in tables] == [1, 1, 1]


def test_tables_of_an_earlier_version_are_refused_in_one_sentence(results, tmp_path):
    layout = Layout(tmp_path)
    shutil.copytree(results[0].root / "tables", tmp_path / "tables")
    write_table(layout.pairs_table, read_table(layout.pairs_table).drop(columns="hd95_mean"))
    with pytest.raises(
        UserError, match=r"pairs\.csv has no column hd95_mean, .* run `cohortreg tables` again"
    ):
        read_comparison(layout, results[1])
    layout.pairs_table.unlink()
    with pytest.raises(UserError, match=r"pairs\.csv is missing; run `cohortreg tables` again"):
        read_comparison(layout, results[1])
