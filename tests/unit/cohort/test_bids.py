import pytest

from cohortreg.cohort.bids import import_bids
from cohortreg.cohort.tables import read_images, read_pairs, write_table
from cohortreg.errors import UserError


def dataset(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def rows(folder, suffix="") -> dict[str, dict]:
    """Rows of all images, in the order of their names."""
    images, _ = import_bids(folder, suffix, 1, 1, seed=1)
    return {row["image_id"]: row for row in images.sort_values("image_id").to_dict("records")}


TWO = ("sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii")


def test_rows(tmp_path):
    dataset(
        tmp_path,
        *TWO,
        "sub-03/ses-a/anat/sub-03_ses-a_hemi-L_run-1_T1w.nii.gz",
        "sub-03/ses-a/anat/sub-03_ses-a_hemi-R_run-1_T1w.nii.gz",
        "sub-03/ses-a/anat/sub-03_ses-a_T1w.json",
        "sub-03/ses-a/func/sub-03_ses-a_bold.nii.gz",
        "sub-03/ses-a/anat/._sub-03_ses-a_T1w.nii.gz",
        "derivatives/sub-02/anat/sub-02_dseg.nii",
        "derivatives/by/hand/sub-03/ses-a/anat/sub-03_ses-a_hemi-R_run-1_desc-x_dseg.nii.gz",
        "derivatives/by/hand/sub-03/ses-a/anat/sub-03_ses-a_hemi-L_dseg.nii.gz",
        "derivatives/by/hand/sub-01/anat/sub-01_probseg.nii.gz",
    )
    found = rows(tmp_path)
    left, right = "sub-03_ses-a_hemi-L_run-1", "sub-03_ses-a_hemi-R_run-1"
    assert list(found) == ["sub-01", "sub-02", left, right]
    assert found["sub-02"] == {
        "image_id": "sub-02",
        "subject_id": "sub-02",
        "side": "",
        "split": "test",
        "image": "sub-02/anat/sub-02_T1w.nii",
        "label": "derivatives/sub-02/anat/sub-02_dseg.nii",
    }
    assert found["sub-01"]["label"] == ""
    assert [(found[name]["subject_id"], found[name]["side"]) for name in (left, right)] == [
        *(("sub-03", "left"), ("sub-03", "right")),
    ]
    # The left label does not say that it is of run 1.
    assert found[left]["label"] == ""
    assert found[right]["label"].endswith("sub-03_ses-a_hemi-R_run-1_desc-x_dseg.nii.gz")


def test_a_label_is_of_the_image_that_it_is_most_like(tmp_path):
    dataset(
        tmp_path,
        *TWO,
        "sub-01/anat/sub-01_run-2_T1w.nii.gz",
        "derivatives/a/sub-01/anat/sub-01_run-2_dseg.nii.gz",
        "derivatives/a/sub-02/anat/sub-02_space-x_dseg.nii.gz",
        "derivatives/a/sub-02/anat/sub-02_dseg.nii.gz",
    )
    labels = {name: row["label"].rpartition("/")[2] for name, row in rows(tmp_path).items()}
    assert labels == {
        "sub-01": "",
        "sub-01_run-2": "sub-01_run-2_dseg.nii.gz",
        "sub-02": "sub-02_dseg.nii.gz",
    }


def test_split_and_pairs_are_those_of_subjects(tmp_path):
    names = [f"sub-{n:02}/ses-{s}/anat/sub-{n:02}_ses-{s}_T1w.nii.gz" for n in range(10) for s in "ab"]
    images, pairs = import_bids(dataset(tmp_path, *names), "", 0.3, 12, seed=1)
    assert images.groupby("split")["subject_id"].nunique().to_dict() == {"test": 3, "train": 7}
    assert images.groupby("subject_id")["split"].nunique().eq(1).all()
    # 3 subjects of 2 images make 12 pairs across subjects.
    assert len(pairs) == 12
    write_table(tmp_path / "images.tsv", images)
    write_table(tmp_path / "pairs.tsv", pairs)
    read_pairs(tmp_path / "pairs.tsv", read_images(tmp_path / "images.tsv"))
    assert import_bids(tmp_path, "", 0.3, 12, seed=1)[1].equals(pairs)


def test_one_suffix_of_several_is_to_be_named(tmp_path):
    dataset(tmp_path, *TWO, "sub-01/anat/sub-01_FLAIR.nii.gz", "sub-02/anat/sub-02_FLAIR.nii.gz")
    assert rows(tmp_path, "FLAIR")["sub-01"]["image"] == "sub-01/anat/sub-01_FLAIR.nii.gz"
    with pytest.raises(UserError, match="has images of FLAIR, T1w; name one of them with --suffix"):
        rows(tmp_path)
    with pytest.raises(UserError, match="no images of suffix T2w, but of FLAIR, T1w"):
        rows(tmp_path, "T2w")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["images/sub-01_T1w.nii.gz"], "has no sub-"),
        ([*TWO, "sub-02/anat/sub-02_T1w.nii.gz"], "two images 'sub-02'"),
        (
            [*TWO, *(f"derivatives/{by}/sub-01/anat/sub-01_dseg.nii.gz" for by in "ab")],
            "two labels for 'sub-01', derivatives/a/.* and derivatives/b/",
        ),
        (TWO[:1], "1 pairs are asked for"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path, names, problem):
    with pytest.raises(UserError, match=problem) as error:
        rows(dataset(tmp_path, *names))
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
