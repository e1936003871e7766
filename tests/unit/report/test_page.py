"""The report: every part is there, nothing comes from elsewhere, nothing is taken for markup."""

import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from cohortreg.files import read_json, write_json
from cohortreg.layout import FIGURES, Layout
from cohortreg.report.page import PAIRS_AT_FIRST, sentences, write_report

from .conftest import EVIL

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Keeps every element and the text, and fails where elements are not closed in turn."""

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


def read(layout, config) -> Reader:
    write_report(layout, config)
    reader = Reader()
    reader.feed(layout.report.read_text("utf-8"))
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page(drawn) -> Reader:
    return read(*drawn)


def test_it_has_every_part(page):
    headings = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert headings == ["cohort", "methods", "figures", "pairs", "models", "reproduce"]
    text = " ".join(page.text.split())
    for part in (
        "On 3 pairs, icon-3step reaches a mean Dice of",
        "Warning: 1 test subject is also in training (s<1>)",
        "3, of which 0 to train on and 3 to test on",
        "1 image and 1 pair, listed below",
        "broken.nii is cut short",
        "2 step 1/2 res., 1 step full res.",
        "outer rim",
        "abacus, 7 beads",
        "icon-3step: stage 2 of icon",
        "3 min on abacus",
        "from 70 to 71.5",
        "torch 2.13.0, commit c0ffee",
        "snakemake --cores all --configfile cohort.yaml",
        "cohort: tiny",
    ):
        assert part in text


def test_every_figure_is_embedded_and_described(page):
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == len(FIGURES)
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in images)


def test_nothing_comes_from_elsewhere(page, drawn):
    assert not any(tag in ("link", "iframe", "object") for tag, _ in page.elements)
    for _, attributes in page.elements:
        for name in ("src", "href"):
            assert re.match(r"data:|#|$", attributes.get(name, ""))
    assert not re.search(r"url\(|@import|https?://", drawn[0].report.read_text("utf-8"))


def test_names_are_text_and_never_markup(page):
    assert EVIL in page.text
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert "image 'broken' is <excluded>" in page.text


def test_pairs_are_listed_the_worst_first(page, drawn):
    layout, config = drawn
    rows = re.findall(r'<td class="number" data-value="([\d.]+)">', layout.report.read_text("utf-8"))
    per_row = 1 + len(config["structures"]) + 6
    dice = [float(value) for value in rows[::per_row]]
    assert len(dice) == 3
    assert dice == sorted(dice)


def test_many_pairs_are_collapsed_and_the_rest_is_told(drawn, tmp_path, monkeypatch):
    layout, config = drawn
    assert "Show all" not in read(layout, config).text
    monkeypatch.setattr("cohortreg.report.page.PAIRS_AT_MOST", 2)
    monkeypatch.setattr("cohortreg.report.page.PAIRS_AT_FIRST", 1)
    shortened = read(layout, config)
    assert "Show all 2 pairs" in shortened.text
    assert "the worst 2 of 3" in " ".join(shortened.text.split())
    tables = [attributes.get("class", "") for tag, attributes in shortened.elements if tag == "table"]
    assert "sortable collapsed" in tables
    assert PAIRS_AT_FIRST == 100


def test_without_labels_and_models_the_page_says_so(bare):
    text = " ".join(read(*bare).text.split())
    assert "On 3 pairs, affine has folds in" in text
    assert "No model was trained for this cohort." in text
    assert "Structuresnone" in text
    assert "nan" not in text.lower().split()


def test_the_result_in_words():
    columns = [
        "method",
        "pairs",
        "dice_mean",
        "folds_percent_mean",
        "inverse_consistency_voxels_mean",
        "time_s_mean",
        "failed",
    ]
    rows = [
        ["identity", 1200, 0.55, 0, 0.0, 0.0, 0],
        ["affine", 1200, 0.63, 0, 0.0, 2.0, 0],
        ["icon-4step", 1200, 0.7612, 0.0423, math.nan, 0.25, 0],
    ]
    summary = pd.DataFrame(rows, columns=columns)
    assert sentences(summary, "icon-4step", "affine") == (
        "On 1,200 pairs, icon-4step reaches a mean Dice of 76.12 % (affine 63.00 %, unregistered 55.00 %), "
        "with folds in 0.042 % of voxels. A pair takes 0.25 s."
    )
    assert sentences(summary, "identity", "identity").startswith(
        "On 1,200 pairs, identity reaches a mean Dice of 55.00 %, with folds in 0 % of voxels and the maps"
    )


def test_the_methods_with_interval_test_and_distance(page):
    text = " ".join(page.text.split())
    assert "Wilcoxon signed-rank test of the pairs' Dice against affine" in text
    assert "affineMI" in text
    assert re.search(r"\d\d\.\d\d\[\d\d\.\d\d, \d\d\.\d\d\]", text)
    assert "reference" in text
    assert "HD95 [mm]" in text
    assert "abacus, 7 beads" in text
    # Nothing failed, and nothing published was given.
    for absent in ("Published", "Failed"):
        assert absent not in text


def test_published_results_are_below_the_measured(drawn, tmp_path):
    layout, config = drawn
    methods = pd.read_csv(layout.methods_table)
    changed = Layout(tmp_path)
    for folder in ("tables", "figures", "models"):
        shutil.copytree(layout.root / folder, tmp_path / folder)
    for path in (layout.cohort, layout.excluded):
        shutil.copy(path, tmp_path)
    beside = {"dice_published": [math.nan, 0.6829], "folds_published": [math.nan, 49.35]}
    rows = methods["method"].isin(["identity", "icon-3step"])
    for column, values in (beside | {"time_s_published": [math.nan, 0.09]}).items():
        methods.loc[rows, column] = values
    methods.to_csv(changed.methods_table, index=False)
    report = config["report"] | {"published": "table2.csv"}
    text = read(changed, config | {"report": report}).text
    assert [text.count(f"published {value}") for value in ("68.29", "49.35", "0.09")] == [1, 1, 1]
    assert "published –" not in text
    assert "Published: the numbers of table2.csv" in " ".join(text.split())


def test_failures_are_listed_and_a_method_that_always_failed_is_said_so(failing):
    text = " ".join(read(*failing).text.split())
    assert "Registration by icon-3step failed for all 3 pairs." in text
    assert "4 pairs of a method failed and are in none of the means" in text
    assert text.count("out of memory") == 3
    assert "<exit 1>" in text
    assert "The best pair" not in text
    assert "nan" not in text.lower().split()


def test_every_figure_and_table_has_a_caption_for_snakemake():
    captions = Path(__file__).parents[3] / "workflow" / "report"
    for name in (*FIGURES, "pairs", "methods", "report"):
        assert (captions / f"{name}.rst").read_text("utf-8").strip()


def test_rows_that_were_left_out_are_named(drawn):
    layout, config = drawn
    write_report(layout, config, ["syn is left out: the package ants is not installed; run make baselines"])
    assert (
        "<p>syn is left out: the package ants is not installed; run make baselines</p>"
        in layout.report.read_text()
    )
    write_report(layout, config)
    assert "left out: the package" not in layout.report.read_text()


def test_a_stage_that_is_no_row_of_its_own_has_its_card_too(drawn):
    layout, config = drawn
    card = read_json(layout.model_card("icon", 1))
    more = {
        "model": "avsm",
        "method": "avsm",
        "stage": 1,
        "steps": 7,
        "stages": [{**card["stages"][0], "steps": 7}],
    }
    write_json(layout.model_card("avsm", 1), card | more)
    models = config["models"] | {"avsm": {"method": "avsm", "stages": [{"steps": 7}, {"steps": 3}]}}
    write_report(layout, config | {"models": models})
    text = layout.report.read_text()
    assert "<h3>stage 1 of avsm</h3>" in text
    assert "of avsm, its regularity with a weight from" in text
    layout.model_card("avsm", 1).unlink()


def test_the_configurations_note_is_there(drawn):
    layout, config = drawn
    write_report(layout, config | {"report": config["report"] | {"note": "Few iterations; no comparison."}})
    assert "<p>Few iterations; no comparison.</p>" in layout.report.read_text()


def test_sets_have_means_of_their_own_and_the_rest_is_about_the_main_one(with_sets):
    page = read(*with_sets)
    text = " ".join(page.text.split())
    assert "On 2 pairs, affine reaches" in text
    assert "By set of pairs" in text
    assert "Sets of pairs: main, 2 pairs, those of the other tables and the figures; years, 1 pair, " in text
    assert "Every pair of the main set as registered by affine" in text
    shown = {
        attributes["alt"]
        for tag, attributes in page.elements
        if tag == "img"
        if "pair, " in attributes["alt"]
    }
    assert len(shown) == 3 and not any(f"b to {EVIL}" in alt for alt in shown)


def test_one_set_needs_no_table_of_sets(page):
    assert "By set of pairs" not in page.text and "of the main set" not in page.text


def test_all_structures_together_are_beside_each(page):
    assert "Together: all structures as one" in page.text
