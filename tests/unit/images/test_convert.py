"""One adapter: the same image from a file, SimpleITK, nibabel and an array, there and back."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from cohortreg.errors import UserError
from cohortreg.images.convert import name_of, to_image
from cohortreg.images.io import Image, read_image, read_label

AFFINE = np.array([[0, -1.5, 0, 7], [2.0, 0, 0, -3], [0, 0, 1.25, 20], [0, 0, 0, 1]])


def test_a_real_image_is_the_same_wherever_it_comes_from(hippocampus):
    for folder, label in (("imagesTr", False), ("labelsTr", True)):
        path = next((hippocampus / folder).glob("*.nii.gz"))
        of_file = (read_label if label else read_image)(path)
        loaded = nibabel.load(path)
        for source in (
            path,
            str(path),
            sitk.ReadImage(str(path)),
            loaded,
            (np.asanyarray(loaded.dataobj), loaded.affine),
            of_file,
            of_file.to_sitk(),
            of_file.to_nibabel(),
        ):
            image = to_image(source, label=label)
            np.testing.assert_array_equal(image.array, of_file.array)
            np.testing.assert_allclose(image.affine, of_file.affine, atol=1e-6)
            assert image.array.dtype == of_file.array.dtype


@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.booleans()] * 3),
    st.sampled_from([np.uint8, np.int16, np.int64, np.float64, ">f4"]),
)
def test_there_and_back_is_the_same_whatever_the_axes_and_the_type(order, flips, dtype):
    affine = AFFINE[:, [*order, 3]] @ np.diag([*(-1.0 if flip else 1.0 for flip in flips), 1])
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    image = to_image((array, affine))
    assert image.array.dtype == np.float32
    for back in (to_image(image.to_sitk()), to_image(image.to_nibabel())):
        np.testing.assert_array_equal(back.array, image.array)
        np.testing.assert_allclose(back.affine, affine, atol=1e-5)


@pytest.mark.parametrize("size", [3, 4])
def test_two_dimensions(size):
    affine = np.diag([2.0, 3.0, *[1.0] * (size - 2)])
    image = to_image((np.arange(20.0).reshape(4, 5), affine))
    np.testing.assert_array_equal(image.affine, np.diag([2.0, 3, 1]))
    assert to_image(image.to_sitk()).shape == (4, 5) and image.to_sitk().GetSpacing() == (2, 3)
    np.testing.assert_array_equal(to_image(image.to_nibabel()).array, image.array)


def test_the_caller_s_array_is_neither_changed_nor_kept():
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    image = to_image((array, AFFINE))
    array[:] = 0
    assert image.array.max() == 59


def test_a_boolean_mask_is_a_label():
    mask = np.zeros((3, 4, 5), bool)
    mask[1] = True
    label = to_image((mask, AFFINE), label=True)
    assert label.array.dtype == np.uint8 and label.array.sum() == 20


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (np.ones((3, 4, 5)), r"the thing is an array without a place in space; give \(array, affine\)"),
        (None, "the thing is of type NoneType; give a path"),
        (42, "is of type int"),
        ([np.ones((3, 4, 5)), AFFINE], "is of type list"),
        ((np.ones((3, 4, 5)), np.eye(3)), "has an affine of 3 x 3; give one of 4 x 4"),
        ((np.ones((3, 4, 5)), 2.0), "has an affine of one number"),
        (("a.nii.gz", "b.nii.gz"), "is no array of numbers with a matrix"),
        ((np.arange(60.0).reshape(3, 4, 5), np.zeros((4, 4))), "has no usable geometry"),
        (
            (np.arange(60.0).reshape(3, 4, 5), AFFINE + np.array([[0, 1, 0, 0]] * 3 + [[0] * 4])),
            "not perpendicular",
        ),
        ((np.full((3, 4, 5), np.nan), AFFINE), "the thing has NaN or infinite values"),
        ((np.ones((3, 4, 5)), AFFINE), "the thing has the value 1 in every voxel"),
        ((np.ones((3, 4, 5), complex), AFFINE), "voxels of type complex128"),
        ((np.ones((3, 4, 5, 6)), AFFINE), "has 3 x 4 x 5 x 6 voxels; give a 2D or 3D image"),
        (sitk.Image([3, 4, 5], sitk.sitkLabelUInt8), "the thing is a LabelMap of SimpleITK; give an image"),
        (sitk.Image([3, 4, 5], sitk.sitkVectorFloat32), "the thing has several values per voxel"),
        (nibabel.Nifti1Image(np.ones((3, 4, 5, 2)), AFFINE), "has 3 x 4 x 5 x 2 voxels"),
        ("nothing.nii.gz", "nothing.nii.gz: no such file"),
        ("", "the thing has an empty path"),
        (
            (np.ma.masked_greater(np.arange(60.0).reshape(3, 4, 5), 9), AFFINE),
            "the thing has masked voxels, whose values are undefined",
        ),
        ((np.arange(60.0).reshape(3, 4, 5), AFFINE * 2), "has no usable geometry"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_image_is_one_sentence(source, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        to_image(source, "the thing")
    assert "\n" not in str(refused.value)


def test_probabilities_are_no_label():
    with pytest.raises(UserError, match="not probabilities"):
        to_image((np.linspace(0, 1, 60).reshape(3, 4, 5), AFFINE), label=True)


def test_names():
    assert name_of("somewhere/a.b.nii.gz", "x") == "a"
    assert name_of(Image(np.ones((2, 2)), np.eye(3)), "moving") == "moving"


def test_an_image_is_written_and_shown_in_words(tmp_path):
    image = to_image((np.arange(60.0).reshape(3, 4, 5), AFFINE))
    assert repr(image) == "Image(3 x 4 x 5 voxels of 2 x 1.5 x 1.25 mm from (7.0, -3.0, 20.0), float32)"
    for name in ("a.nii.gz", "a.mha"):
        image.save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name).array, image.array)
    with pytest.raises(UserError, match="unsupported extension"):
        image.save(tmp_path / "a.png")
