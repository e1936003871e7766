"""Pairs of images that are registered together."""

from typing import NamedTuple

import torch
from torch import Tensor


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
