"""Affine maps as matrices, and fields that are such maps."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from cohortreg.images.grid import Grid, matrix_in_lps
from cohortreg.maps.matrices import from_matrix, matrix_of, matrix_of_field, nearest
from cohortreg.maps.transforms import Transform, field_of

GRID = Grid((9, 8, 7), np.array([[0, -1.5, 0, 700], [2.0, 0, 0, -300], [0, 0, 1.2, 1500], [0, 0, 0, 1]]))
FLAT = Grid((9, 8), np.array([[1.5, 0, 7], [0, -2.0, 3], [0, 0, 1]]))


def affine(seed: int, dim: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    matrix = np.eye(dim + 1)
    matrix[:dim] += random.uniform(-0.3, 0.3, (dim, dim + 1))
    matrix[:dim, dim] *= 100
    return matrix


@given(st.integers(0, 10**6), st.sampled_from([GRID, FLAT]))
def test_the_matrix_of_a_transform_and_of_its_field_is_the_one_it_was_made_of(seed, grid):
    matrix = affine(seed, len(grid.shape))
    transform = from_matrix(matrix)
    np.testing.assert_allclose(matrix_of(transform), matrix, atol=1e-12)
    found = matrix_of_field(field_of(transform, grid))
    corners = grid.points(grid.corners())
    moved = [points @ m[:-1, :-1].T + m[:-1, -1] for m in (found, matrix) for points in [corners]]
    np.testing.assert_allclose(*moved, atol=1e-3)  # a float32 of 1500 mm


def test_linear_transforms_of_every_kind():
    turned = sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6))
    scaled = sitk.ScaleTransform(3, (1.1, 0.9, 1.2))
    both = sitk.CompositeTransform(
        [turned, sitk.CompositeTransform([scaled, sitk.TranslationTransform(3, (7, 8, 9))])]
    )
    point = (10.0, -20.0, 30.0)
    for transform in (turned, scaled, both, sitk.Transform(3, sitk.sitkIdentity)):
        np.testing.assert_allclose(
            from_matrix(matrix_of(transform)).TransformPoint(point),
            transform.TransformPoint(point),
            atol=1e-10,
        )


def test_what_deforms_is_none():
    field = field_of(from_matrix(affine(1)), GRID)
    assert matrix_of(sitk.DisplacementFieldTransform(3)) is None
    for voxel in ((0, 0, 0), (4, 3, 2), (8, 7, 6)):
        bent = field.displacement.copy()
        bent[(1, *voxel)] += 0.01  # millimetres
        assert matrix_of_field(Transform(bent, GRID)) is None


def test_the_identity_is_exact():
    zero = np.zeros((3, *GRID.shape), np.float32)
    np.testing.assert_allclose(matrix_of_field(Transform(zero, GRID)), np.eye(4), atol=1e-12)


def test_the_nearest_affine_map_of_a_field_that_has_noise():
    matrix = affine(2)
    field = field_of(from_matrix(matrix), GRID)
    noise = np.random.default_rng(0).normal(0, 0.1, field.displacement.shape).astype(np.float32)
    assert np.abs(nearest(Transform(field.displacement + noise, GRID))[:3, :3] - matrix[:3, :3]).max() < 0.02


@pytest.mark.parametrize("dim", [2, 3])
def test_ras_and_lps(dim):
    matrix = affine(3, dim)
    np.testing.assert_array_equal(matrix_in_lps(matrix_in_lps(matrix)), matrix)
    point = np.arange(1.0, dim + 1)
    flip = np.array([-1.0, -1.0, 1.0])[:dim]
    there = matrix[:-1, :-1] @ point + matrix[:-1, -1]
    lps = matrix_in_lps(matrix)
    np.testing.assert_allclose(lps[:-1, :-1] @ (flip * point) + lps[:-1, -1], flip * there)
