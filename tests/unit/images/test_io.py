import errno
import gzip
import os
import resource
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from series import OBLIQUE, SAGITTAL, volume

from cohortreg.errors import BadImage, UserError
from cohortreg.images.geometry import canonical
from cohortreg.images.io import Image, read_grid, read_image, read_label, write_image

AFFINE = np.array([[0.0, 0, -2, 30], [-1.5, 0, 0, 20], [0, 3, 0, -10], [0, 0, 0, 1]])  # axes run P, S, L


@pytest.fixture
def ramp() -> np.ndarray:
    return np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)


def one_sentence(error: pytest.ExceptionInfo, path) -> str:
    """The message, which must be one line that names the file and ends with what to do."""
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.endswith(".")
    return message


def save(path, array, affine=AFFINE):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def test_what_is_written_is_read(tmp_path, ramp):
    write_image(tmp_path / "a.nii.gz", Image(ramp, AFFINE))
    again = read_image(tmp_path / "a.nii.gz")
    assert again.array.dtype == np.float32
    np.testing.assert_array_equal(again.array, ramp)
    np.testing.assert_allclose(again.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(again.spacing, [1.5, 3, 2])


def test_same_image_twice_is_the_same_file(tmp_path, ramp):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_image(tmp_path / name, Image(ramp, AFFINE))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("suffix", [".nii", ".mha", ".nrrd", ".mhd"])
def test_itk_formats_have_the_same_voxels_in_the_same_places(tmp_path, ramp, suffix):
    write_image(tmp_path / "a.nii.gz", Image(ramp, AFFINE))
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / "a.nii.gz")), str(tmp_path / f"b{suffix}"))
    image = read_image(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(image.array, ramp)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd", ".nii.gz"])
@pytest.mark.parametrize("direction", [SAGITTAL, OBLIQUE, OBLIQUE * [1, -1, 1], -np.eye(3)])
def test_oblique_flipped_and_anisotropic_grids_are_where_itk_has_them(tmp_path, suffix, direction):
    written = volume(direction=direction)
    SimpleITK.WriteImage(written, str(tmp_path / f"a{suffix}"))
    image, grid = read_image(tmp_path / f"a{suffix}"), read_grid(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.array, SimpleITK.GetArrayFromImage(written).T)
    assert grid.shape == image.shape
    np.testing.assert_array_equal(grid.affine, image.affine)
    for index in ((0, 0, 0), (9, 0, 0), (0, 11, 0), (3, 5, 15)):
        lps = written.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(image.affine @ [*index, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-4)


def test_label_stored_as_float_becomes_the_smallest_integer_type(tmp_path):
    array = np.zeros((3, 3, 3), np.float32)
    array[1, 1, 1] = 7
    label = read_label(save(tmp_path / "label.nii.gz", array))
    assert label.array.dtype == np.uint8
    assert label.array[1, 1, 1] == 7


def test_single_volume_in_a_fourth_axis_is_3d(tmp_path, ramp):
    assert read_image(save(tmp_path / "a.nii.gz", ramp[..., None])).shape == (4, 5, 6)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file; correct the path") as error:
        read_image(tmp_path / "none.nii.gz")
    one_sentence(error, tmp_path / "none.nii.gz")


def test_folder_without_an_image(tmp_path):
    with pytest.raises(UserError, match="contains no DICOM image"):
        read_image(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.95])
def test_file_cut_short(tmp_path, kept):
    noise = np.random.default_rng(1).random((12, 12, 12), dtype=np.float32)
    path = save(tmp_path / "a.nii.gz", noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UserError, match=r"cut short|damaged|not an image") as error:
        read_image(path)
    one_sentence(error, path)


def test_uncompressed_file_cut_short(tmp_path, ramp):
    path = save(tmp_path / "a.nii", ramp)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="cut short") as error:
        read_image(path)
    one_sentence(error, path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_itk_file_cut_short(tmp_path, ramp, suffix, capfd):
    path = tmp_path / f"a{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(ramp), str(path))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="cut short") as error:
        read_image(path)
    one_sentence(error, path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.png", "a.txt", "a.mha"])
def test_not_an_image(tmp_path, name):
    path = tmp_path / name
    text = b"image_id\tsubject_id\n" * 50
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    with pytest.raises(UserError, match="not an image") as error:
        read_image(path)
    one_sentence(error, path)


@pytest.mark.parametrize("shape", [(4, 5, 6, 2), (4, 1, 6), (4, 1)])
def test_neither_2d_nor_3d(tmp_path, shape):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(1).random(shape))
    with pytest.raises(UserError, match="give a 2D or 3D image") as error:
        read_image(path)
    assert " x ".join(map(str, shape)) in one_sentence(error, path)


PLANE = np.array([[-1.9, 0.9, 30], [-0.6, -2.85, 20], [0, 0, 1]])


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 1, 1)])
def test_an_axial_slice_is_2d(tmp_path, shape):
    volume = np.eye(4)
    volume[np.ix_([0, 1, 3], [0, 1, 3])] = PLANE
    volume[2, 2:] = 3, -70
    array = np.arange(20, dtype=np.float32).reshape(shape)
    image = read_image(save(tmp_path / "a.nii.gz", array, volume))
    np.testing.assert_array_equal(image.array, array.reshape(4, 5))
    np.testing.assert_allclose(image.affine, PLANE, atol=1e-5)


