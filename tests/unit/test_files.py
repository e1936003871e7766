"""Files and folders that appear whole or not at all."""

import json
import os
import subprocess

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from cohortreg.errors import UserError
from cohortreg.files import (
    check_outputs,
    check_seal,
    read_json,
    read_kept,
    renewed_folder,
    sealed,
    whole,
    write_json,
    write_sealed,
    write_text,
)
from cohortreg.provenance import Provenance


def renew(place, **pages):
    """Write pages into a folder of ours."""
    with renewed_folder(place, place / "files.json") as folder:
        assert list(folder.iterdir()) == []
        for name, text in pages.items():
            write_text(folder / "pages" / name, text)


def texts(place):
    return {str(path.relative_to(place)): path.read_text() for path in place.rglob("*") if path.is_file()}


def test_a_folder_has_what_was_written_last_and_what_is_somebodys_own(tmp_path):
    place = tmp_path / "below" / "report"
    renew(place, one="1", both="1")
    for mine in ("qc.tsv", "pages/mine", "other/mine"):
        write_text(place / mine, "mine")
    with Provenance() as provenance:
        renew(place, two="2", both="2")
    found = texts(place)
    del found["files.json"]
    mine = {"qc.tsv": "mine", "pages/mine": "mine", "other/mine": "mine"}
    assert found == {"pages/two": "2", "pages/both": "2"} | mine
    assert list(place.parent.iterdir()) == [place]
    assert provenance.outputs == {place}


def test_of_one_that_fails_nothing_is_left_and_the_one_before_stays(tmp_path):
    place = tmp_path / "report"
    renew(place, page="before")
    before = texts(place)
    with pytest.raises(KeyError), renewed_folder(place, place / "files.json") as folder:
        write_text(folder / "pages" / "page", "after")
        raise KeyError
    assert texts(place) == before
    assert list(tmp_path.iterdir()) == [place]


def test_a_file_that_was_not_written_here_is_not_replaced(tmp_path):
    place = tmp_path / "report"
    write_text(place / "pages" / "page", "mine")
    before = texts(place)
    with pytest.raises(UserError, match="page was not written by this command; move it elsewhere"):
        renew(place, page="ours", another="ours")
    assert texts(place) == before


def test_a_list_that_was_tampered_with_deletes_nothing_outside(tmp_path):
    place = tmp_path / "report"
    renew(place, page="1")
    (tmp_path / "mine").write_text("mine")
    write_json(place / "files.json", {"files": ["../mine", str(tmp_path / "mine"), "pages/page"]})
    renew(place, other="1")
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (place / "pages" / "page").exists()


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
    refused(tmp_path / "file" / "below" / "out.tsv", "file is not a folder")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    refused(tmp_path / "below" / "out.tsv", "is not writable")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["x" * 248 + ".nii.gz", "ü" * 124 + ".nii.gz", "👩" * 62 + ".nii.gz"])
def test_a_name_may_be_as_long_as_a_file_system_allows(tmp_path, name):
    with whole(tmp_path / name) as beside:
        assert beside.name.endswith(".nii.gz")
        beside.write_text("image")
    for text in ("page", "another"):
        with renewed_folder(tmp_path / name[::-1], tmp_path / name[::-1] / "files.json") as folder:
            write_text(folder / name, text)
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


@pytest.mark.parametrize("change", [{"a": 2}, {"a": "1"}, {"b": 1}, {"a": [1, {"c": None}]}])
def test_a_sealed_record_is_read_as_it_was_written_or_not_at_all(tmp_path, change):
    path, content = tmp_path / "r.json", {"a": 1, "b": [0.1, None, {"c": "ä"}]}
    write_sealed(path, content)
    assert read_json(path) == content == read_kept(path, "a")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read_kept(path, "a") == {}
    with pytest.raises(UserError, match="its content is not what was written"):
        read_json(path)


def test_a_sealed_file_is_what_was_written_or_refused(tmp_path):
    path = tmp_path / "0.csv"
    with sealed(path):
        path.write_text("a\n1\n")
    check_seal(path)
    subprocess.run(["sha256sum", "--check", "0.csv.sha256"], cwd=tmp_path, check=True, capture_output=True)
    path.write_text("a\n9\n")
    with pytest.raises(UserError, match=r"0\.csv is cut short or damaged \(its checksum does not match\)"):
        check_seal(path)
    with pytest.raises(OSError), sealed(path):
        raise OSError("killed while it was written")
    check_seal(path)  # there is none any more


def test_no_output_is_an_input_or_another_output(tmp_path):
    """Also one of several files that an image consists of, and one that is not there yet."""
    (tmp_path / "a.mhd").write_text("ElementDataFile = voxels.nii\n")
    (tmp_path / "voxels.nii").write_text("voxels")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"voxels\.nii is an input, which is never overwritten"):
        check_outputs([tmp_path / "link" / "voxels.nii"], [tmp_path / "a.mhd"])
    with pytest.raises(UserError, match=r"new\.h5 is named twice"):
        check_outputs([tmp_path / "new.h5", None, tmp_path / "link" / "new.h5"], [None])
    check_outputs([tmp_path / "new.h5"], [tmp_path / "a.mhd", tmp_path / "missing.nii"])


@pytest.mark.parametrize("names", [("a.nii", "a.nii.gz"), ("a.nii.gz", "a.nii")], ids=["gz", "nii"])
def test_no_file_is_written_where_itk_would_read_another_ones_voxels(tmp_path, names):
    there, written = (tmp_path / name for name in names)
    for number, path in enumerate((there, written)):
        nibabel.Nifti1Image(np.full((2, 3, 4), number, np.int16), np.eye(4)).to_filename(path)
    # What it is about: both have the voxels of the one that is not compressed.
    read = [sitk.GetArrayFromImage(sitk.ReadImage(str(path))).max() for path in (there, written)]
    assert read[0] == read[1]
    with pytest.raises(UserError, match=f"cannot be written beside {there.name}"), whole(written):
        pass
    written.unlink()
    write_text(there, "again")
    write_text(tmp_path / "b.nii.gz", "another")
