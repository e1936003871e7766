"""vSVF-opt on real hippocampi: it registers without folds, and its inverse inverts."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, zoom

from cohortreg.errors import UserError
from cohortreg.images.io import Image
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.jacobian import folds
from cohortreg.methods.identity import Identity
from cohortreg.methods.registry import read_settings
from cohortreg.methods.vsvf import VsvfOpt

GRID = (16, 20, 16)
SETTINGS = VsvfOpt.Settings(iterations=8, flow_steps=4, momentum_weight=1)


@pytest.fixture(scope="module")
def pair(hippocampus) -> list[Image]:
    images = []
    for path in sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[:2]:
        array = gaussian_filter(nibabel.load(path).get_fdata(), 1)
        array = zoom(array, np.array(GRID) / array.shape, order=1)
        array = ((array - array.min()) / np.ptp(array)).astype(np.float32)
        images.append(Image(array, np.diag([1.5, 2.0, 1.0, 1.0])))
    return images


def correlation(moving: Image, fixed: Image, displacement: torch.Tensor, part=...) -> float:
    warped = interpolate(torch.from_numpy(moving.array)[None, None], identity_map(GRID) + displacement)
    return float(np.corrcoef(warped[0, 0].numpy()[part].ravel(), fixed.array[part].ravel())[0, 1])


def test_it_goes_on_where_the_affine_map_ends_without_folds_and_the_same_each_time(pair):
    method = VsvfOpt(SETTINGS, 1, 1)
    first, again = method(*pair), method(*pair)
    assert torch.equal(first.forward, again.forward)
    assert correlation(*pair, first.forward) > correlation(*pair, method.affine(*pair).forward) + 0.02
    assert folds(identity_map(GRID) + first.forward).item() == 0


def test_it_finds_a_known_map_of_a_2d_image(flat):
    assert flat.error(VsvfOpt(SETTINGS, 1, 1)(flat.moving, flat.fixed)) < 1


def test_its_inverse_leads_back(pair):
    registration = VsvfOpt(SETTINGS, 1, 1)(*pair)
    forward, inverse = DisplacementField(registration.forward), DisplacementField(registration.inverse)
    inside = 0.35 + 0.3 * torch.rand(1, 3, 500, 1, 1, generator=torch.Generator().manual_seed(0))
    assert (forward(inside) - inside).abs().max() > 0.02
    torch.testing.assert_close(forward(inverse(inside)), inside, atol=5e-3, rtol=0)


def test_what_was_not_imaged_does_not_count(pair):
    """Where the fixed image was imaged, it fits better without the noise elsewhere: on average over draws of it."""
    moving, fixed = pair
    method = VsvfOpt(SETTINGS, 1, 1)
    method.affine = Identity(Identity.Settings(), 1, 1)
    part, found = np.s_[:, 8:], []
    for seed in range(4):
        array = fixed.array.copy()
        array[:, :8] = np.random.default_rng(seed).random(array[:, :8].shape)
        noisy = Image(array, fixed.affine)
        masked = replace(noisy, field_of_view=[[0, 16], [8, 20], [0, 16]])
        images = (masked, noisy)
        found.append([correlation(moving, fixed, method(moving, image).forward, part) for image in images])
    blind, seeing = np.mean(found, axis=0)
    assert blind > seeing + 0.002


def test_what_is_not_finite_fails_the_pair():
    """Images with NaN, and an optimisation that diverges from the first step."""
    random = np.random.default_rng(0)
    images = [Image(random.random((8, 8, 8), np.float32), np.eye(4)) for _ in range(2)]
    method = VsvfOpt(SETTINGS.model_copy(update={"momentum_weight": 1e300, "scales": [1]}), 1, 1)
    method.affine = Identity(Identity.Settings(), 1, 1)
    with pytest.raises(UserError, match="the optimisation diverged"):
        method(*images)
    images[0].array[0, 0, 0] = np.inf
    with pytest.raises(UserError, match="NaN or infinite"):
        method(*images)


def test_settings_that_do_not_fit_each_other_are_a_sentence():
    with pytest.raises(UserError, match="weights: has 5 entries, but deviations has 1"):
        read_settings("vsvf-opt", {"deviations": [0.1]}, "method_settings.vsvf-opt")
