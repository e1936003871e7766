"""Training of a stage of a model: the job of the rule `train`."""

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import nn

from cohortreg.config import Model, Training
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.evaluation.label_overlap import LabelOverlap
from cohortreg.files import whole, write_json
from cohortreg.icon.networks import recompute_activations
from cohortreg.images.geometry import resampled
from cohortreg.images.image import Image
from cohortreg.images.io import read_label
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.jobs.training_sets import check_packed, check_start, training_of
from cohortreg.layout import Layout
from cohortreg.learning import weights
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.curves import written_curves
from cohortreg.learning.data import TrainingImages
from cohortreg.learning.devices import precision_on
from cohortreg.learning.training import HISTORY, train
from cohortreg.learning.validation import MEASURED, MEASURED_DICE, Validation, gap_in_words
from cohortreg.losses.terms import Objective
from cohortreg.methods.cards import Card, packages_of
from cohortreg.methods.recipes import Recipe
from cohortreg.methods.trained import weights_of
from cohortreg.provenance import git_commit, hardware, running, software

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train_stage(
    recipe: type[Recipe[Any]],
    layout: Layout,
    name: str,
    stage: int,
    model: Model,
    settings: Training,
    seed: int,
    fabric: "Fabric",
    progress: Callable[[TrainingState], None] = lambda state: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train a stage of a model and write its weights, history and card.

    A training that was stopped goes on from its last checkpoint, as long as settings, seed, images and earlier stages
    are the same. Of several processes that train together, the first writes.

    Args:
        stage: From 1.
        progress: Called with the state that training starts from, and after each step.
        stop: Asked after each step, see `learning.training.train`.

    Raises:
        UserError: What it learns from, or starts with, is not what was written any more: the packed images, the list of
            the training set, weights, or checkpoints. Or the training was stopped before its last step.
    """
    model = model.up_to(stage)
    training = training_of(layout, name)
    images = _packed(layout, training["training_set"], fabric)
    if fabric.is_global_zero:  # once for all that train together
        check_start(layout, name, training["start"])
    fabric.barrier()
    precision = precision_on(fabric.device, settings.precision)
    objective = stage_objective(recipe, layout, name, model, images.grid, seed, training["start"] is not None)
    if settings.recompute_activations:
        recompute_activations(objective)
    validation = _validation(layout, training.get("validation_set"), settings, seed, fabric)
    if validation and fabric.is_global_zero:  # which measures
        registration = recipe.on_full_grid(objective.registration, model)
        validation.overlap = label_overlap(registration, layout, _of_pairs(validation))
    before = running().reads(layout.weights(name, stage - 1)) if stage > 1 else ""
    made_from = digest(
        json.dumps([model.plain(), precision, seed], sort_keys=True),
        images.recorded,
        before,
        training["start"] or "",
        *([validation.images.recorded] if validation else []),
        *packages_of(model, training=True),
    )
    stage_settings, checkpoints = model.stages[-1], layout.checkpoints(name, stage) / made_from[:16]
    started = time.perf_counter()
    with written_curves(settings.logger, layout.curves(name, stage), fabric) as write:

        def advance(state: TrainingState) -> None:
            write(state)
            progress(state)

        state = train(
            objective,
            images,
            stage_settings,
            seed + stage,
            fabric,
            checkpoints,
            settings.checkpoint_every,
            advance,
            stop,
            settings.accumulate,
            validation,
        )
    if not fabric.is_global_zero:
        return
    if state.step < stage_settings.training_steps:
        raise UserError(
            f"training of {name} stage {stage} was stopped after step {state.step}; "
            "the same command continues from there"
        )
    history = _history(state)
    with whole(layout.history(name, stage)) as beside:
        history.to_csv(beside, index=False)
    saved = weights.save(layout.weights(name, stage), objective.registration.state_dict())
    used = settings.model_dump(exclude_unset=True, exclude={"logger"}) | {"precision": precision}
    card = {"model": name, "stage": stage, "steps": model.steps, **model.plain(), "weights_sha256": saved}
    card |= {"training": used, "seed": seed, **_learnt(training, state, history, validation)}
    card["wall_seconds"] = time.perf_counter() - started
    write_json(layout.model_card(name, stage), card | _circumstances(images, fabric))


def _learnt(
    training: Mapping[str, Any], state: TrainingState, history: pd.DataFrame, validation: Validation | None
) -> dict[str, Any]:
    """What a card says of the images that a model learnt from, see `training_of`, and of how that went."""
    learnt = {
        "training_set": training["training_set"],
        "preprocess": training.get("preprocess"),
        "start": training["start"],
        "final_weight": state.weight,
        "training_seconds": float((1 / history["steps_per_second"]).sum()),
    }
    if "init" in training:
        learnt["init"] = training["init"]
    if validation:
        learnt["validation"] = _validated(validation, state, history) | {"set": training["validation_set"]}
    return learnt


def _history(state: TrainingState) -> pd.DataFrame:
    """The table of a training: a row for each step, with what was measured after it on validation pairs."""
    history = pd.DataFrame(state.history, columns=HISTORY).astype({"step": int})
    measured = pd.DataFrame(state.validation, columns=["step", *MEASURED]).astype({"step": int})
    dice = pd.DataFrame(state.dice, columns=["step", MEASURED_DICE]).astype({"step": int})
    return history.merge(measured, on="step", how="left").merge(dice, on="step", how="left")


def _packed(layout: Layout, image_set: str, fabric: "Fabric", seldom: bool = False) -> TrainingImages:
    """The packed images of a set; the first process compares them with its list and their digest."""
    files = layout.packed(image_set), layout.packed_index(image_set)
    images = TrainingImages(*files, fabric.device, seldom)
    if fabric.is_global_zero:
        check_packed(layout, image_set, images.ids)
        images.verify()
    return images


def _validation(
    layout: Layout, image_set: str | None, settings: Training, seed: int, fabric: "Fabric"
) -> Validation | None:
    """What measures a training on a set of validation images; None where there is none."""
    if image_set is None:
        return None
    images = _packed(layout, image_set, fabric, seldom=True)
    return Validation(images, seed, settings.validate_every, settings.keep)


def _of_pairs(validation: Validation) -> list[str | None]:
    """The images that are measured, None in place of the others."""
    seen = {row for pair in validation.pairs for row in pair}
    return [image_id if row in seen else None for row, image_id in enumerate(validation.images.ids)]


def _validated(validation: Validation, state: TrainingState, history: pd.DataFrame) -> dict[str, Any]:
    """What a card says of the weights that were kept: as of which step, and how they do on both kinds of pairs."""
    facts = {"images": len(validation.images), "pairs": len(validation.pairs), "keep": validation.keep}
    kept = validation.kept(state)
    if kept is None:
        return facts | {"gap": ""}
    step, similarity, _, loss = kept
    learnt = history[history["step"].between(step - validation.every + 1, step)]["similarity"].mean()
    facts |= {"step": int(step), "loss": loss, "similarity": similarity, "training_similarity": float(learnt)}
    for measured, dice in state.dice:
        if measured == step:
            facts["dice"] = dice
    return facts | {"gap": gap_in_words(learnt, similarity)}


def stage_objective(
    recipe: type[Recipe[Any]],
    layout: Layout,
    name: str,
    model: Model | Card,
    grid: Sequence[int],
    seed: int,
    goes_on: bool = False,
) -> Objective:
    """Build what training of the model's last stage minimises, with the weights of the stages before it.

    Args:
        model: Its part of the configuration, or its card.
        seed: Of the weights that training starts from.
        goes_on: Whether it starts with the stage's weights of an earlier training, where there are any.

    Raises:
        UserError: Weights are missing, or not those of the model.
    """
    stage = len(model.stages)
    with torch.random.fork_rng():
        torch.manual_seed(seed + stage)
        registration, before = recipe.build(model, grid)
    if before is not None:
        path = layout.weights(name, stage - 1)
        weights.load_into(before, weights_of(None, path), path)
        recipe.inherit(registration, before)
    path = layout.start_weights(name, stage)
    if goes_on and path.is_file():
        earlier = copy.deepcopy(before.state_dict()) if before is not None else {}
        weights.load_into(registration, weights.load(path)[0], path)
        if before is not None:
            before.load_state_dict(earlier)
    return recipe.objective(registration, before, model)


def _circumstances(images: TrainingImages, fabric: "Fabric") -> dict[str, Any]:
    """What a training ran on: the images, the hardware, the software."""
    return {
        "grid": list(images.grid),
        "images": len(images),
        "images_sha256": images.recorded,
        "hardware": hardware(fabric.device.type),
        "threads": torch.get_num_threads(),
        "git_commit": git_commit(),
        "software": software(),
    }


def label_overlap(registration: nn.Module, layout: Layout, image_ids: Sequence[str | None]) -> LabelOverlap:
    """What measures a training's Dice on labels of the cohort, on the images' grid.

    Structures are those that the images were preprocessed with.

    Args:
        image_ids: Of each row; None where its label is not wanted.
    """
    structures: dict[str, list[int]] = {}
    labels: dict[int, Image] = {}
    for row, image_id in enumerate(image_ids):
        if image_id is None or not (layout.label(image_id).is_file() and layout.sidecar(image_id).is_file()):
            continue
        sidecar = read_sidecar(layout, image_id)
        structures = sidecar["structures"]
        label, shape = read_label(layout.label(image_id)), tuple(sidecar["shape"])
        labels[row] = label if label.shape == shape else resampled(label, shape, nearest=True)
    return LabelOverlap(registration, labels, structures)
