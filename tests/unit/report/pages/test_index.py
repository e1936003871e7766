"""The report: every part is there, nothing comes from elsewhere, nothing is taken for markup."""

import base64
import hashlib
import itertools
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
import typed
from cohorts import EVIL

from cohortreg.config import Report
from cohortreg.errors import UserError
from cohortreg.evaluation.ranking import worst_first
from cohortreg.files import read_json, write_json
from cohortreg.jobs.comparison import read_comparison
from cohortreg.jobs.report import write_report
from cohortreg.layout import Layout
from cohortreg.report.figures.registry import FIGURES
from cohortreg.report.figures.style import COLUMN, PAGE
from cohortreg.report.pages.index import best_rows, sentences
from cohortreg.report.pages.rows import columns, write_rows
from cohortreg.report_layout import FIGURE_SUFFIXES

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
    write_report(layout, read_comparison(layout, config))
    reader = Reader()
    reader.source = layout.report.index.read_text("utf-8")
    reader.feed(reader.source)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page(drawn) -> Reader:
    return read(*drawn)


def test_it_has_every_part(page):
    headings = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert headings == ["cohort", "methods", "pairs", "figures", "models", "reproduce"]
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


def test_without_scripts_pairs_lead_to_their_pages(page, drawn):
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    found = [unquote(link) for link in links if link.startswith("pairs/")]
    assert len(found) == 3
    assert all((drawn[0].report.root / path).is_file() for path in found)


def test_every_figure_is_there_and_described(page, drawn):
    report = drawn[0].report
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == len(FIGURES)
    assert all(image["alt"] and int(image["width"]) > 0 for image in images)
    sources = {image["src"] for image in images}
    assert {Path(source).stem for source in sources} == set(FIGURES)
    assert sources >= {"figures/pairs-worst.png", "figures/dice-time.svg"}
    for name, suffix in itertools.product(FIGURES, FIGURE_SUFFIXES):
        assert report.figure(name, suffix).read_bytes() == drawn[0].figure(name, suffix).read_bytes()


def test_a_large_drawing_is_shown_as_pixels(drawn, monkeypatch):
    monkeypatch.setattr("cohortreg.report.pages.index.DRAWN_SVG", 10)
    images = {attributes["src"] for tag, attributes in read(*drawn).elements if tag == "img"}
    assert images == {f"figures/{name}.png" for name in FIGURES}


def test_nothing_comes_from_elsewhere_and_everything_is_there(page, drawn):
    report = drawn[0].report
    for _, attributes in page.elements:
        for name in ("src", "href"):
            address = attributes.get(name, "")
            if not re.match(r"data:,$|#|$", address):
                assert (report.root / unquote(address)).is_file(), address
    for path in (report.index, *report.root.glob("static/*")):
        assert not re.search(r"url\(|@import|https?://", path.read_text("utf-8")), path


def test_figures_are_as_wide_as_their_inches_a_little_enlarged(page):
    widths = {
        attributes["src"].split("/")[-1].split(".")[0]: int(attributes["width"])
        for tag, attributes in page.elements
        if tag == "img"
    }
    assert widths["folds"] == round(1.3 * 96 * COLUMN)
    assert widths["pairs-best"] == widths["training"] == round(1.3 * 96 * PAGE)


def test_a_figure_that_is_missing_is_told_and_the_rest_is_there(drawn, tmp_path):
    layout, config = drawn
    changed = Layout(tmp_path / "results")
    shutil.copytree(layout.root, changed.root)
    for suffix in FIGURE_SUFFIXES:
        changed.figure("folds", suffix).unlink()
    changed.figure("training", "svg").unlink()
    page = read(changed, config)
    assert "The file of this figure is missing: figures/folds.png." in page.text
    images = {attributes["src"] for tag, attributes in page.elements if tag == "img"}
    assert len(images) == len(FIGURES) - 1 and "figures/training.png" in images


def test_without_a_table_there_is_one_sentence_and_the_earlier_report_stays(drawn, tmp_path):
    layout, config = drawn
    changed = Layout(tmp_path / "results")
    shutil.copytree(layout.root, changed.root)
    write_report(changed, read_comparison(changed, config))
    before = changed.report.index.read_text("utf-8")
    changed.pairs_table.unlink()
    with pytest.raises(UserError, match=r"pairs\.csv is missing; run `cohortreg tables` again"):
        write_report(changed, read_comparison(changed, config))
    assert changed.report.index.read_text("utf-8") == before


