"""The configuration: every key with its type, default, bounds and description; validated once, here.

Nothing that takes time is imported, since the workflow reads this file for each of its jobs.
"""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, Union, get_args

from annotated_types import Len
from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from cohortreg.errors import UserError
from cohortreg.settings import (
    WHOLE,
    Flag,
    Nullable,
    Number,
    Numeric,
    Settings,
    Text,
    Whole,
    optional,
    read,
    wrong,
)

DATA = "../shared/data"
#: Ends the name of a row whose networks are optimised for each pair.
OPTIMISED = "-io"
#: Ends the name of a row whose maps are those of the row without it, refined by fit.
FITTED = "-fit"

Path_ = Annotated[Text, Field(min_length=1)]
Positive = Annotated[Whole, Field(ge=1)]
Grid = Annotated[list[Annotated[Whole, Field(ge=4)]], Len(2, 3)]
Channels = Annotated[list[Positive], Len(1)]
Rating = Literal["good", "doubtful", "bad"]
Seed = Annotated[Whole, Field(ge=0, le=2**32 - 1)]
SEED = Field(1, description="the single number from which every random choice is derived")
Accelerator = Literal["auto", "cpu", "cuda", "gpu", "mps"]
ACCELERATOR: Any = Field(
    "auto", description="device, in Lightning Fabric's terms; auto takes a GPU if there is one"
)


class Phantom(Settings):
    """images that the project generates"""

    sparse = ("labels", "grid", "spacing")

    labels: Path_ | None = optional(
        None,
        description="folder of the label maps that scans are generated from, each found by the file name of its "
        "image's label; $VARIABLES are expanded",
    )
    grid: Annotated[list[Annotated[Whole, Field(ge=4)]], Len(3, 3)] | None = optional(
        None, description="voxels of a generated image along right, anterior, superior"
    )
    spacing: Annotated[list[Annotated[Number, Field(gt=0)]], Len(3, 3)] | None = optional(
        None, description="millimetres between neighbouring voxels of a generated image"
    )

    @model_validator(mode="after")
    def _made_of_something(self) -> Self:
        if self.labels is None and (self.grid is None or self.spacing is None):
            raise wrong("needs grid and spacing, or labels")
        return self


class Preprocess(Settings):
    """how a raw image is turned into one for the networks"""

    grid: Grid = Field(
        description="voxels of every preprocessed image along right, anterior, superior, whatever the order in its "
        "file; two for 2D images, right and anterior, which for a picture are its width and height"
    )
    fit: Literal["resample", "pad"] = Field(
        "resample",
        description="how an image is brought to that grid: resample stretches it to fill the grid; pad keeps the "
        "voxel size and pads or crops around the centre",
    )
    mirror: Literal["left", "right", "none"] = Field(
        "none", description="images of this side are mirrored along left-right, so that all look alike"
    )
    percentiles: Annotated[list[Annotated[Number, Field(ge=0, le=100)]], Len(2, 2)] = Field(
        [1, 99], description="percentiles of the intensities that become 0 and 1; values beyond are clamped"
    )
    labels: Literal["native", "grid"] = Field(
        "native",
        description="native keeps labels at their own resolution, at which Dice is then measured; grid resamples "
        "them to the images' grid by nearest neighbour",
    )

    @field_validator("percentiles")
    @classmethod
    def _rise(cls, percentiles: list[float]) -> list[float]:
        low, high = percentiles
        if low >= high:
            raise wrong(f"the first, {low}, must be below the second, {high}")
        return percentiles


class CheckedPreprocess(Preprocess):
    """What `cohortreg check` looks at: without a grid, images may have any number of axes."""

    grid: Grid | None = None  # type: ignore[assignment]  # read by the check alone
    mirror: Literal["left", "right", "none"] = "left"


def one_of(names: Iterable[str]) -> str:
    """Write names as a choice: a, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}"


class Network(Settings):
    """the network that predicts one step's displacement field"""

    #: Module and class below `cohortreg.icon`, whose arguments the keys are.
    path: ClassVar[str]
    #: What the description of `architecture` says of it, besides the keys that it needs.
    note: ClassVar[str] = ""

    @classmethod
    def name(cls) -> str:
        """Return the architecture."""
        return str(get_args(cls.model_fields["architecture"].annotation)[0])

    @classmethod
    def own_keys(cls) -> str:
        """Return the keys that it needs, as a text."""
        names = [name for name, field in cls.model_fields.items() if field.is_required()]
        return " and ".join(name for name in names if name != "architecture")

    @classmethod
    def foreign(cls, key: str, given: Mapping[str, Any]) -> str | None:
        """Say why a key of another architecture does not belong here."""
        if any(key in other.model_fields for other in ARCHITECTURES.values()):
            return f"a network of architecture {given.get('architecture')} has none; remove it"
        return None

    @classmethod
    def needed(cls, key: str) -> str:
        """Name all keys that the architecture needs."""
        return f"missing; {cls.name()} needs {cls.own_keys()}"


