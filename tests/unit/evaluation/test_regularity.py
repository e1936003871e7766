"""Spread of volume changes, of maps that stretch by known factors; inverse error, of maps of known composition."""

import math

import numpy as np
import pytest
import torch

from cohortreg.evaluation import regularity
from cohortreg.images.grid import Grid
from cohortreg.maps import jacobian
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import Transform, to_physical, to_unit

SHAPE = (9, 5, 6)


def transform(phi: torch.Tensor) -> Transform:
    """A map [1, dim, *grid] in unit coordinates, between images of voxels of a millimetre."""
    grid = Grid(tuple(phi.shape[2:]), np.eye(phi.dim() - 1))
    return to_physical(phi - identity_map(grid.shape, dtype=torch.float64), grid, grid)


def log_jacobian_std(phi: torch.Tensor) -> float:
    found = transform(phi)
    return regularity.log_jacobian_std(regularity.volume_form(found, found.grid))


def inverse_consistency_error(forward: torch.Tensor, inverse: torch.Tensor) -> float:
    return regularity.inverse_consistency_error(transform(forward), transform(inverse))


def along_first(positions) -> torch.Tensor:
    """The map that takes the planes 0 to 8 of the first axis to these voxel positions."""
    phi = identity_map(SHAPE, dtype=torch.float64)
    phi[:, 0] = torch.tensor(positions, dtype=torch.float64).reshape(1, 9, 1, 1) / 8
    return phi


def test_affine_maps_have_no_spread():
    matrix = torch.tensor([[0.9, 0.2, 0.0], [-0.1, 1.3, 0.3], [0.0, 0.1, 0.7]], dtype=torch.float64)
    phi = torch.einsum("ij,bj...->bi...", matrix, identity_map(SHAPE, dtype=torch.float64)) + 0.1
    assert log_jacobian_std(phi) == pytest.approx(0, abs=1e-6)


def test_one_half_stretched_to_twice_its_volume():
    # Four steps of 1 and four of 2: logarithms 0 and ln 2, each ln 2 / 2 from their mean.
    phi = along_first([0, 1, 2, 3, 4, 6, 8, 10, 12])
    assert log_jacobian_std(phi) == pytest.approx(math.log(2) / 2)


def test_folded_and_collapsed_voxels_are_left_out():
    # Steps 1, 1, 1, 4, 4, 4 and beside them -2 and 0: a standard deviation of ln 4 / 2.
    phi = along_first([0, 1, 2, 3, 7, 11, 15, 13, 13])
    assert log_jacobian_std(phi) == pytest.approx(math.log(4) / 2)


def test_where_all_is_folded_there_is_none():
    assert math.isnan(log_jacobian_std(along_first(range(8, -1, -1))))


def test_it_is_that_of_the_map_in_millimetres():
    rng = np.random.default_rng(2)
    fixed, moving = (Grid(SHAPE, np.diag([*spacing, 1.0])) for spacing in ((3, 0.5, 1), (0.7, 2, 1.3)))
    shift = torch.from_numpy(rng.normal(0, 0.015, (1, 3, *SHAPE)))
    found = to_physical(shift, moving, fixed)
    # Jacobian of x + u(x) by differences in millimetres, backwards as the volume form has them.
    columns = []
    field = found.displacement.astype(float) * np.array([-1, -1, 1]).reshape(3, 1, 1, 1)  # LPS to RAS
    for axis in range(3):
        backwards = np.diff(field, axis=axis + 1) / fixed.affine[axis, axis]
        ahead = [slice(None)] + [slice(0 if other == axis else 1, None) for other in range(3)]
        columns.append(backwards[tuple(ahead)] + np.eye(3)[axis].reshape(3, 1, 1, 1))
    determinants = np.linalg.det(np.moveaxis(np.stack(columns, axis=1), (0, 1), (-2, -1)))
    assert (determinants > 0).all()
    expected = np.log(determinants).std()
    assert expected > 0.05
    form = regularity.volume_form(found, moving)
    assert regularity.log_jacobian_std(form) == pytest.approx(expected, rel=1e-4)