def test_a_report_that_fails_half_way_leaves_the_earlier_one_and_nothing_else(drawn, tmp_path):
    layout, config = drawn
    changed = Layout(tmp_path / "results")
    shutil.copytree(layout.root, changed.root)
    write_report(changed, read_comparison(changed, config))
    before = {path: path.read_bytes() for path in changed.root.rglob("*") if path.is_file()}
    changed.cohort.write_text("{")
    with pytest.raises(UserError, match=r"cohort\.json .*; delete it and run `cohortreg cohort` again"):
        write_report(changed, read_comparison(changed, config))
    changed.cohort.write_bytes(before[changed.cohort])
    assert {path: path.read_bytes() for path in changed.root.rglob("*") if path.is_file()} == before
    # What an earlier report had and this one has not is gone; what somebody else put there is not.
    (changed.report.root / "qc.tsv").write_text("mine")
    page = changed.report.pair("a", "b")
    assert page.is_file()
    write_report(changed, read_comparison(changed, config.model_copy(update={"report": Report(pages=0)})))
    assert not page.exists()
    assert (changed.report.root / "qc.tsv").read_text() == "mine"


def test_names_are_text_and_never_markup(page):
    assert EVIL in page.text
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert "image 'broken' is <excluded>" in page.text


def parts(layout: Layout) -> list[tuple[int, dict]]:
    """The parts of the table of pairs: which row each starts with, and what it holds."""
    texts = [
        layout.report.rows(part).read_text("utf-8")
        for part in range(len(list(layout.report.root.glob("rows/*"))))
    ]
    calls = [re.fullmatch(r"cohortreg\.rows\((\d+), (.*)\);\n", text, re.DOTALL) for text in texts]
    return [(int(call[1]), json.loads(call[2])) for call in calls]