_DOWN = Field(
    description="channels on the way down, from the two images (dual_stream: from one) to the coarsest level "
    "(paper 2, 16, 32, 64, 256, 512); each level is half as fine as the one before, and the first one half as fine "
    "as the images (dual_stream: see finest)"
)
_UP = Field(
    description="channels of each level on the way up, finest first (paper 16, 32, 64, 128, 256); one fewer than "
    "down; with n fewer than that, the displacement is 2^n times coarser than the images of a unet, than the first "
    "level of a dual_stream"
)
_Down = Annotated[list[Positive], Len(2)]


def check_levels(network: Any, first: int, seen: str, one_more: bool = False) -> None:
    """Refuse numbers of channels that make no network; first: how many come from the images."""
    down, up = network.down, network.up
    if down[0] != first:
        raise wrong(f"must be {first}, {seen}, but is {down[0]}", "down[0]")
    if len(down) <= len(up) or (one_more and len(down) > len(up) + 1):
        more = "one more" if one_more else "more"
        raise wrong(f"down has {len(down)} entries and up {len(up)}, but down must have {more} than up")


class UNetwork(Network):
    """the paper's U-Net"""

    sparse = ("bottleneck",)
    path, note = "networks.UNet", "paper"
    architecture: Literal["unet"]
    down: _Down = _DOWN
    up: Channels = _UP
    bottleneck: Positive | None = optional(
        None,
        description="channels of a dense layer between the way down and the way up of a unet, which makes the "
        "whole image its receptive field; none if the key is absent",
    )

    @model_validator(mode="after")
    def _levels(self) -> Self:
        check_levels(self, 2, "the moving and the fixed image")
        return self


class DualStreamNetwork(Network):
    """one encoder for both images"""

    sparse = ("finest", "smoothing")
    path, note = "networks.DualStream", "one encoder for both images"
    architecture: Literal["dual_stream"]
    down: _Down = _DOWN
    up: Channels = _UP
    finest: Annotated[Literal[1, 2], Numeric] = optional(
        1,
        description="how many times coarser than the images the first level of a dual_stream is; with 1 it shows "
        "what is as thin as a voxel, with 2 a step takes about half of the time; 1 if the key is absent",
    )
    smoothing: Annotated[Number, Field(ge=0.1, le=5)] | None = optional(
        None,
        description="standard deviation of the Gaussian that smooths the displacement of a dual_stream, in voxels "
        "of the displacement; more means fewer folds; none if the key is absent",
    )

    @model_validator(mode="after")
    def _levels(self) -> Self:
        check_levels(self, 1, "one image at a time")
        return self


class EncoderDecoderNetwork(Network):
    """an encoder and a decoder without skip connections"""

    path = "networks.EncoderDecoder"
    architecture: Literal["enc_dec"]
    down: _Down = _DOWN
    up: Channels = _UP

    @model_validator(mode="after")
    def _levels(self) -> Self:
        check_levels(self, 2, "the moving and the fixed image", one_more=True)
        return self


class ConvOnlyNetwork(Network):
    """convolutions without resampling"""

    path = "networks.ConvOnly"
    architecture: Literal["conv_only"]
    channels: Positive = Field(description="channels of each layer of a conv_only network")
    layers: Annotated[Whole, Field(ge=2)] = Field(
        description="number of layers of a conv_only network, including the last"
    )


class MlpNetwork(Network):
    """two hidden layers over all pixels"""

    path = "networks.MLP"
    architecture: Literal["mlp"]
    hidden: Annotated[list[Positive], Len(2, 2)] = Field(
        description="widths of the two hidden layers of an mlp"
    )


#: Every network above, by its architecture.
ARCHITECTURES = {kind.name(): kind for kind in Network.__subclasses__()}
for _kind in ARCHITECTURES.values():  # only now are all of them known
    _kind.model_fields["architecture"].description = one_of(
        f"{name} ({', '.join(filter(None, [kind.note, f'with {kind.own_keys()}']))})"
        for name, kind in ARCHITECTURES.items()
    )
    _kind.model_rebuild(force=True)
if TYPE_CHECKING:
    AnyNetwork = Network
else:
    AnyNetwork = Annotated[Union[tuple(ARCHITECTURES.values())], Discriminator("architecture")]  # noqa: UP007


