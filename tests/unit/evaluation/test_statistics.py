"""Intervals and tests, against cases worked out by hand."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest

from cohortreg.evaluation import statistics
from cohortreg.evaluation.statistics import MANY, holm, mean_interval, paired_p_values

NAN = math.nan


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_the_interval_of_many_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(3).normal(0.7, 0.1, 400)
    low, high = mean_interval(values, seed=1)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_where_the_bootstrap_ends_its_interval_goes_on():
    """Of folds, whose distribution is skewed: the ends differ by less than their own scatter between seeds."""
    folds = np.random.default_rng(3).exponential(100, MANY)
    (low, high), (before, after) = mean_interval(folds, seed=1), mean_interval(folds[:-1], seed=1)
    half = (high - low) / 2
    assert half == pytest.approx(1.95996 * folds.std(ddof=1) / math.sqrt(MANY), rel=1e-5)
    assert abs(low - before) < 0.05 * half and abs(high - after) < 0.05 * half


def test_the_interval_of_a_skewed_measure_reaches_further_up():
    folds = [0] * 15 + [1, 2, 5, 40, 200]
    low, high = mean_interval(folds, seed=1)
    assert 0 <= low < 12.4 < high
    assert high - 12.4 > 12.4 - low


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.7], [NAN, 0.5, 0.7, NAN], [0.7] * 50, [NAN] * 3])
def test_where_there_is_no_interval(values):
    assert all(math.isnan(end) for end in mean_interval(values, seed=1))


def test_missing_values_do_not_count():
    assert mean_interval([0.1, NAN, 0.4, 0.2, NAN], seed=1) == mean_interval([0.1, 0.4, 0.2], seed=1)


def test_an_interval_follows_from_the_seed_and_not_from_the_memory_it_is_given(monkeypatch):
    values = np.random.default_rng(3).exponential(1, 30)
    first = mean_interval(values, seed=1)
    assert first == mean_interval(values, seed=1)
    assert first != mean_interval(values, seed=2)
    monkeypatch.setattr(statistics, "VALUES_AT_ONCE", 1000)
    assert first == pytest.approx(mean_interval(values, seed=1), rel=0.05)


def test_holm_multiplies_the_smallest_by_their_number_and_the_next_by_one_less():
    # Holm's own scheme: 0.01 x 4, 0.015 x 3, 0.02 x 2 raised to 0.045, 0.4 x 1.
    assert holm([0.02, 0.4, 0.01, 0.015]) == pytest.approx([0.045, 0.4, 0.04, 0.045])


def test_holm_leaves_out_what_was_not_tested_and_ends_at_one():
    corrected = holm([NAN, 0.6, 0.02, 0.7])
    assert math.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([1, 0.06, 1])
    assert holm([]) == []


def test_a_row_that_is_better_on_every_pair():
    # Six pairs, all in one direction: of 2^6 signs two are as extreme. Two rows are tested, so times two.
    reference = np.array([0.50, 0.52, 0.55, 0.61, 0.48, 0.57])
    better = reference + np.arange(1, 7) / 100
    values = pd.DataFrame(
        {"better": better, "reference": reference, "same": reference, "worse": reference - 0.2}
    )
    values["worse"] -= np.arange(6) / 100
    p = paired_p_values(values, "reference")
    assert p.index.tolist() == ["better", "reference", "same", "worse"]
    assert p["better"] == p["worse"] == pytest.approx(2 * 2 / 64)
    assert math.isnan(p["reference"])
    assert math.isnan(p["same"])


def test_only_pairs_that_both_have_are_compared():
    # Of five pairs three are shared, all in one direction: 2 of 2^3 signs.
    values = pd.DataFrame(
        {"row": [0.9, 0.8, 0.75, NAN, 0.3], "reference": [0.5, 0.6, 0.7, 0.2, NAN], "none": [NAN] * 5}
    )
    p = paired_p_values(values, "reference")
    assert p["row"] == pytest.approx(0.25)
    assert math.isnan(p["none"])


def test_one_pair_and_ties_say_nothing_on_the_way():
    values = pd.DataFrame({"row": [0.9], "reference": [0.5]})
    assert paired_p_values(values, "reference")["row"] == 1
    tied = pd.DataFrame({"row": [0.9, 0.9, 0.5, 0.7], "reference": [0.5, 0.5, 0.5, 0.6]})
    assert 0 < paired_p_values(tied, "reference")["row"] <= 1
