"""Transforms between raw images: the field with the preprocessing of both images undone around it.

A transform of the results leads between preprocessed images. These lie in space where the raw ones do, but for images
that were mirrored. With x a point of the raw fixed image, F and M the maps from the preprocessed fixed and moving
images to the raw ones, and u the displacement field, the raw transform is x -> M(y + u(y)) with y = F^-1(x).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from cohortreg.images.grid import Grid, matrix_in_lps
from cohortreg.maps.matrices import from_matrix, matrix_of_field
from cohortreg.maps.transforms import Transform, as_sitk


@dataclass(frozen=True)
class Source:
    """The raw image that a preprocessed one was made from.

    Attributes:
        grid: Its voxels.
        to_source: [dim + 1, dim + 1], from RAS millimetres of the preprocessed image to those of the raw one; the
            identity but for mirrored images.
    """

    grid: Grid
    to_source: np.ndarray

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Source":
        """Read the source of an image from its preprocessing record."""
        grid = Grid(record["source_shape"], record["source_affine"])
        return cls(grid, np.array(record["to_source"]))


def between_raw(transform: Transform, moving: Source, fixed: Source) -> sitk.Transform:
    """The transform from points of the raw fixed to points of the raw moving image, in LPS millimetres.

    Where the raw fixed image reaches beyond the preprocessed one, the displacement goes on as it is at the border.

    Returns:
        SimpleITK's: affine where the field is, so that it has no border; otherwise of three transforms, F^-1, the
        field, M.
    """
    to_preprocessed = np.linalg.inv(fixed.to_source)
    matrix = matrix_of_field(transform)
    if matrix is not None:
        return from_matrix(matrix_in_lps(moving.to_source) @ matrix @ matrix_in_lps(to_preprocessed))
    field = covering(transform, Grid(fixed.grid.shape, to_preprocessed @ fixed.grid.affine))
    before, behind = (from_matrix(matrix_in_lps(each)) for each in (to_preprocessed, moving.to_source))
    # Applied from the last to the first.
    return sitk.CompositeTransform([behind, as_sitk(field), before])


def covering(transform: Transform, grid: Grid) -> Transform:
    """The field on a grid of its own voxels that reaches as far as `grid`, voxels' outer edges included.

    What is added repeats the border. ITK's displacement is zero beyond a field, from half a voxel outside of it.
    """
    indices = transform.grid.indices(grid.points(grid.corners()))
    low, high = indices.min(0), indices.max(0)
    # A thousandth of a voxel less, or rounding errors would add a layer where both end at the same place.
    before = np.maximum(np.ceil(-0.5 - low - 1e-3), 0).astype(int)
    behind = np.maximum(np.ceil(high - np.array(transform.grid.shape) + 0.5 - 1e-3), 0).astype(int)
    padding = [(0, 0), *zip(before.tolist(), behind.tolist(), strict=True)]
    displacement = np.pad(transform.displacement, padding, mode="edge")
    return Transform(displacement, transform.grid.part(-before, displacement.shape[1:]))


def in_voxels(transform: Transform, moving: Grid) -> np.ndarray:
    """A displacement field as Learn2Reg has it: [dim, *transform.grid.shape], in voxels.

    At each voxel index of the fixed image, the index of the matching point in the moving image less the fixed one's.
    """
    dim = len(transform.grid.shape)
    to_moving = moving.lps_to_voxel
    fixed_to_moving = to_moving @ transform.grid.voxel_to_lps
    result = np.einsum("ij,j...->i...", to_moving[:dim, :dim].astype(np.float32), transform.displacement)
    axes = (np.arange(n, dtype=np.float32) for n in transform.grid.shape)
    index = np.meshgrid(*axes, indexing="ij", sparse=True)
    for row in range(dim):
        result[row] += np.float32(fixed_to_moving[row, dim])
        for column in range(dim):
            result[row] += np.float32(fixed_to_moving[row, column] - (row == column)) * index[column]
    return result
