"""Networks, stages and models that tests describe as a configuration does, as the types that the package takes."""

from collections.abc import Mapping, Sequence

from torch import nn

from cohortreg.config import AnyModel, Model, Network, Stage, Training, read_network, read_steps
from cohortreg.icon import stages as icon_stages
from cohortreg.settings import read

_STAGE = {"steps": 1, "training_steps": 10, "batch_size": 2, "learning_rate": 1e-3, "schedule": "cosine"}
_STAGE |= {"weight": 1, "weight_increment": 0, "fold_threshold": 0}


def stage(given: Mapping) -> Stage:
    """A stage's training; what is not given is as above, and what only a network sees does not count."""
    return Stage.read({key: value for key, value in (_STAGE | given).items() if key in Stage.model_fields})


def build_network(network: Mapping, grid: Sequence[int]) -> nn.Module:
    """`icon.stages.build_network`."""
    return icon_stages.build_network(read_network(network), grid)


def build_registration(
    network: Mapping | Network, stages: Sequence[Mapping], grid: Sequence[int]
) -> tuple[nn.Module, nn.Module | None]:
    """`icon.stages.build_registration`."""
    return icon_stages.build_registration(read_network(network), read_steps(stages), grid)


def model(given: Mapping) -> Model:
    """A model as the configuration has it; of stages, what is not given is as above."""
    seen = {} if "method" in given else {"downsample": 1, "stride": 1, "window": 2}
    return read(AnyModel, given | {"stages": [_STAGE | seen | each for each in given["stages"]]})


def training(given: Mapping) -> Training:
    """The section `training`."""
    return Training.read(given)
