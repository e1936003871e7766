"""What a checkpoint keeps beside networks and optimiser, which the tests of resumed trainings compare."""

import pytest
import torch

from cohortreg.errors import UserError
from cohortreg.learning import checkpoints
from cohortreg.learning.checkpoints import TrainingState


def test_the_scale_of_a_loss_in_float16_goes_on(tmp_path):
    """A step whose gradients overflow halves it, and so it is half as large after loading."""
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(network.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024)
    scaler.scale(network(torch.full((1, 1), torch.inf)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    checkpoints.save(tmp_path, TrainingState(1, 2.0), network, optimizer, scaler)
    other = torch.amp.GradScaler("cpu", init_scale=1024)
    state = checkpoints.load_last(tmp_path, network, optimizer, other)
    assert (state.step, state.weight) == (1, 2.0)
    assert other.get_scale() == scaler.get_scale() == 512


def test_a_checkpoint_that_was_cut_short_gives_way_to_the_one_before(tmp_path):
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(network.parameters())
    for step in (1, 2):
        torch.nn.init.constant_(network.weight, step)
        checkpoints.save(tmp_path, TrainingState(step, 2.0), network, optimizer)
    first, last = sorted(tmp_path.iterdir())
    last.write_bytes(last.read_bytes()[:100])
    assert checkpoints.load_last(tmp_path, network, optimizer).step == 1
    assert network.weight.item() == 1
    first.write_bytes(b"")
    with pytest.raises(UserError, match="cut short"):
        checkpoints.load_last(tmp_path, network, optimizer)
