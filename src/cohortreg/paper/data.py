"""The images of 4.1: MNIST fives from the original files, triangles and circles made from a seed."""

import gzip
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from cohortreg.errors import UserError
from cohortreg.layout import PaperLayout
from cohortreg.learning.data import pack
from cohortreg.paper.plan import SPLITS
from cohortreg.paper.settings import Preset

DIGIT = 5
EDGE = 40  # how steeply a shape's edge falls, per unit of length: from 0.76 to -0.76 within 1/20 of the image

_MNIST = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTES = 8


def read_idx(path: Path) -> np.ndarray:
    """Read the array of an IDX file of unsigned bytes, which may be compressed (.gz).

    Two zero bytes, the type, the number of axes, the length of each axis as four bytes, highest first; then the values.

    Raises:
        UserError: The file is not whole or not of that kind.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}); download it again.") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTES]):
        raise UserError(f"{path}: is not an IDX file of bytes; download it again.")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) != start + math.prod(shape):
        raise UserError(
            f"{path}: holds {len(content)} bytes, not {start + math.prod(shape)}; download it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_fives(folder: Path, split: str) -> np.ndarray:
    """MNIST's fives of a split, train or test, in the files' order: [images, 28, 28], float32 in [0, 1]."""
    images = read_idx(_idx_file(folder, f"{_MNIST[split]}-images-idx3-ubyte"))
    digits = read_idx(_idx_file(folder, f"{_MNIST[split]}-labels-idx1-ubyte"))
    return images[digits == DIGIT].astype(np.float32) / 255


def _idx_file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(
        f"{folder}: no {name} nor {name}.gz; get the four files of MNIST from "
        "https://ossci-datasets.s3.amazonaws.com/mnist and name their folder as paper.mnist in the configuration."
    )


def shape_image(size: int, random: np.random.Generator) -> np.ndarray:
    """A triangle or a circle as in 4.1, [size, size], float32: 1 inside, falling smoothly to -1 outside.

    Radius (of a triangle: to its corners) and centre are uniform in [.2, .4] and [.4, .7] of the image's width.
    """
    is_triangle = random.random() < 0.5
    radius, turn = random.uniform(0.2, 0.4), random.uniform(0, 2 * math.pi)
    rows, columns = np.meshgrid(*[np.linspace(0, 1, size)] * 2, indexing="ij")
    rows, columns = rows - random.uniform(0.4, 0.7), columns - random.uniform(0.4, 0.7)
    boundary: float | np.ndarray = radius
    if is_triangle:
        # The distance from the centre to the side that lies in a pixel's direction.
        from_side = (np.arctan2(rows, columns) + turn) % (2 * math.pi / 3) - math.pi / 3
        boundary = radius * math.cos(math.pi / 3) / np.cos(from_side)
    return np.tanh(EDGE * (boundary - np.hypot(rows, columns))).astype(np.float32)


def pack_dataset(
    layout: PaperLayout, dataset: str, settings: Preset, mnist: Path, seed: int, advance: Callable[[], None]
) -> None:
    """Write the training and the test images of a data set, each as one array.

    Of MNIST the first fives of each split are taken.

    Args:
        mnist: Folder of the files of MNIST.
        advance: Called after each image.
    """
    for number, split in enumerate(SPLITS):
        fives = read_fives(mnist, split) if dataset == "mnist" else None
        count = getattr(settings, f"{split}_images")
        rows = [str(row) for row in range(count if fives is None else min(count, len(fives)))]
        read = partial(_read, fives, settings.size, [seed, number], advance)
        pack(rows, read, layout.packed(dataset, split), layout.packed_index(dataset, split))


def _read(
    fives: np.ndarray | None, size: int, seed: list[int], advance: Callable[[], None], row: str
) -> tuple[np.ndarray, list[list[int]]]:
    """The image of a row, one of the fives or made, and its field of view."""
    advance()
    random = np.random.default_rng([*seed, int(row)])
    image = shape_image(size, random) if fives is None else fives[int(row)]
    return image, [[0, size] for size in image.shape]
