import errno
import gzip
import os
import re
import resource
import shutil
import unicodedata
from itertools import chain, pairwise

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from series import volume, write_series

from cohortreg.cohort.shards import row_digest, rows_made, shard_of, shard_rows
from cohortreg.cohort.tables import read_images, read_pairs, read_table, write_table
from cohortreg.config import Preprocess, Shards
from cohortreg.digests import digest_file
from cohortreg.errors import UserError
from cohortreg.files import read_json
from cohortreg.images.io import Image, read_image, read_label, write_image
from cohortreg.jobs.cohort import merge_cohort
from cohortreg.jobs.export import exported_pairs
from cohortreg.jobs.preprocess import preprocess_shard
from cohortreg.jobs.register import pairs_of
from cohortreg.jobs.registered import in_cohort
from cohortreg.jobs.training_sets import image_digest
from cohortreg.layout import Layout

SETTINGS = Preprocess(grid=[6, 6, 6], fit="resample", mirror="left")
STRUCTURES = {"one": [1], "two": [2]}
SHARDS = 3


@pytest.fixture
def cohort(tmp_path):
    """Eight small images with labels, their table and the pairs (0, 1), (1, 2), ..., and a layout for results."""
    root = tmp_path / "raw"
    rows, random = [], np.random.default_rng(1)
    for n in range(8):
        image = Image(random.random((8, 9, 10), dtype=np.float32), np.diag([2.0, 1, 1, 1]))
        label = random.integers(0, 3, size=image.shape).astype(np.uint8)
        write_image(root / f"i{n}.nii.gz", image)
        write_image(root / f"l{n}.nii.gz", Image(label, image.affine))
        side, split = ("left", "right")[n % 2], "test" if n < 5 else "train"
        rows.append(f"image-{n}\ts{n}\t{side}\t{split}\ti{n}.nii.gz\tl{n}.nii.gz\n")
    table, pairs = tmp_path / "images.tsv", tmp_path / "pairs.tsv"
    table.write_text("image_id\tsubject_id\tside\tsplit\timage\tlabel\n" + "".join(rows))
    pairs.write_text("moving\tfixed\n" + "".join(f"image-{n}\timage-{n + 1}\n" for n in range(4)))
    return table, pairs, root, Layout(tmp_path / "results" / "small")


def run(cohort, settings=SETTINGS, fail=False, structures=STRUCTURES):
    """Every shard, its index written as the command does; and what was reported."""
    table, _, root, layout = cohort
    reported = {}
    for shard in range(SHARDS):
        rows = shard_rows(read_images(table), shard, SHARDS)
        index = preprocess_shard(layout, rows, root, settings, structures, fail, reported.__setitem__)
        write_table(layout.image_shard(shard), index)
    return reported


def merge(cohort):
    table, pairs, _, layout = cohort
    return merge_cohort(layout, "small", table, pairs, Shards(images=SHARDS, pairs=2))


def test_a_model_needs_training_images_of_the_users_table(cohort):
    table, pairs, _, layout = cohort
    shards = Shards(images=SHARDS, pairs=2)
    run(cohort)
    table.write_text(table.read_text().replace("train", "test"))
    with pytest.raises(
        UserError, match=f"^{table}: no image has train in the column split, and icon must be"
    ):
        merge_cohort(layout, "small", table, pairs, shards, ["icon"])


def test_whole_cohort(cohort):
    table, pairs, _, layout = cohort
    assert set(run(cohort).values()) == {""}
    summary = merge(cohort)
    assert summary == read_json(layout.cohort)
    del summary["digest"]
    assert summary == {
        "name": "small", "images": 8, "train": 3, "validation": 0, "test": 5, "pairs": 4,
        "excluded_images": 0, "excluded_pairs": 0, "warnings": [],
    }  # fmt: skip
    assert layout.images.read_text() == table.read_text()
    assert layout.pairs.read_text() == pairs.read_text()
    assert layout.excluded.read_text() == "kind\tid\treason\n"
    assert read_image(layout.image("image-0")).shape == (6, 6, 6)
    assert read_label(layout.label("image-0")).shape == (8, 9, 10)


