"""The loss of inverse consistency (section 3), both directions of a pair in one batch.

A batch of pairs goes through the registration as [A; B] against [B; A], so that one map of twice the batch
holds Phi^AB in its first half and Phi^BA in its second.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from cohortreg.icon.steps import halve
from cohortreg.losses.fields_of_view import both_imaged, unit_bounds
from cohortreg.losses.similarities import Similarity, mean_squared_error
from cohortreg.losses.terms import Batch, LossTerms, Objective
from cohortreg.maps.fields import Map
from cohortreg.maps.grids import identity_map, interpolate, voxel_size
from cohortreg.maps.jacobian import folds

#: A map of [AB; BA], points [1, dim, *any] and noise (see `white_noise`) to a scalar.
Regularity = Callable[[Map, Tensor, Tensor | None], Tensor]

#: Step of the finite differences of `gradient_inverse_consistency`, in unit coordinates.
DIFFERENCE = 1e-3


def swap(batch: Tensor) -> Tensor:
    """[AB; BA] to [BA; AB]."""
    return torch.cat(batch.chunk(2)[::-1])


def sample_points(shape: Sequence[int], stride: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """The points x_i + epsilon_i of Eq. 17: voxel centres with Gaussian jitter of one voxel in each direction.

    With a stride, every stride-th centre along each axis, from an offset drawn anew at each call: the same expectation
    from fewer samples. In unit coordinates, [1, dim, *ceil(shape / stride)].
    """
    offsets = torch.randint(stride, (len(shape),), generator=generator).tolist()
    centres = identity_map(shape, like.device, like.dtype)
    centres = centres[:, :, *(slice(offset, None, stride) for offset in offsets)]
    jitter = torch.randn(centres.shape, generator=generator, dtype=like.dtype).to(like.device)
    return centres + jitter * voxel_size(shape, like)


def white_noise(
    points: Tensor, shape: Sequence[int], deviation: float, generator: torch.Generator
) -> Tensor | None:
    """The noise epsilon n_2, epsilon n_1 of Eq. 5 at points [1, dim, *any], [2, dim, *any]; None for a deviation of 0.

    The deviation is epsilon, in voxels of a grid of `shape`.
    """
    if deviation == 0:
        return None
    noise = torch.randn(2, *points.shape[1:], generator=generator, dtype=points.dtype).to(points.device)
    return noise * deviation * voxel_size(shape, points)


def inverse_consistency(phi: Map, points: Tensor, noise: Tensor | None = None) -> Tensor:
    """L_inv of Eq. 14 in its displacement form (Eq. 16), evaluated off the grid (Eq. 17); with noise, Eq. 5.

    Args:
        phi: The map of [AB; BA].
        points: [1, dim, *any], see `sample_points`.
        noise: See `white_noise`.

    Returns:
        The sum over both directions of the mean over pairs, points and axes of |Phi^AB(Phi^BA(x)) - x|^2.
    """
    there = phi(points)
    if noise is not None:
        there = there + noise[:1]
    there_and_back = phi(swap(there))
    if noise is not None:
        there_and_back = there_and_back + noise[1:]
    return 2 * torch.mean((there_and_back - points) ** 2)


def gradient_inverse_consistency(phi: Map, points: Tensor, noise: Tensor | None = None) -> Tensor:
    """The regularity of GradICON (Tian et al., CVPR 2023): the gradient of e(x) = Phi^AB(Phi^BA(x)) - x.

    It sees one of the two directions. Arguments are those of `inverse_consistency`; noise is not used.

    Returns:
        The sum over the derivatives along each axis, by finite differences, of the mean over pairs, points and
        components of their squares.
    """
    forward, backward = phi.halves()

    def error(x: Tensor) -> Tensor:
        return forward(backward(x)) - x

    steps = DIFFERENCE * torch.eye(points.shape[1], device=points.device, dtype=points.dtype)
    steps = steps.reshape(*steps.shape, *[1] * (points.dim() - 2))
    at_points = error(points)
    derivatives = [(error(points + step) - at_points) / DIFFERENCE for step in steps]
    return reduce(torch.add, (torch.mean(derivative**2) for derivative in derivatives))


#: Each name of the configuration, and its regularity.
REGULARITIES: dict[str, Regularity] = {"icon": inverse_consistency, "gradicon": gradient_inverse_consistency}


def icon_loss(
    registration: nn.Module,
    images_a: Tensor,
    images_b: Tensor,
    points: Tensor,
    similarity: Similarity = mean_squared_error,
    bounds: Tensor | None = None,
    regularity: Regularity = inverse_consistency,
    noise: Tensor | None = None,
) -> LossTerms:
    """Terms of Eq. 13 for a batch of pairs.

    Similarity is measured where the fixed image was imaged, and the moving image at phi too. Folds are counted in both
    directions and averaged over the maps.

    Args:
        images_a, images_b: [batch, 1, *grid].
        points: See `sample_points`, and of noise `white_noise`.
        bounds: Fields of view of [A; B], see `within`; without them, every voxel counts.
    """
    moving, fixed = torch.cat([images_a, images_b]), torch.cat([images_b, images_a])
    phi = registration(moving, fixed)
    shape = moving.shape[2:]
    on_grid = phi.on_grid(shape)
    warped = interpolate(moving, on_grid)
    weight = torch.ones_like(fixed)
    if bounds is not None:
        weight = both_imaged(on_grid, bounds, swap(bounds))
    return LossTerms(
        similarity=2 * similarity(warped, fixed, weight),
        inverse_consistency=regularity(phi, points, noise),
        folds=folds(on_grid).float().mean(),
    )


class StageObjective(Objective):
    """The loss terms of a stage: its registration at its resolution, with the stages before it frozen.

    Args:
        registration: See `stages.build_registration`.
        frozen: The part of it that this stage does not train; it stays in evaluation mode.
        noise: The deviation of `white_noise`, in voxels of the stage's resolution.
    """

    def __init__(
        self,
        registration: nn.Module,
        frozen: nn.Module | None,
        downsample: int,
        similarity: Similarity = mean_squared_error,
        regularity: Regularity = inverse_consistency,
        stride: int = 1,
        noise: float = 0,
        beyond_grid: bool = True,
    ):
        super().__init__(registration, frozen)
        self.halvings = round(math.log2(downsample))
        self.similarity = similarity
        self.regularity = regularity
        self.stride = stride
        self.noise = noise
        self.beyond_grid = beyond_grid

    def forward(self, batch: Batch) -> LossTerms:
        """Compute the loss terms of a batch of pairs."""
        images_a, images_b = batch.moving, batch.fixed
        for _ in range(self.halvings):
            images_a, images_b = halve(images_a), halve(images_b)
        shape = images_a.shape[2:]
        points = sample_points(shape, self.stride, batch.generator, images_a)
        noise = white_noise(points, shape, self.noise, batch.generator)
        bounds = unit_bounds(batch.views(), shape, 2**self.halvings, self.beyond_grid)
        return icon_loss(
            self.registration, images_a, images_b, points, self.similarity, bounds, self.regularity, noise
        )
