"""The networks that predict a displacement field, by their architecture."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, Union, get_args

from annotated_types import Len
from pydantic import Discriminator, Field, SerializeAsAny, WrapValidator, model_validator

from cohortreg.config.values import Channels, Positive, one_of
from cohortreg.plugins import Entries
from cohortreg.settings import Number, Numeric, Settings, Whole, read, wrong


class Network(Settings):
    """the network that predicts one step's displacement field"""

    #: Module and class below `cohortreg.icon`, whose arguments the keys are; of another package, "module:class".
    path: ClassVar[str]
    #: What the description of `architecture` says of it, besides the keys that it needs.
    note: ClassVar[str] = ""

    @property
    def bound_to_grid(self) -> bool:
        """Whether its weights are those of images of one grid."""
        return False

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
    def foreign(cls, key: str, values: Mapping[str, Any]) -> str | None:
        """Say why a key of another architecture does not belong here."""
        if any(key in other.model_fields for other in ARCHITECTURES.values()):
            return f"a network of architecture {values.get('architecture')} has none; remove it"
        return None

    @classmethod
    def needed(cls, key: str) -> str:
        """Name all keys that the architecture needs."""
        return f"missing; {cls.name()} needs {cls.own_keys()}"


def check_levels(network: Any, first: int, images: str, one_more: bool = False) -> None:
    """Refuse numbers of channels, down and up, that make no network.

    Args:
        first: Channels that come from the images.
        images: What these are, in words.
        one_more: Whether down may have one more than up at most.
    """
    down, up = network.down, network.up
    if down[0] != first:
        raise wrong(f"must be {first}, {images}, but is {down[0]}", "down[0]")
    if len(down) <= len(up) or (one_more and len(down) > len(up) + 1):
        more = "one more" if one_more else "more"
        raise wrong(f"down has {len(down)} entries and up {len(up)}, but down must have {more} than up")


class LevelsNetwork(Network):
    """a network with a way down, from fine to coarse, and a way up"""

    #: What `check_levels` is told.
    levels: ClassVar[tuple[int, str, bool]] = (2, "the moving and the fixed image", False)

    architecture: str
    down: Annotated[list[Positive], Len(2)] = Field(
        description="channels on the way down, from the two images (dual_stream: from one) to the coarsest level "
        "(paper 2, 16, 32, 64, 256, 512); each level is half as fine as the one before, and the first one half as fine "
        "as the images (dual_stream: see finest)"
    )
    up: Channels = Field(
        description="channels of each level on the way up, finest first (paper 16, 32, 64, 128, 256); one fewer than "
        "down; with n fewer than that, the displacement is 2^n times coarser than the images of a unet, than the first "
        "level of a dual_stream"
    )

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        check_levels(self, *self.levels)
        return self


class UNetwork(LevelsNetwork):
    """the paper's U-Net"""

    sparse = ("bottleneck",)
    path, note = "networks.UNet", "paper"
    architecture: Literal["unet"]
    bottleneck: Positive | None = Field(
        None,
        description="channels of a dense layer between the way down and the way up of a unet, which makes the "
        "whole image its receptive field; none if the key is absent",
    )

    @property
    def bound_to_grid(self) -> bool:
        """Whether it has the dense layer."""
        return self.bottleneck is not None


class DualStreamNetwork(LevelsNetwork):
    """one encoder for both images"""

    sparse = ("finest", "smoothing")
    path, note = "networks.DualStream", "one encoder for both images"
    levels = (1, "one image at a time", False)
    architecture: Literal["dual_stream"]
    finest: Annotated[Literal[1, 2], Numeric] = Field(
        1,
        description="how many times coarser than the images the first level of a dual_stream is; with 1 it shows "
        "what is as thin as a voxel, with 2 a step takes about half of the time; 1 if the key is absent",
    )
    smoothing: Annotated[Number, Field(ge=0.1, le=5)] | None = Field(
        None,
        description="standard deviation of the Gaussian that smooths the displacement of a dual_stream, in voxels "
        "of the displacement; more means fewer folds; none if the key is absent",
    )


class EncoderDecoderNetwork(LevelsNetwork):
    """an encoder and a decoder without skip connections"""

    path = "networks.EncoderDecoder"
    levels = (2, "the moving and the fixed image", True)
    architecture: Literal["enc_dec"]


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

    @property
    def bound_to_grid(self) -> bool:
        """Whether its weights are those of images of one grid, as they always are."""
        return True


#: Every network above, by its architecture, with those of other packages, see `plugins`.
ARCHITECTURES: Entries[type[Network]] = Entries("cohortreg.networks", Network)
ARCHITECTURES |= {
    kind.name(): kind
    for base in (LevelsNetwork, Network)
    for kind in base.__subclasses__()
    if kind is not LevelsNetwork
}
for _kind in ARCHITECTURES.values():  # only now are all of them known
    _kind.model_fields["architecture"].description = one_of(
        f"{name} ({', '.join(filter(None, [kind.note, f'with {kind.own_keys()}']))})"
        for name, kind in ARCHITECTURES.items()
    )
    _kind.model_rebuild(force=True)


def _or_of_others(given: Any, validate: Callable[[Any], Any]) -> Any:
    """A network of another package, by that package's type."""
    name: Any = (
        given.get("architecture") if isinstance(given, Mapping) else getattr(given, "architecture", "")
    )
    if ARCHITECTURES.is_other(name):
        return ARCHITECTURES[name].model_validate(given)
    return validate(given)


if TYPE_CHECKING:
    AnyNetwork = Network
else:
    AnyNetwork = Annotated[
        SerializeAsAny[Annotated[Union[tuple(ARCHITECTURES.values())], Discriminator("architecture")]],  # noqa: UP007
        WrapValidator(_or_of_others),
    ]


def read_network(values: object) -> Network:
    """Validate a network of any architecture."""
    return read(AnyNetwork, values, "network")
