"""Files that ITK reads: cut short, damaged, or referring to what they should not."""

from contextlib import suppress

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.errors import BadImage
from cohortreg.images.io import read_grid, read_image

SOLID = np.random.default_rng(1).integers(0, 250, (6, 20, 22)).astype(np.uint8)
FORMATS = [
    ("a.mha", SOLID, False), ("a.mha", SOLID, True), ("a.mhd", SOLID, False), ("a.mhd", SOLID, True),
    ("a.nrrd", SOLID, False), ("a.nrrd", SOLID, True), ("a.nhdr", SOLID, False), ("a.nhdr", SOLID, True),
    ("a.tif", SOLID, False), ("a.tif", SOLID, True), ("a.tif", SOLID[0], False), ("a.png", SOLID[0], True),
    ("a.jpg", SOLID[0], True), ("a.gipl", SOLID, False), ("a.h5", SOLID, False),
    ("a.mnc", SOLID, False),
]  # fmt: skip


def save(folder, name, array, compressed):
    path = folder / name
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), useCompression=compressed)
    return path, next((file for file in folder.iterdir() if file != path), path)


@pytest.mark.parametrize(("name", "array", "compressed"), FORMATS)
def test_cut_short(tmp_path, name, array, compressed):
    path, voxels = save(tmp_path, name, array, compressed)
    expected, whole = read_image(path).array, voxels.read_bytes()
    if not name.endswith("jpg"):
        np.testing.assert_array_equal(expected, array.T)
    for cut in (1, 9, 40, 200, len(whole) // 2, len(whole) - 3, len(whole)):
        voxels.write_bytes(whole[:-cut])
        try:
            image = read_image(path)
        except BadImage as error:
            assert str(tmp_path) in str(error)
        else:  # of what is behind the voxels
            assert cut < 40
            np.testing.assert_array_equal(image.array, expected)


@pytest.mark.parametrize(
    ("name", "array", "compressed"),
    [row for row in FORMATS if row[2] and row[0][2:] in ("mha", "mhd", "nrrd", "nhdr", "png")],
)
def test_flipped_bits_of_formats_with_a_checksum(tmp_path, name, array, compressed):
    path, voxels = save(tmp_path, name, array, compressed)
    whole, random = voxels.read_bytes(), np.random.default_rng(2)
    for _ in range(25):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole) // 2, len(whole))] ^= 1 << int(random.integers(8))
        voxels.write_bytes(damaged)
        with suppress(BadImage):
            np.testing.assert_array_equal(read_image(path).array, array.T)


META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = {size}\nElementSpacing = 1 1 1\n{more}"
    "ElementType = MET_UCHAR\nElementDataFile = {data}\n"
)
NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: {size}\nencoding: {encoding}\n{more}\n"


@pytest.mark.parametrize(
    "data",
    ["%s%s%s%n.raw 1 10 1", "%d.raw 1 2 1", "LIST", "LIST 2D\n1.raw", "/etc/passwd", "../a.raw", "b/../../a.raw",
     "none.raw", "."],
)  # fmt: skip
def test_what_a_header_refers_to(tmp_path, data):
    (tmp_path / "in").mkdir()
    for name in ("a.raw", "in/a.raw", "in/1.raw"):
        (tmp_path / name).write_bytes(bytes(range(64)))
    headers = {
        "a.mhd": META.format(size="4 4 4", data=data, more=""),
        "a.nhdr": NRRD.format(size="4 4 4", encoding="raw", more=f"data file: {data}\n"),
    }
    for name, text in headers.items():
        (tmp_path / "in" / name).write_text(text)
        for read in (read_image, read_grid):
            with pytest.raises(BadImage):
                read(tmp_path / "in" / name)
        (tmp_path / "in" / name).write_text(text.replace(data, "a.raw"))
        assert read_image(tmp_path / "in" / name).array[3, 3, 3] == 63


@pytest.mark.parametrize(
    "size", ["32767 32767 32767", "1000 1000 1000", "4 4 5", "4 4 -4", "0 4 4", "4 4", "x y z", ""]
)
def test_sizes_that_the_file_cannot_keep(tmp_path, size):
    (tmp_path / "a.mha").write_bytes(
        META.format(size=size, data="LOCAL", more="").encode() + bytes(range(64))
    )
    packed = "CompressedData = True\n"
    (tmp_path / "b.mha").write_bytes(
        META.format(size=size, data="LOCAL", more=packed).encode() + bytes(range(64))
    )
    (tmp_path / "a.nrrd").write_bytes(
        NRRD.format(size=size, encoding="raw", more="").encode() + bytes(range(64))
    )
    (tmp_path / "b.nrrd").write_bytes(
        NRRD.format(size=size, encoding="gzip", more="").encode() + bytes(range(64))
    )
    for name in ("a.mha", "b.mha", "a.nrrd", "b.nrrd"):
        with pytest.raises(BadImage):
            read_image(tmp_path / name)


@pytest.mark.parametrize("encoding", ["text", "ascii", "txt", "hex"])
def test_text(tmp_path, encoding):
    path = tmp_path / "a.nrrd"
    path.write_text(NRRD.format(size="20 20 20", encoding=encoding, more="") + "1 " * 7999 + "9" * 100000)
    with pytest.raises(BadImage, match="as text"):
        read_image(path)
    path = tmp_path / "a.mha"
    path.write_text(
        META.format(size="2 2 2", data="LOCAL", more="").replace("Data = True", "Data = False") + "1 " * 8
    )
    with pytest.raises(BadImage, match="as text"):
        read_image(path)


def test_a_format_of_which_nobody_can_tell(tmp_path):
    path, _ = save(tmp_path, "a.vtk", SOLID, False)
    with pytest.raises(BadImage, match=r"VTK.*convert it to \.nii\.gz"):
        read_image(path)


def test_axes_that_are_not_perpendicular(tmp_path):
    image = SimpleITK.GetImageFromArray(SOLID)
    image.SetDirection([1, 0.2, 0, 0, 1, 0, 0, 0, 1])
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    for read in (read_image, read_grid):
        with pytest.raises(BadImage, match="perpendicular"):
            read(tmp_path / "a.nrrd")


@settings(max_examples=60, deadline=None)
@given(
    at=st.integers(0, 170),
    content=st.binary(min_size=1, max_size=6)
    | st.sampled_from([b"\n", b"%n", b"99999999999", b"-1", b" ", b"=:"]),
    name=st.sampled_from(["h.mha", "h.nrrd"]),
)
def test_no_header_stops_more_than_its_file(tmp_path_factory, at, content, name):
    text = (
        META.format(size="4 4 4", data="LOCAL", more="")
        if name == "h.mha"
        else NRRD.format(size="4 4 4", encoding="raw", more="")
    )
    whole = bytearray(text.encode())
    whole[min(at, len(whole) - 1) : at + len(content)] = content
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(bytes(whole) + bytes(range(64)))
    try:
        read_image(path)
    except BadImage as error:
        assert "\n" not in str(error)
