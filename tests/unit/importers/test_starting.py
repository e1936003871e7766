import numpy as np
import pytest

from cohortreg.cohort.tables import read_images, read_pairs
from cohortreg.config import load
from cohortreg.errors import UserError
from cohortreg.images.io import Image, write_image
from cohortreg.importers.registry import Draw
from cohortreg.importers.starting import start_cohort


@pytest.fixture
def folder(tmp_path):
    """Images of two sizes, one cut short, with labels of the values 1 to 3, the last of which is not in all."""
    random = np.random.default_rng(1)
    for number in range(12):
        shape = (20, 24, 22 + number % 2)
        name = f"{number:02}.nii.gz"
        write_image(tmp_path / "images" / name, Image(random.random(shape, np.float32), np.eye(4)))
        label = random.integers(0, 3 + (number > 4), shape, np.uint8)
        write_image(tmp_path / "labels" / name, Image(label, np.eye(4)))
    (tmp_path / "images" / "11.nii.gz").write_bytes(b"")
    return tmp_path


def test_tables_and_a_configuration_that_fits(folder):
    said = []
    added = start_cohort(folder, folder / "my knees.yaml", Draw(0.25, 0, 2), said.append)
    assert said == [f"{folder}: images in images and labels"]
    assert "1 image cannot be read and will be left out" in added.sentences[-1]
    configuration = load(folder / "my knees.yaml")
    assert configuration.cohort == "my_knees" and configuration.structures == {"label_1": [1], "label_2": [2]}
    assert (configuration.preprocess.grid, configuration.preprocess.fit) == ([32, 32, 32], "pad")
    assert "#  label_3: [3]  # not in 5 of 12 labels" in (folder / "my knees.yaml").read_text()
    images = read_images(configuration.images)
    assert images["split"].value_counts().to_dict() == {"train": 9, "test": 3}
    assert len(read_pairs(configuration.pairs, images)) == 2


@pytest.mark.parametrize("name", ["mine.yaml", "mine/images.tsv", "mine/pairs.tsv"])
def test_nothing_is_overwritten(folder, name):
    (folder / "mine").mkdir()
    (folder / name).write_text("by hand")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="already exists and is kept; name another --output"):
        start_cohort(folder, folder / "mine.yaml", Draw(), lambda sentence: None)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_cannot_be_read_is_one_sentence_and_nothing_is_written(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    for output, problem in (("mine.yaml", "cut short"), ("mine.txt", "must end in .yaml")):
        with pytest.raises(UserError, match=problem):
            start_cohort(tmp_path, tmp_path / output, Draw(), lambda sentence: None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
