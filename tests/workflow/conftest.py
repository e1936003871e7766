"""Projects for the tests to run."""

import shutil
from pathlib import Path

import pytest
from made_once import made_once
from projects import REPOSITORY, Project, new_project


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh project, nothing run yet."""
    return new_project(tmp_path)


@pytest.fixture
def phantoms(tmp_path) -> Project:
    """The cohort of `.test`, whose images are phantoms."""
    shutil.copytree(REPOSITORY / ".test" / "config", tmp_path / "config")
    return Project(tmp_path, configuration=None)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A project whose workflow has run to its end, by one worker for all; not to be changed by a test."""

    def finish(folder: Path) -> None:
        run = new_project(folder).snakemake()
        assert run.returncode == 0, run.stdout

    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(made_once(tmp_path_factory, "finished", finish), folder, dirs_exist_ok=True)
    return Project(folder)
