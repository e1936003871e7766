"""Direct optimisation of the maps of a pair."""

import pytest
import torch

from cohortreg.errors import NotFiniteError
from cohortreg.maps.grids import interpolate
from cohortreg.paper.direct import optimise_maps
from cohortreg.paper.settings import Direct


def test_maps_of_a_shifted_blob_bring_the_images_together():
    x = torch.linspace(-1, 1, 16)
    blobs = [torch.exp(-((x[:, None] - c) ** 2 + x[None] ** 2) / 0.1)[None, None] for c in (-0.1, 0.1)]
    settings = Direct(steps=60, learning_rate=5e-3)
    phi = optimise_maps(*blobs, noise=0, settings=settings, weight=1, seed=1).on_grid((16, 16))
    moving, fixed = torch.cat(blobs), torch.cat(blobs[::-1])
    before = (moving - fixed).square().mean((1, 2, 3))
    after = (interpolate(moving, phi) - fixed).square().mean((1, 2, 3))
    assert (after < before / 4).all()


def test_maps_that_diverge_end_in_a_sentence():
    images = [torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    with pytest.raises(NotFiniteError, match="direct optimisation diverged; lower its learning_rate"):
        optimise_maps(*images, noise=0, settings=Direct(steps=5, learning_rate=1e30), weight=1, seed=1)
