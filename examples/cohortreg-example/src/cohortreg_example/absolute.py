"""The mean absolute difference, a similarity."""

from torch import Tensor

from cohortreg.losses.similarities import weighted_mean


def mean_absolute_difference(warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
    """Mean of |warped - fixed|: a few bright voxels that have no counterpart weigh less in it than in MSE."""
    return weighted_mean((warped - fixed).abs(), weight).mean()
