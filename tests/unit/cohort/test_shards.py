import os

import numpy as np

from cohortreg.cohort.shards import row_digest, rows_made, shard_of


def test_shard_follows_from_the_ids_alone():
    # SHA-256 of the length-prefixed ids, worked out once: an update must not move images between shards.
    assert [shard_of(f"image-{n}", shards=4) for n in range(6)] == [1, 2, 2, 2, 0, 3]
    assert shard_of("a", "b", shards=1000) != shard_of("b", "a", shards=1000)
    assert shard_of("ab", "c", shards=1000) != shard_of("a", "bc", shards=1000)


def test_shards_are_about_even():
    counts = np.bincount([shard_of(f"image-{n}", shards=8) for n in range(4000)], minlength=8)
    assert len(counts) == 8
    assert counts.min() > 420 and counts.max() < 580


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


def test_an_index_that_has_no_rows_digests(tmp_path):
    assert rows_made(tmp_path / "0.tsv") == set()
    (tmp_path / "0.tsv").write_text("image_id\tstatus\na\tok\n")
    assert rows_made(tmp_path / "0.tsv") == set()
    (tmp_path / "0.tsv").write_text("image_id\trow\na\t12\nb\t34\n")
    assert rows_made(tmp_path / "0.tsv") == {"12", "34"}
