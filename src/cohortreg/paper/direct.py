"""Direct optimisation of both maps of a pair, without a network (4.3)."""

import torch
from torch import Tensor

from cohortreg.errors import NotFiniteError
from cohortreg.icon.fit import descend
from cohortreg.icon.objective import inverse_consistency, sample_points, swap
from cohortreg.losses.similarities import mean_squared_error
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import interpolate, voxel_size
from cohortreg.paper.settings import Direct

NOISE = 1 / 8  # pixels


def optimise_maps(
    moving: Tensor, fixed: Tensor, noise: float, settings: Direct, weight: float, seed: int
) -> DisplacementField:
    """Minimise Eq. 13 for one pair over displacements of Phi^AB and Phi^BA.

    By Adam from the identity, at a rate that falls to zero.

    Args:
        moving: [1, 1, *grid].
        fixed: [1, 1, *grid].
        noise: Standard deviation, in pixels, of the Gaussian noise that is added to both displacement fields before
            inverse consistency (Eq. 5), never before similarity.
        weight: Of inverse consistency, lambda of Eq. 13.

    Raises:
        NotFiniteError: The optimisation diverges.
    """
    images = torch.cat([moving, fixed])
    shape = images.shape[2:]
    displacement = torch.zeros(2, len(shape), *shape, requires_grad=True)
    all_count = torch.ones_like(images)
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        drawn = torch.randn(displacement.shape, generator=generator) * noise * voxel_size(shape, images)
        points = sample_points(shape, 1, generator, images)
        phi = DisplacementField(displacement).on_grid(shape)
        noisy = DisplacementField(displacement + drawn)
        similarity = mean_squared_error(interpolate(images, phi), swap(images), all_count)
        return 2 * similarity + weight * inverse_consistency(noisy, points)

    try:
        descend(displacement, loss, settings.steps, settings.learning_rate)
    except NotFiniteError:
        raise NotFiniteError("direct optimisation diverged; lower its learning_rate.") from None
    return DisplacementField(displacement.detach())
