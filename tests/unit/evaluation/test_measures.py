"""The measures as a whole: what every entry must keep to."""

import math
import re
from importlib import resources

import pytest
import torch

from cohortreg.errors import UserError
from cohortreg.evaluation import numbers
from cohortreg.evaluation.measures import BY_KEY, MEASURES, UNION, Maps, columns
from cohortreg.maps.grids import identity_map

SCRIPTS = resources.files("cohortreg") / "report" / "static"


def test_columns_are_by_structure_where_the_measure_is():
    assert BY_KEY["dice"].columns(["core", "rim"]) == ["dice_mean", "dice_core", "dice_rim", "dice_union"]
    assert BY_KEY["dice"].columns(["core"]) == ["dice_mean", "dice_core"]
    assert BY_KEY["hd95"].columns(["core", "rim"]) == ["hd95_mean", "hd95_core", "hd95_rim"]
    assert BY_KEY["folds"].columns(["core", "rim"]) == ["folds"]
    assert (BY_KEY["hd95"].mean, BY_KEY["folds"].mean) == ("hd95_mean", "folds_mean")


def test_no_column_belongs_to_two_measures():
    named = columns(["core", "rim"])
    assert len(set(named)) == len(named)
    starts = [measure.of("") for measure in MEASURES if measure.by_structure]
    for measure in MEASURES:
        assert not [start for start in starts if measure.key.startswith(start)]


@pytest.mark.parametrize("name", ["mean", UNION])
def test_a_structure_may_not_be_called_as_a_column_is(name):
    with pytest.raises(UserError, match=f"the structure {name} has the name of a column of the tables"):
        columns(["core", name])


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.key)
def test_every_entry_can_be_shown(measure):
    assert measure.write(math.nan) == numbers.MISSING
    # The page's scripts write its values in the same way.
    scripts = (SCRIPTS / "numbers.js").read_text("utf-8")
    assert re.search(rf"^    {measure.write.__name__}:", scripts, re.MULTILINE)
    assert not measure.definition.endswith(".")
    assert not measure.beside or measure.beside in BY_KEY


def test_the_measures_of_maps_on_the_identity():
    phi = identity_map((5, 6, 7), dtype=torch.float64)
    of_maps = [measure for measure in MEASURES if measure.compute and not measure.by_structure]
    values = {measure.key: measure.compute(Maps(phi, phi)) for measure in of_maps}
    assert values == pytest.approx(dict.fromkeys(values, 0), abs=1e-6)
    assert math.isnan(BY_KEY["inverse_consistency_voxels"].compute(Maps(phi, None)))
