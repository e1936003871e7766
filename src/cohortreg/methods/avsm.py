"""AVSM (Shen et al., CVPR 2019): a network applied again and again, first for an affine map, then for a momentum."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cohortreg.config import AffineNetworkSettings, AvsmModel, AvsmSettings
from cohortreg.icon.networks import UNet
from cohortreg.icon.objective import inverse_consistency, sample_points, swap
from cohortreg.icon.steps import TwoSteps
from cohortreg.losses.fields_of_view import both_imaged, unit_bounds
from cohortreg.losses.similarities import multi_kernel_correlation, normalised_cross_correlation
from cohortreg.losses.terms import Batch, LossTerms, Objective
from cohortreg.maps.fields import AffineMap, Composition, DisplacementField, Map
from cohortreg.maps.grids import interpolate
from cohortreg.maps.jacobian import folds
from cohortreg.maps.velocity import MultiGaussian, flow
from cohortreg.methods.cards import AvsmCard
from cohortreg.methods.recipes import Recipe
from cohortreg.methods.vsvf import energy

Described = AvsmModel | AvsmCard


class AffineNetwork(nn.Module):
    """Convolutions of stride 2, then two dense layers that predict an affine map's departure from the identity.

    Takes two images [batch, 1, *grid], all of one grid, and returns [batch, dim, dim + 1]; starts at zero.
    """

    def __init__(self, grid: Sequence[int], channels: Sequence[int]):
        super().__init__()
        self.dim = len(grid)
        layers: list[nn.Module] = []
        before = 2
        for after in channels:
            convolution = (nn.Conv2d if self.dim == 2 else nn.Conv3d)(before, after, 3, stride=2, padding=1)
            layers += [convolution, nn.LeakyReLU(0.2)]
            before = after
        voxels = math.prod(math.ceil(size / 2 ** len(channels)) for size in grid)
        layers += [nn.Flatten(), nn.Linear(before * voxels, 32), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers)
        self.last = nn.Linear(32, self.dim * (self.dim + 1))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Predict affine maps less the identity, [batch, dim, dim + 1], in unit coordinates."""
        parameters = self.last(self.features(torch.cat([moving, fixed], 1))).float()
        return parameters.reshape(-1, self.dim, self.dim + 1)


class AffineSteps(nn.Module):
    """One network, applied `steps` times to the moving image as warped so far; the maps' parameters are composed."""

    def __init__(self, network: AffineNetwork, steps: int):
        super().__init__()
        self.network = network
        self.steps = steps

    def forward(self, moving: Tensor, fixed: Tensor) -> AffineMap:
        """Register the pairs and return their map."""
        dim = self.network.dim
        identity = torch.eye(dim, dim + 1, device=moving.device)
        phi = AffineMap(identity.expand(len(moving), -1, -1))
        for _ in range(self.steps):
            step = identity + self.network(interpolate(moving, phi.on_grid(moving.shape[2:])), fixed)
            # About the image's centre, so that turning and shifting are not tied to each other.
            linear, shift = step[..., :-1], step[..., -1:]
            shift = shift + 0.5 - 0.5 * linear.sum(-1, keepdim=True)
            phi = phi.after(AffineMap(torch.cat([linear, shift], -1)))
        return phi


class VelocitySteps(nn.Module):
    """One network, applied `steps` times to the moving image as warped so far, predicts the momentum of each step.

    Momenta are at half the resolution of the images.
    """

    def __init__(self, grid: Sequence[int], settings: AvsmSettings, steps: int):
        super().__init__()
        self.network = UNet(len(grid), settings.down, settings.up)
        coarse = [math.ceil(size / 2) for size in grid]
        self.smooth = MultiGaussian(coarse, settings.deviations, settings.weights)
        self.flow_steps = settings.flow_steps
        self.steps = steps

    def forward(self, moving: Tensor, fixed: Tensor) -> Map:
        """Register the pairs and return their map."""
        return self.with_energy(moving, fixed)[0]

    def with_energy(self, moving: Tensor, fixed: Tensor) -> tuple[Map, Tensor]:
        """The map, and the sum over steps of <m, v>, [batch]."""
        phi: Map | None = None
        spent, warped = torch.zeros(len(moving), device=moving.device), moving
        for _ in range(self.steps):
            momentum = self.network(warped, fixed).float()
            velocity = self.smooth(momentum)
            spent = spent + energy(momentum, velocity)
            step = DisplacementField(flow(velocity, self.flow_steps))
            phi = step if phi is None else Composition(phi, step)
            warped = interpolate(moving, phi.on_grid(moving.shape[2:]))
        assert phi is not None  # a stage has a step
        return phi, spent


