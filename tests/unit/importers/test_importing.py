import pandas as pd
import pytest

from cohortreg.cohort.tables import read_images, read_pairs
from cohortreg.errors import UserError
from cohortreg.importers.additions import NOTHING, Before
from cohortreg.importers.found import Found, image_row, image_table
from cohortreg.importers.importing import complete, import_tables
from cohortreg.importers.registry import Draw


def found(folder, *names, **more) -> Found:
    """Images of a subject each, which have files and labels."""
    for name in names:
        (folder / f"{name}.nii.gz").touch()
        (folder / f"{name}_label.nii.gz").touch()
    rows = [image_row(name, f"{name}.nii.gz", f"{name}_label.nii.gz") for name in names]
    return Found(image_table(rows, folder), folder, **more)


def test_splits_and_pairs_are_drawn_and_rows_added(tmp_path):
    raw, tables = tmp_path / "raw", tmp_path / "tables"
    raw.mkdir()
    names = [f"s{number}" for number in range(10)]
    draw = Draw(test_fraction=0.4, pairs=5)
    added = import_tables(lambda: found(raw, *names), tables, draw)
    images = read_images(tables / "images.tsv")
    pairs = read_pairs(tables / "pairs.tsv", images)
    assert images["split"].value_counts().to_dict() == {"train": 6, "test": 4}
    assert (added.new_images, added.new_pairs, len(pairs)) == (10, 5, 5)
    tested = set(images["image_id"][images["split"] == "test"])
    assert {*pairs["moving"], *pairs["fixed"]} <= tested
    before = (tables / "images.tsv").read_bytes()
    again = import_tables(lambda: found(raw, *names), tables, draw)
    assert (again.new_images, again.new_pairs) == (0, 0)
    assert (tables / "images.tsv").read_bytes() == before


def test_fewer_pairs_than_asked_for_are_said(tmp_path):
    added = import_tables(lambda: found(tmp_path, "a", "b", "c"), tmp_path / "tables", Draw(0.7, pairs=9))
    assert added.sentences[0].startswith("1 pair, not 9: 2 test images make no more;")


def test_pairs_that_come_with_the_images_are_not_drawn(tmp_path):
    pairs = pd.DataFrame({"moving": ["a"], "fixed": ["b"], "set": ["published"]})
    given = found(tmp_path, "a", "b", pairs=pairs)
    added = import_tables(lambda: given, tmp_path / "tables")
    assert added.pairs[["moving", "fixed", "set"]].values.tolist() == [["a", "b", "published"]]
    assert not added.sentences


def test_an_image_that_the_cohort_has_under_another_name_keeps_it_in_every_table(tmp_path):
    pairs = pd.DataFrame({"moving": ["a"], "fixed": ["b"]})
    others = {"visits.tsv": pd.DataFrame({"image_id": ["b", "a"], "visit": ["1", "2"]})}
    given = found(tmp_path, "a", "b", pairs=pairs, others=others)
    named = found(tmp_path, "a").images.assign(image_id="anna", subject_id="anna", split="test")
    images, pairs, others = complete(given, Before(named, NOTHING.pairs), Draw())
    assert images["image_id"].tolist() == ["anna", "b"]
    assert pairs[["moving", "fixed"]].values.tolist() == [["anna", "b"]]
    assert others["visits.tsv"]["image_id"].tolist() == ["b", "anna"]


def test_further_pairs_are_of_test_images_of_which_one_is_new(tmp_path):
    further = pd.DataFrame({"moving": ["a", "a", "b"], "fixed": ["b", "c", "c"], "set": "repeated"})
    pairs = pd.DataFrame({"moving": ["a"], "fixed": ["b"]})
    given = found(tmp_path, "a", "b", "c", pairs=pairs, further=further)
    known = found(tmp_path, "a", "b").images.assign(split="test")
    splits = given.images.assign(split=["test", "test", "test"])
    _, pairs, _ = complete(given._replace(images=splits), Before(known, NOTHING.pairs), Draw())
    repeated = pairs[pairs["set"] == "repeated"]
    assert repeated[["moving", "fixed"]].values.tolist() == [["a", "c"], ["b", "c"]]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "tables").touch()

    def read() -> Found:
        raise AssertionError("it was read")

    with pytest.raises(UserError, match="tables"):
        import_tables(read, tmp_path / "tables")
