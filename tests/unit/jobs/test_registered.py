"""Transforms of results, in the form of this version and of earlier ones."""

import numpy as np
import pytest
from earlier import FIELD, FILE, write_before

from cohortreg.errors import UserError
from cohortreg.files import write_json
from cohortreg.jobs.comparison import OnDisk
from cohortreg.jobs.registered import read_registered, seals, transform_path
from cohortreg.layout import Layout
from cohortreg.maps.coded import write_coded
from cohortreg.maps.transforms import Transform

PAIR = ("affine", "a", "b")


@pytest.fixture
def earlier(tmp_path) -> Layout:
    """A pair as an earlier version registered it, without an inverse."""
    layout = Layout(tmp_path)
    path = layout.before(layout.forward(*PAIR))
    path.parent.mkdir(parents=True)
    path.write_bytes(FILE)
    write_json(layout.registration_record(*PAIR), {"seals": seals(layout, *PAIR)})
    return layout


def test_a_transform_of_an_earlier_version_is_the_pairs(earlier):
    assert transform_path(earlier, *PAIR) == earlier.root / "transforms/affine/forward/a/b.nii"
    np.testing.assert_array_equal(read_registered(earlier, *PAIR).displacement, FIELD.displacement)
    assert OnDisk(earlier).has_transform(*PAIR)
    assert transform_path(earlier, *PAIR, "inverse") == earlier.inverse(*PAIR)
    assert list(seals(earlier, *PAIR)) == ["forward"]


def test_one_that_is_not_the_recorded_one_is_refused_with_its_own_name(earlier):
    path = transform_path(earlier, *PAIR)
    write_before(path, Transform(2 * FIELD.displacement, FIELD.grid))
    with pytest.raises(UserError, match=r"a/b\.nii is not the field that registration wrote.*delete"):
        read_registered(earlier, *PAIR)
    path.write_bytes(FILE[:-30])
    with pytest.raises(UserError, match=r"a/b\.nii is cut short"):
        read_registered(earlier, *PAIR)


def test_where_both_are_there_this_versions_counts(earlier):
    moved = Transform(FIELD.displacement**2, FIELD.grid)
    write_coded(earlier.forward(*PAIR), moved)
    with pytest.raises(UserError, match=r"a/b\.map\.gz is not the field that registration wrote"):
        read_registered(earlier, *PAIR)
    write_json(earlier.registration_record(*PAIR), {"seals": seals(earlier, *PAIR)})
    np.testing.assert_allclose(read_registered(earlier, *PAIR).displacement, moved.displacement, atol=0.02)
