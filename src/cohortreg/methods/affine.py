"""Affine registration: mutual information (Mattes), coarse to fine, by L-BFGS."""

import json
import math
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.optimize import minimize
from torch import Tensor

from cohortreg.config import MethodSettings
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.images.geometry import block_means
from cohortreg.images.image import Image
from cohortreg.losses.mutual_information import MutualInformationWithOne
from cohortreg.maps.grids import interpolate, voxel_size
from cohortreg.maps.imaged import imaged
from cohortreg.maps.matrices import from_matrix
from cohortreg.maps.transforms import apply_affine, displacement_in_unit, field_of
from cohortreg.methods.interface import Registration
from cohortreg.methods.registry import PAIRWISE
from cohortreg.settings import Number, Whole

#: Voxels along the longest axis of the finest resolution, by dimension: a map of twelve parameters needs no more.
FINEST = {2: 256, 3: 64}
#: Nats that a step gains at least, or a resolution is done.
CONVERGED = 1e-5
#: Points that the similarity is computed from at most: of more, Dice is no higher.
POINTS = 20_000


class Affine:
    """L-BFGS on Mattes' mutual information at points drawn once for each resolution, coarse to fine.

    The same pair and seed give the same map on the same number of threads.
    """

    similarity = "MI"

    class Settings(MethodSettings):
        """Settings of the row affine."""

        levels: Whole = Field(
            3,
            ge=1,
            description="resolutions, each twice the previous one, the last of nearly cubic voxels, 64 along the "
            "longest axis (256 in 2D), or the images' own where that is coarser",
        )
        iterations: Whole = Field(
            200, ge=1, description="maximum number of iterations of L-BFGS at each resolution"
        )
        bins: Whole = Field(32, ge=5, description="bins of each image's histogram")
        sampling: Number = Field(
            1,
            gt=0,
            le=1,
            description="fraction of each resolution's voxels that the similarity is computed from; 20,000 at most",
        )

    def __init__(self, settings: Settings, seed: int, threads: int):
        self.settings = settings
        self.seed = seed
        self.version = digest(
            PAIRWISE["affine"].release, json.dumps([settings.whole(), seed], sort_keys=True)
        )

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair of preprocessed images."""
        affine = self.optimise(*(imaged(image, fixed.affine) for image in (moving, fixed)))
        forward, inverse = (
            displacement_in_unit(field_of(transform, fixed.grid), fixed.grid)
            for transform in (affine, affine.GetInverse())
        )
        return Registration(forward, inverse)

    def optimise(self, moving: Image, fixed: Image) -> sitk.AffineTransform:
        """The map from the fixed to the moving image, LPS millimetres.

        Args:
            moving: Where the map leads to, on voxels of the fixed image's grid or such as continue it.
            fixed: Where it starts.

        Raises:
            UserError: An image has a single grey value, or one that is not finite.
        """
        if not all(np.isfinite(image.array).all() and np.ptp(image.array) > 0 for image in (moving, fixed)):
            raise UserError(
                "no affine map is found: an image has a single grey value, or NaN or infinite ones; correct the "
                "image or its mask"
            )
        dim = len(fixed.shape)
        # Voxels of rounded size along the axes: last digits of where images lie, which files round, change nothing.
        between = np.rint(moving.grid.lps_to_voxel @ fixed.grid.voxel_to_lps)
        straight = np.diag([*(float(f"{size:.5g}") for size in fixed.spacing), 1])
        moving_plain = Image(moving.array, straight @ np.linalg.inv(between))
        fixed_plain = Image(fixed.array, straight)
        # Coordinates from -1 to 1 along the longest axis, around the middle; here, to LPS.
        frame = np.diag([(np.array(fixed.shape) * fixed_plain.spacing).max() / 2] * dim + [1])
        frame[:-1, -1] = fixed_plain.grid.points((np.array(fixed.shape) - 1) / 2)
        change = torch.zeros(dim, dim + 1, dtype=torch.float64)
        for level in range(self.settings.levels - 1, -1, -1):
            change = self._refined(change, moving_plain, fixed_plain, frame, FINEST[dim] / 2**level)
        frame = fixed.grid.voxel_to_lps @ fixed_plain.grid.lps_to_voxel @ frame
        return from_matrix(frame @ _with_identity(change).numpy() @ np.linalg.inv(frame))

    def _refined(self, change: Tensor, moving: Image, fixed: Image, frame: np.ndarray, size: float) -> Tensor:
        """Optimise at one resolution what an affine map adds to the identity, [dim, dim + 1].

        Args:
            change: Where to start.
            frame: The coordinates that it is in, to LPS.
            size: Voxels along the longest axis.
        """
        moving, fixed = (_coarse(image, 2 * frame[0, 0] / size) for image in (moving, fixed))
        from_fixed = torch.from_numpy(np.linalg.inv(frame) @ fixed.grid.voxel_to_lps)
        to_moving = torch.from_numpy(moving.grid.lps_to_voxel @ frame)
        voxels = self._points(fixed.shape)
        grey, values = (torch.from_numpy(image.array)[None, None] for image in (moving, fixed))
        last = voxels.new_tensor(moving.shape).reshape(voxels.shape[1], *[1] * (voxels.dim() - 2)) - 1
        similarity = MutualInformationWithOne(
            _sample(values, voxels), grey.min().item(), grey.max().item(), self.settings.bins
        )
        # In voxels at the ends of the longest axis, so that settings of the optimiser serve every resolution.
        voxel = 2 / size

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            moved = torch.tensor(flat.reshape(change.shape), requires_grad=True)
            places = apply_affine(to_moving @ _with_identity(moved * voxel) @ from_fixed, voxels)
            inside = ((places[0] >= -0.5) & (places[0] <= last + 0.5)).all(0).flatten().float()
            # What leaves the moving image tells nothing; otherwise a small overlap would tell most, by chance.
            value = similarity(_sample(grey, places), inside) * inside.mean()
            (by_moved,) = torch.autograd.grad(value, moved)
            return value.item(), by_moved.numpy().flatten()

        options = {"maxiter": self.settings.iterations, "maxcor": 12, "ftol": CONVERGED, "gtol": 0}
        found = minimize(
            loss, (change / voxel).flatten().numpy(), jac=True, method="L-BFGS-B", options=options
        )
        return torch.from_numpy(found.x.reshape(change.shape)) * voxel

    def _points(self, shape: Sequence[int]) -> Tensor:
        """Draw points of a grid, [1, dim, points, 1, ...] in voxels.

        Not at the voxels' centres, so that both images are interpolated.
        """
        generator = torch.Generator().manual_seed(self.seed)
        voxels = math.prod(shape)
        drawn = torch.randperm(voxels, generator=generator)
        drawn = drawn[: min(math.ceil(self.settings.sampling * voxels), POINTS)]
        points = torch.stack(torch.unravel_index(drawn, tuple(shape))).float()
        points += torch.rand(points.shape, generator=generator) - 0.5
        points = points.clamp(torch.zeros(len(shape), 1), torch.tensor(shape)[:, None] - 1)
        return points.reshape(1, *points.shape, *[1] * (len(shape) - 1))


def _with_identity(change: Tensor) -> Tensor:
    """The matrix [dim + 1, dim + 1] of an affine map that adds a change [dim, dim + 1] to the identity."""
    return F.pad(change, (0, 0, 0, 1)) + torch.eye(change.shape[1], dtype=change.dtype)


def _coarse(image: Image, spacing: float) -> Image:
    """The means of an image over blocks as nearly cubic and of that size as whole voxels are."""
    blocks = np.clip(np.rint(spacing / image.spacing).astype(int), 1, image.shape).tolist()
    # In one order in memory, whatever the image's: sums follow it, and an optimiser their last digits.
    means = block_means(np.ascontiguousarray(image.array), blocks)
    return Image(np.ascontiguousarray(means), image.grid.blocks(blocks).affine)


def _sample(values: Tensor, voxels: Tensor) -> Tensor:
    """Values of an image [1, 1, *grid] at points in voxels, see `Affine._points`, by linear interpolation, [points]."""
    return interpolate(values, voxels * voxel_size(values.shape[2:], voxels)).flatten()
