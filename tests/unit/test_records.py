"""What results say of where they come from."""

import time

import pytest

from cohortreg.errors import UserError
from cohortreg.files import write_json
from cohortreg.records import FOLDER, Command, history


def test_what_a_command_wrote_is_known_before_it_ends(tmp_path):
    """It may be killed. There is one record of it, of all that it wrote, when it ends."""
    roots = []
    with Command(["register", "results/tiny"]).recorded(roots, every=0.05):
        write_json(tmp_path / "first.json", {})
        roots.append(tmp_path)
        patience = time.monotonic() + 300
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


def test_what_a_killed_command_left_does_not_end_what_others_say(tmp_path):
    with Command(["register", "results/tiny"]).recorded([tmp_path], every=60):
        write_json(tmp_path / "first.json", {})
    (tmp_path / FOLDER / ".host.1.20260101T000000-register-host-1.json").write_text('{"outp')
    ((_, record),) = history(tmp_path)
    assert record["outputs"] == ["first.json"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"outputs": 5, "inputs": {}, "command": "", "software": {}}']
)
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "20260101T000000-x-host-1.json").write_text(content)
    with pytest.raises(UserError, match=r"20260101T000000-x-host-1.json .*; delete it"):
        list(history(tmp_path))


def test_a_results_folder_with_a_long_name_has_a_record(tmp_path):
    with Command(["register", "x" * 240]).recorded([tmp_path], every=60):
        write_json(tmp_path / "first.json", {})
    assert len(list(history(tmp_path))) == 1
