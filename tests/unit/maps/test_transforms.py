"""Transforms on disk against SimpleITK, the reference of the convention."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.maps.exchange import Pair, write_field
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.jacobian import determinant
from cohortreg.maps.transforms import (
    Transform,
    apply_affine,
    read_transform,
    to_physical,
    to_unit,
)


def oblique(shape, angle, spacing, origin):
    """A grid with anisotropic voxels, turned about the third axis, its second axis flipped; of two axes or three."""
    dim, c, s = len(shape), np.cos(angle), np.sin(angle)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    affine = np.eye(dim + 1)
    affine[:-1, :-1] = (rotation @ np.diag(spacing) @ np.diag([1, -1, 1]))[:dim, :dim]
    affine[:-1, -1] = origin[:dim]
    return Grid(shape, affine)


FIXED = oblique((9, 11, 13), 0.3, (0.7, 1.3, 2.0), (5, -3, 10))
MOVING = oblique((9, 11, 13), -0.2, (0.8, 1.2, 1.9), (2, 4, 8))


FLAT = tuple(
    oblique((9, 11), angle, spacing, origin)
    for angle, spacing, origin in [(-0.2, (0.8, 1.2, 1), (2, 4, 0)), (0.3, (0.7, 1.3, 1), (5, -3, 0))]
)


def smooth_displacement(shape, amplitude):
    x = identity_map(shape, dtype=torch.float64)
    return amplitude * torch.sin(3 * x + torch.arange(len(shape)).reshape(1, -1, *[1] * len(shape)))


def as_sitk(array, grid):
    image = sitk.GetImageFromArray(array.T)
    matrix = grid.voxel_to_lps
    spacing = np.linalg.norm(matrix[:-1, :-1], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:-1, :-1] / spacing).flatten().tolist())
    image.SetOrigin(matrix[:-1, -1].tolist())
    return image


def test_identity_between_equal_grids_is_zero_millimetres():
    zero = torch.zeros(1, 3, *FIXED.shape)
    assert np.abs(to_physical(zero, FIXED, FIXED).displacement).max() < 1e-5


def test_one_voxel_along_the_first_axis_by_hand():
    grid = Grid((5, 5, 5), np.diag([2.0, 1.0, 1.0, 1.0]))
    displacement = torch.zeros(1, 3, 5, 5, 5)
    displacement[:, 0] = 1 / 4  # one voxel of 2 mm towards R, which is -x in LPS
    transform = to_physical(displacement, grid, grid)
    np.testing.assert_allclose(transform.displacement[0], -2, atol=1e-6)
    np.testing.assert_allclose(transform.displacement[1:], 0, atol=1e-6)


@pytest.mark.parametrize(("moving_grid", "fixed_grid"), [(MOVING, FIXED), FLAT], ids=["3d", "2d"])
def test_a_file_comes_back_as_it_was_and_warps_in_simpleitk_as_in_ours(tmp_path, moving_grid, fixed_grid):
    displacement = smooth_displacement(fixed_grid.shape, 0.05)
    path = tmp_path / "field.nii.gz"
    write_field(path, to_physical(displacement, moving_grid, fixed_grid), Pair(moving_grid, fixed_grid))
    back = read_transform(path)
    phi = to_unit(back, moving_grid)
    torch.testing.assert_close(
        phi, identity_map(fixed_grid.shape, dtype=torch.float64) + displacement, atol=1e-5, rtol=0
    )
    np.testing.assert_allclose(back.grid.affine, fixed_grid.affine, atol=1e-4)

    moving = np.random.default_rng(0).random(moving_grid.shape).astype(np.float32)
    field = sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkVectorFloat64)
    theirs = sitk.Resample(
        as_sitk(moving, moving_grid),
        as_sitk(np.zeros(fixed_grid.shape, np.float32), fixed_grid),
        sitk.DisplacementFieldTransform(field),
        sitk.sitkLinear,
        -1.0,
    )
    theirs = sitk.GetArrayFromImage(theirs).T
    ours = interpolate(torch.from_numpy(moving)[None, None], phi.float())[0, 0].numpy()
    inside = theirs >= 0
    assert inside.mean() > 0.5
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=2e-4)


def test_a_file_that_is_no_field_is_refused_with_its_name(tmp_path):
    path = tmp_path / "field.nii.gz"
    with pytest.raises(UserError, match=r"field\.nii\.gz: no such transform"):
        read_transform(path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"field\.nii\.gz is cut short or damaged"):
        read_transform(path)


def test_vectors_of_more_components_than_the_image_has_axes_are_refused(tmp_path):
    path = tmp_path / "field.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 3), np.float32), isVector=True), str(path))
    with pytest.raises(UserError, match=r"field\.nii\.gz is not a field with one vector per voxel"):
        read_transform(path)


def test_determinant_where_a_map_folds_and_where_it_mirrors():
    """Along one axis of 2 mm, u = -3 x folds (1 - 3 = -2), whatever the grid's axes; a mirror is -1 everywhere."""
    for grid in (FIXED, Grid((9, 11, 13), np.diag([2.0, 1.0, 1.0, 1.0]))):
        centres = apply_affine(
            grid.voxel_to_lps, torch.tensor(np.indices(grid.shape), dtype=torch.float64)[None]
        )
        for matrix, expected in (
            (np.diag([-2.0, 1, 1]), -2),
            (np.diag([-1.0, 1, 1]), -1),
            (np.diag([1.5, 2, 1]), 3),
        ):
            moved = torch.einsum("ij,bj...->bi...", torch.tensor(matrix), centres)
            field = Transform((moved - centres)[0].float().numpy(), grid)
            np.testing.assert_allclose(determinant(field), np.full(grid.shape, expected), atol=2e-4)
