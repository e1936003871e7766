import tempfile
from pathlib import Path

import pytest
from file_names import FILE_NAMES
from hypothesis import given
from hypothesis import strategies as st
from imports import tables

from cohortreg.cohort.tables import read_images
from cohortreg.config import Phantom
from cohortreg.errors import UserError
from cohortreg.images.io import Image, read_image, read_label, write_image
from cohortreg.importers.additions import Before, add
from cohortreg.importers.label_maps import import_label_maps
from cohortreg.phantoms.phantom import make_phantoms

NAMES = [
    f"{subject}_{visit}"
    for subject, visits in (("A", "00m 24m 96m"), ("B", "00m"), ("C", "00m"))
    for visit in visits.split()
]


@pytest.fixture
def folder(tmp_path, oai_labels):
    whole = read_label(sorted(oai_labels.glob("*_label.nii.gz"))[0])
    small = Image(whole.array[::4, ::6, ::6], whole.affine * [4, 6, 6, 1])
    for name in NAMES:
        write_image(tmp_path / "maps" / f"{name}_label.nii.gz", small)
    (tmp_path / "maps" / "README.md").write_text("no label map")
    return tmp_path / "maps"


def test_visits_of_test_subjects_are_a_second_set(folder):
    images, pairs = tables(import_label_maps(folder), 1.0, 5)
    assert images["image_id"].tolist() == NAMES
    assert images["subject_id"].tolist() == ["A", "A", "A", "B", "C"]
    assert set(images["split"]) == {"test"}
    assert pairs["set"].tolist() == [""] * 5 + ["longitudinal"] * 2
    assert pairs[["moving", "fixed"]].to_numpy()[5:].tolist() == [["A_00m", "A_24m"], ["A_24m", "A_96m"]]
    across = pairs[pairs["set"] == ""]
    assert (across["moving"].str[0] != across["fixed"].str[0]).all()


def test_a_subject_is_trained_on_or_tested(folder):
    images, _ = tables(import_label_maps(folder, side="left"), 0.7)
    assert images.groupby("subject_id")["split"].nunique().eq(1).all()
    assert set(images["side"]) == {"left"}


def test_scans_are_made_from_the_label_maps(folder, tmp_path):
    images, _ = tables(import_label_maps(folder), 1.0, 5)
    make_phantoms(images, tmp_path / "made", Phantom(labels=str(folder)), seed=1)
    for row in images.itertuples():
        label = read_label(tmp_path / "made" / row.label)
        assert (label.array == read_label(folder / f"{row.image_id}_label.nii.gz").array).all()
        scan = read_image(tmp_path / "made" / row.image)
        assert (
            scan.array[label.array == 2].mean() > 1.5 * scan.array[label.array == 1].mean()
        )  # cartilage is bright


def test_a_label_map_that_is_not_there(folder, tmp_path):
    images, _ = tables(import_label_maps(folder), 1.0, 5)
    (folder / "B_00m_label.nii.gz").unlink()
    with pytest.raises(UserError, match=r"B_00m_label.nii.gz does not exist; correct phantom.labels"):
        make_phantoms(images, tmp_path / "made", Phantom(labels=str(folder)), seed=1)


def test_a_folder_without_label_maps(tmp_path):
    with pytest.raises(UserError, match="no label map named"):
        import_label_maps(tmp_path)


def test_tables_of_the_repository_are_what_the_command_makes(request, oai_labels):
    folder = request.config.rootpath / "config" / "oai-anatomy"
    images, _ = tables(import_label_maps(oai_labels), 0.3, 60)
    assert read_images(folder / "images.tsv").reset_index(drop=True).equals(images)


def test_files_that_are_not_used_are_said(tmp_path):
    for name in (
        "A_0_label.nii",
        "B_0_label.nii.gz",
        "C_label.nii.gz",
        "D D_0_label.nii.gz",
        "A_0_label.mha",
    ):
        (tmp_path / name).touch()
    said = []
    images, _ = tables(import_label_maps(tmp_path, said.append))
    assert images["image_id"].tolist() == ["A_0", "B_0"]
    assert said == [
        "Left out: 3 files (A_0_label.mha, C_label.nii.gz, D D_0_label.nii.gz); not named "
        "SUBJECT_VISIT_label.nii.gz, or not right in the folder."
    ]
    (tmp_path / "A_0_label.nii.gz").touch()
    with pytest.raises(UserError, match="two images 'A_0'"):
        import_label_maps(tmp_path)


def test_a_later_visit_is_paired_with_those_before_it(tmp_path):
    for name in ("A_00m", "B_00m"):
        (tmp_path / f"{name}_label.nii.gz").touch()
    before = Before(*tables(import_label_maps(tmp_path)))
    (tmp_path / "A_24m_label.nii.gz").touch()
    images, pairs = tables(import_label_maps(tmp_path), before=before)
    assert images["image_id"].tolist() == ["A_00m", "A_24m", "B_00m"]
    assert pairs.values.tolist() == [["A_00m", "A_24m", "longitudinal"]]


@given(st.lists(FILE_NAMES, min_size=2, max_size=5, unique=True))
def test_any_names_that_a_file_system_allows(names):
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / f"{name}_0_label.nii").touch()
        try:
            # Only what the workflow reads is written: not, say, a name in quotation marks.
            add(Path(folder) / "tables", *tables(import_label_maps(Path(folder))))
        except UserError as error:
            assert "\n" not in str(error) and str(error).endswith(".")