def described(layout: Layout) -> dict:
    """What the page says of the table of pairs."""
    text = layout.report.index.read_text("utf-8")
    return json.loads(re.search(r'id="table-data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_table_of_pairs_has_every_pair_of_every_method_the_worst_first(page, drawn):
    layout, config = drawn
    ((start, part),) = parts(layout)
    table = pd.read_csv(layout.pairs_table)
    assert start == 0 and described(layout)["rows"] == len(table) == len(part["page"])
    names = {key: [part["strings"][code] for code in part[key]] for key in ("method", "moving", "fixed")}
    shown = pd.DataFrame(names | {key: part[key] for key in ("dice_mean", "dice_core", "folds", "time_s")})
    table["place"] = table["method"].map(config.methods.index)
    wanted = table.sort_values(["place", "dice_mean"], ignore_index=True)[list(shown)]
    pd.testing.assert_frame_equal(shown, wanted, check_dtype=False)
    assert EVIL in shown["moving"].values


def test_the_table_of_pairs_says_which_columns_there_are(page, drawn, bare, with_sets, failing):
    def titles(cohort) -> list[str]:
        write_report(cohort[0], read_comparison(*cohort))
        return [column["title"] for column in described(cohort[0])["columns"]]

    names = ["Method", "Moving", "Fixed"]
    dice = ["Dice [%]", "Dice core", "Dice outer rim", "Dice union", "HD95 [mm]"]
    others = ["Folds", "Folds [%]", "SD of log |J|", "Inverse error [voxels]", "Time [s]", "Rating"]
    assert titles(drawn) == [*names, *dice, *others]
    assert titles(bare) == [*names, *others]
    assert titles(with_sets) == [*names, "Set", *dice, *others]
    assert titles(failing) == [*names, *dice, *others, "Failure"]
    assert described(bare[0])["sort"] == "folds_percent" and not described(bare[0])["ascending"]


def test_rows_of_pairs_with_a_page_are_linked(drawn, tmp_path):
    pairs = worst_first(pd.read_csv(drawn[0].pairs_table, keep_default_na=False), drawn[1].methods)
    assert write_rows(Layout(tmp_path).report, pairs, columns(pairs, []), [("a", "b")]) == 1
    ((_, part),) = parts(Layout(tmp_path))
    moving = [part["strings"][code] for code in part["moving"]]
    assert part["page"] == [int(name == "a") for name in moving]


def test_many_rows_come_in_parts_and_without_scripts_there_are_the_worst(drawn, monkeypatch):
    layout, config = drawn
    monkeypatch.setattr("cohortreg.report.pages.index.PAIRS_WITHOUT_SCRIPTS", 2)
    monkeypatch.setattr("cohortreg.report.pages.rows.PART", 5)
    page = read(layout, config)
    assert [start for start, _ in parts(layout)] == [0, 5, 10]
    assert described(layout)["parts"] == 3
    assert "these are the worst 2 of the 3 pairs" in " ".join(page.text.split())


def test_without_labels_and_models_the_page_says_so(bare):
    text = " ".join(read(*bare).text.split())
    assert "On 3 pairs, affine has folds in" in text
    assert "No model was trained for this cohort." in text
    assert "Structuresnone" in text
    assert "No pair has a value of: Dice [%], HD95 [mm], since the cohort has no labels." in text
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


def test_the_rows_to_use_in_words():
    rows = [
        ["identity", 0.55, 0.0],
        ["demons", 0.764, 1.36],
        ["fit", 0.789, 1.5],
        ["icon-2step-fit", 0.8125, 1.2],
    ]
    summary = pd.DataFrame(rows, columns=["method", "dice_mean", "time_s_mean"])
    learned = {"icon-2step-fit"}
    assert best_rows(summary, "icon-2step-fit", learned) == (
        "No row has a higher mean Dice; without training, fit is best, 78.90 % in 1.50 s per pair."
    )
    assert best_rows(summary, "fit", learned) == (
        "The row with the highest mean Dice is icon-2step-fit, 81.25 % in 1.20 s per pair; "
        "without training, fit is best, 78.90 % in 1.50 s per pair."
    )
    assert best_rows(summary[:3], "fit", set()) == "No row has a higher mean Dice, and it needs no training."
    assert best_rows(summary[:2], "demons", set()) == ""  # one row is not a choice
    assert best_rows(summary.assign(dice_mean=math.nan), "fit", set()) == ""


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
    report = Report(published="table2.csv")
    text = read(changed, config.model_copy(update={"report": report})).text
    assert [text.count(f"published {value}") for value in ("68.29", "49.35", "0.09")] == [1, 1, 1]
    assert "published –" not in text
    assert "the numbers of table2.csv" in " ".join(text.split())


def test_failures_are_listed_and_a_method_that_always_failed_is_said_so(failing):
    text = " ".join(read(*failing).text.split())
    assert "Registration by icon-3step failed for all 3 pairs." in text
    assert "4 pairs of a method failed and are in none of the means" in text
    assert text.count("out of memory") == 3
    assert "<exit 1>" in text
    assert "The best pair" not in text
    assert "nan" not in text.lower().split()


def test_rows_that_were_left_out_are_named(drawn):
    layout, config = drawn
    left_out = "syn is left out: the package ants is not installed; run make baselines"
    write_report(layout, read_comparison(layout, config), [left_out])
    assert f"<p>{left_out}</p>" in layout.report.index.read_text()
    write_report(layout, read_comparison(layout, config))
    assert "left out: the package" not in layout.report.index.read_text()


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
    avsm = typed.model(
        {"method": "avsm", "stages": [typed.stage({"steps": steps}).plain() for steps in (7, 3)]}
    )
    models = config.models | {"avsm": avsm}
    write_report(layout, read_comparison(layout, config.model_copy(update={"models": models})))
    text = layout.report.index.read_text()
    assert "<h3>stage 1 of avsm</h3>" in text
    assert "of avsm, its regularity with a weight from" in text
    layout.model_card("avsm", 1).unlink()


def test_the_configurations_note_is_there(drawn):
    layout, config = drawn
    report = Report(note="Few iterations; no comparison.")
    write_report(layout, read_comparison(layout, config.model_copy(update={"report": report})))
    assert "<p>Few iterations; no comparison.</p>" in layout.report.index.read_text()


def test_sets_have_means_of_their_own_and_the_rest_is_about_the_main_one(with_sets):
    page = read(*with_sets)
    text = " ".join(page.text.split())
    assert "On 2 pairs, affine reaches" in text
    assert "By set of pairs" in text
    assert "Sets of pairs: main, 2 pairs, those of the other tables and the figures; years, 1 pair, " in text
    assert described(with_sets[0])["sets"] == ["", "years"]
    shown = re.findall(r"(\S+) \(moving\) to (.+?) \(fixed\) by affine", text)
    assert len(shown) == 3 and ("b", EVIL) not in shown


def test_one_set_needs_no_table_of_sets(page):
    assert "By set of pairs" not in page.text


def test_all_structures_together_are_beside_each(page):
    assert page.text.count("Union") == 1 and "Dice union" in page.text


def test_only_the_report_s_own_scripts_run(page):
    """And the one in the page that tells of scripts that are gone, which its digest names."""
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    assert "unsafe" not in policy and "http" not in policy and "data:" not in allowed["script-src"]
    (inline,) = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in allowed["script-src"]
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_the_pages_of_pairs_have_the_same_policy(page, drawn):
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', page.source)
    text = drawn[0].report.pair("a", "b").read_text("utf-8")
    assert f'content="{policy}"' in text
    assert "<script>" not in text and " style=" not in text
