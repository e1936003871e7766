"""Intervals and tests over the pairs of a cohort.

Pairs that share a subject are not independent: intervals and tests are those of these pairs, not of new subjects.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, norm, wilcoxon

LEVEL = 0.95
RESAMPLES = 9999
VALUES_AT_ONCE = 2**24  # of resampled pairs in memory
# From so many values on, the mean's interval is that of the normal distribution, which the bootstrap's has come to;
# that one takes time by their square.
MANY = 5000


def mean_interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """Lower and upper end of the 95 % bootstrap interval of the mean, bias-corrected and accelerated.

    Of `MANY` values and more, mean ± 1.96 standard errors. NaN for fewer than three values and where all are equal, of
    which a resampled mean says nothing. A value that is NaN does not count.
    """
    present = np.asarray(values, dtype=float)
    present = present[~np.isnan(present)]
    if len(present) < 3 or np.ptp(present) == 0:
        return math.nan, math.nan
    if len(present) >= MANY:
        margin = norm.ppf((1 + LEVEL) / 2) * present.std(ddof=1) / math.sqrt(len(present))
        return float(present.mean() - margin), float(present.mean() + margin)
    interval = bootstrap(
        (present,),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        batch=max(1, VALUES_AT_ONCE // len(present)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def paired_p_values(values: pd.DataFrame, reference: str) -> pd.Series:
    """Whether each column differs from the reference's: two-sided Wilcoxon signed-rank test, Holm-corrected.

    Each method, a column, is compared on the pairs, rows, that it shares with the reference, of which neither is NaN.
    NaN for the reference itself and where all differences are zero.
    """
    raw = {name: _wilcoxon((values[name] - values[reference]).dropna()) for name in values}
    return pd.Series(holm(list(raw.values())), index=list(raw), dtype=float)


def _wilcoxon(differences: pd.Series) -> float:
    return float(wilcoxon(differences).pvalue) if (differences != 0).any() else math.nan


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number by Holm's step-down procedure; NaN stays NaN and is not counted.

    The k-th smallest of m is multiplied by m - k + 1, and none is less than a smaller one (Holm 1979).
    """
    raw = np.asarray(p_values, dtype=float)
    order = np.argsort(raw)[: np.count_nonzero(~np.isnan(raw))]  # NaN sorts last
    corrected = np.full(len(raw), math.nan)
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(raw[order] * factors), 1)
    return corrected.tolist()