@dataclass(frozen=True)
class SimilarityEntry:
    """A similarity of the configuration.

    Attributes:
        path: Module and function below `cohortreg.losses`.
        name: What tables call it.
        note: What the description of `similarity` says of it.
        windowed: Whether the function is given a window and returns the similarity, or is the similarity itself.
        beyond_grid: Whether points count that a map takes beyond the moving image's grid.
    """

    path: str
    name: str
    note: str = ""
    windowed: bool = False
    beyond_grid: bool = True


SIMILARITIES = {
    "mse": SimilarityEntry("similarities.mean_squared_error", "MSE", "paper"),
    "mse_interpolated": SimilarityEntry(
        "similarities.mean_squared_error",
        "MSE, interpolated points",
        "without points mapped beyond the grid, where mse sees the border's value",
        beyond_grid=False,
    ),
    "ncc": SimilarityEntry("similarities.normalised_cross_correlation", "NCC"),
    "lncc": SimilarityEntry("similarities.LocalCrossCorrelation", "LNCC", windowed=True),
    "squared_lncc": SimilarityEntry(
        "similarities.squared_local_cross_correlation", "squared LNCC", windowed=True
    ),
    "mi": SimilarityEntry("similarities.mutual_information", "MI"),
}
if TYPE_CHECKING:
    Similarity = str
    FieldSimilarity = str
else:
    Similarity = Literal[tuple(SIMILARITIES)]
    #: Of displacement fields that are fitted, whose points beyond the grid always count.
    FieldSimilarity = Literal[tuple(name for name, entry in SIMILARITIES.items() if entry.beyond_grid)]


def read_network(given: object) -> Network:
    """Validate a network of any architecture."""
    return read(AnyNetwork, given, "network")


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
    learning_rate: Annotated[Number, Field(gt=0)] = Field(description="learning rate of Adam (paper 5.0e-5)")
    schedule: Literal["constant", "cosine"] = Field(
        description="the learning rate over the stage; cosine rises to it in 20 steps and falls to zero at the end"
    )
    weight: Annotated[Number, Field(ge=0)] = Field(
        description="initial weight of inverse consistency (lambda of Eq. 13)"
    )
    weight_increment: Annotated[Number, Field(ge=0)] = Field(
        description="what each training step with too many folds adds to the weight"
    )
    fold_threshold: Annotated[Number, Field(ge=0)] = Field(
        description="mean number of folds per pair above which a training step has too many"
    )
    weight_from: Annotated[Number, Field(gt=0)] | None = optional(
        None,
        description="weight of the first training step, if less than the stage's weight, to which it then rises; "
        "needs weight_rise",
    )
    weight_rise: Annotated[Number, Field(gt=0, le=1)] | None = optional(
        None,
        description="fraction of the stage's training steps, from the first, over which the weight rises from "
        "weight_from, by the same factor at each",
    )

    @classmethod
    def foreign(cls, key: str, given: Mapping[str, Any]) -> str | None:
        """Say why a key of an icon stage does not belong here."""
        if key in IconStage.model_fields:
            return "only a model of icon has it; remove it"
        return None

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if (self.weight_from is None) != (self.weight_rise is None):
            there, absent = ("weight_from", "weight_rise")[:: 1 if self.weight_rise is None else -1]
            raise wrong(f"missing, but {there} needs it", absent)
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
    window: Annotated[Number, Field(gt=0)] = Field(
        description="standard deviation of the Gaussian window of "
        f"{' and '.join(name for name, entry in SIMILARITIES.items() if entry.windowed)}, in voxels of the stage's "
        "resolution"
    )


class CardStage(Settings):
    """What registration needs to know of a stage; a stage of an imported model may have a network of its own."""

    model_config = ConfigDict(extra="ignore")

    steps: Positive


class IconCardStage(CardStage):
    """The same, of a model of ICON."""

    downsample: Annotated[Literal[1, 2, 4, 8], Numeric]
    stride: Positive | None = None
    window: Annotated[Number, Field(gt=0)] | None = None
    network: AnyNetwork | None = None


def read_steps(given: Sequence[Mapping[str, Any]]) -> list[IconCardStage]:
    """Validate the stages of a registration, each with its steps and its resolution."""
    return [IconCardStage.read(stage, f"stages[{number}]") for number, stage in enumerate(given)]


class Optimisation(Settings):
    """instance optimisation"""

    steps: Positive = Field(description="optimiser steps for each pair")
    learning_rate: Annotated[Number, Field(gt=0)] = Field(description="learning rate of Adam for each pair")


_STAGES = "stages of training in order; each freezes the earlier steps and adds its own"
_METHOD = Field(
    description="how it learns, one of the learning methods in docs/methods.md; icon if the key is absent. Only an "
    "icon model has network, similarity, regularity, noise and optimisation"
)
_SETTINGS = "settings of methods other than icon, see docs/methods.md; each has a default"


