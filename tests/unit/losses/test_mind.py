"""MIND by hand, what it does not see, and the same numbers by both ways to compute it."""

import math

import pytest
import torch

from cohortreg.losses import mind
from cohortreg.losses.mind import SelfSimilarity, SelfSimilarityWithOne, correlation_and_self_similarity
from cohortreg.losses.similarities import LocalCrossCorrelation, gaussian_taps


def images(*shape, number=2, seed=0):
    return torch.rand(number, 2, 1, *shape, generator=torch.Generator().manual_seed(seed))


def test_distances_and_descriptors_by_hand():
    """An edge between the second and the third of four voxels: a squared difference of 9, seen through the window."""
    image = torch.tensor([0.0, 0, 3, 3]).reshape(1, 1, 4)
    middle, beside, _ = gaussian_taps(mind.DEVIATION)
    onward, back = mind.distances(image)[0]
    expected = torch.tensor([9 * beside, 9 * middle, 9 * beside])
    torch.testing.assert_close(onward[:3], expected)
    torch.testing.assert_close(back[1:], expected)
    described = mind.descriptors(mind.distances(image), torch.tensor(1e-9))[0, :, 1]
    mean = (beside + middle) / 2
    torch.testing.assert_close(described, torch.tensor([math.exp(-middle / mean), math.exp(-beside / mean)]))


@pytest.mark.parametrize("change", [lambda image: 0.9 - 0.8 * image, lambda image: 0.2 + 0.5 * image])
@pytest.mark.parametrize("shape", [(9, 8, 10), (12, 14)])
def test_it_does_not_see_brightness_and_contrast_nor_whether_they_are_reversed(shape, change):
    image, other = images(*shape)
    weight = torch.ones_like(image)
    assert SelfSimilarity()(change(image), image, weight).item() == pytest.approx(0, abs=1e-6)
    assert SelfSimilarity()(other, image, weight) > 0.01


def test_loops_and_operations_have_the_same_values_and_gradients():
    warped, fixed = images(9, 8, 11)
    weight = (images(9, 8, 11, seed=1)[0] > 0.3).float()
    found = []
    similarity = SelfSimilarityWithOne(fixed)
    assert similarity.loops
    for _ in range(2):
        seen = warped.clone().requires_grad_(True)
        value = similarity(seen, weight)
        value.backward()
        found.append((value.detach(), seen.grad))
        similarity.loops = None
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-7)


def test_it_is_computed_in_single_precision_under_autocast():
    warped, fixed = images(6, 8, 7)
    weight = torch.ones_like(fixed)
    expected = SelfSimilarity()(warped, fixed, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(SelfSimilarity()(warped, fixed, weight), expected)


def test_the_sum_with_local_correlation():
    warped, fixed = images(8, 9, 10)
    weight = torch.ones_like(fixed)
    parts = [LocalCrossCorrelation(1.5, squared=True), SelfSimilarity()]
    correlation, difference = (part(warped, fixed, weight) for part in parts)
    found = correlation_and_self_similarity(1.5)(warped, fixed, weight)
    torch.testing.assert_close(found, 0.6 * correlation + 5 * difference)
