"""The images, label maps and settings that `pack` put into its folder, as parts want them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cohortreg.images.image import Image
from cohortreg.learning.data import TrainingImages, pack
from cohortreg.maps.grids import identity_map, interpolate

#: Voxels of which at least half are covered belong to a structure, whatever rounding makes of one half.
HALF = 0.5 - 1e-4


@dataclass(frozen=True)
class Cohort:
    """Preprocessed images and label maps on one grid.

    images: float16 [images, *grid] in [0, 1]. labels: uint8, the same shape. fields_of_view: [images, dim, 2], first
    voxel that was imaged along each axis and the one after the last. spacing: millimetres. split: "train" or "test" of
    each. pairs: rows of moving and fixed test images, [pairs, 2]. structures: name -> values.
    """

    ids: list[str]
    images: np.ndarray
    labels: np.ndarray
    fields_of_view: np.ndarray
    spacing: list[float]
    split: np.ndarray
    pairs: np.ndarray
    structures: dict[str, list[int]]

    @property
    def grid(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    def image(self, row: int) -> Image:
        """An image as the registration methods take it."""
        affine = np.diag([*self.spacing, 1.0])
        return Image(self.images[row].astype(np.float32), affine, self.fields_of_view[row].tolist())

    def rows(self, split: str) -> np.ndarray:
        """The rows of a split."""
        return np.flatnonzero(self.split == split)

    def training_images(self, rows: Sequence[int], folder: Path, device: torch.device) -> TrainingImages:
        """Some of the images as a training reads them; packed into a folder where they are not yet."""
        paths = folder / "images.npy", folder / "images.json"
        if not paths[1].is_file():
            by_id = {self.ids[row]: row for row in rows}
            pack(list(by_id), lambda name: self._packed(by_id[name]), *paths)
        return TrainingImages(*paths, device)

    def _packed(self, row: int) -> tuple[np.ndarray, list[list[int]]]:
        return self.images[row].astype(np.float32), self.fields_of_view[row].tolist()

    def coarser(self, factor: int) -> "Cohort":
        """The cohort at a resolution that many times coarser, for a rehearsal."""
        pooled = F.avg_pool3d(torch.from_numpy(self.images.astype(np.float32))[:, None], factor)[:, 0]
        every = (slice(None), *[slice(None, size * factor, factor) for size in pooled.shape[1:]])
        seen = np.stack(
            [np.floor_divide(self.fields_of_view[..., 0], factor), -(-self.fields_of_view[..., 1] // factor)],
            -1,
        )
        return Cohort(
            self.ids, pooled.half().numpy(), self.labels[every], np.minimum(seen, np.array(pooled.shape[1:])[:, None]),
            [factor * size for size in self.spacing], self.split, self.pairs, self.structures,
        )  # fmt: skip

    def some(self, rows: Sequence[int], pairs: np.ndarray) -> "Cohort":
        """Some of the images, and pairs of these by their new rows."""
        rows = list(rows)
        return Cohort(
            [self.ids[row] for row in rows], self.images[rows], self.labels[rows], self.fields_of_view[rows],
            self.spacing, self.split[rows], pairs, self.structures,
        )  # fmt: skip


def read(packed: Path, name: str) -> Cohort:
    """A packed cohort: hippocampi or knees."""
    about = json.loads((packed / "data" / f"{name}.json").read_text("utf-8"))
    arrays = np.load(packed / "data" / f"{name}.npz")
    images = arrays["images"]
    if images.dtype == np.uint8:
        images = (images / np.float32(255)).astype(np.float16)
    return Cohort(
        about["ids"], images, arrays["labels"], arrays["fields_of_view"], about["spacing"],
        np.array(about["split"]), np.array(about["pairs"]), about["structures"],
    )  # fmt: skip


def settings(packed: Path, name: str) -> dict:
    """A part of the configurations that `pack` wrote down."""
    return json.loads((packed / "data" / "settings.json").read_text("utf-8"))[name]


def one_hot(labels: Tensor, structures: dict[str, list[int]]) -> Tensor:
    """Label maps [batch, *grid] as a channel of 0 and 1 for each structure, [batch, structures, *grid] float32."""
    values = [torch.isin(labels, torch.tensor(v, device=labels.device)) for v in structures.values()]
    return torch.stack(values, 1).float()


def dice(warped: Tensor, fixed: Tensor) -> Tensor:
    """Mean Dice over the structures that either has, [batch]; of masks [batch, structures, *grid] of 0 and 1."""
    both = (warped * fixed).flatten(2).sum(2)
    size = warped.flatten(2).sum(2) + fixed.flatten(2).sum(2)
    there = size > 0
    return torch.where(there, 2 * both / size.clamp(min=1), 0).sum(1) / there.sum(1).clamp(min=1)


def dice_on_grid(phi: Tensor, moving: Tensor, fixed: Tensor, structures: dict[str, list[int]]) -> Tensor:
    """Mean Dice of pairs under their maps, [batch]: each structure warped as a linear image and cut at one half.

    phi: [batch, dim, *grid] in unit coordinates. moving, fixed: label maps [batch, *grid].
    """
    warped = interpolate(one_hot(moving, structures), phi) >= HALF
    return dice(warped.float(), one_hot(fixed, structures))


def dice_at_labels(
    displacement: Tensor, moving: Tensor, fixed: Tensor, structures: dict[str, list[int]]
) -> float:
    """Mean Dice of a pair at its label maps' own resolution, under a displacement on a coarser grid.

    displacement: [1, dim, *grid] in unit coordinates of the grid. moving, fixed: [*finer], over the same field of view,
    the outer edges of both aligned.
    """
    shape, dim = fixed.shape, fixed.dim()
    coarse = torch.tensor(displacement.shape[2:], device=fixed.device, dtype=torch.float32).reshape(
        1, -1, *[1] * dim
    )
    fine = torch.tensor(shape, device=fixed.device, dtype=torch.float32).reshape(1, -1, *[1] * dim)
    # Voxel centres of the labels as coordinates of the grid, there to the moving image, and back to its labels' voxels.
    points = ((identity_map(shape, fixed.device) * (fine - 1) + 0.5) / fine * coarse - 0.5) / (coarse - 1)
    found = points + interpolate(displacement, points)
    back = ((found * (coarse - 1) + 0.5) / coarse * fine - 0.5) / (fine - 1)
    warped = interpolate(one_hot(moving[None], structures), back) >= HALF
    return dice(warped.float(), one_hot(fixed[None], structures)).item()
