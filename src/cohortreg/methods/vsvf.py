"""vSVF-opt (Shen et al., CVPR 2019): a stationary velocity field by its momentum, optimised for each pair."""

import json
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from cohortreg.config import VelocitySettings
from cohortreg.digests import digest
from cohortreg.errors import NotFiniteError, UserError
from cohortreg.icon.steps import halve
from cohortreg.images.image import Image
from cohortreg.losses.similarities import multi_kernel_correlation
from cohortreg.maps.fields import Composition, DisplacementField
from cohortreg.maps.grids import identity_map, interpolate, resize
from cohortreg.maps.velocity import MultiGaussian, flow
from cohortreg.methods.affine import Affine
from cohortreg.methods.interface import Registration, check_finite
from cohortreg.methods.registry import PAIRWISE
from cohortreg.settings import Number, Whole, wrong

#: Resolutions of images whose halves are taken.
SCALES = (1, 0.5, 0.25, 0.125, 0.0625)


def _scale(value: float) -> float:
    if value not in SCALES:
        raise wrong(f"{value} is not one of {list(SCALES)}")
    return value


def energy(momentum: Tensor, velocity: Tensor) -> Tensor:
    """<m, v> of each field: the mean over voxels of the product of momentum and velocity, [batch]."""
    return (momentum * velocity).sum(1).flatten(1).mean(1)


class VsvfOpt:
    """After an affine registration, momenta at half the resolution of the images, from coarse to fine by L-BFGS.

    The loss is the multi-kernel LNCC, plus the weighted energy <m, K * m>.
    """

    similarity = "LNCC"

    class Settings(VelocitySettings):
        """Settings of the row vsvf-opt."""

        scales: list[Annotated[Number, AfterValidator(_scale), Field(json_schema_extra={"enum": SCALES})]] = (
            Field([0.25, 0.5, 1], min_length=1, description="resolutions of the images; 1 is full resolution")
        )
        iterations: Whole = Field(60, ge=1, description="iterations of L-BFGS at each scale")

    def __init__(self, settings: Settings, seed: int, threads: int):
        self.settings = settings
        self.affine = Affine(Affine.Settings(), seed, threads)
        self.version = digest(
            PAIRWISE["vsvf-opt"].release, self.affine.version, json.dumps(settings.whole(), sort_keys=True)
        )

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair of preprocessed images."""
        check_finite(moving, fixed)
        affine = self.affine(moving, fixed)
        centres = identity_map(fixed.shape)
        try:
            velocity = self._velocity(
                interpolate(_with_mask(moving), centres + affine.forward), _with_mask(fixed)
            )
        except NotFiniteError:
            raise UserError("vsvf-opt: the optimisation diverged; raise momentum_weight") from None
        there, back = (DisplacementField(flow(v, self.settings.flow_steps)) for v in (velocity, -velocity))
        assert affine.inverse is not None
        forward = Composition(DisplacementField(affine.forward), there).on_grid(fixed.shape)
        inverse = Composition(back, DisplacementField(affine.inverse)).on_grid(fixed.shape)
        return Registration(forward - centres, inverse - centres)

    def _velocity(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """The velocity that is best for images with masks [1, 2, *grid], on a grid of half their resolution."""
        momentum: Tensor | None = None
        for scale in self.settings.scales:
            images = torch.cat([moving, fixed])
            for _ in range(round(1 / scale).bit_length() - 1):
                images = halve(images)
            momentum, velocity = self._optimise(momentum, *images.split(1))
        if not velocity.isfinite().all():
            raise NotFiniteError("the velocity is NaN or infinite.")
        return velocity

    def _optimise(self, momentum: Tensor | None, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        """The momentum that is best at a scale, starting from that of the scale before; and its velocity."""
        shape = fixed.shape[2:]
        grid = [(size + 1) // 2 for size in shape]
        smooth = MultiGaussian(grid, self.settings.deviations, self.settings.weights)
        similarity = multi_kernel_correlation(shape, self.settings.windows, self.settings.window_weights)
        start = torch.zeros(1, len(grid), *grid) if momentum is None else resize(momentum, grid)
        optimised = start.clone().requires_grad_(True)
        centres, (target, target_mask) = identity_map(shape), fixed.split(1, 1)
        optimizer = torch.optim.LBFGS(
            [optimised], max_iter=self.settings.iterations, history_size=5, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            velocity = smooth(optimised)
            phi = centres + resize(flow(velocity, self.settings.flow_steps), shape)
            warped, mask = interpolate(moving, phi).split(1, 1)
            value = similarity(warped, target, mask * target_mask)
            value = value + self.settings.momentum_weight * energy(optimised, velocity).sum()
            if not value.isfinite():
                raise NotFiniteError("the loss is NaN or infinite.")
            value.backward()
            return value

        optimizer.step(loss)
        best = optimised.detach()
        return best, smooth(best)


def _with_mask(image: Image) -> Tensor:
    """The image, and 1 where it was imaged, [1, 2, *grid]; what preprocessing added does not count."""
    mask = torch.zeros(image.shape)
    mask[tuple(slice(*ends) for ends in image.imaged)] = 1
    return torch.stack([torch.from_numpy(image.array), mask])[None]
