"""Methods and trained models, ready to register pairs."""

from __future__ import annotations  # so that help shows the names of types

import math
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, runtime_checkable

import torch

from cohortreg.config import SIMILARITIES, Optimisation, PairPreprocess, Similarity
from cohortreg.errors import UserError
from cohortreg.images.geometry import canonical
from cohortreg.images.image import Image
from cohortreg.inputs import expanded, truth
from cohortreg.learning.devices import Device, use_processor
from cohortreg.methods.cards import Card, read_card
from cohortreg.methods.icon import import_weights
from cohortreg.methods.interface import Method
from cohortreg.methods.opening import open_method
from cohortreg.methods.registry import PAIRWISE, Entry
from cohortreg.model_files import CARD, WEIGHTS

#: What every library takes for a seed: 32 bits.
LARGEST_SEED = 2**32 - 1
#: Of a grid: 4 TB in single precision. What of fewer voxels a machine cannot hold is a MemoryError.
MOST_VOXELS = 2**40


@runtime_checkable
class Stepwise(Protocol):
    """What a method has that reports its steps, such as fit."""

    report: Callable[[], None]

    def steps(self, shape: Sequence[int]) -> int:
        """The number of steps for a pair of images of a shape."""


class PairOptimisation(Optimisation):
    """Instance optimisation, which may be under another similarity than the training was."""

    sparse = ("similarity",)

    similarity: Similarity | None = None


@dataclass(frozen=True)
class Model:
    """A trained model, or a method without training, that `load` has made ready for many pairs.

    Attributes:
        name: Of the method, or the model's path.
        deforms: Whether its maps are more than affine.
        has_inverse: Whether it computes the maps of both directions.
        dimensions: Of the images that it registers.
    """

    name: str
    deforms: bool
    has_inverse: bool
    dimensions: tuple[int, ...]
    method: Method = field(repr=False)
    preprocessing: PairPreprocess | None = field(repr=False)
    threads: int = field(repr=False)

    @property
    def mirror(self) -> str:
        """The side whose images are mirrored before they are registered, "left" or "right", or "none"."""
        return self.preprocessing.mirror if self.preprocessing else "left"

    def preprocessing_of(self, fixed: Image) -> PairPreprocess:
        """How both images of a pair are preprocessed: for a method without training, on the fixed image's grid."""
        return self.preprocessing or PairPreprocess(grid=list(canonical(fixed).shape))

    def steps(self, fixed: Image) -> int:
        """How many steps a pair takes, of a method that reports them; otherwise 1."""
        method = self.method
        return method.steps(self.preprocessing_of(fixed).grid) if isinstance(method, Stepwise) else 1


def load(
    model: str | os.PathLike[str] = "fit",
    *,
    settings: Mapping[str, Any] | None = None,
    grid: Sequence[int] | None = None,
    axes: str | None = None,
    fit: bool = False,
    optimisation: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 1,
    threads: int = 2,
) -> Model:
    """Load a trained model, or a method that needs no training, once for many pairs.

    Args:
        model: Folder of a model's stage or of an imported model, or its weights; a file of published weights; or the
            name of a method that needs no training, such as fit or affine; `cohortreg methods` lists them.
        settings: Of a method without training, see docs/methods.md; with `fit`, those of fit.
        grid: Voxels that images are brought to along right, anterior, superior, by default the fixed image's own, for a
            method without training; along its own axes, for published weights of no known release.
        axes: Of such weights, where the axes of the arrays that they learnt from run to; "RAS" by default.
        fit: Whether the method fit refines the maps.
        optimisation: Of a model's networks for each pair: steps, learning_rate and, if it is another one than in
            training, similarity.
        device: "auto", "cpu", "cuda" or "mps".
        precision: That networks compute in: "auto", "32-true", "bf16-mixed" or "16-mixed".
        seed: Everything drawn at random follows from it.
        threads: Of the processor. The same number gives the same maps, to the last digit.

    Returns:
        What `register` takes as its `model`.

    Raises:
        UserError: There is no such model or method, its software is not installed, or it cannot do what is asked.

    Example:
        >>> knees = cohortreg.load("models/knees", device="cuda")
        >>> for moving in ["a.nii.gz", "b.nii.gz"]:
        ...     print(cohortreg.register(moving, "atlas.nii.gz", model=knees).quality)
    """
    if not isinstance(model, str | os.PathLike):
        raise UserError(
            f"a model is a path, the name of a method or what load returned, not of type {type(model).__name__}."
        )
    name, settings = os.fspath(model), settings or {}
    seed, threads = _whole("seed", seed, 0, LARGEST_SEED), _whole("threads", threads, 1)
    grid, fit = _voxels(grid), truth("fit", fit)
    tuned = _optimisation(optimisation)
    if fit:
        _check_start(name, tuned)
    with _source(name, grid, axes) as source, processor(threads):
        if isinstance(source, str):
            entry = _untrained(name, axes, tuned, {} if fit else settings)
            preprocessing = PairPreprocess.read({"grid": grid}, source="settings") if grid else None
            facts = fit or entry.deforms, entry.inverse, entry.dimensions
        else:
            card = _card(name, source, tuned, {} if fit else settings)
            # A model of an earlier version does not say it.
            preprocessing = card.preprocess or PairPreprocess(grid=card.grid)
            facts = True, True, (len(card.grid),)
        opened = open_method(
            source, settings, "", seed, threads, Device(device, precision), tuned, fit, "settings"
        )
    return Model(name, *facts, opened, preprocessing, threads)


