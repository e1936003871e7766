"""The interface of registration methods."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from cohortreg.images.image import Image


@dataclass(frozen=True)
class Registration:
    """The result for a pair: displacement fields in unit coordinates, [1, dim, *grid].

    forward: phi - Id with moving(phi(x)) ≈ fixed(x), x in the fixed image. inverse: the same from points of the
    moving image to points of the fixed image; None where the method has no inverse.
    """

    forward: Tensor
    inverse: Tensor | None


class Method(Protocol):
    """Registers a moving to a fixed image on one grid; never sees a label.

    Everything that is done for each pair happens inside the call, which is what is timed; what serves all pairs is
    done when the method is made. See docs/methods.md on how to add one.
    """

    #: Changes when the method's results would: part of what says whether a transform is up to date.
    version: str
    #: The similarity that the method maximises, as the tables show it.
    similarity: str

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register one pair; raises UserError, with the reason in one sentence, where the method cannot."""
