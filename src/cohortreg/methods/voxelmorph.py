"""VoxelMorph (Balakrishnan et al., TMI 2019): the network and the integration of the package `voxelmorph`."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from cohortreg.config import VoxelMorphModel
from cohortreg.icon.steps import TwoSteps
from cohortreg.losses.fields_of_view import both_imaged, unit_bounds
from cohortreg.losses.similarities import mean_squared_error
from cohortreg.losses.terms import Batch, LossTerms, Objective
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import interpolate, voxel_size
from cohortreg.maps.jacobian import folds
from cohortreg.maps.transforms import voxels_to_unit
from cohortreg.methods.avsm import AffineObjective, AffineSteps, affine_steps
from cohortreg.methods.cards import VoxelMorphCard
from cohortreg.methods.recipes import Recipe

#: In the configuration, or as a card has it.
Described = VoxelMorphModel | VoxelMorphCard


class VoxelMorphStep(nn.Module):
    """The package's network, its velocity integrated by scaling and squaring."""

    def __init__(self, dim: int, features: Sequence[int], integration_steps: int):
        super().__init__()
        from voxelmorph.nn.models import VxmPairwise  # seconds to import, and not installed everywhere

        self.model = VxmPairwise(dim, 1, 1, features, integration_steps=integration_steps)

    def forward(self, moving: Tensor, fixed: Tensor) -> DisplacementField:
        """Register the pairs and return their map."""
        # Integrated in float32 also where the network is not.
        displacement = self.model(moving, fixed, return_field_type="velocity").float()
        if self.model.integration_steps > 0:
            displacement = self.model.velocity_field_integrator(displacement)
        return DisplacementField(voxels_to_unit(displacement))


class VoxelMorphObjective(Objective):
    """MSE, and the mean squared difference of displacements, in voxels, between neighbouring voxels.

    Of a `VoxelMorphStep`, or an affine registration, which is frozen, and then one.
    """

    def __init__(self, registration: nn.Module):
        super().__init__(registration, registration.first if isinstance(registration, TwoSteps) else None)

    def forward(self, batch: Batch) -> LossTerms:
        """Compute the loss terms of a batch of pairs."""
        shape, moving = batch.fixed.shape[2:], batch.moving
        affine, step = None, self.registration
        if isinstance(self.registration, TwoSteps):
            affine, step = self.registration.first(moving, batch.fixed), self.registration.second
            moving = interpolate(moving, affine.on_grid(shape))
        phi = step(moving, batch.fixed)
        on_grid = phi.on_grid(shape)
        total = on_grid if affine is None else affine(on_grid)
        bounds = (unit_bounds(field, shape) for field in (batch.moving_view, batch.fixed_view))
        weight = both_imaged(total, *bounds)
        voxels = phi.displacement / voxel_size(shape, phi.displacement)
        differences = [torch.diff(voxels, dim=axis).square().mean() for axis in range(2, voxels.dim())]
        return LossTerms(
            mean_squared_error(interpolate(moving, on_grid), batch.fixed, weight),
            reduce(torch.add, differences) / len(differences),
            folds(total).float().mean(),
        )


class VoxelMorph(Recipe[Described]):
    """One stage, whose weight is that of the gradient penalty; with affine pre-registration, a stage for it before.

    The affine network is AVSM's.
    """

    @staticmethod
    def similarity_in_words(model: Described) -> str:
        """Name the similarity as the report does."""
        return "MSE"

    @staticmethod
    def build(model: Described, grid: Sequence[int]) -> tuple[nn.Module, nn.Module | None]:
        """Build the registration of the last stage, and the part of it that this stage freezes."""
        settings = model.settings
        affine = affine_steps(grid, settings, model.stages[0].steps) if settings.affine else None
        if affine is not None and len(model.stages) == 1:
            return affine, None
        step = VoxelMorphStep(len(grid), settings.features, settings.integration_steps)
        return (step, None) if affine is None else (TwoSteps(affine, step), affine)

    @staticmethod
    def objective(registration: nn.Module, before: nn.Module | None, model: Described) -> Objective:
        """Build the objective of the last stage."""
        if isinstance(registration, AffineSteps):
            return AffineObjective(registration, model.settings)
        return VoxelMorphObjective(registration)
