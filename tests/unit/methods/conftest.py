"""Real pairs for every method: a hippocampus and the same one moved by a known map, and two subjects."""

from dataclasses import dataclass

import nibabel
import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter, zoom

from cohortreg.evaluation.overlap import dice, mean_of_structures
from cohortreg.evaluation.structures import structure_masks
from cohortreg.images.io import Image
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import to_physical
from cohortreg.methods.interface import Registration
from cohortreg.paper.data import read_fives


@dataclass(frozen=True)
class Known:
    """fixed(x) = moving(linear x + offset), x in voxels."""

    moving: Image
    fixed: Image
    linear: np.ndarray
    offset: np.ndarray

    def error(self, registration: Registration) -> float:
        """Mean distance to the known map over the middle of the fixed image, voxels."""
        dim = len(self.fixed.shape)
        last = torch.tensor(self.fixed.shape).reshape(1, dim, *[1] * dim) - 1.0
        centres = identity_map(self.fixed.shape)
        found = ((centres + registration.forward) * last)[0].numpy()
        voxels = (centres * last)[0].numpy()
        expected = np.einsum("ij,j...->i...", self.linear, voxels) + self.offset.reshape(dim, *[1] * dim)
        middle = tuple(slice(size // 4, -(size // 4)) for size in self.fixed.shape)
        return float(np.linalg.norm(found - expected, axis=0)[middle].mean())


@dataclass(frozen=True)
class Subjects:
    """Two subjects on one grid, with labels."""

    moving: Image
    fixed: Image
    labels: tuple[Image, Image]

    def dice(self, forward: torch.Tensor) -> float:
        """Mean Dice of both structures after registration."""
        transform = to_physical(forward, self.moving.grid, self.fixed.grid)
        structures = {"anterior": [1], "posterior": [2]}
        masks = structure_masks(*self.labels, transform, structures)
        return mean_of_structures({name: dice(warped, fixed) for name, warped, fixed in masks})

    def gain(self, registration: Registration) -> float:
        """What registration adds to it."""
        return self.dice(registration.forward) - self.dice(torch.zeros_like(registration.forward))


def affine_of(angle: float, spacing: tuple[float, ...], origin: tuple[float, ...]) -> np.ndarray:
    """Anisotropic voxels, turned about two axes, the second axis of the array from left to right."""
    c, s = np.cos(angle), np.sin(angle)
    about_k = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_i = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = about_i @ about_k @ np.diag(spacing) @ [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    affine[:3, 3] = origin
    return affine


@pytest.fixture(scope="session")
def known(hippocampus) -> Known:
    """In oblique, anisotropic voxels; the moving image lies elsewhere in the scanner."""
    path = sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[0]
    array = gaussian_filter(nibabel.load(path).get_fdata(), 0.7)
    array = ((array - array.min()) / (array.max() - array.min())).astype(np.float32)
    c, s = np.cos(0.1), np.sin(0.1)
    linear = np.array([[c, -s, 0.0], [s, c, 0.04], [0, 0, 1.06]])
    centre = (np.array(array.shape) - 1) / 2
    offset = centre - linear @ centre + [1.5, -2.0, 1.0]
    moved = affine_transform(array, linear, offset, order=1, mode="nearest")
    spacing = (1.2, 0.8, 1.0)
    moving = Image(array, affine_of(0.3, spacing, (70, -40, 10)))
    return Known(moving, Image(moved, affine_of(0.3, spacing, (-5, 20, 33))), linear, offset)


@pytest.fixture(scope="session")
def flat(mnist) -> Known:
    """A digit, 56 pixels wide and high with a margin at its right, and the same one moved; 2D."""
    digit = zoom(read_fives(mnist, "train")[0], 2, order=1).T
    array = gaussian_filter(np.pad(digit, [(0, 8), (0, 0)]), 1)
    c, s = np.cos(0.15), np.sin(0.15)
    linear = np.array([[c, -s], [s, c * 1.1]])
    centre = (np.array(array.shape) - 1) / 2
    offset = centre - linear @ centre + [3, -2]
    moved = affine_transform(array, linear, offset, order=1, mode="nearest")
    affine = np.array([[0, -1.2, 5], [0.8, 0, 20], [0, 0, 1]])
    return Known(Image(array, np.diag([-1.0, -1, 1])), Image(moved, affine), linear, offset)


@pytest.fixture(scope="session")
def subjects(hippocampus) -> Subjects:
    """Each in a margin that was not imaged, as preprocessing pads them."""
    names = ("hippocampus_003.nii.gz", "hippocampus_008.nii.gz")
    volumes = [nibabel.load(hippocampus / "imagesTr" / name).get_fdata() for name in names]
    labels = [np.asarray(nibabel.load(hippocampus / "labelsTr" / name).dataobj) for name in names]
    grid = np.max([volume.shape for volume in volumes], axis=0) + 4
    boxes = [[((n - m) // 2, (n - m) // 2 + m) for n, m in zip(grid, v.shape, strict=True)] for v in volumes]

    def on_grid(array: np.ndarray, box: list) -> np.ndarray:
        return np.pad(array, [(a, n - b) for (a, b), n in zip(box, grid, strict=True)])

    images = []
    for volume, box in zip(volumes, boxes, strict=True):
        low, high = np.percentile(volume, [1, 99])
        array = np.clip((volume - low) / (high - low), 0, 1).astype(np.float32)
        images.append(Image(on_grid(array, box), np.eye(4), [list(side) for side in box]))
    padded = (Image(on_grid(one, box), np.eye(4)) for one, box in zip(labels, boxes, strict=True))
    return Subjects(*images, tuple(padded))
