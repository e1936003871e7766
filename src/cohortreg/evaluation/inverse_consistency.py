"""The inverse-consistency error of the maps between two images."""

from torch import Tensor

from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import identity_map, voxel_size


def inverse_consistency_error(forward: Tensor, inverse: Tensor) -> float:
    """Mean distance in voxels between a voxel and its image under the composition of both maps.

    The mean of |inverse(forward(x)) - x| over the fixed image's voxels and of |forward(inverse(x)) - x| over the moving
    image's: the distance whose square Eq. 5 of Greer et al. 2021 penalises.

    Args:
        forward: From the fixed to the moving image, [1, dim, *grid] in unit coordinates.
        inverse: The other way, likewise.
    """
    there_and_back = _error(forward, inverse)
    back_and_there = _error(inverse, forward)
    return (there_and_back + back_and_there) / 2


def _error(first: Tensor, second: Tensor) -> float:
    """Mean over the voxels that `first` starts from, in their own size."""
    start = identity_map(first.shape[2:], first.device, first.dtype)
    target = identity_map(second.shape[2:], second.device, second.dtype)
    arrived = DisplacementField(second - target)(first)
    # `norm` takes several times as long along this axis.
    return ((arrived - start) / voxel_size(first.shape[2:], first)).square().sum(1).sqrt().mean().item()
