"""Demons by SimpleITK."""

import torch

from cohortreg.maps.grids import identity_map
from cohortreg.maps.jacobian import folds
from cohortreg.methods.affine import Affine
from cohortreg.methods.demons import Demons


def demons(threads: int = 2, **settings) -> Demons:
    return Demons(Demons.Settings(**{"iterations": [40, 20]} | settings), seed=1, threads=threads)


def test_they_find_a_known_map_in_oblique_anisotropic_voxels(known):
    """Without the affine part, so that the demons do it."""
    alone = demons(affine=False, iterations=[200, 100, 50], sigma=1)
    assert known.error(alone(known.moving, known.fixed)) < 0.5


def test_they_find_a_known_map_of_a_2d_image(flat):
    assert flat.error(demons(sigma=1)(flat.moving, flat.fixed)) < 1


def test_they_are_the_same_every_time_on_any_number_of_threads(subjects):
    first, *others = (demons(threads)(subjects.moving, subjects.fixed).forward for threads in (1, 2, 2))
    assert all(torch.equal(first, other) for other in others)


def test_they_bring_two_subjects_closer_than_the_affine_part_alone(subjects):
    affine = Affine(Affine.Settings(), 1, 1)
    after_affine = subjects.dice(affine(subjects.moving, subjects.fixed).forward)
    registration = demons(sigma=1)(subjects.moving, subjects.fixed)
    assert subjects.dice(registration.forward) > after_affine + 0.02
    assert folds(identity_map(subjects.fixed.shape) + registration.forward) < 50
    assert registration.inverse is None


def test_without_iterations_they_are_the_affine_part(known):
    affine = Affine(Affine.Settings(), 1, 1)
    expected = affine(known.moving, known.fixed).forward
    found = demons(iterations=[0])(known.moving, known.fixed).forward
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_settings_are_part_of_the_version():
    assert len({demons().version, demons(sigma=2).version, demons(affine=False).version}) == 3