def _untrained(name: str, axes: str | None, tuned: Optimisation | None, settings: Mapping[str, Any]) -> Entry:
    """The entry of a method that needs no training; refuses what is given for a model alone."""
    if axes is not None:
        raise UserError(f"{name} has no axes of its own, which published weights have; leave them out.")
    if tuned:
        raise UserError(f"{name} has no networks to optimise for a pair; leave the optimisation out.")
    if missing := PAIRWISE[name].missing(settings):
        raise UserError(f"{name}: {missing}")
    return PAIRWISE[name]


def _card(name: str, folder: Path, tuned: Optimisation | None, settings: Mapping[str, Any]) -> Card:
    """The card of a model; refuses what is given for other methods alone."""
    if settings:
        raise UserError(f"{name} is a trained model, which has no settings; leave them out.")
    card = read_card(folder)
    if tuned and not card.is_icon:
        raise UserError(
            f"{folder}: only ICON networks can be optimised for a pair; leave the optimisation out."
        )
    return card


@contextmanager
def processor(threads: int) -> Iterator[None]:
    """So many threads of PyTorch's, and tiny numbers as zero: what the last digits of maps depend on."""
    before = torch.get_num_threads()
    use_processor(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


@contextmanager
def _source(model: str, grid: Sequence[int] | None, axes: str | None) -> Iterator[str | Path]:
    """What `open_method` opens for a name; the folder of published weights is there until the block ends."""
    path = expanded(model)
    if model in PAIRWISE:
        yield model
    elif not path.exists():
        raise UserError(
            f"{model}: no such method and no such file; give a model's folder, its weights, or one of "
            f"{', '.join(PAIRWISE.names())}."
        )
    elif path.is_dir() or (path.name == WEIGHTS and (path.parent / CARD).is_file()):
        if grid is not None or axes is not None:
            raise UserError(f"{model} has a grid and axes of its own; leave grid and axes out.")
        yield path if path.is_dir() else path.parent
    else:
        with TemporaryDirectory() as folder:
            import_weights(path, Path(folder), grid, axes)
            yield Path(folder)


def _whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """A whole number of any type; raises UserError where it is none, or out of range."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        upper = f" to {most}" if most is not None else ""
        raise UserError(f"{name} is {value!r}; give a whole number from {least}{upper or ' on'}.")
    return number


def _voxels(grid: Sequence[int] | None) -> list[int] | None:
    """The voxels of a grid along each axis; raises UserError where they are no numbers of voxels."""
    if grid is None:
        return None
    try:
        sizes = [operator.index(size) for size in grid]
    except TypeError:
        sizes = []
    if not sizes:
        raise UserError(f"grid is {grid!r}; give whole numbers of voxels, such as [96, 112, 96].")
    if min(sizes) > 0 and math.prod(sizes) > MOST_VOXELS:
        raise UserError(
            f"a grid of {' x '.join(map(str, sizes))} voxels is too large for any machine; give fewer."
        )
    if min(sizes) < 2:
        raise UserError(
            f"a grid of {' x '.join(map(str, sizes))} voxels is too small; give 2 voxels or more along each axis."
        )
    return sizes


def _check_start(model: str, optimisation: Optimisation | None) -> None:
    """Raise UserError where fit cannot start from the maps of a model or method."""
    if optimisation:
        raise UserError("fit and the optimisation of networks exclude each other; leave one of them out.")
    if model == "fit":
        raise UserError("fit refines the result of another method; name one as the model, or leave fit out.")
    if model in PAIRWISE and not PAIRWISE[model].inverse:
        raise UserError(
            f"{model} computes no inverse, but fit starts from maps in both directions; leave fit out."
        )


def _optimisation(values: Mapping[str, Any] | None) -> Optimisation | None:
    """The settings of instance optimisation; None for no steps. lncc2 is the authors' name of squared_lncc."""
    if not values:
        return None
    if not isinstance(values, Mapping):
        raise UserError(
            f'optimisation is {values!r}; give settings, such as {{"steps": 50, "learning_rate": 2e-5}}.'
        )
    if not values.get("steps", 1):
        return None
    known = {"lncc2": "squared_lncc"} | {name: name for name in SIMILARITIES}
    similarity = values.get("similarity")
    if similarity and similarity not in known:
        raise UserError(f"optimisation: unknown similarity '{similarity}'; choose one of {', '.join(known)}.")
    return PairOptimisation.read(
        {**values, **({"similarity": known[similarity]} if similarity else {})}, "optimisation", "settings"
    )
