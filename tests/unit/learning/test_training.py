"""Training: what a step sees, the rising weight, checkpoints, and going on where a training stopped."""

import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from safetensors.torch import save_file
from typed import build_registration, stage

from cohortreg.errors import NotFiniteError, UserError
from cohortreg.icon.objective import REGULARITIES, StageObjective, icon_loss
from cohortreg.learning import weights
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import TrainingImages, draw_pairs, pack
from cohortreg.learning.fabric import make_fabric
from cohortreg.learning.training import HISTORY, learning_rate, rise, train, training_step
from cohortreg.losses.fields_of_view import unit_bounds
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import identity_map

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
    state = train(module, images, stage(settings), 1, fabric(), folder, every, progress)
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
        folds = training_step(fabric(), fabricated, optimizer, images, stage(SETTINGS), 1, state)[-1]
        state.weight += SETTINGS["weight_increment"] * (folds > SETTINGS["fold_threshold"])
    for name, tensor in module.registration.state_dict().items():
        # A bias before a batch normalisation has no gradient but rounding errors, of which Adam makes steps all the
        # same, together up to 4e-3.
        rounded = name.endswith(("bias", "running_mean"))
        torch.testing.assert_close(trained[name], tensor, rtol=1e-3, atol=4e-4 if rounded else 1e-5)


def test_a_stage_at_full_resolution_trains_in_mixed_precision(tmp_path, images):
    """Its images are not averaged first, so that what precision does to inputs reaches the maps."""
    state = train(objective(), images, stage(SETTINGS), 1, make_fabric("cpu", "bf16-mixed"), tmp_path, 3)
    assert state.step == SETTINGS["training_steps"]


@given(st.integers(2, 500), st.integers(1, 32), st.integers(0, 10**6), st.integers(0, 10**6))
def test_pairs_follow_from_seed_and_step_and_never_join_an_image_with_itself(n, pairs, seed, step):
    first, second = draw_pairs(n, pairs, seed, step)
    assert (first != second).all()
    assert 0 <= min(first.min(), second.min()) <= max(first.max(), second.max()) < n
    again = draw_pairs(n, pairs, seed, step)
    assert (first == again[0]).all() and (second == again[1]).all()


def test_cosine_warms_up_and_ends_near_zero():
    settings = {"learning_rate": 1.0, "schedule": "cosine", "training_steps": 100}
    assert learning_rate(stage(settings), 0) == pytest.approx(1 / 20)
    assert learning_rate(stage(settings), 50) == pytest.approx(0.5)
    assert learning_rate(stage(settings), 99) < 1e-3
    assert learning_rate(stage(settings | {"schedule": "constant"}), 99) == 1.0


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
    assert [rise(stage(settings), step) for step in range(10)] == pytest.approx(
        [1 / 16, 1 / 8, 1 / 4, 1 / 2] + [1] * 6
    )
    assert rise(stage({"training_steps": 10, "weight": 32}), 0) == 1
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
    assert [rise(stage(settings), step) for step in range(10)] == [1] * 10


def test_loss_is_similarity_plus_weighted_inverse_consistency(images, tmp_path):
    _, state = run(images, tmp_path, scale=1.0)
    assert len(state.history) == SETTINGS["training_steps"]
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
    with pytest.raises(UserError, match="extra is not part of the network"):
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


def stuck(images, folder, **settings):
    """The sentence that a training ends with; nothing of it is on the disk but what is finite."""
    folder = folder / "checkpoints"
    with pytest.raises(UserError) as caught:
        run(images, folder, SETTINGS | {"schedule": "constant"} | settings, every=1, scale=0.1)
    for path in folder.glob("*"):
        assert weights.finite(weights.load(path)[0].values()), path
    return str(caught.value)


@pytest.mark.parametrize("settings", [{"weight": 1e300}, {"learning_rate": 1e38}, {"weight": 1e38}])
def test_a_training_that_diverges_ends_in_a_sentence_and_saves_nothing_of_it(images, tmp_path, settings):
    """The last of them has a loss that is finite, and gradients that are not."""
    assert "training diverged" in stuck(images, tmp_path, **settings)


