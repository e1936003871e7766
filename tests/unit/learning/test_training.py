"""Training: what a step sees, the rising weight, checkpoints, and going on where a training stopped."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric

from cohortreg.errors import UserError
from cohortreg.icon.losses import StageObjective
from cohortreg.icon.stages import build_registration
from cohortreg.learning import weights
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import TrainingImages, draw_pairs, pack
from cohortreg.learning.fabric import make_fabric
from cohortreg.learning.training import HISTORY, learning_rate, rise, train, training_step

SETTINGS = {
    "steps": 1,
    "downsample": 1,
    "training_steps": 7,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "weight": 5.0,
    "weight_increment": 0.5,
    "fold_threshold": 0.0,
    "stride": 1,
}
NETWORK = {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]}


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    arrays = {
        f"image-{n}": (random.random((8, 10, 6), np.float32), [[n, 8], [0, 10], [0, 6 - n]]) for n in range(4)
    }
    pack(list(arrays), arrays.__getitem__, tmp_path / "images.npy", tmp_path / "images.json")
    return TrainingImages(tmp_path / "images.npy", tmp_path / "images.json", torch.device("cpu"))


def objective(scale=0.0):
    """A small stage; with a scale, one whose first maps fold."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        registration, before = build_registration(NETWORK, [SETTINGS], (8, 10, 6))
        torch.nn.init.normal_(registration.network.last.weight, std=scale)
    return StageObjective(registration, before, 1)


def fabric():
    return Fabric(accelerator="cpu", devices=1, precision="32-true")


def run(images, folder, settings=SETTINGS, every=3, scale=0.0, progress=lambda state: None):
    module = objective(scale)
    state = train(module, images, settings, 1, fabric(), folder, every, progress)
    return module.registration.state_dict(), state


def test_packed_images_come_back_to_half_precision(tmp_path, images):
    assert len(images) == 4
    batch = images.batch(np.array([3, 0]))
    assert batch.shape == (2, 1, 8, 10, 6)
    assert batch.dtype == torch.float32
    expected = np.random.default_rng(0).random((8, 10, 6), np.float32)
    np.testing.assert_allclose(batch[1, 0], expected, atol=2**-12)
    assert images.field_of_view(np.array([3, 0])).tolist() == [
        [[3, 0, 0], [8, 10, 3]],
        [[0, 0, 0], [8, 10, 6]],
    ]


def test_a_training_takes_the_steps_of_adam(tmp_path, images):
    trained, _ = run(images, tmp_path / "checkpoints", scale=0.1)
    module = objective(0.1)
    optimizer = torch.optim.Adam(module.parameters(), fused=False, foreach=False)
    state = TrainingState(0, SETTINGS["weight"])
    fabricated = fabric().setup_module(module)
    for step in range(SETTINGS["training_steps"]):
        state.step = step
        folds = training_step(fabric(), fabricated, optimizer, images, SETTINGS, 1, state)[-1]
        state.weight += SETTINGS["weight_increment"] * (folds > SETTINGS["fold_threshold"])
    for name, tensor in module.registration.state_dict().items():
        # A bias before a batch normalisation has no gradient but rounding errors, of which Adam makes steps all the
        # same, together up to 4e-3.
        rounded = name.endswith(("bias", "running_mean"))
        torch.testing.assert_close(trained[name], tensor, rtol=1e-3, atol=4e-4 if rounded else 1e-5)


def test_a_stage_at_full_resolution_trains_in_mixed_precision(tmp_path, images):
    """Its images are not averaged first, so that what precision does to inputs reaches the maps."""
    state = train(objective(), images, SETTINGS, 1, make_fabric("cpu", "bf16-mixed"), tmp_path, 3)
    assert state.step == SETTINGS["training_steps"]


def test_no_training_images_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no training images"):
        pack([], dict().__getitem__, tmp_path / "a/b/images.npy", tmp_path / "a/b/images.json")


@given(st.integers(2, 500), st.integers(1, 32), st.integers(0, 10**6), st.integers(0, 10**6))
def test_pairs_follow_from_seed_and_step_and_never_join_an_image_with_itself(n, pairs, seed, step):
    first, second = draw_pairs(n, pairs, seed, step)
    assert (first != second).all()
    assert 0 <= min(first.min(), second.min()) <= max(first.max(), second.max()) < n
    again = draw_pairs(n, pairs, seed, step)
    assert (first == again[0]).all() and (second == again[1]).all()


def test_cosine_warms_up_and_ends_near_zero():
    settings = {"learning_rate": 1.0, "schedule": "cosine", "training_steps": 100}
    assert learning_rate(settings, 0) == pytest.approx(1 / 20)
    assert learning_rate(settings, 50) == pytest.approx(0.5)
    assert learning_rate(settings, 99) < 1e-3
    assert learning_rate(settings | {"schedule": "constant"}, 99) == 1.0


