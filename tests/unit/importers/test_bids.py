import tempfile
from pathlib import Path

import numpy as np
import pytest
from file_names import FILE_NAMES, accepted
from hypothesis import given
from hypothesis import strategies as st
from imports import tables

from cohortreg.cohort.tables import read_images, read_pairs, write_table
from cohortreg.errors import UserError
from cohortreg.images.io import Image, write_image
from cohortreg.importers.additions import Before
from cohortreg.importers.bids import import_bids


def dataset(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def rows(folder, suffix="") -> dict[str, dict]:
    """Rows of all images, in the order of their names."""
    images, _ = tables(import_bids(folder, suffix=suffix))
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
    images, pairs = tables(import_bids(dataset(tmp_path, *names)), 0.3, 12)
    assert images.groupby("split")["subject_id"].nunique().to_dict() == {"test": 3, "train": 7}
    assert images.groupby("subject_id")["split"].nunique().eq(1).all()
    # 3 subjects of 2 images make 12 pairs across subjects.
    assert len(pairs) == 12
    write_table(tmp_path / "images.tsv", images)
    write_table(tmp_path / "pairs.tsv", pairs)
    read_pairs(tmp_path / "pairs.tsv", read_images(tmp_path / "images.tsv"))
    assert tables(import_bids(tmp_path), 0.3, 12)[1].equals(pairs)
    validated, same = tables(import_bids(tmp_path), 0.3, 12, validation_fraction=0.2)
    counts = validated.groupby("split")["subject_id"].nunique().to_dict()
    assert counts == {"test": 3, "train": 5, "validation": 2} and same.equals(pairs)
    assert validated.groupby("subject_id")["split"].nunique().eq(1).all()


def test_one_suffix_of_several_is_to_be_named(tmp_path):
    dataset(tmp_path, *TWO, "sub-01/anat/sub-01_FLAIR.nii.gz", "sub-02/anat/sub-02_FLAIR.nii.gz")
    assert rows(tmp_path, "FLAIR")["sub-01"]["image"] == "sub-01/anat/sub-01_FLAIR.nii.gz"
    with pytest.raises(UserError, match="has images with suffixes FLAIR, T1w; choose one with --suffix"):
        rows(tmp_path)
    with pytest.raises(UserError, match="no images with suffix T2w, only with FLAIR, T1w"):
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
        (TWO[:1], "1 test image of 1 subject make no pair"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path, names, problem):
    with pytest.raises(UserError, match=problem) as error:
        rows(dataset(tmp_path, *names))
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def said(folder, suffix="") -> list[str]:
    """What an import says."""
    sentences = []
    import_bids(folder, sentences.append, suffix)
    return sentences


def test_what_is_left_out_is_said(tmp_path):
    dataset(
        tmp_path,
        *TWO,
        "sub-A-03/anat/sub-A-03_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-0.8mm_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.NII.GZ",
        "sub-01/anat/T1.mgz",
        "sub-01/anat/sub-02_run-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "Sub-04/Anat/sub-04_T1w.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "sub-01/anat/sub-01_dseg.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/anat/._sub-01_run-3_T1w.nii.gz",
        "sourcedata/sub-01/anat/sub-01_T1w.nii.gz",
        "derivatives/a/sub-01/anat/sub-01_mask.nii.gz",
        "derivatives/a/sub-9/anat/sub-9_dseg.nii.gz",
        "derivatives/a/sub-01/sub-01_dseg.nii.gz",
        "derivatives/a\tb/sub-01/anat/sub-01_dseg.nii.gz",
    )
    assert said(tmp_path, "T1w") == [
        "Left out: 2 files (Sub-04/Anat/sub-04_T1w.nii.gz, sub-01/func/sub-01_task-rest_bold.nii.gz); "
        "in no anat folder.",
        "Left out: 4 files (sub-01/anat/T1.mgz, sub-01/anat/sub-01_T1w.NII.GZ, "
        "sub-01/anat/sub-01_acq-0.8mm_T1w.nii.gz, ...); the name is not BIDS' "
        "sub-LABEL_KEY-LABEL_SUFFIX.nii.gz with letters and digits in each LABEL.",
        "Left out: 2 files (sub-01/anat/sub-02_run-1_T1w.nii.gz, sub-01/ses-1/anat/sub-01_ses-2_T1w.nii.gz); not in "
        "the folder of the subject and session that the name has.",
        "Left out: other suffixes (1 FLAIR, 1 dseg).",
        "Left out: 1 label (derivatives/a/sub-9/anat/sub-9_dseg.nii.gz); of no image by name.",
        "Left out: derivatives that are not dseg (1 mask).",
        "Left out: 1 file of derivatives (derivatives/a/sub-01/sub-01_dseg.nii.gz); in no anat folder.",
        "Left out: 1 file of derivatives (derivatives/a\\tb/sub-01/anat/sub-01_dseg.nii.gz); a folder's name has "
        "characters that a table cannot store.",
    ]
    assert list(rows(tmp_path, "T1w")) == ["sub-01", "sub-02"]


def test_what_is_left_out_is_said_of_a_folder_without_an_image(tmp_path):
    sentences = []
    with pytest.raises(UserError, match="has no sub-"):
        import_bids(dataset(tmp_path, "sub-A-1/anat/sub-A-1_T1w.nii"), sentences.append)
    assert len(sentences) == 1 and "sub-A-1_T1w.nii" in sentences[0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sub-01_dseg", None),
        ("sub-01_space-orig_desc-aseg_dseg", None),
        ("sub-01_space-T1w_dseg", None),
        ("sub-01_label-hippocampus_dseg", None),
        ("sub-01_atlas-x_seg-y_dseg", None),
        ("sub-01_space-MNI152NLin2009cAsym_dseg", "in another space"),
        ("sub-01_space-MNI152NLin6Asym_res-2_dseg", "in another space"),
        ("sub-01_space-T2w_dseg", "in another space"),
        ("sub-01_res-1_dseg", "of no image by name"),
        ("sub-01_run-2_dseg", "of no image by name"),
        ("sub-01_acq-high_dseg", "of no image by name"),
        ("sub-01_ce-gd_rec-x_echo-2_part-mag_dseg", "of no image by name"),
        ("sub-02_ses-1_dseg", "of no image by name"),
    ],
)
def test_a_label_is_an_image_s_if_its_name_leaves_no_doubt(tmp_path, name, why):
    folder = f"derivatives/x/{name.split('_')[0]}/anat"
    dataset(tmp_path, *TWO, f"{folder}/{name}.nii.gz")
    labels = [row["label"] for row in rows(tmp_path).values()]
    assert labels == (["", ""] if why else [f"{folder}/{name}.nii.gz", ""])
    assert [why in sentence for sentence in said(tmp_path)] == [True] * bool(why)


