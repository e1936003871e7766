"""What was imaged of an image, and fields known only there."""

import numpy as np

from cohortreg.images.grid import Grid
from cohortreg.images.io import Image
from cohortreg.maps.imaged import continued, imaged
from cohortreg.maps.transforms import Transform

AFFINE = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, 20], [0, 0, 3.0, 30], [0, 0, 0, 1]])


def test_the_imaged_box_stays_where_it_was_by_hand():
    array = np.arange(6 * 5 * 4, dtype=np.float32).reshape(6, 5, 4)
    part = imaged(Image(array, np.eye(4), [[1, 5], [0, 5], [2, 4]]), AFFINE)
    assert part.shape == (4, 5, 2)
    assert part.array[0, 0, 0] == array[1, 0, 2]
    # Voxel (1, 0, 2) of the whole.
    np.testing.assert_allclose(part.affine[:3, 3], [10, 21.5, 36])
    np.testing.assert_allclose(part.affine[:3, :3], AFFINE[:3, :3])


def test_a_2d_box_and_its_field_by_hand():
    affine = np.array([[0, -2.0, 10], [1.5, 0, 20], [0, 0, 1]])
    part = imaged(Image(np.arange(30, dtype=np.float32).reshape(6, 5), np.eye(3), [[1, 5], [0, 5]]), affine)
    assert part.shape == (4, 5)
    np.testing.assert_allclose(part.affine[:2, 2], [10, 21.5])
    values = np.random.default_rng(0).random((2, 4, 5), np.float32)
    whole = continued(Transform(values, part.grid), Grid((6, 5), affine))
    np.testing.assert_array_equal(whole.displacement, np.pad(values, [(0, 0), (1, 1), (0, 0)], mode="edge"))


def test_an_image_without_a_margin_is_whole():
    image = Image(np.zeros((3, 4, 5), np.float32), np.eye(4))
    part = imaged(image, AFFINE)
    assert part.shape == image.shape
    np.testing.assert_array_equal(part.affine, AFFINE)


def test_a_field_goes_on_as_it_is_at_the_border():
    part = imaged(Image(np.zeros((6, 5, 4), np.float32), np.eye(4), [[1, 5], [0, 5], [2, 4]]), AFFINE)
    values = np.random.default_rng(0).random((3, *part.shape), np.float32)
    whole = continued(Transform(values, part.grid), Grid((6, 5, 4), AFFINE))
    assert whole.displacement.shape == (3, 6, 5, 4)
    np.testing.assert_array_equal(whole.displacement[:, 1:5, :, 2:4], values)
    np.testing.assert_array_equal(whole.displacement[:, 0, :, 0], values[:, 0, :, 0])
    np.testing.assert_array_equal(whole.displacement[:, 5, :, 1], values[:, 3, :, 0])
