"""Composition and inversion of SimpleITK's transforms; affine maps stay affine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid, matrix_in_lps
from cohortreg.images.itk import itk_geometry, to_sitk
from cohortreg.maps.matrices import from_matrix, matrix_of, matrix_of_field, nearest
from cohortreg.maps.transforms import field_of


def composed(transforms: Sequence[sitk.Transform]) -> sitk.Transform:
    """The transform that warps an image as these do one after the other, the first one first.

    Args:
        transforms: Each from points of its fixed to points of its moving image, which is the fixed one of the transform
            before it. Points go through the last one first.

    Returns:
        SimpleITK's composite, without others in it, and with neighbours that are affine as one; an affine transform
        where all of them are.

    Raises:
        UserError: They differ in dimension.
    """
    if len({transform.GetDimension() for transform in transforms}) > 1:
        raise UserError("2D and 3D transforms cannot be composed; give those of one dimension.")
    merged: list[sitk.Transform] = []
    for part in (part for transform in transforms for part in parts_of(transform)):
        before, matrix = matrix_of(merged[-1]) if merged else None, matrix_of(part)
        if before is not None and matrix is not None:
            merged[-1] = from_matrix(before @ matrix)
        else:
            merged.append(part if matrix is None else from_matrix(matrix))
    return merged[0] if len(merged) == 1 else sitk.CompositeTransform(merged)


def parts_of(transform: sitk.Transform) -> list[sitk.Transform]:
    """The transforms that one is composed of, at whatever depth; points go through the last one first."""
    if transform.GetTransformEnum() != sitk.sitkComposite:
        return [transform]
    whole = sitk.CompositeTransform(transform)
    return [part for n in range(whole.GetNumberOfTransforms()) for part in parts_of(whole.GetNthTransform(n))]


def domain_of(transform: sitk.Transform) -> Grid | None:
    """The voxels, in the fixed image's space, of the first displacement field that points meet; None without any."""
    to_field = np.eye(transform.GetDimension() + 1)
    for part in reversed(parts_of(transform)):
        if part.GetTransformEnum() == sitk.sitkDisplacementField:
            field = sitk.DisplacementFieldTransform(part).GetDisplacementField()
            grid = Grid.from_itk(**itk_geometry(field))
            return Grid(grid.shape, matrix_in_lps(np.linalg.inv(to_field)) @ grid.affine)
        matrix = matrix_of(part)
        if matrix is None:
            return None
        to_field = matrix @ to_field
    return None


@dataclass(frozen=True)
class Inverted:
    """An inverse, and how far it is from one.

    Attributes:
        transform: From points of the moving to points of the fixed image, LPS millimetres.
        mean_error: Distance in millimetres between a point of the moving image and where both transforms lead from it,
            one after the other; mean over the voxels that the transform reaches.
        largest_error: The largest of these distances.
    """

    transform: sitk.Transform
    mean_error: float = 0.0
    largest_error: float = 0.0


def inverted(transform: sitk.Transform, moving: Grid | None, most: int = 40) -> Inverted:
    """The inverse of a transform: exact of an affine one, of any other a displacement field.

    At each voxel x of the moving image the y with T(y) = x, by Newton's method from the affine map nearest to T; steps
    that do not lead closer are halved. Beyond its voxels, T goes on as that affine map does.

    Args:
        transform: From points of the fixed to points of the moving image, LPS millimetres.
        moving: The moving image's voxels, on which a field is computed.
        most: Iterations at most.

    Raises:
        UserError: The transform is singular, or no grid is given and it is not affine.
    """
    matrix = matrix_of(transform)
    if matrix is None and (domain := domain_of(transform)) is not None:
        matrix = matrix_of_field(field_of(transform, domain))
    if matrix is not None:
        if abs(np.linalg.det(matrix)) < 1e-12:
            raise UserError("the transform maps space onto a plane or a line, so that it has no inverse.")
        return Inverted(from_matrix(np.linalg.inv(matrix)))
    if moving is None:
        raise UserError(
            "the inverse is a displacement field on the moving image's voxels; give that image as reference."
        )
    return _inverse_field(transform, domain_of(transform) or moving, moving, most)


def _inverse_field(transform: sitk.Transform, domain: Grid, moving: Grid, most: int) -> Inverted:
    from scipy.ndimage import map_coordinates

    field = field_of(transform, domain)
    near, last, dim = nearest(field), np.array(domain.shape) - 1, len(domain.shape)

    def arrived(y: np.ndarray) -> np.ndarray:
        """T(y) of points [n, dim]."""
        index = np.clip(domain.indices(y), 0, last)
        within = domain.points(index)
        shift = [map_coordinates(component, index.T, order=1) for component in field.displacement]
        return within + np.stack(shift, -1) + (y - within) @ near[:dim, :dim].T

    x = moving.points(np.indices(moving.shape).reshape(dim, -1).T.astype(float))
    inverse = np.linalg.inv(near)
    y = x @ inverse[:dim, :dim].T + inverse[:dim, dim]
    off = arrived(y) - x
    step, small = np.ones(len(x)), 1e-3 * float(moving.spacing.min())
    left = np.arange(len(x))
    for _ in range(most):
        left = left[np.linalg.norm(off[left], axis=1) > small]
        if not left.size:
            break
        there = y[left]
        ahead = [arrived(there + small * along) - x[left] - off[left] for along in np.eye(dim)]
        jacobian = np.stack(ahead, -1) / small
        jacobian[np.abs(np.linalg.det(jacobian)) < 1e-6] = near[:dim, :dim]
        further = there - step[left, None] * np.linalg.solve(jacobian, off[left][..., None])[..., 0]
        off_there = arrived(further) - x[left]
        closer = np.linalg.norm(off_there, axis=1) < np.linalg.norm(off[left], axis=1)
        y[left[closer]], off[left[closer]] = further[closer], off_there[closer]
        step[left] = np.where(closer, 1.0, step[left] / 2)
    index = domain.indices(y)
    inside = ((index > -0.5) & (index < last + 0.5)).all(1)
    errors = np.linalg.norm(off[inside] if inside.any() else off, axis=1)
    vectors = to_sitk((y - x).T.reshape(dim, *moving.shape), moving, np.float64)
    return Inverted(sitk.DisplacementFieldTransform(vectors), float(errors.mean()), float(errors.max()))
