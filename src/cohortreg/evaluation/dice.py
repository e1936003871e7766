"""Dice of structures after registration, at the resolution of the labels."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from cohortreg.evaluation.sampling import displace, sample, slab_points, slabs
from cohortreg.images.io import Image
from cohortreg.maps.transforms import Grid, Transform

# A voxel of which exactly half is covered belongs to the structure, whatever float32 makes of one half.
HALF = 0.5 - 1e-4


def structure_dice(
    moving: Image, fixed: Image, transform: Transform, structures: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """Dice of every structure between the warped moving label and the fixed label.

    moving, fixed: labels [i, j, k], each on a grid of its own, which need not be that of the transform.
    transform: from the fixed to the moving image. structures: name -> label values that make it up.

    Each structure of the moving label is warped as a linear image and cut at one half (Greer et al. 2021, 5);
    what lies outside the moving label's field of view is background. NaN for a structure absent in both labels.

    Dice = 2 |A ∩ B| / (|A| + |B|) is summed up slab by slab, where a structure can arrive at all. MONAI's
    `compute_dice` agrees with it, but wants all masks in memory at once, and is NaN where only the fixed label lacks
    the structure: that is a Dice of 0.
    """
    masks = {name: crop(structure_mask(moving, values), moving.affine) for name, values in structures.items()}
    sizes = {name: int(structure_mask(fixed, values).sum()) for name, values in structures.items()}
    both = dict.fromkeys(structures, 0)
    everything = crop(
        structure_mask(moving, [v for values in structures.values() for v in values]), moving.affine
    )
    near = reachable(everything[1], transform, Grid(fixed.array.shape, fixed.affine))
    part = Image(fixed.array[near], shifted(fixed.affine, [side.start for side in near]))
    grid = Grid(part.array.shape, part.affine)
    for start, stop in slabs(grid.shape):
        points = displace(slab_points(grid, start, stop), transform)
        slab = Image(part.array[start:stop], part.affine)
        for name, values in structures.items():
            warped = sample(*masks[name], points, outside="zeros")[0, 0] >= HALF
            both[name] += int((warped & structure_mask(slab, values)).sum())
            sizes[name] += int(warped.sum())
    return {name: 2 * both[name] / sizes[name] if sizes[name] else math.nan for name in structures}


def mean_dice(dice: Mapping[str, float]) -> float:
    """Mean over the structures that at least one of the two labels has; NaN if there is none."""
    present = [value for value in dice.values() if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan


def structure_mask(label: Image, values: Sequence[int]) -> Tensor:
    """Boolean mask [i, j, k] of the voxels that have one of the values."""
    return torch.from_numpy(np.isin(label.array, list(values)))


def crop(mask: Tensor, affine: np.ndarray) -> tuple[Tensor, Grid]:
    """The box around a mask [i, j, k], as values [1, 1, *box] float32, and where that box lies.

    Sampled with zeros outside it equals the whole mask, at a fraction of the memory.
    """
    found = mask.nonzero()
    if not len(found):
        box = (1,) * mask.dim()
        return torch.zeros(1, 1, *box), Grid(box, affine)
    low, high = found.amin(0).tolist(), (found.amax(0) + 1).tolist()
    values = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return values[None, None].float(), Grid(tuple(values.shape), shifted(affine, low))


def shifted(affine: np.ndarray, start: Sequence[int]) -> np.ndarray:
    """The affine of the part of an array that begins at index `start`."""
    moved = np.array(affine, dtype=np.float64)
    moved[:3, 3] += moved[:3, :3] @ start
    return moved


def reachable(target: Grid, transform: Transform, fixed: Grid) -> tuple[slice, ...]:
    """The box of fixed voxels outside of which none is mapped to within a voxel of the target grid.

    Most of a scan is far from any structure, and to interpolate there is most of the work. A displacement between
    voxels lies between the field's least and greatest along each axis, so whatever reaches the target starts in
    the hull of the target's corners minus those.
    """
    corners = np.array(list(product(*((-1, n) for n in target.shape)))) @ target.voxel_to_lps[:3, :3].T
    field = transform.displacement.reshape(3, -1)
    displacements = np.array(list(product(*zip(field.min(1), field.max(1), strict=True))))
    starts = (corners[:, None] - displacements[None]).reshape(-1, 3) + target.voxel_to_lps[:3, 3]
    matrix = np.linalg.inv(fixed.voxel_to_lps)
    indices = starts @ matrix[:3, :3].T + matrix[:3, 3]
    low = np.clip(np.floor(indices.min(0)).astype(int), 0, np.array(fixed.shape) - 1)
    high = np.clip(np.ceil(indices.max(0)).astype(int) + 1, low + 1, fixed.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
