"""NIfTI, Analyze and the geometry that ITK reads in them."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from scipy.spatial.transform import Rotation

from cohortreg.errors import BadImage
from cohortreg.images.io import read_grid, read_image

SHAPE = (4, 5, 6)
ARRAY = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)

angles = st.tuples(*3 * [st.sampled_from([-180.0, -90.0, 0.0, 90.0, 45.0]) | st.floats(-180, 180)])
sizes = st.tuples(*3 * [st.sampled_from([1.0, 0.5, 3.0]) | st.floats(0.1, 5)])
origins = st.tuples(*3 * [st.sampled_from([0.0, 20.0]) | st.floats(-200, 200)])


@st.composite
def matrices(draw, spacing):
    """Affines of rotations, mirrored or not, with a voxel size that may be another, and now and then sheared."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", draw(angles), degrees=True).as_matrix()
    if draw(st.booleans()):
        affine[:3, 0] *= -1
    affine[:3, :3] *= draw(st.just(spacing) | sizes)
    affine[0, 1] += draw(st.sampled_from([0, 0, 0, 1e-6, 1e-3, 0.2]))
    affine[:3, 3] = draw(origins)
    return affine


@st.composite
def headers(draw, kind=Nifti1Header):
    """A header with any sform and qform, alike, a little different or unrelated, of any code, and in any unit."""
    spacing, header = draw(sizes), kind()
    dims = draw(st.sampled_from([SHAPE, SHAPE, SHAPE[:2], (*SHAPE, 1)]))
    header.set_data_shape(dims)
    header.set_data_dtype(np.int16)
    first, second = draw(matrices(spacing)), draw(matrices(spacing))
    if draw(st.booleans()):
        second = first + draw(st.sampled_from([0, 1e-7, 1e-5, 1e-3, 0.1]))
        second[3] = 0, 0, 0, 1
    header.set_qform(second, draw(st.integers(0, 5)))
    header.set_sform(first, draw(st.integers(0, 5)))
    header["pixdim"][1:4] = draw(st.just(header["pixdim"][1:4].copy()) | st.just(spacing))
    header["pixdim"][0] = draw(st.sampled_from([1, -1, 0]))
    header["xyzt_units"] = draw(st.sampled_from([0, 1, 2, 3, 10, 11]))
    return header


def written(folder: Path, header, suffix: str) -> Path:
    """The header as it is, which nibabel's own writing would change, and the voxels."""
    path, array = folder / f"a{suffix}", ARRAY.reshape(-1)[: np.prod(header.get_data_shape())]
    for stale in folder.glob("a.*"):
        stale.unlink()
    if suffix == ".hdr":
        path.write_bytes(header.binaryblock)
        (folder / "a.img").write_bytes(array.tobytes())
        return path
    header["vox_offset"] = header.sizeof_hdr + 4
    content = header.binaryblock + bytes(4) + array.tobytes()
    path.write_bytes(gzip.compress(content, 1) if suffix.endswith("gz") else content)
    return path


def lies_where_itk_has_it(path: Path) -> bool:
    """False where the file is refused; else each corner must lie where ITK has it."""
    try:
        image = read_image(path)
    except BadImage as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return False
    theirs = SimpleITK.ReadImage(str(path))
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape], indexing="ij")).reshape(
        len(image.shape), -1
    )
    for index in corners.T.tolist():
        at = [*index, *[0] * (theirs.GetDimension() - len(index))]
        place = (
            np.array(theirs.TransformContinuousIndexToPhysicalPoint([float(i) for i in at]))
            * ([-1, -1, 1][: len(at)])
        )
        ours = image.affine @ [*index, 1]
        np.testing.assert_allclose(ours[:-1], place[: len(index)], atol=2e-3 * image.spacing.max(), rtol=1e-5)
        assert image.array[tuple(index)] == theirs[at]
    return True


@settings(max_examples=120)
@given(header=headers(), suffix=st.sampled_from([".nii", ".nii.gz"]))
def test_every_voxel_is_where_itk_has_it_or_the_file_is_refused(tmp_path_factory, header, suffix):
    folder = tmp_path_factory.getbasetemp()
    lies_where_itk_has_it(written(folder, header, suffix))


@settings(max_examples=40)
@given(header=headers(Nifti1PairHeader))
def test_pairs_of_files_too(tmp_path_factory, header):
    lies_where_itk_has_it(written(tmp_path_factory.getbasetemp(), header, ".hdr"))


def test_analyze_is_where_itk_has_it(tmp_path):
    header = nibabel.AnalyzeHeader()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.int16)
    header.set_zooms((1, 2, 3))
    assert lies_where_itk_has_it(written(tmp_path, header, ".hdr"))


