"""Orientation, mirroring, resampling, padding: arrays brought to another grid, which `Grid` knows."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from cohortreg.images.image import Image

Shape = tuple[int, ...]


def canonical(image: Image) -> Image:
    """The image with its axes permuted and flipped to run as nearly as they can right, anterior, superior.

    No voxel changes its value or its place in space.
    """
    return _turned(image, image.grid.axes_along())


def aligned(image: Image, reference: Image) -> Image:
    """The image with its axes permuted and flipped to run as nearly as they can along those of a reference.

    So a label map follows its image: of two that are tilted by 45 degrees and differ by rounding, `canonical` might
    turn each to other axes. No voxel changes its value or its place in space.
    """
    return _turned(image, image.grid.axes_along(reference.grid))


def _turned(image: Image, axes: np.ndarray) -> Image:
    from nibabel.orientations import apply_orientation

    return Image(np.ascontiguousarray(apply_orientation(image.array, axes)), image.grid.turned(axes).affine)


def mirrored(image: Image) -> Image:
    """The mirror image along left-right, in the same frame: the canonical array's first axis flipped.

    The affine stays, so that a left knee comes to lie where a right knee of the same scanner position would.
    """
    return Image(np.ascontiguousarray(image.array[::-1]), image.affine)


def resampled(image: Image, shape: Shape, nearest: bool = False) -> Image:
    """The image on a grid of `shape` voxels over the same field of view, the outer edges of both aligned.

    Linear interpolation; an axis that becomes coarser by a factor s is smoothed first by a
    Gaussian of standard deviation sqrt((s^2 - 1) / (8 ln 2)) voxels, which makes the point spread as wide as
    the new voxel (Cardoso et al., Scale factor point spread function matching, MICCAI 2015). With `nearest`,
    for labels, the nearest voxel's value and no smoothing.
    """
    import SimpleITK
    from scipy.ndimage import gaussian_filter

    factors = np.array(image.shape) / np.array(shape)
    array = image.array
    if not nearest:
        sigma = np.sqrt(np.maximum(factors**2 - 1, 0) / (8 * np.log(2)))
        array = gaussian_filter(array, sigma, mode="nearest")
    # Both grids have the same axes, so ITK may work in voxel indices of the old one (memory runs k, j, i).
    identity = SimpleITK.Transform(len(shape), SimpleITK.sitkIdentity)
    interpolator = SimpleITK.sitkNearestNeighbor if nearest else SimpleITK.sitkLinear
    where = [int(n) for n in shape], identity, interpolator, ((factors - 1) / 2).tolist(), factors.tolist()
    new = SimpleITK.Resample(SimpleITK.GetImageFromArray(array.T), *where)
    array = np.ascontiguousarray(SimpleITK.GetArrayFromImage(new).T)
    return Image(array, image.grid.resampled(shape).affine)


def block_means(array: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Means over blocks of `sizes` voxels; voxels beyond the last whole block are dropped."""
    counts = np.array(array.shape) // sizes
    cropped = array[tuple(map(slice, counts * sizes))]
    blocks = cropped.reshape(np.stack([counts, sizes], 1).ravel())
    return blocks.mean(axis=tuple(range(1, 2 * array.ndim, 2)))


def pad_offset(old: Shape, new: Shape) -> Shape:
    """Voxels added before the first one along each axis to go from `old` to `new` about the centre.

    Negative where voxels are cut off. Halves are rounded towards zero, so that cropping undoes padding.
    """
    return tuple(int((n - o) / 2) for o, n in zip(old, new, strict=True))


def field_of_view(offset: Shape, old: Shape, new: Shape) -> list[list[int]]:
    """First voxel and the one after the last that a padded image was imaged in, for each axis."""
    return [[max(b, 0), max(b, 0) + min(o, n)] for b, o, n in zip(offset, old, new, strict=True)]


def padded(image: Image, shape: Shape, mode: Literal["constant", "edge"] = "constant") -> Image:
    """The image padded or cropped about its centre to `shape`; no voxel moves in space.

    Args:
        mode: Of numpy.pad; "constant" pads with zeros (labels), "edge" with the nearest voxel's value (images: zeros
            would draw a frame around each image, stronger than any anatomy, for registration to match).
    """
    offset = pad_offset(image.shape, shape)
    kept = image.array[tuple(slice(max(-b, 0), max(-b, 0) + n) for b, n in zip(offset, shape, strict=True))]
    inside = field_of_view(offset, image.shape, shape)
    array = np.pad(kept, [(first, n - end) for (first, end), n in zip(inside, shape, strict=True)], mode=mode)
    return Image(array, image.grid.part([-b for b in offset], shape).affine)
