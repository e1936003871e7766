"""The measures as a whole: what every entry must keep to."""

import math
import re
from importlib import resources
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

from cohortreg.errors import UserError
from cohortreg.evaluation import numbers
from cohortreg.evaluation.measures import (
    BY_KEY,
    MEASURES,
    OTHERS,
    UNION,
    Maps,
    columns,
    in_captions,
    measures_of_maps,
    measures_with,
)
from cohortreg.images.grid import Grid
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import Transform

#: The identity, on a grid of its own.
STAYING = Transform(np.zeros((3, 5, 6, 7), np.float32), Grid((5, 6, 7), np.diag([2.0, 1.0, 3.0, 1.0])))
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
    of_maps = [measure for measure in MEASURES if measure.compute and not measure.by_structure]
    values = {measure.key: measure.compute(Maps(STAYING, STAYING, STAYING.grid)) for measure in of_maps}
    assert values == pytest.approx(dict.fromkeys(values, 0), abs=1e-6)
    assert math.isnan(BY_KEY["inverse_consistency_voxels"].compute(Maps(STAYING, None, STAYING.grid)))


def test_maps_are_also_tensors_in_unit_coordinates():
    there = Maps(STAYING, STAYING, STAYING.grid)
    for phi in (there.forward, there.inverse):
        torch.testing.assert_close(phi, identity_map((5, 6, 7), dtype=torch.float64))
    assert Maps(STAYING, None, STAYING.grid).inverse is None


#: Of another package: one that fits, and others that do not, each with what is said of it.
ODD = """
from dataclasses import replace
from cohortreg.evaluation.measures import BY_KEY
fits = replace(BY_KEY["hd95"], key="fits", compute=lambda warped, fixed, spacing: 1)
raises = replace(BY_KEY["folds"], key="raises", compute=lambda maps: 1 / 0)
other_key = fits
dice_x = replace(fits, key="dice_x")
pairs = replace(fits, key="pairs", by_structure=False)
own_format = replace(fits, key="own_format", write=str)
recorded = replace(fits, key="recorded", compute=None)
beside = replace(fits, key="beside", beside="folds")
Capital = replace(fits, key="Capital")
"""
MISFITS = {
    "other_key": "has the key 'fits', which has to be its name",
    "dice_x": "has columns that the tables have already",
    "pairs": "has columns that the tables have already",
    "own_format": "is written by no function of cohortreg.evaluation.numbers",
    "recorded": "computes nothing",
    "beside": "shares the cell of folds, as no other package's can",
    "Capital": "is not called by small letters, digits and underscores",
}


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """Measures of another package; their names."""
    (tmp_path / "odd_measures.py").write_text(ODD)
    monkeypatch.syspath_prepend(tmp_path)
    points = {
        name: EntryPoint(name, f"odd_measures:{name}", OTHERS.group) for name in ("fits", "raises", *MISFITS)
    }
    monkeypatch.setattr(OTHERS, "others", points)
    return list(points)


def test_a_measure_of_another_package_comes_behind_the_others(odd):
    measures = measures_with(["fits"])
    assert [measure.key for measure in measures] == [*BY_KEY, "fits"]
    assert columns(["core", "rim"], measures)[-3:] == ["fits_mean", "fits_core", "fits_rim"]
    assert measures_with([]) == list(MEASURES)


@pytest.mark.parametrize("name", MISFITS)
def test_one_that_does_not_fit_the_tables_is_refused(odd, name):
    with pytest.raises(UserError, match=f"^measures: {name} of a package {re.escape(MISFITS[name])}; update"):
        measures_with([name])


def test_one_that_is_not_installed_is_refused(odd):
    known = ", ".join(sorted(odd))
    with pytest.raises(UserError, match=f"no package that is installed offers 'fit'; there are: {known}"):
        measures_with(["fit"])


def test_one_that_raises_is_a_sentence(odd):
    with pytest.raises(
        UserError, match=r"^the measure raises of a package failed \(ZeroDivisionError: division"
    ):
        measures_of_maps(Maps(STAYING, None, STAYING.grid), measures_with(["raises"]))


def test_captions_name_columns(odd):
    (fits,) = measures_with(["fits"])[len(MEASURES) :]
    assert in_captions([fits], of_pairs=True).startswith("``fits_mean``: 95 % Hausdorff distance between")
    assert in_captions([BY_KEY["folds"]], of_pairs=False).startswith("``folds_mean``: voxels of")
