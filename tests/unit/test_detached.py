"""Which files an image in several of them consists of, as the libraries read it."""

import os

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohortreg.detached import MOST, referred
from cohortreg.digests import digest_file
from cohortreg.errors import BadImage
from cohortreg.inputs import files_of

VOXELS = np.random.default_rng(1).integers(0, 99, (4, 5, 6), np.uint8)
METAIMAGE = "NDims = 3\nDimSize = 6 5 4\nElementType = MET_UCHAR\nElementDataFile = "
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 6 5 4\nencoding: raw\ndata file: "
SLICES = [f"s{k:02}.raw" for k in range(4)]
LINES = "\n".join(SLICES)


def names(path) -> list[str]:
    return [os.path.relpath(file, path.parent) for file in files_of(path)]


@pytest.mark.parametrize(
    ("header", "text", "parts"),
    [
        ("a.mhd", METAIMAGE + "all.raw", ["all.raw"]),
        ("a.mha", METAIMAGE + "all.raw", ["all.raw"]),
        ("a.mhd", METAIMAGE + "below/my voxels.raw", ["below/my voxels.raw"]),
        ("below/a.mhd", METAIMAGE + "../all.raw", ["../all.raw"]),
        ("a.mhd", METAIMAGE + f"LIST\n{LINES}", SLICES),
        ("a.mhd", METAIMAGE + f"LIST 2\n{LINES}\n\nand a line of no meaning", SLICES),
        ("a.mhd", METAIMAGE + "s%02d.raw 0 3 1", SLICES),
        ("a.nhdr", NRRD + "all.raw", ["all.raw"]),
        ("a.nhdr", NRRD.replace("data file", "datafile") + "./all.raw", ["all.raw"]),
        ("a.nrrd", NRRD + "below/my voxels.raw", ["below/my voxels.raw"]),
        ("a.nhdr", NRRD + f"LIST\n{LINES}", SLICES),
        ("a.nhdr", NRRD + "s%02d.raw 0 3 1", SLICES),
    ],
)
def test_the_files_that_a_header_names_are_those_that_itk_reads(tmp_path, header, text, parts):
    (tmp_path / "below").mkdir()
    for name in ("all.raw", "below/my voxels.raw"):
        (tmp_path / name).write_bytes(VOXELS.tobytes())
    for name, plane in zip(SLICES, VOXELS, strict=True):
        (tmp_path / name).write_bytes(plane.tobytes())
    path = tmp_path / header
    path.write_text(text + "\n")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), VOXELS)
    assert names(path) == [path.name, *parts]
    before = digest_file(path)
    (path.parent / parts[-1]).write_bytes(b"\1" * VOXELS[0].size)
    assert digest_file(path) != before
    (path.parent / parts[-1]).unlink()
    with pytest.raises(BadImage, match=r"refers to .*, which does not exist; copy or export both again"):
        digest_file(path)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nhdr", ".nrrd", ".hdr", ".img.gz", ".nii"])
def test_what_is_written_consists_of_what_was_written(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".hdr":
        nibabel.save(nibabel.Nifti1Pair(VOXELS, np.eye(4)), tmp_path / "a.img")
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS), str(path))
    assert {path, *files_of(path)} == set(tmp_path.iterdir())
    assert len({digest_file(file) for file in files_of(path)}) == len(files_of(path))


def test_an_analyze_image_is_its_matrix_too(tmp_path):
    nibabel.save(
        nibabel.Spm99AnalyzeImage(VOXELS.astype(np.int16), np.diag([2, 3, 4, 1])), tmp_path / "a.img"
    )
    assert {*files_of(tmp_path / "a.hdr")} == {*files_of(tmp_path / "a.img")} == set(tmp_path.iterdir())
    assert len(set(tmp_path.iterdir())) == 3


def refused(path, words):
    with pytest.raises(BadImage, match=words) as error:
        digest_file(path)
    message = str(error.value)
    assert str(path) in message and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize(
    "pattern", ["%s", "%n%d.raw 1 2 1", "%99999d.raw 1 2 1", "s%d%d 1 2", "%d.raw 1 x", "%d 1 9 0"]
)
def test_a_pattern_that_is_no_number_in_a_name(tmp_path, pattern):
    (tmp_path / "a.mhd").write_text(METAIMAGE + pattern)
    refused(tmp_path / "a.mhd", "a pattern other than a name with one number")


def test_headers_that_ask_for_too_much(tmp_path):
    path = tmp_path / "a.mhd"
    for text in (f"s%d.raw 1 {MOST + 1} 1", "LIST 0\n" + "a\n" * 3):
        path.write_text(METAIMAGE.replace("6 5 4", f"6 5 {MOST}") + text)
        refused(path, f"names more than {MOST} files")
    (tmp_path / "a.nhdr").write_text(NRRD + "-")
    refused(tmp_path / "a.nhdr", "standard input")
    (tmp_path / "a.nhdr").write_text(NRRD + "a\0b")
    refused(tmp_path / "a.nhdr", "not UTF-8 text")
    (tmp_path / "a.nhdr").write_bytes(NRRD.encode() + b"\xff.raw")
    refused(tmp_path / "a.nhdr", "not UTF-8 text")


@pytest.mark.parametrize(
    ("named", "kind"), [(".", "folder"), ("pipe", "named pipe"), ("/dev/zero", "device")]
)
def test_voxels_that_are_no_plain_file(tmp_path, named, kind):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.mhd").write_text(METAIMAGE + named)
    with pytest.raises(BadImage, match=f"is a {kind}, not a file"):
        digest_file(tmp_path / "a.mhd")


def test_a_header_that_names_itself(tmp_path):
    (tmp_path / "a.mhd").write_text(METAIMAGE + "./a.mhd")
    refused(tmp_path / "a.mhd", "names itself")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(["a.mhd", "a.mha", "a.nhdr", "a.nrrd", "a.hdr"]),
    st.sampled_from([METAIMAGE, NRRD, ""]),
    st.one_of(
        st.binary(max_size=60), st.from_regex(rb"(LIST|%0?\d?d|x| |\n|=|:|-?\d){0,12}", fullmatch=True)
    ),
)
def test_any_header_names_files_or_is_refused(tmp_path, name, start, rest):
    path = tmp_path / name
    path.write_bytes(start.encode() + rest)
    try:
        assert len(referred(path)) <= MOST
        digest_file(path)
    except BadImage as error:
        assert str(path) in str(error)