def test_a_pair_that_stands_several_times_is_registered_once(cohort):
    _, pairs, _, layout = cohort
    run(cohort)
    merge(cohort)
    before = {shard: layout.pair_shard(shard).read_bytes() for shard in range(2)}
    lines = pairs.read_text().splitlines()[1:]
    repeated = [f"{lines[0]}\tpublished", "image-4\timage-4\tpublished", f"{lines[1]}\tpublished"]
    pairs.write_text("\n".join(["moving\tfixed\tset", *(f"{line}\t" for line in lines), *repeated]) + "\n")
    assert merge(cohort)["pairs"] == 5
    assert layout.pairs.read_text() == pairs.read_text()
    new = shard_of("image-4", "image-4", shards=2)
    assert layout.pair_shard(1 - new).read_bytes() == before[1 - new]
    shards = [pd.read_csv(layout.pair_shard(shard), sep="\t", dtype=str) for shard in range(2)]
    registered = in_cohort(layout, pd.concat(shards))[["moving", "fixed"]].values.tolist()
    assert sorted(registered) == [*([f"image-{n}", f"image-{n + 1}"] for n in range(4)), ["image-4"] * 2]


def test_sidecar_says_what_was_done(cohort):
    _, _, root, layout = cohort
    run(cohort)
    sidecar = read_json(layout.sidecar("image-2"))
    assert sidecar["image"] == "i2.nii.gz"
    assert sidecar["image_sha256"] == digest_file(root / "i2.nii.gz")
    assert sidecar["label_sha256"] == digest_file(root / "l2.nii.gz")
    assert sidecar["settings_digest"] == SETTINGS.digest
    assert sidecar["mirrored"] is True
    # The field of view runs from -1 to 15 mm: its middle is 7 mm.
    np.testing.assert_allclose(sidecar["to_source"] @ np.array([9, 1, 2, 1]), [5, 1, 2, 1])
    np.testing.assert_allclose(sidecar["affine"], read_image(layout.image("image-2")).affine)


def test_shards_share_out_every_image_once(cohort):
    images = read_images(cohort[0])
    parts = [shard_rows(images, shard, SHARDS)["image_id"].tolist() for shard in range(SHARDS)]
    assert sorted(chain(*parts)) == images["image_id"].tolist()
    # The last rows do not move the others.
    for shard, part in enumerate(parts):
        fewer = shard_rows(images[:5], shard, SHARDS)["image_id"].tolist()
        assert fewer == [image_id for image_id in part if image_id in set(images["image_id"][:5])]


def written(layout) -> dict:
    return {path: path.stat().st_mtime_ns for path in layout.root.rglob("image-*") if path.is_file()}


def test_only_what_is_missing_or_changed_is_done_again(cohort):
    _, _, root, layout = cohort
    run(cohort)
    before = written(layout)
    run(cohort)
    assert written(layout) == before

    layout.label("image-1").unlink()  # lost
    layout.sidecar("image-2").unlink()  # interrupted
    write_image(root / "i3.nii.gz", read_image(root / "i4.nii.gz"))  # changed
    sidecar = layout.sidecar("image-4").read_text()
    layout.sidecar("image-4").write_text(sidecar.replace('"mirrored": ', '"mirrored": 1'))  # damaged
    run(cohort)
    after = written(layout)
    again = {path.name.split(".")[0] for path in after if after[path] != before[path]}
    assert again == {"image-1", "image-2", "image-3", "image-4"}
    assert layout.sidecar("image-4").read_text() == sidecar

    run(cohort, Preprocess(grid=[5, 5, 5], fit="pad", mirror="left"))
    assert all(after[path] != time for path, time in written(layout).items())


def spoil(root, how):
    """Make image-1 bad in one of the ways that happen."""
    image, label = root / "i1.nii.gz", root / "l1.nii.gz"
    array, affine = read_image(image).array.copy(), read_image(image).affine
    if how == "missing":
        image.unlink()
    elif how == "cut short":
        image.write_bytes(image.read_bytes()[:700])
    elif how == "not an image":
        image.write_text("404 Not Found")
    elif how == "4D":
        write_image(image, Image(np.stack([array, array], axis=-1), affine))
    elif how == "2D":
        flat = affine[np.ix_([0, 1, 3], [0, 1, 3])]
        write_image(image, Image(array[..., 0], flat))
        write_image(label, Image(read_label(label).array.max(2), flat))
    elif how == "one value":
        write_image(image, Image(np.ones_like(array), affine))
    elif how == "almost one value":
        array[:] = 0
        array[0, 0, 0] = 1
        write_image(image, Image(array, affine))
    elif how == "NaN":
        array[1, 1, 1] = np.nan
        write_image(image, Image(array, affine))
    elif how == "header of 32767 voxels along each axis":
        content = bytearray(gzip.decompress(image.read_bytes()))
        content[40:56] = np.array([3, 32767, 32767, 32767, 1, 1, 1, 1], np.int16).tobytes()
        image.write_bytes(gzip.compress(content))
    elif how == "named pipe":
        image.unlink()
        os.mkfifo(image)
    elif how == "label missing":
        label.unlink()
    elif how == "label that is a device":
        label.unlink()
        label.symlink_to("/dev/zero")
    elif how == "label of other geometry":
        write_image(label, Image(read_label(label).array[1:], affine))
    elif how == "label without structure":
        write_image(label, Image(np.minimum(read_label(label).array, 1), affine))


