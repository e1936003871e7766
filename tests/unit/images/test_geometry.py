import numpy as np
import pytest
from grids import grids, shapes
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.images import geometry
from cohortreg.images.io import Image


@st.composite
def images(draw):
    """An image of distinct values on any grid."""
    grid = draw(grids())
    return Image(np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape), grid.affine)


def places(image: Image) -> dict[float, np.ndarray]:
    """Value of each voxel to its place in space."""
    index = np.stack([*np.indices(image.shape).reshape(image.array.ndim, -1), np.ones(image.array.size)])
    return dict(zip(image.array.ravel().tolist(), (image.affine @ index).T, strict=True))


@given(images())
@settings(max_examples=40, deadline=None)
def test_canonical_moves_no_voxel_in_space(image):
    before, after = places(image), places(geometry.canonical(image))
    assert before.keys() == after.keys()
    for value, place in before.items():
        np.testing.assert_allclose(after[value], place, atol=1e-6)


@given(images())
@settings(max_examples=40, deadline=None)
def test_canonical_is_ras_and_stays(image):
    once = geometry.canonical(image)
    assert once.grid.orientation == "RAS"[: image.array.ndim]
    twice = geometry.canonical(once)
    np.testing.assert_array_equal(once.array, twice.array)
    np.testing.assert_allclose(once.affine, twice.affine)


@given(images())
@settings(max_examples=40, deadline=None)
def test_canonical_grid_is_that_of_the_canonical_image(image):
    grid, once = image.grid.canonical(), geometry.canonical(image)
    assert grid.shape == once.shape
    np.testing.assert_array_equal(grid.affine, once.affine)


def test_canonical_by_hand():
    # Axes run P, S, L: the voxel [0, 0, 0] lies at the front, bottom, right.
    affine = np.array([[0.0, 0, -2, 30], [-1.5, 0, 0, 20], [0, 3, 0, -10], [0, 0, 0, 1]])
    image = Image(np.arange(24.0, dtype=np.float32).reshape(2, 3, 4), affine)
    assert image.grid.orientation == "PSL"
    result = geometry.canonical(image)
    assert result.shape == (4, 2, 3)
    assert result.array[3, 1, 0] == image.array[0, 0, 0]
    expected = [[2, 0, 0, 24], [0, 1.5, 0, 18.5], [0, 0, 3, -10], [0, 0, 0, 1]]
    np.testing.assert_allclose(result.affine, expected)


@given(images())
@settings(max_examples=20, deadline=None)
def test_the_mirror_takes_each_voxel_back(image):
    image = geometry.canonical(image)
    mirrored = geometry.mirrored(image)
    back = image.grid.mirror
    before = places(image)
    for value, place in places(mirrored).items():
        np.testing.assert_allclose(back @ place, before[value], atol=1e-6)


def test_mirror_by_hand():
    image = Image(np.arange(8.0).reshape(2, 2, 2), np.diag([2.0, 1, 1, 1]))
    mirrored = geometry.mirrored(image)
    assert mirrored.array[0, 1, 0] == image.array[1, 1, 0]
    np.testing.assert_array_equal(mirrored.affine, image.affine)


def field_of_view(image: Image) -> np.ndarray:
    """The two opposite outer corners, in millimetres."""
    corners = np.array([[-0.5] * image.array.ndim + [1], [n - 0.5 for n in image.shape] + [1]])
    return (image.affine @ corners.T)[:-1]


@given(images(), shapes, st.booleans())
@settings(max_examples=40, deadline=None)
def test_resampling_keeps_the_field_of_view(image, shape, nearest):
    shape = shape[: image.array.ndim]
    result = geometry.resampled(image, shape, nearest)
    assert result.shape == shape
    assert result.array.dtype == image.array.dtype
    np.testing.assert_allclose(field_of_view(result), field_of_view(image), atol=1e-6)
    assert image.array.min() <= result.array.min() and result.array.max() <= image.array.max()