def test_weight_rises_by_its_increment_after_each_step_that_folds(images, tmp_path):
    """Random maps fold at every step: with a threshold of none the weight rises 7 times, with a high one never."""
    _, state = run(images, tmp_path / "a", scale=2.0)
    folds, used = (np.array(state.history)[:, HISTORY.index(name)] for name in ("folds", "weight"))
    assert (folds > 0).all()
    np.testing.assert_allclose(used, 5 + 0.5 * np.arange(7))
    assert state.weight == pytest.approx(5 + 0.5 * 7)
    _, state = run(images, tmp_path / "b", SETTINGS | {"fold_threshold": 1e6}, scale=2.0)
    assert state.weight == 5


def test_weight_rises_over_a_part_of_the_steps_by_the_same_factor_each(images, tmp_path):
    settings = {"training_steps": 10, "weight": 32, "weight_from": 2, "weight_rise": 0.4}
    assert [rise(settings, step) for step in range(10)] == pytest.approx(
        [1 / 16, 1 / 8, 1 / 4, 1 / 2] + [1] * 6
    )
    assert rise({"training_steps": 10, "weight": 32}, 0) == 1
    settings = SETTINGS | {
        "training_steps": 5,
        "weight_from": 5 / 16,
        "weight_rise": 0.8,
        "fold_threshold": 1e6,
    }
    _, state = run(images, tmp_path, settings)
    used = np.array(state.history)[:, HISTORY.index("weight")]
    np.testing.assert_allclose(used, 5 * 2.0 ** np.array([-4, -3, -2, -1, 0]))
    assert state.weight == 5


@pytest.mark.parametrize("weight", [0, 2, 8])
def test_weight_does_not_rise_from_more_than_it_is(weight):
    settings = {"training_steps": 10, "weight": weight, "weight_from": 8, "weight_rise": 0.5}
    assert [rise(settings, step) for step in range(10)] == [1] * 10


def test_loss_is_similarity_plus_weighted_inverse_consistency(images, tmp_path):
    _, state = run(images, tmp_path, scale=1.0)
    for row in state.history:
        terms = dict(zip(HISTORY, row, strict=True))
        total = terms["similarity"] + terms["weight"] * terms["inverse_consistency"]
        assert terms["loss"] == pytest.approx(total, rel=1e-6)


class StoppedError(Exception):
    """Stands for whatever ends a training early."""


def test_a_stopped_training_goes_on_to_the_same_weights(images, tmp_path):
    whole, whole_state = run(images, tmp_path / "whole")

    def stop(state):
        if state.step == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(images, tmp_path / "stopped", progress=stop)
    steps = []
    resumed, state = run(images, tmp_path / "stopped", progress=lambda state: steps.append(state.step))
    assert steps[0] == 3  # the checkpoint before the stop
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    numbers = slice(0, HISTORY.index("steps_per_second"))
    assert [row[numbers] for row in state.history] == [row[numbers] for row in whole_state.history]


def test_the_last_two_checkpoints_are_kept(images, tmp_path):
    run(images, tmp_path, every=2)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "step-00000006.safetensors",
        "step-00000007.safetensors",
    ]


def test_training_lowers_the_loss(images, tmp_path):
    settings = SETTINGS | {"training_steps": 60, "learning_rate": 5e-3, "fold_threshold": 1e6}
    _, state = run(images, tmp_path, settings, every=100)
    similarity = np.array(state.history)[:, HISTORY.index("similarity")]
    assert similarity[-10:].mean() < 0.9 * similarity[:10].mean()


def test_a_loss_that_is_not_finite_ends_training_before_it_spoils_a_checkpoint(images, tmp_path):
    settings = SETTINGS | {"learning_rate": 1e30, "schedule": "constant"}
    with pytest.raises(UserError, match=r"training diverged at step [2-7], .* lower its learning_rate"):
        run(images, tmp_path, settings, every=1)
    for path in tmp_path.glob("*.safetensors"):
        history = weights.load(path)[0]["history"]
        assert history.isfinite().all()


def test_weights_of_another_network_are_refused_with_the_first_name(tmp_path):
    path = tmp_path / "weights.safetensors"
    module = torch.nn.Linear(3, 2)
    weights.save(path, {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)})
    with pytest.raises(UserError, match=r"weight is \[2, 4\], the network needs \[2, 3\]"):
        weights.load_into(module, weights.load(path)[0], path)
    with pytest.raises(UserError, match="bias is missing"):
        weights.load_into(module, {"weight": torch.zeros(2, 3)}, path)
    with pytest.raises(UserError, match="extra is not a part of the network"):
        weights.load_into(
            module, {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)}, path
        )


def test_a_weights_file_cut_short_or_missing_is_a_sentence(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(UserError, match="no such weights"):
        weights.load(path)
    weights.save(path, {"weight": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cut short"):
        weights.load(path)
