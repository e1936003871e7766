"""Settings of jobs, in files that are newer than what was made with others."""

import time
from pathlib import Path

import pytest

from cohortreg.files import read_json
from cohortreg.jobs.settings_files import SettingsFiles
from cohortreg.layout import Results


@pytest.fixture
def asked(tmp_path):
    """Gives what a process of that mode is told of a job's settings."""

    def ask(mode, made, **settings):
        return SettingsFiles(Results(tmp_path), lambda: mode)(made, "train", "icon-1", **settings)

    return ask


def test_the_same_settings_are_not_written_again(asked, tmp_path):
    path = asked("run", False, seed=1)
    assert path == str(tmp_path / "settings" / "train" / "icon-1" / "settings.json")
    before = read_json(path)
    assert before["seed"] == 1
    assert asked("run", True, seed=1) == path
    assert read_json(path) == before


@pytest.mark.parametrize(("made", "seed"), [(True, 2), (False, 1)])
def test_others_and_those_of_a_missing_result_are(asked, made, seed):
    path = asked("run", True, seed=1)
    before = read_json(path)
    asked("run", made, seed=seed)
    after = read_json(path)
    assert after["asked"] > before["asked"]
    assert after["seed"] == seed


def test_others_aside_are_written_only_where_the_result_is_missing(asked):
    path = asked("run", False, seed=1, aside={"logger": "csv"})
    before = read_json(path)
    assert before["logger"] == "csv"
    asked("run", True, seed=1, aside={"logger": "none"})
    assert read_json(path) == before
    asked("run", False, seed=1, aside={"logger": "none"})
    assert read_json(path)["logger"] == "none"


def test_once_in_a_run_during_which_the_job_may_have_begun(tmp_path):
    ask = SettingsFiles(Results(tmp_path), lambda: "run")
    path = ask(False, "train", "icon-1", seed=1)
    before = read_json(path)
    ask(False, "train", "icon-1", seed=1)
    assert read_json(path) == before
    # Which gathering of the cohort may change.
    ask(False, "train", "icon-1", seed=2)
    assert read_json(path)["seed"] == 2


def test_a_dry_run_writes_nothing_among_the_results(asked, tmp_path):
    began = time.time_ns()
    assert Path(asked("show", False, seed=1)).stat().st_mtime_ns > began - 1e8
    assert not list(tmp_path.iterdir())
    path = asked("run", True, seed=1)
    assert asked("show", True, seed=1) == path
    assert asked("show", True, seed=2) != path
    assert read_json(path)["seed"] == 1


def test_a_job_reads_what_was_written(asked, tmp_path):
    assert asked("job", False, seed=1) == str(tmp_path / "settings" / "train" / "icon-1" / "settings.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["", "{", "[]", "[" * 200_000, "\udcff"])
def test_a_damaged_file_is_written_again(asked, damage):
    path = asked("run", True, seed=1)
    Path(path).write_text(damage, encoding="utf-8", errors="surrogateescape")
    asked("run", True, seed=1)
    assert read_json(path)["seed"] == 1
