"""The stages that a model is trained in, and what its card says of them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from cohortreg.config.networks import AnyNetwork
from cohortreg.config.similarities import SIMILARITIES
from cohortreg.config.values import NonNegative, Positive, PositiveNumber
from cohortreg.settings import Number, Numeric, Settings, wrong


class Stage(Settings):
    """one stage"""

    sparse = ("weight_from", "weight_rise")
    #: Of its own; a stage of an imported model may have one.
    network: ClassVar[None] = None

    steps: Positive = Field(
        description="networks that this stage adds; after the first stage they start from the weights of the last "
        "network before them, except for their last layer, which starts at zero"
    )
    training_steps: Positive = Field(description="optimiser steps")
    batch_size: Positive = Field(description="pairs per optimiser step")
    learning_rate: PositiveNumber = Field(description="learning rate of Adam (paper 5.0e-5)")
    schedule: Literal["constant", "cosine"] = Field(
        description="the learning rate over the stage; cosine rises to it in 20 steps and falls to zero at the end"
    )
    weight: NonNegative = Field(description="initial weight of inverse consistency (lambda of Eq. 13)")
    weight_increment: NonNegative = Field(
        description="what each training step with too many folds adds to the weight"
    )
    fold_threshold: NonNegative = Field(
        description="mean number of folds per pair above which a training step has too many"
    )
    weight_from: PositiveNumber | None = Field(
        None,
        description="weight of the first training step, if less than the stage's weight, to which it then rises; "
        "needs weight_rise",
    )
    weight_rise: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        None,
        description="fraction of the stage's training steps, from the first, over which the weight rises from "
        "weight_from, by the same factor at each",
    )

    @classmethod
    def foreign(cls, key: str, values: Mapping[str, Any]) -> str | None:
        """Say why a key of an icon stage does not belong here."""
        if key in IconStage.model_fields:
            return "only a model of icon has it; remove it"
        return None

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if (self.weight_from is None) != (self.weight_rise is None):
            present, absent = ("weight_from", "weight_rise")[:: 1 if self.weight_rise is None else -1]
            raise wrong(f"missing, but {present} needs it", absent)
        return self


class IconStage(Stage):
    """one stage of an icon model"""

    downsample: Annotated[Literal[1, 2, 4, 8], Numeric] = Field(
        description="factor by which the images are smaller than the grid in this stage's steps (2 is half "
        "resolution); for icon only, like stride and window"
    )
    stride: Positive = Field(
        description="inverse consistency is evaluated at every stride-th voxel along each axis (paper 1, every voxel)"
    )
    window: PositiveNumber = Field(
        description="standard deviation, in voxels of the stage's resolution, of the Gaussian window of "
        + ", ".join(name for name, entry in SIMILARITIES.items() if entry.windowed)
    )


class CardStage(Settings):
    """What registration needs to know of a stage; a stage of an imported model may have a network of its own."""

    model_config = ConfigDict(extra="ignore")

    steps: Positive


class IconCardStage(CardStage):
    """The same, of a model of ICON."""

    downsample: Annotated[Literal[1, 2, 4, 8], Numeric]
    stride: Positive | None = None
    window: PositiveNumber | None = None
    network: AnyNetwork | None = None


def read_steps(stages: Sequence[Mapping[str, Any]]) -> list[IconCardStage]:
    """Validate the stages of a registration, each with its steps and its resolution."""
    return [IconCardStage.read(stage, f"stages[{number}]") for number, stage in enumerate(stages)]
