import shutil

import numpy as np
import pytest

from cohortreg.cohort.tables import read_images, write_table
from cohortreg.config import Preprocess
from cohortreg.errors import UserError
from cohortreg.images.checks import UNTOLD, check_images, check_table
from cohortreg.images.io import Image, read_image, read_label, write_image
from cohortreg.jobs.check import write_sheets
from cohortreg.jobs.preprocess import preprocess_shard
from cohortreg.layout import CheckLayout, Layout

SETTINGS = Preprocess(grid=[6, 6, 6], mirror="left")
STRUCTURES = {"bone": [1], "both": [1, 2]}
COUNT = 9


@pytest.fixture
def cohort(tmp_path):
    """Right legs: a thick bone on the right, a thin one on the left, 2 x 1 x 1 mm; the table, and its folder."""
    root, rows, random = tmp_path / "raw", [], np.random.default_rng(1)
    for n in range(COUNT):
        label = np.zeros((16, 24, 20), np.uint8)
        label[10:14, 8 : 14 + n % 3, 4:16] = 1
        label[3:5, 10:13, 4:16] = 2
        image = 100.0 * (label > 0) + random.normal(50, 4, label.shape)
        affine = np.diag([2.0, 1, 1, 1])
        write_image(root / f"i{n}.nii.gz", Image(image.astype(np.float32), affine))
        write_image(root / f"l{n}.nii.gz", Image(label, affine))
        rows.append(f"image-{n}\ts{n}\tright\t\ti{n}.nii.gz\tl{n}.nii.gz\n")
    table = tmp_path / "images.tsv"
    table.write_text("image_id\tsubject_id\tside\tsplit\timage\tlabel\n" + "".join(rows))
    return table, root


def check(cohort, structures=STRUCTURES):
    """What is found, by image, of those where anything is; and the table by image."""
    table, root = cohort
    checked, _ = check_images(read_images(table), root, SETTINGS, structures)
    rows = check_table(checked, structures).set_index("image_id")
    return {image.image_id: image.found for image in checked if image.found}, rows


def change(root, n, alter):
    """Replace image and label n by what alter makes of an image."""
    for path, read in ((root / f"i{n}.nii.gz", read_image), (root / f"l{n}.nii.gz", read_label)):
        write_image(path, alter(read(path)))


def test_a_good_cohort_has_a_row_an_image_and_nothing_found(cohort, tmp_path):
    found, rows = check(cohort)
    assert found == {} and len(rows) == COUNT and set(rows["status"]) == {"ok"}
    row = rows.loc["image-1"]
    assert row[["side", "shape", "voxel_mm", "orientation", "labels"]].tolist() == [
        "right", "16x24x20", "2x1x1", "RAS", "0,1,2",
    ]  # fmt: skip
    bone = 4 * 7 * 12 * 2  # voxels, of 2 mm3
    assert (float(row["bone_mm3"]), float(row["both_mm3"])) == (bone, bone + 2 * 3 * 12 * 2)
    assert 25 < float(row["min"]) < 50 < 150 < float(row["max"]) < 175
    write_table(tmp_path / "check.tsv", rows)  # text in every cell


@pytest.mark.parametrize("how", ["missing", "cut short", "almost one value", "label without structure"])
def test_bad_is_what_preprocessing_excludes_for_the_same_reason(cohort, tmp_path, how):
    table, root = cohort
    path = root / "i2.nii.gz"
    if how == "missing":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:500])
    elif how == "almost one value":
        spike = np.zeros((16, 24, 20), np.float32)
        spike[3, 3, 3] = 1
        write_image(path, Image(spike, np.diag([2.0, 1, 1, 1])))
    else:
        label = read_label(root / "l2.nii.gz")
        write_image(root / "l2.nii.gz", Image(np.minimum(label.array, 0), label.affine))
    found, rows = check(cohort)
    index = preprocess_shard(Layout(tmp_path / "results"), read_images(table), root, SETTINGS, STRUCTURES)
    reason = index.set_index("image_id").loc["image-2", "reason"]
    assert reason and found == {"image-2": [reason]}
    assert rows.loc["image-2", ["status", "shape", "found"]].tolist() == ["bad", "", reason]


def test_one_scan_under_two_names_whatever_its_header(cohort):
    root = cohort[1]
    shutil.copy(root / "l3.nii.gz", root / "l5.nii.gz")
    scan = read_image(root / "i3.nii.gz")
    write_image(root / "i5.nii.gz", Image(scan.array, read_label(root / "l5.nii.gz").affine))
    moved = scan.affine.copy()
    moved[:3, 3] = 7
    change(root, 5, lambda image: Image(image.array, moved))
    found, rows = check(cohort)
    assert found == {
        "image-3": ["has the same voxels as 'image-5'"],
        "image-5": ["has the same voxels as 'image-3'"],
    }
    assert set(rows["status"]) == {"ok", "warning"}


