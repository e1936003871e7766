"""Nothing done: what every method starts from."""

import torch

from cohortreg.images.io import Image
from cohortreg.methods.interface import Registration


class Identity:
    """The identity of the unit cube: voxel i of the fixed image is matched to voxel i of the moving image."""

    version = "identity-1"
    similarity = ""

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        displacement = torch.zeros(1, fixed.array.ndim, *fixed.array.shape)
        return Registration(displacement, displacement)
