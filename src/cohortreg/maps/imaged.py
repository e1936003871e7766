"""The imaged box of a preprocessed image, and fields that are defined only there."""

import numpy as np

from cohortreg.images.grid import Grid
from cohortreg.images.image import Image
from cohortreg.maps.transforms import Transform


def imaged(image: Image, affine: np.ndarray) -> Image:
    """Crop an image to the box that was imaged, without the padding of preprocessing, and place it by `affine`.

    The margin is no picture of anything: given to a tool, its edge is aligned with as if it were.

    Args:
        affine: Voxels of the whole image to RAS millimetres. The fixed image's for both images of a pair gives them one
            geometry: where a subject lay in the scanner is nothing that two subjects share, and every method starts
            voxel on voxel.
    """
    array = image.array[tuple(slice(*ends) for ends in image.imaged)]
    starts = [start for start, _ in image.imaged]
    return Image(array, Grid(image.shape, affine).part(starts, array.shape).affine)


def continued(transform: Transform, grid: Grid) -> Transform:
    """Extend a field on a box of a grid to the whole grid by its values at the border of the box."""
    starts = np.rint(grid.indices(transform.grid.origin)).astype(int).tolist()
    sizes = zip(starts, transform.grid.shape, grid.shape, strict=True)
    margins = [(start, whole - part - start) for start, part, whole in sizes]
    return Transform(np.pad(transform.displacement, [(0, 0), *margins], mode="edge"), grid)
