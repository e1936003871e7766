"""The compiled loops, by hand and against SciPy."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import correlate1d, map_coordinates

from cohortreg.losses import kernels

RANDOM = np.random.default_rng(1)


def float32(*shape):
    return RANDOM.random(shape, dtype=np.float32)


def warp(image, displacement, first=(-99, -99, -99), last=(99, 99, 99), placement=None):
    """The warped image, its gradient and the weight where everything was imaged of the fixed image."""
    shape = image.shape
    warped, gradient, weight = np.empty(shape, "f4"), np.empty((3, *shape), "f4"), np.empty(shape, "f4")
    placement = np.eye(3, 4, dtype="f4") if placement is None else placement
    bounds = (np.array(each, "f4") for each in (first, last))
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype("f4")
    kernels.warp(
        image, voxels, displacement, np.ones(shape, "f4"), placement, *bounds, warped, gradient, weight
    )
    return warped, gradient, weight


def test_a_ramp_is_warped_by_hand_with_its_slope_up_to_the_border():
    """z + 2 y + 3 x at half a voxel further along x; beyond the last voxel the border's value, without a slope."""
    z, y, x = np.meshgrid(*[np.arange(size, dtype="f4") for size in (3, 4, 5)], indexing="ij")
    ramp = z + 2 * y + 3 * x
    displacement = np.zeros((3, 3, 4, 5), "f4")
    displacement[2] = 0.5
    warped, gradient, _ = warp(ramp, displacement)
    np.testing.assert_allclose(warped[..., :4], ramp[..., :4] + 1.5, atol=1e-5)
    np.testing.assert_allclose(warped[..., 4], ramp[..., 4], atol=1e-5)
    np.testing.assert_allclose(gradient[0], 1, atol=1e-5)
    np.testing.assert_allclose(gradient[1], 2, atol=1e-5)
    np.testing.assert_allclose(gradient[2, ..., :4], 3, atol=1e-5)
    assert (gradient[2, ..., 4] == 0).all()


def test_images_are_interpolated_as_scipy_does():
    image, displacement = float32(5, 7, 6), 6 * float32(3, 5, 7, 6) - 3
    points = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij")) + displacement
    expected = map_coordinates(image, points, order=1, mode="nearest")
    np.testing.assert_allclose(warp(image, displacement)[0], expected, atol=1e-5)


def test_only_points_within_the_bounds_count_where_the_placement_leads():
    """The last of four planes is beyond; with a placement one voxel further along, the last two."""
    image, still = float32(4, 3, 3), np.zeros((3, 4, 3, 3), "f4")
    further = np.eye(3, 4, dtype="f4")
    further[0, 3] = 1
    for placement, counted in ((None, [1, 1, 1, 0]), (further, [1, 1, 0, 0])):
        weight = warp(image, still, (0, 0, 0), (2, 2, 2), placement)[2]
        np.testing.assert_array_equal(weight[:, 1, 1], counted)


@pytest.mark.parametrize("shape", [(9, 8, 11), (2, 3, 4), (5, 2, 2)])
@pytest.mark.parametrize("taps", [(0.5, 0.2, 0.05), (0.4, 0.2, 0.07, 0.03)])
@pytest.mark.parametrize("squared", [True, False])
def test_a_correlation_is_what_its_windows_say_and_grows_as_its_gradient_does(shape, taps, squared):
    """Windows by SciPy in double precision; two slopes, of which the second is twice the first."""
    warped, fixed, weight, towards = float32(4, *shape)
    floor = 1e-2

    def windowed(values):
        for axis in range(3):
            values = correlate1d(values, [*taps[:0:-1], *taps], axis=axis, mode="constant")
        return values

    mean = windowed(fixed.astype("f8"))
    variance = windowed(fixed.astype("f8") ** 2) - mean**2 + floor

    def expected(image):
        own = windowed(image)
        spread = np.maximum(windowed(image**2) - own**2, 0) + floor
        correlation = (windowed(image * fixed) - own * mean) / np.sqrt(spread * variance)
        return (3 * weight * (1 - (correlation**2 if squared else correlation))).sum()

    slopes = np.ones((2, *shape), "f4") * np.array([1, 2], "f4")[:, None, None, None]
    arguments = (each.astype("f4") for each in (warped, fixed, mean, variance, weight))
    total = kernels.correlation(
        *arguments, np.float32(3), tuple(map(np.float32, taps)), np.float32(floor), squared, slopes
    )
    assert total == pytest.approx(expected(warped.astype("f8")), rel=1e-4)
    step = 1e-4 * towards
    rise = (expected(warped + step) - expected(warped - step)) / 2e-4
    assert (slopes[0] * towards).sum() == pytest.approx(rise, rel=1e-2, abs=1e-2)
    np.testing.assert_array_equal(slopes[1], 2 * slopes[0])