class Staged(Settings):
    """What is trained in stages: a model, and what its card says of it."""

    method: str
    stages: list[Any]

    @property
    def is_icon(self) -> bool:
        """Whether it is a model of ICON, whose steps compose and which has a row for each stage."""
        return self.method == "icon"

    @property
    def steps(self) -> int:
        """Number of steps that the stages compose."""
        return sum(stage.steps for stage in self.stages)


class Model(Staged):
    """one model, a network trained in stages"""

    @classmethod
    def foreign(cls, key: str, given: Mapping[str, Any]) -> str | None:
        """Say why a key of another method's model does not belong here."""
        method = given.get("method", "icon")
        if key in IconModel.model_fields:
            return f"only a model of icon has it, and this one's method is {method}"
        if key == "settings":
            return "a model of icon has none; its settings are the other keys"
        return None

    def up_to(self, stage: int) -> Self:
        """Return what the training of a stage, from 1, follows from: neither later stages nor what comes after it."""
        return self.model_copy(update={"stages": self.stages[:stage]})

    def misfit(self, grid: Sequence[int]) -> tuple[str, str] | None:
        """Say what does not fit a grid of images: the key and why."""


class IconModel(Model):
    """networks whose steps compose"""

    sparse = ("method", "optimisation")

    method: Literal["icon"] = optional("icon", description=_METHOD.description)
    network: AnyNetwork = Field(
        DualStreamNetwork(
            architecture="dual_stream", down=[1, 16, 32, 48, 64], up=[32, 32, 32], smoothing=0.5
        ),
        description="the network that predicts one step's displacement field",
    )
    similarity: Similarity = Field(
        "squared_lncc",
        description="similarity between the warped moving and the fixed image, measured where both were imaged: "
        + one_of(name + f" ({entry.note})" * bool(entry.note) for name, entry in SIMILARITIES.items()),
    )
    regularity: Literal["icon", "gradicon"] = Field(
        "icon",
        description="what keeps maps regular: icon, the inverse-consistency error (paper), or gradicon, its gradient",
    )
    noise: Annotated[Number, Field(ge=0)] = Field(
        0,
        description="standard deviation of the noise added to maps in the inverse-consistency error, in voxels of the "
        "stage's resolution (epsilon of Eq. 5; paper 0)",
    )
    stages: Annotated[list[IconStage], Len(1)] = Field(description=_STAGES)
    optimisation: Optimisation | None = optional(
        None,
        description="adds the row {model}-{n}step-io, in which the last stage's networks are fitted to each pair "
        "before it is registered (instance optimisation); no such row if the key is absent",
    )

    def up_to(self, stage: int) -> Self:
        """Return the model as it is after its first stages."""
        given = self.model_fields_set - {"optimisation"}
        # The plugin has it return this class, not a subclass.
        return type(
            self
        ).model_construct(  # type: ignore[return-value]
            given, **dict(self) | {"stages": self.stages[:stage], "optimisation": None}
        )

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        if self.noise and self.regularity != "icon":
            raise wrong(f"is for regularity icon only, but regularity is {self.regularity}", "noise")
        factors = [stage.downsample for stage in self.stages]
        for number in range(1, len(factors)):
            if factors[number] > factors[number - 1]:
                raise wrong(
                    f"is {factors[number]} after {factors[number - 1]}, but stages go from coarse to fine",
                    f"stages[{number}].downsample",
                )
        return self

    def misfit(self, grid: Sequence[int]) -> tuple[str, str] | None:
        """Find the first key whose downsampling the grid does not allow, and say why; None if there is none."""
        for number, stage in enumerate(self.stages):
            factor, smallest = stage.downsample, min(grid) // stage.downsample
            if any(size % factor for size in grid):
                return (
                    f"stages[{number}].downsample",
                    f"{factor} does not divide preprocess.grid {list(grid)}; change one of the two",
                )
            if stage.stride > smallest:
                return (
                    f"stages[{number}].stride",
                    f"is {stage.stride}, but along one axis the stage's images have {smallest} voxels; give no more",
                )
        return None


class MethodSettings(Settings):
    """Settings of a method, each with a default; only those that were given are written."""

    @classmethod
    def __pydantic_init_subclass__(cls, **more: Any) -> None:
        cls.sparse = tuple(cls.model_fields)

    def whole(self) -> dict[str, Any]:
        """Return every setting, also those that were not given: what results follow from."""
        return dict(self)


_Numbers = Annotated[list[Annotated[Number, Field(gt=0)]], Len(1)]