def test_a_slice_that_is_not_axial(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(1).random((4, 5, 1)))  # its axes run P, S
    with pytest.raises(UserError, match="not axial") as error:
        read_image(path)
    one_sentence(error, path)


def test_what_is_written_in_2d_is_read_and_lies_where_simpleitk_has_it(tmp_path):
    array = np.arange(20, dtype=np.uint8).reshape(4, 5)
    write_image(tmp_path / "a.nii.gz", Image(array, np.array([[2.0, 0, 7], [0, 3, -4], [0, 0, 1]])))
    again = read_label(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again.array, array)
    np.testing.assert_allclose(again.affine, [[2, 0, 7], [0, 3, -4], [0, 0, 1]])
    np.testing.assert_allclose(again.spacing, [2, 3])
    theirs = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    assert theirs[3, 1] == array[3, 1]
    np.testing.assert_allclose(theirs.TransformIndexToPhysicalPoint((3, 1)), [-13, 1])  # LPS of 13, -1


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd", ".png", ".tif"])
def test_2d_formats_have_pixels_where_simpleitk_has_them(tmp_path, suffix):
    picture = SimpleITK.GetImageFromArray(np.arange(20, dtype=np.uint8).reshape(5, 4))
    picture.SetSpacing([0.5, 0.25])
    if suffix not in (".png", ".tif"):
        picture.SetOrigin([7, -4])
        picture.SetDirection([0.6, -0.8, 0.8, 0.6])
    SimpleITK.WriteImage(picture, str(tmp_path / f"a{suffix}"))
    theirs, ours = SimpleITK.ReadImage(str(tmp_path / f"a{suffix}")), read_image(tmp_path / f"a{suffix}")
    assert ours.shape == (4, 5)
    for index in [(0, 0), (3, 0), (2, 4)]:
        assert ours.array[index] == theirs[index]
        left, posterior = theirs.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(ours.affine @ [*index, 1], [-left, -posterior, 1], atol=1e-5)


def test_the_top_left_pixel_of_a_picture_is_the_most_anterior_and_the_most_right(tmp_path):
    pixels = np.zeros((5, 4), np.uint8)
    pixels[0, 0] = 200
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels), str(tmp_path / "a.png"))
    picture = read_image(tmp_path / "a.png")
    assert picture.grid.orientation == "LP"
    assert canonical(picture).array[-1, -1] == 200


