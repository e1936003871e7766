"""From the OAI's archive, label maps and published lists to the tables of config/oai.yaml, and what it plans."""

import shutil

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from forkserver import command
from projects import REPOSITORY, Project
from series import packed, volume, write_series

from cohortreg.cohort.tables import read_images, read_pairs
from cohortreg.config import load
from cohortreg.images.preprocess import read_labelled
from cohortreg.methods import registry

CONFIGURATION = REPOSITORY / "config" / "oai.yaml"

# Of the published test list: its first pair, as `SUBJECT, date, side, barcode`, and a scan of its second.
MOVING, FIXED = (
    ("9357383", "20040927", "LEFT", "016610250606"),
    ("9003406", "20060322", "LEFT", "016610899303"),
)
OTHER = ("9905156", "20040816", "LEFT", "016610241205")


def printed(folder, *arguments) -> str:
    """What a command printed, run in a folder."""
    run = command(*arguments, folder=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def jobs(output: str) -> dict[str, int]:
    """Jobs by rule, as a dry run counts them."""
    rows = (line.split() for line in output.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def test_the_plan_of_table_2(oai_splits, tmp_path):
    """No image has to be there for a plan."""
    (tmp_path / "resources" / "oai").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "resources" / "paper", tmp_path / "resources" / "paper")
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    shutil.copy(CONFIGURATION, tmp_path / "tiny.yaml")
    lists = [oai_splits / f"{name}_pair_path_list.txt" for name in ("test", "train")]
    said = printed(tmp_path, "import", "oai-split", *lists, "--as-published", "--output", "resources/oai")
    assert "2694 images (2532 train, 162 test), 301 pairs" in said
    run = Project(tmp_path).snakemake("--dry-run", "--quiet", "rules")
    assert run.returncode == 0, run.stdout
    config = load(CONFIGURATION)
    rows = [method for method in config.methods if method not in registry.missing(config)]
    networks = {"icon-4step", "icon-3step", "icon-2step", "voxelmorph", "voxelmorph-affine", "avsm"}
    stages = {"icon": 3, "voxelmorph": 1, "voxelmorph-affine": 2, "avsm": 2}
    planned = jobs(run.stdout)
    assert planned["preprocess"] == 8
    assert planned["evaluate"] == 20 * len(rows)
    assert planned["register_networks"] == 20 * len(networks & set(rows))
    assert planned["register"] == 20 * len(set(rows) - networks)
    assert planned["train"] == sum(
        count for model, count in stages.items() if model == "icon" or model in rows
    )


def add_series(root, scan, accession, description=None, packing=False, time="101500", seed=1):
    """A small DESS series in the archive's layout, and the image that was written."""
    subject, date, side, barcode = scan
    # Smooth enough to have borders, as a scan has.
    structures = sitk.SmoothingRecursiveGaussian(volume(seed=seed), 1.0) > 450
    image = sitk.Cast(
        sitk.Cast(structures, sitk.sitkFloat64) * 100 + volume(seed=seed + 50) / 9, sitk.sitkUInt16
    )
    tags = {
        "0010|0020": subject,
        "0008|0020": date,
        "0008|0031": time,
        "0008|0050": accession,
        "0008|103e": description or f"SAG_3D_DESS_{side}",
    }
    folder = write_series(root / "archive" / "0.C.2" / subject / date / barcode[-8:], image, **tags)
    if packing:
        packed(folder)
        shutil.rmtree(folder)
    return sitk.Cast(structures, sitk.sitkUInt8) * 2


@pytest.fixture
def downloaded(tmp_path):
    """resources/oai as downloaded: four scans of the test list's first subjects and OAI-ZIB's masks of three."""
    root = tmp_path / "resources" / "oai"
    masks = {
        "9357383": add_series(root, MOVING, "16610250606", packing=True, seed=1),
        "9003406": add_series(root, FIXED, "016610899303", seed=2),
        # A later scan of that knee and day than the published one, and another series.
        "9905156": add_series(root, OTHER, "016610241205", time="101500", seed=3),
    }
    add_series(root, (*OTHER[:3], "016610241206"), "016610241206", time="103000", seed=4)
    add_series(root, (*OTHER[:3], "016610241207"), "016610241207", description="SAG_IW_TSE_LEFT", seed=5)
    (root / "labels" / "doc").mkdir(parents=True)
    lines = []
    for (subject, date, _, barcode), mask in zip([MOVING, FIXED], list(masks.values())[:2], strict=True):
        label = sitk.DICOMOrient(mask, "LPS")
        label.SetOrigin((0, 0, 0))
        label.SetDirection(np.eye(3).ravel().tolist())
        sitk.WriteImage(label, str(root / "labels" / f"{subject}.segmentation_masks.mhd"))
        lines.append(f"{subject}: 0.C.2/{subject}/{date}/{barcode[-8:]}")
    (root / "labels" / "doc" / "oai_mri_paths.txt").write_text("\n".join(lines) + "\n")
    return root


def test_from_the_archive_to_the_tables(oai_splits, downloaded, tmp_path):
    """The files that the published list means, also where a knee was scanned again; the rest is counted."""
    said = printed(
        tmp_path,
        *("import", "oai", "resources/oai", "--labels", "resources/oai/labels"),
        *("--output", "resources/oai/imported", "--repeated"),
    )
    assert "4 images" in said and "2 of 4 images have a label" in said
    said = printed(
        tmp_path,
        *("import", "oai-split", oai_splits / "test_pair_path_list.txt", "--output", "resources/oai"),
        *("--images", "resources/oai/imported/images.tsv", "--as-published"),
    )
    assert "166 images and 167 labels" in said
    images = read_images(downloaded / "images.tsv")
    assert len(read_pairs(downloaded / "pairs.tsv", images)) == 301
    images = images.set_index("image_id")
    moving, fixed, other = (images.loc["_".join(scan[:3]).lower()] for scan in (MOVING, FIXED, OTHER))
    assert moving["image"] == "archive/0.C.2/9357383/20040927/10250606.tar.gz"
    assert fixed["image"] == "archive/0.C.2/9003406/20060322/10899303"
    assert other["image"] == "archive/0.C.2/9905156/20040816/10241205"
    assert moving["label"] == "imported/labels/9357383_20040927_left.nii.gz" and other["label"] == ""
    for row in (moving, fixed):
        read_labelled(downloaded / row["image"], downloaded / row["label"], {"femoral_cartilage": [2]})
    missing = pd.read_csv(downloaded / "missing.tsv", sep="\t")["image_id"].value_counts()
    assert len(missing) == 167 and missing["9905156_20040816_left"] == 1
    assert not {"9357383_20040927_left", "9003406_20060322_left"} & set(missing.index)