class AffineObjective(Objective):
    """NCC, inverse consistency, and a departure from the identity, whose weight falls to exp(-5) of it over the stage.

    Sums over both directions.
    """

    registration: AffineSteps

    def __init__(self, registration: AffineSteps, settings: AffineNetworkSettings):
        super().__init__(registration)
        self.settings = settings

    def forward(self, batch: Batch) -> LossTerms:
        """Compute the loss terms of a batch of pairs."""
        moving, fixed = batch.both_directions()
        phi = self.registration(moving, fixed)
        on_grid = phi.on_grid(moving.shape[2:])
        bounds = unit_bounds(batch.views(), moving.shape[2:])
        weight = both_imaged(on_grid, bounds, swap(bounds))
        similarity = 2 * normalised_cross_correlation(interpolate(moving, on_grid), fixed, weight)
        dim = phi.matrix.shape[1]
        identity = torch.eye(dim, dim + 1, device=moving.device)
        departure = 2 * (phi.matrix - identity).square().sum((1, 2)).mean()
        points = sample_points(moving.shape[2:], 4, batch.generator, moving)
        regularity = self.settings.affine_departure * math.exp(-5 * batch.done) * departure
        regularity = regularity + self.settings.affine_symmetry * inverse_consistency(phi, points)
        return LossTerms(similarity, regularity, folds(on_grid).float().mean())


class VelocityObjective(Objective):
    """Multi-kernel LNCC, the energies <m, v>, and inverse consistency, the symmetry loss; sums over both directions.

    Of the affine registration, which is frozen, and then `VelocitySteps`.
    """

    registration: TwoSteps[AffineSteps, VelocitySteps]

    def __init__(self, registration: TwoSteps[AffineSteps, VelocitySteps], settings: AvsmSettings):
        super().__init__(registration, registration.first)
        self.settings = settings

    def forward(self, batch: Batch) -> LossTerms:
        """Compute the loss terms of a batch of pairs."""
        moving, fixed = batch.both_directions()
        shape = moving.shape[2:]
        affine = self.registration.first(moving, fixed)
        warped = interpolate(moving, affine.on_grid(shape))
        velocity, spent = self.registration.second.with_energy(warped, fixed)
        phi = Composition(affine, velocity)
        on_grid = phi.on_grid(shape)
        correlation = multi_kernel_correlation(shape, self.settings.windows, self.settings.window_weights)
        bounds = unit_bounds(batch.views(), shape)
        weight = both_imaged(on_grid, bounds, swap(bounds))
        similarity = 2 * correlation(interpolate(moving, on_grid), fixed, weight)
        points = sample_points(shape, 2, batch.generator, moving)
        regularity = self.settings.momentum_weight * 2 * spent.mean()
        regularity = regularity + self.settings.symmetry * inverse_consistency(phi, points)
        return LossTerms(similarity, regularity, folds(on_grid).float().mean())


class Avsm(Recipe[Described]):
    """The first stage learns the affine map, the second the momenta; either one applies its network again and again."""

    @staticmethod
    def similarity_in_words(model: Described) -> str:
        """Name the similarity as the report does."""
        return "LNCC"

    @staticmethod
    def build(model: Described, grid: Sequence[int]) -> tuple[nn.Module, nn.Module | None]:
        """Build the registration of the last stage, and the part of it that this stage freezes."""
        settings, stages = model.settings, model.stages
        affine = affine_steps(grid, settings, stages[0].steps)
        if len(stages) == 1:
            return affine, None
        return TwoSteps(affine, VelocitySteps(grid, settings, stages[1].steps)), affine

    @staticmethod
    def objective(registration: nn.Module, before: nn.Module | None, model: Described) -> Objective:
        """Build the objective of the last stage."""
        if isinstance(registration, AffineSteps):
            return AffineObjective(registration, model.settings)
        assert isinstance(registration, TwoSteps)
        return VelocityObjective(registration, model.settings)


def affine_steps(grid: Sequence[int], settings: AffineNetworkSettings, steps: int) -> AffineSteps:
    """Build the affine registration of so many steps, before it is trained."""
    return AffineSteps(AffineNetwork(grid, settings.affine_channels), steps)
