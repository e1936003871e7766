"""The error of a structure's volume, a measure."""

import math

from cohortreg.evaluation import numbers
from cohortreg.evaluation.measures import Measure

VOLUME_ERROR = Measure(
    key="volume_error",
    name="Volume error",
    unit="",
    definition="difference between the volumes of a structure's warped and fixed label, as a share of the fixed one; "
    "mean over the structures",
    write=numbers.spread,
    higher_is_better=False,
    compute=lambda warped, fixed, spacing: abs(warped.sum() / fixed.sum() - 1) if fixed.any() else math.nan,
    by_structure=True,
)
