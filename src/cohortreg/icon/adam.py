"""Adam for a single tensor."""

import math

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam (Kingma and Ba, ICLR 2015), at a rate that falls to zero as a cosine.

    The numbers are those of `torch.optim.Adam` with `CosineAnnealingLR`, which load PyTorch's compiler when they are
    made: two seconds, as long as PyTorch itself takes.

    Args:
        values: Changed in place.
        rate: At the first step.
        steps: After which the rate is zero.
        fused: Whether a step is one loop over the values, which rounds otherwise.
    """

    def __init__(self, values: Tensor, rate: float, steps: int, fused: bool = False):
        self.values, self.rate, self.steps, self.fused = values, rate, steps, fused
        self.moments = torch.zeros_like(values), torch.zeros_like(values)
        self.count, self.taken = torch.zeros((), device=values.device if fused else None), 0

    @torch.no_grad()
    def step(self) -> None:
        """Take a step against the gradient that the values have, and delete it."""
        assert self.values.grad is not None
        mean, square = ([moment] for moment in self.moments)
        adam(
            [self.values], [self.values.grad], mean, square, [], [self.count],
            foreach=False, fused=self.fused,
            amsgrad=False, beta1=0.9, beta2=0.999, lr=self.rate, weight_decay=0, eps=1e-8, maximize=False,
        )  # fmt: skip
        self.values.grad = None
        before, self.taken = self.taken, self.taken + 1
        self.rate *= (1 + math.cos(math.pi * self.taken / self.steps)) / (
            1 + math.cos(math.pi * before / self.steps)
        )