def test_a_label_that_may_be_of_two_images_is_of_none(tmp_path):
    names = [f"sub-02/anat/sub-02_{more}_T1w.nii.gz" for more in ("acq-a_run-1", "run-1_acq-a")]
    dataset(tmp_path, *TWO, *names, "derivatives/sub-02/anat/sub-02_acq-a_run-1_dseg.nii.gz")
    assert not any(row["label"] for row in rows(tmp_path).values())
    assert "several images have the same entities" in said(tmp_path)[0]


def test_a_label_on_another_grid_is_of_no_image(tmp_path):
    """Where headers can be read, they must agree, whatever the names say."""

    def save(name, shape, step=1.0, axes=(1, 1, 1)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        affine = np.diag([step * axis for axis in axes] + [1])
        affine[:3, 3] = [step * (n - 1) * (axis < 0) for n, axis in zip(shape, axes, strict=True)]
        write_image(tmp_path / name, Image(np.ones(shape, np.uint8), affine))

    for subject in "1234":
        save(f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz", (4, 5, 6))
        save(f"derivatives/b/sub-{subject}/anat/sub-{subject}_desc-b_dseg.nii.gz", (4, 5, 6))
    save(
        "derivatives/a/sub-1/anat/sub-1_dseg.nii.gz", (4, 5, 6), axes=(-1, -1, 1)
    )  # the same voxels in another order
    save("derivatives/a/sub-2/anat/sub-2_dseg.nii.gz", (4, 5, 6), step=0.9)
    save("derivatives/a/sub-3/anat/sub-3_dseg.nii.gz", (8, 10, 12), step=0.5)
    dataset(
        tmp_path, "derivatives/a/sub-4/anat/sub-4_dseg.nii.gz"
    )  # preprocessing says what is wrong with it
    assert [row["label"].rpartition("/")[2] for row in rows(tmp_path).values()] == [
        "sub-1_dseg.nii.gz", "sub-2_desc-b_dseg.nii.gz", "sub-3_desc-b_dseg.nii.gz", "sub-4_dseg.nii.gz",
    ]  # fmt: skip
    other, beside = said(tmp_path)
    assert "2 labels" in other and "on another grid than the image" in other
    assert "2 labels" in beside and "beside one with fewer entities" in beside


def test_another_session_follows_its_subject(tmp_path):
    names = [f"sub-{n:02}/ses-1/anat/sub-{n:02}_ses-1_T1w.nii.gz" for n in range(10)]
    images, pairs = tables(import_bids(dataset(tmp_path, *names)), 0.3, 3)
    later = [name.replace("ses-1", "ses-2") for name in names]
    again, more = tables(import_bids(dataset(tmp_path, *later)), 0.3, 9, before=Before(images, pairs))
    assert len(again) == 20 and again.groupby("subject_id")["split"].nunique().eq(1).all()
    old = dict(zip(images["image_id"], images["split"], strict=True))
    assert old.items() <= dict(zip(again["image_id"], again["split"], strict=True)).items()
    assert len(more) == 6 and more.apply(lambda pair: "ses-2" in "".join(pair), axis=1).all()


@given(st.lists(FILE_NAMES, min_size=2, max_size=5, unique=True), st.booleans())
def test_any_names_that_a_file_system_allows(names, inside):
    """As subjects' labels, of which only letters and digits are BIDS', or as names of pipelines."""
    with tempfile.TemporaryDirectory() as folder:
        subjects = [f"sub-{number if inside else name}" for number, name in enumerate(names)]
        dataset(Path(folder), *(f"{each}/anat/{each}_T1w.nii.gz" for each in subjects))
        if inside:
            dataset(
                Path(folder),
                *(
                    f"derivatives/{name}/{each}/anat/{each}_dseg.nii"
                    for each, name in zip(subjects, names, strict=True)
                ),
            )
        accepted(Path(folder), lambda say: tables(import_bids(Path(folder), say)), len(names))