def test_a_training_whose_last_step_ends_in_nan_saves_no_weights(images, tmp_path):
    said = stuck(images, tmp_path, weight=1e38, training_steps=1)
    assert said == "training diverged by step 1, where weights are not finite: lower its learning_rate"
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("regularity", REGULARITIES)
@pytest.mark.parametrize("grid", [(6, 8, 7), (6, 8)])
def test_one_voxel_of_a_map_that_is_nan_ends_a_step_before_its_gradient(regularity, grid):
    """The loss alone does not tell: at a point that is NaN an image counts nothing, and a stride steps over it."""
    field = torch.zeros(2, len(grid), *grid)
    field[(0, 0, *[1] * len(grid))] = torch.nan
    field.requires_grad_(True)
    images = torch.rand(2, 1, 1, *grid)
    points = identity_map(grid)[(..., *[slice(3, None, 3)] * len(grid))]
    bounds = unit_bounds(torch.tensor([[[0] * len(grid), grid]] * 2), grid)
    with pytest.raises(NotFiniteError):
        icon_loss(
            lambda moving, fixed: DisplacementField(field),
            *images,
            points,
            bounds=bounds,
            regularity=REGULARITIES[regularity],
        )


def test_a_training_image_with_nan_is_named(tmp_path):
    arrays = {name: np.full((8, 10, 6), value, np.float32) for name, value in [("a", 0.5), ("b", np.nan)]}
    files = tmp_path / "images.npy", tmp_path / "images.json"
    pack(list(arrays), lambda name: (arrays[name], [[0, 8], [0, 10], [0, 6]]), *files)
    said = stuck(TrainingImages(*files, torch.device("cpu")), tmp_path)
    assert said == "training image 'b' has NaN or infinite values: correct or exclude it"


def reopened(images) -> TrainingImages:
    opened = TrainingImages(images.path, images.path.with_name("images.json"), torch.device("cpu"))
    opened.verify()
    return opened


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_of_packed_images_or_their_index_is_found(images, data):
    path = data.draw(st.sampled_from([images.path, images.path.with_name("images.json")]))
    content = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    rows = np.arange(len(images))
    try:
        found = reopened(images)
    except UserError as error:
        assert "delete it, and the images are packed again" in str(error)
    else:  # of a blank, or of the name of the index's digest
        assert path.suffix == ".json" and found.ids == images.ids
        assert found.field_of_view(rows).equal(images.field_of_view(rows))
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("cut", [0, 5, 100, 400, -2])
def test_packed_images_that_are_cut_short_are_a_sentence(images, cut):
    for path in (images.path, images.path.with_name("images.json")):
        content = path.read_bytes()
        path.write_bytes(content[:cut])
        with pytest.raises(UserError, match="packed again"):
            reopened(images)
        path.write_bytes(content)
    reopened(images)


def test_packed_images_of_another_shape_or_kind_are_a_sentence(images):
    for other in (np.zeros((4, 8, 10, 7), "<f2"), np.zeros((4, 8, 10, 6), "<f4"), np.array([{}], object)):
        np.save(images.path, other, allow_pickle=True)
        with pytest.raises(UserError, match="packed again"):
            reopened(images)


@settings(max_examples=60)
@given(data=st.data())
def test_a_flipped_bit_of_weights_is_found(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    tensors = {"a": torch.arange(3.0), "b": torch.tensor(7), "c": torch.zeros(2, 0, dtype=torch.bfloat16)}
    weights.save(path, tensors, step=3)
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        found, facts = weights.load(path)
    except UserError as error:
        assert "train again" in str(error)
    else:  # of the name of the digest itself, or of a blank
        assert {n: t.tolist() for n, t in found.items()} == {n: t.tolist() for n, t in tensors.items()}
        assert facts["step"] == 3


def test_weights_have_the_mode_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        weights.save(tmp_path / "weights.safetensors", {"a": torch.zeros(3)})
        (tmp_path / "other").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "weights.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_weights_that_may_not_be_read_are_not_called_missing(tmp_path):
    path = tmp_path / "weights.safetensors"
    weights.save(path, {"a": torch.zeros(3)})
    path.chmod(0)
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    try:
        with pytest.raises(UserError, match="no permission to read these weights"):
            weights.load(path)
    finally:
        os.seteuid(user)
    with pytest.raises(UserError, match="is a folder"):
        weights.load(tmp_path)


def test_weights_that_another_program_saved_again_are_read(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(3)}, path, metadata={"format": "pt", "nested": "[" * 10**5})
    tensors, facts = weights.load(path)
    assert tensors["a"].tolist() == [0, 0, 0] and facts == {}
