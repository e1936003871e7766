import pytest
from imports import tables

from cohortreg.cohort.tables import read_images, read_pairs
from cohortreg.config import Phantom
from cohortreg.errors import UserError
from cohortreg.files import read_json, write_json, write_text
from cohortreg.images.preprocess import read_labelled
from cohortreg.importers.additions import Before
from cohortreg.phantoms.phantom import make_phantoms, phantom_knees

GRID, SPACING = (16, 32, 32), (6.9, 4.4, 4.4)


def test_tables_of_the_repository_are_what_the_command_makes(request):
    folder = request.config.rootpath / "config" / "demo"
    images, pairs = tables(phantom_knees(30), 8 / 30, 20, 1)
    there = read_images(folder / "images.tsv")
    assert there.reset_index(drop=True).equals(images)
    assert read_pairs(folder / "pairs.tsv", there).reset_index(drop=True).equals(pairs)


def test_tables():
    images, pairs = tables(phantom_knees(10), 4 / 10, 6, 2)
    assert images["side"].value_counts().to_dict() == {"right": 5, "left": 5}
    assert images["split"].value_counts().to_dict() == {"train": 6, "test": 4}
    assert images["image_id"].tolist()[:2] == ["demo-001-right", "demo-002-left"]
    assert len(pairs) == 6
    assert len(tables(phantom_knees(10), 4 / 10, 7, 2)[1]) == 6


def test_more_subjects_move_none():
    before = Before(*tables(phantom_knees(10), 4 / 10, 6, 2))
    images, pairs = tables(phantom_knees(20), 8 / 20, 10, 2, before)
    assert images["split"][:10].tolist() == before.images["split"].tolist()
    assert images["split"].value_counts().to_dict() == {"train": 12, "test": 8} and len(pairs) == 4


@pytest.fixture
def made(tmp_path):
    images, _ = tables(phantom_knees(4), 2 / 4, 1, 1)

    def make(seed=1):
        make_phantoms(images, tmp_path, Phantom(grid=GRID, spacing=SPACING), seed)
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")}

    return images, tmp_path, make


def test_every_file_of_the_table_is_made(made):
    images, root, make = made
    assert len(make()) == 8
    for row in images.itertuples():
        image, label = read_labelled(root / row.image, root / row.label, {"femur": [1], "cartilage": [2]})
        assert image.shape == GRID
        assert (label.affine[0, 3] < 0) == (row.side == "left")


def test_only_what_is_missing_is_made_again(made):
    images, root, make = made
    before = make()
    lost = root / images["label"][2]
    content = (root / images["image"][2]).read_bytes()
    lost.unlink()
    after = make()
    assert {path for path in after if after[path] != before[path]} == {lost, root / images["image"][2]}
    assert (root / images["image"][2]).read_bytes() == content
    assert all(after[path] != time for path, time in make(seed=2).items())


def test_row_that_cannot_be_made(tmp_path):
    images, _ = tables(phantom_knees(4), 2 / 4, 1, 1)
    images.loc[1, "side"] = ""
    with pytest.raises(UserError, match="'demo-002-left' needs a side"):
        make_phantoms(images, tmp_path, Phantom(grid=GRID, spacing=SPACING), 1)


def test_what_was_not_made_here_is_never_replaced(made):
    """A file of somebody's own under the name of one that is to be made, before anything is made."""
    images, root, make = made
    mine = root / images["image"][3]
    write_text(mine, "mine")
    with pytest.raises(UserError, match="was not generated here"):
        make()
    assert [path for path in root.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_a_made_image_that_was_replaced_is_somebodys_own(made):
    images, root, make = made
    make()
    mine = root / images["label"][1]
    write_text(mine, "mine")
    with pytest.raises(UserError, match=r"labels/.*\.nii\.gz already exists and was not generated here"):
        make(seed=2)
    assert mine.read_text() == "mine"


def test_one_that_was_interrupted_goes_on(made):
    """Killed between the image and its note."""
    images, root, make = made
    make()
    note = (root / images["image"][0]).with_name(f"{images['image_id'][0]}.json")
    record = read_json(note)
    write_json(note, {"id": record["id"]})
    (root / images["image"][0]).write_text("half")
    make()
    assert read_json(note) == record


@pytest.mark.parametrize("path", ["../images/x.nii.gz", "/elsewhere/x.nii.gz"])
def test_a_path_that_leads_elsewhere(tmp_path, path):
    images, _ = tables(phantom_knees(4), 2 / 4, 1, 1)
    images.loc[1, "image"] = path
    with pytest.raises(UserError, match="leads out of"):
        make_phantoms(images, tmp_path / "made", Phantom(grid=GRID, spacing=SPACING), 1)
    assert not (tmp_path / "made").exists()
