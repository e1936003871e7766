"""Direct optimisation of both maps of a pair, without a network (4.3)."""

import torch
from torch import Tensor, nn

from cohortreg.errors import NotFiniteError
from cohortreg.icon.losses import inverse_consistency, sample_points, swap
from cohortreg.icon.similarities import mean_squared_error
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import interpolate, voxel_size

NOISE = 1 / 8  # pixels


def optimise_maps(
    moving: Tensor, fixed: Tensor, noise: float, settings: dict, weight: float, seed: int
) -> DisplacementField:
    """Displacements of Phi^AB and Phi^BA that minimise Eq. 13 for one pair, by Adam from the identity, at
    a rate that falls to zero.

    moving, fixed: [1, 1, *grid]. noise: standard deviation, in pixels, of the Gaussian noise that is added to both
    displacement fields before inverse consistency (Eq. 5), never before similarity. settings: steps, learning_rate.
    Raises NotFiniteError where the optimisation diverges.
    """
    images = torch.cat([moving, fixed])
    shape = images.shape[2:]
    displacement = nn.Parameter(torch.zeros(2, len(shape), *shape))
    optimizer = torch.optim.Adam([displacement], lr=settings["learning_rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["steps"])
    generator = torch.Generator().manual_seed(seed)
    for step in range(settings["steps"]):
        warped = interpolate(images, DisplacementField(displacement).on_grid(shape))
        similarity = 2 * mean_squared_error(warped, swap(images), torch.ones_like(images))
        drawn = torch.randn(displacement.shape, generator=generator) * noise * voxel_size(shape, images)
        points = sample_points(shape, 1, generator, images)
        consistency = inverse_consistency(DisplacementField(displacement + drawn), points)
        loss = similarity + weight * consistency
        if not loss.isfinite():
            raise NotFiniteError(f"direct optimisation diverged at step {step + 1}; lower its learning_rate.")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return DisplacementField(displacement.detach())
