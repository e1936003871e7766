"""Displacements by a network under mean squared differences of grey values and of neighbouring displacements."""

from functools import reduce

import torch

from cohortreg.icon.networks import ConvOnly
from cohortreg.icon.steps import DisplacementNetwork, TwoSteps
from cohortreg.losses.fields_of_view import both_imaged, unit_bounds
from cohortreg.losses.similarities import mean_squared_error
from cohortreg.losses.terms import LossTerms, Objective
from cohortreg.maps.grids import identity_map, interpolate, voxel_size
from cohortreg.maps.jacobian import folds
from cohortreg.methods.recipes import Recipe


class SmoothObjective(Objective):
    """MSE, and the mean squared difference of displacements, in voxels, between neighbouring voxels."""

    def forward(self, batch):
        """Compute the loss terms of a batch of pairs."""
        shape = batch.fixed.shape[2:]
        phi = self.registration(batch.moving, batch.fixed).on_grid(shape)
        bounds = (unit_bounds(field, shape) for field in (batch.moving_view, batch.fixed_view))
        warped = interpolate(batch.moving, phi)
        displacement = (phi - identity_map(shape, phi.device)) / voxel_size(shape, phi)
        differences = [torch.diff(displacement, dim=axis).square().mean() for axis in range(2, phi.dim())]
        return LossTerms(
            mean_squared_error(warped, batch.fixed, both_imaged(phi, *bounds)),
            sum(differences) / len(differences),
            folds(phi).float().mean(),
        )


class Smooth(Recipe):
    """One stage, whose weight is that of the differences; its steps are networks, one after the other."""

    @staticmethod
    def similarity_in_words(model):
        """Name the similarity as the report does."""
        return "MSE"

    @staticmethod
    def build(model, grid):
        """Build the registration, and no part of it that the stage freezes."""
        channels, layers = model.settings.channels, model.settings.layers
        steps = [DisplacementNetwork(ConvOnly(len(grid), channels, layers)) for _ in range(model.steps)]
        return reduce(TwoSteps, steps), None

    @staticmethod
    def objective(registration, before, model):
        """Build what training minimises."""
        return SmoothObjective(registration)
