"""A run that ends with 0 has tables of the images and settings that it was given, whatever failed before."""

import re
import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml
from projects import Project

from cohortreg.layout import Layout
from cohortreg.report.figures.registry import FIGURES


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished project, for a test to change."""
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def set_key(project, **values: object) -> None:
    """Change keys of the project's configuration."""
    path = project.folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


def dice(project) -> pd.DataFrame:
    table = pd.read_csv(Layout(project.results).pairs_table)
    return table.set_index(["method", "moving", "fixed"])["dice_mean"]


def test_a_job_that_failed_once(copied):
    """An image is replaced, and the job that preprocesses it fails because of another one, which is mended then.

    Snakemake takes the failed job's settings for those that its result was made with.
    """
    set_key(copied, shards={"images": 1, "pairs": 2}, on_bad_image="fail")
    assert copied.snakemake("tables").returncode == 0
    before = dice(copied)
    for kind in ("image", "label"):
        path = copied.folder / "raw" / f"s5_{kind}.nii.gz"
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(np.roll(np.asarray(image.dataobj), 3, 0), image.affine), path)
    other, kept = copied.folder / "raw" / "s6_image.nii.gz", copied.folder / "kept"
    shutil.copy2(other, kept)
    other.write_bytes(kept.read_bytes()[:100])
    failed = copied.snakemake("tables")
    assert failed.returncode == 1
    assert "s6_image.nii.gz is" in failed.stdout
    shutil.copy2(kept, other)
    assert copied.snakemake("tables").returncode == 0
    changed = dice(copied) != before
    assert changed[changed].index.droplevel("method").unique().tolist() == [("s4", "s5"), ("s5", "s6")]


def test_snakemakes_memory_lost_and_the_structures_changed(copied):
    shutil.rmtree(copied.folder / ".snakemake")
    set_key(copied, structures={"core": [2]})
    shown = copied.snakemake("tables", "--dry-run")
    assert len(re.findall(r"^rule evaluate:", shown.stdout, flags=re.MULTILINE)) == 3
    assert copied.snakemake("tables").returncode == 0
    table = pd.read_csv(Layout(copied.results).pairs_table)
    assert list(table.filter(like="dice_")) == ["dice_mean", "dice_core"]


def test_ratings_in_the_folder_of_the_report(copied):
    """Where a browser's save dialogue opens; the configuration names them there."""
    layout = Layout(copied.results)
    ratings = layout.report.root / "qc.tsv"
    text = "moving\tfixed\trating\tnote\ns4\ts5\tbad\thours of work\n"
    ratings.write_text(text)
    set_key(copied, ratings="results/tiny/report/qc.tsv", exclude_rated="bad")
    run = copied.snakemake()
    assert run.returncode == 0, run.stdout
    assert ratings.read_text() == text
    assert "hours of work" in layout.report.index.read_text("utf-8")
    # The pages of the pair are gone, and whoever deletes the report gets it again.
    shutil.rmtree(layout.report.root)
    set_key(copied, ratings=None, exclude_rated=None)
    assert copied.snakemake().returncode == 0
    assert layout.report.index.is_file()


def test_a_dry_run_says_what_is_missing(copied):
    (copied.folder / "raw" / "s5_label.nii.gz").unlink()
    shown = copied.snakemake("--dry-run")
    assert "warning: 1 raw file is not there, the first of them raw/s5_label.nii.gz." in shown.stdout
    set_key(copied, root="nowhere")
    shown = copied.snakemake("--dry-run")
    assert shown.returncode == 1
    assert "cohortreg: nowhere does not exist; correct `root`" in shown.stdout


def test_a_dry_run_announces_no_training_that_will_not_happen(copied):
    for start in ("last", "scratch"):
        shown = copied.snakemake("--dry-run", "--config", f"retrain={start}")
        assert "checkpoint cohort:" in shown.stdout and "rule train:" not in shown.stdout
    table = copied.folder / "tables" / "images.tsv"
    table.write_text(table.read_text() + "s7\ts7\tleft\ttrain\ts0_image.nii.gz\ts0_label.nii.gz\n")
    shown = copied.snakemake("--dry-run")
    assert "rule preprocess:" in shown.stdout
    assert "rule train:" not in shown.stdout
    assert "rule train:" in copied.snakemake("--dry-run", "--config", "retrain=scratch").stdout


#: Deletes a table when the command that draws figures ends. Python imports it before anything else.
DELETING = """
import atexit, sys
from pathlib import Path

if any(Path(part).name == "cohortreg" for part in sys.orig_argv[:3]) and "figures" in sys.orig_argv:
    atexit.register(Path("results/tiny/tables/pairs.csv").unlink)
"""


@pytest.mark.parametrize("asked", [["tables", "figures"], ["--until", "tables", "figures"]])
def test_a_run_that_ends_without_what_it_was_asked_for_is_an_error(copied, tmp_path_factory, asked):
    """As Snakemake itself ended once in a hundred kills; here a table goes while it works on something else."""
    modules = tmp_path_factory.mktemp("modules")
    (modules / "sitecustomize.py").write_text(DELETING)
    Layout(copied.results).figure(next(iter(FIGURES))).unlink()
    run = replace(copied, modules=modules).snakemake(*asked)
    assert run.returncode != 0, run.stdout
    sentence = (
        "cohortreg: results/tiny/tables/pairs.csv was asked for and is not there; run the same command again."
    )
    assert run.stdout.splitlines()[-1] == sentence
    assert copied.snakemake(*asked).returncode == 0
    assert Layout(copied.results).pairs_table.is_file()
