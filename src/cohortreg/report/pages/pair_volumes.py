"""The volumes that a pair's page shows: its images, and the results of each method."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cohortreg.evaluation.sampling import centres, crop, displace, sample
from cohortreg.evaluation.structures import HALF, structure_mask
from cohortreg.images.geometry import block_means
from cohortreg.images.grid import Grid
from cohortreg.images.image import Image, Structures
from cohortreg.maps.grids import interpolate, resize
from cohortreg.maps.jacobian import volume_form
from cohortreg.maps.transforms import Transform, to_unit
from cohortreg.report.comparison import Source
from cohortreg.report.pages.volumes import block_sizes, shrunk_image, shrunk_transform

DRAWN = 255  # structures, which a picture's byte can tell apart
APART = 4  # voxels between the points at which a page has the map
LEVELS = 3  # steps from a voxel outside of a structure to one inside
JACOBIAN = (-2.0, 2.0)  # a quarter of the volume to four times the volume


@dataclass(frozen=True)
class Images:
    """A pair's images, on grids small enough for a page, and their labels, each on its own grid.

    Attributes:
        sizes: Voxels of the preprocessed images along each axis that became one.
        grid: Of the preprocessed moving image.
        labels: Of both, where both have one.
    """

    moving: Image
    fixed: Image
    sizes: tuple[int, ...]
    grid: Grid
    labels: tuple[Image, ...] | None


@dataclass(frozen=True)
class Registered:
    """The result of a method for a pair, on the fixed image's grid.

    Attributes:
        warped: The moving image, [*grid].
        label: The moving label as `label_pixels` has it, None without labels.
        folded: Whether any part of a voxel folds, [*grid].
        log_jacobian: Logarithm to base 2 of how many times larger a voxel becomes, [*grid / 2], within `JACOBIAN`.
        displacement: [dim, *coarse] millimetres along the array axes, at points about `APART` voxels from each other of
            which the outermost are the outermost voxel centres; a point of the fixed image plus its displacement is the
            point of the moving image, both counted from the outer corner of the image's first voxel.
    """

    warped: np.ndarray
    label: np.ndarray | None
    folded: np.ndarray
    log_jacobian: np.ndarray
    displacement: np.ndarray


def read_images(source: Source, moving: str, fixed: str) -> Images:
    """Read a pair's images, and its labels where both have one, or raise UserError where an image is missing."""
    whole_moving, whole_fixed = source.image(moving), source.image(fixed)
    sizes = block_sizes(whole_fixed.shape, whole_fixed.spacing)
    small = shrunk_image(whole_moving, sizes), shrunk_image(whole_fixed, sizes)
    return Images(*small, sizes, whole_moving.grid, source.labels(moving, fixed))


def register(images: Images, transform: Transform, structures: Structures) -> Registered:
    """Warp a pair's moving image and label by a transform, and compute the regularity of its map."""
    phi = to_unit(transform, images.grid)
    small = shrunk_transform(transform, images.sizes)
    small_phi = to_unit(small, images.moving.grid)
    moving = torch.from_numpy(images.moving.array)[None, None]
    points = displace(centres(images.fixed.grid), small)
    form = volume_form(phi)[0].numpy()
    folded = np.pad(form < 0, _padding(form.ndim))
    return Registered(
        warped=interpolate(moving, small_phi.float())[0, 0].numpy(),
        label=label_pixels(images.labels[0], points, structures) if images.labels else None,
        folded=folded if max(images.sizes) == 1 else block_means(folded, images.sizes) > 0,
        log_jacobian=_log_jacobian(form, images.grid, transform.grid, images.sizes),
        displacement=_coarse_displacement(small_phi, images),
    )


def label_pixels(label: Image, points: torch.Tensor, structures: Structures) -> np.ndarray:
    """A label at points [1, dim, *grid], uint8 [*grid, 3]: which structure, from 1; how much of it, 0 to 255; 0.

    Each structure is sampled as a linear image, as where Dice is measured; the one that has most of a voxel
    counts. At `LEVELS` steps, so that outlines run between voxels and the picture stays small: 1.8 KB instead of
    the 0.9 KB of a mask and the 3.5 KB of sixteen steps, of a hippocampus in base64.
    """
    shares = [
        sample(*crop(structure_mask(label.array, values), label.grid), points, outside="zeros")[0, 0].numpy()
        for values in structures.values()
    ]
    if not shares:
        return np.zeros((*points.shape[2:], 3), np.uint8)
    most = np.max(shares, axis=0)
    # One half belongs to the structure, whatever rounding makes of it.
    steps = np.rint(np.where(most >= HALF, np.maximum(most, 0.5001), most) * LEVELS).astype(np.uint8)
    which = np.where(steps > 0, np.argmax(shares, axis=0) + 1, 0).astype(np.uint8)
    return np.stack([which, steps * (255 // LEVELS), np.zeros_like(which)], axis=-1)


def _padding(dim: int) -> tuple[int, int]:
    """Voxels at both ends of an axis that have no volume form: the first in three dimensions, the last in two."""
    return (1, 0) if dim == 3 else (0, 1)


def _log_jacobian(form: np.ndarray, moving: Grid, fixed: Grid, sizes: Sequence[int]) -> np.ndarray:
    """Logarithm of the Jacobian, see `Registered`, of the volume form of a map to unit coordinates of `moving`.

    Averaged over two voxels of the page along each axis, which keeps its noise from costing more than it tells.
    """
    unit = (np.array(moving.shape) - 1) * moving.spacing
    times = np.pad(form, _padding(form.ndim), mode="edge") * (np.prod(unit) / np.prod(fixed.spacing))
    mean = np.clip(block_means(times, [2 * size for size in sizes]), 2 ** JACOBIAN[0], 2 ** JACOBIAN[1])
    return np.log2(mean).astype(np.float32)


def _coarse_displacement(phi: torch.Tensor, images: Images) -> np.ndarray:
    """See `Registered`, of a map [1, dim, *grid] in unit coordinates of the page's moving image."""
    places, dim = [], phi.dim() - 2
    for axis, n in enumerate(images.fixed.shape):
        along = phi[:, axis] * (images.moving.shape[axis] - 1) + 0.5
        here = torch.arange(n, dtype=phi.dtype).reshape(-1, *[1] * (dim - 1 - axis))
        places.append(along * images.moving.spacing[axis] - (here + 0.5) * images.fixed.spacing[axis])
    shape = [max(2, -(-(n - 1) // APART) + 1) for n in images.fixed.shape]
    return resize(torch.stack(places, 1), shape)[0].float().numpy()
