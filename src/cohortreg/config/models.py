"""The models that a cohort trains, and the rows of the tables that they offer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from annotated_types import Len
from pydantic import Discriminator, Field, SerializeAsAny, Tag, WrapValidator, create_model, model_validator

from cohortreg.config.methods import AvsmSettings, LearningSettings, VoxelMorphSettings
from cohortreg.config.networks import AnyNetwork, DualStreamNetwork
from cohortreg.config.similarities import SIMILARITIES, Similarity
from cohortreg.config.stages import IconStage, Stage
from cohortreg.config.values import NonNegative, Path_, Positive, PositiveNumber, one_of
from cohortreg.errors import UserError
from cohortreg.plugins import Entries
from cohortreg.settings import Section, Settings, Text, wrong

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

    init: Path_ | None = Field(
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

    method: Literal["icon"] = Field("icon", description=_METHOD.description)
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
    optimisation: Optimisation | None = Field(
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

    settings: LearningSettings

    def misfit(self, grid: Sequence[int]) -> tuple[str, str] | None:
        """Find the setting that does not fit a grid of images, and say why; None if all do."""
        found = self.settings.misfit(grid)
        return found and (f"settings.{found[0]}", found[1])


class VoxelMorphStaged(SettingsStaged):
    """A model of VoxelMorph, or its card."""

    settings: VoxelMorphSettings = Field(VoxelMorphSettings(), description=_SETTINGS)

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        most = 1 + self.settings.affine
        if len(self.stages) not in (1, most):
            affine = str(self.settings.affine).lower()
            raise wrong(
                f"{len(self.stages)}, but a model of voxelmorph has {most} where affine is {affine}", "stages"
            )
        return self


class AvsmStaged(SettingsStaged):
    """A model of AVSM, or its card."""

    settings: AvsmSettings = Field(AvsmSettings(), description=_SETTINGS)

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


@dataclass(frozen=True)
class LearningEntry:
    """A learning method, which a model names as its `method`.

    Attributes:
        path: Module and class below `cohortreg.methods`, a `recipes.Recipe`; of another package, "module:class".
        settings: The type of a model's `settings`; icon has none.
        release: Changes when its results would from the same images and settings; the workflow then registers its rows
            again. Where another package's has none, the package's version.
        needs: A package that it imports and that is not installed with this one.
    """

    path: str
    settings: type[LearningSettings] | None = None
    release: str = ""
    needs: str = ""


#: By the name that a model gives as its `method`, with those of other packages, see `plugins`.
LEARNED: Entries[LearningEntry] = Entries("cohortreg.learning", LearningEntry)
LEARNED |= {
    "icon": LearningEntry("icon.Icon", release="icon-3"),
    "voxelmorph": LearningEntry(
        "voxelmorph.VoxelMorph", VoxelMorphSettings, release="voxelmorph-1", needs="voxelmorph"
    ),
    "avsm": LearningEntry("avsm.Avsm", AvsmSettings, release="avsm-1"),
}


class _OtherModel(SettingsStaged, Model):
    """a model of any other learning method"""

    sparse = ("init", "settings")
    method: Text = _METHOD
    stages: _Stages

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        if len(self.stages) > (most := self.settings.most_stages):
            raise wrong(f"{len(self.stages)}, but a model of {self.method} has {most} at most", "stages")
        return self


@cache
def with_settings(name: str, base: type[Section]) -> type[Section]:
    """The type of a model, or of its card, with the settings of its learning method."""
    kind = LEARNED[name].settings
    if not (isinstance(kind, type) and issubclass(kind, LearningSettings)):
        raise UserError(
            f"{name} of {LEARNED.package(name)} has no LearningSettings; update or remove the package."
        )
    return create_model(
        base.__name__,
        __base__=base,
        __doc__=base.__doc__,
        settings=(kind, Field(kind(), description=_SETTINGS)),
    )


def _method(model: object) -> Any:
    """The method that a model names."""
    if isinstance(model, Mapping):
        return model.get("method", "icon")
    return getattr(model, "method", None)


#: Methods whose models have a type of their own, as another package's have none.
_TYPES: dict[str, type[Model]] = {"icon": IconModel, "voxelmorph": VoxelMorphModel, "avsm": AvsmModel}


def _or_of_others(model: Any, validate: Callable[[Any], Any]) -> Any:
    """A model of any method, with the settings of that method."""
    name = _method(model)
    if isinstance(name, str) and name in LEARNED and name not in _TYPES:
        return with_settings(name, _OtherModel).model_validate(model)
    return validate(model)


if TYPE_CHECKING:
    AnyModel = Model
else:
    AnyModel = Annotated[
        SerializeAsAny[
            Annotated[
                reduce(or_, (Annotated[kind, Tag(name)] for name, kind in _TYPES.items())),
                Discriminator(_method),
            ]
        ],
        WrapValidator(_or_of_others),
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
