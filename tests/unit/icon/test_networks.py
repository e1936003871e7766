"""What the parity tests do not see of networks: the authors have none whose displacement is coarser than its images."""

import copy

import pytest
import torch

from cohortreg.icon.networks import ARCHITECTURES, UNet, recompute_activations
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


SETTINGS = {
    "unet": {"down": [2, 8, 8, 8], "up": [8, 8, 8]},
    "enc_dec": {"down": [2, 8, 8], "up": [8, 8]},
    "conv_only": {"channels": 8, "layers": 3},
    "mlp": {"hidden": [32, 16]},
}


def trained(network, moving, fixed) -> tuple[dict, int]:
    """State of a network after a backward pass, gradients included, and the bytes that were kept for it."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(moving, fixed).square().mean()
    loss.backward()
    gradients = {f"{name}.grad": parameter.grad for name, parameter in network.named_parameters()}
    return network.state_dict() | gradients, sum(kept.values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_activations_that_are_computed_again_train_the_same_in_less_memory(architecture):
    """Running statistics of normalisation among it, which see each batch once."""
    grid = (16, 12, 12)
    network = ARCHITECTURES[architecture](SETTINGS[architecture], grid)
    torch.nn.init.normal_(network.last.weight)
    frugal = copy.deepcopy(network)
    recompute_activations(frugal)
    moving, fixed = torch.rand(2, 2, 1, *grid)
    (expected, kept), (found, kept_by_frugal) = (trained(each, moving, fixed) for each in (network, frugal))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=name)
    assert kept_by_frugal < kept / 2
