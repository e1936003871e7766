"""The regularity of a map: the spread of its changes of volume."""

import math

from torch import Tensor

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
