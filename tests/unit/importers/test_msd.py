import json
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from file_names import FILE_NAMES, accepted
from hypothesis import given
from hypothesis import strategies as st
from imports import tables

from cohortreg.cohort.tables import read_images, read_pairs, write_table
from cohortreg.errors import UserError
from cohortreg.importers.msd import import_msd


def dataset(folder, entries):
    """A dataset with all files that its entries name, but for those that no file can be called."""
    (folder / "dataset.json").write_text(json.dumps({"name": "Test", "training": entries}))
    for entry in entries:
        for path in entry.values():
            put(folder, path)
    return folder


def put(folder, path):
    with suppress(OSError):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()


def entry(name):
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def test_real_dataset_gives_the_tables_of_the_repository(hippocampus, tmp_path):
    images, pairs = tables(import_msd(hippocampus), 0.2, 100)
    assert images["split"].value_counts().to_dict() == {"train": 160, "test": 40}
    assert len(pairs) == 100
    write_table(tmp_path / "images.tsv", images)
    write_table(tmp_path / "pairs.tsv", pairs)
    read_pairs(tmp_path / "pairs.tsv", read_images(tmp_path / "images.tsv"))
    assert all((hippocampus / path).is_file() for path in [*images["image"], *images["label"]])


def test_rows(tmp_path):
    entries = [entry("b"), entry("a"), {"image": "imagesTr/c.nii.gz"}, entry("._a")]
    images, pairs = tables(import_msd(dataset(tmp_path, entries)), 0.5)
    assert images["image_id"].tolist() == ["b", "a", "c"]
    assert images["image"].tolist() == ["imagesTr/b.nii.gz", "imagesTr/a.nii.gz", "imagesTr/c.nii.gz"]
    assert images["label"].tolist() == ["labelsTr/b.nii.gz", "labelsTr/a.nii.gz", ""]
    tested = images.loc[images["split"] == "test", "image_id"]
    assert len(tested) == 2 and set(pairs.iloc[0]) == set(tested)


def test_another_seed_splits_otherwise(tmp_path):
    folder = dataset(tmp_path, [entry(f"i{n}") for n in range(50)])
    first, again, other = (tables(import_msd(folder), 0.2, 10, seed) for seed in (1, 1, 2))
    assert first[0].equals(again[0]) and first[1].equals(again[1])
    assert not first[0].equals(other[0]) and not first[1].equals(other[1])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "does not exist"),
        ("{", "not valid JSON"),
        ("[1]", 'no list "training"'),
        ('{"training": 3}', 'no list "training"'),
        ('{"training": []}', "lists no image"),
        ('{"training": [{"label": "x"}]}', 'entry 1 under "training" has no "image"'),
        ('{"training": [{"image": 5}]}', 'entry 1 under "training" has no "image"'),
        ('{"training": [5]}', 'entry 1 under "training" has no "image"'),
        ('{"training": [{"image": "a.nii", "label": 5}]}', 'entry 1 under "training" has no "label"'),
        ('{"training": [{"image": "a.nii", "label": ["b"]}]}', 'entry 1 under "training" has no "label"'),
        ('{"training": ["._a.nii"]}', "lists no image"),
        ('{"training": ["case 1.nii", "case_1.nii"]}', "two images 'case_1'"),
        ('{"training": ["a.nii", "A.nii"]}', "two images 'A'"),
        ("[" * 200000, "not valid JSON .nested too deep"),
        ('{"training": ' + "9" * 5000 + "}", "not valid JSON"),
        ('{"training": [{"image": "a.nii"}, {"image": "b/a.nii.gz"}]}', "two images 'a'"),
    ],
)
def test_bad_dataset(tmp_path, text, problem):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    for name in ("a.nii", "A.nii", "case 1.nii", "case_1.nii", "b/a.nii.gz"):
        put(tmp_path, name)
    with pytest.raises(UserError, match=problem) as error:
        import_msd(tmp_path)
    assert str(tmp_path / "dataset.json") in str(error.value)


