"""The models that a cohort trains, and the rows of the tables that they offer."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from annotated_types import Len
from pydantic import Discriminator, Field, Tag, model_validator

from cohortreg.config.methods import AffineNetworkSettings, AvsmSettings, VoxelMorphSettings
from cohortreg.config.networks import AnyNetwork, DualStreamNetwork
from cohortreg.config.similarities import SIMILARITIES, Similarity
from cohortreg.config.stages import IconStage, Stage
from cohortreg.config.values import NonNegative, Path_, Positive, PositiveNumber, one_of
from cohortreg.settings import Settings, optional, wrong

#: Ends the name of a row whose networks are optimised for each pair.
OPTIMISED = "-io"
#: Ends the name of a row whose maps are those of the row without it, refined by fit.
FITTED = "-fit"


class Optimisation(Settings):
    """instance optimisation"""

    steps: Positive = Field(description="optimiser steps for each pair")
    learning_rate: PositiveNumber = Field(description="learning rate of Adam for each pair")


_STAGES = "stages of training in order; each freezes the earlier steps and adds its own"
_METHOD = Field(
    description="how it learns, one of the learning methods in docs/methods.md; icon if the key is absent. Only an "
    "icon model has network, similarity, regularity, noise and optimisation"
)
_Stages = Annotated[list[Stage], Len(1), Field(description=_STAGES)]
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

    init: Path_ | None = optional(
        None,
        description="folder of a trained model, from whose weights each stage that both have starts: a published one, "
        "another cohort's or one of this one's; its architecture and the steps of its stages must be this model's, and "
        "so is its network where network is absent; see docs/trained-models.md",
    )

    @classmethod
    def foreign(cls, key: str, values: Mapping[str, Any]) -> str | None:
        """Say why a key of another method's model does not belong here."""
        method = values.get("method", "icon")
        if key in IconModel.model_fields:
            return f"only a model of icon has it, and this one's method is {method}"
        if key == "settings":
            return "a model of icon has none; its settings are the other keys"
        return None

    def up_to(self, stage: int) -> Self:
        """Return what the training of a stage, from 1, follows from: neither later stages nor what comes after it.

        Nor the folder `init`, but the weights that are put aside from there; see `jobs.training_sets`.
        """
        left_out = {"init", "optimisation"} & type(self).model_fields.keys()
        parts = dict(self) | dict.fromkeys(left_out) | {"stages": self.stages[:stage]}
        # The plugin has it return this class, not a subclass.
        return type(self).model_construct(self.model_fields_set - left_out, **parts)  # type: ignore[return-value]

    def misfit(self, grid: Sequence[int]) -> tuple[str, str] | None:
        """Say what does not fit a grid of images: the key and why."""


class IconModel(Model):
    """networks whose steps compose"""

    sparse = ("method", "init", "optimisation")

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
    noise: NonNegative = Field(
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


class SettingsStaged(Staged):
    """A model of another method than ICON, or its card."""

    settings: AffineNetworkSettings


class VoxelMorphStaged(SettingsStaged):
    """A model of VoxelMorph, or its card."""

    settings: VoxelMorphSettings = optional(VoxelMorphSettings(), description=_SETTINGS)

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


class AvsmStaged(SettingsStaged):
    """A model of AVSM, or its card."""

    settings: AvsmSettings = optional(AvsmSettings(), description=_SETTINGS)

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        if len(self.stages) > 2:
            raise wrong(
                f"{len(self.stages)}, but avsm has one for the affine map and one for the momentum", "stages"
            )
        return self


class VoxelMorphModel(VoxelMorphStaged, Model):
    """VoxelMorph, with or without an affine pre-registration"""

    sparse = ("init", "settings")
    method: Literal["voxelmorph"] = _METHOD
    stages: _Stages


class AvsmModel(AvsmStaged, Model):
    """AVSM: a stage for the affine map, one for the momentum"""

    sparse = ("init", "settings")
    method: Literal["avsm"] = _METHOD
    stages: _Stages


def _method(model: object) -> str | None:
    """The method that a model names."""
    if isinstance(model, Mapping):
        return model.get("method", "icon")
    return getattr(model, "method", None)


AnyModel = Annotated[
    Annotated[IconModel, Tag("icon")]
    | Annotated[VoxelMorphModel, Tag("voxelmorph")]
    | Annotated[AvsmModel, Tag("avsm")],
    Discriminator(_method),
]


def trained_methods(models: Mapping[str, Model], fitted: bool = True) -> dict[str, tuple[str, int]]:
    """Methods that the models offer.

    Each `{model}-{n}step` stands for a model of ICON and the stage, from 1, that brings it to n steps; another model
    has one row of its name, for its last stage. With `-fit` behind any of them, its maps are refined by fit; with
    `-io`, the networks of an icon model's last stage are optimised for each pair.

    Args:
        fitted: Whether these count.
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
