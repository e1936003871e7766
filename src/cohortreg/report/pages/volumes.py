"""Volumes as a page of the report holds them: few voxels, slices side by side in one compressed picture.

A page that a browser opens from disk may read no file but scripts, and the pixels of no picture but those that
are written in a script, as data URLs.
"""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image as Picture

from cohortreg.images.geometry import block_means
from cohortreg.images.image import Image
from cohortreg.maps.transforms import Transform

VOXELS_AT_MOST = 400_000
# The encoder's most thorough search: 7 % smaller than its default at three times the time, 35 ms more for a
# volume of 48 x 64 x 48.
EFFORT = 6


def block_sizes(shape: Sequence[int], spacing: np.ndarray) -> tuple[int, ...]:
    """Voxels along each axis that become one, so that at most `VOXELS_AT_MOST` are left, as nearly cubes as can be."""
    sizes = np.ones(len(shape), dtype=int)
    while np.prod(np.array(shape) // sizes) > VOXELS_AT_MOST:
        sizes[np.argmin(spacing * sizes)] += 1
    return tuple(int(size) for size in sizes)


def shrunk_image(image: Image, sizes: Sequence[int]) -> Image:
    """The image's means over blocks."""
    if max(sizes) == 1:
        return image
    return Image(block_means(image.array, sizes), image.grid.blocks(sizes).affine)


def shrunk_transform(transform: Transform, sizes: Sequence[int]) -> Transform:
    """The displacement's means over blocks: what a field that is linear in a block has at its centre."""
    if max(sizes) == 1:
        return transform
    displacement = np.stack([block_means(component, sizes) for component in transform.displacement])
    return Transform(displacement, transform.grid.blocks(sizes))


def columns(shape: Sequence[int]) -> int:
    """Slices beside each other in the mosaic of a volume [i, j, k], so that it is nearly square."""
    return int(np.ceil(np.sqrt(shape[2] * shape[1] / shape[0])))


def mosaic(volume: np.ndarray) -> np.ndarray:
    """Slices k of a volume [i, j, k] or [i, j, k, channels], row by row; in each, i runs to the right and j down.

    A 2D image [i, j] is one slice, and is given as [i, j, 1].
    """
    width, height, slices = volume.shape[:3]
    across = columns(volume.shape)
    down = -(-slices // across)
    tiles = np.zeros((across * down, height, width, *volume.shape[3:]), volume.dtype)
    tiles[:slices] = np.moveaxis(volume, 2, 0).swapaxes(1, 2)
    rows = tiles.reshape(down, across, height, width, *volume.shape[3:]).swapaxes(1, 2)
    return rows.reshape(down * height, across * width, *volume.shape[3:])


def tiled(volume: np.ndarray) -> np.ndarray:
    """A 2D image [i, j] as the volume of one slice [i, j, 1]; a volume as it is."""
    return volume[..., None] if volume.ndim == 2 else volume


def to_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values from `low` to `high` as uint8 from 0 to 255; beyond, they are cut off."""
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def data_url(pixels: np.ndarray, quality: int | None = None) -> str:
    """Pixels uint8 [rows, columns] or [rows, columns, 3] as WebP in a data URL; without a quality, exactly."""
    options = {"lossless": True} if quality is None else {"quality": quality}
    stream = BytesIO()
    Picture.fromarray(pixels).save(stream, "webp", method=EFFORT, **options)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def packed(
    volume: np.ndarray, spacing: Sequence[float] | np.ndarray, quality: int | None = None
) -> dict[str, Any]:
    """A volume in the form of volumes.js: shape, spacing in millimetres, columns of its mosaic, and the mosaic.

    Args:
        volume: uint8 [i, j, k] or [i, j], with a last axis of channels three.
        spacing: Along its two or three axes, in millimetres.
        quality: Of a lossy mosaic; lossless if None.
    """
    sizes = [float(f"{size:.6g}") for size in spacing] + [1.0] * (3 - len(spacing))
    return {
        "shape": list(volume.shape[:3]),
        "spacing": sizes,
        "columns": columns(volume.shape),
        "image": data_url(mosaic(volume), quality),
    }
