"""Number formats, the same in every table, figure and sentence."""

import math

MISSING = "–"


def dice(value: float) -> str:
    """Dice in percent with two decimals, as in Table 2 of Greer et al. 2021."""
    return MISSING if math.isnan(value) else f"{100 * value:.2f}"


def dice_interval(low: float, high: float) -> str:
    """The interval of a Dice in percent, [67.80, 68.77]; empty where there is none."""
    return "" if math.isnan(low) else f"[{dice(low)}, {dice(high)}]"


def p_value(value: float) -> str:
    """A p value with three decimals."""
    if math.isnan(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float) -> str:
    """A mean count: one decimal, none from a thousand on, and a whole number as it is."""
    if math.isnan(value):
        return MISSING
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.1f}"


def exact(value: float) -> str:
    """A number with the digits that it was published with."""
    return MISSING if math.isnan(value) else f"{value:,.9g}"


def percent(value: float) -> str:
    """A small percentage: three decimals below one percent, so that 0.000 is less than one in 100,000."""
    if math.isnan(value):
        return MISSING
    if value == 0:
        return "0"
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def distance(value: float) -> str:
    """A distance in voxels or millimetres, with two decimals."""
    return MISSING if math.isnan(value) else f"{value:.2f}"


def spread(value: float) -> str:
    """The standard deviation of the logarithm of the Jacobian determinant, with three decimals."""
    return MISSING if math.isnan(value) else f"{value:.3f}"


def seconds(value: float) -> str:
    """A duration in seconds, to about three digits."""
    if math.isnan(value):
        return MISSING
    if value < 0.005:
        return "< 0.01"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def duration(value: float) -> str:
    """A long duration in words: seconds below two minutes, minutes below two hours, then hours."""
    if math.isnan(value):
        return MISSING
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
