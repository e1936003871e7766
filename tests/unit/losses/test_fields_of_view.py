"""Fields of view in unit coordinates, by hand."""

import math

import torch

from cohortreg.losses.fields_of_view import unit_bounds


def test_fields_of_view_in_unit_coordinates_by_hand():
    """Voxels 2 to 6 of 9 along the first axis, all along the second; halved to 5 voxels, 1 to 2 are whole."""
    seen = torch.tensor([[[2, 0], [7, 5]]])
    bounds = unit_bounds(seen, (9, 5))
    assert bounds.tolist() == [[[2 / 8, -math.inf], [6 / 8, math.inf]]]
    bounds = unit_bounds(torch.tensor([[[1, 0], [7, 8]]]), (5, 4), downsample=2)
    assert bounds.tolist() == [[[1 / 4, -math.inf], [2 / 4, math.inf]]]
