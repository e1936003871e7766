"""Mattes' mutual information: cases by hand, and its gradient."""

import math

import pytest
import torch

from cohortreg.losses.mutual_information import MutualInformationWithOne


def test_two_values_that_go_together_by_hand():
    """Black with black and white with white, half of the points each: log 2, less what the window blurs.

    Of 16 bins, values lie in the second and the last but two, whose windows of three bins do not meet.
    """
    fixed = torch.tensor([0.0, 1, 0, 1])
    similarity = MutualInformationWithOne(fixed, 0, 1, 16)
    assert similarity(fixed, torch.ones(4)).item() == pytest.approx(-math.log(2), abs=1e-5)
    assert similarity(1 - fixed, torch.ones(4)).item() == pytest.approx(-math.log(2), abs=1e-5)


def test_values_that_have_nothing_in_common_by_hand():
    similarity = MutualInformationWithOne(torch.tensor([0.0, 0, 1, 1]), 0, 1, 16)
    assert similarity(torch.tensor([0.0, 1, 0, 1]), torch.ones(4)).item() == pytest.approx(0, abs=1e-6)


def test_points_without_weight_count_for_nothing():
    similarity = MutualInformationWithOne(torch.tensor([0.0, 1, 0.5]), 0, 1, 16)
    weight = torch.tensor([1.0, 1, 0])
    first, second = (similarity(torch.tensor([0.0, 1, value]), weight) for value in (0.2, 0.9))
    assert first == second
    assert similarity(torch.tensor([0.0, 1, 0]), torch.zeros(3)).item() == 0


def test_its_gradient_is_that_of_its_differences():
    generator = torch.Generator().manual_seed(2)
    fixed, values, weight = torch.rand(3, 400, dtype=torch.float64, generator=generator)
    values = (values + fixed) / 2
    similarity = MutualInformationWithOne(fixed, values.min().item() - 0.01, values.max().item() + 0.01, 8)
    values.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda given: similarity(given, weight), values, eps=1e-5, atol=1e-7)
