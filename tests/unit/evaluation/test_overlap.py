"""Dice and the 95 % Hausdorff distance of masks, worked out by hand."""

import math
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import binary_closing, binary_erosion

from cohortreg.evaluation import overlap
from cohortreg.evaluation.overlap import dice, hausdorff95, mean_of_structures

SHAPE = (14, 15, 16)
NOTHING = np.zeros(SHAPE, dtype=bool)


def cuboid(start, size=(4, 4, 4)) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
    return mask


def test_dice():
    assert dice(cuboid((3, 3, 3)), cuboid((4, 3, 3))) == 0.75
    assert dice(cuboid((3, 3, 3)), cuboid((3, 3, 3), (4, 4, 2))) == pytest.approx(2 / 3)
    assert dice(cuboid((3, 3, 3)), NOTHING) == dice(NOTHING, cuboid((3, 3, 3))) == 0
    assert math.isnan(dice(NOTHING, NOTHING))


@pytest.mark.parametrize(("axis", "expected"), [(0, 6.0), (1, 1.0), (2, 3.0)])
def test_a_shifted_cube_is_as_far_as_it_was_shifted(axis, expected):
    # Two voxels of 3 x 0.5 x 1.5 mm. Of the 56 voxels on a cube's surface the 16 of one end are that far.
    start = [3, 3, 3]
    start[axis] += 2
    assert hausdorff95(cuboid((3, 3, 3)), cuboid(start), (3, 0.5, 1.5)) == pytest.approx(expected)


def test_a_shifted_square_is_as_far_as_it_was_shifted():
    square, shifted = np.zeros((12, 12), dtype=bool), np.zeros((12, 12), dtype=bool)
    square[3:7, 3:7], shifted[3:7, 5:9] = True, True
    assert dice(square, shifted) == 0.5
    # Of the 12 pixels around a square the 4 of one end are two pixels of 0.5 mm away.
    assert hausdorff95(square, shifted, (3, 0.5)) == pytest.approx(1)


def test_both_directions_count():
    # A voxel and a rod of eleven that begins there: no distance one way, 0 to 10 voxels of 2 mm the other.
    voxel, rod = cuboid((0, 0, 0), (1, 1, 1)), cuboid((0, 0, 0), (1, 1, 11))
    assert hausdorff95(voxel, rod, (1, 1, 2)) == hausdorff95(rod, voxel, (1, 1, 2)) == pytest.approx(19)


def test_one_voxel_in_a_hundred_does_not_count():
    plate, outlier = cuboid((0, 0, 0), (14, 10, 1)), cuboid((0, 0, 15), (1, 1, 1))
    assert hausdorff95(plate | outlier, plate, (1, 1, 1)) == 0


def test_a_mask_that_touches_the_border_has_a_surface_there():
    # A voxel everywhere; at edges of the block the nearest is a diagonal away.
    distance = hausdorff95(~NOTHING, cuboid((1, 1, 1), (12, 13, 14)), (1, 1, 1))
    assert 1 <= distance <= math.sqrt(2)


def test_without_one_of_the_masks_there_is_no_distance():
    assert math.isnan(hausdorff95(cuboid((3, 3, 3)), NOTHING, (1, 1, 1)))
    assert math.isnan(hausdorff95(NOTHING, NOTHING, (1, 1, 1)))


def test_agrees_with_distance_maps_of_simpleitk():
    rng = np.random.default_rng(5)
    spacing = (0.7, 0.36, 1.1)
    first, second = (cuboid((2, 3, 2), (8, 9, 10)) & (rng.random(SHAPE) > 0.3) for _ in range(2))
    images = []
    for mask in (first, second):
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing(spacing[::-1])
        images.append(image)
    surfaces = [
        sitk.GetArrayFromImage(sitk.BinaryContour(image, fullyConnected=False)) > 0 for image in images
    ]
    directed = []
    for here, there in ((0, 1), (1, 0)):
        contour = sitk.BinaryContour(images[there], fullyConnected=False)
        distances = sitk.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)
        directed.append(np.quantile(np.abs(sitk.GetArrayFromImage(distances))[surfaces[here]], 0.95))
    assert hausdorff95(first, second, spacing) == pytest.approx(max(directed), rel=1e-5)


def test_nothing_is_said_on_the_way():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hausdorff95(cuboid((3, 3, 3)), cuboid((4, 3, 3)), (1, 1, 1))


def test_mean_leaves_out_structures_without_a_value():
    assert mean_of_structures({"a": 0.5, "b": 1.0, "c": math.nan}) == 0.75
    assert math.isnan(mean_of_structures({"a": math.nan}))
    assert math.isnan(mean_of_structures({}))


@pytest.mark.parametrize("around", [1, 2, overlap.AROUND])
@pytest.mark.parametrize("shape", [(6, 7, 5), (9, 8), (1, 9, 9)])
def test_it_is_the_percentile_of_all_distances_between_two_surfaces(shape, around, monkeypatch):
    """However many of them are found around a voxel, and how many by the tree."""
    monkeypatch.setattr(overlap, "AROUND", around)
    rng = np.random.default_rng(len(shape))
    spacing = rng.uniform(0.3, 2, len(shape))
    masks = [binary_closing(np.pad(rng.random(shape) > limit, 1)) for limit in (0.6, 0.9)]
    surfaces = [np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in masks]
    apart = np.linalg.norm(surfaces[0][:, None] - surfaces[1], axis=-1)
    expected = max(np.percentile(apart.min(axis), 95) for axis in (0, 1))
    assert hausdorff95(*masks, spacing) == pytest.approx(expected, rel=1e-6)
    assert hausdorff95(*map(np.asfortranarray, masks), spacing) == pytest.approx(expected, rel=1e-6)


def test_it_ends_where_the_least_numbers_are_turned_off():
    """As `use_processor` does; SciPy's tree then used up the stack beside coordinates of zero."""
    first, second = np.zeros((2, 30, 30, 30), dtype=bool)
    first[0], first[:, 0], second[0] = True, True, True
    torch.set_flush_denormal(True)
    try:
        assert hausdorff95(first, second, (0.7, 0.36, 0.36)) > 0
    finally:
        torch.set_flush_denormal(False)
