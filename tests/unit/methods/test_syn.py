"""SyN by ANTs."""

import pytest
import torch

from cohortreg.maps.fields import DisplacementField
from cohortreg.methods.interface import Registration
from cohortreg.methods.syn import Syn

pytest.importorskip("ants", reason="ANTsPy is not installed; make baselines installs it")


def syn(**settings) -> Syn:
    return Syn(Syn.Settings(**{"iterations": [20, 2], "radius": 2} | settings), seed=1, threads=1)


def test_it_finds_a_known_map_in_oblique_anisotropic_voxels(known):
    assert known.error(syn()(known.moving, known.fixed)) < 0.3


def test_it_finds_a_known_map_of_a_2d_image(flat):
    assert flat.error(syn()(flat.moving, flat.fixed)) < 1


@pytest.fixture(scope="module")
def twice(subjects) -> list[Registration]:
    """One pair, registered by two methods of the same settings, one after the other."""
    return [syn()(subjects.moving, subjects.fixed) for _ in range(2)]


def test_it_brings_two_subjects_closer(twice, subjects):
    assert subjects.gain(twice[0]) > 0.08


def test_its_inverse_leads_back(twice):
    forward, inverse = DisplacementField(twice[0].forward), DisplacementField(twice[0].inverse)
    inside = 0.35 + 0.3 * torch.rand(1, 3, 500, 1, 1)
    assert (forward(inside) - inside).abs().max() > 0.02
    torch.testing.assert_close(forward(inverse(inside)), inside, atol=5e-3, rtol=0)


def test_it_is_the_same_every_time(twice):
    first, second = twice
    assert torch.equal(first.forward, second.forward)
    assert torch.equal(first.inverse, second.inverse)


def test_settings_are_part_of_the_version():
    assert len({syn().version, syn(radius=3).version}) == 2
