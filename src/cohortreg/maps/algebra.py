"""Composition and inversion of SimpleITK's transforms; affine maps stay affine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import SimpleITK as sitk

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid, matrix_in_lps
from cohortreg.images.itk import itk_geometry, to_sitk
from cohortreg.maps.matrices import from_matrix, matrix_of, matrix_of_field, nearest
from cohortreg.maps.transforms import field_of

MOST_STEPS = 40  # of Newton's method


def composed(transforms: Sequence[sitk.Transform]) -> sitk.Transform:
    """The transform that warps an image as these do one after the other, the first one first.

    Each is from points of its fixed to points of its moving image, which is the fixed one of the transform before it;
    points go through the last one first.

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


def leaving(transform: sitk.Transform, grid: Grid) -> int:
    """The number of a grid's voxels whose way through a transform leaves the voxels of a displacement field in it.

    There, a field is the identity, as ITK has it: with a jump.
    """
    parts, left = parts_of(transform), np.zeros(grid.shape, bool)
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    for number, part in enumerate(parts):
        if part.GetTransformEnum() == sitk.sitkDisplacementField:
            points = grid.points(index)
            if before := parts[number + 1 :]:
                shift = field_of(sitk.CompositeTransform(before), grid).displacement
                points = points + np.moveaxis(shift, 0, -1)
            domain = domain_of(part)
            assert domain is not None  # of a field
            left |= ~domain.contains(points)
    return int(left.sum())


@dataclass(frozen=True)
class Inverted:
    """An inverse, and how far it is from one.

    Attributes:
        transform: From points of the moving to points of the fixed image, LPS millimetres.
        mean_error: Distance in millimetres between a voxel of the moving image and where both transforms lead from it,
            one after the other; mean over the voxels that the transform reaches. NaN where it reaches none.
        largest_error: The largest of these distances.
        unreached: The voxels of the moving image that the transform does not reach from the fixed image.
        voxels: Those of the moving image; 0 where no field is computed.
    """

    transform: sitk.Transform
    mean_error: float = 0.0
    largest_error: float = 0.0
    unreached: int = 0
    voxels: int = 0


def inverted(transform: sitk.Transform, moving: Grid | None) -> Inverted:
    """The inverse of a transform: exact of an affine one, of any other a displacement field.

    At each voxel x of the moving image the y with T(y) = x, by Newton's method from the affine map nearest to T; steps
    that do not lead closer are halved. Beyond the fixed image's voxels, where ITK has the identity, T goes on as that
    affine map does, so that the inverse has no jump.

    Args:
        transform: From points of the fixed to points of the moving image, LPS millimetres.
        moving: The moving image's voxels, on which a field is computed.

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
    return _inverse_field(transform, domain_of(transform) or moving, moving)


def _inverse_field(transform: sitk.Transform, domain: Grid, moving: Grid) -> Inverted:
    from scipy.ndimage import map_coordinates

    field = field_of(transform, domain)
    near, last, dim = nearest(field), np.array(domain.shape) - 1, len(domain.shape)

    # Of the affine parts alone: what T does in the outer half of an outer voxel, where ITK's field is constant.
    affine = [matrix for part in parts_of(transform) if (matrix := matrix_of(part)) is not None]
    linear = reduce(np.matmul, affine, np.eye(dim + 1))

    def arrived(y: np.ndarray) -> np.ndarray:
        """T(y) of points [n, dim]."""
        index = domain.indices(y)
        centre, within = (np.clip(index, -rim, last + rim) for rim in (0, 0.5))
        shift = np.stack([map_coordinates(part, centre.T, order=1) for part in field.displacement], -1)
        centre, within = domain.points(centre), domain.points(within)
        return centre + shift + (within - centre) @ linear[:dim, :dim].T + (y - within) @ near[:dim, :dim].T

    x = moving.points(np.indices(moving.shape).reshape(dim, -1).T.astype(float))
    inverse = np.linalg.inv(near)
    y = x @ inverse[:dim, :dim].T + inverse[:dim, dim]
    off = arrived(y) - x
    step, small = np.ones(len(x)), 1e-3 * float(moving.spacing.min())
    left = np.arange(len(x))
    for _ in range(MOST_STEPS):
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
    vectors = to_sitk((y - x).T.reshape(dim, *moving.shape), moving, np.float64)
    # What is stated is true of the transform itself, which several fields are interpolated in.
    back = sitk.DisplacementFieldTransform(vectors)
    there = field_of(sitk.CompositeTransform([transform, back]), moving).displacement
    errors = np.linalg.norm(there.reshape(dim, -1), axis=0)[domain.contains(y)]
    mean, largest = (float(errors.mean()), float(errors.max())) if errors.size else (np.nan, np.nan)
    return Inverted(back, mean, largest, len(x) - errors.size, len(x))
