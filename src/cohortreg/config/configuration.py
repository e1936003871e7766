"""The configuration as a whole: what a run does, from raw images to the report."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from annotated_types import Len
from pydantic import Field, create_model, model_validator
from pydantic.fields import FieldInfo

from cohortreg.config.models import AnyModel, Model, trained_methods
from cohortreg.config.phantom import Phantom
from cohortreg.config.preprocess import Preprocess
from cohortreg.config.report import Report
from cohortreg.config.resources import Shards, Threads
from cohortreg.config.training import Training
from cohortreg.config.values import SEED, Name, Path_, Positive, Ratings, Seed, Unique, named
from cohortreg.settings import WHOLE, Nullable, Settings, Text, wrong

_StructureName = Annotated[
    Text,
    *named(
        "(?!(mean|std|union)$)[A-Za-z][A-Za-z0-9_]*",
        "a structure's name has letters, digits and underscores, and is not mean, std or union",
    ),
]
_ModelName = Annotated[
    Text,
    *named("[a-z][a-z0-9_-]*", "a model's name has small letters, digits, underscores and hyphens"),
]
_PretrainedName = Annotated[
    Text,
    *named("[a-z][a-z0-9_]*", "an imported model's name has small letters, digits and underscores"),
]
LabelValues = Annotated[list[Positive], Len(1), *Unique]
Structures = dict[_StructureName, LabelValues]
Models = dict[_ModelName, AnyModel]


def _suiting_methods(section: dict[str, Any]) -> list[str]:
    """What needs no training and suits any cohort, the last row of each model, and the models that are trained."""
    rows = {model: row for row, (model, _) in trained_methods(section["models"], fitted=False).items()}
    return ["identity", "affine", "fit", *rows.values(), *section["pretrained"]]


class Configuration(Settings):
    """What a run does, from raw images to the report. A cohort's file names what differs from the defaults."""

    sparse = ("measures",)

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
    measures: Annotated[list[Text], *Unique] = Field(
        [],
        description="measures of other packages that every pair has, too; `cohortreg methods` lists those that are "
        "installed",
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
        description="trained models, each a row's name and the model's folder: a stage of a model of another cohort, "
        "or what `cohortreg import weights` made of published ones; what preprocess does not say of grid, fit, mirror "
        "and percentiles is theirs, and another value is refused; see docs/trained-models.md",
    )
    training: Training = Field(Training(), description="how training and registration run on the device")
    methods: Annotated[list[Text], Len(1), *Unique] = Field(
        default_factory=_suiting_methods,
        description="methods to compare, the rows of the tables: the methods in docs/methods.md that need no "
        "training, {model}-{n}step for an icon model after the stage that brings it to n steps, the names of other "
        "models, and those under pretrained; also the names of all learned methods followed by -fit, for their "
        "maps refined by fit; without the key identity, affine, fit, the last row of each model, and all under "
        "pretrained",
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
    def foreign(cls, key: str, values: Mapping[str, Any]) -> str | None:
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
                f"{self.report.reference!r}, with which the others are compared, is not among methods; add it there "
                "or name one",
                "report.reference",
            )
        if self.exclude_rated and not self.ratings:
            raise wrong("needs ratings, the path of a report's qc.tsv", "exclude_rated")
        return self

    def to_train(self) -> list[str]:
        """Return the models that a row needs."""
        trained = trained_methods(self.models)
        return sorted({trained[method][0] for method in self.methods if method in trained})

    def inits_to_train(self) -> dict[str, str]:
        """Return the folder of the model that each of these starts from, of those that start from one."""
        return {name: init for name in self.to_train() if (init := self.models[name].init)}

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

    Args:
        own: Name -> type, or type and default.
    """
    fields: dict[str, Any] = {}
    for name in names:
        field = of.model_fields[name]
        kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        fields[name] = (kind, FieldInfo.from_annotation(kind))
    own = {name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in own.items()}
    return create_model("Part", __base__=Settings, **fields, **own)
