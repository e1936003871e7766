"""Commands that pack, train and register."""

from typing import TYPE_CHECKING, Annotated

import typer

from cohortreg.cli import app
from cohortreg.cli.options import Config, PairShard, Results, Seed, Settings, Threads, configured, parsed
from cohortreg.cli.progress import new_and_kept, progress_bar
from cohortreg.errors import UserError
from cohortreg.layout import Layout

if TYPE_CHECKING:
    import torch

    from cohortreg.learning.checkpoints import TrainingState

#: Steps by whose speed the time left is told.
RECENT = 50


@app.command("pack")
def pack_command(
    results: Results,
    training_set: Annotated[
        str, typer.Option(help="The training set, as models/{model}/training.json names it.")
    ],
) -> None:
    """Pack the images of a training set into one memory-mapped file."""
    from cohortreg.jobs.pack import pack_training_set
    from cohortreg.jobs.training_sets import training_images

    layout = Layout(results)
    training = training_images(layout, training_set)
    with progress_bar("Packing", len(training)) as advance:
        pack_training_set(layout, training_set, training, advance)


@app.command("train")
def train_command(
    results: Results,
    model: Annotated[str, typer.Option(help="The model's name in the configuration.")],
    stage: Annotated[int, typer.Option(min=1, help="Which of its stages, from 1.")],
    settings: Settings = "",
    config: Config = None,
    seed: Seed = 1,
    threads: Threads = 2,
    minutes: Annotated[
        float, typer.Option(min=0, help="After so many, write a checkpoint and end; 0: only when it is done.")
    ] = 0,
) -> None:
    """Train a stage of a model, or resume an interrupted training.

    On several devices torchrun starts it once for each; they share the threads.
    """
    import time

    from cohortreg.cli.signals import asked_to_end
    from cohortreg.config import TrainingJob
    from cohortreg.jobs.train import train_stage
    from cohortreg.learning.fabric import make_fabric
    from cohortreg.methods.registry import recipe

    end = time.monotonic() + 60 * (minutes or float("inf"))
    if config:
        configuration = configured(settings, config)
        if model not in configuration.models:
            raise UserError(
                f"the configuration has no model {model}; it has {', '.join(configuration.models) or 'none'}."
            )
        job = TrainingJob(training=configuration.training, model=configuration.models[model])
    else:
        job = parsed(settings, TrainingJob)
    trained, training = job.model, job.logged_training
    if stage > len(trained.stages):
        raise UserError(f"{model} has {len(trained.stages)} stages, so there is no stage {stage}")
    total = trained.stages[stage - 1].training_steps
    layout = Layout(results)
    use_processor(max(1, threads // training.devices))
    fabric = make_fabric(training.accelerator, training.precision, training.devices, training.nodes)
    if fabric.is_global_zero:
        warn_of_precision(fabric.device, training.precision)
    learns = recipe(trained.method)
    with progress_bar(f"Training {model} stage {stage}", total) as advance, asked_to_end() as asked:

        def report(state: "TrainingState") -> None:
            """Advance the bar to the state's step, with the last row of its history; in the first process only."""
            if fabric.is_global_zero:
                advance(progress_in_words(state, total), completed=state.step)

        def stop() -> bool:
            return asked() or time.monotonic() > end

        train_stage(learns, layout, model, stage, trained, training, seed, fabric, report, stop)
    if fabric.is_global_zero:
        typer.echo(
            f"{layout.weights(model, stage)}: the weights; {layout.history(model, stage)}: how they came about"
        )


def progress_in_words(state: "TrainingState", steps: int) -> str:
    """The last row of a training's history, its last validation loss and Dice, and how long other steps will take."""
    from cohortreg.evaluation.numbers import duration

    if not state.history:
        return ""
    _, similarity, consistency, _, folds, weight, speed = state.history[-1]
    parts = [
        f"similarity {similarity:.5f}, inverse consistency {consistency:.6f}, folds {folds:.1f}, weight {weight:g}"
    ]
    if state.validation:
        step, *_, loss = state.validation[-1]
        dice = "".join(f", Dice {value:.3f}" for measured, value in state.dice if measured == step)
        parts.append(f"validation loss {loss:.5f}{dice} at step {step:.0f}")
    recent = [1 / row[-1] for row in state.history[-RECENT:]]
    parts.append(f"{speed:.2f} steps/s")
    if state.step < steps:
        parts.append(f"{duration((steps - state.step) * sum(recent) / len(recent))} left")
    return ", ".join(parts)


@app.command("register-shard")
def register_shard_command(
    results: Results,
    method: Annotated[str, typer.Option(help="Row of the tables: identity, affine, icon-2step, ...")],
    settings: Settings = "{}",
    config: Config = None,
    shard: PairShard = 0,
    seed: Seed = 1,
    threads: Threads = 2,
) -> None:
    """Register a shard of the pairs with one method; pairs that are whole and up to date are kept."""
    from cohortreg.cohort.tables import pair_ids
    from cohortreg.config import RegistrationJob
    from cohortreg.jobs.register import open_row, pairs_of, register_shard
    from cohortreg.methods.registry import PAIRWISE, accelerated
    from cohortreg.provenance import hardware

    layout = Layout(results)
    pairs = pairs_of(layout, shard)
    job = RegistrationJob.of(configured("", config), method) if config else parsed(settings, RegistrationJob)
    use_processor(threads)
    device = None
    if accelerated(method):
        from cohortreg.learning.devices import Device

        precision = "32-true" if method in PAIRWISE else job.training.precision
        device = Device(job.training.accelerator, precision)
        warn_of_precision(device.device, device.precision)
    opened = open_row(method, layout, seed, threads, device, job.method_settings, job.model, job.optimisation)
    machine = hardware(device.device.type if device else "cpu", threads)
    with progress_bar(f"Registering with {method}", len(pairs)) as advance:
        register_shard(layout, method, opened, pairs, shard, machine, advance)
    records = [layout.registration_record(method, *ids) for ids in pair_ids(pairs)]
    typer.echo(f"{layout.registered_shard(method, shard)}: {new_and_kept(records)}")


def use_processor(threads: int) -> None:
    """Give every library as many threads as the rule has."""
    import os

    from cohortreg.learning.devices import use_processor

    use_processor(threads)
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)


def warn_of_precision(device: "torch.device", precision: str) -> None:
    """Warn where networks would compute in a precision that makes them many times slower."""
    from cohortreg.learning.devices import slow_precision

    if warning := slow_precision(device, precision):
        typer.echo(f"cohortreg: warning: {warning}", err=True)
