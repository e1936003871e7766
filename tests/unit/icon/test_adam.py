"""Adam for a single tensor beside PyTorch's."""

import subprocess
import sys

import pytest
import torch

from cohortreg.icon.adam import Adam

STEPS, RATE = 23, 0.6


def gradients() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2, 3, 5, 6, 7, generator=generator) * 10 ** -(step % 7) for step in range(STEPS)]


@pytest.mark.parametrize("fused", [False, True])
def test_the_same_numbers_as_by_pytorch(fused):
    own, theirs = (torch.zeros(2, 3, 5, 6, 7, requires_grad=True) for _ in range(2))
    adam = Adam(own, RATE, STEPS, fused)
    optimizer = torch.optim.Adam([theirs], lr=RATE, fused=fused)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for gradient in gradients():
        own.grad, theirs.grad = gradient.clone(), gradient.clone()
        adam.step()
        optimizer.step()
        schedule.step()
        assert own.equal(theirs)
        assert own.grad is None
        assert adam.rate == schedule.get_last_lr()[0]


def test_the_compiler_of_pytorch_is_not_loaded():
    program = (
        "import sys, torch; from cohortreg.icon.adam import Adam; values = torch.zeros(3, requires_grad=True);"
        "values.sum().backward(); Adam(values, 1, 2).step(); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
