"""What a checkpoint keeps beside networks and optimiser, which the tests of resumed trainings compare."""

import torch

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