def test_more_pairs_than_there_are(tmp_path):
    images, pairs = tables(import_msd(dataset(tmp_path, [entry(f"i{n}") for n in range(10)])), 0.2, 5)
    assert images["split"].eq("test").sum() == 2 and len(pairs) == 1


def imported(folder):
    """The images of a dataset, all to test on, by their ids, and what was said."""
    said = []
    images, _ = tables(import_msd(folder, said.append))
    return {row["image_id"]: (row["image"], row["label"]) for row in images.to_dict("records")}, said


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_paths_in_any_spelling(tmp_path, encoding):
    entries = [
        {"image": "./imagesTr//a 1.nii.gz", "label": ".\\labelsTr\\a 1.nii.gz"},
        {"image": "imagesTr\\b.nii", "label": None},
        "imagesTr/007.nii.gz",
    ]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": entries}), encoding=encoding)
    for path in ("imagesTr/a 1.nii.gz", "labelsTr/a 1.nii.gz", "imagesTr/b.nii", "imagesTr/007.nii.gz"):
        put(tmp_path, path)
    images, _ = imported(tmp_path)
    assert images == {
        "a_1": ("imagesTr/a 1.nii.gz", "labelsTr/a 1.nii.gz"),
        "b": ("imagesTr/b.nii", ""),
        "007": ("imagesTr/007.nii.gz", ""),
    }


def test_what_is_left_out_is_said(tmp_path):
    entries = [entry("a"), entry("b"), entry("._a"), {"image": "imagesTr/c\td.nii.gz"}, entry("x" * 249)]
    dataset(tmp_path, entries[:2])
    for name in ("imagesTr/new.nii.gz", "imagesTs/t1.nii.gz"):
        put(tmp_path, name)
    content = {"training": entries, "test": ["./imagesTs/t1.nii.gz", "./imagesTs/t2.nii.gz"]}
    (tmp_path / "dataset.json").write_text(json.dumps(content | {"modality": {"0": "FLAIR", "1": "T1w"}}))
    images, (odd, test, more, channels) = imported(tmp_path)
    assert set(images) == {"a", "b"}
    assert odd.startswith("Left out: 3 images (imagesTr/._a.nii.gz, imagesTr/c\\td.nii.gz, ...xxx")
    assert test.startswith("Left out: 2 images (imagesTs/t1.nii.gz, imagesTs/t2.nii.gz)")
    assert more.startswith("Left out: 1 file (imagesTr/new.nii.gz)")
    assert "2 channels (FLAIR, T1w)" in channels


def test_only_what_is_there_is_listed(tmp_path):
    dataset(tmp_path, [entry(f"i{n}") for n in range(6)])
    (tmp_path / "imagesTr/i4.nii.gz").unlink()
    (tmp_path / "labelsTr/i5.nii.gz").unlink()
    images, (missing,) = imported(tmp_path)
    assert set(images) == {"i0", "i1", "i2", "i3"}
    assert missing.startswith(
        "Left out: 2 images (imagesTr/i4.nii.gz, imagesTr/i5.nii.gz); listed in dataset.json"
    )


def test_before_any_image_is_there_all_are_listed(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry(f"i{n}") for n in range(6)]}))
    images, (said,) = imported(tmp_path)
    assert set(images) == {f"i{n}" for n in range(6)}
    assert "no image of dataset.json together with its label" in said and "imagesTr/i0.nii.gz" in said


@given(st.lists(FILE_NAMES, min_size=2, max_size=5, unique=True))
def test_any_names_that_a_file_system_allows(names):
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / "imagesTr").mkdir(exist_ok=True)
            (Path(folder) / "imagesTr" / f"{name}.nii.gz").touch()
        dataset(Path(folder), [{"image": f"./imagesTr/{name}.nii.gz"} for name in names])
        accepted(Path(folder), lambda say: tables(import_msd(Path(folder), say)), len(names))
