"""What an image is in memory: no file, and no library but NumPy."""

from dataclasses import dataclass

import numpy as np

from cohortreg.images.grid import Grid


@dataclass(frozen=True)
class Image:
    """An image or a label map.

    array: [i, j, k] or [i, j], float32 for images, an integer type for labels.
    affine: (4, 4) or (3, 3) float64, voxel index to RAS millimetres.
    field_of_view: along each axis the first voxel that was imaged and the one behind the last, [[from, to], ...];
        what lies outside was added by preprocessing. None: all was imaged.
    """

    array: np.ndarray
    affine: np.ndarray
    field_of_view: list[list[int]] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each array axis."""
        return self.array.shape

    @property
    def grid(self) -> Grid:
        """Where the voxels lie, with every conversion of coordinates."""
        return Grid(self.shape, self.affine)

    @property
    def spacing(self) -> np.ndarray:
        """Size of a voxel along each array axis in millimetres, [dim]."""
        return self.grid.spacing
