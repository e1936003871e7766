import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.config import Preprocess
from cohortreg.errors import UserError
from cohortreg.images.io import Image, write_image
from cohortreg.images.preprocess import normalised, preprocess, read_labelled

LAS = np.array(
    [[-2.0, 0, 0, 90], [0, 1, 0, -20], [0, 0, 1, 5], [0, 0, 0, 1]]
)  # a scan whose first axis runs left
STRUCTURES = {"cartilage": [2], "bone": [1, 3]}


def knee() -> tuple[Image, Image]:
    """A noisy image and a label with one voxel of 7 at [1, 2, 3], as RAS (90 - 2, -18, 8)."""
    noise = np.random.default_rng(1).random((8, 10, 12), dtype=np.float32)
    label = np.zeros((8, 10, 12), np.uint8)
    label[1, 2, 3] = 7
    return Image(noise, LAS), Image(label, LAS)


def place(image: Image, value: int) -> np.ndarray:
    """RAS millimetres of the one voxel with a value, homogeneous."""
    (index,) = np.argwhere(image.array == value)
    return image.affine @ [*index, 1]


@pytest.mark.parametrize(("fit", "grid"), [("pad", (12, 12, 9)), ("resample", (4, 5, 6))])
def test_unmirrored_label_stays_where_it_is(fit, grid):
    image, label, record = preprocess(*knee(), "right", Preprocess(grid=list(grid), fit=fit, mirror="left"))
    assert image.shape == grid
    np.testing.assert_allclose(place(label, 7), [88, -18, 8, 1])
    np.testing.assert_array_equal(record["to_source"], np.eye(4))
    assert record["mirrored"] is False
    assert record["source_orientation"] == "LAS"


@pytest.mark.parametrize(("fit", "grid"), [("pad", (12, 12, 9)), ("resample", (4, 5, 6))])
def test_mirrored_label_goes_back_by_the_record(fit, grid):
    # Along left-right the scan covers 75 to 91 mm, so 88 becomes 78, its mirror image in the middle, 83.
    _, label, record = preprocess(*knee(), "left", Preprocess(grid=list(grid), fit=fit, mirror="left"))
    np.testing.assert_allclose(place(label, 7), [78, -18, 8, 1])
    np.testing.assert_allclose(record["to_source"] @ place(label, 7), [88, -18, 8, 1])
    assert record["mirrored"] is True


@pytest.mark.parametrize(
    ("side", "mirror", "mirrored"),
    [
        ("left", "left", True),
        ("right", "left", False),
        ("right", "right", True),
        ("left", "none", False),
        ("", "left", False),
    ],
)
def test_which_side_is_mirrored(side, mirror, mirrored):
    assert preprocess(*knee(), side, Preprocess(grid=[4, 5, 6], mirror=mirror))[2]["mirrored"] is mirrored


def test_percentiles_are_those_of_the_raw_image_and_padding_repeats_its_edge():
    image, label = knee()
    image = Image(image.array + 100, image.affine)
    result, _, record = preprocess(image, label, "", Preprocess(grid=[20, 20, 20], fit="pad"))
    low, high = np.percentile(image.array, [1, 99])
    assert record["percentiles"] == {"1": pytest.approx(low), "99": pytest.approx(high)}
    assert record["offset"] == [6, 5, 4]
    inside = result.array[6:14, 5:15, 4:16]
    np.testing.assert_array_equal(result.array, np.pad(inside, [(6, 6), (5, 5), (4, 4)], mode="edge"))
    np.testing.assert_allclose(inside[::-1], np.clip((image.array - low) / (high - low), 0, 1), atol=1e-5)


def test_labels_keep_their_voxels_or_go_to_the_grid():
    image, label = knee()
    for labels, shape in (("native", (8, 10, 12)), ("grid", (4, 5, 6))):
        result, small, _ = preprocess(image, label, "", Preprocess(grid=[4, 5, 6], labels=labels))
        assert small.shape == shape
        assert small.array.dtype == np.uint8
        edges = np.array([[-0.5] * 3 + [1], [*np.subtract(shape, 0.5), 1]]).T
        ends = np.array([[-0.5] * 3 + [1], [*np.subtract(result.shape, 0.5), 1]]).T
        np.testing.assert_allclose(small.affine @ edges, result.affine @ ends)


def test_image_without_label():
    image, label, _ = preprocess(knee()[0], None, "", Preprocess(grid=[4, 5, 6]))
    assert label is None
    assert image.array.min() >= 0 and image.array.max() <= 1


def test_a_2d_image_is_mirrored_and_padded_by_hand():
    # Three columns to the left and two rows to the back, pixels of 2 x 1 mm.
    picture = Image(
        np.arange(6, dtype=np.float32).reshape(3, 2), np.array([[-2.0, 0, 0], [0, -1, 0], [0, 0, 1]])
    )
    settings = Preprocess(grid=[5, 4], fit="pad", mirror="left", percentiles=(0, 100))
    image, label, record = preprocess(picture, picture, "left", settings)
    expected = np.array([[1, 0], [3, 2], [5, 4]]) / 5
    np.testing.assert_allclose(image.array, np.pad(expected, 1, mode="edge"))
    np.testing.assert_allclose(label.array[1:-1, 1:-1], expected * 5)
    np.testing.assert_allclose(record["affine"], [[2, 0, -6], [0, 1, -2], [0, 0, 1]])
    assert record["field_of_view"] == [[1, 4], [1, 3]]
    assert record["source_orientation"] == "LP"
    # The middle column, at -2 mm, stays; the others change places.
    np.testing.assert_allclose(np.array(record["to_source"]) @ [-4, 0, 1], [0, 0, 1])


