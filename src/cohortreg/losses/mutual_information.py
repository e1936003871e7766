"""Mattes' mutual information of grey values at scattered points, with its gradient written out."""

import torch
from torch import Tensor

from cohortreg.losses.similarities import GradientAtOnce


class MutualInformationWithOne:
    """Minus the mutual information of one image's grey values with another's at the same points, in nats.

    Their joint histogram has a cubic B-spline as Parzen window along the other image's values, so that it changes
    smoothly with these, and none along the first image's (Mattes et al., IEEE TMI 2003).

    Args:
        fixed: Grey values of the first image, [points].
        low: The least grey value of the other one.
        high: The greatest, which is greater.
        bins: Of either image's histogram, 4 at least.
    """

    def __init__(self, fixed: Tensor, low: float, high: float, bins: int):
        self.low, self.bins, self.width = low, bins, (high - low) / (bins - 3)
        least, greatest = fixed.aminmax()
        place = (fixed - least) / (greatest - least).clamp(min=1e-12)
        #: Where each point's row of the histogram begins.
        self.rows = (place * bins).long().clamp(max=bins - 1) * bins

    def __call__(self, values: Tensor, weight: Tensor) -> Tensor:
        """Compute the similarity term, a scalar, from the other image's values and a weight per point, [points]."""
        return GradientAtOnce.apply(values, weight, self)

    def value_and_gradient(self, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The similarity, a scalar, and its gradient by the values, [points]."""
        place = ((values - self.low) / self.width).clamp(0, self.bins - 3)
        # The first of the four bins that a value's window reaches; the next one is the value's own.
        first = place.long().clamp(max=self.bins - 4)
        windows, slopes = _spline(place - first)
        cells = self.rows + first + torch.arange(4, device=first.device)[:, None]
        counts = torch.bincount(cells.flatten(), (windows * weight).flatten(), self.bins**2)
        total = counts.sum().clamp(min=1e-12)
        joint = (counts / total).reshape(self.bins, self.bins)
        if_independent = joint.sum(0) * joint.sum(1, keepdim=True)
        gain = (joint.clamp(min=1e-30) / if_independent.clamp(min=1e-30)).log()
        by_values = (slopes * gain.flatten()[cells]).sum(0) * weight / (self.width * total)
        return -(joint * gain).sum(), -by_values


def _spline(t: Tensor) -> tuple[Tensor, Tensor]:
    """The cubic B-spline's values and slopes at the four bins around places [points], each [4, points].

    Args:
        t: From the second bin, at 0, to the third, at 1.
    """
    s = 1 - t
    values = [s**3, (3 * t - 6) * t**2 + 4, (3 * s - 6) * s**2 + 4, t**3]
    slopes = [-(s**2), (3 * t - 4) * t, (4 - 3 * s) * s, t**2]
    return torch.stack(values) / 6, torch.stack(slopes) / 2
