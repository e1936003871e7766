"""A small picture of a registered pair, for print and for browsers without scripts."""

from typing import Any

import numpy as np
from PIL import Image as Picture
from scipy.ndimage import binary_erosion

from cohortreg.report.pages.volumes import tiled, to_bytes

SIDE = 150  # pixels of the longest side of a slice
GAP = 4
DIFFERENCE = 0.5  # of the images' range, at which a difference has its full colour
# A difference's colours: the fixed image brighter, and the warped one.
DARKER, BRIGHTER = np.array([86, 180, 233]), np.array([230, 159, 0])


def difference_colours(difference: np.ndarray) -> np.ndarray:
    """Colours uint8 [*any, 3] of a difference of images: black where there is none."""
    share = np.clip(np.abs(difference) / DIFFERENCE, 0, 1)[..., None]
    return np.where(difference[..., None] < 0, DARKER * share, BRIGHTER * share).astype(np.uint8)


def draw_picture(
    panels: list[dict[str, Any]], start: tuple[int, ...], spacing: np.ndarray, colours: list[str]
) -> np.ndarray:
    """Slices through a voxel as pixels uint8 [rows, columns, 3]: a row a plane, a column a panel.

    All is on one grid. As viewers show it: the patient's right and front at the left.

    Args:
        panels: Each has `image`, float [*grid] from 0 to 1 or colours uint8 [*grid, 3], and may have `solid` and
            `dotted`, labels as `label_pixels` makes them, of structures in `colours`.
    """
    dim = len(start)
    axes = range(3) if dim == 3 else [2]
    start = (*start, 0)[:3]
    spacing = np.array([*spacing, 1.0])[:3]
    size = panels[0]["image"].shape[:dim] * spacing[:dim]
    scale = SIDE / size.max()
    rows = []
    for axis in axes:
        tiles = [_tile(panel, axis, start[axis], spacing * scale, colours) for panel in panels]
        # In columns of one width, so that those of different planes stand below each other.
        margins = [((0, 0), (GAP // 2, SIDE + GAP // 2 - tile.shape[1]), (0, 0)) for tile in tiles]
        rows.append(np.concatenate([*map(np.pad, tiles, margins)], axis=1))
    wide = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((GAP // 2, GAP // 2), (0, wide - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(rows)


def _tile(panel: dict[str, Any], axis: int, index: int, scale: np.ndarray, colours: list[str]) -> np.ndarray:
    """A slice of a panel with its outlines, at `scale` pixels a voxel along each axis."""
    image = panel["image"]
    if image.dtype != np.uint8:
        image = np.repeat(to_bytes(image, 0, 1)[..., None], 3, axis=-1)
    pixels = np.stack([_slice(image[..., channel], axis, index, scale) for channel in range(3)], -1)
    for kind in ("dotted", "solid"):
        label = panel.get(kind)
        if label is not None:
            _outline(pixels, label, axis, index, scale, colours, dotted=kind == "dotted")
    return pixels


def _slice(volume: np.ndarray, axis: int, index: int, scale: np.ndarray) -> np.ndarray:
    """A slice uint8 at its size in pixels, the end of its first axis at the left, that of its second on top."""
    part = np.take(tiled(volume), index, axis=axis, mode="clip")[::-1, ::-1]
    across, up = (other for other in range(3) if other != axis)
    size = [max(1, round(n * scale[other])) for n, other in zip(part.shape, (across, up), strict=True)]
    return np.array(Picture.fromarray(np.ascontiguousarray(part.T)).resize(size, Picture.Resampling.BILINEAR))


def _outline(
    pixels: np.ndarray,
    label: np.ndarray,
    axis: int,
    index: int,
    scale: np.ndarray,
    colours: list[str],
    dotted: bool,
) -> None:
    """Draw the outlines of a label's structures into pixels."""
    rows, columns = np.indices(pixels.shape[:2])
    for number, colour in enumerate(colours, start=1):
        share = np.where(label[..., 0] == number, label[..., 1], 0)
        inside = _slice(share, axis, index, scale) >= 128
        edge = inside & ~binary_erosion(inside)
        if dotted:
            edge &= (rows + columns) // 2 % 2 == 0
        pixels[edge] = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
