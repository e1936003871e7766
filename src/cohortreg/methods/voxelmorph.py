"""VoxelMorph (Balakrishnan et al., TMI 2019): the network and the integration of the package `voxelmorph`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cohortreg.config import VoxelMorphModel
from cohortreg.icon.steps import TwoSteps
from cohortreg.losses.fields_of_view import both_imaged, unit_bounds
from cohortreg.losses.similarities import mean_squared_error
from cohortreg.losses.terms import LossTerms
from cohortreg.maps.batch import Batch
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import interpolate, voxel_size
from cohortreg.maps.jacobian import folds
from cohortreg.maps.transforms import voxels_to_unit
from cohortreg.methods.avsm import AffineObjective, affine_steps
from cohortreg.methods.recipes import Recipe


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


class VoxelMorphObjective(nn.Module):
    """MSE, and the mean squared difference of displacements, in voxels, between neighbouring voxels."""

    def __init__(self, registration: nn.Module):
        super().__init__()
        self.registration = registration
        if isinstance(registration, TwoSteps):
            registration.first.requires_grad_(False)

    def train(self, mode: bool = True) -> "VoxelMorphObjective":
        """Set the mode of all modules but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        if isinstance(self.registration, TwoSteps):
            self.registration.first.eval()
        return self

    def forward(self, batch: Batch) -> LossTerms:
        """Compute the loss terms of a batch of pairs."""
        shape, moving, affine, step = batch.fixed.shape[2:], batch.moving, None, self.registration
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
            sum(differences) / len(differences),
            folds(total).float().mean(),
        )


class VoxelMorph(Recipe):
    """One stage, whose weight is that of the gradient penalty; with affine pre-registration, a stage for it before.

    The affine network is AVSM's.
    """

    @staticmethod
    def similarity_in_words(model: VoxelMorphModel) -> str:
        """Name the similarity as the report does."""
        return "MSE"

    @staticmethod
    def build(model: VoxelMorphModel, grid: Sequence[int]) -> tuple[nn.Module, nn.Module | None]:
        """Build the registration of the last stage, and the part of it that this stage freezes."""
        settings = model.settings
        affine = affine_steps(grid, settings, model.stages[0]) if settings.affine else None
        if _learns_affine(model):
            return affine, None
        step = VoxelMorphStep(len(grid), settings.features, settings.integration_steps)
        return (step, None) if affine is None else (TwoSteps(affine, step), affine)

    @staticmethod
    def objective(registration: nn.Module, before: nn.Module | None, model: VoxelMorphModel) -> nn.Module:
        """Build the objective of the last stage."""
        if _learns_affine(model):
            return AffineObjective(registration, model.settings)
        return VoxelMorphObjective(registration)


def _learns_affine(model: VoxelMorphModel) -> bool:
    """Whether the model's last stage is that of the affine pre-registration."""
    return model.settings.affine and len(model.stages) == 1
