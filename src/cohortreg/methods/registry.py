"""The methods by name, one line each, and whether the rows of a configuration are possible.

Only names are here, so that nothing of a method is imported before it is wanted: the workflow reads this file for
each of its jobs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohortreg.config import (
    FITTED,
    LEARNED,
    OPTIMISED,
    SIMILARITIES,
    Configuration,
    MethodSettings,
    Model,
    trained_methods,
)
from cohortreg.errors import UserError
from cohortreg.files import read_json
from cohortreg.losses.words import in_turn
from cohortreg.methods.cards import check_init, check_pretrained, completed, packages_of, read_card, uses
from cohortreg.methods.programs import niftyreg_missing
from cohortreg.model_files import CARD
from cohortreg.plugins import Entries, resolve

if TYPE_CHECKING:
    from cohortreg.methods.recipes import Recipe


def package(name: str) -> Callable[[Mapping[str, Any]], str | None]:
    """An `Entry.missing` that looks for a Python package."""
    return lambda settings: (
        None if find_spec(name) else f"the package {name} is not installed; run make baselines"
    )


@dataclass(frozen=True)
class Entry:
    """Where a method's class is, and what is known of the method without importing it.

    Attributes:
        path: Module and class below `cohortreg.methods`; of another package, "module:class".
        missing: From the method's settings, a sentence with how to install its software; None where nothing is missing.
        dimensions: Of the images that it registers.
        accelerated: Whether it runs on the device that networks run on, which its class is given.
        inverse: Whether it computes the maps of both directions.
        deforms: Whether its maps are more than affine.
        release: Changes when the method's results would from the same images and settings; the workflow then registers
            its rows again.
        uses: Methods of `PAIRWISE` whose results its own follow from.
    """

    path: str
    missing: Callable[[Mapping[str, Any]], str | None] = lambda settings: None
    dimensions: tuple[int, ...] = (2, 3)
    accelerated: bool = False
    inverse: bool = True
    deforms: bool = True
    release: str = ""
    uses: tuple[str, ...] = ()


#: Methods that need nothing but a pair, with those of other packages, see `plugins`.
PAIRWISE: Entries[Entry] = Entries("cohortreg.methods", Entry)
PAIRWISE |= {
    "identity": Entry("identity.Identity", deforms=False, release="identity-1"),
    "affine": Entry("affine.Affine", deforms=False, release="affine-4"),
    "fit": Entry("fit.Fit", accelerated=True, release="fit-9"),
    "demons": Entry("demons.Demons", inverse=False, release="demons-1", uses=("affine",)),
    "syn": Entry("syn.Syn", package("ants"), release="syn-1"),
    "niftyreg-nmi": Entry(
        "niftyreg.NiftyRegNmi", niftyreg_missing, (3,), inverse=False, release="niftyreg-nmi-1"
    ),
    "niftyreg-lncc": Entry(
        "niftyreg.NiftyRegLncc", niftyreg_missing, (3,), inverse=False, release="niftyreg-lncc-1"
    ),
    "vsvf-opt": Entry("vsvf.VsvfOpt", release="vsvf-opt-1", uses=("affine",)),
}

#: The release of how fit refines the maps of another row.
REFINED = "refined-2"


def method_class(name: str) -> Any:
    """The class of a method of `PAIRWISE`, see `interface.Method`."""
    return resolve(PAIRWISE[name].path, __package__)


def recipe(method: str) -> "type[Recipe[Any]]":
    """How models of a method of `LEARNED` are trained."""
    return resolve(LEARNED[method].path, __package__)


def read_settings(
    name: str, values: Mapping[str, Any], where: str, read_from: str = "configuration"
) -> MethodSettings:
    """Validate the settings of a method of `PAIRWISE`, of which those that differ from the defaults are given.

    Raises UserError where one is wrong, a sentence on `read_from` that names it below `where`: method_settings.fit.
    """
    return method_class(name).Settings.read(values, where, read_from)


def releases(row: str, method: str | None = None) -> list[str]:
    """What changes when a newer package registers a row otherwise; `method` is the one by which its model learns."""
    if row in PAIRWISE:
        return [PAIRWISE[name].release or PAIRWISE.package(name) for name in (row, *PAIRWISE[row].uses)]
    if row.endswith(FITTED):
        return [REFINED, *releases("fit"), *releases(row.removesuffix(FITTED), method)]
    assert method is not None
    return [LEARNED[method].release] if LEARNED[method].release else []


def packages(row: str, config: Configuration) -> list[str]:
    """The other packages, with their versions, whose similarities and networks a row's registration follows from."""
    name = row.removesuffix(FITTED)
    settings = config.method_settings.get("fit" if row.endswith(FITTED) else row, {})
    found = [SIMILARITIES.package(str(settings.get("similarity", "")))]
    trained = trained_methods(config.models)
    if name in config.pretrained:
        found += packages_of(read_card(Path(config.pretrained[name])), training=False)
    elif row in trained:
        found += packages_of(config.models[trained[row][0]], training=row.endswith(OPTIMISED))
    return sorted({*found} - {""})


def packages_of_similarity(name: str) -> list[str]:
    """The other package, with its version, that offers a similarity, if one does."""
    return [SIMILARITIES.package(name)] if SIMILARITIES.is_other(name) else []


def accelerated(row: str) -> bool:
    """Whether a row runs on the device that networks run on."""
    return row not in PAIRWISE or PAIRWISE[row].accelerated


