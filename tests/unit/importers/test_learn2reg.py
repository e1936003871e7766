import json

import pytest
from imports import tables

from cohortreg.errors import UserError
from cohortreg.importers.learn2reg import import_learn2reg


def image(case, number=0, folder="Tr"):
    return f"./images{folder}/Set_{case:04}_{number:04}.nii.gz"


def dataset(folder, content, name="dataset.json", files=()):
    """A dataset with all images that its lists name, and further files."""
    (folder / name).write_text(json.dumps({"training": []} | content))
    text = json.dumps(content)
    paths = {part for part in text.split('"') if part.startswith("./images")} | {*files}
    for path in paths:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()
    return folder


def pair(moving, fixed):
    return {"fixed": fixed, "moving": moving}


def test_pairs_that_are_listed_come_with_their_splits(tmp_path):
    """As in OASIS, whose validation pairs are among the training images, and NLST, which has masks and keypoints."""
    validation = [pair(image(4), image(5)), pair(image(5), image(6))]
    training = [
        {"image": image(n), "label": f"./labelsTr/{n}.nii.gz", "mask": f"./masksTr/{n}.nii.gz",
         "keypoints": f"./keypointsTr/{n}.csv"}
        for n in range(1, 7)
    ]  # fmt: skip
    content = {
        "training": [*training, {"image": image(4, 1)}],
        "test": [{"image": image(9, 0, "Ts")}],
        "training_paired_images": [pair(image(1), image(1, 1)), validation[0]],
        "registration_val": [*validation, validation[0]],
        "registration_test": [pair(image(7, 0, "Ts"), image(8, 0, "Ts"))],
    }
    files = ["./labelsTr/1.nii.gz", "./masksTr/2.nii.gz", "./keypointsTr/4.csv"]
    folder = dataset(tmp_path, content, "Set_dataset.json", files)
    (folder / image(8, 0, "Ts")).unlink()
    said = []
    found = import_learn2reg(folder, said.append)
    images = found.images.set_index("image_id")
    assert images["split"].to_dict() == {
        "Set_0001_0000": "train", "Set_0001_0001": "train", "Set_0002_0000": "train", "Set_0003_0000": "train",
        "Set_0004_0000": "test", "Set_0004_0001": "test", "Set_0005_0000": "test", "Set_0006_0000": "test",
        "Set_0007_0000": "test",
    }  # fmt: skip
    assert images.loc["Set_0001_0001", ["subject_id", "label"]].tolist() == ["Set_0001", ""]
    assert images["label"][["Set_0001_0000", "Set_0002_0000"]].tolist() == [
        "labelsTr/1.nii.gz",
        "masksTr/2.nii.gz",
    ]
    assert images["keypoints"]["Set_0004_0000"] == "keypointsTr/4.csv"
    assert found.pairs.values.tolist() == [
        ["Set_0004_0000", "Set_0005_0000"],
        ["Set_0005_0000", "Set_0006_0000"],
    ]
    missing, unpaired, trained = said
    assert "imagesTs/Set_0008_0000.nii.gz" in missing and "not in the folder" in missing
    assert "imagesTs/Set_0009_0000.nii.gz" in unpaired and trained.startswith(
        "Not used: 1 pair under training_"
    )


def test_a_second_list_is_a_set(tmp_path):
    content = {
        "registration_val": [pair(image(1), image(2))],
        "registration_test": [pair(image(3), image(4))],
    }
    found = import_learn2reg(dataset(tmp_path, content))
    assert found.pairs["set"].tolist() == ["", "registration_test"]


def test_without_pairs_they_are_drawn(tmp_path):
    content = {"training": [{"image": image(n)} for n in range(10)], "pairings": "unpaired"}
    images, pairs = tables(import_learn2reg(dataset(tmp_path, content)), 0.3, 3)
    assert images["split"].value_counts().to_dict() == {"train": 7, "test": 3} and len(pairs) == 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"registration_val": [{"fixed": "a.nii.gz"}]}, 'entry 1 under "registration_val" has no "moving"'),
        ({"training": [{"image": 3}]}, 'entry 1 under "training" has no "image"'),
        ({"training": [{"image": "gone.nii.gz"}]}, "has no image that dataset.json lists"),
        ({"training": 3}, 'no list "training"'),
    ],
)
def test_bad_dataset(tmp_path, content, problem):
    with pytest.raises(UserError, match=problem) as error:
        import_learn2reg(dataset(tmp_path, content))
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
