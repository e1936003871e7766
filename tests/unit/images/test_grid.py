"""Voxels, millimetres and unit coordinates, against cases by hand, SimpleITK and nibabel."""

from dataclasses import FrozenInstanceError

import nibabel
import numpy as np
import pytest
from grids import grids, shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation

from cohortreg.images.grid import Grid, in_lps, ras_to_lps
from cohortreg.images.itk import itk_geometry, to_sitk

fractions = st.lists(st.tuples(*[st.floats(-0.5, 1.5)] * 3), min_size=1, max_size=5)

#: Axes run P, S, L: voxels of 1.5 mm to posterior, 3 mm to superior, 2 mm to the left.
BY_HAND = Grid((2, 3, 4), np.array([[0.0, 0, -2, 30], [-1.5, 0, 0, 20], [0, 3, 0, -10], [0, 0, 0, 1]]))


def some_indices(grid: Grid, parts) -> np.ndarray:
    """Voxel indices [n, dim] within a grid and around it."""
    return np.array(parts)[:, : len(grid.shape)] * grid.shape


def centres(grid: Grid) -> np.ndarray:
    """LPS of every voxel, [*shape, dim]."""
    return grid.points(np.moveaxis(np.indices(grid.shape), 0, -1))


def same(one: Grid, other: Grid) -> bool:
    return one.matches(other, tolerance=1e-6)


