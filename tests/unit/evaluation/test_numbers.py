"""Numbers as people read them."""

import math

import pytest

from cohortreg.evaluation import numbers


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.dice(0.68294), "68.29"),
        (numbers.dice(0), "0.00"),
        (numbers.dice(math.nan), "–"),
        (numbers.count(19), "19"),
        (numbers.count(118.42), "118.4"),
        (numbers.count(12345.6), "12,346"),
        (numbers.exact(49.35), "49.35"),
        (numbers.exact(19.0), "19"),
        (numbers.exact(math.nan), "–"),
        (numbers.percent(0), "0"),
        (numbers.percent(0.0004), "< 0.001"),
        (numbers.percent(0.0116), "0.012"),
        (numbers.percent(3.456), "3.46"),
        (numbers.dice_interval(0.678, 0.6877), "[67.80, 68.77]"),
        (numbers.dice_interval(math.nan, math.nan), ""),
        (numbers.p_value(0.0004), "< 0.001"),
        (numbers.p_value(0.0449), "0.045"),
        (numbers.p_value(1), "1.000"),
        (numbers.p_value(math.nan), "–"),
        (numbers.distance(0.304), "0.30"),
        (numbers.distance(math.nan), "–"),
        (numbers.spread(0.2134), "0.213"),
        (numbers.spread(math.nan), "–"),
        (numbers.seconds(0.001), "< 0.01"),
        (numbers.seconds(0.09), "0.09"),
        (numbers.seconds(14.32), "14.3"),
        (numbers.seconds(1330), "1,330"),
        (numbers.seconds(math.nan), "–"),
        (numbers.duration(119), "119 s"),
        (numbers.duration(600), "10 min"),
        (numbers.duration(5400 * 2), "3.0 h"),
    ],
)
def test_written(written, expected):
    assert written == expected
