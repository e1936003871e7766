"""Grids and transforms as the compiled loops take them: in space, where what is flat has a third axis of one voxel."""

import numpy as np

from cohortreg.images.grid import Grid
from cohortreg.maps.transforms import Transform


def grid_in_space(grid: Grid) -> Grid:
    """A grid with three axes."""
    return grid if len(grid.shape) == 3 else Grid((*grid.shape, 1), grid.nifti_affine)


def in_space(transform: Transform) -> Transform:
    """A transform with three axes, its displacements [3, i, j, k] in memory in this order."""
    grid = grid_in_space(transform.grid)
    if len(transform.displacement) == 3:
        return Transform(np.ascontiguousarray(transform.displacement), grid)
    displacement = np.zeros((3, *grid.shape), np.float32)
    displacement[:2, ..., 0] = transform.displacement
    return Transform(displacement, grid)


def onto(grid: Grid, other: Grid) -> np.ndarray:
    """The matrix [3, 4] from the voxels of a grid in space to where they lie in another one."""
    return (other.lps_to_voxel @ grid.voxel_to_lps)[:3]


def turned(other: Grid) -> np.ndarray:
    """The matrix [3, 3] from displacements in millimetres to those in voxels of a grid in space."""
    return np.ascontiguousarray(other.lps_to_voxel[:3, :3])
