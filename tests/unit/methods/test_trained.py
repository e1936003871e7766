"""Registration with a trained model, and with one that is fitted to each pair."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import typed
from scipy.ndimage import gaussian_filter, shift
from typed import build_registration

from cohortreg.config import Optimisation
from cohortreg.errors import UserError
from cohortreg.files import write_json
from cohortreg.images.io import Image
from cohortreg.learning import weights
from cohortreg.learning.devices import Device
from cohortreg.maps.axes import Axes
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.methods.registry import recipe
from cohortreg.methods.trained import Trained, weights_by_stage
from cohortreg.model_files import CARD, WEIGHTS

GRID = [12, 16, 14]
CARD_OF_TWO_STEPS = {
    "model": "icon",
    "network": {"architecture": "unet", "down": [2, 8, 8], "up": [8, 8]},
    "stages": [{"steps": 2, "downsample": 1, "stride": 1, "window": 2}],
    "grid": GRID,
    "similarity": "mse",
    "regularity": "icon",
    "noise": 0,
    "final_weight": 1.0,
}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    registration, _ = build_registration(CARD_OF_TWO_STEPS["network"], CARD_OF_TWO_STEPS["stages"], GRID)
    weights.save(tmp_path / WEIGHTS, registration.state_dict())
    write_json(tmp_path / CARD, CARD_OF_TWO_STEPS)
    return tmp_path


def image(seed: int) -> Image:
    array = gaussian_filter(np.random.default_rng(seed).random(GRID, np.float32), 2)
    array = (array - array.min()) / (array.max() - array.min())
    return Image(array, np.eye(4))


def difference(registration, moving: Image, fixed: Image, part=...) -> float:
    phi = identity_map(GRID) + registration.forward
    warped = interpolate(torch.from_numpy(moving.array)[None, None], phi)[0, 0].numpy()
    return float(np.mean((warped - fixed.array)[part] ** 2))


def device(precision: str = "32-true") -> Device:
    return Device("cpu", precision)


def test_fitting_to_a_pair_brings_it_closer(folder):
    moving = image(0)
    fixed = Image(shift(moving.array, (1, -1, 0.5), order=1, mode="nearest"), moving.affine)
    plain = Trained(folder, device())(moving, fixed)
    fitted = Trained(folder, device(), Optimisation(steps=300, learning_rate=1e-3))(moving, fixed)
    assert not plain.forward.any()  # a network that was not trained yet
    assert difference(fitted, moving, fixed) < 0.5 * difference(plain, moving, fixed)


def test_a_pair_is_fitted_the_same_whatever_came_before(folder):
    method = Trained(folder, device(), Optimisation(steps=3, learning_rate=1e-2))
    before = {name: tensor.clone() for name, tensor in method.registration.state_dict().items()}
    first = method(image(0), image(1)).forward
    method(image(2), image(3))
    assert torch.equal(method(image(0), image(1)).forward, first)
    assert first.any()
    for name, tensor in method.registration.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_what_was_not_imaged_does_not_count_when_fitting(folder):
    method = Trained(folder, device(), Optimisation(steps=100, learning_rate=1e-3))
    moving = image(0)
    imaged = [[0, size - 4 * (axis == 2)] for axis, size in enumerate(GRID)]
    array = shift(moving.array, (1, -1, 0.5), order=1, mode="nearest")
    array[..., 10:] = 1 - array[..., 10:]
    fixed = Image(array, moving.affine)
    all_counts = method(moving, fixed)
    moving, fixed = (replace(one, field_of_view=imaged) for one in (moving, fixed))
    # Without what was not imaged, the rest fits better.
    part = np.s_[..., :9]
    assert difference(method(moving, fixed), moving, fixed, part) < 0.8 * difference(
        all_counts, moving, fixed, part
    )


@pytest.mark.parametrize("optimisation", [None, Optimisation(steps=2, learning_rate=1e-3)])
def test_a_model_of_other_axes_sees_images_as_it_learnt_them(folder, tmp_path, optimisation):
    """Of images whose axes run right, anterior, superior the map is that of the turned ones, turned back."""
    turned = tmp_path / "turned"
    weights.save(turned / WEIGHTS, weights.load(folder / WEIGHTS)[0])
    write_json(turned / CARD, CARD_OF_TWO_STEPS | {"axes": "ILP"})
    axes = Axes("ILP")
    pair = [replace(image(seed), field_of_view=[[2, 12], [0, 16], [0, 13]]) for seed in (0, 1)]
    ours = [
        Image(
            np.ascontiguousarray(np.flip(each.array, (0, 1, 2)).transpose(1, 2, 0)),  # along R, A, S again
            each.affine,
            [[0, 16], [1, 14], [0, 10]],
        )
        for each in pair
    ]
    assert axes.ours(GRID) == ours[0].shape
    expected = Trained(folder, device(), optimisation)(*pair)
    found = Trained(turned, device(), optimisation)(*ours)
    torch.testing.assert_close(found.forward, axes.from_model(expected.forward))
    torch.testing.assert_close(found.inverse, axes.from_model(expected.inverse))
    assert Trained(turned, device()).version != Trained(folder, device()).version


def test_what_fits_to_a_pair_is_part_of_the_version(folder):
    fewer, more = (
        Trained(folder, device(), Optimisation(steps=n, learning_rate=1e-2)).version for n in (3, 4)
    )
    assert len({fewer, more, Trained(folder, device()).version}) == 3


def test_precision_is_part_of_the_version(folder):
    assert Trained(folder, device()).version != Trained(folder, device("bf16-mixed")).version


def test_a_field_that_is_not_finite_fails_the_pair(folder):
    tensors, _ = weights.load(folder / WEIGHTS)
    last = {name: tensor * torch.nan for name, tensor in tensors.items() if ".last." in name}
    weights.save(folder / WEIGHTS, tensors | last)
    with pytest.raises(UserError, match="not finite"):
        Trained(folder, device())(image(0), image(1))


@pytest.mark.parametrize("learning_rate", [1e38, 1e10])
def test_instance_optimisation_that_diverges_fails_the_pair(folder, learning_rate):
    method = Trained(folder, device(), Optimisation(steps=4, learning_rate=learning_rate))
    with pytest.raises(UserError):
        method(image(0), image(1))


@pytest.mark.parametrize("optimisation", [None, Optimisation(steps=2, learning_rate=1e-3)])
def test_an_image_with_nan_fails_the_pair(folder, optimisation):
    spoilt = image(0)
    spoilt.array[3, 3, 3] = np.nan
    with pytest.raises(UserError, match="an image has NaN or infinite values"):
        Trained(folder, device(), optimisation)(spoilt, image(1))


STAGE = {"training_steps": 1, "batch_size": 1, "learning_rate": 1e-3, "schedule": "cosine"}
STAGE |= {"weight": 1, "weight_increment": 0, "fold_threshold": 0}
STAGED = {
    "icon": {
        "network": {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]},
        "similarity": "mse",
        "stages": [STAGE | {"steps": steps, "downsample": 2 // steps, "stride": 1, "window": 2} for steps in (1, 2, 2)],
    },
    "avsm": {
        "method": "avsm",
        "settings": {"affine_channels": [4], "down": [2, 4, 4], "up": [4]},
        "stages": [STAGE | {"steps": 2}] * 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", STAGED)
def test_a_models_weights_have_those_of_every_stage_before(name, tmp_path):
    """Each is what the stage's registration holds, inside of the whole."""
    model = typed.model(STAGED[name])
    learns = recipe(model.method)
    torch.manual_seed(0)
    registration, _ = learns.build(model, [8, 8, 8])
    weights.save(tmp_path / WEIGHTS, registration.state_dict())
    write_json(tmp_path / CARD, model.plain() | {"grid": [8, 8, 8]})
    found = weights_by_stage(tmp_path)
    assert list(found) == list(range(len(model.stages), 0, -1))
    images = torch.rand(2, 1, 1, 8, 8, 8).unbind()
    for stage, tensors in found.items():
        own, before = learns.build(model.up_to(stage), [8, 8, 8])
        weights.load_into(own, tensors, tmp_path)
        if before is not None:
            earlier, _ = learns.build(model.up_to(stage - 1), [8, 8, 8])
            weights.load_into(earlier, found[stage - 1], tmp_path)
            maps = [part.eval()(*images).on_grid((8, 8, 8)) for part in (before, earlier)]
            torch.testing.assert_close(*maps, atol=0, rtol=0)
