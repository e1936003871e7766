"""What the training of a stage minimises: an objective, and the terms that it returns of a batch of pairs."""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn


class Batch(NamedTuple):
    """Pairs of images on one grid, with what else a loss needs.

    Attributes:
        moving: Moving images, [batch, 1, *grid].
        fixed: Fixed images, [batch, 1, *grid].
        moving_view: Fields of view of the moving images in voxels, [batch, 2, dim]: along each axis the first voxel
            that was imaged and the one after the last.
        fixed_view: Fields of view of the fixed images.
        generator: Draws what is random in the loss.
        done: Part of the training steps that is done, from 0 to 1.
    """

    moving: Tensor
    fixed: Tensor
    moving_view: Tensor
    fixed_view: Tensor
    generator: torch.Generator
    done: float = 1.0

    def both_directions(self) -> tuple[Tensor, Tensor]:
        """Moving and fixed images of both directions in one batch, [A; B] and [B; A], each [2 * batch, 1, *grid]."""
        return torch.cat([self.moving, self.fixed]), torch.cat([self.fixed, self.moving])

    def views(self) -> Tensor:
        """Fields of view of [A; B], [2 * batch, 2, dim]."""
        return torch.cat([self.moving_view, self.fixed_view])


class LossTerms(NamedTuple):
    """Terms of the loss, each a scalar tensor: sums over both directions, means over pairs and voxels.

    Attributes:
        similarity: Of the warped moving and the fixed images; the smaller, the more alike.
        inverse_consistency: Or any other regularity, which the weight of the stage multiplies.
        folds: Mean number of folds of a map.
    """

    similarity: Tensor
    inverse_consistency: Tensor
    folds: Tensor


class Objective(nn.Module):
    """The base of objectives, which compute the loss terms of a batch of pairs.

    Args:
        registration: Takes moving and fixed images, [batch, 1, *grid], and returns a map, see `icon.steps`.
        frozen: The part of it that is not trained; it stays in evaluation mode.
    """

    def __init__(self, registration: nn.Module, frozen: nn.Module | None = None):
        super().__init__()
        self.registration = registration
        # In a list, since it is no module beside the registration.
        self.frozen = [] if frozen is None else [frozen.requires_grad_(False)]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, batch: Batch) -> LossTerms:
        """Compute the loss terms of a batch of pairs."""
        raise NotImplementedError
