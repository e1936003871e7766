import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK
from imports import tables
from series import OBLIQUE, SAGITTAL, packed, volume, write_series

from cohortreg.cohort.tables import read_images, read_pairs, write_table
from cohortreg.errors import UserError
from cohortreg.images.preprocess import read_labelled
from cohortreg.importers.additions import NOTHING, add, read_before
from cohortreg.importers.oai import import_oai

PRIVATE = {
    "0010|0010": "DOE^JANE",
    "0010|0030": "19481231",
    "0008|0080": "SAINT ELSEWHERE",
    "0008|0090": "HOUSE^GREGORY",
    "0010|1010": "055Y",
}
DAY = "20041108"


@pytest.fixture
def archive(tmp_path):
    """A function that adds a series to an archive in OAI's layout, and returns its folder or archive."""
    root = tmp_path / "OAI" / "0.C.2"
    root.mkdir(parents=True)

    def add(subject, number, side="RIGHT", date=DAY, time="101500", image=None, packing=None, **tags):
        tags = {
            "0010|0020": subject,
            "0008|0020": date,
            "0008|0031": time,
            "0008|0050": f"0166{number}",
            "0008|103e": f"SAG_3D_DESS_{side}" if side in ("LEFT", "RIGHT") else side,
            **PRIVATE,
            **tags,
        }
        image = image or volume(seed=int(number) % 1000, origin=(-20.0, 35.5, int(number) % 100))
        folder = write_series(root / subject / date / number, image, flipped=side == "LEFT", **tags)
        if packing is None:
            return folder
        path = packed(folder, packing)
        shutil.rmtree(folder)
        return path

    return add


@pytest.fixture
def imported(tmp_path):
    """A function that imports the archive: images by id, pairs, and reasons by what was left out."""

    def run(labels=None, fraction=1.0, pairs=1, seed=1, before=NOTHING, **more):
        found = import_oai(tmp_path / "OAI", labels=labels, output=tmp_path / "tables", **more)
        images, pairs = tables(found, fraction, pairs, seed, before)
        reasons = {(row.kind, row.path): row.reason for row in found.others["left-out.tsv"].itertuples()}
        return images.set_index("image_id", drop=False), pairs, reasons

    return run