def test_resampling_a_ramp_gives_the_ramp_at_the_new_places():
    grid = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in (40, 32, 36)], indexing="ij")
    image = Image(grid[0] + 2 * grid[1] - 3 * grid[2], np.diag([0.7, 0.4, 0.4, 1]))
    for shape in ((20, 16, 12), (50, 40, 36)):
        result = geometry.resampled(image, shape)
        inside = tuple(slice(n // 5, -n // 5) for n in shape)  # the blur feels the edge
        index = np.stack([*np.indices(shape).reshape(3, -1), np.ones(np.prod(shape))])
        old = (np.linalg.inv(image.affine) @ result.affine @ index)[:3].reshape(3, *shape)
        expected = old[0] + 2 * old[1] - 3 * old[2]
        np.testing.assert_allclose(result.array[inside], expected[inside], atol=1e-3)


def test_resampling_to_fewer_voxels_does_not_alias():
    stripes = np.zeros((64, 8, 8), np.float32)
    stripes[::2] = 1
    result = geometry.resampled(Image(stripes, np.eye(4)), (20, 8, 8))
    assert np.abs(result.array[3:-3] - 0.5).max() < 0.06


def test_halving_a_label_by_nearest_neighbour_has_no_new_values():
    label = Image(np.random.default_rng(1).choice([0, 3, 7], size=(12, 10, 8)).astype(np.uint8), np.eye(4))
    result = geometry.resampled(label, (6, 5, 4), nearest=True)
    assert result.array.dtype == np.uint8
    assert set(np.unique(result.array)) == {0, 3, 7}


@given(images(), shapes)
@settings(max_examples=40, deadline=None)
def test_padding_moves_no_voxel_in_space(image, shape):
    shape = shape[: image.array.ndim]
    image = Image(image.array + 1, image.affine)  # 0 is padding
    before, result = places(image), geometry.padded(image, shape)
    assert result.shape == shape
    kept = {value: place for value, place in places(result).items() if value > 0}
    assert len(kept) == np.prod(np.minimum(image.shape, shape))
    for value, place in kept.items():
        np.testing.assert_allclose(place, before[value], atol=1e-6)


@given(images(), st.tuples(*[st.integers(0, 7)] * 3))
@settings(max_examples=40, deadline=None)
def test_cropping_undoes_padding(image, more):
    larger = geometry.padded(image, tuple(np.add(image.shape, more[: image.array.ndim]).tolist()))
    again = geometry.padded(larger, image.shape)
    np.testing.assert_array_equal(again.array, image.array)
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-9)


@pytest.mark.parametrize(("old", "new", "offset"), [(4, 8, 2), (5, 8, 1), (8, 5, -1), (8, 4, -2), (6, 6, 0)])
def test_pad_offset(old, new, offset):
    assert geometry.pad_offset((old,) * 3, (new,) * 3) == (offset,) * 3


def test_block_means_leave_out_what_fills_no_block():
    array = np.arange(10.0).reshape(2, 5)
    np.testing.assert_array_equal(
        geometry.block_means(array, (2, 2)), [[(0 + 1 + 5 + 6) / 4, (2 + 3 + 7 + 8) / 4]]
    )
    np.testing.assert_array_equal(geometry.block_means(array, (1, 1)), array)


def test_a_label_tilted_by_45_degrees_follows_its_image_whatever_the_rounding():
    half, random = np.sqrt(0.5), np.random.default_rng(1)
    affine = np.array([[half, -half, 0, -10], [half, half, 0, -12], [0, 0, 1.2, -8], [0, 0, 0, 1]])
    array, flip = random.random((4, 5, 6)), np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 3
    reference = geometry.canonical(Image(array, affine))
    for _ in range(20):
        other = affine.copy()
        other[:3] += random.normal(size=(3, 4)) * 1e-7
        for label in (Image(array, other), Image(array[::-1], other @ flip)):
            turned = geometry.aligned(label, reference)
            assert turned.grid.matches(reference.grid)
            np.testing.assert_array_equal(turned.array, reference.array)
