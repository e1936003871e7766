"""Files that appear whole or not at all."""

import os

import pytest

from cohortreg.errors import UserError
from cohortreg.files import write_text


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
