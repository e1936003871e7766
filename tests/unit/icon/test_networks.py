"""What the parity tests do not see of networks: the authors have none whose displacement is coarser than its images."""

import copy

import pytest
import torch
from typed import build_network, build_registration

from cohortreg.icon.networks import DualStream, UNet, local_correlation, recompute_activations
from cohortreg.icon.objective import StageObjective
from cohortreg.icon.steps import DisplacementNetwork
from cohortreg.losses.terms import Batch


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
    "dual_stream": {"down": [1, 8, 8], "up": [8]},
}


def start_anywhere(network):
    """Last layers that are not zero."""
    for parameter in network.last.parameters():
        torch.nn.init.normal_(parameter, std=0.1)


def test_local_correlation_is_the_cosine_with_each_neighbour():
    fixed, moving = torch.zeros(2, 1, 2, 3, 3)
    fixed[0, :, 1, 1] = torch.tensor([2.0, 0.0])
    moving[0, :, 0, 1] = torch.tensor([3.0, 3.0])  # one above: at 45 degrees
    moving[0, :, 1, 2] = torch.tensor([-1.0, 0.0])  # one to the right: opposite
    found = local_correlation(fixed, moving, 1)[0, :, 1, 1].reshape(3, 3)
    expected = torch.zeros(3, 3)
    expected[0, 1], expected[1, 2] = 0.5**0.5, -1
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_the_gradient_of_local_correlation():
    fixed, moving = torch.randn(2, 2, 3, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *both: local_correlation(*both, 1), (fixed, moving))


@pytest.mark.parametrize("finest, down", [(1, [1, 4, 8, 8]), (2, [1, 4, 8])])
@pytest.mark.parametrize("grid, coarse", [((16, 24), (8, 12)), ((12, 15, 9), (6, 8, 5))])
def test_a_dual_stream_network_starts_at_the_identity_and_every_layer_learns(grid, coarse, finest, down):
    network = DualStream(len(grid), down, up=[8, 4], finest=finest)
    moving, fixed = torch.rand(2, 3, 1, *grid)
    displacement = network(moving, fixed)
    assert displacement.shape == (3, len(grid), *coarse) and not displacement.any()
    start_anywhere(network)
    network(moving, fixed).square().sum().backward()
    # A shift of a whole channel is what normalisation after it takes away again.
    shifts = [
        layer.bias for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d)
    ]
    learning = {id(p) for p in network.parameters()} - {id(p) for p in shifts}
    assert all(p.grad.abs().max() > 0 for p in network.parameters() if id(p) in learning)


def test_a_dual_stream_network_gives_each_direction_what_it_gives_it_alone():
    """Of a batch that holds both directions, each image is looked at once."""
    network = DualStream(3, down=[1, 4, 8], up=[8])
    start_anywhere(network)
    a, b = torch.rand(2, 2, 1, 12, 10, 8)
    both = network(torch.cat([a, b]), torch.cat([b, a]))
    torch.testing.assert_close(both, torch.cat([network(a, b), network(b, a)]))
    assert (both[:2] - both[2:]).abs().max() > 1e-3


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


@pytest.mark.parametrize("architecture", SETTINGS)
def test_activations_that_are_computed_again_train_the_same_in_less_memory(architecture):
    """Running statistics of normalisation among it, which see each batch once."""
    grid = (16, 12, 12)
    network = build_network({"architecture": architecture} | SETTINGS[architecture], grid)
    start_anywhere(network)
    frugal = copy.deepcopy(network)
    recompute_activations(frugal)
    moving, fixed = torch.rand(2, 2, 1, *grid)
    (expected, kept), (found, kept_by_frugal) = (trained(each, moving, fixed) for each in (network, frugal))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=name)
    assert kept_by_frugal < kept / 2


def test_maps_that_are_computed_again_give_the_same_loss_and_gradients():
    """As the training of a second stage has them: composed, over a frozen one."""
    grid = (12, 10, 8)
    stages = [{"steps": 1, "downsample": 2}, {"steps": 1, "downsample": 1}]
    network = {"architecture": "unet", **SETTINGS["unet"]}
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        registration, before = build_registration(network, stages, grid)
        for module in registration.modules():
            if isinstance(module, UNet):
                torch.nn.init.normal_(module.last.weight, std=0.1)
        objective = StageObjective(registration, before, 1).train()
        if recompute:
            recompute_activations(objective)
        images = torch.rand(2, 2, 1, *grid)
        seen = torch.tensor([[[0, 0, 0], grid]] * 2)
        terms = objective(Batch(*images, seen, seen, torch.Generator().manual_seed(1)))
        (terms.similarity + 10 * terms.inverse_consistency).backward()
        trained = [p.grad for p in objective.parameters() if p.requires_grad]
        found.append([*terms[:2], *trained, *objective.buffers()])
    for expected, other in zip(*found, strict=True):
        torch.testing.assert_close(other, expected)