WAYS = {
    "missing": ("i1.nii.gz", "no such file"),
    "cut short": ("i1.nii.gz", "cut short"),
    "not an image": ("i1.nii.gz", "not an image"),
    "4D": ("i1.nii.gz", "3D"),
    "2D": ("i1.nii.gz", "it has 2 axes, but preprocess.grid"),
    "one value": ("i1.nii.gz", "value 1 in every voxel"),
    "almost one value": ("i1.nii.gz", "almost every voxel"),
    "NaN": ("i1.nii.gz", "NaN"),
    "header of 32767 voxels along each axis": ("i1.nii.gz", "claims"),
    "named pipe": ("i1.nii.gz", "a named pipe"),
    "label that is a device": ("l1.nii.gz", "a device"),
    "label missing": ("l1.nii.gz", "no such file"),
    "label of other geometry": ("l1.nii.gz", "a different geometry"),
    "label without structure": ("l1.nii.gz", "no voxel of two (value 2)"),
}


@pytest.mark.parametrize("how", WAYS)
def test_bad_image_and_its_pairs_are_left_out_and_the_rest_goes_on(cohort, how):
    _, _, root, layout = cohort
    run(cohort)
    spoil(root, how)
    reported = run(cohort)
    file, words = WAYS[how]
    assert str(root / file) in reported["image-1"] and words in reported["image-1"]
    assert [image_id for image_id, reason in reported.items() if reason] == ["image-1"]
    # Nothing of the earlier, good run may pass for this one's.
    assert not layout.image("image-1").exists() and not layout.sidecar("image-1").exists()

    summary = merge(cohort)
    assert (summary["images"], summary["pairs"]) == (7, 2)
    assert (summary["excluded_images"], summary["excluded_pairs"]) == (1, 2)
    images = read_images(layout.images)
    assert "image-1" not in images["image_id"].tolist()
    assert read_pairs(layout.pairs, images)["moving"].tolist() == ["image-2", "image-3"]
    kind, name, reason = zip(
        *[row.split("\t") for row in layout.excluded.read_text().splitlines()], strict=True
    )
    assert kind == ("kind", "image", "pair", "pair")
    assert name == ("id", "image-1", "image-0 image-1", "image-1 image-2")
    assert all(words in sentence for sentence in reason[1:])
    assert "image 'image-1' is excluded" in reason[2]


CRASHING = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 8 9 10\nElementSpacing = 1 1 1\n"
    "ElementType = MET_UCHAR\nElementDataFile = %s%s%s%n.raw 1 10 1\n"
)
TEXT = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 8 9 10\nencoding: text\n\n" + "1 " * 700 + "9" * 100000


@pytest.mark.parametrize(
    ("suffix", "text"), [(".mhd", CRASHING), (".nrrd", TEXT), (".vtk", ""), (".nii", "")]
)
def test_a_file_that_a_library_cannot_stand_is_one_line(cohort, suffix, text):
    table, _, root, _ = cohort
    table.write_text(table.read_text().replace("i1.nii.gz", f"i1{suffix}"))
    (root / f"i1{suffix}").write_text(text)
    reported = run(cohort)
    assert [image_id for image_id, reason in reported.items() if reason] == ["image-1"]