def test_by_hand():
    np.testing.assert_array_equal(BY_HAND.spacing, [1.5, 3, 2])
    np.testing.assert_array_equal(BY_HAND.origin, [-30, -20, -10])
    np.testing.assert_array_equal(BY_HAND.direction, [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    assert BY_HAND.voxel_volume == pytest.approx(9)
    assert BY_HAND.orientation == "PSL"
    np.testing.assert_array_equal(BY_HAND.points([1, 2, 3]), [-24, -18.5, -4])
    np.testing.assert_allclose(BY_HAND.indices([[-24, -18.5, -4], [-30, -20, -13]]), [[1, 2, 3], [0, -1, 0]])
    np.testing.assert_array_equal(BY_HAND.unit_to_lps @ [0.5, 0.5, 1, 1], [-24, -19.25, -7, 1])
    np.testing.assert_allclose(BY_HAND.lps_to_unit @ [-24, -19.25, -7, 1], [0.5, 0.5, 1, 1])
    assert str(BY_HAND) == "2 x 3 x 4 voxels of 1.5 x 3 x 2 mm from (30.0, 20.0, -10.0)"


def test_two_dimensions_by_hand():
    """A picture: columns run to the left, rows posterior, so both of LPS's axes."""
    grid = Grid((4, 3), np.array([[-0.5, 0, 10], [0, -2, -4], [0, 0, 1]]))
    assert grid.orientation == "LP"
    np.testing.assert_array_equal(grid.direction, np.eye(2))
    np.testing.assert_array_equal(grid.points([3, 1]), [-8.5, 6])
    assert grid.voxel_volume == pytest.approx(1)
    np.testing.assert_array_equal(
        grid.nifti_affine, [[-0.5, 0, 0, 10], [0, -2, 0, -4], [0, 0, 1, 0], [0, 0, 0, 1]]
    )


@given(grids(), fractions)
@settings(max_examples=60, deadline=None)
def test_simpleitk_has_the_same_points(grid, parts):
    image = to_sitk(np.zeros(grid.shape), grid)
    assert image.GetSize() == grid.shape
    last = [n - 1 for n in grid.shape]
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(last), grid.points(last), atol=1e-9)
    for index in some_indices(grid, parts):
        point = image.TransformContinuousIndexToPhysicalPoint(index.tolist())
        np.testing.assert_allclose(grid.points(index), point, atol=1e-9)
        np.testing.assert_allclose(
            grid.indices(point), image.TransformPhysicalPointToContinuousIndex(point), atol=1e-6
        )
    again = Grid.from_itk(**itk_geometry(image))
    np.testing.assert_allclose(again.affine, grid.affine, atol=1e-9)


@given(grids(), fractions)
@settings(max_examples=60, deadline=None)
def test_nibabel_has_the_same_points_in_ras(grid, parts):
    dim = len(grid.shape)
    image = nibabel.Nifti1Image(np.zeros(grid.shape), grid.nifti_affine)
    np.testing.assert_allclose(grid.spacing, nibabel.affines.voxel_sizes(image.affine)[:dim])
    assert grid.orientation == "".join(nibabel.aff2axcodes(image.affine))[:dim]
    index = some_indices(grid, parts)
    in_space = np.pad(index, [(0, 0), (0, 3 - dim)])
    ras = nibabel.affines.apply_affine(image.affine, in_space)[:, :dim]
    np.testing.assert_allclose(grid.points(index), in_lps(ras), atol=1e-9)
    np.testing.assert_array_equal(Grid.from_nifti(grid.shape, image.affine).affine, grid.affine)


def test_of_itk_with_time_the_three_axes_of_space():
    direction = np.eye(4)
    direction[:2, :2] = [[0, 1], [1, 0]]
    grid = Grid.from_itk((2, 3, 4, 9), (1.5, 2, 3, 100), (5, 6, 7, 8), direction.flatten())
    assert grid.shape == (2, 3, 4)
    np.testing.assert_array_equal(grid.points([1, 0, 0]), [5, 7.5, 7])
    np.testing.assert_array_equal(grid.points([0, 1, 1]), [7, 6, 10])


@given(grids(), fractions)
@settings(max_examples=60, deadline=None)
def test_conversions_there_and_back(grid, parts):
    index = some_indices(grid, parts)
    np.testing.assert_allclose(grid.indices(grid.points(index)), index, atol=1e-6)
    unit = index / (np.array(grid.shape) - 1)
    there = np.column_stack([unit, np.ones(len(unit))]) @ grid.unit_to_lps.T
    np.testing.assert_allclose(there[:, :-1], grid.points(index), atol=1e-9)
    np.testing.assert_allclose((there @ grid.lps_to_unit.T)[:, :-1], unit, atol=1e-6)


def test_corners_and_what_lies_between_them_by_hand():
    np.testing.assert_array_equal(
        Grid((2, 5), np.eye(3)).corners(), [[-0.5, -0.5], [-0.5, 4.5], [1.5, -0.5], [1.5, 4.5]]
    )
    np.testing.assert_array_equal(BY_HAND.corners(0)[[0, -1]], [[0, 0, 0], [1, 2, 3]])
    # The second axis begins at -10 mm and goes up by 3 mm.
    points = [[-30, -20, z] for z in (-11.6, -11.4, -4, -2.6, -2.4)]
    np.testing.assert_array_equal(BY_HAND.contains(np.array(points)), [False, True, True, True, False])


@given(grids(), st.tuples(*[st.integers(-5, 5)] * 3), shapes)
@settings(max_examples=40, deadline=None)
def test_no_voxel_of_a_part_moves(grid, start, shape):
    dim = len(grid.shape)
    part = grid.part(start[:dim], shape[:dim])
    assert part.shape == shape[:dim]
    index = np.moveaxis(np.indices(part.shape), 0, -1)
    np.testing.assert_allclose(centres(part), grid.points(index + start[:dim]), atol=1e-9)
    assert same(part.part(-np.array(start[:dim]), grid.shape), grid)


@given(grids(), shapes)
@settings(max_examples=40, deadline=None)
def test_resampling_keeps_the_field_of_view(grid, shape):
    other = grid.resampled(shape[: len(grid.shape)])
    assert other.shape == shape[: len(grid.shape)]
    np.testing.assert_allclose(other.points(other.corners()), grid.points(grid.corners()), atol=1e-9)
    assert same(other.resampled(grid.shape), grid)


@given(grids())
@settings(max_examples=40, deadline=None)
def test_half_the_resolution_is_blocks_of_two(grid):
    doubled = Grid(tuple(2 * n for n in grid.shape), grid.affine)
    halved = doubled.blocks([2] * len(grid.shape))
    assert same(halved, doubled.resampled(grid.shape))
    first = doubled.points(np.indices([2] * len(grid.shape)).reshape(len(grid.shape), -1).T)
    np.testing.assert_allclose(halved.origin, first.mean(0), atol=1e-9)


def test_blocks_leave_out_what_fills_no_block_by_hand():
    blocks = Grid((5, 4, 3), np.diag([1.0, 2, 3, 1])).blocks((2, 3, 1))
    assert blocks.shape == (2, 1, 3)
    np.testing.assert_array_equal(blocks.spacing, [2, 6, 3])
    np.testing.assert_array_equal(blocks.affine[:3, 3], [0.5, 2, 0])


@given(grids())
@settings(max_examples=40, deadline=None)
def test_canonical_axes_run_right_anterior_superior_over_the_same_voxels(grid):
    canonical = grid.canonical()
    assert canonical.orientation == "RAS"[: len(grid.shape)]
    np.testing.assert_allclose(
        centres(canonical), apply_orientation(centres(grid), grid.axes_along()), atol=1e-9
    )
    assert same(canonical.canonical(), canonical)


@given(grids(), st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3))
@settings(max_examples=40, deadline=None)
def test_axes_along_another_grid_undo_a_permutation_and_flips(reference, order, signs):
    dim = len(reference.shape)
    order = [axis for axis in order if axis < dim]
    turned = reference.turned(np.column_stack([order, signs[:dim]]))
    np.testing.assert_array_equal(np.array(turned.shape)[order], reference.shape)
    assert same(turned.turned(turned.axes_along(reference)), reference)