def test_an_image_of_other_axes_than_the_grid_is_bad():
    with pytest.raises(UserError, match=r"it has 3 axes, but preprocess.grid .* has 2"):
        preprocess(*knee(), "", Preprocess(grid=[4, 5]))


@pytest.fixture
def files(tmp_path):
    image, _ = knee()
    label = np.random.default_rng(2).integers(0, 4, size=image.shape).astype(np.uint8)
    write_image(tmp_path / "image.nii.gz", image)
    write_image(tmp_path / "label.nii.gz", Image(label, LAS))
    return tmp_path / "image.nii.gz", tmp_path / "label.nii.gz"


def test_label_on_its_image_s_grid_is_read(files):
    image, label = read_labelled(*files, STRUCTURES)
    assert image.shape == label.shape


def test_label_stored_with_flipped_axes_is_the_same_geometry(files):
    flipped = nibabel.as_closest_canonical(nibabel.load(files[1]))
    nibabel.save(flipped, files[1])
    read_labelled(*files, STRUCTURES)


@pytest.mark.parametrize("change", ["shape", "origin", "spacing"])
def test_label_of_other_geometry(files, change):
    _, label = read_labelled(*files, STRUCTURES)
    affine, array = label.affine.copy(), label.array
    if change == "shape":
        array = array[:-1]
    elif change == "origin":
        affine[2, 3] += 2
    else:
        affine[1, 1] *= 1.1
    write_image(files[1], Image(array, affine))
    with pytest.raises(UserError, match="a different geometry") as error:
        read_labelled(*files, STRUCTURES)
    assert str(files[0]) in str(error.value) and str(files[1]) in str(error.value)


def test_label_without_the_structures_asked_for(files):
    _, label = read_labelled(*files, STRUCTURES)
    write_image(files[1], Image(np.where(label.array == 2, 0, label.array), LAS))
    with pytest.raises(UserError, match=r"no voxel of cartilage \(value 2\), only the values \[0, 1, 3\]"):
        read_labelled(*files, STRUCTURES)
    # A structure of several values needs one of them.
    write_image(files[1], Image(np.where(label.array == 3, 0, label.array), LAS))
    read_labelled(*files, STRUCTURES)


def test_settings_digest_follows_the_settings():
    assert Preprocess(grid=[4, 5, 6]).digest == Preprocess(grid=(4, 5, 6), mirror="none").digest
    assert Preprocess(grid=[4, 5, 6]).digest != Preprocess(grid=[4, 5, 6], mirror="left").digest


def test_real_hippocampi_are_padded_with_nothing_lost(hippocampus):
    structures = {"anterior": [1], "posterior": [2]}
    for path in sorted((hippocampus / "imagesTr").glob("hippo*.nii.gz"))[:5]:
        raw, raw_label = read_labelled(path, hippocampus / "labelsTr" / path.name, structures)
        image, label, _ = preprocess(
            raw, raw_label, "", Preprocess(grid=[48, 64, 48], fit="pad", mirror="none")
        )
        assert image.shape == label.shape == (48, 64, 48)
        assert [(label.array == v).sum() for v in (1, 2)] == [(raw_label.array == v).sum() for v in (1, 2)]
        assert 0.2 < image.array[image.array > 0].mean() < 0.8


def test_percentiles_by_hand():
    values = np.arange(1001, dtype=np.float32)
    np.random.default_rng(1).shuffle(values)
    image, (low, high) = normalised(Image(values.reshape(7, 11, 13), np.eye(4)), (1, 99))
    assert (low, high) == (10, 990)
    result = dict(zip(values.tolist(), image.array.ravel().tolist(), strict=True))
    assert result[0] == result[10] == 0
    assert result[990] == result[1000] == 1
    assert result[500] == pytest.approx(0.5)
    assert image.array.dtype == np.float32


@given(st.floats(-1e3, 1e3), st.floats(0.1, 1e4))
@settings(max_examples=30, deadline=None)
def test_result_does_not_depend_on_the_scanner_s_scale(shift, scale):
    values = np.random.default_rng(1).random((6, 6, 6)).astype(np.float32)
    one, _ = normalised(Image(values, np.eye(4)), (1, 99))
    other, _ = normalised(Image((values * scale + shift).astype(np.float32), np.eye(4)), (1, 99))
    np.testing.assert_allclose(other.array, one.array, atol=2e-3)


def test_almost_empty_image():
    values = np.zeros((10, 10, 10), np.float32)
    values[0, 0, 0] = 1
    with pytest.raises(UserError, match="almost every voxel"):
        normalised(Image(values, np.eye(4)), (1, 99))
