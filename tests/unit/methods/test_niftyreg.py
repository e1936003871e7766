"""NiftyReg's programs: finding them, running them, reading what they write."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from cohortreg.errors import UserError
from cohortreg.methods import programs
from cohortreg.methods.niftyreg import NiftyRegLncc, NiftyRegNmi

installed = pytest.mark.skipif(
    programs.niftyreg(None) is None, reason="NiftyReg is not installed; make baselines installs it"
)


QUICK = {"levels": 1, "affine_iterations": 1, "iterations": 10}


def method(kind: type = NiftyRegNmi, **settings):
    return kind(kind.Settings(**QUICK | settings), seed=1, threads=1)


@installed
@pytest.mark.parametrize("kind", [NiftyRegNmi, NiftyRegLncc])
def test_it_finds_a_known_map_in_oblique_anisotropic_voxels(kind, known):
    assert known.error(method(kind)(known.moving, known.fixed)) < 0.3


@installed
@pytest.mark.parametrize(("kind", "settings"), [(NiftyRegNmi, {}), (NiftyRegLncc, {"sigma": 5})])
def test_it_brings_two_subjects_closer_and_is_the_same_every_time(kind, settings, subjects, capfd):
    first, second = (method(kind, **settings)(subjects.moving, subjects.fixed) for _ in range(2))
    assert subjects.gain(first) > 0.05
    assert torch.equal(first.forward, second.forward)
    assert first.inverse is None
    assert "reg_f3d" in capfd.readouterr().out, "what the programs print is in the log"


@installed
def test_a_pair_that_takes_too_long_ends_in_one_sentence(known):
    slow = method()
    slow.settings = slow.settings.model_copy(update={"time_limit": 0.05})
    with pytest.raises(UserError, match=r"reg_aladin did not finish within 0\.05 s; raise time_limit"):
        slow(known.moving, known.fixed)


@installed
def test_only_what_changes_results_is_part_of_the_version():
    versions = {method().version, method(time_limit=5).version}
    assert len(versions) == 1
    assert len(versions | {method(bending=0.01).version, method(NiftyRegLncc).version}) == 3


def test_a_program_that_fails_says_why_in_one_sentence(tmp_path):
    script = "print('first'); print('no such image'); print('***'); raise SystemExit(3)"
    with pytest.raises(UserError, match="ended with exit code 3: no such image"):
        programs.run([sys.executable, "-c", script], tmp_path, 60)
    with pytest.raises(UserError, match="reg_f3d could not be started: "):
        programs.run([tmp_path / "reg_f3d"], tmp_path, 60)


def make_programs(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in programs.NIFTYREG:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.skipif(os.name == "nt", reason="programs are recognised by other names on Windows")
def test_programs_are_looked_for_in_one_order(tmp_path, monkeypatch):
    configured, path, named = (make_programs(tmp_path / name) for name in ("configured", "path", "named/bin"))
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("NIFTYREG_DIR", str(tmp_path / "named"))
    assert programs.niftyreg(str(configured))["reg_f3d"] == configured / "reg_f3d"
    assert programs.niftyreg(None)["reg_f3d"] == path / "reg_f3d"
    # A folder that lacks one of them is passed over.
    (path / "reg_f3d").unlink()
    assert programs.niftyreg(None)["reg_aladin"] == named / "reg_aladin"
    shutil.rmtree(configured)
    assert "configured does not have the programs reg_aladin" in programs.niftyreg_missing(
        {"programs": str(configured)}
    )
    assert programs.niftyreg_missing({}) is None
