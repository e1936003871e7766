"""A cell from its images to what was measured."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from cohortreg.files import read_json
from cohortreg.icon.networks import MLP
from cohortreg.icon.steps import DisplacementNetwork
from cohortreg.losses.terms import Batch
from cohortreg.maps.grids import identity_map
from cohortreg.maps.jacobian import folds
from cohortreg.paper.cells import SWAPS, Pairs, foreground_dice, run_cell, swap_pixels
from cohortreg.paper.data import pack_dataset
from cohortreg.paper.figures import swaps_left
from cohortreg.paper.plan import NETWORKS, Cell


def test_dice_of_pixels_above_one_half_by_hand():
    """Two and three pixels above 0.5, one in common: 2 * 1 / 5. And one alike."""
    warped = torch.tensor([[[[1.0, 0.6, 0.5, -1]]], [[[1.0, 0, 0, 0]]]])
    fixed = torch.tensor([[[[0.2, 0.6, 0.9, 0.7]]], [[[0.8, 0, 0, 0]]]])
    assert foreground_dice(warped, fixed).tolist() == pytest.approx([0.4, 1])


@pytest.mark.parametrize("network", NETWORKS)
def test_a_cell_of_every_network_is_trained_and_measured(layout, preset, tmp_path, network):
    pack_dataset(layout, "triangles_circles", preset, tmp_path, 1, lambda: None)
    cell = Cell("triangles_circles", network, 64)
    facts = run_cell(layout, cell, preset, 1, Fabric(accelerator="cpu"))
    assert facts == read_json(layout.measured(*cell))
    assert 0 <= facts["dice"] <= 1
    assert facts["folds"] >= 0
    examples = np.load(layout.examples(*cell))
    assert examples["warped"].shape == (4, 12, 12)
    assert examples["phi"].shape == examples["phi_back"].shape == (4, 2, 12, 12)
    assert not layout.checkpoints(*cell).exists()


def test_a_cell_is_the_same_when_it_is_made_again(layout, preset, tmp_path):
    pack_dataset(layout, "triangles_circles", preset, tmp_path, 1, lambda: None)
    cell = Cell("triangles_circles", "mlp", 64)
    phi = []
    for _ in range(2):
        run_cell(layout, cell, preset, 1, Fabric(accelerator="cpu"))
        phi.append(np.load(layout.examples(*cell))["phi"])
    assert np.array_equal(*phi)


def test_swapped_pixels_stay_on_the_grid_and_go_off_it():
    """Figure 3, with images that are all background."""
    left = {}
    for off_grid in (False, True):
        torch.manual_seed(0)
        network = MLP((28, 28), (4, 4))
        swap_pixels(network)
        registration = DisplacementNetwork(network)
        objective = Pairs(registration, off_grid)
        images = torch.zeros(1, 1, 28, 28)
        start = registration(images, images).on_grid((28, 28))
        assert swaps_left(start[0].detach().numpy()) == len(SWAPS)
        _train(objective, images)
        phi = registration(images, images).on_grid((28, 28)).detach()
        left[off_grid] = swaps_left(phi[0].numpy()), int(folds(phi))
    assert left[False] == (len(SWAPS), len(SWAPS))
    assert left[True] == (0, 0)


def _train(objective: nn.Module, images: torch.Tensor) -> None:
    optimizer = torch.optim.Adam(objective.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    whole = torch.tensor([[[0, 0], [28, 28]]])
    for _ in range(200):
        optimizer.zero_grad()
        objective(Batch(images, images, whole, whole, generator)).inverse_consistency.backward()
        optimizer.step()


def test_swaps_change_nothing_but_their_pixels():
    network = MLP((28, 28), (4, 4))
    swap_pixels(network)
    images = torch.zeros(1, 1, 28, 28)
    moved = (
        (DisplacementNetwork(network)(images, images).on_grid((28, 28)) - identity_map((28, 28))).abs().sum(1)
    )
    assert int((moved > 0).sum()) == 2 * len(SWAPS)
