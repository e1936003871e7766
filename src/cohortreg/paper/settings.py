"""The configuration of the paper's experiments: every key with its type, bounds and description."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from annotated_types import Len
from pydantic import Field, field_validator, model_validator

from cohortreg.config import (
    ACCELERATOR,
    SEED,
    Accelerator,
    Channels,
    Configuration,
    Name,
    Network,
    Path_,
    Positive,
    Seed,
    Unique,
    check_levels,
    part,
    read_network,
)
from cohortreg.settings import WHOLE, Number, Settings, Text, Whole, wrong

_Networks = Annotated[list[Literal["mlp", "enc_dec", "unet", "conv_only"]], Len(1), *Unique]


class Table1(Settings):
    """the data sets of Table 1 and Figure 6, and the networks trained on each"""

    sparse = ("mnist", "triangles_circles")

    mnist: _Networks | None = Field(None, description="networks trained on MNIST's fives")
    triangles_circles: _Networks | None = Field(None, description="networks trained on triangles and circles")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set:
            raise wrong("{} should be non-empty")
        return self


class Trained(Settings):
    """a network and its training"""

    training_steps: Positive = Field(description="optimiser steps")
    batch_size: Positive = Field(description="pairs per optimiser step")
    learning_rate: Annotated[Number, Field(gt=0)] = Field(
        description="peak learning rate of Adam; it follows a cosine"
    )


class Mlp(Trained):
    """two hidden layers over all pixels"""

    hidden: Annotated[list[Positive], Len(2, 2)] = Field(
        description="widths of the two hidden layers (paper 8000, 3000)"
    )


class Levels(Trained):
    """a network with a way down, from fine to coarse, and a way up"""

    one_more: ClassVar = False  # whether down may have one more than up at most

    down: Annotated[list[Positive], Len(2)] = Field(
        description="channels on the way down, from the two images to the coarsest level (paper 2, 16, 32, 64, 256, "
        "512)"
    )
    up: Channels = Field(
        description="channels of each level on the way up, finest first (paper 16, 32, 64, 128, 256); one fewer than "
        "down"
    )

    @model_validator(mode="after")
    def _levels(self) -> Self:
        check_levels(self, 2, "the moving and the fixed image", self.one_more)
        return self


class EncoderDecoder(Levels):
    """an encoder and a decoder without skip connections"""

    one_more = True


class UNet(Levels):
    """a U-Net with skip and residual connections"""


class ConvOnly(Trained):
    """convolutions without resampling"""

    channels: Positive = Field(description="channels of each layer (paper 10)")
    layers: Annotated[Whole, Field(ge=2)] = Field(
        description="number of layers, including the last (paper 6)"
    )


class Networks(Settings):
    """the four networks of Table 1; a cell needs one"""

    sparse = ("mlp", "enc_dec", "unet", "conv_only")

    mlp: Mlp | None = Field(None, description="two hidden layers over all pixels")
    enc_dec: EncoderDecoder | None = Field(
        None, description="an encoder and a decoder without skip connections"
    )
    unet: UNet | None = Field(None, description="a U-Net with skip and residual connections")
    conv_only: ConvOnly | None = Field(None, description="convolutions without resampling")

    def network(self, name: str) -> Network:
        """Return one of them without its training, as the configuration of a cohort has networks."""
        own = getattr(self, name).plain()
        return read_network(
            {"architecture": name} | {key: own[key] for key in own if key not in Trained.model_fields}
        )


class Direct(Settings):
    """direct optimisation of a pair's maps, for Figure 5"""

    steps: Positive = Field(description="optimiser steps")
    learning_rate: Annotated[Number, Field(gt=0)] = Field(description="learning rate of Adam")


class Preset(Settings):
    """one preset"""

    table1: Table1 = Field(
        description="the data sets of Table 1 and Figure 6, and the networks trained on each"
    )
    weights: Annotated[list[Positive], Len(1), *Unique] = Field(
        description="weights of inverse consistency (lambda), the rows of Table 1; Figure 6 adds 0"
    )
    size: Annotated[Whole, Field(ge=8)] = Field(
        description="pixels of a triangle's or circle's image along each axis (paper 128)"
    )
    train_images: Annotated[Whole, Field(ge=2)] = Field(
        description="maximum number of training images per data set (paper 6000)"
    )
    test_images: Annotated[Whole, Field(ge=2)] = Field(
        description="maximum number of held-out images per data set (paper 6000)"
    )
    pairs: Positive = Field(description="pairs of held-out images that Dice and folds are measured on")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        description="precision of training, like training.precision of a cohort; maps are measured in 32-true"
    )
    networks: Networks = Field(description="the four networks of Table 1")
    direct: Direct = Field(description="direct optimisation of a pair's maps, for Figure 5")
    weight_from: Annotated[Number, Field(gt=0)] = Field(
        description="weight of the first training step in cells with a larger weight, to which it then rises"
    )
    weight_rise: Annotated[Number, Field(gt=0, le=1)] = Field(
        description="fraction of the training steps, from the first, over which the weight rises from weight_from, "
        "by the same factor at each"
    )
    checkpoint_every: Positive = Field(
        description="training steps between two checkpoints, from which a killed run continues"
    )

    @field_validator("networks")
    @classmethod
    def _all(cls, networks: Networks) -> Networks:
        for name, network in networks:
            if network is None:
                raise wrong("missing, and it has no default", name)
        return networks


class Experiments(Settings):
    """The experiments of Greer et al., 2021."""

    page = "workflow/paper/README.md"

    preset: Text = Field(description="the entry of presets that the experiments are run with")
    seed: Seed = SEED
    accelerator: Accelerator = ACCELERATOR
    mnist: Path_ = Field(
        description="folder of MNIST's four original files, compressed or not; $COHORTREG_DATA stands for the data "
        "folder outside the repository (default ../shared/data)"
    )
    published: Path_ = Field(description="path of the published Table 1")
    presets: dict[Name, Preset] = Field(
        description="sizes of the experiments, by name; full is the paper's, quick is for a look within 20 minutes"
    )

    @classmethod
    def foreign(cls, key: str, values: Mapping[str, Any]) -> str | None:
        """Say where the keys of a cohort belong."""
        if key in Configuration.model_fields:
            return "only the configuration of a cohort has it; remove it"
        return None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.preset not in self.presets:
            raise wrong(f"no preset {self.preset!r}; known are {', '.join(self.presets)}", "preset")
        return self

    @property
    def chosen(self) -> Preset:
        """The preset that the experiments are run with."""
        return self.presets[self.preset]


#: What a data set depends on, and what a cell: parts of a preset, which stand for it.
DATA = cast("type[Preset]", part("size", "train_images", "test_images", of=Preset))
CELL = cast(
    "type[Preset]",
    part(
        "pairs", "precision", "weight_from", "weight_rise", "checkpoint_every", of=Preset, networks=Networks
    ),
)

WHOLE.append(Experiments)
