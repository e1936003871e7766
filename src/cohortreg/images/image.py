"""What an image is in memory: no file, and no library but NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cohortreg.images.grid import Grid
from cohortreg.inputs import expanded

if TYPE_CHECKING:
    import nibabel
    import SimpleITK as sitk

#: Of a label map: the name of each structure, and the values that make it up.
Structures = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Image:
    """An image or a label map.

    Attributes:
        array: [i, j, k] or [i, j], float32 for images, an integer type for labels.
        affine: (4, 4) or (3, 3) float64, voxel index to RAS millimetres.
        field_of_view: Along each axis the first voxel that was imaged and the one behind the last, [[from, to], ...];
            what lies outside was added by preprocessing. None: all was imaged.
    """

    array: np.ndarray
    affine: np.ndarray
    field_of_view: list[list[int]] | None = None

    def __repr__(self) -> str:
        return f"Image({self.grid}, {self.array.dtype})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each array axis."""
        return self.array.shape

    @property
    def imaged(self) -> list[list[int]]:
        """The `field_of_view`; the whole grid where all was imaged."""
        return self.field_of_view or [[0, size] for size in self.shape]

    @property
    def grid(self) -> Grid:
        """Where the voxels lie, with every conversion of coordinates."""
        return Grid(self.shape, self.affine)

    @property
    def spacing(self) -> np.ndarray:
        """Size of a voxel along each array axis in millimetres, [dim]."""
        return self.grid.spacing

    def to_sitk(self) -> "sitk.Image":
        """Convert to SimpleITK, in LPS, with the array's own type."""
        from cohortreg.images.itk import to_sitk

        return to_sitk(self.array, self.grid, self.array.dtype)

    def to_nibabel(self) -> "nibabel.Nifti1Image":
        """Convert to nibabel, in RAS, with the array's own type."""
        from cohortreg.images.nifti import to_nifti

        return to_nifti(self.array, self.grid)

    def save(self, path: Path | str) -> None:
        """Write it, whole or not at all, as .nii.gz, .nii, .mha or .nrrd; UserError where the name ends otherwise."""
        from cohortreg.images.io import write_image

        write_image(expanded(path), self)
