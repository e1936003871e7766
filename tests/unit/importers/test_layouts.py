import json

import pytest
from series import volume, write_series

from cohortreg.errors import UserError
from cohortreg.importers.layouts import layout_of


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("files", "importer", "images"),
    [
        (["1.nii.gz", "2.nii.gz", "notes.txt"], "folder", [("1", ""), ("2", "")]),
        (["1.nii.gz", "1_seg.nii.gz", "2.mha"], "folder", [("1", "1_seg.nii.gz"), ("2", "")]),
        # Of two kinds of images that which more subjects have.
        (
            ["1_t1.nii", "1_seg.nii", "2_t1.nii", "2_t2.nii", "2_seg.nii", "3_t1.nii"],
            "folder",
            [("1", "1_seg.nii"), ("2", "2_seg.nii"), ("3", "")],
        ),
        (
            ["Images/1.nii", "Images/2.nii", "segmentations/1.nii.gz", "more/1.nii"],
            "folder",
            [("1", "segmentations/1.nii.gz"), ("2", "")],
        ),
        (
            ["imagesTr/1.nii", "imagesTs/3.nii", "labelsTr/1.nii", "labelsTs/3.nii"],
            "folder",
            [("1", "labelsTr/1.nii")],
        ),
        # Channels, of which nnU-Net has the first end in _0000.
        (
            ["imagesTr/c_001_0000.nii.gz", "imagesTr/c_001_0001.nii.gz", "labelsTr/c_001.nii.gz"],
            "folder",
            [("c_001", "labelsTr/c_001.nii.gz")],
        ),
        (["a/t1.nii", "a/seg.nii", "b/t1.nii", "b/t2.nii"], "folder", [("a", "a/seg.nii"), ("b", "")]),
        (
            ["sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_T2w.nii", "sub-2/ses-1/anat/sub-2_ses-1_T2w.nii"],
            "bids",
            [("sub-1", "")],
        ),
        (["s1.tar.gz", "s2.tar.gz"], "folder", [("s1", ""), ("s2", "")]),
    ],
)
def test_what_a_folder_is(tmp_path, files, importer, images):
    put(tmp_path, *files)
    layout = layout_of(tmp_path)
    assert layout.importer == importer
    found = layout.read(tmp_path, lambda sentence: None)
    assert sorted(found.images[["image_id", "label"]].itertuples(index=False, name=None)) == images


def test_series_in_folders_of_any_depth(tmp_path):
    for subject in "ab":
        write_series(tmp_path / subject / "mr" / "1", volume())
    found = layout_of(tmp_path).read(tmp_path, lambda sentence: None)
    assert found.images["image"].tolist() == ["a/mr/1", "b/mr/1"]


@pytest.mark.parametrize(
    ("content", "importer"),
    [
        ({"training": ["imagesTr/1.nii"]}, "msd"),
        ({"training": ["imagesTr/1.nii"], "registration_val": []}, "learn2reg"),
        ({"numTraining": 1, "file_ending": ".nii"}, "folder"),
    ],
)
def test_a_dataset_json_tells(tmp_path, content, importer):
    put(tmp_path, "imagesTr/1.nii")
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert layout_of(tmp_path).importer == importer


def test_a_folder_without_images_is_one_sentence(tmp_path):
    put(tmp_path, "notes.txt", "a/b/c.txt")
    with pytest.raises(UserError, match="no images in a layout that is recognised") as error:
        layout_of(tmp_path)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
