"""The regularity of maps: the spread of their changes of volume, and how far two are from each other's inverse."""

import math

from torch import Tensor

from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import identity_map, voxel_size
from cohortreg.maps.jacobian import volume_form


def log_jacobian_std(phi: Tensor) -> float:
    """Standard deviation over a grid of the logarithm of the Jacobian determinant of the physical map.

    The volume form of a map in unit coordinates is the determinant in millimetres times a constant, and the logarithm
    of a constant has no spread. Folded voxels, whose determinant is not positive, have no logarithm and are left out;
    NaN where all are folded.

    SimpleITK's `DisplacementFieldJacobianDeterminant` differs between neighbours on both sides, so that it misses folds
    that the volume form counts.

    Args:
        phi: From the fixed to the moving image, [1, dim, *grid] in unit coordinates.
    """
    form = volume_form(phi)
    logarithms = form[form > 0].log()
    return logarithms.std(correction=0).item() if logarithms.numel() else math.nan


def inverse_consistency_error(forward: Tensor, inverse: Tensor) -> float:
    """Mean distance in voxels between a voxel and its image under the composition of both maps.

    The mean of |inverse(forward(x)) - x| over the fixed image's voxels and of |forward(inverse(x)) - x| over the moving
    image's: the distance whose square Eq. 5 of Greer et al. 2021 penalises. Maps are [1, dim, *grid] in unit
    coordinates, `forward` from the fixed to the moving image.
    """
    return (_error(forward, inverse) + _error(inverse, forward)) / 2


def _error(first: Tensor, second: Tensor) -> float:
    """Mean over the voxels that `first` starts from, in their own size."""
    start = identity_map(first.shape[2:], first.device, first.dtype)
    target = identity_map(second.shape[2:], second.device, second.dtype)
    arrived = DisplacementField(second - target)(first)
    # `norm` takes several times as long along this axis.
    return ((arrived - start) / voxel_size(first.shape[2:], first)).square().sum(1).sqrt().mean().item()