class VelocitySettings(MethodSettings):
    """What vSVF-opt and AVSM share: the kernel K, the energy, the flow and the similarity."""

    deviations: _Numbers = Field(
        [0.05, 0.10, 0.15, 0.20, 0.25],
        description="standard deviations of the Gaussians that make up K, as fractions of the image's size",
    )
    weights: _Numbers = Field([1 / 15, 2 / 15, 3 / 15, 4 / 15, 5 / 15], description="their weights")
    momentum_weight: Annotated[Number, Field(ge=0)] = Field(
        10, description="weight of the energy, the mean over voxels of the product of momentum and velocity"
    )
    flow_steps: Positive = Field(10, description="steps of the Runge-Kutta method along the velocity")
    windows: _Numbers = Field(
        [1 / 16, 1 / 8, 1 / 4],
        description="windows of the multi-kernel LNCC, as fractions of the image's size",
    )
    window_weights: _Numbers = Field([0.1, 0.3, 0.6], description="their weights")

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        for values, weights in (("deviations", "weights"), ("windows", "window_weights")):
            here, there = len(getattr(self, weights)), len(getattr(self, values))
            if here != there:
                raise wrong(
                    f"has {here} entries, but {values} has {there}; give one weight for each", weights
                )
        return self


class AffineNetworkSettings(MethodSettings):
    """The affine network and its loss, which VoxelMorph's affine pre-registration has too."""

    affine_channels: Channels = Field(
        [16, 32, 64, 128], description="channels of the affine network, each at half the previous resolution"
    )
    affine_departure: Annotated[Number, Field(ge=0)] = Field(
        10,
        description="initial weight of the affine map's departure from the identity; it falls to 0.7 % of this",
    )
    affine_symmetry: Annotated[Number, Field(ge=0)] = Field(
        10, description="weight of the inverse-consistency error of the affine maps"
    )


class VoxelMorphSettings(AffineNetworkSettings):
    """Settings of VoxelMorph."""

    affine: Flag = Field(False, description="whether a first stage learns an affine pre-registration")
    features: Annotated[list[Positive], Len(2)] = Field(
        [16, 16, 16, 16],
        description="channels of each level of the U-Net, the package's nb_features; each level halves the grid",
    )
    integration_steps: Annotated[Whole, Field(ge=0)] = Field(
        5, description="squarings in integrating the velocity; 0 uses it as the displacement"
    )


class VoxelMorphModel(Model):
    """VoxelMorph, with or without an affine pre-registration"""

    sparse = ("settings",)

    method: Literal["voxelmorph"] = _METHOD
    settings: VoxelMorphSettings = optional(VoxelMorphSettings(), description=_SETTINGS)
    stages: Annotated[list[Stage], Len(1)] = Field(description=_STAGES)

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        most = 1 + self.settings.affine
        if len(self.stages) not in (1, most):
            affine = str(self.settings.affine).lower()
            raise wrong(
                f"{len(self.stages)}, but a model of voxelmorph has {most} where affine is {affine}", "stages"
            )
        return self

    def misfit(self, grid: Sequence[int]) -> tuple[str, str] | None:
        """Find the key whose levels do not divide the grid, and say why; None if they do."""
        halvings = len(self.settings.features)
        if not any(size % 2**halvings for size in grid):
            return None
        return (
            "settings.features",
            f"voxelmorph halves the grid {list(grid)} {halvings} times, which leaves a remainder; give features fewer "
            "entries or change preprocess.grid",
        )


class AvsmSettings(AffineNetworkSettings, VelocitySettings):
    """Settings of AVSM."""

    down: Channels = Field(
        [2, 16, 32, 64, 256, 512],
        description="channels on the way down of the momentum's U-Net, from the two images",
    )
    up: Channels = Field(
        [32, 64, 128, 256],
        description="its channels on the way up, finest first; two fewer than down, for half the resolution",
    )
    symmetry: Annotated[Number, Field(ge=0)] = Field(
        500, description="weight of the inverse-consistency error of the deformable maps"
    )

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if self.down[0] != 2:
            raise wrong(
                f"begins with {self.down[0]}, but must with 2, the moving and the fixed image", "down"
            )
        if len(self.up) != len(self.down) - 2:
            raise wrong(
                f"has {len(self.up)} entries and down {len(self.down)}, but up must have two fewer", "up"
            )
        return self


class AvsmModel(Model):
    """AVSM: a stage for the affine map, one for the momentum"""

    sparse = ("settings",)

    method: Literal["avsm"] = _METHOD
    settings: AvsmSettings = optional(AvsmSettings(), description=_SETTINGS)
    stages: Annotated[list[Stage], Len(1)] = Field(description=_STAGES)

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        if len(self.stages) > 2:
            raise wrong(
                f"{len(self.stages)}, but avsm has one for the affine map and one for the momentum", "stages"
            )
        return self


