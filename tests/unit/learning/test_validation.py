"""Measuring a training on pairs that it does not learn from: it changes no step, and its best weights are kept."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from typed import build_registration, stage

from cohortreg.icon.objective import StageObjective
from cohortreg.learning import weights
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import VALIDATION_PAIRS, TrainingImages, pack, validation_pairs
from cohortreg.learning.fabric import make_fabric
from cohortreg.learning.training import train
from cohortreg.learning.validation import Validation, gap_in_words

GRID = (8, 10, 6)
SETTINGS = {
    "steps": 1,
    "downsample": 1,
    "training_steps": 9,
    "batch_size": 2,
    "learning_rate": 2e-2,
    "schedule": "constant",
    "weight": 5.0,
    "weight_increment": 0.5,
    "fold_threshold": 0.0,
    "stride": 1,
}
NETWORK = {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]}


def packed(folder, seed: int, count: int) -> TrainingImages:
    random = np.random.default_rng(seed)
    arrays = {f"{seed}-{n}": random.random(GRID, np.float32) for n in range(count)}
    files = folder / f"{seed}.npy", folder / f"{seed}.json"
    pack(list(arrays), lambda name: (arrays[name], [[0, size] for size in GRID]), *files)
    return TrainingImages(*files, torch.device("cpu"))


@pytest.fixture
def images(tmp_path):
    return packed(tmp_path, 0, 4)


@pytest.fixture
def validation_images(tmp_path):
    return packed(tmp_path, 1, 3)


def objective() -> StageObjective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        registration, before = build_registration(NETWORK, [SETTINGS], GRID)
    return StageObjective(registration, before, 1)


def run(images, folder, validation=None, **options) -> tuple[dict, TrainingState]:
    module = objective()
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    state = train(module, images, stage(SETTINGS), 1, fabric, folder, 4, validation=validation, **options)
    return module.state_dict(), state


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(tensor.equal(other[name]) for name, tensor in one.items())


def numbers(state: TrainingState) -> list[list[float]]:
    return [row[:-1] for row in state.history]  # but for the speed


def overlap(moving: int, fixed: int, moving_image, fixed_image) -> float:
    """Some number of a pair; the first image has no label."""
    return float("nan") if 0 in (moving, fixed) else moving + fixed / 10


def test_measuring_changes_no_step(images, validation_images, tmp_path):
    """Neither weights nor batch statistics, nor what the training sees."""
    alone, state = run(images, tmp_path / "alone")
    measured, measured_state = run(
        images, tmp_path / "m", Validation(validation_images, 1, 2, "last", overlap)
    )
    assert same(alone, measured) and numbers(state) == numbers(measured_state)
    assert [row[0] for row in measured_state.validation] == [2, 4, 6, 8, 9]
    assert state.validation == [] and state.best == {} and state.dice == []
    for path in (tmp_path / "alone").glob("*"):
        assert not any(name.startswith(("best", "validation", "dice")) for name in weights.load(path)[0])


def test_every_measurement_is_the_loss_of_the_same_pairs_under_the_stage_s_weight(images, validation_images):
    module, fabric = objective(), Fabric(accelerator="cpu", devices=1)
    torch.nn.init.normal_(module.registration.network.last.weight, std=0.1)
    state, validation = TrainingState(1, 7.0), Validation(validation_images, 1, 2, "best")
    for _ in range(2):
        validation.measure(module, 5.0, state, fabric)
    (_, similarity, consistency, loss), again = state.validation
    assert again[1:] == [similarity, consistency, loss] and module.training
    assert loss == pytest.approx(similarity + 5 * consistency) and consistency > 0
    rows = [np.array(each) for each in validation_pairs(3, 1)]
    expected = module.eval()(validation_images.pairs(*rows, torch.Generator())).similarity.item()
    assert similarity == pytest.approx(expected, rel=1e-5)


def test_the_weights_of_the_lowest_validation_loss_are_kept(images, validation_images, tmp_path):
    """On images without anything in common they are not the last."""
    validation = Validation(validation_images, 1, 1, "best")
    best, state = run(images, tmp_path / "best", validation)
    step = validation.kept(state)[0]
    assert step < SETTINGS["training_steps"]
    module = objective()
    module.load_state_dict(best)
    measured = TrainingState(0, 0.0)
    validation.measure(module, SETTINGS["weight"], measured, Fabric(accelerator="cpu", devices=1))
    assert measured.validation[0][-1] == min(row[-1] for row in state.validation)
    last, state = run(images, tmp_path / "best", Validation(validation_images, 1, 1, "last"))
    assert same(last, run(images, tmp_path / "alone")[0]) and not same(last, best)
    assert validation.kept(state)[0] == step


class StoppedError(Exception):
    """Stands for whatever ends a training early."""


def test_a_stopped_training_goes_on_to_the_same_best(images, validation_images, tmp_path):
    validation = Validation(validation_images, 1, 3, "best", overlap)
    expected, whole = run(images, tmp_path / "whole", validation)

    def kill(state):
        if state.step == 7:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(images, tmp_path / "killed", validation, progress=kill)
    found, state = run(images, tmp_path / "killed", validation)
    assert same(found, expected) and state.validation == whole.validation and same(state.best, whole.best)
    assert state.dice == whole.dice and len(state.dice) == 3


def test_dice_is_the_mean_over_the_pairs_that_have_one(validation_images):
    """Of three pairs of three images one is without the first: 1 on 2, or 2 on 1."""
    state, fabric, module = TrainingState(4, 1.0), Fabric(accelerator="cpu", devices=1), objective()
    seen = []

    def noted(*pair):
        seen.append((*pair[:2], module.training, torch.is_grad_enabled()))
        assert all(
            image.equal(validation_images.batch(np.array([row])))
            for row, image in zip(pair[:2], pair[2:], strict=True)
        )
        return overlap(*pair)

    validation = Validation(validation_images, 1, 2, "best", noted)
    validation.measure(module, 1.0, state, fabric)
    assert seen == [(*pair, False, False) for pair in validation.pairs] and module.training
    (whole,) = ((moving, fixed) for moving, fixed in validation.pairs if 0 not in (moving, fixed))
    assert state.dice == [[4, {(1, 2): 1.2, (2, 1): 2.1}[whole]]]
    Validation(validation_images, 1, 2, "best", lambda *pair: float("nan")).measure(
        module, 1.0, state, fabric
    )
    assert len(state.dice) == 1 and len(state.validation) == 2


def test_it_is_measured_in_the_precision_of_training(images, validation_images, tmp_path):
    """Half precision leaves losses that differ in their last digits, and maps in float32."""
    module = objective()
    validation = Validation(validation_images, 1, 4, "last")
    fabric = make_fabric("cpu", "bf16-mixed")
    state = train(module, images, stage(SETTINGS), 1, fabric, tmp_path, 4, validation=validation)
    single = TrainingState(0, 0.0)
    validation.measure(module, SETTINGS["weight"], single, Fabric(accelerator="cpu", devices=1))
    assert state.validation[-1][1:] != single.validation[0][1:]
    assert state.validation[-1][1:] == pytest.approx(single.validation[0][1:], rel=0.02)


@pytest.mark.parametrize("last", [6, 9])
def test_what_was_due_when_a_training_was_asked_to_end_is_measured_when_it_goes_on(
    images, validation_images, tmp_path, last
):
    validation = Validation(validation_images, 1, 3, "best")
    expected, whole = run(images, tmp_path / "whole", validation)
    steps = iter(range(1, 10))
    run(images, tmp_path / "asked", validation, stop=lambda: next(steps) == last)
    found, state = run(images, tmp_path / "asked", validation)
    assert same(found, expected) and state.validation == whole.validation


def test_a_measurement_that_is_not_finite_is_none(validation_images):
    module, state = objective(), TrainingState(1, 1.0)
    torch.nn.init.constant_(module.registration.network.last.weight, torch.nan)
    validation = Validation(validation_images, 1, 2, "best")
    validation.measure(module, 1.0, state, Fabric(accelerator="cpu", devices=1))
    assert state.validation == [] and state.best == {} and validation.kept(state) is None
    assert module.training


@given(st.integers(2, 200), st.integers(0, 2**32))
def test_validation_pairs_are_few_and_each_of_two_other_images(images, seed):
    pairs = list(zip(*validation_pairs(images, seed), strict=True))
    assert len(pairs) == (1 if images == 2 else min(images, VALIDATION_PAIRS))
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert all(one != other and 0 <= min(one, other) <= max(one, other) < images for one, other in pairs)
    assert pairs == list(zip(*validation_pairs(images, seed), strict=True))


@pytest.mark.parametrize(
    ("training", "validation", "said"),
    [(0.30, 0.32, False), (0.30, 0.34, True), (-0.8, -0.75, False), (-0.8, -0.7, True), (0.3, 0.2, False)],
)
def test_a_large_gap_is_said(training, validation, said):
    assert ("use more subjects" in gap_in_words(training, validation)) == said
