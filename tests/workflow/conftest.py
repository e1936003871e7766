"""Projects for the tests to run."""

import shutil
from pathlib import Path

import pytest
import yaml
from made_once import made_once
from projects import REPOSITORY, Project, new_project

from cohortreg.config import merge, merged


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh project, nothing run yet."""
    return new_project(tmp_path)


@pytest.fixture
def demo(tmp_path) -> Project:
    """The demo with four of its images, coarser, and one pair."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    images = tmp_path / "config" / "demo" / "images.tsv"
    rows = images.read_text().splitlines()[:5]
    images.write_text("\n".join(rows) + "\n")
    moving, fixed = (row.split("\t")[0] for row in rows[1:3])
    (tmp_path / "config" / "demo" / "pairs.tsv").write_text(f"moving\tfixed\n{moving}\t{fixed}\n")
    overlay = {"cohort": "tiny", "phantom": {"grid": [24, 48, 48], "spacing": [4.6, 2.92, 2.92]}}
    whole = merge(merged(tmp_path / "config" / "demo.yaml"), overlay)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(whole))
    return Project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A project whose workflow has run to its end, by one worker for all; not to be changed by a test."""

    def finish(folder: Path) -> None:
        run = new_project(folder).snakemake()
        assert run.returncode == 0, run.stdout

    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(made_once(tmp_path_factory, "finished", finish), folder, dirs_exist_ok=True)
    return Project(folder)
