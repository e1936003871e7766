"""Folds against cases worked out by hand."""

import pytest
import torch

from cohortreg.maps.grids import identity_map
from cohortreg.maps.jacobian import fold_sites, folded, folds, volume_form


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
