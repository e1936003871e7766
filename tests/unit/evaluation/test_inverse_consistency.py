"""Inverse consistency error, against maps whose composition is known."""

import pytest
import torch

from cohortreg.evaluation.inverse_consistency import inverse_consistency_error
from cohortreg.maps.grids import identity_map

SHAPE = (5, 9, 7)


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
