"""Masks through displacement fields, by their Dice, against cases worked out by hand, MONAI and SimpleITK."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_dice

from cohortreg.evaluation.overlap import dice
from cohortreg.evaluation.sampling import centres, displace, sample
from cohortreg.evaluation.structures import HALF, bounding_box, structure_masks
from cohortreg.images.grid import Grid
from cohortreg.images.io import Image, read_label
from cohortreg.maps.transforms import Transform

CUBE = {"cube": [1]}
LPS = np.array([-1.0, -1.0, 1.0])


def cube(start, shape=(12, 12, 12), affine=None, value=1) -> Image:
    """A cube of 4 x 4 x 4 voxels from `start`."""
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(a, a + 4) for a in start)] = value
    return Image(array, np.eye(4) if affine is None else affine)


def constant(ras, affine=None, shape=(12, 12, 12)) -> Transform:
    """A translation by `ras` millimetres."""
    displacement = np.broadcast_to((LPS * ras).astype(np.float32).reshape(3, 1, 1, 1), (3, *shape)).copy()
    return Transform(displacement, Grid(shape, np.eye(4) if affine is None else affine))


def oblique() -> np.ndarray:
    """Voxels of 0.5 x 1 x 3 mm, turned about two axes, away from the origin."""
    turn = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.5, 0.2, (0, 0, 0)).GetMatrix()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(turn, (3, 3)) @ np.diag([0.5, 1, 3])
    affine[:3, 3] = [20, -31, 7]
    return affine


def structure_dice(moving, fixed, transform, structures) -> dict[str, float]:
    """Dice of every structure."""
    return {name: dice(*masks) for name, *masks in structure_masks(moving, fixed, transform, structures)}


def test_masks_lie_in_the_box_around_both():
    [(name, warped, target)] = structure_masks(cube((3, 3, 3)), cube((1, 3, 4)), constant((0, 0, 0)), CUBE)
    assert name == "cube"
    assert warped.shape == target.shape == (6, 4, 5)
    assert warped[2:, :, :4].all() and warped.sum() == 64
    assert target[:4, :, 1:].all() and target.sum() == 64


def test_a_mask_of_nothing_is_a_voxel():
    [(_, warped, target)] = structure_masks(
        cube((3, 3, 3)), cube((1, 3, 4)), constant((0, 0, 0)), {"no": [9]}
    )
    assert warped.tolist() == target.tolist() == [[[False]]]


def test_half_of_a_shifted_cube_overlaps():
    overlap = structure_dice(cube((3, 3, 3)), cube((5, 3, 3)), constant((0, 0, 0)), CUBE)
    assert overlap["cube"] == pytest.approx(0.5)


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([0.5, 1.0, 3.0, 1.0]), oblique()])
@pytest.mark.parametrize("voxels", [(2, 0, 0), (0, -1, 0), (1, 2, -2)])
def test_the_translation_between_two_cubes_aligns_them(affine, voxels):
    moving, fixed = cube((3, 4, 4), affine=affine), cube(np.subtract((3, 4, 4), voxels), affine=affine)
    ras = affine[:3, :3] @ voxels
    assert structure_dice(moving, fixed, constant(ras, affine), CUBE)["cube"] == 1
    assert structure_dice(moving, fixed, constant(-ras, affine), CUBE)["cube"] <= 0.5


@pytest.mark.parametrize("spacing", [1.0, 0.5])
def test_the_translation_between_two_squares_aligns_them(spacing):
    affine = np.array([[0, -spacing, 3], [2, 0, -7], [0, 0, 1]])
    moving, fixed = cube((3, 4), (12, 10), affine), cube((2, 6), (12, 10), affine)
    displacement = np.empty((2, 12, 10), np.float32)
    displacement[:] = -(affine[:2, :2] @ [1, -2]).reshape(2, 1, 1)  # RAS to LPS
    transform = Transform(displacement, Grid((12, 10), affine))
    assert structure_dice(moving, fixed, transform, CUBE)["cube"] == 1
    assert structure_dice(moving, fixed, Transform(-displacement, transform.grid), CUBE)["cube"] == 0


@pytest.mark.parametrize("affine", [np.eye(4), oblique()])
def test_labels_may_have_twice_the_resolution_of_the_field(affine):
    # Field voxels of two label voxels along every axis; their outer edges, not their centres, meet.
    coarse = affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = (affine @ [0.5, 0.5, 0.5, 1])[:3]
    # The displacement grows along i, so that a wrong place in the field shows: by as many label voxels as the
    # field's voxel centres are from the label's first, 0.5 and 2.5 and so on. Label voxel i is mapped to 2 i.
    amount = (2 * np.arange(6) + 0.5).reshape(1, 6, 1, 1)
    step = (LPS * (affine[:3, :3] @ [1.0, 0, 0])).reshape(3, 1, 1, 1)
    displacement = np.broadcast_to(step * amount, (3, 6, 6, 6)).astype(np.float32)
    transform = Transform(displacement, Grid((6, 6, 6), coarse))
    fixed = cube((2, 4, 4), affine=affine)
    array = np.zeros((12, 12, 12), np.uint8)
    array[4:11:2, 4:8, 4:8] = 1
    assert structure_dice(Image(array, affine), fixed, transform, CUBE)["cube"] == 1


@pytest.mark.parametrize(("shift", "expected"), [(0.49, 1.0), (0.5, 128 / 144), (0.51, 96 / 128)])
def test_half_a_voxel_belongs_to_the_structure(shift, expected):
    # At 0.5 both end planes are half covered: five planes of 16 voxels against four. At 0.51 four planes, one off.
    overlap = structure_dice(cube((3, 3, 3)), cube((3, 3, 3)), constant((shift, 0, 0)), CUBE)
    assert overlap["cube"] == pytest.approx(expected)


@pytest.mark.parametrize(("shift", "planes"), [(0.4, 8), (0.6, 7), (3, 5), (-3, 5), (8, 0)])
def test_outside_the_moving_label_is_background(shift, planes):
    full = Image(np.ones((8, 8, 8), np.uint8), np.eye(4))
    overlap = structure_dice(full, full, constant((shift, 0, 0), shape=(8, 8, 8)), CUBE)
    assert overlap["cube"] == pytest.approx(2 * planes / (planes + 8))


def test_beyond_the_field_the_displacement_is_that_of_its_border():
    fixed, moving = cube((7, 3, 3)), cube((5, 3, 3))
    small = constant((-2, 0, 0), shape=(4, 12, 12))
    assert structure_dice(moving, fixed, small, CUBE)["cube"] == 1


def test_structures_of_several_values_and_absent_ones():
    moving, fixed = cube((3, 3, 3), value=7), cube((3, 3, 3), value=2)
    structures = {"both": [2, 7], "fixed only": [2], "moving only": [7], "neither": [5]}
    overlap = structure_dice(moving, fixed, constant((0, 0, 0)), structures)
    assert math.isnan(overlap.pop("neither"))
    assert overlap == {"both": 1, "fixed only": 0, "moving only": 0}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_agrees_with_monai(seed):
    rng = np.random.default_rng(seed)
    moving, fixed = (rng.integers(0, 3, (5, 6, 7)).astype(np.uint8) for _ in range(2))
    one_hot = [
        torch.from_numpy(np.stack([label == value for value in (1, 2)])[None]) for label in (moving, fixed)
    ]
    expected = compute_dice(*one_hot)[0].tolist()
    images = [Image(label, oblique()) for label in (moving, fixed)]
    overlap = structure_dice(*images, constant((0, 0, 0), oblique(), (5, 6, 7)), {"one": [1], "two": [2]})
    assert list(overlap.values()) == pytest.approx(expected)


@pytest.mark.parametrize("strength", [0.5, 4])
def test_nothing_that_arrives_is_left_out(strength):
    """Dice of a small structure equals that of counting over the whole grid."""
    moving, fixed = cube((4, 5, 2), affine=oblique()), cube((4, 4, 4), affine=oblique())
    displacement = np.random.default_rng(3).normal(0, strength, (3, 12, 12, 12)).astype(np.float32)
    transform = Transform(displacement, Grid((12, 12, 12), oblique()))
    points = displace(centres(Grid((12, 12, 12), oblique())), transform)
    mask = torch.from_numpy(moving.array[None, None].astype(np.float32))
    warped = sample(mask, Grid((12, 12, 12), oblique()), points, "zeros")[0, 0].numpy() >= 0.5
    expected = 2 * (warped & (fixed.array > 0)).sum() / (warped.sum() + 64)
    assert structure_dice(moving, fixed, transform, CUBE)["cube"] == pytest.approx(expected)


def test_agrees_with_simpleitk_on_real_labels(hippocampus):
    paths = sorted((hippocampus / "labelsTr").glob("*.nii.gz"))[:2]
    moving, fixed = (read_label(path) for path in paths)
    # A smooth field on a coarser grid that reaches beyond the fixed label on all sides.
    affine = fixed.affine @ np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] -= 4
    shape = tuple(n // 4 + 4 for n in fixed.shape)
    displacement = np.random.default_rng(1).normal(0, 2, (3, *shape)).astype(np.float32)
    transform = Transform(displacement, Grid(shape, affine))
    field = _itk(displacement.transpose(3, 2, 1, 0), affine, vector=True)
    warp = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    overlap = structure_dice(moving, fixed, transform, {"anterior": [1], "posterior": [2]})
    for value, name in ((1, "anterior"), (2, "posterior")):
        mask = _itk((moving.array == value).astype(np.float32).T, moving.affine)
        target = (fixed.array == value).T
        like = _itk(target.astype(np.float32), fixed.affine)
        warped = sitk.GetArrayFromImage(sitk.Resample(mask, like, warp, sitk.sitkLinear, 0.0)) >= 0.5
        expected = 2 * (warped & target).sum() / (warped.sum() + target.sum())
        assert expected > 0.1
        # ITK is strict about the outer half voxel of the moving label, where no structure lies.
        assert overlap[name] == pytest.approx(expected, abs=2e-3)


def _itk(array: np.ndarray, affine: np.ndarray, vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=vector)
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).flatten().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_structure_interpolated_everywhere(seed):
    """Neither boxes nor blocks leave anything out: specks of noise, on grids apart, under a rough field."""
    rng = np.random.default_rng(seed)
    dim = 2 + seed % 2
    sizes = rng.integers(3, (9, 50)[seed % 4 > 1], (3, dim)).tolist()
    dense = (0.6, 0.99)[seed % 4 > 1]

    def somewhere() -> np.ndarray:
        affine = np.eye(dim + 1)
        affine[:-1, :-1] += 0.3 * rng.standard_normal((dim, dim))
        affine[:-1, -1] = rng.standard_normal(dim)
        return affine

    moving, fixed = (
        Image((rng.random(size) > dense) * rng.integers(1, 3, size), somewhere()) for size in sizes[:2]
    )
    field = rng.standard_normal((dim, *sizes[2])).astype(np.float32)
    transform = Transform(field, Grid(tuple(sizes[2]), somewhere()))
    structures = {"one": [1], "both": [1, 2]}
    arrived = displace(centres(fixed.grid), transform)
    for name, warped, target in structure_masks(moving, fixed, transform, structures):
        values = torch.from_numpy(np.isin(moving.array, structures[name]))[None, None].float()
        expected = (sample(values, moving.grid, arrived, "zeros")[0, 0] >= HALF).numpy()
        box = bounding_box(expected | np.isin(fixed.array, structures[name]))
        np.testing.assert_array_equal(warped, expected[box])
        np.testing.assert_array_equal(target, np.isin(fixed.array, structures[name])[box])


def test_a_map_that_leads_nowhere_warps_nothing():
    """As one of a network can while it is trained."""
    transform = constant((0, 0, 0))
    transform.displacement[:] = np.reshape([np.nan, np.inf, -1e30], (3, 1, 1, 1))
    [(_, warped, target)] = structure_masks(cube((3, 3, 3)), cube((3, 3, 3)), transform, CUBE)
    assert not warped.any() and target.all()
