"""Centres of mass: the moving image is shifted so that they meet."""

import torch
from pydantic import Field

from cohortreg.config import MethodSettings
from cohortreg.maps.grids import identity_map
from cohortreg.methods.interface import Registration
from cohortreg.settings import Number


class Centre:
    similarity = ""

    class Settings(MethodSettings):
        """Settings of the row centre."""

        power: Number = Field(1, description="power of the intensities that weigh voxels")

    def __init__(self, settings, seed, threads):
        self.power = settings.power
        self.version = f"centre-1 {self.power}"

    def __call__(self, moving, fixed):
        shift = self._centre(moving) - self._centre(fixed)
        forward = shift.reshape(1, 3, 1, 1, 1).expand(1, 3, *fixed.shape)
        return Registration(forward, -forward)

    def _centre(self, image):
        weight = torch.from_numpy(image.array)[None, None] ** self.power
        return (identity_map(image.shape) * weight).flatten(2).sum(2) / weight.sum()
