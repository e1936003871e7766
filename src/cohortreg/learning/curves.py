"""Training curves while they happen, in the formats of Lightning Fabric's loggers."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.loggers import CSVLogger, TensorBoardLogger

from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.training import HISTORY
from cohortreg.learning.validation import MEASURED, MEASURED_DICE

#: How long the newest points of a TensorBoard curve may wait to be written, in seconds.
DELAY = 5


@contextmanager
def written_curves(logger: str, folder: Path, fabric: Fabric) -> Iterator[Callable[[TrainingState], None]]:
    """Write the curves of a training as it goes on.

    They begin with the first step also where a training goes on from a checkpoint: older ones are removed, which may
    have steps after the checkpoint, or be of another training.

    Args:
        logger: `tensorboard`, `csv` or `none`, as `training.logger` of the configuration.
        folder: Where the logger's files go, and nothing else.
        fabric: The processes that train; the first one writes.

    Yields:
        What `train` calls with each new state.
    """
    if fabric.is_global_zero:
        shutil.rmtree(folder, ignore_errors=True)
    if logger == "none" or not fabric.is_global_zero:
        yield lambda state: None
        return
    writer: CSVLogger | TensorBoardLogger
    if logger == "tensorboard":
        writer = TensorBoardLogger(folder, name="", version="", flush_secs=DELAY)
    else:
        writer = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    written = 0

    def write(state: TrainingState) -> None:
        nonlocal written
        points: dict[float, dict[str, Any]] = {}
        measured = (MEASURED, state.validation), ([MEASURED_DICE], state.dice)
        for names, rows in ((HISTORY[1:], state.history[written:]), *measured):
            for step, *values in rows:
                if step > written:
                    points.setdefault(step, {}).update(zip(names, values, strict=True))
        for step, named in points.items():
            writer.log_metrics(named, int(step))
        written = state.step

    try:
        yield write
    finally:
        writer.finalize("")
