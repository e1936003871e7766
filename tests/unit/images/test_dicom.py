import gzip
import os
import shutil
import tarfile
import tempfile

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from objects import BIG, DEFLATED, EXPLICIT, IMPLICIT, Written, write_frames, write_report, write_slice
from series import OBLIQUE, SAGITTAL, packed, volume, write_series

from cohortreg.digests import digest_file
from cohortreg.errors import BadImage, UserError
from cohortreg.images.elements import CutShortError, read_elements
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


def archived_with(folder, member: tarfile.TarInfo):
    """The folder as an archive, and one more member."""
    path = folder.with_name("a.tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, "series")
        archive.addfile(member)
    return path


def test_links_in_an_archive_are_not_followed(tmp_path):
    folder = write_series(tmp_path / "series", volume())
    link = tarfile.TarInfo("series/latest")
    link.type, link.linkname = tarfile.SYMTYPE, str(folder / "001")
    assert read_image(archived_with(folder, link)).shape == (10, 12, 16)
    link.name = "series/017"
    refused(archived_with(folder, link), "017 is cut short or not a DICOM image")
    link.name, link.type, link.linkname = "series/017", tarfile.LNKTYPE, "series/001"
    assert read_image(archived_with(folder, link)).shape == (10, 12, 16)


def test_what_is_no_plain_file_in_a_folder_is_no_slice(tmp_path):
    folder = write_series(tmp_path / "a", volume())
    os.mkfifo(folder / "control")
    (folder / "latest").symlink_to("nowhere")
    (folder / "below.dcm").mkdir()
    assert read_image(folder).shape == (10, 12, 16)
    for make in (lambda path: path.symlink_to("nowhere"), lambda path: path.symlink_to("017"), os.mkfifo):
        make(folder / "017")
        refused(folder, "017 is cut short or not a DICOM image")
        (folder / "017").unlink()


def test_a_slice_whose_name_is_not_utf8(tmp_path):
    folder = write_series(tmp_path / "a", volume())
    (folder / "016").rename(os.fsdecode(os.fsencode(folder) + b"/\xff16"))
    assert r"\udcff16 is not UTF-8; rename it" in refused(folder, "rename it")


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
    assert "SAG_3D_DESS_LEFT: 16 slices" in message and "AX_T1_THIGH: 3 slices" in message


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


#: What frames are written with: rows, columns and frames of one place each, in LPS millimetres.
FRAMES = np.random.default_rng(0).integers(-200, 2000, (6, 12, 10)).astype(np.int16)
PLACES = np.array([-50.0, -40, 10]) + 3.0 * np.arange(6)[:, None] * OBLIQUE[:, 2]


def placed() -> SimpleITK.Image:
    """What `write_frames` writes of these."""
    image = SimpleITK.GetImageFromArray(FRAMES)
    image.SetSpacing((1.5, 2, 3))
    image.SetOrigin(PLACES[0])
    image.SetDirection(OBLIQUE.ravel())
    return image


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("preamble", [False, True])
def test_frames_are_where_the_file_says_whatever_their_order(tmp_path, syntax, undefined, own, preamble):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "scan.dcm"
    for order in (range(6), [0, 2, 4, 1, 3, 5], [5, 4, 3, 2, 1, 0]):
        written = Written(syntax, undefined)
        write_frames(file, FRAMES[order], PLACES[order], OBLIQUE, to=written, own=own, preamble=preamble)
        for path in (file, file.parent, packed(file.parent)):
            assert_same(read_image(path), placed())


def test_all_slices_in_one_file_as_itk_writes_them(tmp_path):
    (tmp_path / "a").mkdir()
    for compressed in (False, True):
        SimpleITK.WriteImage(volume(), str(tmp_path / "a" / "all.dcm"), compressed)
        for path in (tmp_path / "a", tmp_path / "a" / "all.dcm"):
            assert_same(read_image(path), volume())


def test_frames_missing_or_doubled(tmp_path):
    path = tmp_path / "scan.dcm"
    write_frames(path, FRAMES[[0, 1, 3, 4, 5]], PLACES[[0, 1, 3, 4, 5]], OBLIQUE)
    refused(path, r"1 slice is missing after slice 2 of 5 \(scan.dcm \(frame 2\), at")
    write_frames(path, FRAMES[[0, 1, 1]], PLACES[[0, 1, 1]], OBLIQUE)
    refused(path, r"two slices at one position, scan.dcm \(frame 2\) and scan.dcm \(frame 3\)")
    write_frames(path, FRAMES[[0, 0, 1]], PLACES[[0, 0, 1]], OBLIQUE)
    refused(path, r"two slices at one position, scan.dcm \(frame 1\) and scan.dcm \(frame 2\)")


def test_frames_in_several_files(tmp_path):
    (tmp_path / "a").mkdir()
    for part in ([0, 2, 4], [5], [3, 1]):
        write_frames(tmp_path / "a" / f"{part[0]}.dcm", FRAMES[part], PLACES[part], OBLIQUE)
    assert_same(read_image(tmp_path / "a"), placed())


def test_frames_without_places(tmp_path):
    path = tmp_path / "scan.dcm"
    for about in ({"places": False}, {"direction": np.full((3, 3), 0.5)}, {"spacing": (0, 2, 3)}):
        refused(
            write_frames(path, FRAMES, PLACES, **about), "6 frames and does not say where each of them lies"
        )
    refused(write_frames(path, FRAMES, PLACES[:5]), "does not say where each")


def test_slope_and_intercept_of_frames(tmp_path):
    path = tmp_path / "scan.dcm"
    write_frames(path, FRAMES, PLACES, OBLIQUE, rescale=[(0.5, 3)] * 6)
    np.testing.assert_array_equal(read_image(path).array, FRAMES.T * 0.5 + 3)
    write_frames(path, FRAMES, PLACES, OBLIQUE, rescale=[(n + 1, 0) for n in range(6)])
    refused(path, "rescale slope or intercept of their own")
    # Of secondary captures, GDCM leaves it out.
    write_frames(path, FRAMES, PLACES, OBLIQUE, rescale=[(2, 0)] * 6, sop_class="1.2.840.10008.5.1.4.1.1.7.3")
    refused(path, "rescale slope or intercept of their own")


def plain_series(folder, preamble=lambda k: True, syntax=EXPLICIT):
    folder.mkdir()
    for k, plane in enumerate(FRAMES):
        write_slice(folder / f"IM{k}.dcm", plane, (0, 0, 3 * k), preamble=preamble(k), syntax=syntax)
    return folder


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_slices_without_a_preamble_count(tmp_path, syntax):
    folder = plain_series(tmp_path / "a", lambda k: k < 4, syntax)
    for path in (folder, packed(folder)):
        np.testing.assert_array_equal(read_image(path).array, FRAMES.T)


@pytest.mark.parametrize(
    "kind", ["88.11", "88.59", "11.1", "104.1", "481.3", "481.5", "66", "66.1", "4.2", "9.1.1", "67"]
)
def test_objects_without_pixels_may_lie_beside_the_slices(tmp_path, kind):
    folder = plain_series(tmp_path / "a")
    for name, series in (("IM9.dcm", "1.2.5"), ("report", "1.2.6"), ("0", "1.2.7")):
        write_report(folder / name, series, f"1.2.840.10008.5.1.4.1.1.{kind}")
    for path in (folder, packed(folder)):
        np.testing.assert_array_equal(read_image(path).array, FRAMES.T)


def test_what_is_private_or_a_directory_may_lie_beside_the_slices(tmp_path):
    folder = plain_series(tmp_path / "a")
    write_report(folder / "raw", sop_class="1.3.12.2.1107.5.9.1")
    write_report(folder / "DICOMDIR", sop_class="1.2.840.10008.1.3.10")
    (folder / "notes.txt").write_text("none")
    (folder / "LICENSE2").write_text("none")
    (folder / "Thumbs.db").write_bytes(bytes(500))
    np.testing.assert_array_equal(read_image(folder).array, FRAMES.T)


def test_only_reports(tmp_path):
    (tmp_path / "a").mkdir()
    write_report(tmp_path / "a" / "1.dcm")
    refused(tmp_path / "a", "contains no DICOM image")
    refused(tmp_path / "a" / "1.dcm", "contains no DICOM image")


def test_an_image_of_another_series_is_not_called_cut_short(tmp_path):
    folder = plain_series(tmp_path / "a")
    write_frames(folder / "0.dcm", FRAMES, PLACES, series="1.2.9", places=False)
    refused(folder, "images of several series; put each in its own folder")
    write_frames(folder / "0.dcm", FRAMES, PLACES, OBLIQUE, series="1.2.9")
    refused(folder, "slices of several series")


@pytest.mark.parametrize("name", ["IM6.dcm", "IM06", "0006", "1.2.840.6", "other.ima", "IM6.dcm.gz"])
@pytest.mark.parametrize("content", [b"", bytes(5000), b"\x1f\x8b" + bytes(200)])
def test_what_a_slice_was_overwritten_with(tmp_path, name, content):
    folder = plain_series(tmp_path / "a")
    (folder / name).write_bytes(content)
    refused(folder, f"{name} is cut short or not a DICOM image")
    refused(packed(folder), f"{name} is cut short or not a DICOM image")


def test_a_page_that_a_server_sent_for_a_slice(tmp_path):
    folder = plain_series(tmp_path / "a")
    (folder / "IM5.dcm").write_text("<html>404 not found</html>" * 20)
    refused(folder, "IM5.dcm is cut short")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.data())
