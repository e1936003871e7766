"""The identity, from which every method starts."""

import torch

from cohortreg.config import MethodSettings
from cohortreg.images.image import Image
from cohortreg.methods.interface import Registration
from cohortreg.methods.registry import PAIRWISE


class Identity:
    """The identity of the unit square or cube: voxel i of the fixed image is matched to voxel i of the moving image."""

    similarity = ""
    version = PAIRWISE["identity"].release

    class Settings(MethodSettings):
        """The row identity has no settings."""

    def __init__(self, settings: Settings, seed: int, threads: int):
        """It has no settings, and nothing is random."""

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair of preprocessed images."""
        displacement = torch.zeros(1, fixed.array.ndim, *fixed.array.shape)
        return Registration(displacement, displacement)
