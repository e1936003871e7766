"""Interpolation against cases worked out by hand, and against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.maps.grids import identity_map, interpolate, resize


def test_identity_map_by_hand():
    grid = identity_map((2, 3))
    assert grid.shape == (1, 2, 2, 3)
    assert grid[0, 0].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert grid[0, 1].tolist() == [[0, 0.5, 1], [0, 0.5, 1]]


def test_interpolation_between_at_and_beyond_voxels_by_hand():
    values = torch.tensor([[[[0.0, 4.0, 8.0], [2.0, 6.0, 10.0]]]])
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.25], [0.5, 0.5], [2.0, -1.0]]).T[None, :, :, None]
    torch.testing.assert_close(
        interpolate(values, points)[0, 0, :, 0], torch.tensor([0.0, 10.0, 2.0, 5.0, 2.0])
    )


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("grid", [(7, 6, 5), (1, 6, 5), (60, 200, 4)])
def test_volumes_are_interpolated_as_pytorch_does_it(batch, grid):
    """The last grid has 12000 slices' rows, whose numbers float32 resolves to 1/1024 voxel."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(batch, 2, *grid, generator=generator)
    points = 1.4 * torch.rand(batch, 3, 6, 5, 4, generator=generator) - 0.2
    expected = F.grid_sample(
        values, 2 * points.flip(1).movedim(1, -1) - 1, padding_mode="border", align_corners=True
    )
    voxel = max(values.diff(dim=axis).abs().max().item() for axis in (2, 3, 4) if grid[axis - 2] > 1)
    torch.testing.assert_close(interpolate(values, points), expected, atol=voxel / 500, rtol=0)


def test_a_slice_of_a_volume_never_sees_its_neighbours():
    """Slices of 0 and 1000 in turn, sampled at their first and last rows and beyond."""
    values = torch.zeros(1, 1, 100, 150, 2)
    values[:, :, 1::2] = 1000
    z = torch.arange(100) / 99
    for y in (-0.1, 0.0, 1.0, 1.1):
        points = torch.stack([z, torch.full_like(z, y), torch.full_like(z, 0.5)])[None, :, :, None, None]
        sampled = interpolate(values, points).flatten()
        torch.testing.assert_close(sampled, values[0, 0, :, 0, 0], atol=0.1, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.integers(2, 7), st.integers(2, 7), st.integers(0, 2**31))
def test_resize_is_interpolation_at_the_other_grids_voxel_centres(a, b, c, seed):
    values = torch.randn(2, 3, 4, 5, 3, generator=torch.Generator().manual_seed(seed))
    expected = interpolate(values, identity_map((a, b, c)))
    torch.testing.assert_close(resize(values, (a, b, c)), expected, atol=1e-5, rtol=1e-5)
