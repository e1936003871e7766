import os

import numpy as np
import pandas as pd
import pytest

from cohortreg.cohort.shards import pair_shards, row_digest, rows_made, shard_of, shards_of


def test_shard_follows_from_the_ids_alone():
    # SHA-256 of the length-prefixed ids, worked out once: an update must not move images between shards.
    assert [shard_of(f"image-{n}", shards=4) for n in range(6)] == [1, 2, 2, 2, 0, 3]
    assert shard_of("a", "b", shards=1000) != shard_of("b", "a", shards=1000)
    assert shard_of("ab", "c", shards=1000) != shard_of("a", "bc", shards=1000)


def test_shards_are_about_even():
    counts = np.bincount([shard_of(f"image-{n}", shards=8) for n in range(4000)], minlength=8)
    assert len(counts) == 8
    assert counts.min() > 420 and counts.max() < 580


@pytest.mark.parametrize("shards", [1, 4, 1000])
def test_the_shards_that_pairs_belong_to(shards):
    pairs = pd.DataFrame({"moving": [f"image-{n}" for n in range(50)], "fixed": "image-50"})
    assert shards_of(pairs, shards) == sorted(set(pair_shards(pairs, shards)))
    assert shards_of(pairs[:0], shards) == []


def test_a_row_changes_with_its_files(tmp_path):
    row = {"image_id": "a", "side": "left", "split": "test", "image": "a.nii", "label": ""}
    missing = row_digest(row, tmp_path)
    (tmp_path / "a.nii").write_bytes(b"12")
    os.utime(tmp_path / "a.nii", (1000, 1000))
    there = row_digest(row, tmp_path)
    os.utime(tmp_path / "a.nii", (500, 500))
    older = row_digest(row, tmp_path)
    assert len({missing, there, older, row_digest(row, None)}) == 4
    assert row_digest(row | {"split": "train"}, tmp_path) == older
    assert row_digest(row | {"side": "right"}, tmp_path) != older


def test_a_row_changes_with_the_files_of_its_folder(tmp_path):
    row = {"image_id": "a", "side": "left", "image": "a", "label": ""}
    (tmp_path / "a").mkdir()
    digests = [row_digest(row, tmp_path)]
    for name, content in (("001", b"1"), ("002", b"2"), ("001", b"12")):
        (tmp_path / "a" / name).write_bytes(content)
        os.utime(tmp_path / "a" / name, (1000, 1000))
        digests.append(row_digest(row, tmp_path))
    os.utime(tmp_path / "a" / "002", (500, 500))
    digests.append(row_digest(row, tmp_path))
    (tmp_path / "a" / "002").rename(tmp_path / "a" / "003")
    digests.append(row_digest(row, tmp_path))
    assert len(set(digests)) == len(digests)


def test_a_file_replaced_within_a_second_by_one_of_its_size(tmp_path):
    row = {"image_id": "a", "side": "", "image": "a.nii", "label": ""}
    (tmp_path / "a.nii").write_bytes(b"12")
    os.utime(tmp_path / "a.nii", ns=(0, 1_000_000_000))
    before = row_digest(row, tmp_path)
    os.utime(tmp_path / "a.nii", ns=(0, 1_000_000_001))
    assert row_digest(row, tmp_path) != before


@pytest.mark.parametrize("named", ["a.mhd", "a.nhdr", "a.hdr", "a.img"])
@pytest.mark.parametrize("column", ["image", "label"])
def test_a_row_changes_with_the_voxels_that_its_header_refers_to(tmp_path, named, column):
    voxels = tmp_path / ("a.raw" if named.endswith(("mhd", "nhdr")) else "a.img")
    (tmp_path / "a.hdr").write_bytes(b"header")
    (tmp_path / "a.mhd").write_text("ElementDataFile = a.raw\n")
    (tmp_path / "a.nhdr").write_text("NRRD0004\ndata file: a.raw\n")
    row = {"image_id": "a", "side": "", "image": "a.nii", "label": ""} | {column: named}
    digests = [row_digest(row, tmp_path)]
    for time in (1, 2):
        voxels.write_bytes(b"12")
        os.utime(voxels, ns=(0, time))
        digests.append(row_digest(row, tmp_path))
    assert len(set(digests)) == 3


def test_a_row_of_files_that_cannot_be_read_has_a_digest_that_changes_once_they_can(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "format.mhd").write_text("ElementDataFile = %n%n")
    (tmp_path / "itself.mhd").write_text("ElementDataFile = itself.mhd")
    (tmp_path / "folder.mhd").mkdir()
    named = ["pipe.nii", "round", "format.mhd", "itself.mhd", "folder.mhd", "a" * 300, "none/at/all", "a\0b"]
    rows = [{"image_id": "a", "side": "", "image": name, "label": ""} for name in named]
    before = [row_digest(row, tmp_path) for row in rows]
    assert len(set(before)) == len(before)
    for name in ("pipe.nii", "round"):
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(b"12")
    (tmp_path / "format.mhd").write_text("ElementDataFile = a.raw")
    (tmp_path / "folder.mhd" / "001").write_bytes(b"12")
    after = [row_digest(row, tmp_path) for row in rows]
    assert [one != other for one, other in zip(before, after, strict=True)] == [1, 1, 1, 0, 1, 0, 0, 0]


def test_an_index_that_has_no_rows_digests(tmp_path):
    assert rows_made(tmp_path / "0.tsv") == set()
    (tmp_path / "0.tsv").write_text("image_id\tstatus\na\tok\n")
    assert rows_made(tmp_path / "0.tsv") == set()
    (tmp_path / "0.tsv").write_text("image_id\trow\na\t12\nb\t34\n")
    assert rows_made(tmp_path / "0.tsv") == {"12", "34"}
