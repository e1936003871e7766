"""Where the voxels of an image lie: the one place that converts voxels, millimetres and unit coordinates.

Coordinate frames, in two dimensions without their last axis:

voxel   index into the array; whole numbers are voxel centres, and the image ends half a voxel beyond the outer ones
RAS     millimetres to the right, anterior, superior: NIfTI's and nibabel's, to which affines lead
LPS     millimetres to the left, posterior, superior: ITK's, ANTs' and 3D Slicer's, of points and displacements
unit    0 at the centre of an axis's first voxel, 1 at that of its last: networks' and their maps'
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

#: What RAS millimetres are multiplied by to be LPS ones, and the other way round; in two dimensions the first two.
_RAS_LPS = np.array([-1.0, -1.0, 1.0])

Numbers = np.typing.ArrayLike


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxel grid of an image in space, immutable.

    Attributes:
        shape: Voxels along each of the dim array axes, two or three.
        affine: [dim + 1, dim + 1] float64, voxel to RAS.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", affine)

    def __str__(self) -> str:
        sizes = " x ".join(map(str, self.shape)), " x ".join(f"{s:.3g}" for s in self.spacing)
        start = ", ".join(f"{o:.1f}" for o in self.affine[:-1, -1])
        return f"{sizes[0]} voxels of {sizes[1]} mm from ({start})"

    @classmethod
    def from_itk(cls, size: Sequence[int], spacing: Numbers, origin: Numbers, direction: Numbers) -> "Grid":
        """The grid of ITK's size, spacing, origin and direction, in LPS; a fourth axis, of time, is dropped."""
        dim = min(len(size), 3)
        affine = np.eye(dim + 1)
        affine[:dim, :dim] = (np.reshape(direction, (len(size), len(size))) * np.asarray(spacing))[:dim, :dim]
        affine[:dim, dim] = np.asarray(origin)[:dim]
        return cls(tuple(size[:dim]), ras_to_lps(dim) @ affine)

    @classmethod
    def from_nifti(cls, shape: Sequence[int], affine: np.ndarray) -> "Grid":
        """The grid of `shape` along the first axes of a NIfTI affine [4, 4]."""
        kept = [*range(len(shape)), len(affine) - 1]
        return cls(tuple(shape), np.asarray(affine)[np.ix_(kept, kept)])

    @property
    def nifti_affine(self) -> np.ndarray:
        """[4, 4], voxel to RAS, with a third axis of 1 mm in two dimensions."""
        axes = [*range(len(self.affine) - 1), 3]
        affine = np.eye(4)
        affine[np.ix_(axes, axes)] = self.affine
        return affine

    @property
    def spacing(self) -> np.ndarray:
        """Size of a voxel along each array axis in millimetres, [dim]."""
        return np.linalg.norm(self.affine[:-1, :-1], axis=0)

    @property
    def origin(self) -> np.ndarray:
        """Centre of the first voxel in LPS, [dim]."""
        return self.voxel_to_lps[:-1, -1]

    @property
    def direction(self) -> np.ndarray:
        """Direction cosines in LPS, [dim, dim], one column an array axis."""
        return self.voxel_to_lps[:-1, :-1] / self.spacing

    @property
    def orientation(self) -> str:
        """The anatomical directions that the array axes run to, "RAS" for instance, or "RA" in two dimensions."""
        from nibabel.orientations import aff2axcodes

        return "".join(aff2axcodes(self.affine))

    @property
    def voxel_volume(self) -> float:
        """Cubic millimetres of a voxel, in two dimensions square ones."""
        return abs(float(np.linalg.det(self.affine[:-1, :-1])))

    @property
    def voxel_to_lps(self) -> np.ndarray:
        """[dim + 1, dim + 1], voxel to LPS."""
        return ras_to_lps(len(self.affine) - 1) @ self.affine

    @property
    def lps_to_voxel(self) -> np.ndarray:
        """[dim + 1, dim + 1], LPS to voxel."""
        return np.linalg.inv(self.voxel_to_lps)

    @property
    def unit_to_lps(self) -> np.ndarray:
        """[dim + 1, dim + 1], unit to LPS."""
        return self.voxel_to_lps @ np.diag([*(n - 1.0 for n in self.shape), 1.0])

    @property
    def lps_to_unit(self) -> np.ndarray:
        """[dim + 1, dim + 1], LPS to unit; every axis has two voxels or more."""
        return np.linalg.inv(self.unit_to_lps)

    def points(self, index: np.ndarray) -> np.ndarray:
        """Voxel indices [*any, dim] in LPS."""
        return _apply(self.voxel_to_lps, index)

    def indices(self, points: np.ndarray) -> np.ndarray:
        """LPS points [*any, dim] as voxel indices, not rounded."""
        return _apply(self.lps_to_voxel, points)

    def corners(self, beyond: float = 0.5) -> np.ndarray:
        """Voxel indices of the corners of the box `beyond` the outer voxel centres, [2^dim, dim]."""
        return np.array(list(product(*((-beyond, n - 1 + beyond) for n in self.shape))))

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which of the LPS points [*any, dim] lie within the voxels, outer edges included, [*any] bool."""
        index = self.indices(points)
        return np.all((index >= -0.5) & (index <= np.array(self.shape) - 0.5), axis=-1)

    def matches(self, other: "Grid", tolerance: float = 0.1) -> bool:
        """Whether two grids have the same shape and corners that agree to `tolerance` of a voxel."""
        if self.shape != other.shape:
            return False
        corners = self.corners(0)
        apart = np.linalg.norm(self.points(corners) - other.points(corners), axis=1).max()
        return bool(apart <= tolerance * self.spacing.min())

    def part(self, start: Sequence[int], shape: Sequence[int]) -> "Grid":
        """The grid of `shape` voxels that begins at voxel `start`, which may lie outside of this one."""
        affine = self.affine.copy()
        affine[:-1, -1] += affine[:-1, :-1] @ start
        return Grid(tuple(shape), affine)

    def resampled(self, shape: Sequence[int]) -> "Grid":
        """The grid of `shape` voxels over the same field of view: their outer edges are the same."""
        return self._of_voxels(np.array(self.shape) / np.array(shape), shape)

    def blocks(self, sizes: Sequence[int]) -> "Grid":
        """The grid of whole blocks of so many voxels along each axis; a block's centre is that of its voxels."""
        return self._of_voxels(np.array(sizes), (np.array(self.shape) // sizes).tolist())

    def _of_voxels(self, factors: np.ndarray, shape: Sequence[int]) -> "Grid":
        """The grid whose voxels are larger by `factors`, starting at the same outer corner."""
        scale = np.diag([*factors, 1.0])
        scale[:-1, -1] = (factors - 1) / 2
        return Grid(tuple(shape), self.affine @ scale)

    def axes_along(self, reference: "Grid | None" = None) -> np.ndarray:
        """How the array axes are permuted and flipped to run as nearly as they can along those of a reference grid.

        Without one, right, anterior, superior. As nibabel has it: [dim, 2], axis and direction.
        """
        from nibabel.orientations import io_orientation

        return io_orientation(np.linalg.inv(reference.affine) @ self.affine if reference else self.affine)

    def turned(self, axes: np.ndarray) -> "Grid":
        """The grid of the array whose axes are permuted and flipped, see `axes_along`. No voxel moves in space."""
        from nibabel.orientations import inv_ornt_aff

        shape = np.array(self.shape)[np.argsort(axes[:, 0])]
        return Grid(tuple(shape), self.affine @ inv_ornt_aff(axes, self.shape))

    def canonical(self) -> "Grid":
        """The grid of the array whose axes run as nearly as they can right, anterior, superior."""
        return self.turned(self.axes_along())

    @property
    def mirror(self) -> np.ndarray:
        """[dim + 1, dim + 1], RAS to RAS: where points lie when the first array axis is flipped; its own inverse."""
        flip = np.eye(len(self.affine))
        flip[0, 0], flip[0, -1] = -1, self.shape[0] - 1
        return self.affine @ flip @ np.linalg.inv(self.affine)


def ras_to_lps(dim: int) -> np.ndarray:
    """The affine matrix [dim + 1, dim + 1] from RAS to LPS, and back."""
    return np.diag([*_RAS_LPS[:dim], 1.0])


def matrix_in_lps(matrix: np.ndarray) -> np.ndarray:
    """Convert a matrix [dim + 1, dim + 1] between points in RAS to one between the same points in LPS, or back."""
    flip = ras_to_lps(len(matrix) - 1)
    return flip @ matrix @ flip


def in_lps(vectors: np.ndarray, axis: int = -1) -> np.ndarray:
    """Points or displacements in RAS as those in LPS, and the other way round; an axis has their components."""
    flip = _RAS_LPS[: vectors.shape[axis]].astype(vectors.dtype)
    return np.moveaxis(np.moveaxis(vectors, axis, -1) * flip, -1, axis)


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1]
