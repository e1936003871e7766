"""What kinds of files are opened, and gzip streams to their ends."""

import gzip
import os
import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.errors import BadImage
from cohortreg.images.io import Image, read_image, read_label, write_image
from cohortreg.images.stored import PIECE, content

ARRAY = np.random.default_rng(1).integers(0, 2000, (9, 10, 11)).astype(np.int16)


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a.nii.gz"
    write_image(path, Image(ARRAY, np.eye(4)))
    return path.read_bytes()


@settings(max_examples=150)
@given(st.data())
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path_factory, compressed, data):
    path = tmp_path_factory.getbasetemp() / "flipped.nii.gz"
    damaged = bytearray(compressed)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    for read in (read_image, read_label):
        try:
            np.testing.assert_array_equal(read(path).array, ARRAY)
        except BadImage as error:
            assert str(path) in str(error)


@settings(max_examples=40)
@given(st.data())
def test_a_file_cut_short_is_refused(tmp_path_factory, compressed, data):
    path = tmp_path_factory.getbasetemp() / "cut.nii.gz"
    path.write_bytes(compressed[: data.draw(st.integers(0, len(compressed) - 1))])
    with pytest.raises(BadImage):
        read_image(path)


def test_members_one_after_the_other_are_one_stream(tmp_path, compressed):
    path, raw = tmp_path / "a.nii.gz", gzip.decompress(compressed)
    path.write_bytes(b"".join(gzip.compress(raw[at : at + 100]) for at in range(0, len(raw), 100)))
    np.testing.assert_array_equal(read_image(path).array, ARRAY)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadImage, match="cut short"):
        read_image(path)


@pytest.mark.parametrize("behind", [bytes(512), b"\0", b"\x1f", b"left over"])
def test_what_follows_the_stream_does_not_count(tmp_path, compressed, behind):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(compressed + behind)
    np.testing.assert_array_equal(read_image(path).array, ARRAY)


def test_a_checksum_behind_many_pieces_is_looked_at(tmp_path):
    path, raw = tmp_path / "a.gz", bytes(2 * PIECE + 5)
    whole = gzip.compress(raw, 1)
    path.write_bytes(whole)
    assert content(path, len(raw)) == raw
    assert content(path, 7) == bytes(7)
    path.write_bytes(whole[:-8] + bytes(8))
    with pytest.raises(BadImage, match="checksum"):
        content(path, 7)


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket.nii"))
    (tmp_path / "device.nii").symlink_to("/dev/zero")
    (tmp_path / "circle.nii").symlink_to("circle.nii")
    (tmp_path / "nowhere.nii").symlink_to("nothing.nii")
    (tmp_path / "pipe.mhd").write_text(
        "ObjectType = Image\nNDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nElementDataFile = pipe.nii\n"
    )
    for name in (
        "pipe.nii",
        "socket.nii",
        "device.nii",
        "circle.nii",
        "nowhere.nii",
        "pipe.mhd",
        "n" * 300,
        "a\0b",
    ):
        with pytest.raises(BadImage):
            read_image(tmp_path / name)
    server.close()


def test_a_file_without_permission(tmp_path):
    path = tmp_path / "a.nii"
    write_image(path, Image(ARRAY, np.eye(4)))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # nothing is forbidden to root
        os.seteuid(65534)
    try:
        with pytest.raises(BadImage, match="permissions"):
            read_image(path)
    finally:
        os.seteuid(user)


def test_compressed_under_another_name_and_the_other_way_round(tmp_path, compressed):
    (tmp_path / "a.nii").write_bytes(compressed)
    (tmp_path / "b.nii.gz").write_bytes(gzip.decompress(compressed))
    with pytest.raises(BadImage, match=r"add \.gz"):
        read_image(tmp_path / "a.nii")
    with pytest.raises(BadImage, match="not an image"):
        read_image(tmp_path / "b.nii.gz")
