"""Agreement of a structure's warped mask and its fixed mask: Dice and the 95 % Hausdorff distance."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

#: Radius of the ball of voxels that is searched before a tree is made, in voxels were they cubes.
AROUND = 10


def dice(warped: np.ndarray, fixed: np.ndarray) -> float:
    """Dice of two boolean masks [i, j, k]: 2 |A ∩ B| / (|A| + |B|); NaN where both are empty.

    MONAI's `compute_dice` agrees with it, but is NaN also where only the second is empty: that is a Dice of 0.
    """
    size = int(warped.sum()) + int(fixed.sum())
    return 2 * int((warped & fixed).sum()) / size if size else math.nan


def hausdorff95(warped: np.ndarray, fixed: np.ndarray, spacing: Sequence[float]) -> float:
    """Symmetric 95 % Hausdorff distance of two boolean masks [i, j, k], in millimetres; NaN where one is empty.

    Of the distances from each voxel on the surface of one mask to the nearest on the surface of the other, the 95th
    percentile; the greater of the two directions. On the surface is what has a face in common with the background.

    MONAI's `compute_hausdorff_distance` does the same, and takes seconds to import.

    Args:
        warped: Mask of the warped moving label.
        fixed: Mask of the fixed label, on the same grid.
        spacing: Size of a voxel along each axis in millimetres, [dim].
    """
    if not (warped.any() and fixed.any()):
        return math.nan
    surfaces = _surface(warped), _surface(fixed)
    return max(_directed(*pair, np.array(spacing)) for pair in (surfaces, surfaces[::-1]))


def _directed(here: np.ndarray, there: np.ndarray, spacing: np.ndarray) -> float:
    """95th percentile of distances from each voxel of a mask to the nearest of another one, both not empty.

    Most are near: of the voxels around, from the nearest outwards, one is soon hit. Where more are far than the
    percentile leaves out, there is a tree for them.
    """
    from cohortreg.evaluation import kernels

    furthest = AROUND * np.prod(spacing) ** (1 / len(spacing))
    width = (furthest / spacing).astype(int)
    steps = np.indices(2 * width + 1).reshape(len(width), -1).T - width
    lengths = np.linalg.norm(steps * spacing, axis=1)
    order = np.argsort(lengths)[: np.count_nonzero(lengths <= furthest)]
    padded = np.ascontiguousarray(np.pad(there, [(n, n) for n in width]))
    strides = np.array(padded.strides)
    voxels = np.argwhere(here)
    distances = np.empty(len(voxels))
    kernels.nearest(
        padded.reshape(-1), (voxels + width) @ strides, steps[order] @ strides, lengths[order], distances
    )
    far = np.isinf(distances)
    # It lies between two distances, in order.
    if far.any() and int(0.95 * (len(distances) - 1)) + 1 >= np.count_nonzero(~far):
        from scipy.spatial import KDTree  # half a second to import

        # From one, not from zero: beside a coordinate of zero SciPy splits at the least number above it, which is zero
        # too where `use_processor` has turned off such numbers, and it splits on until the process ends.
        tree = KDTree((np.argwhere(there) + 1) * spacing, balanced_tree=False)
        distances[far] = tree.query((voxels[far] + 1) * spacing)[0]
    return float(np.quantile(distances, 0.95))


def _surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask [i, j, k] that have a face in common with the background, or with the array's outside."""
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis in range(mask.ndim):
        for beside in (slice(None, -2), slice(2, None)):
            neighbours = [slice(1, -1)] * mask.ndim
            neighbours[axis] = beside
            inside &= padded[tuple(neighbours)]
    return mask & ~inside


def mean_of_structures(values: Mapping[str, float]) -> float:
    """Mean over the structures that have a value; NaN if there is none."""
    present = [value for value in values.values() if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan
