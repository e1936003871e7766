"""Whether what is to be read can be."""

import os
from pathlib import Path

import pytest

from cohortreg.errors import BadImage
from cohortreg.inputs import check_whole


def test_what_is_no_plain_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "round").symlink_to("round")
    for path, match in (
        (tmp_path / "pipe", "pipe is a named pipe, not a file; name a file"),
        (tmp_path / "round", "cannot be opened: Too many levels of symbolic links"),
        (tmp_path / ("a" * 300), "cannot be opened: File name too long"),
        (Path("/dev/zero"), "is a device, not a file"),
        (tmp_path / "none", "none: no such file; correct the path"),
        (tmp_path / "pipe" / "a", "no such file"),
        (tmp_path / "a\0b", "is not a valid file name"),
    ):
        with pytest.raises(BadImage, match=match):
            check_whole(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everywhere")
def test_what_may_not_be_read_is_refused(tmp_path):
    (tmp_path / "a").write_text("text")
    (tmp_path / "a").chmod(0)
    with pytest.raises(BadImage, match="cannot be opened: Permission denied"):
        check_whole(tmp_path / "a")