def test_2d_images(tmp_path):
    """Pictures, one of them with a structure much larger than in the others; and a 3D image by mistake."""
    random, rows = np.random.default_rng(1), []
    for n in range(5):
        label = np.zeros((60, 40), np.uint8)
        label[10:20, 8 : 14 + 20 * (n == 3)] = 1
        label[30:40, 2:22] = 2
        affine = np.diag([0.5, 2.0, 1])
        image = (100.0 * label + random.normal(50, 4, label.shape)).astype(np.float32)
        write_image(tmp_path / f"i{n}.mha", Image(image, affine))
        write_image(tmp_path / f"l{n}.mha", Image(label, affine))
        rows.append(f"image-{n}\ts{n}\tright\t\ti{n}.mha\tl{n}.mha\n")
    write_image(tmp_path / "solid.mha", Image(random.random((5, 6, 7), np.float32), np.eye(4)))
    rows.append("solid\ts9\tleft\t\tsolid.mha\t\n")
    table = tmp_path / "images.tsv"
    table.write_text("image_id\tsubject_id\tside\tsplit\timage\tlabel\n" + "".join(rows))
    checked, notes = check_images(
        read_images(table), tmp_path, Preprocess(grid=[32, 32]), {"bone": [1], "both": [1, 2]}
    )
    found = {image.image_id: image.found for image in checked if image.found}
    assert notes == [UNTOLD]
    assert list(found) == ["image-3", "solid"]
    assert found["image-3"] == ["has 260 mm2 of bone, where the cohort's median is 60 mm2"]
    assert "it has 3 axes, but preprocess.grid [32, 32] has 2" in found["solid"][0]
    row = check_table(checked, {"bone": [1], "both": [1, 2]}).set_index("image_id").loc["image-0"]
    assert row[["shape", "voxel_mm", "bone_mm3", "both_mm3"]].tolist() == ["60x40", "0.5x2", "60.0", "260.0"]
    facts = checked[0].facts
    assert [part.size for part in facts.slices] == [(30, 80)]
    assert facts.slices[0].image.shape == (60, 40)
    assert facts.slices[0].label[35, 5] == 2
    write_sheets(CheckLayout(tmp_path / "check"), checked, {"bone": [1]})
    assert (tmp_path / "check" / "contact-sheet.png").stat().st_size > 1000


def test_another_orientation_is_fine(cohort):
    """The same scan with its axes in the order of a sagittal acquisition."""
    to = np.eye(4)[:, [2, 0, 1, 3]]
    change(
        cohort[1],
        4,
        lambda image: Image(image.array.transpose(2, 0, 1).copy(), image.affine @ to),
    )
    found, rows = check(cohort)
    assert found == {}
    assert rows.loc["image-4", ["shape", "orientation"]].tolist() == ["20x16x24", "SRA"]


def test_odd_voxels_along_one_direction(cohort):
    change(
        cohort[1], 4, lambda image: Image(image.array[:, ::3].copy(), image.affine @ np.diag([1, 3, 1, 1]))
    )
    found, _ = check(cohort)
    assert found == {"image-4": ["has voxels of 3 mm from back to front, where the cohort's median is 1 mm"]}


def test_a_structure_of_odd_volume(cohort):
    path = cohort[1] / "l6.nii.gz"
    label = read_label(path)
    label.array[:, :, 5:] *= label.array[:, :, 5:] != 1  # one slice of it is left
    write_image(path, label)
    found, _ = check(cohort, {"bone": [1]})
    assert found["image-6"] == ["has 48 mm3 of bone, where the cohort's median is 672 mm3"]


def test_wrong_side(cohort):
    """Of a scan that is mirrored, and of one whose row says the other side."""
    table, root = cohort
    change(root, 4, lambda image: Image(image.array[::-1].copy(), image.affine))
    table.write_text(table.read_text().replace("s7\tright", "s7\tleft"))
    found, _ = check(cohort)
    assert list(found) == ["image-4", "image-7"]
    assert all("when mirrored" in sentence for (sentence,) in found.values())


def test_left_images_are_mirrored_first(cohort):
    table, root = cohort
    for n in range(0, COUNT, 2):
        change(root, n, lambda image: Image(image.array[::-1].copy(), image.affine))
        table.write_text(table.read_text().replace(f"s{n}\tright", f"s{n}\tleft"))
    assert check(cohort)[0] == {}


@pytest.mark.parametrize(("side", "notes"), [("", []), ("right", [UNTOLD])])
def test_sides_that_were_not_compared_are_said_where_there_are_sides(cohort, side, notes):
    table, root = cohort
    few = read_images(table).iloc[:3].assign(side=side)
    assert check_images(few, root, SETTINGS, STRUCTURES)[1] == notes


def test_images_without_labels(cohort):
    table, root = cohort
    rows = read_images(table).assign(label="")
    checked, _ = check_images(rows, root, SETTINGS, STRUCTURES)
    assert [image.status for image in checked] == ["ok"] * COUNT
    cells = check_table(checked, STRUCTURES)
    assert set(cells["labels"]) == set(cells["bone_mm3"]) == {""}


def test_what_is_found_of_one_image_is_one_cell(cohort):
    root = cohort[1]
    change(root, 4, lambda image: Image(image.array, image.affine @ np.diag([1, 3, 5, 1])))
    found, rows = check(cohort)
    assert len(found["image-4"]) == 4  # two directions, two volumes
    assert rows.loc["image-4", "found"].split("; ") == found["image-4"]


def test_missing_root_is_one_error(cohort):
    table, root = cohort
    with pytest.raises(UserError, match="correct `root`"):
        check_images(read_images(table), root / "nowhere", SETTINGS, STRUCTURES)