def label_of(image, path):
    """A label map on an image's grid: where it is brighter than half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image > 450, str(path))
    return path


def two(archive):
    """Two subjects, one series each."""
    return archive("9000099", "10583703", packing=".tar.gz"), archive("9000296", "10583811", "LEFT")


def test_the_archive_as_it_comes(archive, imported, tmp_path):
    two(archive)
    archive("9000099", "10583704", "AX_T1_THIGH", packing=".tar.gz")
    archive("9000099", "10583705", "SAG_IW_TSE_LEFT")
    archive("9000099", "11583706", date="20051109")
    (tmp_path / "OAI" / "0.C.2" / "README").write_text("Downloaded from the archive of the initiative. " * 9)
    images, pairs, reasons = imported(pairs=100)
    assert images.reset_index(drop=True).to_dict("index") == {
        0: row("9000099_20041108_right", "9000099/20041108/10583703.tar.gz", "016610583703"),
        1: row("9000099_20051109_right", "9000099/20051109/11583706", "016611583706"),
        2: row("9000296_20041108_left", "9000296/20041108/10583811", "016610583811"),
    }
    assert reasons == {}
    assert len(pairs) == 2  # of three images, two are of one subject
    write_table(tmp_path / "images.tsv", images)
    write_table(tmp_path / "pairs.tsv", pairs)
    read_pairs(tmp_path / "pairs.tsv", read_images(tmp_path / "images.tsv"))


def row(image_id, image, barcode):
    subject, date, side = image_id.split("_")
    return {
        "image_id": image_id, "subject_id": subject, "side": side, "split": "test", "image": f"0.C.2/{image}",
        "label": "", "visit": date, "barcode": barcode,
    }  # fmt: skip


def test_nothing_personal_gets_out(archive, imported):
    two(archive)
    archive("9000622", "10583900", **{"0020|0060": "L"})
    (archive("9000798", "10583901") / "005").unlink()
    archive("DOE^JANE", "10583902")
    mixed = archive("9001104", "10583903")
    other = archive("9001104", "10583904", PRIVATE["0010|0010"])
    (other / "001").rename(mixed / "017")
    tables = imported()
    text = "\n".join([tables[0].to_csv(), tables[1].to_csv(), str(tables[2])])
    assert len(tables[2]) == 4
    named = "DOE^JANE/20041108/10583902"  # a folder's name, which is not of the header
    assert not any(value in text.replace(named, "") for value in PRIVATE.values())


def test_images_with_published_names(archive, imported, tmp_path):
    two(archive)
    name = "9357383_20040927_SAG_3D_DESS_LEFT_016610250606"
    SimpleITK.WriteImage(volume(), str(tmp_path / "OAI" / f"{name}_image.nii.gz"))
    SimpleITK.WriteImage(volume() > 450, str(tmp_path / "OAI" / f"{name}_label_all.nii.gz"))
    images, _, reasons = imported()
    assert reasons == {}
    added = images.loc["9357383_20040927_left"]
    assert added[["image", "label", "visit", "barcode"]].tolist() == [
        f"{name}_image.nii.gz", f"{name}_label_all.nii.gz", "20040927", "016610250606",
    ]  # fmt: skip


def test_series_that_cannot_be_used_are_listed(archive, imported):
    two(archive)
    (archive("9000622", "10583900") / "005").unlink()
    archive("9000798", "10583901", packing=".tgz").write_bytes(b"\x1f\x8b cut")
    archive("9001104", "10583902", **{"0020|0060": "L"})
    archive("9001400", "10583903", "LEFT", **{"0020|0062": "R"})
    archive("9001695", "10583904", "LEFT", **{"0020|0062": "L"})
    images, _, reasons = imported()
    assert images.index.tolist() == [
        "9000099_20041108_right",
        "9000296_20041108_left",
        "9001695_20041108_left",
    ]
    words = {
        "9000622/20041108/10583900": "1 slice is missing after slice 4 of 15",
        "9000798/20041108/10583901.tgz": "cut short or damaged",
        "9001104/20041108/10583902": "right knee by its description but of the left by its laterality",
        "9001400/20041108/10583903": "left knee by its description but of the right by its laterality",
    }
    assert {path for _, path in reasons} == {f"0.C.2/{path}" for path in words}
    for path, said in words.items():
        assert said in reasons["image", f"0.C.2/{path}"]


def test_a_folder_that_says_the_other_side(archive, imported, tmp_path):
    two(archive)
    (tmp_path / "OAI" / "left").mkdir()
    archive("9000622", "10583900").rename(tmp_path / "OAI" / "left" / "10583900")
    images, _, reasons = imported()
    assert len(images) == 2
    assert "a side other than right" in reasons["image", "left/10583900"]


def test_folders_behind_links(archive, imported, tmp_path):
    two(archive)
    (tmp_path / "OAI" / "0.C.2").rename(tmp_path / "disk")
    (tmp_path / "OAI" / "0.C.2").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(tmp_path / "OAI")
    images, _, reasons = imported()
    assert images["image"].tolist() == [
        "0.C.2/9000099/20041108/10583703.tar.gz",
        "0.C.2/9000296/20041108/10583811",
    ]
    assert reasons == {}


def test_of_a_repeated_scan_the_last_is_kept(archive, imported):
    two(archive)
    archive("9000622", "10583903", time="101500.5")
    archive("9000622", "10583901", time="102200")
    images, _, reasons = imported()
    assert images.loc["9000622_20041108_right", "image"].endswith("10583901")
    assert reasons == {
        (
            "image",
            "0.C.2/9000622/20041108/10583903",
        ): "a repeated scan of 9000622_20041108_right: 10583901 is later."
    }


def test_a_repeated_scan_with_the_label_is_kept(archive, imported, tmp_path):
    two(archive)
    image = volume(origin=(1, 2, 3))
    archive("9000622", "10583903", time="101500", image=image)
    archive("9000622", "10583901", time="102200")
    label_of(image, tmp_path / "OAI" / "9000622.segmentation_masks.mhd")
    images, _, reasons = imported()
    assert images.loc["9000622_20041108_right", "image"].endswith("10583903")
    assert "10583903 has a label map" in reasons["image", "0.C.2/9000622/20041108/10583901"]


def test_repeated_scans_are_kept_where_that_is_asked_for(archive, imported):
    """By their barcodes: of one barcode the last is kept."""
    two(archive)
    archive("9000622", "10583903", time="101500")
    archive("9000622", "10583901", time="102200")
    archive("9000622", "10583902", time="103000", **{"0008|0050": "016610583901"})
    images, _, reasons = imported(repeated=True)
    kept = images[images["subject_id"] == "9000622"]["image"].to_dict()
    assert kept == {
        "9000622_20041108_right_016610583901": "0.C.2/9000622/20041108/10583902",
        "9000622_20041108_right_016610583903": "0.C.2/9000622/20041108/10583903",
    }
    assert "9000099_20041108_right" in images.index
    assert list(reasons) == [("image", "0.C.2/9000622/20041108/10583901")]


def test_geometry_decides_where_a_name_does_not(archive, imported, tmp_path):
    left, right = volume(origin=(60, 0, 5)), volume(origin=(-90, 0, 5))
    archive("9000099", "10583703", "LEFT", image=left)
    archive("9000099", "10583704", "RIGHT", image=right, packing=".tar.gz")
    archive("9000296", "10583811")
    labels = tmp_path / "elsewhere"
    # The same voxels in another order, as after a conversion: sorted to right, anterior, superior.
    label = SimpleITK.DICOMOrient(label_image(right), "LPI")
    labels.mkdir()
    SimpleITK.WriteImage(label, str(labels / "9000099.segmentation_masks.mhd"))
    images, _, reasons = imported(labels)
    assert reasons == {}
    assert images["label"].tolist() == ["", str(labels / "9000099.segmentation_masks.mhd"), ""]
    read_labelled(tmp_path / "OAI" / images["image"].iloc[1], images["label"].iloc[1], {"one": [1]})


def label_image(image):
    return image > 450


def test_labels_that_are_not_used_are_listed(archive, imported, tmp_path):
    one, other = volume(origin=(60, 0, 5)), volume(origin=(-90, 0, 5))
    archive("9000099", "10583703", "LEFT", image=one)
    archive("9000296", "10583811", image=other)
    archive("9000296", "10583812", date="20060101", image=other)
    labels = tmp_path / "labels"
    label_of(volume(origin=(61, 0, 5)), labels / "9000099_shifted.nii.gz")
    label_of(one, labels / "9000099_right.nrrd")
    label_of(one, labels / "9999999.nii.gz")
    label_of(other, labels / "9000296.mha")
    (labels / "9000099.nii").write_bytes(b"none")
    images, _, reasons = imported(labels)
    assert not images["label"].any()
    words = {
        "9000099_shifted.nii.gz": "a grid other than those of the 1 images",
        "9000099_right.nrrd": "no image of subject 9000099 matches the side",
        "9999999.nii.gz": "contains no subject with an image",
        "9000296.mha": "fits 2 images",
        "9000099.nii": "is not an image",
    }
    assert {kind for kind, _ in reasons} == {"label"} and len(reasons) == len(words)
    for name, said in words.items():
        assert said in reasons["label", str(labels / name)]
    label_of(other, labels / "9000296_20060101.nii.gz")
    images, _, _ = imported(labels)
    assert images.loc["9000296_20060101_right", "label"] == str(labels / "9000296_20060101.nii.gz")


def test_two_labels_of_one_image(archive, imported, tmp_path):
    image = volume()
    archive("9000099", "10583703", image=image)
    archive("9000296", "10583811")
    for name in ("9000099.mhd", "a/9000099.nii.gz"):
        label_of(image, tmp_path / "labels" / name)
    images, _, reasons = imported(tmp_path / "labels")
    assert not images["label"].any()
    assert len(reasons) == 2 and all("2 label maps are of" in reason for reason in reasons.values())


@pytest.fixture
def zib(archive, tmp_path):
    """A knee, its label map in OAI-ZIB's form (without a pose), and their list; the knee's label where it belongs."""
    truth = SimpleITK.BinaryThreshold(SimpleITK.SmoothingRecursiveGaussian(volume(), 1.0), 450, 10000)
    truth = SimpleITK.Cast(truth, SimpleITK.sitkUInt8)
    image = SimpleITK.Cast(truth, SimpleITK.sitkFloat64) * 100 + volume(seed=5) / 9
    image = SimpleITK.Cast(image, SimpleITK.sitkUInt16)
    archive("9000099", "10583703", image=image)
    archive("9000099", "10583704", "LEFT")
    archive("9000296", "10583811")
    label = SimpleITK.DICOMOrient(truth, "LPS")
    label.SetOrigin((0, 0, 0))
    label.SetDirection(np.eye(3).ravel().tolist())
    (tmp_path / "zib" / "doc").mkdir(parents=True)
    SimpleITK.WriteImage(label, str(tmp_path / "zib" / "9000099.segmentation_masks.mhd"))
    (tmp_path / "zib" / "doc" / "oai_mri_paths.txt").write_text("9000099: 0.C.2/9000099/20041108/10583703\n")
    return truth


def test_a_label_without_a_pose_takes_that_of_its_image(zib, imported, tmp_path):
    for _ in range(2):  # what an import made is no label map of the next
        images, _, reasons = imported(tmp_path / "zib")
        assert reasons == {}
    path = tmp_path / "tables" / "labels" / "9000099_20041108_right.nii.gz"
    assert images["label"].tolist() == ["", str(path), ""]
    image, label = read_labelled(tmp_path / "OAI" / images["image"].iloc[1], path, {"one": [1]})
    truth = SimpleITK.GetArrayFromImage(zib).T
    for index in np.argwhere(truth)[::50]:
        point = nibabel.affines.apply_affine(image.affine, index)
        at = np.rint(nibabel.affines.apply_affine(np.linalg.inv(label.affine), point)).astype(int)
        assert label.array[tuple(at)] == 1


def test_a_label_without_a_pose_and_without_its_series_is_not_used(zib, imported, tmp_path):
    shutil.rmtree(tmp_path / "zib" / "doc")
    images, _, reasons = imported(tmp_path / "zib")
    assert not images["label"].any()
    assert "no pose in its header" in next(iter(reasons.values()))


def test_a_label_without_a_pose_that_is_mirrored_is_not_used(zib, imported, tmp_path):
    path = tmp_path / "zib" / "9000099.segmentation_masks.mhd"
    label = SimpleITK.ReadImage(str(path))
    flipped = SimpleITK.Flip(label, [True, False, False])
    flipped.CopyInformation(label)
    SimpleITK.WriteImage(flipped, str(path))
    images, _, reasons = imported(tmp_path / "zib")
    assert not images["label"].any()
    assert "better mirrored" in next(iter(reasons.values()))


def test_subjects_are_split_and_pairs_drawn_where_there_are_labels(archive, imported, tmp_path):
    for n in range(8):
        image = volume(size=(4, 4, 4), origin=(n, 0, 0), direction=SAGITTAL if n % 2 else OBLIQUE)
        archive(f"900000{n}", f"1058370{n}", image=image)
        archive(f"900000{n}", f"1058380{n}", "LEFT", image=volume(size=(4, 4, 4), origin=(n, 90, 0)))
        if n < 4:
            label_of(image, tmp_path / "labels" / f"900000{n}_RIGHT.mha")
    images, pairs, reasons = imported(tmp_path / "labels", fraction=0.5, pairs=1)
    assert reasons == {}
    subjects = images.groupby("subject_id")["split"].agg(set)
    assert all(len(splits) == 1 for splits in subjects)
    tested = {subject for subject, splits in subjects.items() if splits == {"test"}}
    assert len(tested) == 2 and tested <= {f"900000{n}" for n in range(4)}
    assert set(images.loc[pairs.iloc[0], "label"]) != {""} and "" not in set(
        images.loc[pairs.iloc[0], "label"]
    )
    again = imported(tmp_path / "labels", fraction=0.5, pairs=1)
    assert again[0].equals(images) and again[1].equals(pairs)


def test_no_dess(archive, imported, tmp_path):
    archive("9000099", "10583705", "SAG_IW_TSE_LEFT")
    with pytest.raises(UserError, match="no usable series SAG_3D_DESS_LEFT or SAG_3D_DESS_RIGHT"):
        imported()
    archive("9000099", "10583706", **{"0020|0060": "L"})
    with pytest.raises(UserError, match=r"1 were left out, the first because .*find out which"):
        imported()
    with pytest.raises(UserError, match="none is not a folder"):
        imported(tmp_path / "none")


def test_an_archive_that_grows(archive, imported, tmp_path):
    """Scans that come later follow their subject; those that are there keep their rows, also under another name."""
    for n in range(6):
        archive(f"900000{n}", f"1058370{n}")
    images, pairs, _ = imported(fraction=0.5, pairs=3)
    add(tmp_path / "tables", images, pairs)
    table = tmp_path / "tables" / "images.tsv"
    table.write_text(table.read_text().replace("9000003_20041108_right\t9000003", "knee\tanna"))
    named = (tmp_path / "tables" / "pairs.tsv").read_text().replace("9000003_20041108_right", "knee")
    (tmp_path / "tables" / "pairs.tsv").write_text(named)
    for n in range(6):
        archive(f"900000{n}", f"1068370{n}", date="20060101")
    before = read_before(tmp_path / "tables")
    images, pairs, _ = imported(fraction=0.5, pairs=8, before=before)
    content = table.read_bytes()
    added = add(tmp_path / "tables", images, pairs, tmp_path / "OAI")
    assert (added.new_images, added.new_pairs, added.sentences) == (6, 5, [])
    assert table.read_bytes().startswith(content)
    assert added.images.groupby("subject_id")["split"].nunique().eq(1).all()
    assert set(added.images.loc[added.images["subject_id"] == "anna", "image_id"]) == {
        "knee",
        "9000003_20060101_right",
    }


def test_a_label_map_in_the_output_is_never_written_again(zib, imported, tmp_path):
    imported(tmp_path / "zib")
    path = tmp_path / "tables" / "labels" / "9000099_20041108_right.nii.gz"
    by_hand = nibabel.load(path)
    array = np.asarray(by_hand.dataobj).copy()
    array[0, 0, 0] = 1 - array[0, 0, 0]
    nibabel.save(nibabel.Nifti1Image(array, by_hand.affine), path)
    content = path.read_bytes()
    images, _, reasons = imported(tmp_path / "zib")
    assert path.read_bytes() == content and images["label"].tolist() == ["", str(path), ""]
    assert "is another than would be made of it, and is kept" in next(iter(reasons.values()))


def test_label_maps_of_the_user_s_own_in_the_output_folder(zib, archive, imported, tmp_path):
    """The folder of label maps that an import gives poses may be the one that the user's are in."""
    (tmp_path / "zib").rename(tmp_path / "tables")
    labels = tmp_path / "tables" / "labels"
    labels.mkdir()
    for path in [path for path in (tmp_path / "tables").iterdir() if path.is_file()]:
        path.rename(labels / path.name)
    there = {path: path.read_bytes() for path in labels.iterdir()}
    for _ in range(2):
        images, _, reasons = imported(tmp_path / "tables")
        assert reasons == {}
        assert images["label"].tolist() == ["", str(labels / "9000099_20041108_right.nii.gz"), ""]
        assert all(path.read_bytes() == content for path, content in there.items())


def test_images_that_are_not_named_in_the_published_way_are_listed(archive, imported, tmp_path):
    two(archive)
    (tmp_path / "labels").mkdir()
    SimpleITK.WriteImage(volume(), str(tmp_path / "OAI" / "9357383_20040927_LEFT_image.nii.gz"))
    odd = archive("9000622", "10583900")
    odd.rename(odd.with_name("a\tb"))
    _, _, reasons = imported(tmp_path / "labels")
    assert "rename it" in reasons["image", "9357383_20040927_LEFT_image.nii.gz"]
    assert "a table cannot store" in reasons["image", "0.C.2/9000622/20041108/a\\tb"]
