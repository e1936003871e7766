"""Products along the axes of a grid, against einsum and by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cohortreg.maps.grids import resize
from cohortreg.maps.separable import control_points, gaussians, sampled, separable, smoothed


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3), st.integers(0, 9))
def test_a_product_along_every_axis(sizes, seed):
    torch.manual_seed(seed)
    values = torch.randn(2, 3, *[size for size, _ in sizes], dtype=torch.float64)
    matrices = [torch.randn(to, size, dtype=torch.float64) for size, to in sizes]
    expected = values
    for axis, matrix in enumerate(matrices, start=2):
        expected = torch.einsum("...a,ba->...b", expected.movedim(axis, -1), matrix).movedim(-1, axis)
    assert torch.allclose(separable(values, matrices), expected)


@pytest.mark.parametrize(
    ("size", "spacing", "count"), [(9, 1, 9), (9, 2, 5), (10, 2, 6), (9, 3, 4), (1, 2, 1)]
)
def test_control_points_reach_from_end_to_end(size, spacing, count):
    assert control_points(size, spacing) == count
    assert gaussians(size, spacing, 1.5, torch.ones(1)).shape == (size, count)


def test_gaussians_by_hand():
    """Control points at voxels 0, 2, 4: exp(-1/2 distance^2) over the sum of all of an endless axis."""
    found = gaussians(5, 2, 1, torch.ones(1, dtype=torch.float64))
    weight = torch.exp(
        -0.5 * torch.tensor([[0, 2, 4], [1, 1, 3], [2, 0, 2], [3, 1, 1], [4, 2, 0]]).double() ** 2
    )
    assert torch.allclose(
        found, weight / (1 + 2 * torch.exp(torch.tensor([-2.0, -8.0, -18.0]).double()).sum())
    )


@pytest.mark.parametrize("spacing", [1, 2, 2.5])
def test_far_from_the_ends_a_constant_stays_what_it_is(spacing):
    found = gaussians(41, spacing, 2.5, torch.ones(1, dtype=torch.float64)).sum(1)
    assert torch.allclose(found[15:-15], torch.ones(1, dtype=torch.float64), atol=2e-3)
    assert torch.allclose(found, found.flip(0))


@pytest.mark.parametrize("size", [1, 4, 7, 9, 12])
def test_sampled_rows_are_those_of_a_resized_field(size):
    torch.manual_seed(1)
    matrix, values = torch.randn(9, 5), torch.randn(1, 2, 5)
    whole = separable(values, [matrix])
    expected = torch.nn.functional.interpolate(whole, size, mode="linear", align_corners=True)
    assert torch.allclose(separable(values, [sampled(matrix, size)]), expected, atol=1e-6)
    if size > 1:
        flat = resize(whole[..., None].expand(-1, -1, -1, 3), [size, 3])[..., 0]
        assert torch.allclose(flat, expected, atol=1e-6)


def test_smoothing_keeps_what_is_constant_and_spreads_a_voxel_as_a_gaussian():
    assert torch.allclose(smoothed(torch.full((1, 2, 5, 4), 3.0), 0.75), torch.tensor(3.0))
    point = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    point[..., 4, 4] = 1
    weight = torch.exp(-0.5 * (torch.arange(-4, 5).double() / 0.75) ** 2)
    weight /= weight.sum()
    # The border takes away next to nothing of it.
    assert torch.allclose(smoothed(point, 0.75)[0, 0], weight[:, None] * weight, atol=1e-5)
