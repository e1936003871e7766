"""Figures 2 and 4 by hand."""

import numpy as np
import pytest

from cohortreg.paper.matching import (
    losses_on_and_off_grid,
    mapped,
    match_by_intensity,
    match_by_sorting,
    mean_squared_error,
    swapped_points,
)

MOVING = np.array([0.0, 3.0, 1.0, 2.0])
FIXED = np.array([2.2, 1.9, 0.1, 2.1])


def test_the_nearest_value_may_be_taken_by_many():
    """2.2, 1.9 and 2.1 are all nearest to 2, at index 3; 0.1 to 0, at index 0."""
    matched = match_by_intensity(MOVING, FIXED)
    assert matched.tolist() == [3, 3, 0, 3]
    assert mean_squared_error(MOVING, FIXED, matched) == pytest.approx((0.04 + 0.01 + 0.01 + 0.01) / 4)


def test_sorting_sends_rank_to_rank():
    """Fixed in order 0.1, 1.9, 2.1, 2.2 takes the moving values 0, 1, 2, 3."""
    matched = match_by_sorting(MOVING, FIXED)
    assert matched.tolist() == [1, 2, 0, 3]
    assert mean_squared_error(MOVING, FIXED, matched) == pytest.approx((0.64 + 0.81 + 0.01 + 0.01) / 4)


def test_points_that_swap_come_home_on_the_grid_only():
    """A quarter of the way to the second point, which moves by one spacing, a point moves by a quarter of it."""
    phi = swapped_points()
    grid = np.arange(4) / 3
    assert mapped(phi, grid) == pytest.approx(grid[[0, 2, 1, 3]])
    assert mapped(phi, np.array([0.25 / 3])) == pytest.approx([0.5 / 3])
    on_grid, off_grid = losses_on_and_off_grid(phi)
    assert on_grid == pytest.approx(0, abs=1e-12)
    assert off_grid > 0.01
