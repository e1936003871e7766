"""Affine maps as matrices [dim + 1, dim + 1] between points in LPS: of linear transforms, and of affine fields."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from cohortreg.images.grid import Grid
from cohortreg.maps.transforms import Transform

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Voxels that a field may be off an affine map and still be one; what float32 rounds is less.
ROUNDING = 1e-3


def matrix_of(transform: "sitk.Transform") -> np.ndarray | None:
    """The matrix of a transform that is linear by its type, or of several of these; None of any other."""
    if not transform.IsLinear():
        return None
    dim = transform.GetDimension()
    corners = np.vstack([np.zeros(dim), np.eye(dim)])
    moved = np.array([transform.TransformPoint(point) for point in corners.tolist()])
    matrix = np.eye(dim + 1)
    matrix[:dim, :dim], matrix[:dim, dim] = (moved[1:] - moved[0]).T, moved[0]
    return matrix


def matrix_of_field(field: Transform) -> np.ndarray | None:
    """The matrix of a displacement field that is affine, to `ROUNDING`; None of any other."""
    matrix = nearest(field)
    tolerance = ROUNDING * field.grid.spacing.min()
    for expected, component in zip(displacements(matrix, field.grid), field.displacement, strict=True):
        if np.abs(expected - component).max() > tolerance:
            return None
    return matrix


def displacements(matrix: np.ndarray, grid: Grid) -> Iterator[np.ndarray]:
    """The components of a matrix's displacement field one after the other, [*grid.shape] in LPS millimetres."""
    axes = np.ogrid[tuple(slice(float(size)) for size in grid.shape)]
    for row in ((matrix - np.eye(len(matrix))) @ grid.voxel_to_lps)[:-1]:
        yield sum((factor * axis for factor, axis in zip(row[:-1], axes, strict=True)), start=row[-1])


def nearest(field: Transform) -> np.ndarray:
    """The matrix of the affine map nearest to a field, by least squares over some of its voxels."""
    some = [np.unique(np.linspace(0, size - 1, min(size, 16)).astype(int)) for size in field.grid.shape]
    index = np.stack(np.meshgrid(*some, indexing="ij"), -1).reshape(-1, len(some))
    points = field.grid.points(index)
    vectors = field.displacement[:, *index.T].T.astype(np.float64)
    # About their centre, or images far from the origin would lose digits.
    centre = points.mean(0)
    known = np.hstack([points - centre, np.ones((len(points), 1))])
    linear = np.linalg.lstsq(known, vectors, rcond=None)[0].T
    linear[:, -1] -= linear[:, :-1] @ centre
    return np.eye(len(some) + 1) + np.vstack([linear, np.zeros(len(some) + 1)])


def from_matrix(matrix: np.ndarray) -> "sitk.AffineTransform":
    """SimpleITK's affine transform of a matrix."""
    import SimpleITK as sitk

    dim = len(matrix) - 1
    affine = sitk.AffineTransform(dim)
    affine.SetMatrix(matrix[:dim, :dim].flatten().tolist())
    affine.SetTranslation(matrix[:dim, dim].tolist())
    return affine
