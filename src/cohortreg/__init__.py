"""Registration of image pairs and whole cohorts by inverse consistency (ICON).

    >>> import cohortreg as cr
    >>> found = cr.register("moving.nii.gz", "fixed.nii.gz")
    >>> print(found.quality)
    >>> found.warped.save("moving_on_fixed.nii.gz")

Images are paths, images of SimpleITK or nibabel, or (array, affine). Nothing is loaded before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cohortreg.errors import UserError
    from cohortreg.images.image import Image
    from cohortreg.pairs.measures import measure
    from cohortreg.pairs.models import Model, load
    from cohortreg.pairs.plot import plot
    from cohortreg.pairs.registration import Quality, Registered, register
    from cohortreg.pairs.transforms import compose, invert, warp

__version__ = "0.1.0"

__all__ = [
    "Image",
    "Model",
    "Quality",
    "Registered",
    "UserError",
    "compose",
    "invert",
    "load",
    "measure",
    "plot",
    "register",
    "warp",
]

_MODULES = {
    "errors": ("UserError",),
    "images.image": ("Image",),
    "pairs.measures": ("measure",),
    "pairs.models": ("Model", "load"),
    "pairs.plot": ("plot",),
    "pairs.registration": ("Quality", "Registered", "register"),
    "pairs.transforms": ("compose", "invert", "warp"),
}


def __getattr__(name: str) -> object:
    """Import what is used (PEP 562): PyTorch and ITK take seconds to load."""
    for module, names in _MODULES.items():
        if name in names:
            from cohortreg.openmp import loading

            with loading():
                value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
