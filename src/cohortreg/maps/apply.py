"""Application of a transform to images and label maps, on any grid, and to points."""

import numpy as np
import SimpleITK as sitk

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.images.image import Image
from cohortreg.images.io import MOST_LABEL, label_type
from cohortreg.images.itk import to_sitk
from cohortreg.maps.exchange import Pair


def warp(
    image: Image, transform: sitk.Transform, grid: Grid, nearest: bool = False, background: float = 0
) -> Image:
    """Warp the moving image, or its label map, onto `grid`, which lies in the fixed image's space.

    Linear interpolation, or with `nearest`, for labels, the nearest voxel's value, in the image's own type.

    Args:
        transform: From points of the fixed to points of the moving image, LPS millimetres.
        background: Where the transform leads out of the image.

    Raises:
        UserError: It leads nowhere into the image, or no type holds the labels and the background.
    """
    dtype = _holding(image.array.dtype, background)
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    where = grid.origin.tolist(), grid.spacing.tolist(), grid.direction.flatten().tolist()
    # float32 would round labels above 2^24, which atlases have.
    given = to_sitk(image.array, image.grid, np.float64 if nearest else np.float32)
    resampled = sitk.Resample(given, grid.shape, transform, interpolator, *where, background)
    warped = sitk.GetArrayFromImage(resampled).T
    if (warped == background).all() and not (image.array == background).all():
        check_overlap(image, transform, grid)
    return Image(np.ascontiguousarray(warped).astype(dtype, copy=False), grid.affine)


def _holding(dtype: np.dtype, background: float) -> np.dtype:
    """The type of an image or label map, or the next wider one that can represent the background."""
    if dtype.kind == "f":
        if np.isfinite(background) and abs(background) > np.finfo(dtype).max:
            raise UserError(
                f"the background {background:g} is outside the range of the image's type; choose a smaller one."
            )
        return dtype
    if not float(background).is_integer() or abs(background) > MOST_LABEL:
        raise UserError(f"the background {background:g} is not a label; choose a whole number.")
    return label_type(dtype, np.min_scalar_type(int(background)))


def looks_like_labels(array: np.ndarray) -> bool:
    """Whether the values of an image look like labels, between which nothing can be interpolated.

    They are whole numbers, at most 32, or, as in an atlas of hundreds of regions, mostly those of their neighbours.
    """
    # Of a volume some slices: to sort all values of a large one would take seconds.
    some = array[..., :: max(1, array.shape[-1] // 16)] if array.ndim == 3 else array
    if (some != np.rint(some)).any():
        return False
    values, counts = np.unique(some, return_counts=True)
    if len(values) <= 32:
        return True
    inside = some != values[counts.argmax()]
    same = pairs = 0
    for ahead, behind in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        both = inside[ahead] & inside[behind]
        pairs += int(np.count_nonzero(both))
        same += int(np.count_nonzero(both & (some[ahead] == some[behind])))
    return same > 0.6 * pairs


def check_axes(transform: sitk.Transform, **grids: Grid) -> None:
    """Raise UserError where a grid, named by its keyword, differs in dimension from the transform."""
    dim = transform.GetDimension()
    for name, grid in grids.items():
        if len(grid.shape) != dim:
            raise UserError(
                f"the transform is {dim}D and the {name} {len(grid.shape)}D; give the {name} it was made for."
            )


def check_overlap(image: Image, transform: sitk.Transform, grid: Grid) -> None:
    """Raise UserError where no point of the grid is mapped into the image: the transform is not for it."""
    steps = [np.linspace(0, n - 1, min(n, 16)) for n in grid.shape]
    index = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, len(steps))
    if not image.grid.contains(move(grid.points(index), transform)).any():
        raise UserError(
            "no point of the fixed image's grid is mapped into the image: the transform was made for a different one."
        )


def check_made_for(grid: Grid, pair: Pair) -> None:
    """Raise UserError where an image does not fill the space of the moving image that the transform was made for."""
    if (apart := _apart(grid, pair.moving)) is not None:
        raise UserError(
            f"the transform was made for a moving image of {_described(pair.moving)}, but this one has "
            f"{_described(grid)}, {apart:.0f} mm off; give the image it was made for, or one in the same place."
        )


def check_follows(before: Pair, after: Pair) -> None:
    """Raise UserError where a transform does not begin with the image that the one before it leads to."""
    if (apart := _apart(before.fixed, after.moving)) is not None:
        raise UserError(
            f"a transform for a moving image of {_described(after.moving)} follows one onto an image of "
            f"{_described(before.fixed)}, {apart:.0f} mm off; give them in the order in which they warp an image."
        )


def _apart(grid: Grid, other: Grid) -> float | None:
    """Millimetres between the corners of two images; None where they fill the same space.

    Label maps and copies of another resolution do: their outer edges agree to one of the coarser voxels.
    """
    outer = [each.points(each.corners()) for each in (grid, other)]
    voxel = max(each.spacing.max() for each in (grid, other))
    apart = float(np.linalg.norm(outer[0][:, None] - outer[1][None], axis=2).min(1).max())
    return apart if apart > voxel else None


def move(points: np.ndarray, transform: sitk.Transform) -> np.ndarray:
    """Map points [n, dim] of the fixed image to the moving image, both in LPS millimetres."""
    return np.array([transform.TransformPoint(point) for point in points.tolist()]).reshape(points.shape)


def mirrors(transform: sitk.Transform, grid: Grid | None = None) -> bool:
    """Whether a transform mirrors, as between a left and a right knee; `grid` is that of a displacement field."""
    dim = transform.GetDimension()
    index = np.vstack([np.zeros(dim), 0.5 * np.eye(dim)])
    # From the middle half way to the border, so that a fold at one place does not decide.
    points = grid.points((np.array(grid.shape) - 1) * (index + 1) / 2) if grid else index
    moved = move(points, transform)
    turned = np.linalg.det(moved[1:] - moved[0]) * np.linalg.det(points[1:] - points[0])
    return bool(turned < 0)


def _described(grid: Grid) -> str:
    return " x ".join(map(str, grid.shape)) + " voxels"