def test_a_fault_of_the_machine_excludes_no_image(cohort):
    """No file may grow beyond 200 bytes, as none can on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(OSError) as error:
            run(cohort)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert set(run(cohort).values()) == {""}
    assert merge(cohort)["excluded_images"] == 0


def test_fail_stops_at_the_bad_image_and_damages_nothing(cohort):
    _, _, root, layout = cohort
    spoil(root, "NaN")
    with pytest.raises(UserError, match=r"image 'image-1' \(row 3 .*i1.nii.gz has NaN"):
        run(cohort, fail=True)
    whole = [path for path in layout.root.rglob("*") if path.is_file()]
    for path in whole:
        if path.name.endswith(".nii.gz"):
            read_label(path) if path.parent.name == "labels" else read_image(path)
        assert not path.name.startswith(".")


def test_image_fixed_later_comes_back(cohort):
    root = cohort[2]
    good = (root / "i1.nii.gz").read_bytes()
    spoil(root, "cut short")
    run(cohort)
    (root / "i1.nii.gz").write_bytes(good)
    assert set(run(cohort).values()) == {""}
    assert merge(cohort)["images"] == 8


def test_structures_are_asked_of_images_done_before(cohort):
    run(cohort)
    reported = run(cohort, structures={"three": [3]})
    assert len(reported) == 8 and all("three (value 3)" in reason for reason in reported.values())


def test_nothing_left(cohort):
    _, _, root, _ = cohort
    for n in range(8):
        (root / f"i{n}.nii.gz").unlink()
    run(cohort)
    with pytest.raises(UserError, match=r"every image of small is excluded, .*i0.nii.gz: no such file"):
        merge(cohort)


def test_no_pair_left(cohort):
    _, _, root, _ = cohort
    for n in (1, 3):
        (root / f"i{n}.nii.gz").unlink()
    run(cohort)
    with pytest.raises(UserError, match="every pair of small is excluded"):
        merge(cohort)


def test_pairs_rated_so_are_left_out_with_their_note_and_unknown_ones_are_named_once(cohort, tmp_path):
    table, pairs, _, layout = cohort
    run(cohort)
    shards = Shards(images=SHARDS, pairs=2)
    ratings = tmp_path / "qc.tsv"
    rows = [
        "image-0\timage-1\tbad\tupside down",
        "image-1\timage-2\tbad\t",
        "image-2\timage-3\tdoubtful\tblurred",
        "image-7\timage-0\tbad\t",
    ]
    ratings.write_text("\n".join(["moving\tfixed\trating\tnote", *rows]) + "\n")
    summary = merge_cohort(layout, "small", table, pairs, shards, ratings_path=ratings, exclude_rated=["bad"])
    assert (summary["images"], summary["pairs"], summary["excluded_pairs"]) == (8, 2, 2)
    (warning,) = summary["warnings"]
    assert "rates 1 pair that the cohort does not have (image-7 image-0)" in warning
    left_out = layout.excluded.read_text().splitlines()[1:]
    assert left_out == [
        "pair\timage-0 image-1\trated bad: upside down",
        "pair\timage-1 image-2\trated bad",
    ]
    assert read_pairs(layout.pairs, read_images(table))["moving"].tolist() == ["image-2", "image-3"]
    # Other ratings of the same table leave nothing out by themselves.
    assert merge_cohort(layout, "small", table, pairs, shards, ratings_path=ratings)["pairs"] == 4


def test_of_a_rated_pair_with_a_bad_image_the_image_is_the_reason(cohort, tmp_path):
    table, pairs, root, layout = cohort
    spoil(root, "NaN")
    run(cohort)
    ratings = tmp_path / "qc.tsv"
    ratings.write_text("moving\tfixed\trating\nimage-0\timage-1\tbad\nimage-2\timage-3\tbad\n")
    summary = merge_cohort(
        layout,
        "small",
        table,
        pairs,
        Shards(images=SHARDS, pairs=2),
        ratings_path=ratings,
        exclude_rated=["bad"],
    )
    assert summary["excluded_pairs"] == 3
    reasons = dict(row.split("\t")[1:] for row in layout.excluded.read_text().splitlines())
    assert "image 'image-1' is excluded" in reasons["image-0 image-1"]
    assert reasons["image-2 image-3"] == "rated bad"


def test_missing_root_is_one_error_not_one_for_each_image(cohort):
    shutil.rmtree(cohort[2])
    with pytest.raises(UserError, match="raw does not exist; correct `root`"):
        run(cohort)


def test_shard_that_was_not_preprocessed(cohort):
    *_, layout = cohort
    run(cohort)
    layout.image_shard(2).unlink()
    with pytest.raises(UserError, match=r"2\.tsv is missing; run `cohortreg preprocess` for shard 2"):
        merge(cohort)


def test_table_that_grew_after_preprocessing(cohort):
    table, *_ = cohort
    run(cohort)
    with table.open("a") as stream:
        stream.write("image-8\ts8\tleft\ttrain\ti8.nii.gz\t\n")
    with pytest.raises(UserError, match="'image-8'"):
        merge(cohort)


def test_warnings_are_kept_for_the_report(cohort):
    table, *_ = cohort
    table.write_text(table.read_text().replace("s7", "s0").replace("s6", "s1"))
    run(cohort)
    (warning,) = merge(cohort)["warnings"]
    assert "2 test subjects are also in training (s0, s1)" in warning


def test_an_index_of_an_earlier_version_is_one_sentence(cohort):
    *_, layout = cohort
    run(cohort)
    path = layout.image_shard(0)
    lines = path.read_text().splitlines()
    path.write_text("".join(line.rpartition("\t")[0] + "\n" for line in lines))
    with pytest.raises(
        UserError,
        match="as if from an earlier version; delete it and run `cohortreg preprocess` for shard 0 again",
    ):
        merge(cohort)


def test_subjects_that_a_model_learnt_from_and_that_are_tested_now_are_warned_of(cohort):
    """The model keeps its training set, whatever becomes of the column split."""
    table, pairs, _, layout = cohort
    run(cohort)
    sizes = Shards(images=SHARDS, pairs=2)
    assert merge_cohort(layout, "small", table, pairs, sizes, ["icon"])["warnings"] == []
    lines = table.read_text().splitlines(keepends=True)
    table.write_text(
        "".join(line.replace("train", "test") if line.startswith("image-7") else line for line in lines)
    )
    run(cohort)
    leak, behind = merge_cohort(layout, "small", table, pairs, sizes, ["icon"])["warnings"]
    assert "1 test subject is also in training (s7)" in leak
    assert "icon was trained on an earlier set of 3 images, now there are 2" in behind


def test_index_and_digest_change_when_an_image_does(cohort):
    _, _, root, layout = cohort
    run(cohort)
    before = {shard: layout.image_shard(shard).read_text() for shard in range(SHARDS)}
    header, *rows = "".join(before.values()).splitlines()
    assert header == "image_id\tstatus\treason\tsidecar\tdigest\trow"
    rows = [row.split("\t") for row in rows if row != header]
    assert len(rows) == 8
    for image_id, status, reason, sidecar, made_from, _ in rows:
        assert (status, reason, sidecar) == ("ok", "", digest_file(layout.sidecar(image_id)))
        assert made_from == image_digest(read_json(layout.sidecar(image_id)))
    digest = merge(cohort)["digest"]
    assert merge(cohort)["digest"] == digest
    write_image(root / "i3.nii.gz", read_image(root / "i4.nii.gz"))
    run(cohort)
    changed = [shard for shard in range(SHARDS) if layout.image_shard(shard).read_text() != before[shard]]
    assert changed == [shard_of("image-3", shards=SHARDS)]
    assert merge(cohort)["digest"] != digest


def test_an_image_that_was_removed_stays_in_its_shards_index(cohort):
    """Nothing is preprocessed then, and the cohort is as if it had never been there."""
    table, pairs, root, layout = cohort
    run(cohort)
    whole = merge(cohort)
    for path, last in ((table, "image-7"), (pairs, "image-4")):
        path.write_text("".join(line for line in path.read_text().splitlines(True) if last not in line))
    assert merge(cohort)["images"] == whole["images"] - 1
    assert "image-7" not in layout.images.read_text()
    left = read_json(layout.cohort)["digest"]
    assert left != whole["digest"]
    run(cohort)
    assert merge(cohort)["digest"] == left
    rows = read_images(table).to_dict("records")
    made = set.union(*(rows_made(layout.image_shard(shard)) for shard in range(SHARDS)))
    assert made == {row_digest(row, root) for row in rows}


def test_a_dicom_series_is_an_image_of_the_cohort(cohort, tmp_path):
    table, _, root, layout = cohort
    run(cohort)
    before = read_json(layout.sidecar("image-0"))
    series = volume(size=(8, 9, 10))
    write_series(root / "i0", series)
    SimpleITK.WriteImage(series > 450, str(root / "l0.mha"))
    table.write_text(table.read_text().replace("i0.nii.gz\tl0.nii.gz", "i0\tl0.mha"))
    structures = {"one": [1]}
    run(cohort, structures=structures)
    sidecar = read_json(layout.sidecar("image-0"))
    assert sidecar["image_sha256"] == digest_file(root / "i0") != before["image_sha256"]
    assert set(run(cohort, structures=structures).values()) == {""}
    (root / "i0" / "004").unlink()
    assert "1 slice is missing" in run(cohort, structures=structures)["image-0"]


NAMES = st.text(
    st.characters(exclude_characters="/\\\x7f", exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8
).filter(lambda name: not name.startswith(".") and not re.fullmatch('".+"', name))
NOTES = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), max_size=8)
FOLDED = {"unique_by": lambda name: unicodedata.normalize("NFC", name).casefold()}


@settings(deadline=None, max_examples=40)
@given(names=st.lists(NAMES, min_size=3, max_size=3, **FOLDED), notes=st.lists(NOTES, min_size=3, max_size=3))
def test_names_and_notes_are_the_same_in_every_table(tmp_path_factory, names, notes):
    folder = tmp_path_factory.mktemp("names")
    layout, pairs = Layout(folder / "results"), list(pairwise([*names, names[0]]))
    rows = [[name, f"s{n}", "", "", "i.nii", ""] for n, name in enumerate(names)]
    header = ["image_id", "subject_id", "side", "split", "image", "label"]
    write_table(folder / "images.tsv", pd.DataFrame(rows, columns=header))
    rows = [[*pair, note] for pair, note in zip(pairs, notes, strict=True)]
    write_table(folder / "pairs.tsv", pd.DataFrame(rows, columns=["moving", "fixed", "note"]))
    ratings = [[*pairs[0], "bad", notes[0]]]
    write_table(folder / "qc.tsv", pd.DataFrame(ratings, columns=["moving", "fixed", "rating", "note"]))
    index = [[name, "ok", "", "", "", ""] for name in names]
    columns = ["image_id", "status", "reason", "sidecar", "digest", "row"]
    write_table(layout.image_shard(0), pd.DataFrame(index, columns=columns))
    tables = folder / "images.tsv", folder / "pairs.tsv"
    shards = Shards(images=1, pairs=1)
    left = merge_cohort(layout, "c", *tables, shards, (), None, folder / "qc.tsv", ["bad"])
    assert (left["images"], left["pairs"], left["excluded_pairs"]) == (3, 2, 1)
    assert layout.images.read_bytes() == tables[0].read_bytes()
    assert read_pairs(layout.pairs, read_images(layout.images)).values.tolist() == rows[1:]
    assert sorted(map(tuple, pairs_of(layout, 0).values)) == sorted(pairs[1:])
    assert exported_pairs(layout) == pairs[1:]
    (excluded,) = read_table(layout.excluded, ["reason"]).values.tolist()
    assert excluded == ["pair", " ".join(pairs[0]), "rated bad" + (f": {notes[0]}" if notes[0] else "")]


@pytest.mark.parametrize("content", ["", "{", "{}", '{"image": "i0.nii.gz"}'])
def test_a_damaged_sidecar_makes_its_image_anew_and_no_other(cohort, content):
    layout = cohort[-1]
    run(cohort)
    whole, other = (layout.sidecar(name).read_bytes() for name in ("image-0", "image-1"))
    before = layout.sidecar("image-1").stat().st_mtime_ns
    layout.sidecar("image-0").write_text(content)
    assert set(run(cohort).values()) == {""}
    assert layout.sidecar("image-0").read_bytes() == whole
    assert layout.sidecar("image-1").read_bytes() == other
    assert layout.sidecar("image-1").stat().st_mtime_ns == before


@pytest.mark.parametrize("content", ["", "image_id\tstat", "image_id\tstatus\n"])
def test_a_damaged_index_of_a_shard_says_what_makes_it_anew(cohort, content):
    layout = cohort[-1]
    run(cohort)
    layout.image_shard(1).write_text(content)
    assert rows_made(layout.image_shard(1)) == set()
    with pytest.raises(UserError, match=r"1.tsv .* run `cohortreg preprocess` for shard 1 again"):
        merge(cohort)
