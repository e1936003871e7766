"""GitHub's workflows: they run what `.ci/run` runs, on the Pythons that the package says; the notes of a release."""

import os
import re
import subprocess
import tomllib

import pytest
import yaml
from projects import REPOSITORY

FOLDER = REPOSITORY / ".github" / "workflows"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
OLDEST = PROJECT["requires-python"].removeprefix(">=")


def workflow(name: str) -> dict:
    """A workflow's jobs."""
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text("utf-8"))["jobs"]


def scripts(job: dict) -> str:
    """The shell commands of a job's steps, with its matrix's parts in place."""
    return "\n".join(step["run"] for step in job["steps"] if "run" in step)


def test_actions_run_the_parts_of_the_continuous_integration():
    jobs = workflow("checks")
    parts = jobs["part"]["strategy"]["matrix"]["part"]
    named = re.findall(r"^make ([a-z-]+)", scripts(jobs["test"]), flags=re.MULTILINE)
    whole = re.sub("#.*", "", (REPOSITORY / ".ci" / "run").read_text())
    asked_for = re.findall(r"\bmake ([a-z-]+)", whole)
    assert sorted([*parts, *named]) == sorted(asked_for)
    assert 'make "$PART"' in scripts(jobs["part"])


def test_one_list_of_pythons():
    tested = workflow("checks")["test"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    assert [f"{prefix}{version.removeprefix('3.')}" for version in tested] == [
        line for line in PROJECT["classifiers"] if line.startswith(prefix)
    ]
    assert tested[0] == OLDEST
    assert workflow("checks")["part"]["container"] == f"python:{OLDEST}-bookworm"
    assert f"FROM python:{OLDEST}-slim\n" in (REPOSITORY / "Dockerfile").read_text("utf-8")


@pytest.mark.parametrize("path", ["environment.yaml", "workflow/envs/cohortreg.yaml"])
def test_environments_of_conda_have_a_python_that_the_package_takes(path):
    packages = yaml.safe_load((REPOSITORY / path).read_text("utf-8"))["dependencies"]
    assert f"python {PROJECT['requires-python']}" in packages and "pip" in packages


CHANGELOG = """# Changelog

## Unreleased

- not yet

## 1.2.0

### Added

- what is new

## 1.1.0

- what was new
"""


@pytest.mark.parametrize(
    ("tag", "notes"),
    [("v1.2.0", "### Added\n\n- what is new"), ("v1.1.0", "- what was new"), ("v1.2", None)],
)
def test_notes_of_a_release_are_the_changelogs_section_on_it(tmp_path, tag, notes):
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    step = next(
        step for step in workflow("release")["release"]["steps"] if "CHANGELOG.md" in step.get("run", "")
    )
    run = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=os.environ | {"GITHUB_REF_NAME": tag}
    )
    assert (run.returncode == 0) == bool(notes)
    assert (tmp_path / "notes.md").read_text().strip() == (notes or "")
