"""Affine registration, of known maps and of two subjects."""

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


def test_two_threads_find_what_one_does(known):
    maps, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            maps.append(affine()(known.moving, known.fixed).forward)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*maps)


@pytest.mark.parametrize("size", [(4, 4, 4), (2, 3, 9), (40, 6, 6), (5, 7)])
def test_few_and_anisotropic_voxels_are_enough(size):
    """A Gaussian, and the same one a little aside."""
    spacing = np.linspace(0.5, 2, len(size))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1)
    away = (index - (np.array(size) - 1) / 2) / (np.array(size) / 4)
    images = [
        Image(np.exp(-((away - shift) ** 2).sum(-1)).astype(np.float32), np.diag([*spacing, 1]))
        for shift in (0, 0.2)
    ]
    registration = affine()(*images)
    assert registration.forward.isfinite().all() and registration.inverse.isfinite().all()


def test_an_image_and_itself_stay_where_they_are(known):
    assert affine()(known.fixed, known.fixed).forward.abs().max() < 2e-3


def test_it_leaves_no_small_overlap(known):
    """Few values have much in common by chance, however little is known of them."""
    generator = np.random.default_rng(1)
    noise = [Image(generator.random((12, 14, 10)).astype(np.float32), np.eye(4)) for _ in range(2)]
    assert affine()(*noise).forward.abs().mean() < 0.25


@pytest.mark.parametrize("wrong", [0, np.nan, np.inf])
def test_what_cannot_be_registered_ends_in_one_sentence(known, wrong):
    array = np.zeros_like(known.fixed.array)
    array[3:5] = wrong
    with pytest.raises(UserError, match="no affine map is found") as caught:
        affine()(Image(array, known.fixed.affine), known.fixed)
    assert "\n" not in str(caught.value)
