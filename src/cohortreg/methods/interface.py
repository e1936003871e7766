"""The interface of registration methods."""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.images.image import Image
from cohortreg.maps.imaged import continued
from cohortreg.maps.transforms import Transform, displacement_in_unit


@dataclass(frozen=True)
class Registration:
    """The result for a pair: displacement fields in unit coordinates, [1, dim, *grid].

    Attributes:
        forward: phi - Id with moving(phi(x)) ≈ fixed(x), x in the fixed image.
        inverse: The same from points of the moving image to points of the fixed image; None where the method has no
            inverse.
    """

    forward: Tensor
    inverse: Tensor | None


class Method(Protocol):
    """Registers a moving to a fixed image on one grid; never sees a label.

    Everything that is done for each pair happens inside the call, which is what is timed; what serves all pairs is
    done when the method is made. The class of a method that needs no training has a class of its `Settings`, and takes
    such settings, a seed, the number of threads and, where its entry says that it is accelerated, the device that
    networks run on. See docs/methods.md on how to add one.
    """

    #: Changes when the method's results would: part of what says whether a transform is up to date.
    version: str
    #: The similarity that the method maximises, as the tables show it.
    similarity: str

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair of preprocessed images; raises UserError where the method cannot, with the reason."""


def check_finite(*images: Image) -> None:
    """Raise UserError where an image has values that no similarity can be computed from."""
    if not all(np.isfinite(image.array).all() for image in images):
        raise UserError("an image has NaN or infinite values; preprocess it again")


def on_whole_grid(transform: Transform, grid: Grid, tool: str, advice: str) -> Tensor:
    """A tool's field between images as `imaged` crops them, on their whole grid and in its unit coordinates."""
    if not np.isfinite(transform.displacement).all():
        raise UserError(f"{tool} returned a field with NaN or infinite values; {advice}")
    return displacement_in_unit(continued(transform, grid), grid)


def timed(method: Method, moving: Image, fixed: Image) -> tuple[Registration, float]:
    """Register a preprocessed pair and time it, in seconds; raises UserError where it fails, or a map is not finite."""
    start = time.perf_counter()
    # The result is in the processor's memory, so an accelerator has finished when the call returns.
    registration = method(moving, fixed)
    seconds = time.perf_counter() - start
    fields = [registration.forward, registration.inverse]
    if not all(torch.isfinite(displacement).all() for displacement in fields if displacement is not None):
        raise UserError("the computed displacement has NaN or infinite values")
    return registration, seconds
