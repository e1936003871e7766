"""Affine registration by SimpleITK."""

import numpy as np
import pytest
import torch

from cohortreg.errors import UserError
from cohortreg.images.io import Image
from cohortreg.maps.fields import DisplacementField
from cohortreg.methods.affine import Affine
from cohortreg.methods.identity import Identity


def affine(**settings) -> Affine:
    return Affine(Affine.Settings(**settings), seed=1, threads=2)


def test_it_finds_a_known_map_in_oblique_anisotropic_voxels(known):
    assert known.error(affine()(known.moving, known.fixed)) < 0.2


def test_it_finds_a_known_map_of_a_2d_image(flat):
    assert (
        flat.error(affine()(flat.moving, flat.fixed))
        < 0.3
        < flat.error(Identity(Identity.Settings(), 1, 1)(flat.moving, flat.fixed))
    )


def test_its_inverse_leads_back(known):
    registration = affine()(known.moving, known.fixed)
    forward, inverse = DisplacementField(registration.forward), DisplacementField(registration.inverse)
    inside = 0.35 + 0.3 * torch.rand(1, 3, 500, 1, 1)
    torch.testing.assert_close(forward(inverse(inside)), inside, atol=1e-5, rtol=0)


def test_it_is_the_same_every_time(known):
    first, *others = (affine()(known.moving, known.fixed).forward for _ in range(3))
    assert all(torch.equal(first, other) for other in others)


def test_it_brings_two_subjects_closer(subjects):
    assert subjects.gain(affine()(subjects.moving, subjects.fixed)) > 0.05


def test_settings_and_seed_are_part_of_the_version():
    defaults = affine().settings
    versions = {affine().version, affine(bins=20).version, Affine(defaults, seed=2, threads=2).version}
    assert len(versions) == 3
    assert Affine(defaults, seed=1, threads=1).version == affine().version


def test_what_itk_cannot_register_ends_in_one_sentence(known):
    empty = Image(np.zeros_like(known.fixed.array), known.fixed.affine)
    with pytest.raises(UserError, match="SimpleITK found no affine map: ") as caught:
        affine()(empty, empty)
    assert "\n" not in str(caught.value)
