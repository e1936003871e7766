"""Preprocessing of a raw image and its label to the grid and grey values of registration (paper, 4.1)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cohortreg.config import Preprocess
from cohortreg.errors import BadImage
from cohortreg.images import geometry
from cohortreg.images.image import Image
from cohortreg.images.io import read_image, read_label


def read_labelled(
    image_path: Path | str, label_path: Path | str | None, structures: Mapping[str, Sequence[int]]
) -> tuple[Image, Image | None]:
    """Read an image and its label, if any, which must lie on the image's grid and have every structure.

    Raises:
        BadImage: One of the two cannot be used; the sentence names the file.
    """
    image = read_image(image_path)
    if label_path is None:
        return image, None
    label = read_label(label_path)
    straight, same_axes = geometry.canonical(image), label.array.ndim == image.array.ndim
    if not same_axes or not straight.grid.matches(geometry.aligned(label, straight).grid):
        raise BadImage(
            f"{label_path} has a different geometry from its image {image_path} "
            f"({label.grid}; {image.grid}); resample the label onto the image."
        )
    present = set(np.unique(label.array).tolist())
    missing = [
        f"{name} (value {' or '.join(map(str, values))})"
        for name, values in structures.items()
        if present.isdisjoint(values)
    ]
    if missing:
        raise BadImage(
            f"{label_path} has no voxel of {', '.join(missing)}, only the values {sorted(present)}; "
            "correct the label, or `structures` in the configuration."
        )
    return image, label


def oriented(image: Image, label: Image | None) -> list[Image]:
    """The image in canonical orientation and, if there is one, its label with the same axes."""
    straight = geometry.canonical(image)
    return [straight] if label is None else [straight, geometry.aligned(label, straight)]


def normalised(image: Image, percentiles: Sequence[float]) -> tuple[Image, tuple[float, float]]:
    """The image with its lower percentile at 0, its upper at 1, clamped (paper, 4.1), and the two values.

    Raises:
        BadImage: Both percentiles have one value, so that nothing is left between them, or are further apart than
            float32 can say.
    """
    low, high = (float(value) for value in np.percentile(image.array, percentiles))
    if low == high:
        raise BadImage(
            f"percentiles {percentiles[0]:g} and {percentiles[1]:g} are both {low:g}, so that almost every "
            "voxel has one value; crop the image to its subject, or leave it out."
        )
    if not np.isfinite(np.float32(high - low)) or not np.float32(high - low):
        raise BadImage(
            f"percentiles {percentiles[0]:g} and {percentiles[1]:g} are {low:g} and {high:g}, further apart or closer "
            "than single precision can resolve; multiply the image by a constant."
        )
    array = np.clip((image.array - np.float32(low)) / np.float32(high - low), 0, 1)
    return Image(array.astype(np.float32, copy=False), image.affine), (low, high)


def check_axes(image: Image, settings: Preprocess) -> None:
    """Raise BadImage where the grid and the image differ in dimension."""
    if image.array.ndim != len(settings.grid):
        raise BadImage(
            f"it has {image.array.ndim} axes, but preprocess.grid {list(settings.grid)} has {len(settings.grid)}; "
            "correct the grid, or leave the image out."
        )


def preprocess(
    image: Image, label: Image | None, side: str, settings: Preprocess
) -> tuple[Image, Image | None, dict[str, Any]]:
    """Bring an image to canonical orientation, one side, range and grid; record what was done.

    Args:
        label: The raw image's, on the same grid, if it has one.
        side: Of the body, "left", "right" or "".

    Returns:
        The image; its label, if any, which always covers the image's field of view; and the record. In it, `to_source`
        is an affine matrix from RAS millimetres of the preprocessed image to those of the source: only mirroring makes
        it differ from the identity, since affines are kept right. `offset` counts the voxels added (cut off, where
        negative) before the first one along each axis. `field_of_view` has, for each axis, the first voxel that was
        imaged and the one after the last: beyond them, padding repeats the image's edge.

    Raises:
        BadImage: The grid has other axes than the image, or the image no spread of grey values.
    """
    check_axes(image, settings)
    record = {
        "source_shape": list(image.shape),
        "source_affine": image.affine.tolist(),
        "source_orientation": image.grid.orientation,
        "mirrored": side != "" and side == settings.mirror,
        "to_source": np.eye(len(image.affine)).tolist(),
    }
    both = oriented(image, label)
    if record["mirrored"]:
        record["to_source"] = both[0].grid.mirror.tolist()
        both = [geometry.mirrored(volume) for volume in both]
    both[0], values = normalised(both[0], settings.percentiles)
    record["percentiles"] = {f"{p:g}": v for p, v in zip(settings.percentiles, values, strict=True)}
    record["fit"] = settings.fit
    grid = tuple(settings.grid)
    if settings.fit == "pad":
        record["offset"] = list(geometry.pad_offset(both[0].shape, grid))
        record["field_of_view"] = geometry.field_of_view(record["offset"], both[0].shape, grid)
        both[0] = geometry.padded(both[0], grid, "edge")
        both[1:] = [geometry.padded(each, grid) for each in both[1:]]
    else:
        record["field_of_view"] = [[0, size] for size in grid]
        both[0] = geometry.resampled(both[0], grid)
        if label is not None and settings.labels == "grid":
            both[1] = geometry.resampled(both[1], grid, nearest=True)
    record |= {"shape": list(both[0].shape), "affine": both[0].affine.tolist()}
    return both[0], both[1] if label is not None else None, record
