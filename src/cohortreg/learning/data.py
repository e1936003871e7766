"""Training images in one packed, memory-mapped file, and the pairs that each training step sees."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cohortreg import files
from cohortreg.errors import UserError
from cohortreg.files import digest_file, read_json, whole, write_json


def pack(
    image_ids: list[str],
    read: Callable[[str], tuple[np.ndarray, list[list[int]]]],
    array_path: Path,
    index_path: Path,
) -> None:
    """Write images of one grid into one array file [images, *grid], and an index with their ids beside it.

    read: gives the array of an image, float in [0, 1], and its field of view: for each axis the first voxel that was
    imaged and the one after the last. Half precision resolves 1/2048 of that range, finer than
    the images' noise, and halves what must be read. The index is written last: where it is, both are whole.
    """
    if not image_ids:
        raise UserError(
            f"{array_path}: no training images; mark images of {index_path.parents[1].name} with split 'train'"
        )
    first, _ = read(image_ids[0])
    fields_of_view = []
    header = {"descr": "<f2", "fortran_order": False, "shape": (len(image_ids), *first.shape)}
    with whole(array_path) as beside, beside.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for image_id in image_ids:
            array, field_of_view = read(image_id)
            stream.write(array.astype("<f2").tobytes())
            fields_of_view.append(field_of_view)
    index = {"images": image_ids, "grid": first.shape, "fields_of_view": fields_of_view}
    write_json(index_path, index | {"sha256": digest_file(array_path)})


class TrainingImages:
    """The packed images, on the device where they fit.

    `batch(rows)` gives float32 images [len(rows), 1, *grid] on the device, `field_of_view(rows)` what of them was
    imaged and not padded.
    """

    def __init__(self, array_path: Path, index_path: Path, device: torch.device):
        if not index_path.is_file():
            raise UserError(f"{index_path}: the training images are not packed yet; run cohortreg pack first")
        index = read_json(index_path, "`cohortreg pack`")
        self.sha256 = files.read[Path(array_path)] = index["sha256"]
        self._fields_of_view = np.array(index["fields_of_view"]).swapaxes(1, 2)
        self.device = device
        array = np.load(array_path, mmap_mode="r", allow_pickle=False)
        self.grid = array.shape[1:]
        self._array = array
        self._on_device = None
        if device.type == "cuda" and array.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
            self._on_device = torch.from_numpy(np.array(array)).to(device)

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


def draw_pairs(images: int, pairs: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the two images of each pair of a training step, from the seed and the step's number alone.

    The two images of a pair differ.
    """
    random = np.random.default_rng([seed, step])
    first = random.integers(images, size=pairs)
    second = (first + random.integers(1, images, size=pairs)) % images
    return first, second
