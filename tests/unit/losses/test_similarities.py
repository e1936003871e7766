"""Similarities: where they are lowest, what they do not see, and cases by hand."""

import math

import pytest
import torch

from cohortreg.config import SIMILARITIES
from cohortreg.losses.similarities import (
    CorrelationWithOne,
    LocalCrossCorrelation,
    Sum,
    TermByTerm,
    make_similarity,
    multi_kernel_correlation,
    normalised_cross_correlation,
    similarity_to,
)

NAMES = sorted(SIMILARITIES)


def images(seed=0):
    return torch.rand(2, 2, 1, 12, 14, 10, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_most_similar_to_itself(name):
    image, other = images()
    weight = torch.ones_like(image)
    similarity = make_similarity(name, 2.0)
    assert similarity(image, image, weight) < similarity(image, other, weight)


@pytest.mark.parametrize("name", ["ncc", "lncc", "squared_lncc"])
def test_correlations_do_not_see_brightness_and_contrast(name):
    """Away from the grid's end, beyond which the window of lncc counts zeros."""
    image, _ = images()
    weight = torch.zeros_like(image)
    weight[:, :, 5:7, 5:9, 5] = 1
    value = make_similarity(name, 1.0)(image, 0.2 + 0.5 * image, weight)
    assert value.item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", ["mse", "ncc", "mi"])
def test_voxels_without_weight_change_nothing(name):
    image, other = images()
    weight = torch.zeros_like(image)
    weight[:, :, 2:9] = 1
    similarity = make_similarity(name, 2.0)
    before = similarity(image, other, weight)
    changed = torch.where(weight > 0, other, 0.3)
    torch.testing.assert_close(similarity(image, changed, weight), before)


def test_correlation_by_hand():
    """0, 1, 2 against 0, 0, 1: covariance 1/3, variances 2/3 and 2/9, correlation sqrt(3)/2."""
    warped, fixed = torch.tensor([0.0, 1, 2]).reshape(1, 1, 3), torch.tensor([0.0, 0, 1]).reshape(1, 1, 3)
    value = normalised_cross_correlation(warped, fixed, torch.ones_like(warped))
    assert value.item() == pytest.approx(1 - math.sqrt(3) / 2, abs=1e-6)


def test_every_pair_of_the_batch_weighs_the_same():
    """Errors of 1 in the one voxel that counts of the first pair, of 0 in the four of the second."""
    warped, fixed = torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    fixed[0] = 0
    weight = torch.ones(2, 1, 2, 2)
    weight[0, 0].flatten()[1:] = 0
    assert make_similarity("mse", 1)(warped, fixed, weight).item() == pytest.approx(0.5)


def test_local_correlation_is_computed_in_single_precision_under_autocast():
    image, other = images()
    weight = torch.ones_like(image)
    expected = LocalCrossCorrelation(2.0)(image, other, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = LocalCrossCorrelation(2.0)(image, other, weight)
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_where_images_are_flat_and_nothing_counts(name):
    warped = torch.full((1, 1, 6, 6, 6), 0.5, requires_grad=True)
    for weight in (torch.ones(1, 1, 6, 6, 6), torch.zeros(1, 1, 6, 6, 6)):
        value = make_similarity(name, 2.0)(warped, torch.full_like(warped, 0.5).detach(), weight)
        (gradient,) = torch.autograd.grad(value, warped)
        assert torch.isfinite(value) and torch.isfinite(gradient).all()


def test_a_window_for_each_axis_is_the_same_as_one_for_all_where_they_are_equal():
    warped, fixed = images()
    weight = torch.ones_like(fixed)
    one, three = LocalCrossCorrelation(1.5), LocalCrossCorrelation([1.5, 1.5, 1.5])
    torch.testing.assert_close(three(warped, fixed, weight), one(warped, fixed, weight))


def test_windows_that_are_parts_of_the_image():
    """A quarter of 24 x 12 x 12 voxels is as wide as Gaussians of 6 and 3 voxels over the root of 12."""
    warped, fixed = torch.rand(2, 1, 1, 24, 12, 12, generator=torch.Generator().manual_seed(0))
    weight = torch.ones_like(fixed)
    both = multi_kernel_correlation((24, 12, 12), [0.25, 0.5], [0.4, 0.6])
    parts = [
        share * LocalCrossCorrelation([n / 12**0.5 for n in window], squared=True)(warped, fixed, weight)
        for share, window in [(0.4, (6, 3, 3)), (0.6, (12, 6, 6))]
    ]
    torch.testing.assert_close(both(warped, fixed, weight), sum(parts))
    assert both(fixed, fixed, weight) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_similarity_to_one_image_is_the_same_with_the_same_gradient(name):
    warped, fixed = images(3)
    weight = (images(4)[0] > 0.3).float()
    weight[1, :, :6] = 0  # other voxels count of each pair
    found = []
    for similarity in (make_similarity(name, 1.5), similarity_to(name, 1.5, fixed)):
        seen = warped.clone().requires_grad_(True)
        arguments = (seen, fixed, weight) if not found else (seen, weight)
        value = similarity(*arguments)
        (3 * value).backward()
        found.append((value.detach(), seen.grad))
    (expected, slope), (value, gradient) = found
    assert torch.allclose(value, expected, atol=1e-6)
    assert torch.allclose(gradient, slope, atol=1e-3 * slope.abs().max().item())


def test_terms_in_turn_have_the_sum_as_their_mean():
    warped, fixed = images(3)
    weight = torch.ones_like(fixed)
    whole = similarity_to("lncc_mind", 1.5, fixed)
    one = TermByTerm(whole)
    found = [one(warped, weight).item() for _ in range(4)]
    assert found[:2] == found[2:] and found[0] != pytest.approx(found[1], rel=0.01)
    assert sum(found) / 4 == pytest.approx(whole(warped, weight).item())


def test_a_similarity_may_be_a_module_of_pytorch_whose_to_means_a_device():
    class Differences(torch.nn.Module):
        def forward(self, warped, fixed, weight):
            return ((warped - fixed).abs() * weight).mean()

    warped, fixed = images(3)
    found = Sum([(2, Differences())]).with_one(fixed)(warped, torch.ones_like(fixed))
    torch.testing.assert_close(found, 2 * (warped - fixed).abs().mean())


def test_the_gradient_of_a_flat_image_is_finite():
    """Where nothing varies, the variance's derivative is that of relu, and none is NaN."""
    warped = torch.zeros(1, 1, 6, 6, 6, requires_grad=True)
    CorrelationWithOne(1.0, torch.rand(1, 1, 6, 6, 6))(warped, torch.ones(1, 1, 6, 6, 6)).backward()
    assert warped.grad.isfinite().all()
