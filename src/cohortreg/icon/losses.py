"""The loss of inverse consistency (section 3), both directions of a pair in one batch.

A batch of pairs goes through the registration as [A; B] against [B; A], so that one map of twice the batch
holds Phi^AB in its first half and Phi^BA in its second.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cohortreg.maps.fields import Map
from cohortreg.maps.grids import identity_map, interpolate, voxel_size
from cohortreg.maps.jacobian import folds


class LossTerms(NamedTuple):
    """Terms of the loss, each a scalar tensor: sums over both directions, means over pairs and voxels."""

    similarity: Tensor
    inverse_consistency: Tensor
    folds: Tensor


def swap(batch: Tensor) -> Tensor:
    """[AB; BA] to [BA; AB]."""
    return torch.cat(batch.chunk(2)[::-1])


def mean_squared_error(warped: Tensor, fixed: Tensor) -> Tensor:
    """L_sim of Eq. 15: mean over the batch and the voxels."""
    return torch.mean((warped - fixed) ** 2)


def perturbation(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """epsilon_i of Eq. 17: Gaussian jitter of one voxel in each direction, [1, dim, *shape]."""
    noise = torch.randn(1, len(shape), *shape, generator=generator, device=like.device, dtype=like.dtype)
    return noise * voxel_size(shape, like)


def inverse_consistency(phi: Map, noise: Tensor) -> Tensor:
    """L_inv of Eq. 14 in its displacement form (Eq. 16), evaluated off the grid (Eq. 17).

    phi: the map of [AB; BA]. noise: [1, dim, *grid], added to the voxel centres. Returns the sum over both
    directions of the mean over pairs, voxels and axes of |Phi^AB(Phi^BA(x)) - x|^2.
    """
    points = identity_map(noise.shape[2:], noise.device, noise.dtype) + noise
    there_and_back = phi(swap(phi(points)))
    return 2 * torch.mean((there_and_back - points) ** 2)


def icon_loss(registration: nn.Module, images_a: Tensor, images_b: Tensor, noise: Tensor) -> LossTerms:
    """Terms of Eq. 13 for a batch of pairs.

    images_a, images_b: [batch, 1, *grid]. noise: [1, dim, *grid], see `perturbation`.
    Folds are counted in both directions and averaged over the maps.
    """
    moving, fixed = torch.cat([images_a, images_b]), torch.cat([images_b, images_a])
    phi = registration(moving, fixed)
    on_grid = phi.on_grid(moving.shape[2:])
    warped = interpolate(moving, on_grid)
    return LossTerms(
        similarity=2 * mean_squared_error(warped, fixed),
        inverse_consistency=inverse_consistency(phi, noise),
        folds=folds(on_grid).float().mean(),
    )