def _method(given: object) -> str | None:
    """The method that a model names."""
    if isinstance(given, Mapping):
        return given.get("method", "icon")
    return getattr(given, "method", None)


AnyModel = Annotated[
    Annotated[IconModel, Tag("icon")]
    | Annotated[VoxelMorphModel, Tag("voxelmorph")]
    | Annotated[AvsmModel, Tag("avsm")],
    Discriminator(_method),
]


class Training(Settings):
    """how training and registration run on the device"""

    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = Field(
        "auto",
        description="floating-point precision, in Lightning Fabric's terms; auto is bf16-mixed on GPUs that "
        "compute in bfloat16 (compute capability 8.0), and 32-true elsewhere; on processors with AVX512-BF16 or "
        "AMX-BF16, bf16-mixed is faster",
    )
    accelerator: Accelerator = ACCELERATOR
    devices: Positive = Field(
        1, description="devices on each node that share each training batch; see docs/cluster.md"
    )
    nodes: Positive = Field(1, description="nodes that training runs on")
    accumulate: Positive = Field(
        1,
        description="parts of a batch that a device computes one after the other, if its memory is too small for "
        "the whole",
    )
    recompute_activations: Flag = Field(
        False,
        description="whether training recomputes activations, of U-Nets and of ICON's maps, instead of keeping "
        "them, if memory is too small for one pair; models of voxelmorph keep theirs",
    )
    checkpoint_every: Positive = Field(
        100, description="training steps between two checkpoints, from which a killed run continues"
    )
    validate_every: Positive = Field(
        100,
        description="training steps between two measurements on images of split validation, if there are any; one "
        "more follows the last step",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="the weights that a stage ends with: best are those with the lowest validation loss, last "
        "those of the last step, which are always used without validation images",
    )


class Shards(Settings):
    """the number of jobs that the work is divided into"""

    images: Positive = Field(2, description="shards of the images, for preprocessing")
    pairs: Positive = Field(
        1, description="shards of the pairs, for each method's registration and evaluation"
    )


_Cores = Annotated[Whole, Field(ge=1, le=1024)]


with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # of `register`, which abstract classes have as a method

    class Threads(Settings):
        """CPU cores per job"""

        train: _Cores = Field(2, description="cores for training")
        register: _Cores = Field(2, description="cores for the registration of a shard")


class Report(Settings):
    """what the report shows"""

    reference: Text = Field(
        "affine", description="the method, one of methods, that the others are compared with"
    )
    published: Annotated[Path_ | None, Nullable] = Field(
        None,
        description="path of a table of published results, shown next to the measured ones where its column row "
        "names a method; resources/paper/table2.csv is Table 2 of Greer et al., 2021, on OAI; null if there are "
        "none",
    )
    note: Annotated[Text | None, Nullable] = Field(
        None,
        description="a sentence shown below every table of methods, such as what a run is not good for; null for none",
    )
    pages: Annotated[Whole, Field(ge=0)] = Field(
        100,
        description="how many pairs get a page with their images: the worst by the main method, and always the "
        "best and the median; 0 for none",
    )


