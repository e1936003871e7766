"""The workflow as a module of another one, and as Snakedeploy makes it; Snakemake's own views."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from projects import REPOSITORY, Project, new_project

from cohortreg.layout import Layout

# What Snakedeploy 0.17 writes, with a path for its github(...).
DEPLOYED = """
from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


# declare https://github.com/owner/cohortreg as a module
module cohortreg:
    snakefile: 
        "{snakefile}"
    config:
        config


# use all rules from https://github.com/owner/cohortreg
use rule * from cohortreg
"""


def page_snakefile() -> str:
    """The Snakefile of docs/module.md."""
    text = (REPOSITORY / "docs" / "module.md").read_text("utf-8")
    found = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1]
    return re.sub(r"github\(.*?\)", '"{snakefile}"', found)


def new_module(folder: Path, snakefile: str) -> Project:
    """A project whose own Snakefile takes the repository's as a module, and which Snakemake finds by itself."""
    project = new_project(folder)
    (folder / "workflow").mkdir()
    path = REPOSITORY / "workflow" / "Snakefile"
    (folder / "workflow" / "Snakefile").write_text(snakefile.replace("{snakefile}", str(path)))
    return replace(project, snakefile=None)


def test_a_module_runs_from_raw_images_to_the_report_and_then_has_nothing_to_do(tmp_path):
    module = new_module(tmp_path, page_snakefile())
    run = module.snakemake()
    assert run.returncode == 0, run.stdout
    layout = Layout(module.results)
    assert layout.report.index.is_file() and layout.methods_table.is_file()
    assert len(list(module.results.rglob("*.map.gz"))) > 0
    again = module.snakemake("--dry-run")
    assert "Nothing to be done" in again.stdout, again.stdout


PREFIXED = page_snakefile().replace("use rule * from cohortreg", "use rule * from cohortreg as knees_*")


@pytest.mark.parametrize("snakefile", [DEPLOYED, PREFIXED], ids=["deployed", "prefixed"])
def test_what_snakedeploy_writes_and_a_prefix_are_planned(tmp_path, snakefile):
    run = new_module(tmp_path, snakefile).snakemake("--dry-run", "--quiet", "rules")
    assert run.returncode == 0, run.stdout
    assert re.search(r"^(knees_)?preprocess +3$", run.stdout, flags=re.MULTILINE)
    assert re.search(r"^(knees_)?report +1$", run.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize("snakefile", ["workflow/Snakefile", "workflow/paper/Snakefile"])
def test_the_workflows_pass_snakemakes_lint(snakefile):
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--lint"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("view", [["--dag"], ["--dag", "mermaid-js"], ["--rulegraph"], ["--summary"]])
def test_snakemakes_views(finished, view):
    run = finished.snakemake(*view)
    assert run.returncode == 0, run.stdout
    assert "register" in run.stdout or view == ["--summary"]
    if view == ["--summary"]:
        rows = {line.split("\t")[0] for line in run.stdout.splitlines() if "\t" in line}
        assert str(Layout(Path("results/tiny")).methods_table) in rows


def test_the_catalogue_finds_what_it_asks_of_a_standardised_workflow():
    for name in (
        "LICENSE",
        "workflow/Snakefile",
        "workflow/schemas/config.schema.yaml",
        "config/config.yaml",
    ):
        assert (REPOSITORY / name).is_file()
    assert re.search("^## ", (REPOSITORY / "config" / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    readme = (REPOSITORY / "README.md").read_text("utf-8").lower()
    assert "snakemake" in readme and "workflow" in readme
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text("utf-8"))["usage"]
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    deployment = usage["software-stack-deployment"]
    assert set(deployment) == {"conda", "apptainer", "apptainer+conda", "report"}
    assert all(isinstance(value, bool) for value in deployment.values())


def test_the_catalogues_test_folder_draws_the_rules_and_runs_to_its_report(phantoms):
    drawn = phantoms.snakemake("--forceall", "--rulegraph")
    assert drawn.returncode == 0, drawn.stdout
    assert 'label = "register_networks"' in drawn.stdout
    run = phantoms.snakemake()
    assert run.returncode == 0, run.stdout
    assert Layout(phantoms.results).report.index.is_file()
