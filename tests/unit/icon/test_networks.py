"""What the parity tests do not see of networks: the authors have none whose displacement is coarser than its images."""

import pytest
import torch

from cohortreg.icon.networks import UNet
from cohortreg.icon.steps import DisplacementNetwork


@pytest.mark.parametrize("grid, coarse", [((16, 24), (8, 12)), ((12, 15, 9), (6, 8, 5))])
def test_a_unet_with_one_level_less_on_the_way_up_predicts_at_half_the_resolution(grid, coarse):
    network = UNet(len(grid), down=[2, 4, 8, 8], up=[4, 8])
    moving, fixed = torch.rand(2, 3, 1, *grid)
    assert network(moving, fixed).shape == (3, len(grid), *coarse)
    phi = DisplacementNetwork(network)(moving, fixed)
    assert phi.on_grid(grid).shape == (3, len(grid), *grid)


def test_every_layer_of_a_unet_with_a_coarser_displacement_learns():
    network = UNet(3, down=[2, 4, 8, 8], up=[4, 8])
    torch.nn.init.normal_(network.last.weight)
    network(*torch.rand(2, 2, 1, 16, 16, 16)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())
