"""How models are trained: what each method that learns fills in."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import nn

from cohortreg.config import Model
from cohortreg.learning.devices import Device
from cohortreg.losses.terms import Objective
from cohortreg.methods.cards import Card

#: A method's part of the configuration, or a card of one of its models.
Described = TypeVar("Described", bound=Model | Card)


class Recipe(Generic[Described]):
    """How a model is trained: what its registration is built of, and what each stage of its training minimises.

    A registration is a module that takes a moving and a fixed image [batch, 1, *grid] and returns a map, see
    `icon.steps`. `model` is the model's part of the configuration, or its card; of its `stages` the last is the one
    that is meant. What comes of it is a `methods.trained.Trained`.
    """

    @staticmethod
    def similarity_in_words(model: Described) -> str:
        """Name the similarity that training maximises, as the tables show it."""
        raise NotImplementedError

    @staticmethod
    def build(model: Described, grid: Sequence[int]) -> tuple[nn.Module, nn.Module | None]:
        """Build the registration up to the last stage, and the part of it that this stage freezes."""
        raise NotImplementedError

    @staticmethod
    def inherit(registration: nn.Module, before: nn.Module) -> None:
        """Initialise what the last stage adds from earlier stages, where anything can be reused."""

    @staticmethod
    def objective(registration: nn.Module, before: nn.Module | None, model: Described) -> Objective:
        """Build the objective of the last stage."""
        raise NotImplementedError

    @staticmethod
    def on_full_grid(registration: nn.Module, model: Described) -> nn.Module:
        """Return a registration that is trained at its last stage's resolution for images on the cohort's grid."""
        return registration

    @staticmethod
    def ready(registration: nn.Module, model: Described, device: Device) -> nn.Module:
        """Return a trained registration for images on the cohort's grid, on its device, in evaluation mode."""
        return device.to_device(registration.eval().requires_grad_(False))
