"""Training curves while they happen."""

from pathlib import Path

import pandas as pd
import pytest
from lightning_fabric import Fabric
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.curves import written_curves

FABRIC = Fabric(accelerator="cpu")


def state(steps: int) -> TrainingState:
    """The state after so many steps, whose loss falls by 1 at each; measured on validation pairs at step 2."""
    history = [[step, 0.5, 0.25, 10.0 - step, 3.0, 1.0, 4.0] for step in range(1, steps + 1)]
    measured = {"validation": [[2, 0.75, 0.5, 1.25]], "dice": [[2, 0.8125]]} if steps >= 2 else {}
    return TrainingState(steps, 1.0, history, **measured)


def read(logger: str, folder: Path) -> dict[str, dict[int, float]]:
    """Of each curve, its value at each step."""
    if logger == "csv":
        table = pd.read_csv(folder / "metrics.csv").set_index("step")
        return {name: column.dropna().to_dict() for name, column in table.items()}
    events = EventAccumulator(str(folder)).Reload()
    return {
        name: {point.step: point.value for point in events.Scalars(name)} for name in events.Tags()["scalars"]
    }


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_every_step_is_written_once_with_what_was_measured_after_it(tmp_path, logger):
    with written_curves(logger, tmp_path / "curves", FABRIC) as write:
        for steps in range(4):
            write(state(steps))
    curves = read(logger, tmp_path / "curves")
    assert curves.pop("loss") == {1: 9, 2: 8, 3: 7}
    assert curves.pop("validation_similarity") == {2: 0.75}
    assert curves.pop("validation_inverse_consistency") == {2: 0.5}
    assert curves.pop("validation_loss") == {2: 1.25}
    assert curves.pop("validation_dice") == {2: 0.8125}
    assert {name: curve[3] for name, curve in curves.items()} == {
        "similarity": 0.5,
        "inverse_consistency": 0.25,
        "folds": 3,
        "weight": 1,
        "steps_per_second": 4,
    }


def test_steps_can_be_seen_while_a_training_goes_on(tmp_path):
    with written_curves("csv", tmp_path, FABRIC) as write:
        write(state(1))
        assert read("csv", tmp_path)["loss"] == {1: 9}


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_a_training_that_goes_on_from_a_checkpoint_has_each_step_once(tmp_path, logger):
    with written_curves(logger, tmp_path, FABRIC) as write:
        write(state(3))
    with written_curves(logger, tmp_path, FABRIC) as write:
        write(state(2))  # the checkpoint's
        write(state(4))
    assert read(logger, tmp_path)["loss"] == {1: 9, 2: 8, 3: 7, 4: 6}
    events = list(tmp_path.iterdir())
    assert len(events) == 1


def test_without_a_logger_there_are_none(tmp_path):
    with written_curves("csv", tmp_path / "curves", FABRIC) as write:
        write(state(3))
    with written_curves("none", tmp_path / "curves", FABRIC) as write:
        write(state(3))
    assert not list(tmp_path.iterdir())
