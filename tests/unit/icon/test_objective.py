"""The loss against cases worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from typed import build_registration

from cohortreg.icon.objective import (
    StageObjective,
    gradient_inverse_consistency,
    icon_loss,
    inverse_consistency,
    sample_points,
    swap,
    white_noise,
)
from cohortreg.icon.stages import inherit
from cohortreg.icon.steps import HalfResolution
from cohortreg.losses.fields_of_view import unit_bounds
from cohortreg.losses.terms import Batch
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import identity_map

NETWORK = {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]}


class Shift(nn.Module):
    """Registers every pair of the batch by a displacement of its own along the first axis."""

    def __init__(self, *shifts):
        super().__init__()
        self.shifts = torch.tensor(shifts)

    def forward(self, moving, fixed):
        displacement = torch.zeros(len(self.shifts), 2, *moving.shape[2:])
        displacement[:, 0] = self.shifts.reshape(-1, 1, 1)
        return DisplacementField(displacement)


def test_swap_exchanges_the_two_directions():
    assert swap(torch.tensor([1, 2, 3, 4])).tolist() == [3, 4, 1, 2]


def test_opposite_shifts_are_inverse_and_equal_shifts_are_not():
    """Forward 0.1 and back -0.1 lead home; forward 0.1 and back 0.1 miss by 0.2 on one of two axes."""
    points = identity_map((4, 4))
    images = torch.zeros(2, 1, 4, 4)
    home = inverse_consistency(Shift(0.1, -0.1)(images, images), points)
    away = inverse_consistency(Shift(0.1, 0.1)(images, images), points)
    assert home.item() == pytest.approx(0, abs=1e-12)
    assert away.item() == pytest.approx(2 * 0.2**2 / 2)


def test_similarity_sums_both_directions_by_hand():
    """Images 0 and 3 under the identity: each direction's mean squared error is 9."""
    terms = icon_loss(
        Shift(0.0, 0.0), torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 3.0), identity_map((4, 4))
    )
    assert terms.similarity.item() == pytest.approx(18)
    assert terms.inverse_consistency.item() == 0
    assert terms.folds.item() == 0


def test_similarity_counts_where_both_images_were_imaged():
    """Images 0 and 3 whose last rows are padding. The moving image is sampled a row further down at A to B.

    Of 4 rows, the fixed image has the first 3, and of those the moving image has 2: what padding holds changes
    nothing.
    """
    bounds = unit_bounds(torch.tensor([[[0, 0], [3, 4]]]).repeat(2, 1, 1), (4, 4))
    terms = []
    for padding in (0.0, 100.0):
        images_a, images_b = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 3.0)
        images_a[:, :, 3], images_b[:, :, 3] = padding, -padding
        registration = Shift(1 / 3, 0.0)
        counted = icon_loss(registration, images_a, images_b, identity_map((4, 4)), bounds=bounds)
        terms.append(counted.similarity.item())
    assert terms == pytest.approx([18, 18])


@pytest.mark.parametrize(("beyond_grid", "expected"), [(True, 18 + 9), (False, 12 + 9)])
def test_points_beyond_the_grid_count_or_not_by_hand(beyond_grid, expected):
    """A has rows of 0, 0, 0, 6, B of 0. A is sampled a row further down: 0, 0, 6, and beyond the grid 6 again."""
    images_a, images_b = torch.zeros(2, 1, 1, 4, 4)
    images_a[:, :, 3] = 6
    whole = torch.tensor([[[0, 0], [4, 4]]])
    objective = StageObjective(Shift(1 / 3, 0.0), None, 1, beyond_grid=beyond_grid)
    terms = objective(Batch(images_a, images_b, whole, whole, torch.Generator().manual_seed(0)))
    assert terms.similarity.item() == pytest.approx(expected)


def test_swapped_pixels_are_seen_off_the_grid_only():
    """Figure 3: two pixels that swap places are inverse consistent at pixel centres, and nowhere between."""
    displacement = torch.zeros(2, 1, 6)
    displacement[:, 0, 2], displacement[:, 0, 3] = 1 / 5, -1 / 5
    phi = DisplacementField(
        displacement[:, :, :, None].repeat(1, 2, 1, 6) * torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    )
    centres = identity_map((6, 6))
    generator = torch.Generator().manual_seed(0)
    assert inverse_consistency(phi, centres).item() < 1e-12
    assert inverse_consistency(phi, sample_points((6, 6), 1, generator, centres)).item() > 1e-4


def test_points_jitter_by_one_voxel_along_each_axis_and_thin_out_by_the_stride():
    shape = (41, 81)
    generator = torch.Generator().manual_seed(0)
    jitter = sample_points(shape, 1, generator, torch.zeros(1)) - identity_map(shape)
    assert jitter[:, 0].std().item() == pytest.approx(1 / 40, rel=0.05)
    assert jitter[:, 1].std().item() == pytest.approx(1 / 80, rel=0.05)
    thin = sample_points(shape, 4, generator, torch.zeros(1))
    assert thin[0, 0].numel() < 41 * 81 / 12


def test_thin_points_estimate_the_same_expectation():
    generator = torch.Generator().manual_seed(0)
    phi = DisplacementField(0.02 * torch.randn(2, 2, 24, 24, generator=generator))
    shape, like = (24, 24), torch.zeros(1)
    dense, thin = (
        torch.stack(
            [inverse_consistency(phi, sample_points(shape, stride, generator, like)) for _ in range(n)]
        ).mean()
        for stride, n in ((1, 100), (2, 400))
    )
    assert thin.item() == pytest.approx(dense.item(), rel=0.02)