def _unique(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise wrong(f"{values} has non-unique elements")
    return values


Unique = AfterValidator(_unique), Field(json_schema_extra={"uniqueItems": True})


def _named(pattern: str, description: str, longest: int = 200) -> tuple[Any, ...]:
    """What holds for a name of the user's. The pattern's end is that of the name, and not a line's."""
    constraints = StringConstraints(pattern=f"^{pattern}$(?!\\n)", max_length=longest)
    return constraints, Field(description=description)


#: Of a folder of results.
Name = Annotated[Text, *_named("[A-Za-z0-9][A-Za-z0-9._-]*", "")]
_StructureName = Annotated[
    Text,
    *_named(
        "(?!(mean|std|union)$)[A-Za-z][A-Za-z0-9_]*",
        "a structure's name has letters, digits and underscores, and is not mean, std or union",
    ),
]
_ModelName = Annotated[
    Text,
    *_named("[a-z][a-z0-9_-]*", "a model's name has small letters, digits, underscores and hyphens"),
]
_PretrainedName = Annotated[
    Text,
    *_named("[a-z][a-z0-9_]*", "an imported model's name has small letters, digits and underscores"),
]
LabelValues = Annotated[list[Positive], Len(1), *Unique]
Ratings = Annotated[
    Annotated[Rating, Tag("one")] | Annotated[list[Rating], Len(1), *Unique, Tag("list")],
    Discriminator(lambda given: "list" if isinstance(given, list) else "one"),
]
Structures = dict[_StructureName, LabelValues]
Models = dict[_ModelName, AnyModel]


def _suiting_methods(given: dict[str, Any]) -> list[str]:
    """What needs no training and suits any cohort, and the last row of each model."""
    rows = {model: row for row, (model, _) in trained_methods(given["models"], fitted=False).items()}
    return ["identity", "affine", "fit", *rows.values()]


class Configuration(Settings):
    """What a run does, from raw images to the report. A cohort's file names what differs from the defaults."""

    cohort: Name = Field(description="name of the cohort; everything is written below results/{cohort}")
    images: Path_ = Field(description="path of the table of images (images.tsv)")
    pairs: Path_ = Field(description="path of the table of pairs to register (pairs.tsv)")
    ratings: Annotated[Path_ | None, Nullable] = Field(
        None,
        description="path of a table of ratings, the qc.tsv saved from a report (columns in docs/outputs.md); null "
        "for none",
    )
    exclude_rated: Annotated[Ratings | None, Nullable] = Field(
        None,
        description="pairs with this rating, such as bad, or with one in a list of ratings, are left out of "
        "tables, figures and report, which say so; null leaves none out",
    )
    root: Path_ = Field(
        description="folder that relative paths in the table of images start from; $COHORTREG_DATA in it stands "
        "for the data folder outside the repository (default ../shared/data)"
    )
    seed: Seed = SEED
    on_bad_image: Literal["exclude", "fail"] = Field(
        "exclude",
        description="what happens to an unusable image (missing, damaged, without a geometry that programs agree "
        "on, with other axes than preprocess.grid, with NaN or one value throughout; its label on another grid, or "
        "without a voxel of one of structures): exclude leaves it and its pairs out, lists them and goes on; fail "
        "stops",
    )
    phantom: Annotated[Phantom | None, Nullable] = Field(
        None,
        description="images that the project generates: knees of its own, with grid and spacing, for the demo, or "
        "scans of the knees in labels, in a folder below resources/; null if the images are real",
    )
    preprocess: Preprocess = Field(description="how a raw image is turned into one for the networks")
    structures: Structures = Field(
        {},
        description="structures that Dice is measured on, each a name and its label values; without any, none is "
        "measured",
    )
    models: Models = Field({}, description="networks to train, by name; without any, nothing is trained")
    retrain: Annotated[Literal["scratch", "last"] | None, Nullable] = Field(
        None,
        description="models keep the training images that they were first trained on, even when a cohort grows; "
        "for one run, scratch retrains those whose images are no longer the cohort's, and last does so from their "
        "weights",
    )
    pretrained: dict[_PretrainedName, Path_] = Field(
        {},
        description="models imported by `cohortreg import weights`, each a row's name and the model's folder",
    )
    training: Training = Field(Training(), description="how training and registration run on the device")
    methods: Annotated[list[Text], Len(1), *Unique] = Field(
        default_factory=_suiting_methods,
        description="methods to compare, the rows of the tables: the methods in docs/methods.md that need no "
        "training, {model}-{n}step for an icon model after the stage that brings it to n steps, the names of other "
        "models, and those under pretrained; also the names of all learned methods followed by -fit, for their "
        "maps refined by fit; without the key identity, affine, fit, and the last row of each model",
    )
    method_settings: dict[str, dict[str, Any]] = Field(
        {},
        description="settings of methods that need no training, by the method's name, fit's also for rows that end "
        "in -fit",
    )
    shards: Shards = Field(Shards(), description="the number of jobs that the work is divided into")
    threads: Threads = Field(Threads(), description="CPU cores per job")
    report: Report = Field(Report(), description="what the report shows")

    @classmethod
    def foreign(cls, key: str, given: Mapping[str, Any]) -> str | None:
        """Say where the keys of the paper's experiments belong."""
        if key in ("paper", "preset"):
            return "the paper's experiments have a workflow of their own, workflow/paper/Snakefile; remove it"
        return None

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        grid = self.preprocess.grid
        if self.phantom and len(grid) != 3:
            raise wrong(
                f"{grid} is not 3D as phantoms are; real images have phantom: null", "preprocess.grid"
            )
        for name, model in self.models.items():
            if misfit := model.misfit(grid):
                raise wrong(misfit[1], f"models.{name}.{misfit[0]}")
            self._check_batches(f"models.{name}", model)
        if self.report.reference not in self.methods:
            raise wrong(
                f"{self.report.reference!r} is not among methods; add it there or name one",
                "report.reference",
            )
        if self.exclude_rated and not self.ratings:
            raise wrong("needs ratings, the path of a report's qc.tsv", "exclude_rated")
        return self

    def to_train(self) -> list[str]:
        """Return the models that a row needs."""
        trained = trained_methods(self.models)
        return sorted({trained[method][0] for method in self.methods if method in trained})

    def _check_batches(self, where: str, model: Model) -> None:
        """Each device, and each part that it computes at a time, gets as many pairs as the others."""
        parts = self.training.devices * self.training.nodes * self.training.accumulate
        for number, stage in enumerate(model.stages):
            if stage.batch_size % parts:
                raise wrong(
                    f"{stage.batch_size} pairs cannot be divided into {parts} equal parts, as training.devices, "
                    "nodes and accumulate ask; change one of them",
                    f"{where}.stages[{number}].batch_size",
                )


WHOLE.append(Configuration)


def part(*names: str, of: type[Settings] = Configuration, **own: Any) -> type[Settings]:
    """Return the type of what a command needs: keys of a section, all of which must be given, and its own.

    own: name -> type, or type and default.
    """
    fields: dict[str, Any] = {}
    for name in names:
        field = of.model_fields[name]
        kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        fields[name] = (kind, FieldInfo.from_annotation(kind))
    own = {name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in own.items()}
    return create_model("Part", __base__=Settings, **fields, **own)


def load(*paths: Path) -> Configuration:
    """Read, merge and validate configuration files, later ones over earlier ones, as the workflow does.

    Raises:
        UserError: A file cannot be read, or what is in them is no configuration.
    """
    return Configuration.read(merged(*paths))


def merged(*paths: Path) -> dict[str, Any]:
    """Read configuration files and merge them, later ones over earlier ones, as Snakemake does.

    Raises:
        UserError: A file cannot be read.
    """
    import yaml

    whole: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(Path(path).read_text("utf-8")) or {}
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"configuration {path}: cannot be read as YAML ({reason}).") from None
        if not isinstance(content, Mapping):
            raise UserError(f"configuration {path}: it has no keys; see config/README.md.")
        whole = merge(whole, content)
    return whole