def test_most_headers_are_read_and_not_refused(tmp_path):
    """Each of both alone, both alike, and both different where one has the last word."""
    one, other = np.diag([1.0, 2, 3, 1]), np.diag([-1.0, -2, 3, 1])
    other[:3, 3] = 30, 40, 50
    for qform, sform in ((1, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 4), (4, 1)):
        for unit in ("mm", "micron", "meter", "unknown"):
            header = Nifti1Header()
            header.set_data_shape(SHAPE)
            header.set_data_dtype(np.int16)
            header.set_qform(one, qform)
            header.set_sform(other, sform)
            header.set_xyzt_units(unit)
            assert lies_where_itk_has_it(written(tmp_path, header, ".nii")), (qform, sform, unit)


def header_of(sform, sform_code=1, **fields):
    header = Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.int16)
    header.set_qform(np.eye(4), 0)
    header.set_sform(sform, sform_code)
    for field, value in fields.items():
        header[field] = value
    return header


SHEARED = np.array([[1, 0.15, 0, 0], [0, 1, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (header_of(SHEARED), "not perpendicular"),
        (header_of(np.eye(4), sform_code=0), "neither a qform nor an sform"),
        (header_of(np.diag([2.0, 1, 1, 1])), "2 x 1 x 1 in its sform"),
        (header_of(np.eye(4), pixdim=[1, -1, 1, 1, 1, 1, 1, 1]), "negative voxel size"),
        (header_of(np.eye(4), qform_code=77), "code that NIfTI does not define"),
    ],
)
def test_geometry_that_nobody_can_tell_is_refused(tmp_path, header, why):
    for read in (read_image, read_grid):
        with pytest.raises(BadImage, match=why):
            read(written(tmp_path, header, ".nii"))


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]},
        {"dim": [3, 1000, 1000, 1000, 1, 1, 1, 1]},
        {"dim": [7, 4, 5, 6, 9, 9, 9, 9]},
        {"dim": [0, 4, 5, 6, 1, 1, 1, 1]},
        {"dim": [3, 4, -5, 6, 1, 1, 1, 1]},
        {"vox_offset": 1e30},
        {"vox_offset": -1e30},
        {"vox_offset": np.nan},
        {"vox_offset": 8},
        {"datatype": 1},
        {"datatype": 77},
        {"scl_slope": 1, "scl_inter": np.inf},
    ],
    ids=str,
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_claims_that_the_file_cannot_keep(tmp_path, suffix, fields):
    path = written(tmp_path, header_of(np.eye(4)), suffix)
    content = bytearray(gzip.decompress(path.read_bytes()) if suffix.endswith("gz") else path.read_bytes())
    header = Nifti1Header(bytes(content[:348]), check=False)
    for field, value in fields.items():
        header[field] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with pytest.raises(BadImage, match=r"claims|export it again|give an image|cut short"):
        read_image(path)


@settings(max_examples=150)
@given(content=st.binary(max_size=352), at=st.integers(0, 347))
def test_no_header_stops_more_than_its_file(tmp_path_factory, content, at):
    folder = tmp_path_factory.getbasetemp()
    path = written(folder, header_of(np.eye(4)), ".nii")
    whole = bytearray(path.read_bytes())
    whole[at : at + len(content)] = content
    path.write_bytes(whole)
    try:
        read_image(path)
    except BadImage as error:
        assert str(path) in str(error)


def test_both_files_of_a_pair_are_looked_at(tmp_path):
    header = Nifti1PairHeader(header_of(np.eye(4)).binaryblock, check=False)
    header["magic"] = b"ni1"
    path, expected = written(tmp_path, header, ".hdr"), ARRAY.reshape(-1).reshape(SHAPE, order="F")
    np.testing.assert_array_equal(read_image(path).array, expected)
    np.testing.assert_array_equal(read_image(tmp_path / "a.img").array, expected)
    (tmp_path / "a.img").write_bytes(ARRAY.tobytes()[:-2])
    with pytest.raises(BadImage, match="cut short"):
        read_image(path)
    (tmp_path / "a.img").unlink()
    with pytest.raises(BadImage, match=r"a\.hdr refers to .*a\.img, which does not exist; copy"):
        read_image(path)


@pytest.mark.parametrize("at", [344, 345, 346, 347])
def test_a_pair_whose_mark_is_damaged_is_not_taken_for_analyze(tmp_path, at):
    """Analyze knows no place, so that the image would lie elsewhere than for ITK, which reads on."""
    affine = np.diag([-1.5, -2, 1.2, 1])
    affine[:3, 3] = 12, 30, 7
    nibabel.save(nibabel.Nifti1Pair(np.ones((4, 5, 6), np.int16), affine), tmp_path / "a.img")
    np.testing.assert_allclose(read_grid(tmp_path / "a.img").affine, affine, atol=1e-5)
    data = bytearray((tmp_path / "a.hdr").read_bytes())
    data[at] ^= 8
    (tmp_path / "a.hdr").write_bytes(data)
    with pytest.raises(BadImage, match=r"a\.(hdr|img) is not an image, or is cut short or damaged"):
        read_grid(tmp_path / "a.img")
