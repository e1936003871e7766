import shutil
import tarfile
import tempfile

import nibabel
import numpy as np
import pytest
import SimpleITK
from series import OBLIQUE, SAGITTAL, packed, volume, write_series

from cohortreg.errors import UserError
from cohortreg.files import digest_file
from cohortreg.images.io import read_image, read_label

FLIPPED = OBLIQUE * [1, -1, -1]  # the rows run to superior and so the normal to the left


def itk_points(image: SimpleITK.Image, indices) -> np.ndarray:
    """RAS millimetres of voxels, as ITK has them."""
    points = [image.TransformIndexToPhysicalPoint([int(n) for n in index]) for index in indices]
    return np.array(points) * [-1, -1, 1]


def assert_same(image, reference: SimpleITK.Image):
    """Voxels and their places."""
    np.testing.assert_array_equal(image.array, SimpleITK.GetArrayFromImage(reference).T)
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(reference.GetSize()) - 1)
    found = nibabel.affines.apply_affine(image.affine, corners)
    np.testing.assert_allclose(found, itk_points(reference, corners), atol=1e-4)


def refused(path, words, read=read_image) -> str:
    """The message, which must be one sentence that names the folder or archive."""
    with pytest.raises(UserError, match=words) as error:
        read(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("direction", [SAGITTAL, OBLIQUE, FLIPPED, np.eye(3)])
def test_a_series_is_as_it_was_written_and_as_itk_reads_it(tmp_path, direction, flipped):
    written = volume(direction=direction)
    folder = write_series(tmp_path / "10583703", written, flipped)
    assert_same(read_image(folder), written)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    assert_same(read_image(folder), reader.Execute())
    assert read_image(folder).array.dtype == np.float32


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar"])
def test_an_archive_is_its_folder_and_nothing_stays_unpacked(tmp_path, suffix, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    folder = write_series(tmp_path / "10583703", volume())
    (folder / "README.txt").write_text("what a download leaves")
    (folder / "._001").write_bytes(b"")
    archive = packed(folder, suffix)
    image = read_image(folder)
    shutil.rmtree(folder)
    again = read_image(archive)
    np.testing.assert_array_equal(again.array, image.array)
    np.testing.assert_array_equal(again.affine, image.affine)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_links_in_an_archive_are_not_followed(tmp_path):
    folder = write_series(tmp_path / "series", volume())
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder, "series")
        link = tarfile.TarInfo("series/017")
        link.type, link.linkname = tarfile.SYMTYPE, str(folder / "001")
        archive.addfile(link)
    assert read_image(tmp_path / "a.tar").shape == (10, 12, 16)


def test_slope_and_intercept(tmp_path):
    written = volume()
    tags = {"0028|1052": "-100", "0028|1053": "2"}
    tags |= {"0028|0100": "16", "0028|0101": "16", "0028|0102": "15", "0028|0103": "1"}
    stored = SimpleITK.Cast(written, SimpleITK.sitkInt16)
    folder = write_series(tmp_path / "a", SimpleITK.Cast(stored * 2 - 100, SimpleITK.sitkFloat32), **tags)
    assert_same(read_image(folder), stored * 2 - 100)


def test_a_label_as_a_series(tmp_path):
    label = volume() > 450
    read = read_label(write_series(tmp_path / "a", label))
    assert_same(read, label)
    assert read.array.dtype == np.uint8


def test_two_series(tmp_path):
    folder = write_series(tmp_path / "a", volume(), **{"0008|103e": "SAG_3D_DESS_LEFT"})
    other = write_series(tmp_path / "b", volume(), **{"0008|103e": "AX_T1_THIGH"})
    for number in range(1, 4):
        (other / f"00{number}").rename(folder / f"10{number}")
    message = refused(folder, "several series")
    assert "SAG_3D_DESS_LEFT: 16 files" in message and "AX_T1_THIGH: 3 files" in message


def test_slices_missing(tmp_path):
    folder = write_series(tmp_path / "a", volume(direction=np.eye(3), origin=(0, 0, 10)))
    (folder / "006").unlink()
    # Slice 5 is the fifth, 4 x 0.7 mm beyond the first.
    refused(folder, r"1 slice is missing after slice 5 of 15 \(005, at 12\.80 mm along the normal\)")
    (folder / "010").unlink()
    (folder / "011").unlink()
    refused(packed(folder), "3 slices are missing after slice 5 of 13")


def test_unequal_distances(tmp_path):
    tags = {"0020|000e": "1.2.3"}
    folder = write_series(tmp_path / "a", volume(size=(10, 12, 8)), **tags)
    origin = volume().TransformContinuousIndexToPhysicalPoint((0, 0, 8.4))
    more = write_series(tmp_path / "b", volume(size=(10, 12, 2), origin=origin), **tags)
    for file in more.iterdir():
        file.rename(folder / f"1{file.name}")
    refused(folder, r"unequal distances, from 0\.7 to 0\.98 mm")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"size": (12, 12, 1)}, r"different sizes \(10 x 12 and 12 x 12 pixels\)"),
        ({"spacing": (0.4, 0.6, 0.7)}, "different pixel sizes"),
        ({"direction": SAGITTAL}, "different orientations"),
        ({"origin": (-20.0, 37.0, 12.25)}, "different places"),
        ({}, "two slices at one position, 001 and 999"),
    ],
)
def test_a_slice_of_another_kind(tmp_path, changed, words):
    tags = {"0020|000e": "1.2.3"}
    folder = write_series(tmp_path / "a", volume(), **tags)
    other = write_series(tmp_path / "b", volume(**{"size": (10, 12, 1)} | changed), **tags)
    (other / "001").rename(folder / "999")
    refused(folder, words)


def test_all_slices_in_one_file(tmp_path):
    (tmp_path / "a").mkdir()
    SimpleITK.WriteImage(volume(), str(tmp_path / "a" / "all.dcm"))
    refused(tmp_path / "a", "all.dcm holds 16 frames")


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.98])
def test_a_slice_cut_short(tmp_path, kept):
    folder = write_series(tmp_path / "a", volume())
    whole = (folder / "016").read_bytes()
    (folder / "016").write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    refused(folder, "016 is cut short")
    refused(packed(folder), "016 is cut short")


@pytest.mark.parametrize("kept", [0, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("suffix", [".tar.gz", ".tar"])
def test_an_archive_cut_short(tmp_path, kept, suffix):
    archive = packed(write_series(tmp_path / "a", volume()), suffix)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(kept * len(whole))])
    refused(archive, "cut short")


def test_no_dicom(tmp_path):
    (tmp_path / "a").mkdir()
    refused(tmp_path / "a", "holds no DICOM file")
    (tmp_path / "a" / "notes.txt").write_text("none here")
    refused(tmp_path / "a", "holds no DICOM file")
    refused(packed(tmp_path / "a"), "holds no DICOM file")


def test_one_value(tmp_path):
    refused(write_series(tmp_path / "a", volume() * 0 + 7), "value 7 in every voxel")


def test_the_digest_follows_from_names_and_contents(tmp_path):
    folder = write_series(tmp_path / "a", volume())
    first = digest_file(folder)
    (folder / ".DS_Store").write_bytes(b"1")
    assert digest_file(folder) == first == digest_file(shutil.copytree(folder, tmp_path / "b"))
    (folder / "016").rename(folder / "017")
    renamed = digest_file(folder)
    (folder / "001").write_bytes((folder / "002").read_bytes())
    assert len({first, renamed, digest_file(folder)}) == 3