def test_a_volume_with_one_point_in_time_stays_where_it_is(tmp_path, ramp):
    volume = SimpleITK.GetImageFromArray(ramp[None], isVector=False)
    volume.SetSpacing([0.5, 2, 3, 1])
    volume.SetOrigin([10, 20, 30, 0])
    SimpleITK.WriteImage(volume, str(tmp_path / "a.mha"))
    image = read_image(tmp_path / "a.mha")
    assert image.shape == (6, 5, 4)
    expected = [[-0.5, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.affine, expected)


@pytest.mark.parametrize(("shape", "suffix"), [((4, 4, 4, 3), "mha"), ((4, 5, 3), "png")])
def test_colours(tmp_path, shape, suffix):
    path = tmp_path / f"a.{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros(shape, np.uint8), isVector=True), path)
    with pytest.raises(UserError, match="several values") as error:
        read_image(path)
    one_sentence(error, path)


def test_one_value(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.full((4, 4, 4), 3.5))
    with pytest.raises(UserError, match=r"value 3\.5 in every voxel") as error:
        read_image(path)
    one_sentence(error, path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_numbers(tmp_path, ramp, value):
    ramp[2, 2, 2] = value
    path = save(tmp_path / "a.nii.gz", ramp)
    for read in (read_image, read_label):
        with pytest.raises(UserError, match="NaN or infinite") as error:
            read(path)
        one_sentence(error, path)


def test_label_of_probabilities(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(1).random((4, 4, 4)))
    with pytest.raises(UserError, match="not whole numbers") as error:
        read_label(path)
    one_sentence(error, path)


def test_header_without_usable_geometry(tmp_path, ramp):
    image = nibabel.Nifti1Image(ramp, np.eye(4))
    image.header["srow_x"], image.header["sform_code"] = 0, 1
    nibabel.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[280:296] = bytes(16)  # srow_x
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(UserError, match="geometry") as error:
        read_image(tmp_path / "a.nii")
    one_sentence(error, tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha"])
def test_the_grid_of_no_image(tmp_path, name):
    (tmp_path / name).write_bytes(b"image_id\tsubject_id\n" * 50)
    with pytest.raises(UserError, match="not an image") as error:
        read_grid(tmp_path / name)
    one_sentence(error, tmp_path / name)
    SimpleITK.WriteImage(SimpleITK.Image(4, 5, SimpleITK.sitkUInt8), str(tmp_path / "flat.mha"))
    with pytest.raises(UserError, match="not 3D"):
        read_grid(tmp_path / "flat.mha")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".nii"])
@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5)])
def test_other_formats_that_are_written_are_read(tmp_path, suffix, shape):
    affine = AFFINE if len(shape) == 3 else np.array([[1.2, 0.5, 3], [-0.6, 1.0, 4], [0, 0, 1]])
    label = np.arange(np.prod(shape), dtype=np.int64).reshape(shape) + 2**40
    write_image(tmp_path / f"a{suffix}", Image(label, affine))
    again = read_label(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again.array, label)
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)


@pytest.mark.parametrize("name", ["a.png", "a", "a.NRRD", "a.mhd"])
def test_formats_that_are_not_written(tmp_path, ramp, name):
    with pytest.raises(UserError, match=r"unsupported extension; use \.nii\.gz"):
        write_image(tmp_path / name, Image(ramp, AFFINE))
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(nibabel.spatialimages.HeaderDataError, match="object"):
        write_image(tmp_path / "a.nii.gz", Image(np.zeros((2, 2, 2), object), np.eye(4)))
    assert list(tmp_path.iterdir()) == []


WHOLE = "subtract a constant|beyond the range of single precision|in every voxel"


@pytest.mark.parametrize(
    "values",
    [
        2**30 + np.arange(24, dtype=np.int32),
        2.0**30 + np.linspace(0, 1, 24),
        np.r_[np.zeros(12), 1e9 + np.linspace(0, 10, 12)],
        np.r_[np.zeros(23), 1e300],
        np.linspace(0, 1e-46, 24),
        np.arange(24, dtype=np.uint64) + 2**63,
    ],
    ids=str,
)
@pytest.mark.parametrize("suffix", [".nii", ".mha"])
def test_images_that_single_precision_cannot_hold_are_refused(tmp_path, values, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, Image(values.reshape(2, 3, 4), np.eye(4)))
    with pytest.raises(BadImage, match=WHOLE) as error:
        read_image(path)
    one_sentence(error, path)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(24, dtype=np.int32) * 1000,
        np.linspace(-1e30, 1e30, 24),
        np.linspace(1000, 1001, 24),
        np.r_[np.full(12, 100.0) + 1e-13 * np.arange(12), np.arange(12)],  # rounding is no contrast
        np.arange(24, dtype=np.uint64) * 2**50,
    ],
    ids=str,
)
def test_images_that_it_can_hold_are_read(tmp_path, values):
    write_image(tmp_path / "a.nii", Image(values.reshape(2, 3, 4), np.eye(4)))
    read = read_image(tmp_path / "a.nii").array
    np.testing.assert_array_equal(read, values.reshape(2, 3, 4).astype(np.float32))


