"""Real Snakemake runs on a tiny cohort."""

import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from cohortreg.files import read_json
from cohortreg.layout import Layout
from cohortreg.report.figures.registry import FIGURES
from cohortreg.report_layout import FIGURE_SUFFIXES

TIMES = {"time_s", "time_s_mean", "time_s_mean_low", "time_s_mean_high"}


def without_times(path: Path) -> pd.DataFrame:
    """A table without its columns of seconds."""
    table = pd.read_csv(path)
    return table.drop(columns=TIMES & set(table.columns))


def spoil(path: Path) -> None:
    """Cut a file short, as an interrupted copy does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def set_key(project, **values: object) -> None:
    """Change keys of the project's configuration."""
    path = project.folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished project, for a test to change."""
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    return type(finished)(tmp_path)


def test_a_run_writes_tables_figures_and_the_report(finished):
    layout = Layout(finished.results)
    pairs = pd.read_csv(layout.pairs_table)
    assert pairs.groupby("method", sort=False).size().to_dict() == {
        "identity": 3,
        "affine": 3,
        "icon-3step": 3,
    }
    assert pairs["dice_mean"].between(0, 1).all()
    assert list(pd.read_csv(layout.methods_table)["method"]) == [
        "identity",
        "affine",
        "icon-3step",
    ]
    for name in FIGURES:
        for suffix in FIGURE_SUFFIXES:
            assert layout.figure(name, suffix).stat().st_size > 0
    assert "icon-3step" in layout.report.index.read_text(encoding="utf-8")
    for name in ("preprocess/0.log", "train/icon-2.log", "report/all.log"):
        assert (layout.logs / name).is_file()


def test_a_second_run_does_nothing(finished):
    run = finished.snakemake("--dry-run")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout


def test_rows_that_need_training_without_training_images_end_before_any_job(project):
    table = project.folder / "tables" / "images.tsv"
    table.write_text(table.read_text().replace("train", "test"))
    run = project.snakemake("--dry-run")
    assert run.returncode == 1
    assert (
        "cohortreg: tables/images.tsv: no image has train in the column split, and icon-3step" in run.stdout
    )
    set_key(project, methods=["identity", "affine"], report={"reference": "affine"})
    assert project.snakemake("--dry-run").returncode == 0


def test_snakemakes_own_report_shows_every_figure_with_its_caption(finished, tmp_path):
    run = finished.snakemake("--report", str(tmp_path / "report.zip"))
    assert run.returncode == 0, run.stdout
    with zipfile.ZipFile(tmp_path / "report.zip") as report:
        names = {Path(name).name for name in report.namelist()}
        page = report.read("report/report.html").decode()
    assert "Registration of the cohort tiny" in page
    assert names >= {f"{name}.png" for name in FIGURES} | {
        "methods.csv",
        "pairs.csv",
    }


def test_two_runs_from_one_seed_give_the_same_tables(finished, project):
    """In new processes, which have other hashes of strings than those that the fork server starts."""
    run = replace(project, forked=False).snakemake()
    assert run.returncode == 0, run.stdout
    for name in ("pairs_table", "methods_table"):
        one, other = (without_times(getattr(Layout(p.results), name)) for p in (finished, project))
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_shard_reruns_only_for_its_own_rows(copied):
    table = copied.folder / "tables" / "images.tsv"
    table.write_text(table.read_text() + "s7\ts7\tleft\ttest\ts0_image.nii.gz\ts0_label.nii.gz\n")
    run = copied.snakemake("--dry-run", "--quiet", "progress")
    assert len(re.findall(r"^rule preprocess:", run.stdout, flags=re.MULTILINE)) == 1


def test_rows_of_a_model_from_elsewhere_and_of_what_is_fitted_to_each_pair_need_no_training(copied):
    layout = Layout(copied.results)
    shutil.copytree(layout.stage("icon", 2), copied.folder / "knees")
    configured = yaml.safe_load((copied.folder / "tiny.yaml").read_text())
    configured["models"]["icon"]["optimisation"] = {"steps": 2, "learning_rate": 0.01}
    methods = ["icon-3step", "icon-3step-io", "knees", "icon-3step-fit", "knees-fit", "icon-2step-fit", "fit"]
    set_key(
        copied,
        models=configured["models"],
        pretrained={"knees": "knees"},
        methods=methods,
        report={"reference": "icon-3step"},
    )
    run = copied.snakemake()
    assert run.returncode == 0, run.stdout
    assert not re.search(r"^rule train:", run.stdout, flags=re.MULTILINE)
    table = pd.read_csv(layout.methods_table).set_index("method")
    assert list(table.index) == methods
    assert list(table["similarity"]) == ["MSE"] * 3 + ["MSE, then squared LNCC + MIND"] * 3 + [
        "squared LNCC + MIND"
    ]
    assert table.loc["knees", "dice_mean"] == table.loc["icon-3step", "dice_mean"]
    moving, fixed = pd.read_csv(layout.pairs, sep="\t").loc[0, ["moving", "fixed"]]
    plain, optimised, elsewhere, *fitted = (
        layout.forward(method, moving, fixed).read_bytes() for method in methods
    )
    assert plain == elsewhere != optimised
    # Networks of a few steps may be worse than nothing, from which fit then goes on.
    assert fitted[0] == fitted[1] and len({plain, optimised, fitted[0]}) == 3
    set_key(copied, method_settings={"fit": {"steps": 0.5}})
    run = copied.snakemake("--dry-run", "--quiet", "rules")
    planned = dict(re.findall(r"^(register\w*|train)\s+(\d+)$", run.stdout, flags=re.MULTILINE))
    # Of the rows that fit has a part in alone; all pairs are in one shard.
    assert planned == {"register_networks": "4"}


def test_a_bad_image_and_its_pairs_are_left_out_and_the_rest_goes_on(copied):
    spoil(copied.folder / "raw" / "s6_image.nii.gz")
    (copied.folder / "raw" / "s3_image.nii.gz").unlink()
    run = copied.snakemake()
    assert run.returncode == 0, run.stdout
    layout = Layout(copied.results)
    excluded = pd.read_csv(layout.excluded, sep="\t")
    assert set(excluded["id"]) == {"s3", "s6", "s5 s6", "s6 s4"}
    assert set(pd.read_csv(layout.pairs_table)["moving"]) == {"s4"}
    report = layout.report.index.read_text(encoding="utf-8")
    assert "s6_image.nii.gz" in report
    assert "s3_image.nii.gz" in report


def test_on_bad_image_fail_stops(project):
    spoil(project.folder / "raw" / "s6_image.nii.gz")
    set_key(project, on_bad_image="fail")
    run = project.snakemake()
    assert run.returncode != 0
    assert re.search(r"^cohortreg: .*s6_image\.nii\.gz", run.stdout, flags=re.MULTILINE)
    assert "Traceback" not in run.stdout
    assert not Layout(project.results).cohort.exists()


@pytest.mark.parametrize(
    ("table", "text", "words"),
    [
        ("pairs.tsv", "moving\tfixed\ns4\ts9\n", r"pairs\.tsv, row 2, column fixed: .*s9"),
        ("pairs.tsv", "moving\tfixed\n", r"pairs\.tsv has no rows"),
        ("images.tsv", "image_id\tsubject_id\n", r"images\.tsv has no column side"),
    ],
)
def test_a_wrong_table_ends_in_one_sentence(project, table, text, words):
    (project.folder / "tables" / table).write_text(text)
    run = project.snakemake("--dry-run")
    assert run.returncode == 1
    assert re.search(f"^cohortreg: .*{words}", run.stdout, flags=re.MULTILINE)
    assert "Traceback" not in run.stdout


def test_an_unknown_key_ends_in_one_sentence(project):
    set_key(project, seeed=2)
    run = project.snakemake("--dry-run")
    assert run.returncode == 1
    assert "cohortreg: configuration: seeed: unknown key; did you mean seed?" in run.stdout.splitlines()


def test_test_subjects_in_training_are_warned_of_once(project):
    table = project.folder / "tables" / "images.tsv"
    table.write_text(table.read_text().replace("s5\ts5\t", "s5\ts0\t"))
    run = project.snakemake("--until", "cohort")
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("cohortreg: warning: 1 test subject is also in training (s0)") == 1


def test_a_part_of_the_plan_is_enough_when_it_was_asked_for(project):
    for part in (["--until", "preprocess"], ["--omit-from", "preprocess"]):
        run = project.snakemake("tables", *part)
        assert run.returncode == 0, run.stdout
        assert not (project.results / "tables" / "methods.csv").exists()


def test_until_train_trains_every_stage_and_no_more(project):
    run = project.snakemake("--until", "train")
    assert run.returncode == 0, run.stdout
    layout = Layout(project.results)
    assert layout.weights("icon", 1).is_file() and layout.weights("icon", 2).is_file()
    assert not layout.transforms("icon-3step").exists()
    assert "Nothing to be done" in project.snakemake("--until", "train").stdout


def test_images_that_the_project_makes_follow_the_seed(phantoms):
    layout, digests, contents = Layout(phantoms.results), set(), set()
    for seed in (1, 2):
        run = phantoms.snakemake("--until", "cohort", "--config", f"seed={seed}")
        assert run.returncode == 0, run.stdout
        assert len(pd.read_csv(layout.images, sep="\t")) == 4
        made = sorted((phantoms.folder / "resources" / "tiny").rglob("*.nii.gz"))
        assert len(made) == 8
        contents.add(made[0].read_bytes())
        digests.add(read_json(layout.cohort)["digest"])
    assert len(contents) == len(digests) == 2


def test_check_looks_at_the_raw_images_and_keeps_its_table_when_one_is_bad(project):
    check = Layout(project.results).check
    run = project.snakemake("check")
    assert run.returncode == 0, run.stdout
    table = pd.read_csv(check.table, sep="\t", keep_default_na=False)
    assert table["status"].tolist() == ["ok"] * 7
    assert check.sheets(7)[0].stat().st_size > 0
    assert not Layout(project.results).images.exists()
    spoil(project.folder / "raw" / "s1_image.nii.gz")
    run = project.snakemake("check")
    assert run.returncode == 0, run.stdout
    assert "6 ok, 0 with warnings, 1 bad" in run.stdout
    table = pd.read_csv(check.table, sep="\t", keep_default_na=False)
    assert table["status"].tolist() == ["ok", "bad", *["ok"] * 5]
