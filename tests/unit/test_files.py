"""Files and folders that appear whole or not at all."""

import json
import os

import pytest

from cohortreg import files
from cohortreg.errors import UserError
from cohortreg.files import read_json, read_kept, whole, whole_folder, write_json, write_text


def test_a_folder_replaces_the_one_before_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "written", [])
    place = tmp_path / "below" / "report"
    for name in ("one", "two"):
        with whole_folder(place) as folder:
            assert list(folder.iterdir()) == []
            write_text(folder / "pages" / name, name)
            assert place.exists() == (name == "two")
    assert [path.name for path in (place / "pages").iterdir()] == ["two"]
    assert list(place.parent.iterdir()) == [place]
    assert files.written == [place, place]


def test_of_one_that_fails_nothing_is_left_and_the_one_before_stays(tmp_path):
    place = tmp_path / "report"
    with whole_folder(place) as folder:
        write_text(folder / "page", "before")
    with pytest.raises(KeyError), whole_folder(place) as folder:
        write_text(folder / "page", "after")
        raise KeyError
    assert (place / "page").read_text() == "before"
    assert list(tmp_path.iterdir()) == [place]


def refused(path, match):
    with pytest.raises(UserError, match=match) as error:
        write_text(path, "text")
    assert "\n" not in str(error.value)


def test_a_folder_under_the_name_of_a_file_is_kept(tmp_path):
    (tmp_path / "out.nii.gz").mkdir()
    refused(tmp_path / "out.nii.gz", "out.nii.gz is a folder")
    assert [path.name for path in tmp_path.iterdir()] == ["out.nii.gz"]


def test_a_file_under_the_name_of_a_folder_is_kept(tmp_path):
    (tmp_path / "file").write_text("kept")
    refused(tmp_path / "file" / "below" / "out.tsv", "file is no folder")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    refused(tmp_path / "below" / "out.tsv", "may not be written to")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["x" * 248 + ".nii.gz", "ü" * 124 + ".nii.gz", "👩" * 62 + ".nii.gz"])
def test_a_name_may_be_as_long_as_a_file_system_allows(tmp_path, name):
    with whole(tmp_path / name) as beside:
        assert beside.name.endswith(".nii.gz")
        beside.write_text("image")
    with whole_folder(tmp_path / name[::-1]) as folder:
        write_text(folder / name, "page")
    with whole_folder(tmp_path / name[::-1]) as folder:
        write_text(folder / name, "another")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, name[::-1]])


def test_two_long_names_have_two_files_until_they_are_whole(tmp_path):
    with whole(tmp_path / ("a" + "x" * 250)) as one, whole(tmp_path / ("b" + "x" * 250)) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / ("a" + "x" * 250)).read_text() == "one"


DAMAGED = [b"", b"{", b'{"a": 1', b"[" * 100_000, b"[]", b"null", b"\xff\xfe", b'{"a": "\xe4"}', b"1" * 5000]


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_json_says_what_to_delete_and_what_makes_it_anew(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"record.json .*; delete it and run `cohortreg x` again.") as error:
        read_json(path, "`cohortreg x`")
    assert "\n" not in str(error.value)
    assert read_kept(path) == {}


def test_json_of_another_version_says_so_where_a_key_is_looked_up(tmp_path):
    path = tmp_path / "{x}.json"
    write_json(path, {"a": 1})
    record = read_json(path, "`cohortreg x`")
    assert record == {"a": 1} and record.get("b") is None and json.dumps(record) == '{"a": 1}'
    with pytest.raises(UserError, match=r"\{x\}.json has no b, .*; delete it and run `cohortreg x` again"):
        record["b"]
    assert read_kept(path, "a") == {"a": 1}
    assert read_kept(path, "a", "b") == {}
    with pytest.raises(UserError, match=r"gone.json is missing; run `cohortreg x` first"):
        read_json(tmp_path / "gone.json", "`cohortreg x`")
    assert read_kept(tmp_path / "gone.json") == {}
