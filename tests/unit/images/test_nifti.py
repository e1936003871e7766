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
        np.testing.assert_allclose(ours[:-1], place[: len(index)], atol=2e-3, rtol=1e-5)
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
