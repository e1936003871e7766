"""Smoothing of momenta and the flow along a velocity, against what can be worked out."""

import math

import pytest
import torch

from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import identity_map
from cohortreg.maps.velocity import MultiGaussian, flow

DEVIATIONS, WEIGHTS = [0.05, 0.1, 0.15, 0.2, 0.25], [1 / 15, 2 / 15, 3 / 15, 4 / 15, 5 / 15]


def test_a_constant_momentum_stays_as_it_is():
    momentum = torch.full((2, 3, 9, 8, 7), 1.5)
    torch.testing.assert_close(MultiGaussian((9, 8, 7), DEVIATIONS, WEIGHTS)(momentum), momentum)


def test_one_point_becomes_a_gaussian():
    """In the middle of 41 x 61 voxels of 1/40 and 1/60, which is far from the border."""
    momentum = torch.zeros(1, 2, 41, 61)
    momentum[..., 20, 30] = 1
    smoothed = MultiGaussian((41, 61), [0.08], [1])(momentum)[0, 0]
    square = (identity_map((41, 61)) - 0.5).square().sum(1)[0]
    gaussian = torch.exp(-square / (2 * 0.08**2)) / (2 * math.pi * 0.08**2) / (40 * 60)
    torch.testing.assert_close(smoothed, gaussian, atol=2e-6, rtol=0)


def test_gaussians_add_up_with_their_weights():
    momentum = torch.randn(1, 2, 12, 10, generator=torch.Generator().manual_seed(0))
    parts = [
        w * MultiGaussian((12, 10), [d], [1])(momentum) for d, w in zip(DEVIATIONS, WEIGHTS, strict=True)
    ]
    torch.testing.assert_close(MultiGaussian((12, 10), DEVIATIONS, WEIGHTS)(momentum), sum(parts))


@pytest.mark.parametrize("grid", [(10, 7), (6, 5, 8)])
def test_the_kernel_is_symmetric_and_positive(grid):
    """So that <m, K m> is an energy."""
    smooth = MultiGaussian(grid, DEVIATIONS, WEIGHTS)
    a, b = torch.randn(2, 1, len(grid), *grid, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((a * smooth(b)).sum(), (smooth(a) * b).sum())
    assert (a * smooth(a)).sum() > 0


def test_a_constant_velocity_shifts():
    velocity = torch.tensor([0.1, -0.05, 0.02]).reshape(1, 3, 1, 1, 1).expand(1, 3, 6, 7, 8)
    torch.testing.assert_close(flow(velocity, 10), velocity)


def test_points_drawn_to_the_centre_come_closer_exponentially():
    """dx/dt = -k (x - c) has x(1) - c = exp(-k) (x(0) - c); linear interpolation of this velocity is exact."""
    centred = identity_map((9, 10)) - 0.5
    expected = (math.exp(-0.7) - 1) * centred
    torch.testing.assert_close(flow(-0.7 * centred, 10), expected, atol=1e-6, rtol=0)


def test_the_flow_of_minus_the_velocity_leads_back():
    momentum = torch.randn(1, 3, 12, 14, 13, generator=torch.Generator().manual_seed(2))
    velocity = MultiGaussian((12, 14, 13), [0.2], [1])(momentum)
    there, back = (DisplacementField(flow(v, 10)) for v in (velocity, -velocity))
    assert there.displacement.abs().max() > 0.05
    inside = 0.3 + 0.4 * torch.rand(1, 3, 500, 1, 1, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(back(there(inside)), inside, atol=5e-3, rtol=0)