@given(
    values=st.lists(st.integers(-(2**53), 2**53), min_size=8, max_size=8)
    | st.lists(st.integers(-(2**63), 2**64 - 1), min_size=8, max_size=8)
    | st.lists(st.integers(0, 2**26), min_size=8, max_size=8),
    kind=st.sampled_from([np.int64, np.uint64, np.int32, np.uint8, np.float32, np.float64]),
    suffix=st.sampled_from([".nii", ".nii.gz", ".mha"]),
)
def test_labels_are_exact_or_refused(tmp_path_factory, values, kind, suffix):
    with np.errstate(all="ignore"):
        array = (
            np.array(values, object).astype(np.float64).astype(kind)
            if kind in (np.float32, np.float64)
            else None
        )
    if array is None:
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        array = np.array([min(max(value, low), high) for value in values], kind)
    path = tmp_path_factory.getbasetemp() / f"label{suffix.replace('.', '-')}{suffix}"
    write_image(path, Image(array.reshape(2, 2, 2), np.eye(4)))
    try:
        label = read_label(path).array
    except BadImage as error:
        assert max(abs(int(value)) for value in array) > 2**53, error
        return
    assert np.issubdtype(label.dtype, np.integer)
    assert [int(value) for value in label.reshape(-1)] == [int(value) for value in array]


@pytest.mark.parametrize(("slope", "inter"), [(2, 0), (1, 100), (0.5, 0), (1e-3, 0)])
def test_scaled_labels(tmp_path, slope, inter):
    header = nibabel.Nifti1Header()
    array = np.array([0, 2, 4, 250] * 2, np.int16).reshape(2, 2, 2)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), header), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[112:120] = np.array([slope, inter], np.float32).tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    expected = array * slope + inter
    if (expected == np.rint(expected)).all():
        np.testing.assert_array_equal(read_label(tmp_path / "a.nii").array, expected)
    else:
        with pytest.raises(BadImage, match="not whole numbers"):
            read_label(tmp_path / "a.nii")


@pytest.mark.parametrize("kind", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_voxels_that_are_no_real_numbers(tmp_path, kind):
    path = save(tmp_path / "a.nii", np.ones((3, 4, 5), kind))
    for read in (read_image, read_label):
        with pytest.raises(BadImage, match="one real number per voxel"):
            read(path)


def test_mgh_cut_short(tmp_path, ramp):
    for name in ("a.mgh", "a.mgz"):
        path = tmp_path / name
        nibabel.save(nibabel.MGHImage(ramp, AFFINE), path)
        np.testing.assert_array_equal(read_image(path).array, ramp)
        np.testing.assert_allclose(read_image(path).affine, AFFINE, atol=1e-4)
        assert read_grid(path).shape == ramp.shape
        whole = path.read_bytes()
        for kept in (0, 3, 100, len(whole) // 2):
            path.write_bytes(whole[:kept])
            with pytest.raises(BadImage):
                read_image(path)


def test_a_fault_of_the_machine_is_no_fault_of_an_image(tmp_path, ramp):
    """No file can be opened any more: whatever reads it, that is not said of the image."""
    names = ["a.nii", "a.nii.gz", "a.mgz"]
    for name in names:
        image = nibabel.MGHImage if name.endswith("mgz") else nibabel.Nifti1Image
        nibabel.save(image(ramp, AFFINE), tmp_path / name)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(number.name) for number in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    held = []
    try:
        with suppress(OSError):
            while len(held) <= most:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for name in names:
            with pytest.raises(OSError) as error:
                read_image(tmp_path / name)
            assert error.value.errno == errno.EMFILE
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