def test_a_file_cut_anywhere_is_cut_short(tmp_path, data):
    written = Written(
        data.draw(st.sampled_from([IMPLICIT, EXPLICIT, DEFLATED, BIG])), data.draw(st.booleans())
    )
    path = tmp_path / "a.dcm"
    write_frames(path, FRAMES, PLACES, to=written)
    whole = path.read_bytes()
    folder = tmp_path / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "a.dcm").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refused(folder, "a.dcm is cut short")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.sampled_from([IMPLICIT, EXPLICIT, BIG]), st.integers(132, 1100), st.binary(min_size=1, max_size=8))
def test_damaged_headers_are_read_or_refused(tmp_path, syntax, at, content):
    path = write_frames(tmp_path / "a.dcm", FRAMES, PLACES, to=Written(syntax, True))
    whole = bytearray(path.read_bytes())
    whole[at : at + len(content)] = content
    path.write_bytes(whole)
    try:
        read_elements(path)
        read_image(path)
    except (BadImage, CutShortError):
        pass


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


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar"])
def test_an_archive_that_goes_on_behind_its_end(tmp_path, suffix):
    folder = plain_series(tmp_path / "a")
    archive = packed(folder, ".tar")
    with tarfile.open(archive) as opened:
        header = opened.getmembers()[3].offset
    whole = archive.read_bytes()
    archive.unlink()
    for damage in (bytes(512), b"\1" * 512):
        content = whole[:header] + damage + whole[header + 512 :]
        path = tmp_path / f"b{suffix}"
        path.write_bytes(gzip.compress(content) if suffix == ".tar.gz" else content)
        refused(path, "is not an archive, or is cut short or damaged")


def test_no_dicom(tmp_path):
    (tmp_path / "a").mkdir()
    refused(tmp_path / "a", "contains no DICOM image")
    (tmp_path / "a" / "notes.txt").write_text("none here")
    refused(tmp_path / "a", "contains no DICOM image")
    refused(packed(tmp_path / "a"), "contains no DICOM image")


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


def test_a_label_of_many_bits_keeps_its_values(tmp_path):
    label = volume()
    stored = SimpleITK.Cast(label, SimpleITK.sitkUInt32) + 2**24
    read = read_label(write_series(tmp_path / "a", stored))
    np.testing.assert_array_equal(read.array, SimpleITK.GetArrayFromImage(stored).T)
