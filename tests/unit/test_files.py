"""Files and folders that appear whole or not at all."""

import os

import pytest

from cohortreg import files
from cohortreg.errors import UserError
from cohortreg.files import whole_folder, write_text


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
