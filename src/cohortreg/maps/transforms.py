"""Displacement fields in files: millimetres in ITK's physical space (LPS), from the fixed to the moving image.

A file holds, at every voxel centre x of the fixed image's grid, the vector that leads to the matching point of the
moving image, so that SimpleITK, ANTs and 3D Slicer warp the moving image onto the fixed one with it as it is. Here such
fields become those of unit coordinates, and back, by the matrices of `Grid`.

What computes in PyTorch imports it itself: that takes more than a second, and jobs that measure do without.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.images.itk import itk_geometry, to_sitk
from cohortreg.maps.sealed import is_finite, read_whole

if TYPE_CHECKING:
    import SimpleITK as sitk
    from torch import Tensor


@dataclass(frozen=True)
class Transform:
    """A displacement field in physical space.

    Attributes:
        displacement: float32 [dim, *grid.shape], LPS millimetres.
        grid: Where it is given, the fixed image's.
    """

    displacement: np.ndarray
    grid: Grid


def apply_affine(matrix: "np.ndarray | Tensor", points: "Tensor") -> "Tensor":
    """Points [batch, dim, *any] through a matrix [dim + 1, dim + 1]."""
    import torch

    matrix = torch.as_tensor(matrix, dtype=points.dtype, device=points.device)
    dim = points.shape[1]
    moved = torch.einsum("ij,bj...->bi...", matrix[:dim, :dim], points)
    return moved + matrix[:dim, dim].reshape(1, dim, *[1] * (points.dim() - 2))


def to_physical(displacement: "Tensor", moving: Grid, fixed: Grid) -> Transform:
    """The physical transform of a displacement field in unit coordinates.

    Args:
        displacement: [1, dim, *fixed.shape], phi - Id, where phi leads from unit coordinates of the fixed image to unit
            coordinates of the moving image.
    """
    import torch

    from cohortreg.maps.grids import identity_map

    centres = identity_map(fixed.shape, dtype=torch.float64)
    phi = centres + displacement.detach().cpu().double()
    millimetres = apply_affine(moving.unit_to_lps, phi) - apply_affine(fixed.unit_to_lps, centres)
    return Transform(millimetres[0].float().numpy(), fixed)


def to_unit(transform: Transform, target: Grid) -> "Tensor":
    """The map phi of a physical transform: [1, dim, *transform.grid.shape], float64.

    Holds at each voxel of the fixed image the unit coordinates of the matching point in the image `target`
    (the moving image, or its label map with a grid of its own).
    """
    import torch

    from cohortreg.maps.grids import identity_map

    centres = identity_map(transform.grid.shape, dtype=torch.float64)
    points = apply_affine(transform.grid.unit_to_lps, centres)
    points = points + torch.from_numpy(transform.displacement)[None].double()
    return apply_affine(target.lps_to_unit, points)


def displacement_in_unit(transform: Transform, target: Grid) -> "Tensor":
    """Convert a physical transform to a method's result: phi - Id, [1, dim, *transform.grid.shape], float32.

    Args:
        target: Grid of the image that the transform leads to, see `to_unit`.
    """
    import torch

    from cohortreg.maps.grids import identity_map

    centres = identity_map(transform.grid.shape, dtype=torch.float64)
    return (to_unit(transform, target) - centres).float()


def voxels_to_unit(displacement: "Tensor") -> "Tensor":
    """A displacement field in voxels as one in unit coordinates, both [batch, dim, *grid].

    In voxels as VoxelMorph has it: component d along axis d of the array, from a voxel of the fixed image to the
    matching point of the moving image, which lies on the same grid.
    """
    from cohortreg.maps.grids import voxel_size

    return displacement * voxel_size(displacement.shape[2:], like=displacement)


def from_sitk(field: "sitk.Image") -> Transform:
    """SimpleITK's displacement field as a transform."""
    import SimpleITK as sitk

    displacement = sitk.GetArrayFromImage(field).T.astype(np.float32)
    return Transform(np.ascontiguousarray(displacement), Grid.from_itk(**itk_geometry(field)))


def as_sitk(transform: Transform) -> "sitk.DisplacementFieldTransform":
    """A transform as SimpleITK's."""
    import SimpleITK as sitk

    vectors = sitk.Cast(to_sitk(transform.displacement, transform.grid), sitk.sitkVectorFloat64)
    return sitk.DisplacementFieldTransform(vectors)


def field_of(transform: "sitk.Transform", grid: Grid) -> Transform:
    """The displacement field on a grid of any map of SimpleITK's between points in LPS millimetres."""
    import SimpleITK as sitk

    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, grid.shape, grid.origin, grid.spacing, grid.direction.flatten()
    )
    return from_sitk(field)


def read_transform(path: Path) -> Transform:
    """Read a displacement field as SimpleITK does, after verifying that it is whole.

    Raises:
        UserError: The file is missing, cut short or damaged, is no field of vectors of two or three dimensions,
            or has NaN or infinite values.
    """
    import SimpleITK as sitk

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such transform")
    # Not by ITK, which makes zeros of what is missing and of what is no number.
    content = read_whole(path)
    try:
        finite = is_finite(content)
        image = sitk.ReadImage(str(path), sitk.sitkVectorFloat32)
    except Exception as error:  # whatever a damaged file sets off
        if isinstance(error, (OSError, MemoryError)):
            raise
        raise UserError(f"{path} is not a displacement field") from error
    if image.GetDimension() not in (2, 3) or image.GetNumberOfComponentsPerPixel() != image.GetDimension():
        raise UserError(f"{path} is not a field with one vector per voxel")
    if not finite:
        raise UserError(f"{path} has NaN or infinite displacements")
    return from_sitk(image)


def check_perpendicular(path: Path, grid: Grid, tolerance: float = 0.1) -> None:
    """Raise UserError where ITK cannot represent the grid of a field: axes that are not at right angles.

    Args:
        tolerance: By how much of a voxel the far corners may be off.
    """
    skew = np.abs(grid.direction.T @ grid.direction - np.eye(len(grid.shape))).max()
    if skew * np.linalg.norm(grid.shape * grid.spacing) > tolerance * grid.spacing.min():
        raise UserError(
            f"{path} cannot be written: the axes of the fixed image are not at right angles (its affine has a shear), "
            "which ITK does not support; resample the image onto a grid without shear."
        )