def test_noise_adds_an_h1_penalty_weighted_by_the_jacobian():
    """Eq. 11: for a smooth map and its inverse, the expectation over noise grows by epsilon^2 times the H1 term.

    Phi^AB(x, y) = (x + a sin(2 pi x) / (2 pi), y) has the derivatives 1 + a cos(2 pi x) and 1. Its squares weighted by
    the Jacobian are (1 + a cos)^3 + (1 + a cos), of mean 2 + 3/2 a^2; those of its inverse, weighted by the inverse
    Jacobian, are 1/j^3 + 1/j over y = Phi(x), whose mean over x, where dy = j dx, is that of 1/j^2 + 1. To them Eq. 9
    adds a constant, the dimension 2, for each direction.
    """
    a, size, deviation = 0.5, 257, 2.0
    x = torch.linspace(0, 1, size, dtype=torch.float64)
    y = x + a * torch.sin(2 * math.pi * x) / (2 * math.pi)
    inverse = torch.from_numpy(np.interp(x, y, x))
    displacement = torch.zeros(2, 2, size, size, dtype=torch.float64)
    displacement[0, 0], displacement[1, 0] = (y - x)[:, None], (inverse - x)[:, None]
    phi = DisplacementField(displacement)
    # Away from the border, beyond which displacements are constant, over one period.
    points = identity_map((size, size), dtype=torch.float64)
    points = points * torch.tensor([1.0, 0.5]).reshape(1, 2, 1, 1) + torch.tensor([0, 0.25]).reshape(
        1, 2, 1, 1
    )
    generator = torch.Generator().manual_seed(0)
    quiet = inverse_consistency(phi, points)
    epsilon = deviation / (size - 1)
    growth = []
    for factor in (1, 2):
        noise = [white_noise(points, (size, size), factor * deviation, generator) for _ in range(40)]
        noisy = torch.stack([inverse_consistency(phi, points, sample) for sample in noise]).mean()
        # Losses are means over the two axes; the equation's are sums.
        growth.append(2 * (noisy - quiet).item() / (factor * epsilon) ** 2)
    jacobian = 1 + a * torch.cos(2 * math.pi * x[:-1])
    expected = 2 + 2 + (jacobian**3 + jacobian).mean().item() + (jacobian**-2 + 1).mean().item()
    assert growth[0] == pytest.approx(expected, rel=0.02)
    assert growth[1] == pytest.approx(expected, rel=0.04)


def test_gradient_regularity_by_hand():
    """Phi^AB(x) = x + 0.1 x along the first axis and Phi^BA = Id: e(x) = 0.1 x, whose one derivative squared is 0.01.

    Of the two components of each of the two derivatives, one is not 0: the mean over components is 0.005.
    """
    displacement = torch.zeros(2, 2, 5, 5)
    displacement[0, 0] = 0.1 * torch.linspace(0, 1, 5)[:, None]
    points = 0.2 + 0.6 * identity_map((4, 4))
    value = gradient_inverse_consistency(DisplacementField(displacement), points)
    assert value.item() == pytest.approx(0.005, rel=1e-3)


def test_a_stage_trains_its_own_steps_and_freezes_those_before():
    stages = [{"steps": 2, "downsample": 2}, {"steps": 1, "downsample": 1}]
    registration, before = build_registration(NETWORK, stages, (16, 16))
    for parameter in registration.parameters():
        nn.init.normal_(parameter, std=0.1)
    objective = StageObjective(registration, before, 1).train()
    states = {name: tensor.clone() for name, tensor in before.state_dict().items()}
    images = torch.rand(2, 2, 1, 16, 16)
    whole = torch.tensor([[[0, 0], [16, 16]]]).repeat(2, 1, 1)
    similarity, consistency, _ = objective(Batch(*images, whole, whole, torch.Generator().manual_seed(0)))
    (similarity + consistency).backward()
    for name, tensor in before.state_dict().items():  # batch statistics included
        assert torch.equal(tensor, states[name]), name
    assert all(p.grad is None for p in before.parameters())
    own = [p for name, p in registration.named_parameters() if name.startswith("second.")]
    assert own
    assert all(p.grad.abs().sum() > 0 for p in own)


def test_a_new_registration_is_the_identity():
    registration, _ = build_registration(
        NETWORK, [{"steps": 2, "downsample": 2}, {"steps": 2, "downsample": 1}], (9, 8, 10)
    )
    moving, fixed = torch.rand(2, 1, 1, 9, 8, 10)
    phi = registration.eval()(moving, fixed).on_grid((9, 8, 10))
    torch.testing.assert_close(phi, identity_map((9, 8, 10)), atol=1e-6, rtol=0)


def test_new_steps_inherit_all_but_the_last_layer_and_change_no_map_at_the_start():
    stages = [{"steps": 2, "downsample": 2}, {"steps": 2, "downsample": 1}]
    registration, before = build_registration(NETWORK, stages, (16, 16))
    for parameter in before.parameters():
        nn.init.normal_(parameter, std=0.1)
    learnt = before.second.network.state_dict()
    inherit(registration, before)
    for step in (registration.first.second, registration.second):
        for name, tensor in step.network.state_dict().items():
            expected = torch.zeros_like(tensor) if name.startswith("last.") else learnt[name]
            assert torch.equal(tensor, expected), name
    moving, fixed = torch.rand(2, 1, 1, 16, 16)
    registration.eval()
    alone = build_registration(NETWORK, stages[:1], (16, 16))[0].eval()
    alone.load_state_dict(before.state_dict())
    expected = HalfResolution(alone)(moving, fixed).on_grid((16, 16))
    torch.testing.assert_close(registration(moving, fixed).on_grid((16, 16)), expected, atol=1e-6, rtol=0)
