"""AVSM (Shen et al., CVPR 2019): a network applied again and again, first for an affine map, then for a momentum."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cohortreg.config import complete
from cohortreg.errors import UserError
from cohortreg.icon.losses import (
    LossTerms,
    both_imaged,
    inverse_consistency,
    sample_points,
    swap,
    unit_bounds,
)
from cohortreg.icon.networks import UNet
from cohortreg.icon.similarities import MultiKernelCorrelation, normalised_cross_correlation
from cohortreg.icon.steps import TwoSteps
from cohortreg.maps.batch import Batch
from cohortreg.maps.fields import AffineMap, Composition, DisplacementField, Map
from cohortreg.maps.grids import interpolate
from cohortreg.maps.jacobian import folds
from cohortreg.maps.velocity import MultiGaussian, flow
from cohortreg.methods.recipes import Recipe
from cohortreg.methods.vsvf import VELOCITY_SETTINGS, check_velocity, energy

_CHANNELS = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 1}}

#: Of the affine network and its loss, which VoxelMorph's affine pre-registration has too.
AFFINE_SETTINGS = {
    "affine_channels": _CHANNELS
    | {
        "default": [16, 32, 64, 128],
        "description": "channels of the affine network, each at half the previous resolution",
    },
    "affine_departure": {
        "type": "number",
        "minimum": 0,
        "default": 10,
        "description": "initial weight of the affine map's departure from the identity; it falls to 0.7 % of this",
    },
    "affine_symmetry": {
        "type": "number",
        "minimum": 0,
        "default": 10,
        "description": "weight of the inverse-consistency error of the affine maps",
    },
}


class AffineNetwork(nn.Module):
    """Convolutions of stride 2, then two dense layers that predict an affine map's departure from the identity.

    Takes two images [batch, 1, *grid], all of one grid, and returns [batch, dim, dim + 1]; starts at zero.
    """

    def __init__(self, grid: Sequence[int], channels: Sequence[int]):
        super().__init__()
        self.dim = len(grid)
        layers, before = [], 2
        for after in channels:
            convolution = (nn.Conv2d if self.dim == 2 else nn.Conv3d)(before, after, 3, stride=2, padding=1)
            layers += [convolution, nn.LeakyReLU(0.2)]
            before = after
        voxels = math.prod(math.ceil(size / 2 ** len(channels)) for size in grid)
        self.features = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(before * voxels, 32), nn.LeakyReLU(0.2)
        )
        self.last = nn.Linear(32, self.dim * (self.dim + 1))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        parameters = self.last(self.features(torch.cat([moving, fixed], 1))).float()
        return parameters.reshape(-1, self.dim, self.dim + 1)


class AffineSteps(nn.Module):
    """One network, applied `steps` times to the moving image as warped so far; the maps' parameters are composed."""

    def __init__(self, network: AffineNetwork, steps: int):
        super().__init__()
        self.network = network
        self.steps = steps

    def forward(self, moving: Tensor, fixed: Tensor) -> AffineMap:
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

    def __init__(self, grid: Sequence[int], settings: dict, steps: int):
        super().__init__()
        self.network = UNet(len(grid), settings["down"], settings["up"])
        self.smooth = MultiGaussian(
            [math.ceil(size / 2) for size in grid], settings["deviations"], settings["weights"]
        )
        self.flow_steps = settings["flow_steps"]
        self.steps = steps

    def forward(self, moving: Tensor, fixed: Tensor) -> Map:
        return self.with_energy(moving, fixed)[0]

    def with_energy(self, moving: Tensor, fixed: Tensor) -> tuple[Map, Tensor]:
        """The map, and the sum over steps of <m, v>, [batch]."""
        phi, spent, warped = None, 0, moving
        for _ in range(self.steps):
            momentum = self.network(warped, fixed).float()
            velocity = self.smooth(momentum)
            spent = spent + energy(momentum, velocity)
            step = DisplacementField(flow(velocity, self.flow_steps))
            phi = step if phi is None else Composition(phi, step)
            warped = interpolate(moving, phi.on_grid(moving.shape[2:]))
        return phi, spent


class AffineObjective(nn.Module):
    """NCC, inverse consistency, and a departure from the identity, whose weight falls to exp(-5) of it over the stage.

    Sums over both directions.
    """

    def __init__(self, registration: AffineSteps, settings: dict):
        super().__init__()
        self.registration = registration
        self.settings = settings

    def forward(self, batch: Batch) -> LossTerms:
        moving, fixed = batch.both_directions()
        phi = self.registration(moving, fixed)
        on_grid = phi.on_grid(moving.shape[2:])
        bounds = unit_bounds(batch.views(), moving.shape[2:])
        weight = both_imaged(on_grid, bounds, swap(bounds))
        similarity = 2 * normalised_cross_correlation(interpolate(moving, on_grid), fixed, weight)
        dim = phi.matrix.shape[1]
        departure = (
            2 * (phi.matrix - torch.eye(dim, dim + 1, device=moving.device)).square().sum((1, 2)).mean()
        )
        decay = math.exp(-5 * batch.done)
        points = sample_points(moving.shape[2:], 4, batch.generator, moving)
        regularity = self.settings["affine_departure"] * decay * departure + self.settings[
            "affine_symmetry"
        ] * inverse_consistency(phi, points)
        return LossTerms(similarity, regularity, folds(on_grid).float().mean())


