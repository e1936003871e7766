"""What results say of where they come from."""

import os
import time

import pytest

from cohortreg.files import write_json
from cohortreg.provenance import FOLDER, Command, hardware, history


@pytest.mark.parametrize(
    ("threads", "used"), [(None, "4 cores"), (1, "1 of 4 cores"), (4, "4 cores"), (8, "4 cores")]
)
def test_hardware_says_how_many_of_the_cores_were_used(monkeypatch, threads, used):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert hardware("cpu", threads).endswith(f", {used}")


def test_what_a_command_wrote_is_known_before_it_ends(tmp_path):
    """It may be killed. There is one record of it, of all that it wrote, when it ends."""
    roots = []
    with Command(["register", "results/tiny"]).recorded(roots, every=0.05):
        write_json(tmp_path / "first.json", {})
        roots.append(tmp_path)
        patience = time.monotonic() + 30
        while not list(tmp_path.glob(f"{FOLDER}/*.json")):
            assert time.monotonic() < patience
            time.sleep(0.01)
        write_json(tmp_path / "last.json", {})
    assert len(list(tmp_path.glob(f"{FOLDER}/*.json"))) == 1
    for name in ("first.json", "last.json"):
        ((_, record),) = history(tmp_path / name)
        assert record["command"] == "cohortreg register results/tiny"
        assert record["outputs"] == ["first.json", "last.json"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["register-shard", "results/tiny"], "register-shard"),
        (["import", "bids", "folder"], "import-bids"),
        (["apply", "A_to_B.nii.gz"], "apply"),
        (["--help"], ""),
    ],
)
def test_a_record_is_named_after_its_command(arguments, name):
    assert Command(arguments).name == name
