"""The measures of a registered pair: how each is computed, named, defined and formatted.

`MEASURES` is the list of those that every pair has; a configuration may name more, of other packages. Columns of
tables, headings, definitions and histograms are loops over `measures_with` these.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cohortreg.errors import UserError
from cohortreg.evaluation import numbers
from cohortreg.evaluation.overlap import dice, hausdorff95, mean_of_structures
from cohortreg.evaluation.regularity import inverse_consistency_error, log_jacobian_std, volume_form
from cohortreg.evaluation.structures import structure_masks
from cohortreg.images.grid import Grid
from cohortreg.images.image import Image
from cohortreg.maps.transforms import Transform, to_unit
from cohortreg.plugins import Entries, said_in_a_sentence

if TYPE_CHECKING:
    from torch import Tensor

#: All structures together as one; no structure has this name.
UNION = "union"


@dataclass(frozen=True)
class Maps:
    """The maps of a registered pair.

    Attributes:
        to_moving: From the fixed to the moving image.
        to_fixed: From the moving to the fixed image; None where the method has no inverse.
        moving: Grid of the moving image; that of the fixed image is that of `to_moving`.
    """

    to_moving: Transform
    to_fixed: Transform | None
    moving: Grid

    @cached_property
    def volume_form(self) -> np.ndarray:
        """Of the map to the moving image, see `regularity.volume_form`."""
        return volume_form(self.to_moving, self.moving)

    @cached_property
    def folds(self) -> int:
        """Voxels at which the map to the moving image folds."""
        return int(np.count_nonzero(self.volume_form < 0))

    @cached_property
    def forward(self) -> "Tensor":
        """The map to the moving image in unit coordinates, [1, dim, *grid] float64."""
        return to_unit(self.to_moving, self.moving)

    @cached_property
    def inverse(self) -> "Tensor | None":
        """The map to the fixed image in unit coordinates, [1, dim, *grid] float64; None where there is none."""
        return None if self.to_fixed is None else to_unit(self.to_fixed, self.to_moving.grid)


@dataclass(frozen=True)
class Measure:
    """A number that every registered pair has.

    Attributes:
        key: Its name in the tables.
        name: What people call it, without a unit.
        unit: Empty for a number without one.
        definition: What it is, for readers of tables and report.
        write: How its values are written, a function of `numbers` that static/numbers.js has too.
        higher_is_better: Which end of it is the good one.
        compute: Of a measure by structure, given the masks of a structure (warped and fixed, [*grid]) and the size of a
            voxel in millimetres; of another, given the pair's `Maps`. None where the registration itself recorded it.
        by_structure: Measured for each structure; the pair's value is the mean over them.
        of_union: Of several structures also measured of their union, which is no part of the mean.
        headline: One of those in the paper's Table 2: its mean has a confidence interval, and published results stand
            beside it.
        by_set: Averaged over each set of pairs, too.
        beside: Key of the measure that it shares a cell with, in brackets, where there is no column for each.
    """

    key: str
    name: str
    unit: str
    definition: str
    write: Callable[[float], str]
    higher_is_better: bool
    compute: Callable[..., float] | None
    by_structure: bool = False
    of_union: bool = False
    headline: bool = False
    by_set: bool = False
    beside: str = ""

    @property
    def title(self) -> str:
        """Its name with its unit, as a heading."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @property
    def column(self) -> str:
        """The column of the table of pairs that has a pair's value."""
        return f"{self.key}_mean" if self.by_structure else self.key

    @property
    def mean(self) -> str:
        """The column of the table of methods that has the mean over the pairs."""
        return f"{self.key}_mean"

    def of(self, structure: str) -> str:
        """The column of the table of pairs that has a structure's value."""
        return f"{self.key}_{structure}"

    def parts(self, structures: Iterable[str]) -> list[str]:
        """The structures that it is measured of, with the union; none where it is not by structure."""
        names = list(structures) if self.by_structure else []
        return [*names, UNION] if self.of_union and len(names) > 1 else names

    def columns(self, structures: Iterable[str]) -> list[str]:
        """All its columns of the table of pairs."""
        return [self.column, *map(self.of, self.parts(structures))]


#: In the order of the tables.
MEASURES = (
    Measure(
        "dice", "Dice", "%",
        definition="overlap of a structure's moving label, warped with linear interpolation and thresholded at one "
        "half, with its fixed label, at the fixed label's resolution; mean over the structures",
        write=numbers.dice, higher_is_better=True,
        compute=lambda warped, fixed, spacing: dice(warped, fixed),
        by_structure=True, of_union=True, headline=True, by_set=True,
    ),
    Measure(
        "hd95", "HD95", "mm",
        definition="95 % Hausdorff distance between a structure's warped and fixed label; mean over the structures",
        write=numbers.distance, higher_is_better=False, compute=hausdorff95, by_structure=True,
    ),
    Measure(
        "folds", "Folds", "",
        definition="voxels of the preprocessed grid at which the map reverses orientation (negative volume form)",
        write=numbers.count, higher_is_better=False, compute=lambda maps: maps.folds, headline=True, by_set=True,
    ),
    Measure(
        "folds_percent", "Folds", "%",
        definition="percentage of the grid's voxels that fold",
        write=numbers.percent, higher_is_better=False,
        compute=lambda maps: 100 * maps.folds / maps.volume_form.size,
        by_set=True, beside="folds",
    ),
    Measure(
        "log_jacobian_std", "SD of log |J|", "",
        definition="standard deviation of the logarithm of the Jacobian determinant, over the voxels that do not fold",
        write=numbers.spread, higher_is_better=False, compute=lambda maps: log_jacobian_std(maps.volume_form),
    ),
    Measure(
        "inverse_consistency_voxels", "Inverse error", "voxels",
        definition="distance between a voxel and where mapping it there and back takes it, mean over the voxels",
        write=numbers.distance, higher_is_better=False,
        compute=lambda maps: (
            math.nan if maps.to_fixed is None else inverse_consistency_error(maps.to_moving, maps.to_fixed)
        ),
    ),
    Measure(
        "time_s", "Time", "s",
        definition="time to register a pair, without reading and writing files",
        write=numbers.seconds, higher_is_better=False, compute=None, headline=True,
    ),
)  # fmt: skip