@given(grids())
@settings(max_examples=40, deadline=None)
def test_the_mirror_swaps_the_ends_of_the_first_axis(grid):
    dim = len(grid.shape)
    flip = ras_to_lps(dim)
    mirrored = (flip @ grid.mirror @ flip @ np.insert(centres(grid).reshape(-1, dim), dim, 1, axis=1).T)[
        :-1
    ].T
    np.testing.assert_allclose(mirrored.reshape(*grid.shape, dim), centres(grid)[::-1], atol=1e-6)
    np.testing.assert_allclose(grid.mirror @ grid.mirror, np.eye(dim + 1), atol=1e-6)


def test_mirror_by_hand():
    # The field of view runs from -1 to 3 mm: its middle, 1 mm, stays, and its edges change places.
    mirror = Grid((2, 2, 2), np.diag([2.0, 1, 1, 1])).mirror
    np.testing.assert_allclose(mirror @ [1, 5, 7, 1], [1, 5, 7, 1])
    np.testing.assert_allclose(mirror @ [-1, 5, 7, 1], [3, 5, 7, 1])


def test_grids_that_match_allow_rounding_and_nothing_more():
    grid = Grid((10, 10, 10), np.eye(4))
    rounded, shifted, turned = grid.affine.copy(), grid.affine.copy(), grid.affine.copy()
    rounded[0, 3] += 0.05
    shifted[0, 3] += 0.5
    turned[0, 1] = 0.03  # 0.27 mm at the far corner
    assert grid.matches(Grid(grid.shape, rounded))
    assert not grid.matches(Grid(grid.shape, shifted))
    assert not grid.matches(Grid(grid.shape, turned))
    assert not grid.matches(Grid((10, 10, 9), grid.affine))
    assert not grid.matches(Grid((10, 10), np.eye(3)))


def test_a_grid_cannot_be_changed():
    affine = np.eye(4)
    grid = Grid([np.int64(2), 3, 4], affine)
    affine[0, 3] = 5
    assert grid.shape == (2, 3, 4) and type(grid.shape[0]) is int
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 5
    with pytest.raises(FrozenInstanceError):
        grid.shape = (1, 1, 1)


def test_left_and_posterior_grow_where_right_and_anterior_fall():
    vectors = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    flipped = in_lps(vectors)
    np.testing.assert_array_equal(flipped, [[-1, -2, 3], [-4, -5, 6]])
    assert flipped.dtype == np.float32
    np.testing.assert_array_equal(in_lps(vectors.T[:2], axis=0), [[-1, -4], [-2, -5]])
    np.testing.assert_array_equal(ras_to_lps(2), np.diag([-1, -1, 1]))
