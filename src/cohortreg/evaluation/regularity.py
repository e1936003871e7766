"""The regularity of maps: their volume form, its spread, and how far two are from each other's inverse."""

import math

import numpy as np

from cohortreg.evaluation.in_space import in_space, onto, turned
from cohortreg.images.grid import Grid
from cohortreg.maps.transforms import Transform


def volume_form(transform: Transform, moving: Grid) -> np.ndarray:
    """Determinant of the finite differences between neighbouring voxels of a map, as `maps.jacobian` has it.

    Args:
        transform: From the fixed image, on whose grid it lies.
        moving: Grid of the moving image, in which the map reverses orientation or does not.

    Returns:
        [*(n - 1 for n in grid)] float64, proportional to the volume that each voxel is mapped to, negative where the
        map folds.
    """
    field, axes = transform.displacement, np.ascontiguousarray(transform.grid.voxel_to_lps[:-1, :-1])
    if len(field) == 2:
        here = field[:, :-1, :-1].astype(np.float64)
        a, b = field[:, 1:, :-1] - here, field[:, :-1, 1:] - here
        form = (a[0] + axes[0, 0]) * (b[1] + axes[1, 1]) - (a[1] + axes[1, 0]) * (b[0] + axes[0, 1])
    else:
        from cohortreg.evaluation import kernels  # where nothing is measured, Numba may be missing

        form = np.empty([n - 1 for n in transform.grid.shape])
        kernels.volume_form(np.ascontiguousarray(field), axes, form)
    if np.linalg.det(moving.voxel_to_lps[:-1, :-1]) < 0:
        np.negative(form, out=form)
    return form


def log_jacobian_std(form: np.ndarray) -> float:
    """Standard deviation over a grid of the logarithm of the Jacobian determinant of the physical map.

    The volume form is the determinant in millimetres times a constant, and the logarithm of a constant has no spread.
    Folded voxels, whose determinant is not positive, have no logarithm and are left out; NaN where all are folded.

    SimpleITK's `DisplacementFieldJacobianDeterminant` differs between neighbours on both sides, so that it misses folds
    that the volume form counts.

    Args:
        form: What `volume_form` returns.
    """
    logarithms = np.log(form[form > 0])
    return float(logarithms.std()) if logarithms.size else math.nan


def inverse_consistency_error(forward: Transform, inverse: Transform) -> float:
    """Mean distance in voxels between a voxel and its image under the composition of both maps.

    The mean of |inverse(forward(x)) - x| over the fixed image's voxels and of |forward(inverse(x)) - x| over the moving
    image's: the distance whose square Eq. 5 of Greer et al. 2021 penalises.

    Args:
        forward: From the fixed to the moving image, on the fixed one's grid.
        inverse: From the moving to the fixed image, on the moving one's grid.
    """
    there, back = in_space(forward), in_space(inverse)
    return (_error(there, back) + _error(back, there)) / 2


def _error(there: Transform, back: Transform) -> float:
    """Mean over the voxels that `there` starts from, in their own size; beyond a grid, voxels count as unit ones do."""
    from cohortreg.evaluation import kernels

    sizes, sizes_back = (np.maximum(np.array(each.grid.shape) - 1.0, 1) for each in (there, back))
    total = kernels.distance_there_and_back(
        there.displacement, onto(there.grid, back.grid), turned(back.grid),
        back.displacement, onto(back.grid, there.grid), turned(there.grid),
        sizes / sizes_back, np.empty(there.grid.shape[-1]),
    )  # fmt: skip
    return float(total) / there.displacement[0].size
