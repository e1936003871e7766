"""Every image and label of a cohort opened before anything long runs: which cannot be used, and which are odd."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cohortreg.config import Preprocess
from cohortreg.digests import digest
from cohortreg.errors import BadImage
from cohortreg.images import geometry, sides
from cohortreg.images.image import Image, Structures
from cohortreg.images.preprocess import check_axes, normalised, oriented, read_labelled
from cohortreg.inputs import require_root
from cohortreg.provenance import running

DIRECTIONS = ("from left to right", "from back to front", "from bottom to top")
ODD_VOXEL, ODD_VOLUME = 2, 3  # times as large or as small as the cohort's median
MEDIAN_OF = 3  # values at least; with two, each is as odd as the other
SLICE_PIXELS = 128  # along an axis, about; all slices of a cohort are in memory
NAMED = 3  # duplicates in a sentence
WRONG_SIDE = (
    "looks more like the others when mirrored: its side, or the orientation in its header, may be wrong"
)
UNTOLD = (
    f"sides were not compared: there are fewer than {sides.AT_LEAST} 3D images that have one, or they look too much "
    "like their mirror images."
)


@dataclass(frozen=True)
class MiddleSlice:
    """The middle slice of an image across an axis, as preprocessing would orient it.

    Attributes:
        image: uint8 [right, up], the lower percentile 0, the upper 255.
        label: Label values [right, up], or None.
        size: Width and height in millimetres.
    """

    image: np.ndarray
    label: np.ndarray | None
    size: tuple[float, float]


@dataclass(frozen=True)
class Facts:
    """What is kept of an image that can be used.

    Attributes:
        shape: Voxels along each axis of the array as it is in the file.
        spacing: Millimetres, likewise.
        orientation: Likewise, such as "RAS".
        canonical_spacing: Millimetres along right, anterior, superior.
        labels: Values in its label map; empty without one.
        volumes: Structure -> mm3, of 2D images mm2; empty without a label map.
        digest: Of the voxels, whatever the header.
        slices: Sagittal, coronal, axial; of a 2D image the image itself.
        small: See `sides.small`; None of a 2D image.
    """

    shape: tuple[int, ...]
    spacing: np.ndarray
    canonical_spacing: np.ndarray
    orientation: str
    range: tuple[float, float]
    labels: list[int]
    volumes: dict[str, float]
    digest: str
    slices: list[MiddleSlice]
    small: np.ndarray | None


@dataclass
class Checked:
    """An image that was opened.

    Attributes:
        facts: None where it cannot be used.
        found: Why, or what is odd, a sentence each.
    """

    image_id: str
    side: str
    facts: Facts | None = None
    found: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """bad, warning or ok."""
        if self.facts is None:
            return "bad"
        return "warning" if self.found else "ok"


def check_images(
    rows: pd.DataFrame,
    root: Path,
    settings: Preprocess,
    structures: Structures,
    report: Callable[[str, str], None] = lambda image_id, reason: None,
) -> tuple[list[Checked], list[str]]:
    """Open every image of `rows` and its label, one after the other, and compare each with all others.

    An image that preprocessing would exclude is bad, for the same reason.

    Args:
        root: The folder that the table's paths start from.
        report: Called after each image with its id and the reason why it cannot be used, or "".

    Returns:
        The images in the table's order, and notes on what could not be compared.

    Raises:
        UserError: Root is missing.
    """
    require_root(root)
    checked = []
    for row in rows.to_dict("records"):
        image = Checked(row["image_id"], row["side"])
        try:
            image.facts = _open(row, root, settings, structures)
        except BadImage as error:
            image.found = [" ".join(str(error).split())]  # a cell of a table
        checked.append(image)
        report(image.image_id, "".join(image.found))
    usable = [(image, image.facts) for image in checked if image.facts is not None]
    for image, sentence in chain(_duplicates(usable), _odd_voxels(usable), _odd_volumes(usable)):
        image.found.append(sentence)
    sided = [(image, facts.small) for image, facts in usable if image.side and facts.small is not None]
    wrong = sides.wrong_sides([small for _, small in sided])
    if wrong is None:
        return checked, [UNTOLD] if any(image.side for image, _ in usable) else []
    for (image, _), suspicious in zip(sided, wrong, strict=True):
        if suspicious:
            image.found.append(WRONG_SIDE)
    return checked, []


def check_table(checked: Sequence[Checked], structures: Structures) -> pd.DataFrame:
    """`check.tsv`: a row an image, every cell text; the columns are those of docs/outputs.md."""
    columns = ["image_id", "status", "side", "shape", "voxel_mm", "orientation", "min", "max", "labels"]
    columns += [*(f"{name}_mm3" for name in structures), "found"]
    rows = []
    for image in checked:
        cells = {"image_id": image.image_id, "status": image.status, "side": image.side}
        cells |= _cells(image.facts) if image.facts else {}
        cells["found"] = "; ".join(image.found)
        rows.append([cells.get(column, "") for column in columns])
    return pd.DataFrame(rows, columns=columns, dtype=str)


def _cells(facts: Facts) -> dict[str, str]:
    """The cells of `check.tsv` that tell what an image is."""
    return {
        "shape": "x".join(map(str, facts.shape)),
        "voxel_mm": "x".join(f"{size:.4g}" for size in facts.spacing),
        "orientation": facts.orientation,
        "min": f"{facts.range[0]:g}",
        "max": f"{facts.range[1]:g}",
        "labels": ",".join(map(str, facts.labels)),
    } | {f"{name}_mm3": f"{volume:.1f}" for name, volume in facts.volumes.items()}


def _open(row: dict[str, str], root: Path, settings: Preprocess, structures: Structures) -> Facts:
    """Read an image and its label as preprocessing does, up to the step before its grid."""
    image_path, label_path = root / row["image"], root / row["label"] if row["label"] else None
    image, label = read_labelled(image_path, label_path, structures)
    for path in filter(None, (image_path, label_path)):
        running().reads(path)
    oriented_pair = oriented(image, label)
    if row["side"] and row["side"] == settings.mirror:
        oriented_pair = [geometry.mirrored(volume) for volume in oriented_pair]
    try:
        if settings.grid:
            check_axes(image, settings)
        shown, _ = normalised(oriented_pair[0], settings.percentiles)
    except BadImage as error:
        raise BadImage(f"{image_path}: {error}") from error
    counts: dict[int, int] = {}
    if label is not None:
        values, numbers = np.unique(label.array, return_counts=True)
        counts = dict(zip(values.tolist(), numbers.tolist(), strict=True))
    solid, voxel = image.array.ndim == 3, image.grid.voxel_volume
    return Facts(
        shape=image.shape,
        spacing=image.spacing,
        canonical_spacing=shown.spacing,
        orientation=image.grid.orientation,
        range=(float(image.array.min()), float(image.array.max())),
        labels=list(counts),
        volumes={
            name: voxel * sum(counts.get(value, 0) for value in values)
            for name, values in structures.items()
            if label is not None
        },
        digest=digest(str(image.shape), image.array.tobytes()),
        slices=[
            _slice(shown, oriented_pair[1] if label is not None else None, axis)
            for axis in (range(3) if solid else [None])
        ],
        small=sides.small(shown) if solid else None,
    )


def _slice(image: Image, label: Image | None, axis: int | None) -> MiddleSlice:
    """The middle slice across an axis, None of a 2D image: the image itself.

    In blocks of so many voxels that no more than about `SLICE_PIXELS` are left along an axis.
    """

    def cut(array: np.ndarray) -> np.ndarray:
        return array if axis is None else np.take(array, array.shape[axis] // 2, axis)

    plane = [other for other in range(image.array.ndim) if other != axis]
    values = 255 * cut(image.array)
    right, up = (max(1, round(size / SLICE_PIXELS)) for size in values.shape)
    blocks = geometry.block_means(values, (right, up))
    width, height = (image.spacing[plane] * (right, up) * blocks.shape).tolist()
    labels = None
    if label is not None:
        labels = cut(label.array)[right // 2 :: right, up // 2 :: up]
        labels = labels[: blocks.shape[0], : blocks.shape[1]]
    return MiddleSlice(np.rint(blocks).astype(np.uint8), labels, (width, height))


Usable = Sequence[tuple[Checked, Facts]]
Found = Iterator[tuple[Checked, str]]


def _duplicates(usable: Usable) -> Found:
    """Images that have the same voxels in the same order."""
    same: dict[str, list[str]] = {}
    for image, facts in usable:
        same.setdefault(facts.digest, []).append(image.image_id)
    for image, facts in usable:
        others = [f"'{name}'" for name in same[facts.digest] if name != image.image_id]
        if others:
            more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
            yield image, f"has the same voxels as {', '.join(others[:NAMED])}{more}"


def _odd_voxels(usable: Usable) -> Found:
    """Images whose voxels are much larger or smaller than the cohort's, along an anatomical direction."""
    for axis, direction in enumerate(DIRECTIONS):
        having = [(image, facts) for image, facts in usable if axis < len(facts.shape)]
        sizes = [facts.canonical_spacing[axis] for _, facts in having]
        for (image, _), size, median in _odd(having, sizes, ODD_VOXEL):
            said = f"has voxels of {size:.3g} mm {direction}, where the cohort's median is {median:.3g} mm"
            yield image, said


def _odd_volumes(usable: Usable) -> Found:
    """Images with a structure much larger or smaller than in the others."""
    for name in dict.fromkeys(name for _, facts in usable for name in facts.volumes):
        labelled = [(image, facts) for image, facts in usable if name in facts.volumes]
        volumes = [facts.volumes[name] for _, facts in labelled]
        for (image, facts), volume, median in _odd(labelled, volumes, ODD_VOLUME):
            unit = f"mm{len(facts.shape)}"
            said = f"has {volume:.0f} {unit} of {name}, where the cohort's median is {median:.0f} {unit}"
            yield image, said


def _odd(usable: Usable, values: Sequence[float], factor: float) -> Iterator[tuple[Any, float, float]]:
    """Yield image, value and median of the images whose value is more than `factor` times the median, or less."""
    if len(values) >= MEDIAN_OF:
        median = float(np.median(values))
        for image, value in zip(usable, values, strict=True):
            if value > factor * median or factor * value < median:
                yield image, value, median
