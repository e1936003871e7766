"""Interpolation, composition and folds against cases worked out by hand."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.maps.fields import AffineMap, Composition, DisplacementField
from cohortreg.maps.grids import identity_map, interpolate, resize
from cohortreg.maps.jacobian import fold_sites, folded, folds, volume_form


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


def translation(*shift, shape=(5, 6)):
    return DisplacementField(torch.tensor(shift).reshape(1, -1, 1, 1).expand(1, 2, *shape))


def test_composition_applies_the_inner_map_first():
    """Scaling by two about the origin, then a shift, differs from a shift, then scaling."""
    shape = (5, 6)
    double = DisplacementField(identity_map(shape).clone())  # phi(x) = 2x inside the unit square
    shift = translation(0.25, 0.0)
    point = torch.tensor([0.25, 0.5]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(Composition(shift, double)(point).flatten(), torch.tensor([0.75, 1.0]))
    torch.testing.assert_close(Composition(double, shift)(point).flatten(), torch.tensor([1.0, 1.0]))


def test_an_affine_map_by_hand():
    """A quarter turn about the origin and a shift, and its own half of a batch of two."""
    turn = torch.tensor([[0.0, -1.0, 0.5], [1.0, 0.0, 0.25]])
    phi = AffineMap(torch.stack([turn, torch.eye(2, 3)]))
    points = torch.tensor([[0.2], [0.1]])[None]
    torch.testing.assert_close(phi(points)[:, :, 0], torch.tensor([[0.4, 0.45], [0.2, 0.1]]))
    first, second = phi.halves()
    torch.testing.assert_close(first(points), phi(points)[:1])
    torch.testing.assert_close(second.on_grid((3, 4)), identity_map((3, 4)))


def test_on_grid_is_the_map_at_the_voxel_centres_of_any_grid():
    displacement = 0.1 * torch.randn(2, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    phi = Composition(DisplacementField(displacement), DisplacementField(displacement.flip(0)))
    for shape in [(5, 6), (9, 4)]:
        torch.testing.assert_close(phi.on_grid(shape), phi(identity_map(shape)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(7,), (5, 6), (4, 5, 6)])
def test_identity_has_no_folds_and_a_reflection_folds_everywhere(shape):
    grid = identity_map(shape)
    assert folds(grid).item() == 0
    mirrored = grid.clone()
    mirrored[:, 0] = 1 - mirrored[:, 0]
    assert folds(mirrored).item() == fold_sites(shape)


def test_one_voxel_moved_past_its_neighbour_by_hand():
    """In one dimension the points 0 1 2 3 4, of which the third moves to 0.5: one step of five goes back."""
    phi = torch.tensor([[[0.0, 1.0, 0.5, 3.0, 4.0]]])
    assert volume_form(phi)[0].tolist() == [1.0, -0.5, 2.5, 1.0]
    assert folds(phi).item() == 1
    assert folded(phi)[0].tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_the_folded_voxels_are_those_that_are_counted(shape):
    phi = identity_map(shape) + 0.3 * torch.rand(
        2, len(shape), *shape, generator=torch.Generator().manual_seed(0)
    )
    where = folded(phi)
    assert where.shape == (2, *shape)
    assert where.flatten(1).sum(1).tolist() == folds(phi).tolist()
    assert folds(phi).min() > 0


@pytest.mark.parametrize("dim", [2, 3])
def test_gradient_reaches_both_maps_of_a_composition(dim):
    outer = (0.05 * torch.randn(1, dim, *[4] * dim, dtype=torch.float64)).requires_grad_()
    inner = (0.05 * torch.randn(1, dim, *[4] * dim, dtype=torch.float64)).requires_grad_()
    points = 0.2 + 0.6 * torch.rand(1, dim, *[3] * dim, dtype=torch.float64)

    def composed(outer, inner):
        return Composition(DisplacementField(outer), DisplacementField(inner))(points)

    assert torch.autograd.gradcheck(composed, (outer, inner))
