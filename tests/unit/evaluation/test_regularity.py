"""Spread of volume changes, of maps that stretch by known factors; inverse error, of maps of known composition."""

import math

import numpy as np
import pytest
import torch

from cohortreg.evaluation.regularity import inverse_consistency_error, log_jacobian_std
from cohortreg.images.grid import Grid
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import to_physical, to_unit

SHAPE = (9, 5, 6)


def along_first(positions) -> torch.Tensor:
    """The map that takes the planes 0 to 8 of the first axis to these voxel positions."""
    phi = identity_map(SHAPE, dtype=torch.float64)
    phi[:, 0] = torch.tensor(positions, dtype=torch.float64).reshape(1, 9, 1, 1) / 8
    return phi


def test_affine_maps_have_no_spread():
    matrix = torch.tensor([[0.9, 0.2, 0.0], [-0.1, 1.3, 0.3], [0.0, 0.1, 0.7]], dtype=torch.float64)
    phi = torch.einsum("ij,bj...->bi...", matrix, identity_map(SHAPE, dtype=torch.float64)) + 0.1
    assert log_jacobian_std(phi) == pytest.approx(0, abs=1e-12)


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
    transform = to_physical(shift, moving, fixed)
    # Jacobian of x + u(x) by differences in millimetres, backwards as the volume form has them.
    columns = []
    field = transform.displacement.astype(float) * np.array([-1, -1, 1]).reshape(3, 1, 1, 1)  # LPS to RAS
    for axis in range(3):
        backwards = np.diff(field, axis=axis + 1) / fixed.affine[axis, axis]
        ahead = [slice(None)] + [slice(0 if other == axis else 1, None) for other in range(3)]
        columns.append(backwards[tuple(ahead)] + np.eye(3)[axis].reshape(3, 1, 1, 1))
    determinants = np.linalg.det(np.moveaxis(np.stack(columns, axis=1), (0, 1), (-2, -1)))
    assert (determinants > 0).all()
    expected = np.log(determinants).std()
    assert expected > 0.05
    assert log_jacobian_std(to_unit(transform, moving)) == pytest.approx(expected, rel=1e-4)


def translation(voxels) -> torch.Tensor:
    size = torch.tensor([n - 1.0 for n in SHAPE], dtype=torch.float64)
    shift = torch.tensor(voxels, dtype=torch.float64) / size
    return identity_map(SHAPE, dtype=torch.float64) + shift.reshape(1, 3, 1, 1, 1)


def test_inverse_translations_have_no_error():
    error = inverse_consistency_error(translation((1, -2, 0.5)), translation((-1, 2, -0.5)))
    assert error == pytest.approx(0, abs=1e-12)


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
