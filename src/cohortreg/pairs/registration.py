"""Registration of two raw images, without tables and without a workflow."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk
import torch

from cohortreg.config import SIMILARITIES, Optimisation, Similarity
from cohortreg.errors import UserError
from cohortreg.evaluation.inverse_consistency import inverse_consistency_error
from cohortreg.images.geometry import canonical
from cohortreg.images.io import Image, read_label
from cohortreg.images.preprocess import Settings, preprocess
from cohortreg.learning.devices import Device
from cohortreg.losses.fields_of_view import both_imaged, unit_bounds
from cohortreg.losses.similarities import CorrelationWithOne
from cohortreg.maps.axes import CANONICAL
from cohortreg.maps.exchange import Pair
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.jacobian import fold_sites, folds
from cohortreg.maps.raw import Source, between_raw
from cohortreg.maps.transforms import to_physical
from cohortreg.methods.cards import read_card
from cohortreg.methods.icon import import_weights
from cohortreg.methods.interface import Method, Registration
from cohortreg.methods.registry import PAIRWISE, open_method
from cohortreg.model_files import CARD, WEIGHTS


class PairOptimisation(Optimisation):
    """Instance optimisation, which may be under another similarity than the training was."""

    sparse = ("similarity",)

    similarity: Similarity | None = None


@dataclass(frozen=True)
class RegisteredImages:
    """What came of two raw images.

    forward: from points of the fixed to points of the moving image, LPS millimetres: what warps the moving image.
    inverse: the other way; None where the method has none. pair: the images' voxels. achieved: what the maps are worth.
    """

    forward: sitk.Transform
    inverse: sitk.Transform | None
    pair: Pair
    achieved: "Achieved"


@dataclass(frozen=True)
class Achieved:
    """What maps are worth on the grid that the images were registered on.

    correlation: its square in Gaussian windows of two voxels (squared LNCC, mean over what both imaged), before and
    after; contrast may be reversed.
    folds: voxels where the map folds, and the share of all in percent. inverse_error: mean distance in voxels between
    where the two maps lead from a voxel, one after the other, and itself; None where there is one map. seconds: that
    the registration took.
    """

    correlation: tuple[float, float]
    folds: tuple[int, float]
    inverse_error: float | None
    seconds: float

    def __str__(self) -> str:
        inverse = "" if self.inverse_error is None else f", inverse error {self.inverse_error:.2f} voxels"
        return (
            f"squared local correlation {self.correlation[0]:.3f} before and {self.correlation[1]:.3f} after, "
            f"{self.folds[0]:,} folds ({self.folds[1]:.3g} %){inverse}, {self.seconds:.1f} s"
        )


def _achieved(moving: Image, fixed: Image, found: Registration, seconds: float) -> Achieved:
    images = [torch.from_numpy(image.array)[None, None] for image in (moving, fixed)]
    boxes = torch.tensor(
        [image.field_of_view or [[0, size] for size in image.shape] for image in (moving, fixed)]
    )
    bounds = unit_bounds(boxes.transpose(1, 2), fixed.shape).split(1)
    centres = identity_map(fixed.shape)
    similarity = CorrelationWithOne(2, images[1], squared=True)
    correlation = []
    for phi in (centres, centres + found.forward):
        weight = both_imaged(phi, *bounds)
        correlation.append(1 - similarity(interpolate(images[0], phi), weight).item())
    phi = centres + found.forward
    folded = int(folds(phi).item())
    error = None
    if found.inverse is not None:
        error = inverse_consistency_error(phi, identity_map(moving.shape) + found.inverse)
    return Achieved(tuple(correlation), (folded, 100 * folded / fold_sites(fixed.shape)), error, seconds)


def register_images(
    method: Method,
    settings: Settings,
    moving: Image,
    fixed: Image,
    moving_side: str = "",
    fixed_side: str = "",
    found_it: Callable[[], None] = lambda: None,
) -> RegisteredImages:
    """Register two raw images of any geometry with an opened method.

    settings: how images are preprocessed for it. The sides, "left", "right" or "", say which image is mirrored, if any.
    found_it: called once the maps are found, before it is measured what they are worth.

    Raises UserError where an image cannot be preprocessed, or the method cannot register the pair.
    """
    (moving_there, moving_record), (fixed_there, fixed_record) = (
        _preprocessed(*each, settings)
        for each in (("moving", moving, moving_side), ("fixed", fixed, fixed_side))
    )
    start = time.perf_counter()
    found = method(moving_there, fixed_there)
    seconds = time.perf_counter() - start
    found_it()
    grids = moving_there.grid, fixed_there.grid
    sources = Source.of(moving_record), Source.of(fixed_record)
    forward = between_raw(to_physical(found.forward, *grids), *sources)
    inverse = None
    if found.inverse is not None:
        inverse = between_raw(to_physical(found.inverse, *grids[::-1]), *sources[::-1])
    achieved = _achieved(moving_there, fixed_there, found, seconds)
    return RegisteredImages(forward, inverse, Pair(sources[0].grid, sources[1].grid), achieved)


def _preprocessed(name: str, image: Image, side: str, settings: Settings) -> tuple[Image, dict]:
    dim = len(settings.grid)
    if image.array.ndim != dim:
        raise UserError(f"the {name} image is {image.array.ndim}D; what is registered here is {dim}D.")
    try:
        there, _, record = preprocess(image, None, side, settings)
    except UserError as error:
        raise UserError(f"the {name} image: {error}") from error
    return replace(there, field_of_view=record["field_of_view"]), record


def masked(image: Image, path: Path) -> Image:
    """An image whose voxels outside of a mask have its least value. The mask, not zero inside, lies on its grid.

    They still count in every similarity: what is registered is the image on black, with the mask's outline as an edge.

    Raises UserError where the mask lies on another grid, or is zero everywhere.
    """
    mask = read_label(path)
    if not image.grid.matches(mask.grid):
        raise UserError(f"{path} is not on the grid of its image; resample the mask onto the image.")
    if not mask.array.any():
        raise UserError(f"{path} is zero everywhere and would leave nothing of the image; correct the mask.")
    return replace(image, array=np.where(mask.array != 0, image.array, image.array.min()))


def open_named(
    model: str,
    fixed: Image,
    given: Mapping,
    seed: int,
    threads: int,
    device: Device,
    grid: list[int] | None = None,
    axes: str = CANONICAL,
    optimisation: Optimisation | None = None,
    fit: bool = False,
) -> tuple[Method, Settings]:
    """A method for two images, and how they have to be preprocessed for it.

    model: the name of a method that needs no training; the folder of a trained or imported model, or its weights in
    that folder; or a file of published weights, for which `grid` and `axes` are those of `import_weights`. grid: for a
    method without a model the voxels that images are brought to, by default the fixed image's own. The rest as for
    `open_method`.

    Raises UserError where the name is none of these, the grid is no grid, or the method cannot do what is asked.
    """
    if fit:
        _check_start(model, optimisation)
    if grid and min(grid) < 2:
        raise UserError(f"--grid {' '.join(map(str, grid))}: give 2 voxels or more along each axis.")
    with _source(model, grid, axes) as source:
        if source in PAIRWISE:
            if optimisation:
                raise UserError(f"{model} has no networks to optimise for a pair; leave --io-iterations out.")
            if missing := PAIRWISE[source].missing({} if fit else given):
                raise UserError(f"{model}: {missing}")
            preprocessing = {"grid": grid or list(canonical(fixed).shape)}
        else:
            card = read_card(source)
            if optimisation and not card.is_icon:
                raise UserError(
                    f"{source}: only ICON networks can be optimised for a pair; leave --io-iterations out."
                )
            # A model of an earlier version does not say it.
            said = card.preprocess.model_dump(exclude_unset=True) if card.preprocess else None
            preprocessing = said or {"grid": card.grid}
        method = open_method(source, given, "", seed, threads, device, optimisation, fit, "--settings")
    return method, Settings(**preprocessing)


@contextmanager
def _source(model: str, grid: list[int] | None, axes: str) -> Iterator[str | Path]:
    """What `open_method` opens for a name; the folder of published weights is there until the block ends."""
    path = Path(model)
    if model in PAIRWISE:
        yield model
    elif not path.exists():
        raise UserError(
            f"{model}: no such method and no such file; give a model's folder, its weights, or one of "
            f"{', '.join(PAIRWISE)}."
        )
    elif path.is_dir():
        yield path
    elif path.name == WEIGHTS and (path.parent / CARD).is_file():
        yield path.parent
    else:
        with TemporaryDirectory() as folder:
            import_weights(path, Path(folder), grid, axes if grid else None)
            yield Path(folder)


def _check_start(model: str, optimisation: Optimisation | None) -> None:
    """Raise UserError where fit cannot start from the maps of a model or method."""
    if optimisation:
        raise UserError("--fit and --io-iterations exclude each other; leave one of them out.")
    if model == "fit":
        raise UserError(
            "--fit refines the result of another method; name one with --model, or leave --fit out."
        )
    if model in PAIRWISE and not PAIRWISE[model].inverse:
        raise UserError(
            f"{model} computes no inverse, but fit starts from maps in both directions; leave --fit out."
        )


def optimisation_of(iterations: int, learning_rate: float, similarity: str) -> Optimisation | None:
    """The settings of instance optimisation; None for no iterations. Raises UserError for an unknown similarity."""
    if not iterations:
        return None
    known = {"lncc2": "squared_lncc"} | {name: name for name in SIMILARITIES}
    if similarity and similarity not in known:
        raise UserError(f"--io-sim: unknown similarity '{similarity}'; choose one of {', '.join(known)}.")
    given = {"steps": iterations, "learning_rate": learning_rate}
    return PairOptimisation.read(given | ({"similarity": known[similarity]} if similarity else {}))