@pytest.mark.parametrize("shape", [(9, 8, 11), (2, 3, 4), (5, 2, 2)])
@pytest.mark.parametrize("taps", [(0.5, 0.2, 0.05), (0.6, 0.2)])
def test_differences_of_self_similarity_are_what_mind_says_and_grow_as_their_gradient_does(shape, taps):
    """MIND by SciPy in double precision, voxel by voxel's neighbours along each axis, on and back."""
    warped, fixed_image, weight, towards = float32(4, *shape)
    least = 2e-2

    def mind(image):
        found = []
        for axis in range(3):
            ends = [(1, 1) if other == axis else (0, 0) for other in range(3)]
            squares = np.pad(np.diff(image, axis=axis) ** 2, ends)
            for other in range(3):
                squares = correlate1d(squares, [*taps[:0:-1], *taps], axis=other, mode="constant")
            found.append(np.moveaxis(squares, axis, 0))
        onward = [np.moveaxis(each[1:], 0, axis) for axis, each in enumerate(found)]
        back = [np.moveaxis(each[:-1], 0, axis) for axis, each in enumerate(found)]
        distances = np.stack(onward + back)
        return np.exp(-distances / np.maximum(distances.mean(0), least))

    fixed = mind(fixed_image.astype("f8"))

    def expected(image):
        return (3 * weight * ((mind(image) - fixed) ** 2).mean(0)).sum()

    depth, height, width = (size + 1 for size in shape)
    planes = np.zeros((depth + 2 * (len(taps) - 1), 3, height, width), "f4")
    room, gradient = np.full((2, depth, 3, height, width), np.nan, "f4"), np.full(shape, np.nan, "f4")
    total = kernels.self_similarity(
        warped, fixed.astype("f4"), weight, np.float32(3), tuple(map(np.float32, taps)), np.float32(least),
        planes, *room, gradient,
    )  # fmt: skip
    assert total == pytest.approx(expected(warped.astype("f8")), rel=1e-4)
    step = 1e-4 * towards.astype("f8")
    rise = (expected(warped + step) - expected(warped - step)) / 2e-4
    assert (gradient * towards).sum() == pytest.approx(rise, rel=1e-2, abs=1e-2)


COMPILED_ANEW = """
import numpy as np
from cohortreg.losses import kernels
random, taps = np.random.default_rng(1), tuple(map(np.float32, (0.5, 0.2, 0.05)))
images = [random.random((9, 8, 11), dtype=np.float32) for _ in range(5)]
slopes, gradient = np.ones((1, 9, 8, 11), np.float32), np.empty((9, 8, 11), np.float32)
kernels.correlation(*images, np.float32(1), taps, np.float32(1e-2), True, slopes)
planes, room = np.zeros((14, 3, 9, 12), np.float32), np.empty((2, 10, 3, 9, 12), np.float32)
fixed = random.random((6, 9, 8, 11), dtype=np.float32)
kernels.self_similarity(
    images[0], fixed, images[1], np.float32(1), taps, np.float32(1e-2), planes, *room, gradient
)
print((slopes.tobytes() + gradient.tobytes()).hex())
"""


def test_the_process_that_compiles_has_the_digits_of_those_that_follow(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", COMPILED_ANEW], env=environment, capture_output=True, check=True
        )
        for _ in range(2)
    )
    assert len(first.stdout) > 1000 and first.stdout == second.stdout


def test_there_and_back_by_hand():
    """There by one voxel along x, back by two: an error of one, to be lowered by less of either."""
    there, back = np.zeros((2, 4, 4, 6, 3), np.float32)
    there[..., 2], back[..., 2] = 1, -2
    by_there, by_back = np.zeros((2, 4, 4, 6, 3), np.float32)
    point = np.array([[1, 2, 3]], np.float32)
    scale = np.array([5, 5, 0.5], np.float32)
    assert kernels.inverse_consistency(point, there, back, scale, by_there, by_back) == pytest.approx(0.5)
    assert by_there[1, 2, 3, 2] == pytest.approx(-1) and by_back[1, 2, 4, 2] == pytest.approx(-1)
    assert np.abs(by_there).sum() == pytest.approx(1) and np.abs(by_back).sum() == pytest.approx(1)
