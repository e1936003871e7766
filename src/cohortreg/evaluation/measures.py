"""The measures of a registered pair: how each is computed, named, defined and formatted.

`MEASURES` is the only list of them. Columns of tables, headings, definitions, histograms and ranks are loops over it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from cohortreg.errors import UserError
from cohortreg.evaluation import numbers
from cohortreg.evaluation.inverse_consistency import inverse_consistency_error
from cohortreg.evaluation.overlap import dice, hausdorff95, mean_of_structures
from cohortreg.evaluation.regularity import log_jacobian_std
from cohortreg.evaluation.structures import structure_masks
from cohortreg.images.image import Image
from cohortreg.maps.jacobian import fold_sites, folds
from cohortreg.maps.transforms import Transform

#: All structures together as one; no structure has this name.
UNION = "union"


@dataclass(frozen=True)
class Maps:
    """The maps of a registered pair, in unit coordinates.

    Attributes:
        forward: From the fixed to the moving image, [1, dim, *grid].
        inverse: From the moving to the fixed image, [1, dim, *grid]; None where the method has none.
    """

    forward: Tensor
    inverse: Tensor | None

    @cached_property
    def folds(self) -> int:
        """Voxels at which the forward map folds."""
        return int(folds(self.forward).item())


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


def _inverse_consistency(maps: Maps) -> float:
    return math.nan if maps.inverse is None else inverse_consistency_error(maps.forward, maps.inverse)


#: In the order of the tables.
MEASURES = (
    Measure(
        key="dice",
        name="Dice",
        unit="%",
        definition="overlap of a structure's moving label, warped with linear interpolation and thresholded at one "
        "half, with its fixed label, at the fixed label's resolution; mean over the structures",
        write=numbers.dice,
        higher_is_better=True,
        compute=lambda warped, fixed, spacing: dice(warped, fixed),
        by_structure=True,
        of_union=True,
        headline=True,
        by_set=True,
    ),
    Measure(
        key="hd95",
        name="HD95",
        unit="mm",
        definition="95 % Hausdorff distance between a structure's warped and fixed label; mean over the structures",
        write=numbers.distance,
        higher_is_better=False,
        compute=hausdorff95,
        by_structure=True,
    ),
    Measure(
        key="folds",
        name="Folds",
        unit="",
        definition="voxels of the preprocessed grid at which the map reverses orientation (negative volume form)",
        write=numbers.count,
        higher_is_better=False,
        compute=lambda maps: maps.folds,
        headline=True,
        by_set=True,
    ),
    Measure(
        key="folds_percent",
        name="Folds",
        unit="%",
        definition="percentage of the grid's voxels that fold",
        write=numbers.percent,
        higher_is_better=False,
        compute=lambda maps: 100 * maps.folds / fold_sites(maps.forward.shape[2:]),
        by_set=True,
        beside="folds",
    ),
    Measure(
        key="log_jacobian_std",
        name="SD of log |J|",
        unit="",
        definition="standard deviation of the logarithm of the Jacobian determinant, over the voxels that do not fold",
        write=numbers.spread,
        higher_is_better=False,
        compute=lambda maps: log_jacobian_std(maps.forward),
    ),
    Measure(
        key="inverse_consistency_voxels",
        name="Inverse error",
        unit="voxels",
        definition="distance between a voxel and where mapping it there and back takes it, mean over the voxels",
        write=numbers.distance,
        higher_is_better=False,
        compute=_inverse_consistency,
    ),
    Measure(
        key="time_s",
        name="Time",
        unit="s",
        definition="time to register a pair, without reading and writing files",
        write=numbers.seconds,
        higher_is_better=False,
        compute=None,
        headline=True,
    ),
)

BY_KEY = {measure.key: measure for measure in MEASURES}
#: What methods are compared and pairs ranked by.
DICE = BY_KEY["dice"]


def columns(structures: Iterable[str]) -> list[str]:
    """The measures' columns of the table of pairs, in order.

    Raises:
        UserError: A structure is called as another column is.
    """
    structures = list(structures)
    for name in structures:
        if name in ("mean", UNION):
            raise UserError(f"the structure {name} has the name of a column of the tables; rename it.")
    return [column for measure in MEASURES for column in measure.columns(structures)]


def measures_of_maps(maps: Maps) -> dict[str, float]:
    """Column -> value of every measure of a pair's maps alone."""
    return {
        measure.column: measure.compute(maps)
        for measure in MEASURES
        if measure.compute and not measure.by_structure
    }


def measures_of_labels(
    moving: Image, fixed: Image, transform: Transform, structures: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """Column -> value of every measure by structure; NaN where there is nothing to measure.

    Args:
        moving: Label map of the moving image, on a grid of its own.
        fixed: Label map of the fixed image, on a grid of its own.
        transform: From the fixed to the moving image.
        structures: Name -> the label values that make it up.
    """
    measures = [measure for measure in MEASURES if measure.by_structure]
    values = {column: math.nan for measure in measures for column in measure.columns(structures)}
    masked = dict(structures)
    if len(structures) > 1:
        masked[UNION] = [value for several in structures.values() for value in several]
    for name, *masks in structure_masks(moving, fixed, transform, masked):
        for measure in measures:
            if measure.compute and name in measure.parts(structures):
                values[measure.of(name)] = measure.compute(*masks, fixed.spacing)
    for measure in measures:
        values[measure.column] = mean_of_structures({name: values[measure.of(name)] for name in structures})
    return values