def merge(config: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Put the overlay's values over those of config: mappings merge, anything else is replaced."""
    whole = dict(config)
    for key, value in overlay.items():
        before = whole.get(key)
        nested = isinstance(value, Mapping) and isinstance(before, Mapping)
        whole[key] = merge(before or {}, value) if nested else value
    return whole


def repeated_keys(path: Path) -> list[str]:
    """A sentence for each key that a configuration file has twice in one mapping: of the two, YAML takes the last.

    None for what cannot be read as YAML.
    """
    import yaml

    try:
        nodes = [yaml.compose(Path(path).read_text("utf-8"), Loader=yaml.SafeLoader)]
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return []
    seen, sentences = set(), []
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias of a part that was looked at
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            nodes.append(value)
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                sentences.append(
                    f"configuration {path}: line {line}: {key.value} is already given in line {lines[key.value]}; "
                    "the last counts, remove the other."
                )
            if isinstance(key, yaml.ScalarNode):
                lines[key.value] = line
    return sentences


def trained_methods(models: Mapping[str, Model], fitted: bool = True) -> dict[str, tuple[str, int]]:
    """Methods that the models offer.

    Each `{model}-{n}step` stands for a model of ICON and the stage, from 1, that brings it to n steps; another model
    has one row of its name, for its last stage. With `-fit` behind any of them, its maps are refined by fit; with
    `-io`, the networks of an icon model's last stage are optimised for each pair. fitted: whether these count.
    """
    methods: dict[str, tuple[str, int]] = {}
    for name, model in models.items():
        steps, stages = 0, {}
        for number, stage in enumerate(model.stages, start=1):
            steps += stage.steps
            row = f"{name}-{steps}step" if model.is_icon else name
            stages[row] = (name, number)
        methods |= stages
        if fitted:
            methods |= {row + FITTED: stage for row, stage in stages.items()}
        if fitted and isinstance(model, IconModel) and model.optimisation:
            methods[row + OPTIMISED] = stages[row]
    return methods


def ratings_left_out(exclude_rated: str | Sequence[str] | None) -> list[str]:
    """The ratings whose pairs are left out, which the configuration names alone or as a list."""
    return [exclude_rated] if isinstance(exclude_rated, str) else list(exclude_rated or [])


def expand_root(root: str) -> Path:
    """The folder that a table's paths start from, with $VARIABLES replaced.

    $COHORTREG_DATA, the one place for data outside the repository, is ../shared/data unless it is set.
    """
    if not os.environ.get("COHORTREG_DATA"):
        root = root.replace("${COHORTREG_DATA}", DATA).replace("$COHORTREG_DATA", DATA)
    return Path(os.path.expandvars(root)).expanduser()
