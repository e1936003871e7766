"""Training images in one packed, memory-mapped file, and the pairs of each training step."""

import json
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cohortreg.digests import digest, digest_file
from cohortreg.errors import UserError
from cohortreg.files import read_json, whole, write_json
from cohortreg.losses.terms import Batch
from cohortreg.provenance import running


def pack(
    image_ids: list[str],
    read: Callable[[str], tuple[np.ndarray, list[list[int]]]],
    array_path: Path,
    index_path: Path,
) -> None:
    """Write images of one grid into one array file [images, *grid], and an index with their ids beside it.

    Half precision resolves 1/2048 of the intensities' range, finer than the images' noise, and halves what must be
    read. The index is written last: where it is, both are whole.

    Args:
        read: Gives the array of an image, float in [0, 1], and its field of view: for each axis the first voxel that
            was imaged and the one after the last.
    """
    first, _ = read(image_ids[0])
    fields_of_view = []
    header = {"descr": "<f2", "fortran_order": False, "shape": (len(image_ids), *first.shape)}
    with whole(array_path) as beside, beside.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for image_id in image_ids:
            array, field_of_view = read(image_id)
            stream.write(array.astype("<f2").tobytes())
            fields_of_view.append(field_of_view)
    content = [image_ids, list(first.shape), fields_of_view]
    index = dict(zip(_CONTENT, content, strict=True)) | {"digest": digest(json.dumps(content))}
    write_json(index_path, index | {"sha256": digest_file(array_path)})


#: The parts of an index that its own digest is of.
_CONTENT = ("images", "grid", "fields_of_view")


#: Images that are copied to a device at a time.
AT_ONCE = 16


class TrainingImages:
    """The packed images, on the device where they fit and are read often, not `seldom`.

    Attributes:
        ids: Their names.
        recorded: The SHA-256 that the array had when it was written.

    Raises:
        UserError: The array or its index is missing, not whole, or not of the other.
    """

    def __init__(self, array_path: Path, index_path: Path, device: torch.device, seldom: bool = False):
        self.path, self.device = Path(array_path), device
        index = _read_index(index_path)
        self.ids, self.recorded = index["images"], index["sha256"]
        running().reads(self.path, self.recorded)
        self._fields_of_view = np.array(index["fields_of_view"]).swapaxes(1, 2)
        self._array = _open_array(self.path, (len(self.ids), *index["grid"]))
        self.grid = self._array.shape[1:]
        self._on_device = None
        on_gpu = device.type == "cuda" and not seldom
        if on_gpu and self._array.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
            self._on_device = copied(self._array, device)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the array as it lies on the disk now: it is read once, at 1 to 2 GB a second."""
        return running().reads(self.path)

    def verify(self) -> None:
        """Raise UserError where the array is no longer the one that was written."""
        if self.sha256 != self.recorded:
            raise UserError(f"{self.path}: damaged, its SHA-256 is not the one recorded beside it; {_AGAIN}")

    def __len__(self) -> int:
        return len(self._array)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Images [len(rows), 1, *grid], float32."""
        if self._on_device is not None:
            return self._on_device[torch.from_numpy(rows).to(self.device)][:, None].float()
        return torch.from_numpy(self._array[rows].astype(np.float32))[:, None].to(self.device)

    def field_of_view(self, rows: np.ndarray) -> Tensor:
        """The first voxels that were imaged and those after the last, [len(rows), 2, dim]."""
        return torch.from_numpy(self._fields_of_view[rows]).to(self.device)

    def pairs(
        self, moving: np.ndarray, fixed: np.ndarray, generator: torch.Generator, done: float = 1.0
    ) -> Batch:
        """The pairs of these rows; generator and done as in `Batch`."""
        views = self.field_of_view(moving), self.field_of_view(fixed)
        return Batch(self.batch(moving), self.batch(fixed), *views, generator, done)


def copied(array: np.ndarray, device: torch.device) -> Tensor:
    """A float16 array on a device, copied a few images at a time: a job has less memory of its own than its device."""
    copy = torch.empty(array.shape, dtype=torch.float16, device=device)
    for start in range(0, len(array), AT_ONCE):
        copy[start : start + AT_ONCE] = torch.from_numpy(np.array(array[start : start + AT_ONCE]))
    return copy


_AGAIN = "delete it, and the images are packed again"


def _read_index(path: Path) -> dict[str, Any]:
    """The index that `pack` wrote; one of an earlier version has no digest of its own."""
    if not path.is_file():
        raise UserError(f"{path}: the training images are not packed yet; run cohortreg pack first")
    try:
        index = read_json(path, "`cohortreg pack`")
        content = [index[key] for key in _CONTENT]
        own = digest(json.dumps(content))
        if not isinstance(index["sha256"], str) or index.get("digest", own) != own:
            raise ValueError("not what was written")
        images, grid, fields = content
        if np.array(fields, dtype=int).shape != (len(images), len(grid), 2):
            raise ValueError("not a field of view for each image")
    except (UserError, ValueError, TypeError, ArithmeticError):
        raise UserError(f"{path}: damaged, its content is not what was written; {_AGAIN}") from None
    return index


def _open_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The packed array, memory-mapped; UserError where it is not one of that shape, or not whole."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        whole_size = array.offset + math.prod(shape) * array.itemsize
    except FileNotFoundError:
        raise UserError(f"{path}: the training images are not packed yet; run cohortreg pack first") from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged header sets off
        raise UserError(f"{path}: is not an array, or is cut short; {_AGAIN}") from error
    if array.dtype != np.dtype("<f2") or array.shape != shape or path.stat().st_size != whole_size:
        raise UserError(
            f"{path}: holds {array.dtype} {list(array.shape)} and not, as its index says, float16 {list(shape)}; "
            f"{_AGAIN}"
        )
    return array


def draw_pairs(images: int, pairs: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the two images of each pair of a training step, from the seed and the step's number alone.

    Each pair is drawn anew, all ordered pairs of two different images with the same probability.
    """
    random = np.random.default_rng([seed, step])
    first = random.integers(images, size=pairs)
    second = (first + random.integers(1, images, size=pairs)) % images
    return first, second


#: Most pairs on which a training is measured.
VALIDATION_PAIRS = 12


def validation_pairs(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the two images of each pair on which a training is measured, from the seed alone.

    `VALIDATION_PAIRS` of them, fewer where there are fewer images: in an order that is drawn, each image with the next,
    the last with the first.
    """
    order = np.random.default_rng([seed, 0, 2]).permutation(images)
    pairs = min(VALIDATION_PAIRS, images if images > 2 else 1)
    return order[:pairs], np.roll(order, -1)[:pairs]
