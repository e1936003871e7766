"""The staged registration of 4.5, built from the stages' settings alone."""

import math
from collections.abc import Sequence

from torch import nn

from cohortreg.config import IconCardStage, IconStage, Network
from cohortreg.icon.steps import DisplacementNetwork, HalfResolution, TwoSteps
from cohortreg.plugins import resolve

Stages = Sequence[IconStage] | Sequence[IconCardStage]


def build_network(settings: Network, grid: Sequence[int]) -> nn.Module:
    """The network that the configuration names under `network`, for images on a grid."""
    keys = {key: value for key, value in settings if key != "architecture"}
    return resolve(settings.path, __package__).build(keys, grid)


def at_resolution(registration: nn.Module, downsample: int, target: int) -> nn.Module:
    """A registration of images downsampled by `downsample`, for images downsampled by `target`."""
    for _ in range(round(math.log2(downsample / target))):
        registration = HalfResolution(registration)
    return registration


def build_registration(
    network: Network, stages: Stages, grid: Sequence[int]
) -> tuple[nn.Module, nn.Module | None]:
    """The registration of the last stage at that stage's resolution, and the stages before it, inside of it.

    Each stage adds `steps` networks that see images downsampled by `downsample` (a power of two), after all steps
    before it. A stage of an imported model may have a `network` of its own. The grid is that of full resolution.

    Returns:
        The registration, and what of it the last stage freezes; None for the first stage.
    """
    registration: nn.Module | None = None
    before: nn.Module | None = None
    resolution = 1
    for stage in stages:
        before = registration
        if registration is not None:
            registration = at_resolution(registration, resolution, stage.downsample)
        for _ in range(stage.steps):
            shape = [math.ceil(size / stage.downsample) for size in grid]
            step = DisplacementNetwork(build_network(stage.network or network, shape))
            registration = step if registration is None else TwoSteps(registration, step)
        resolution = stage.downsample
    assert registration is not None  # there is a stage, with a step
    return registration, before


def inherit(registration: nn.Module, before: nn.Module) -> None:
    """Start a stage's new networks from the weights of the last network before them, their last layer from zero.

    What a network has learnt to see in a warped pair serves the next one at another resolution too, and the
    registration still starts as the one before it. A dense layer sees one resolution, and starts anew at another.
    """
    earlier = _networks(before)
    learnt = {n: tensor for n, tensor in earlier[-1].state_dict().items() if not n.startswith("last.")}
    for network in _networks(registration)[len(earlier) :]:
        own = network.state_dict()
        fitting = {n: tensor for n, tensor in learnt.items() if n in own and own[n].shape == tensor.shape}
        network.load_state_dict(fitting, strict=False)


def _networks(registration: nn.Module) -> list[nn.Module]:
    """The networks of a registration, in the order of its steps."""
    return [module.network for module in registration.modules() if isinstance(module, DisplacementNetwork)]
