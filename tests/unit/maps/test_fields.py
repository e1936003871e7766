"""Composition of maps against cases worked out by hand."""

import pytest
import torch

from cohortreg.maps.fields import AffineMap, Composition, DisplacementField
from cohortreg.maps.grids import identity_map


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


@pytest.mark.parametrize("dim", [2, 3])
def test_gradient_reaches_both_maps_of_a_composition(dim):
    outer = (0.05 * torch.randn(1, dim, *[4] * dim, dtype=torch.float64)).requires_grad_()
    inner = (0.05 * torch.randn(1, dim, *[4] * dim, dtype=torch.float64)).requires_grad_()
    points = 0.2 + 0.6 * torch.rand(1, dim, *[3] * dim, dtype=torch.float64)

    def composed(outer, inner):
        return Composition(DisplacementField(outer), DisplacementField(inner))(points)

    assert torch.autograd.gradcheck(composed, (outer, inner))