def read(values: Mapping[str, Any]) -> Configuration:
    """Validate a configuration, completed by what its trained models say of their images.

    Raises:
        UserError: One sentence that names the first wrong key, or the model that is not there.
    """
    return Configuration.read(completed(values))


def check(config: Configuration) -> None:
    """Raise UserError where a row or a model is not possible as configured.

    A row is unknown, or two have one name; a setting is not the method's own, or does not fit the others; an imported
    model is not there, or is one of other images. What would fail only when a training is over is found here.
    """
    _check_names(config)
    grid = config.preprocess.grid
    imported = [name + end for name in config.pretrained for end in ("", FITTED)]
    known = [*PAIRWISE.names(), *trained_methods(config.models), *imported]
    for number, row in enumerate(config.methods):
        if row not in known:
            raise UserError(
                f"configuration: methods[{number}]: unknown method {row!r}; choose one of {', '.join(known)}; "
                "see config/README.md."
            )
        if row in PAIRWISE and len(grid) not in PAIRWISE[row].dimensions:
            raise UserError(
                f"configuration: methods[{number}]: {row} registers only 3D images, but preprocess.grid {grid} "
                "is 2D; remove it from methods."
            )
    for name, values in config.method_settings.items():
        if name not in PAIRWISE:
            raise UserError(
                f"configuration: method_settings.{name}: no method without training has this name; choose one of "
                f"{', '.join(PAIRWISE.names())}; see config/README.md."
            )
        read_settings(name, values, f"method_settings.{name}")
    if config.measures:
        from cohortreg.evaluation.measures import measures_with  # imports PyTorch

        try:
            measures_with(config.measures)
        except UserError as error:
            raise UserError(f"configuration: {error}") from error
    for name, folder in config.pretrained.items():
        if uses(config.methods, name):
            check_pretrained(name, Path(folder), config.preprocess)
    for name in config.to_train():
        if config.models[name].init:
            check_init(name, config.models[name], config.preprocess.grid)


def measured(config: Configuration) -> dict[str, list[str]]:
    """What evaluation is to know of measures of other packages: their names, and of what versions they are."""
    if not config.measures:
        return {}
    from cohortreg.evaluation.measures import OTHERS

    return {"measures": config.measures, "packages": [OTHERS.package(name) for name in config.measures]}


def _check_names(config: Configuration) -> None:
    """Raise UserError where a row of the tables would be two methods."""
    for name in config.models:
        if name.endswith((OPTIMISED, FITTED)):
            raise UserError(
                f"configuration: models.{name}: names that end in {OPTIMISED} or {FITTED} are reserved for rows "
                "that are fitted to each pair; choose another; see config/README.md."
            )
    taken = dict.fromkeys(PAIRWISE.names(), "a method that needs no training")
    models = config.models.items()
    rows = [(f"models.{name}", name) for name in config.models if name in PAIRWISE]
    rows += [(f"models.{name}", row) for name, model in models for row in trained_methods({name: model})]
    rows += [(f"pretrained.{name}", name) for name in config.pretrained]
    for where, row in rows:
        if row in taken:
            raise UserError(
                f"configuration: {where}: {row} is already the name of {taken[row]}; choose another; "
                "see config/README.md."
            )
        taken[row] = f"a row of {where}"


def warnings(config: Configuration) -> list[str]:
    """A sentence for each part of the configuration that nothing uses."""
    return [
        f"configuration: pretrained.{name}: no row uses this model; add {name} to methods, or remove it."
        for name in config.pretrained
        if {name, name + FITTED}.isdisjoint(config.methods)
    ]


def missing(config: Configuration) -> dict[str, str]:
    """The rows of the configuration whose software is not installed, each with a sentence that says how to get it."""
    trained = trained_methods(config.models)
    sentences = {}
    for row in config.methods:
        if row in PAIRWISE:
            sentence = PAIRWISE[row].missing(config.method_settings.get(row, {}))
        elif row in trained:
            sentence = lacking(config.models[trained[row][0]].method)
        else:
            sentence = _missing_of(Path(config.pretrained.get(row.removesuffix(FITTED), "")))
        if sentence:
            sentences[row] = f"{row} is left out: {sentence}"
    return sentences


def lacking(method: str) -> str | None:
    """A sentence on what a learning method needs and is not installed, if anything is missing."""
    needs = LEARNED[method].needs
    return package(needs)({}) if needs else None


def _missing_of(folder: Path) -> str | None:
    """What is missing for an imported model; `check` reports its other faults."""
    try:
        method = read_json(folder / CARD).get("method", "icon")
    except (OSError, ValueError, RecursionError, AttributeError, UserError):
        return None
    return lacking(method) if isinstance(method, str) and method in LEARNED else None


def similarity_of(
    row: str,
    models: Mapping[str, Model],
    pretrained: Mapping[str, str],
    method_settings: Mapping[str, Mapping[str, Any]],
) -> str:
    """The similarity that a configured method maximises, as the tables show it; empty if it maximises none."""
    if row.endswith(FITTED):
        parts = (row.removesuffix(FITTED), "fit")
        return in_turn(similarity_of(part, models, pretrained, method_settings) for part in parts)
    trained = trained_methods(models)
    if row in PAIRWISE:
        chosen = method_class(row)
        # Of a method that maximises what its settings name.
        in_words = getattr(chosen, "similarity_in_words", None)
        if in_words is None:
            return chosen.similarity
        return in_words(read_settings(row, method_settings.get(row, {}), f"method_settings.{row}"))
    model = models[trained[row][0]] if row in trained else read_card(Path(pretrained[row]))
    return recipe(model.method).similarity_in_words(model)
