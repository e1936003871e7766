"""Structures of a registered pair as masks, the moving ones warped, at the resolution of the labels."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from cohortreg.evaluation.sampling import displace, sample, slab_points, slabs
from cohortreg.images.grid import Grid
from cohortreg.images.image import Image
from cohortreg.maps.transforms import Transform, apply_affine

# A voxel of which exactly half is covered belongs to the structure, whatever float32 makes of one half.
HALF = 0.5 - 1e-4


def structure_masks(
    moving: Image, fixed: Image, transform: Transform, structures: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of every structure its name, the warped moving label's mask and the fixed label's mask.

    Each structure of the moving label is warped as a linear image and cut at one half (Greer et al. 2021, 5); what lies
    outside the moving label's field of view is background. The masks are boolean, on the fixed label's grid, in the box
    around both of them.

    Args:
        moving: Labels [i, j, k] or [i, j], on a grid of its own, which need not be that of the transform.
        fixed: Likewise.
        transform: From the fixed to the moving image.
        structures: Name -> label values that make it up.
    """
    warped = _warp(moving, fixed, transform, structures)
    for name, values in structures.items():
        mask, target = warped.pop(name), structure_mask(fixed, values)
        box = bounding_box(mask | target)
        yield name, mask[box], target[box]


def _warp(
    moving: Image, fixed: Image, transform: Transform, structures: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """Name -> where on the fixed label's grid the warped structure is, in memory one byte a voxel and structure.

    Points are displaced once for all structures, slab by slab, and only where any structure can arrive; structures are
    interpolated only in cells of eight voxels that have one.
    """
    masks = {name: crop(structure_mask(moving, values), moving.grid) for name, values in structures.items()}
    anything = structure_mask(moving, [value for values in structures.values() for value in values])
    box = bounding_box(anything)
    around = moving.grid.part([side.start for side in box], anything[box].shape)
    near = reachable(around, transform, fixed.grid)
    cells = _Cells(anything[box], around)
    # In memory in the order of the fixed masks, beside which they are read.
    warped = {name: np.zeros_like(fixed.array, dtype=bool) for name in structures}
    shape = tuple(side.stop - side.start for side in near)
    grid = fixed.grid.part([side.start for side in near], shape)
    for start, stop in slabs(shape):
        points = displace(slab_points(grid, start, stop), transform)
        where = cells.reached(points)
        if not where.any():
            continue
        arriving = points.flatten(2)[..., where.flatten()]
        for name, mask in masks.items():
            inside = sample(*mask, arriving, outside="zeros")[0, 0] >= HALF
            warped[name][near][start:stop][where.numpy()] = inside.numpy()
    return warped


class _Cells:
    """The cells between voxel centres that have a voxel of a mask at a corner; elsewhere it interpolates to 0.

    Args:
        mask: [i, j, k].
        grid: Of the mask.
    """

    def __init__(self, mask: np.ndarray, grid: Grid):
        self.grid = grid
        # With two layers of voxels around, so that also what lies beyond has a cell, without the mask.
        cells = np.pad(mask, 2)
        for axis in range(mask.ndim):
            lower, upper = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
            lower[axis], upper[axis] = slice(None, -1), slice(1, None)
            cells = cells[tuple(lower)] | cells[tuple(upper)]
        self.cells = torch.from_numpy(cells)

    def reached(self, points: Tensor) -> Tensor:
        """Which of the points [1, dim, *any], LPS millimetres, lie in such a cell, [*any] bool."""
        index = apply_affine(self.grid.lps_to_voxel, points)[0].floor_().long().add_(2)
        place = torch.zeros_like(index[0])
        for along, count in zip(index, self.cells.shape, strict=True):
            place = place * count + along.clamp_(0, count - 1)
        return self.cells.flatten()[place]


def structure_mask(label: Image, values: Sequence[int]) -> np.ndarray:
    """Boolean mask [i, j, k] of the voxels that have one of the values."""
    # `np.isin` copies an array that is not stored row by row, as few images are.
    mask = np.zeros_like(label.array, dtype=bool)
    for value in values:
        mask |= label.array == value
    return mask


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a boolean mask [i, j, k]; a single voxel where the mask is empty."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        if not len(inside):
            return (slice(0, 1),) * mask.ndim
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def crop(mask: np.ndarray, grid: Grid) -> tuple[Tensor, Grid]:
    """The box around a mask [i, j, k], as values [1, 1, *box] float32, and where that box lies.

    Sampled with zeros outside it equals the whole mask, at a fraction of the memory.
    """
    box = bounding_box(mask)
    values = torch.from_numpy(mask[box])[None, None].float()
    return values, grid.part([side.start for side in box], values.shape[2:])


def reachable(target: Grid, transform: Transform, fixed: Grid) -> tuple[slice, ...]:
    """The box of fixed voxels outside of which none is mapped to within a voxel of the target grid.

    Most of a scan is far from any structure, and to interpolate there is most of the work. A displacement between
    voxels lies between the field's least and greatest along each axis, so whatever reaches the target starts in
    the hull of the target's corners minus those.
    """
    corners = target.points(target.corners(beyond=1))
    field = transform.displacement.reshape(len(target.shape), -1)
    displacements = np.array(list(product(*zip(field.min(1), field.max(1), strict=True))))
    indices = fixed.indices((corners[:, None] - displacements[None]).reshape(-1, len(target.shape)))
    low = np.clip(np.floor(indices.min(0)).astype(int), 0, np.array(fixed.shape) - 1)
    high = np.clip(np.ceil(indices.max(0)).astype(int) + 1, low + 1, fixed.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