BY_KEY = {measure.key: measure for measure in MEASURES}
#: Those of other packages, see `plugins`; each is called as its key is.
OTHERS: Entries[Measure] = Entries("cohortreg.measures", Measure)
#: Columns of the tables that are no measures.
NO_MEASURES = (
    "method", "moving", "fixed", "set", "failure", "pairs", "failed", "similarity", "hardware", "p_value",
)  # fmt: skip
#: What methods are compared and pairs ranked by.
DICE = BY_KEY["dice"]


def measures_with(names: Sequence[str]) -> Sequence[Measure]:
    """The measures of a configuration that names some of other packages, in the order of the tables.

    Raises:
        UserError: No package offers one, or it does not fit the tables.
    """
    measures = list(MEASURES)
    for name in names:
        if name not in OTHERS:
            known = ", ".join(OTHERS.names()) or "none"
            raise UserError(f"measures: no package that is installed offers {name!r}; there are: {known}.")
        measure = OTHERS[name]
        if problem := _misfit(name, measure, measures):
            raise UserError(
                f"measures: {name} of {OTHERS.package(name)} {problem}; update or remove the package."
            )
        measures.append(measure)
    return measures


def _misfit(name: str, measure: Measure, others: Sequence[Measure]) -> str | None:
    """Say why another package's measure does not fit the tables beside others, if it does not."""
    if measure.key != name:
        return f"has the key {measure.key!r}, which has to be its name"
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        return "is not called by small letters, digits and underscores"
    starts = [other.key + "_" * other.by_structure for other in others]
    own = name + "_" * measure.by_structure
    if name in NO_MEASURES or any(one.startswith(own) or own.startswith(one) for one in starts):
        return "has columns that the tables have already"
    if getattr(numbers, measure.write.__name__, None) is not measure.write:
        return "is written by no function of cohortreg.evaluation.numbers"
    if measure.compute is None:
        return "computes nothing"
    if measure.beside:
        return f"shares the cell of {measure.beside}, as no other package's can"
    return None


def in_captions(measures: Iterable[Measure], of_pairs: bool) -> str:
    """A sentence for the column that each measure has in the table of pairs, or of methods, as captions say it."""
    return " ".join(f"``{one.column if of_pairs else one.mean}``: {one.definition}." for one in measures)


def columns(structures: Iterable[str], measures: Sequence[Measure] = MEASURES) -> list[str]:
    """The measures' columns of the table of pairs; raises UserError where a structure has the name of one."""
    structures = list(structures)
    for name in structures:
        if name in ("mean", UNION):
            raise UserError(f"the structure {name} has the name of a column of the tables; rename it.")
    return [column for measure in measures for column in measure.columns(structures)]


def measures_of_maps(maps: Maps, measures: Sequence[Measure] = MEASURES) -> dict[str, float]:
    """Column -> value of every measure of a pair's maps alone."""
    return {
        measure.column: _value(measure, maps)
        for measure in measures
        if measure.compute and not measure.by_structure
    }


def _value(measure: Measure, *given: Any) -> float:
    """What a measure computes; an error of another package's is a sentence."""
    assert measure.compute is not None
    if measure.key in BY_KEY:
        return measure.compute(*given)
    with said_in_a_sentence(f"the measure {measure.key}", OTHERS.package(measure.key)):
        return float(measure.compute(*given))


def measures_of_labels(
    moving: Image,
    fixed: Image,
    transform: Transform,
    structures: Mapping[str, Sequence[int]],
    measures: Sequence[Measure] = MEASURES,
) -> dict[str, float]:
    """Column -> value of every measure by structure; NaN where there is nothing to measure.

    Args:
        moving: Label map of the moving image, on a grid of its own, and so is that of the fixed one.
        transform: From the fixed to the moving image.
        structures: Name -> the label values that make it up.
    """
    measures = [measure for measure in measures if measure.by_structure]
    values = {column: math.nan for measure in measures for column in measure.columns(structures)}
    masked = dict(structures)
    if len(structures) > 1:
        masked[UNION] = [value for several in structures.values() for value in several]
    for name, *masks in structure_masks(moving, fixed, transform, masked):
        for measure in measures:
            if measure.compute and name in measure.parts(structures):
                values[measure.of(name)] = _value(measure, *masks, fixed.spacing)
    for measure in measures:
        values[measure.column] = mean_of_structures({name: values[measure.of(name)] for name in structures})
    return values