class VelocityObjective(nn.Module):
    """Multi-kernel LNCC, the energies <m, v>, and inverse consistency, the symmetry loss; sums over both directions."""

    def __init__(self, registration: TwoSteps, settings: dict):
        super().__init__()
        self.registration = registration
        self.settings = settings
        registration.first.requires_grad_(False)

    def train(self, mode: bool = True) -> "VelocityObjective":
        super().train(mode)
        self.registration.first.eval()
        return self

    def forward(self, batch: Batch) -> LossTerms:
        moving, fixed = batch.both_directions()
        shape = moving.shape[2:]
        affine = self.registration.first(moving, fixed)
        warped = interpolate(moving, affine.on_grid(shape))
        velocity, spent = self.registration.second.with_energy(warped, fixed)
        phi = Composition(affine, velocity)
        on_grid = phi.on_grid(shape)
        similarity = MultiKernelCorrelation(shape, self.settings["windows"], self.settings["window_weights"])
        bounds = unit_bounds(batch.views(), shape)
        weight = both_imaged(on_grid, bounds, swap(bounds))
        similarity = 2 * similarity(interpolate(moving, on_grid), fixed, weight)
        points = sample_points(shape, 2, batch.generator, moving)
        regularity = self.settings["momentum_weight"] * 2 * spent.mean() + self.settings[
            "symmetry"
        ] * inverse_consistency(phi, points)
        return LossTerms(similarity, regularity, folds(on_grid).float().mean())


class Avsm(Recipe):
    """The first stage learns the affine map, the second the momenta; either one applies its network again and again."""

    settings = (
        AFFINE_SETTINGS
        | VELOCITY_SETTINGS
        | {
            "down": _CHANNELS
            | {
                "default": [2, 16, 32, 64, 256, 512],
                "description": "channels on the way down of the momentum's U-Net, from the two images",
            },
            "up": _CHANNELS
            | {
                "default": [32, 64, 128, 256],
                "description": "its channels on the way up, finest first; two fewer than down, for half the resolution",
            },
            "symmetry": {
                "type": "number",
                "minimum": 0,
                "default": 500,
                "description": "weight of the inverse-consistency error of the deformable maps",
            },
        }
    )

    @classmethod
    def check(cls, model: Mapping, grid: Sequence[int], where: str) -> None:
        settings = complete(cls.settings, model.get("settings", {}), f"{where}.settings")
        check_velocity(settings, f"{where}.settings")
        down, up, stages = settings["down"], settings["up"], model["stages"]
        problem = ""
        if len(stages) > 2:
            problem = f"stages: {len(stages)}, but avsm has one for the affine map and one for the momentum"
        elif down[0] != 2:
            problem = f"settings.down: begins with {down[0]}, but must with 2, the moving and the fixed image"
        elif len(up) != len(down) - 2:
            problem = f"settings.up: has {len(up)} entries and down {len(down)}, but up must have two fewer"
        if problem:
            raise UserError(f"configuration: {where}.{problem}; see docs/methods.md.")

    @staticmethod
    def similarity_in_words(model: dict) -> str:
        return "LNCC"

    @staticmethod
    def build(model: dict, grid: Sequence[int]) -> tuple[nn.Module, nn.Module | None]:
        Avsm.check(model, grid, "models.avsm")
        settings, stages = _complete(model), model["stages"]
        affine = affine_steps(grid, settings, stages[0])
        if len(stages) == 1:
            return affine, None
        return TwoSteps(affine, VelocitySteps(grid, settings, stages[1]["steps"])), affine

    @staticmethod
    def objective(registration: nn.Module, before: nn.Module | None, model: dict) -> nn.Module:
        settings, stages = _complete(model), model["stages"]
        if len(stages) == 1:
            return AffineObjective(registration, settings)
        return VelocityObjective(registration, settings)


def affine_steps(grid: Sequence[int], settings: dict, stage: dict) -> AffineSteps:
    """The affine registration of a stage, before it is trained."""
    return AffineSteps(AffineNetwork(grid, settings["affine_channels"]), stage["steps"])


def _complete(model: dict) -> dict:
    return complete(Avsm.settings, model.get("settings", {}), "models.avsm.settings")