def translation(voxels) -> torch.Tensor:
    size = torch.tensor([n - 1.0 for n in SHAPE], dtype=torch.float64)
    shift = torch.tensor(voxels, dtype=torch.float64) / size
    return identity_map(SHAPE, dtype=torch.float64) + shift.reshape(1, 3, 1, 1, 1)


def test_inverse_translations_have_no_error():
    error = inverse_consistency_error(translation((1, -2, 0.5)), translation((-1, 2, -0.5)))
    assert error == pytest.approx(0, abs=1e-6)


def test_error_of_translations_is_the_length_of_their_sum_in_voxels():
    assert inverse_consistency_error(translation((2, 0, 0)), translation((1, 4, 0))) == pytest.approx(5)


def line(function) -> torch.Tensor:
    """A map of 5 x 2 voxels that moves along the first axis only; function of the voxel index."""
    identity = identity_map((5, 2), dtype=torch.float64)
    return torch.cat([function(identity[:, :1] * 4) / 4, identity[:, 1:]], dim=1)


def test_both_directions_count():
    collapse, shift = line(lambda i: 0 * i), line(lambda i: i + 1)
    # shift(collapse(i)) = 1, errors 1 0 1 2 3. collapse(shift(i)) = 0 0 0 0 1, errors 0 1 2 3 3: beyond the last
    # voxel the displacement is that of the border, -4.
    assert inverse_consistency_error(collapse, shift) == pytest.approx((7 / 5 + 9 / 5) / 2)
    assert inverse_consistency_error(shift, collapse) == pytest.approx((7 / 5 + 9 / 5) / 2)


def test_halving_and_staying():
    # Either way a voxel i ends at i / 2: 0, 0.5, 1, 1.5, 2 voxels off.
    assert inverse_consistency_error(line(lambda i: i / 2), line(lambda i: i)) == pytest.approx(1)


def somewhere(shape, rng) -> Grid:
    """A grid with sheared axes; a mirrored one as often as not."""
    affine = np.eye(len(shape) + 1)
    affine[:-1, :-1] += 0.3 * rng.standard_normal((len(shape), len(shape)))
    affine[:-1, 0] *= rng.choice([-1, 1])
    affine[:-1, -1] = rng.standard_normal(len(shape))
    return Grid(tuple(shape), affine)


@pytest.fixture(params=range(8))
def pair(request):
    """Rough maps of both directions between grids of other shapes and places, of two and of three dimensions."""
    rng = np.random.default_rng(request.param)
    shapes = rng.integers(3, 9, (2, 2 + request.param % 2)).tolist()
    fixed, moving = (somewhere(shape, rng) for shape in shapes)
    shifts = (torch.from_numpy(rng.normal(0, 0.2, (1, len(shape), *shape))) for shape in shapes)
    return tuple(
        to_physical(shift, *grids)
        for shift, grids in zip(shifts, ((moving, fixed), (fixed, moving)), strict=True)
    )


def test_the_volume_form_is_that_of_the_map_in_unit_coordinates(pair):
    forward, inverse = pair
    form, of_unit = (
        regularity.volume_form(forward, inverse.grid),
        jacobian.volume_form(to_unit(forward, inverse.grid))[0].numpy(),
    )
    constant = (form / of_unit).mean()
    assert constant > 0
    np.testing.assert_allclose(form, constant * of_unit, rtol=1e-9, atol=1e-9 * np.abs(form).max())


def test_the_error_is_that_of_the_composed_maps_in_unit_coordinates(pair):
    forward, inverse = pair
    maps = to_unit(forward, inverse.grid), to_unit(inverse, forward.grid)
    errors = []
    for first, second in (maps, maps[::-1]):
        start, target = (identity_map(each.shape[2:], dtype=torch.float64) for each in (first, second))
        voxels = torch.tensor(first.shape[2:]).reshape(1, -1, *[1] * (first.dim() - 2)) - 1
        apart = (DisplacementField(second - target)(first) - start) * voxels
        errors.append(apart.square().sum(1).sqrt().mean().item())
    expected = sum(errors) / 2
    # `interpolate` is off by up to a five hundredth of a voxel at the end of an axis.
    assert regularity.inverse_consistency_error(forward, inverse) == pytest.approx(expected, rel=1e-3)
