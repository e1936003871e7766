"""Real Snakemake runs of the paper's experiments, with networks that see a few images for a few steps."""

import pytest
import yaml
from configurations import PRESET
from projects import CONFIGURATION, REPOSITORY, Project

from cohortreg.files import read_json
from cohortreg.layout import PaperLayout
from cohortreg.paper.plan import Cell

PAPER = {
    "preset": "tiny",
    "mnist": "nowhere",
    "published": "table1.csv",
    "presets": {"tiny": PRESET | {"weights": [64]}},
}


@pytest.fixture
def paper(tmp_path):
    """A project with the paper's experiments."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(PAPER))
    return Project(tmp_path, snakefile=REPOSITORY / "workflow" / "paper" / "Snakefile")


def test_a_figure_and_a_cell_are_made_and_nothing_else(paper):
    layout = PaperLayout(paper.folder / "results" / "paper-tiny")
    cell = Cell("triangles_circles", "mlp", 64)
    wanted = layout.measured(*cell).relative_to(paper.folder)
    run = paper.snakemake("figure5", str(wanted))
    assert run.returncode == 0, run.stdout
    assert layout.figure("figure5").stat().st_size > 0
    assert "preset tiny: figures and tables are in results/paper-tiny" in run.stdout
    assert read_json(layout.measured(*cell))["training_steps"] == 3
    assert len(list(layout.root.rglob("cell.json"))) == 2
    assert list((paper.folder / "results").iterdir()) == [layout.root]
    again = paper.snakemake("figure5", str(wanted), "--dry-run")
    assert "Nothing to be done" in again.stdout


@pytest.mark.parametrize("key", ["paper", "preset"])
def test_a_cohort_with_a_key_of_the_paper_is_refused(project, key):
    value = PAPER.get(key, PAPER)
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIGURATION | {key: value}))
    run = project.snakemake("--dry-run")
    assert run.returncode == 1
    assert (
        f"cohortreg: configuration: {key}: the paper's experiments have a workflow of their own" in run.stdout
    )
    assert "Traceback" not in run.stdout


def test_the_paper_with_a_key_of_a_cohort_is_refused(paper):
    run = paper.snakemake("--dry-run", "--config", "cohort=knees")
    assert run.returncode == 1
    assert "cohortreg: configuration: cohort: only the configuration of a cohort has it" in run.stdout


def test_without_mnist_one_sentence_says_where_to_get_it(paper):
    run = paper.snakemake("figure3")
    assert run.returncode != 0
    assert "cohortreg: nowhere: no train-images-idx3-ubyte nor" in run.stdout
    assert "Traceback" not in run.stdout


def test_an_unknown_preset_ends_in_one_sentence(paper):
    run = paper.snakemake("figure4", "--config", "preset=fast", "--dry-run")
    assert run.returncode == 1
    assert "cohortreg: configuration: preset: no preset 'fast'; known are tiny" in run.stdout
