"""Structures of a registered pair as masks, the moving ones warped, at the resolution of the labels."""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import ior

import numpy as np

from cohortreg.evaluation.in_space import grid_in_space, in_space, onto, turned
from cohortreg.images.grid import Grid
from cohortreg.images.image import Image, Structures
from cohortreg.maps.transforms import Transform

# A voxel of which exactly half is covered belongs to the structure, whatever rounding makes of one half.
HALF = 0.5 - 1e-4

#: Of the fixed label's voxels, which a structure reaches or not as a whole.
BLOCK = np.array([8, 8, 16])

#: A mask within a box, and the first voxel of the box in the whole grid.
Part = tuple[np.ndarray, np.ndarray]


def structure_masks(
    moving: Image, fixed: Image, transform: Transform, structures: Structures
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
    if not structures:
        return
    warping = _Warping(moving.grid, fixed.grid, transform)
    every = list({value for values in structures.values() for value in values})
    boxes = [bounding_box(structure_mask(label.array, every)) for label in (moving, fixed)]
    for name, values in structures.items():
        here, target = (
            _part(structure_mask(label.array[box], values), [side.start for side in box])
            for label, box in zip((moving, fixed), boxes, strict=True)
        )
        warped, beside = _in_one_box(warping(*here), target)
        yield name, warped, beside


class _Warping:
    """Warps masks of the moving label onto the fixed label's grid, block by block and only where one can arrive.

    Most of a scan is far from any structure, and to interpolate there would be most of the work.
    """

    def __init__(self, moving: Grid, fixed: Grid, transform: Transform):
        from cohortreg.evaluation import kernels  # where nothing is measured, Numba may be missing

        self.warp = kernels.warp
        self.dim = len(fixed.shape)
        moving, fixed, transform = grid_in_space(moving), grid_in_space(fixed), in_space(transform)
        self.shape = np.array(fixed.shape)
        self.displacement = transform.displacement
        self.to_field = onto(fixed, transform.grid)
        self.onto, self.turned = onto(fixed, moving), turned(moving)
        blocks = -(-self.shape // BLOCK)
        # Voxels of the moving label that each block is mapped between.
        self.low, self.high = np.empty((*blocks, 3)), np.empty((*blocks, 3))
        kernels.reach(
            self.displacement, self.to_field, self.onto, self.turned, self.shape, BLOCK, self.low, self.high
        )

    def __call__(self, mask: np.ndarray, start: np.ndarray) -> Part:
        """Warp a mask [i, j, k] or [i, j] that begins at voxel `start` of the moving label."""
        flat = (1,) * (3 - self.dim)
        padded = np.pad(mask.reshape(mask.shape + flat), 1)
        first = np.append(start, np.zeros(3 - self.dim, int)) - 1
        low, high = self.low - first, self.high - first
        near = bounding_box(((high >= 0) & (low <= np.array(padded.shape) - 1)).all(-1))
        begin = np.array([side.start for side in near]) * BLOCK
        end = np.minimum(np.array([side.stop for side in near]) * BLOCK, self.shape)
        warped = np.zeros(end - begin, bool)
        shift = np.column_stack([np.zeros((3, 3)), first])
        self.warp(
            np.ascontiguousarray(padded), *(np.ascontiguousarray(each[near]) for each in (low, high)), BLOCK, begin,
            self.displacement, self.to_field, self.onto - shift, self.turned, HALF, warped,
        )  # fmt: skip
        return _part(warped.reshape(warped.shape[: self.dim]), begin[: self.dim])


def _part(mask: np.ndarray, start: Sequence[int] | np.ndarray) -> Part:
    """The box around a mask that begins at a voxel."""
    box = bounding_box(mask)
    return mask[box], np.array(start) + [side.start for side in box]


def _in_one_box(*parts: Part) -> list[np.ndarray]:
    """Masks in the box around all of them; a single voxel where all are empty."""
    filled = [part for part in parts if part[0].any()] or parts[:1]
    low = np.min([start for _, start in filled], axis=0)
    high = np.max([start + mask.shape for mask, start in filled], axis=0)
    masks = []
    for mask, start in parts:
        masks.append(np.zeros(high - low, bool))
        if mask.any():
            masks[-1][tuple(map(slice, start - low, start - low + mask.shape))] = mask
    return masks


def structure_mask(label: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Boolean mask [i, j, k] of the voxels of a label map that have one of the values."""
    # `np.isin` copies an array that is not stored row by row, as few images are.
    return reduce(ior, (label == value for value in values))


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a boolean mask [i, j, k]; a single voxel where the mask is empty."""
    box = [slice(0, size) for size in mask.shape]
    # First across the axis along which voxels are furthest apart in memory, and then only within what is left.
    for axis in np.argsort(mask.strides)[::-1]:
        others = tuple(other for other in range(mask.ndim) if other != axis)
        inside = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not len(inside):
            return (slice(0, 1),) * mask.ndim
        box[axis] = slice(int(inside[0]), int(inside[-1]) + 1)
    return tuple(box)
