"""Registrations that nest: a displacement network, two steps, half resolution.

A registration is a module that takes a moving and a fixed image [batch, 1, *grid] and returns the map phi from
points of the fixed image to points of the moving image, moving(phi(x)) ≈ fixed(x). Since maps are functions
of unit coordinates, registrations at different resolutions compose without further ado.
"""

from typing import Generic, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from cohortreg.maps.fields import Composition, DisplacementField, Map, Recomputed
from cohortreg.maps.grids import interpolate

First = TypeVar("First", bound=nn.Module)
Second = TypeVar("Second", bound=nn.Module)

_AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def halve(image: Tensor) -> Tensor:
    """Halve the resolution of an image [batch, channels, *grid] by averaging over 2 voxels along every axis."""
    return _AVERAGE_POOL[image.dim() - 2](image, 2, ceil_mode=True)


class DisplacementNetwork(nn.Module):
    """One step: a network predicts the displacement field D of phi = D + Id (Eq. 12)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, moving: Tensor, fixed: Tensor) -> Map:
        """Register the pairs and return their map."""
        # Maps are float32 whatever the network computes in: bfloat16 resolves only 1/256 of a displacement.
        precision = next(self.network.parameters()).dtype
        field = DisplacementField(self.network(moving.to(precision), fixed.to(precision)).float())
        return Recomputed(field) if getattr(self.network, "recompute", False) else field


class TwoSteps(nn.Module, Generic[First, Second]):
    """First phi registers the images, then psi what phi left: the map is phi ∘ psi."""

    def __init__(self, first: First, second: Second):
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, moving: Tensor, fixed: Tensor) -> Map:
        """Register the pairs and return their map."""
        phi = self.first(moving, fixed)
        warped = interpolate(moving, phi.on_grid(moving.shape[2:]))
        return Composition(phi, self.second(warped, fixed))


class HalfResolution(nn.Module):
    """A registration that sees the images at half resolution."""

    def __init__(self, registration: nn.Module):
        super().__init__()
        self.registration = registration

    def forward(self, moving: Tensor, fixed: Tensor) -> Map:
        """Register the pairs and return their map."""
        return self.registration(halve(moving), halve(fixed))
