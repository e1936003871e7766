"""A folder that appears whole or not at all."""

import pytest

from cohortreg import files
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
