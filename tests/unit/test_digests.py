"""Digests of files."""

import os
from pathlib import Path

from cohortreg.digests import digest_file


def test_a_folder_counts_by_its_plain_files_whatever_their_names(tmp_path):
    before = digest_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "lost").symlink_to("nowhere")
    assert digest_file(tmp_path) == before
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).write_bytes(b"1")
    assert digest_file(tmp_path) != before
