import json

import pytest

from cohortreg.cohort.msd import import_msd
from cohortreg.cohort.tables import read_images, read_pairs, write_table
from cohortreg.errors import UserError


def dataset(folder, entries):
    (folder / "dataset.json").write_text(json.dumps({"name": "Test", "training": entries}))
    return folder


def entry(name):
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def test_real_dataset_gives_the_tables_of_the_repository(hippocampus, tmp_path):
    images, pairs = import_msd(hippocampus, 0.2, 100, seed=1)
    assert images["split"].value_counts().to_dict() == {"train": 160, "test": 40}
    assert len(pairs) == 100
    write_table(tmp_path / "images.tsv", images)
    write_table(tmp_path / "pairs.tsv", pairs)
    read_pairs(tmp_path / "pairs.tsv", read_images(tmp_path / "images.tsv"))
    assert all((hippocampus / path).is_file() for path in [*images["image"], *images["label"]])


def test_rows(tmp_path):
    entries = [entry("b"), entry("a"), {"image": "imagesTr/c.nii.gz"}, entry("._a")]
    images, pairs = import_msd(dataset(tmp_path, entries), 0.5, 1, seed=1)
    assert images["image_id"].tolist() == ["b", "a", "c"]
    assert images["image"].tolist() == ["imagesTr/b.nii.gz", "imagesTr/a.nii.gz", "imagesTr/c.nii.gz"]
    assert images["label"].tolist() == ["labelsTr/b.nii.gz", "labelsTr/a.nii.gz", ""]
    tested = images.loc[images["split"] == "test", "image_id"]
    assert len(tested) == 2 and set(pairs.iloc[0]) == set(tested)


def test_another_seed_splits_otherwise(tmp_path):
    folder = dataset(tmp_path, [entry(f"i{n}") for n in range(50)])
    first, again, other = (import_msd(folder, 0.2, 10, seed) for seed in (1, 1, 2))
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
        ('{"training": [{"image": "a.nii"}, {"image": "b/a.nii.gz"}]}', "'a' twice"),
    ],
)
def test_bad_dataset(tmp_path, text, problem):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=problem) as error:
        import_msd(tmp_path, 0.2, 1, seed=1)
    assert str(tmp_path / "dataset.json") in str(error.value)


def test_more_pairs_than_there_are(tmp_path):
    with pytest.raises(UserError, match="5 pairs are asked for, but 2 test images make only 1"):
        import_msd(dataset(tmp_path, [entry(f"i{n}") for n in range(10)]), 0.2, 5, seed=1)
