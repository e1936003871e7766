"""What a command reads and writes, and the hardware it runs on."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from cohortreg.digests import digest_file
from cohortreg.files import write_text
from cohortreg.provenance import Provenance, hardware, running


@pytest.mark.parametrize(
    ("threads", "used"), [(None, "4 cores"), (1, "1 of 4 cores"), (4, "4 cores"), (8, "4 cores")]
)
def test_hardware_says_how_many_of_the_cores_were_used(monkeypatch, threads, used):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert hardware("cpu", threads).endswith(f", {used}")


def test_an_image_that_is_read_is_all_of_its_files(tmp_path):
    (tmp_path / "a.mhd").write_text("ElementDataFile = a.raw\n")
    (tmp_path / "a.raw").write_bytes(b"12")
    with Provenance() as provenance:
        both = running().reads(tmp_path / "a.mhd")
    # Of `printf 12 | sha256sum`.
    voxels = "6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918"
    assert provenance.inputs == {tmp_path / "a.mhd": both, tmp_path / "a.raw": voxels}
    assert (digest_file(tmp_path / "a.mhd"), digest_file(tmp_path / "a.raw")) == (both, voxels)


def test_hashing_reads_nothing_on_behalf_of_a_command(tmp_path):
    (tmp_path / "a").write_text("a")
    with Provenance() as provenance:
        digest_file(tmp_path / "a")
    assert provenance.inputs == {}


def test_a_file_whose_digest_is_known_is_not_read(tmp_path):
    with Provenance() as provenance:
        assert running().reads(tmp_path / "none", "0f") == "0f"
    assert provenance.inputs == {tmp_path / "none": "0f"}


def test_the_threads_of_a_command_share_its_provenance(tmp_path):
    with Provenance() as provenance, ThreadPoolExecutor(1) as thread:
        thread.submit(write_text, tmp_path / "a", "a").result()
        assert thread.submit(running).result() is provenance
    assert provenance.outputs == {tmp_path / "a"}


def test_each_command_has_its_own(tmp_path):
    with Provenance() as first:
        write_text(tmp_path / "a", "a")
        with Provenance() as second:
            write_text(tmp_path / "b", "b")
        write_text(tmp_path / "c", "c")
    write_text(tmp_path / "d", "d")
    assert first.outputs == {tmp_path / "a", tmp_path / "c"}
    assert second.outputs == {tmp_path / "b"}
