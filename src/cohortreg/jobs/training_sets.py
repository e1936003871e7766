"""The training set of each model: the images present at its first training, until retraining is requested.

A training set is a list of images and of what they were preprocessed from, and is named after its content; labels are
no part of it. A cohort that grows has a new set; its models keep theirs, unless images are preprocessed in another way.
The validation images, on which a training is measured, are such a set too.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from cohortreg.cohort.tables import read_table, write_table
from cohortreg.config import Preprocess
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.files import Record, read_json, read_kept, whole, write_json
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.layout import Layout
from cohortreg.methods.cards import init_of
from cohortreg.model_files import CARD, WEIGHTS
from cohortreg.provenance import running

#: Columns of the list of a training set.
SET = ["image_id", "digest"]


def image_digest(sidecar: Mapping[str, Any]) -> str:
    """Digest what a preprocessed image was made from, and how: its sidecar but for what is the label's."""
    return digest(sidecar["image_sha256"], str(sidecar["mirrored"]), _preprocessing(sidecar))


def _preprocessing(sidecar: Mapping[str, Any]) -> str:
    """Digest how images are preprocessed."""
    settings = {key: value for key, value in sidecar["settings"].items() if key != "labels"}
    return digest(json.dumps(settings, sort_keys=True))


def assign_training_sets(
    layout: Layout,
    images: pd.DataFrame,
    digests: Mapping[str, str],
    models: Sequence[str],
    retrain: str | None,
    inits: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Write the cohort's training set, and give it to every model that has none or is to be trained again.

    Args:
        images: Rows of the images of split train or validation.
        digests: `image_digest` of each image.
        models: Names of those to train.
        retrain: "scratch" or "last", whether a training then starts as a new model's does or with the last weights;
            None to leave models with the sets that they have. A model of images that were preprocessed in another way,
            or that starts from other weights now, is trained again in any case.
        inits: Folders of the models that some of them start from.

    Returns:
        A sentence for each model whose sets are not the cohort's.
    """
    if not models:
        return []
    training, validation = (images[images["split"] == split] for split in ("train", "validation"))
    if len(training) < 2:
        left = "only one training image" if len(training) else "no training image"
        raise UserError(
            f"{left} is left, too few to train on; {layout.excluded} says why others were excluded."
        )
    if len(validation) == 1:
        raise UserError(
            f"{layout.images}: one validation image makes no pair; mark more with split 'validation', or none"
        )
    sidecar = read_sidecar(layout, training["image_id"].iloc[0])
    cohort = {
        "training_set": _write_set(layout, training, digests),
        "images": len(training),
        "preprocessing": _preprocessing(sidecar),
        "preprocess": sidecar["settings"],  # for images that come to a model from elsewhere
        "start": None,  # each model's own
    }
    # Without validation images there is no such key, as in what an earlier version wrote.
    if not validation.empty:
        cohort["validation_set"] = _write_set(layout, validation, digests)
    behind = []
    for model in models:
        init = init_of(inits[model]) if model in inits else None
        assigned = _assigned(layout, model, cohort, retrain, init)
        write_json(layout.model_training(model), assigned)
        if difference := _difference(assigned, cohort):
            behind.append(f"{model} was {difference} trains it again")
    return behind


def _assigned(
    layout: Layout,
    model: str,
    cohort: Mapping[str, Any],
    retrain: str | None,
    init: Mapping[str, str] | None,
) -> Mapping[str, Any]:
    """What a model is trained on, see `training_of`: as before, or the cohort's sets.

    Args:
        cohort: The cohort's sets, and how their images were preprocessed.
        init: The model that it starts from, see `cards.init_of`.
    """
    path = layout.model_training(model)
    before = read_json(path, "`cohortreg cohort`") if path.is_file() else None
    if before is not None and not starts_from(before, init):
        before = None
    if before is not None and not _outdated(before, cohort, retrain):
        return before
    if before is not None and retrain == "last":
        first, start = before.get("init"), _keep_weights(layout, model)
    else:
        first = start_with(layout, model, init) if init else None
        start = first["start"] if first else None
    return {**cohort, "start": start} | ({"init": first} if first else {})


def _difference(training: Mapping[str, Any], cohort: Mapping[str, Any]) -> str:
    """How a model was trained on other sets than the cohort's, and what would change that; empty if it was not."""
    if training["training_set"] != cohort["training_set"]:
        same = training["images"] == cohort["images"]
        now = "some of them are others now" if same else f"now there are {cohort['images']}"
        return (
            f"trained on an earlier set of {training['images']} images, {now}; "
            "--config retrain=last or retrain=scratch"
        )
    if training.get("validation_set") != cohort.get("validation_set"):
        return (
            "measured on other validation images than there are now while it was trained; "
            "--config retrain=scratch"
        )
    return ""


def _write_set(layout: Layout, images: pd.DataFrame, digests: Mapping[str, str]) -> str:
    """Write the list of a set of images, rows of the cohort's table; return its name."""
    # In an order of its own: the same images in another order of the table are the same set.
    names = images["image_id"].sort_values(ignore_index=True)
    table = pd.DataFrame({"image_id": names, "digest": names.map(digests)})
    name = _name(table)
    try:  # what is there is the same, and what follows from it up to date
        _read_set(layout, name)
    except UserError:
        write_table(layout.training_images(name), table)
    return name


def _outdated(training: Mapping[str, Any], sets: Mapping[str, Any], retrain: str | None) -> bool:
    """Whether a model has to be trained again, also from scratch after a training that began with weights."""
    # One of an earlier version does not say how its images were preprocessed.
    if training.get("preprocessing", sets["preprocessing"]) != sets["preprocessing"]:
        return True
    keys = ("training_set", "validation_set")
    new_images = retrain is not None and any(training.get(key) != sets.get(key) for key in keys)
    return new_images or (retrain == "scratch" and training["start"] != training.get("init", {}).get("start"))


def starts_from(training: Mapping[str, Any], init: Mapping[str, str] | None) -> bool:
    """Whether a training, see `training_of`, starts from a model, see `cards.init_of`, or from none."""
    return training.get("init", {}).get("weights_sha256") == (init and init["weights_sha256"])


def keeps_training(
    layout: Layout,
    model: str,
    retrain: str | None,
    preprocess: Preprocess,
    images: pd.DataFrame | None,
    init: Mapping[str, str] | None = None,
) -> bool:
    """Whether a model keeps its training set and its start once the cohort was gathered.

    Args:
        retrain: See `assign_training_sets`.
        images: The cohort's table; None where some of them are to be preprocessed first.
        init: The model that it starts from, see `cards.init_of`.

    Returns:
        False where the answer follows only from the gathered cohort.
    """
    training = read_kept(layout.model_training(model))
    if not starts_from(training, init):
        return False
    settings = training.get("preprocess") or {}
    if any(settings.get(key) != value for key, value in preprocess if key != "labels"):
        return False
    return retrain is None or (images is not None and _is_trained_on(layout, training, images, retrain))


def _is_trained_on(layout: Layout, training: Mapping[str, Any], images: pd.DataFrame, retrain: str) -> bool:
    """Whether a model's sets are what a cohort with these images would now give it."""
    sets = {"preprocessing": training.get("preprocessing", "")}
    try:
        excluded = read_table(layout.excluded, ["kind", "id"])
        for key, split in (("training_set", "train"), ("validation_set", "validation")):
            left = images["image_id"][images["split"] == split]
            left = left[~left.isin(excluded["id"][excluded["kind"] == "image"])]
            if key in training and training_images(layout, training[key]) == sorted(left):
                sets[key] = training[key]
            elif len(left):
                return False
    except UserError:  # a list or an image is not as it was
        return False
    return not _outdated(training, sets, retrain)


def trained_on(layout: Layout, models: Sequence[str]) -> set[str]:
    """The images that any of the models learns from."""
    sets = {training_of(layout, model)["training_set"] for model in models}
    return {image_id for each in sets for image_id in _read_set(layout, each)["image_id"]}


def check_packed(layout: Layout, training_set: str, image_ids: Sequence[str]) -> None:
    """Raise UserError where packed images are not those of a training set's list, where there is one."""
    path = layout.training_images(training_set)
    if path.is_file() and _read_set(layout, training_set)["image_id"].tolist() != list(image_ids):
        raise UserError(
            f"{layout.packed_index(training_set)}: its images are not those of {path}; "
            "delete it, and they are packed again"
        )


def check_start(layout: Layout, model: str, start: str | None) -> None:
    """Raise UserError where the weights that a training starts with are not those put aside, of the digest `start`."""
    kept = _start_weights(layout, model)
    if start is not None and digest(*map(running().reads, kept)) != start:
        raise UserError(
            f"{layout.start_weights(model, 1).parent}: not the weights that were saved for this training; "
            "restore them, or --config retrain=scratch trains without them"
        )


def _start_weights(layout: Layout, model: str) -> list[Path]:
    return sorted(layout.models.glob(f"{model}/start/stage-*.safetensors"))


def _name(table: pd.DataFrame) -> str:
    """The name of a training set: a digest of the cells of its list, row by row."""
    return digest(*table.to_numpy().ravel())[:16]


def _read_set(layout: Layout, training_set: str) -> pd.DataFrame:
    """Read the list of a training set.

    Raises:
        UserError: It is not the list that the set is named after.
    """
    path = layout.training_images(training_set)
    with suppress(UserError):
        table = read_table(path, SET)
        if list(table) == SET and _name(table) == training_set:
            return table
    raise UserError(
        f"{path}: missing or damaged, it is not the list that its folder is named after; restore it, or "
        "--config retrain=scratch trains with the images that there are"
    )


def start_with(layout: Layout, model: str, init: Mapping[str, str]) -> dict[str, str]:
    """Put the weights of the model that a training starts from aside, by stage, so that it depends on no other folder.

    Args:
        model: The name of the one that is trained.
        init: The one that it starts from, see `cards.init_of`.

    Returns:
        What the training has as its `init`: that model's name, the SHA-256 of its weights, and the digest of `start`.

    Raises:
        UserError: There is no such model, or its weights are not those of its card.
    """
    from cohortreg.learning import weights
    from cohortreg.methods.trained import weights_by_stage

    folder = Path(init["folder"])
    for name in (WEIGHTS, CARD):
        running().reads(folder / name)
    _forget_start(layout, model)
    for stage, tensors in weights_by_stage(folder).items():
        weights.save(layout.start_weights(model, stage), tensors)
    start = digest(*map(running().reads, _start_weights(layout, model)))
    return {"model": init["model"], "weights_sha256": init["weights_sha256"], "start": start}


def _forget_start(layout: Layout, model: str) -> None:
    """Delete the weights that a training before started with, which may have had more stages."""
    for path in _start_weights(layout, model):
        path.unlink()


def _keep_weights(layout: Layout, model: str) -> str | None:
    """Put the weights of a model's stages aside, since its training replaces them; return their digest."""
    stages = sorted(layout.models.glob(f"{model}/stage-*/weights.safetensors"))
    _forget_start(layout, model)
    for path in stages:
        with whole(layout.start_weights(model, path.parent.name.removeprefix("stage-"))) as beside:
            shutil.copyfile(path, beside)
    return digest(*map(running().reads, stages)) if stages else None


def training_of(layout: Layout, model: str) -> Record:
    """Read what a model is trained on.

    Its training set, how many images that has, the digest of the weights that training starts with and, where it has
    them, its validation set and the model that these weights are of.
    """
    return read_json(layout.model_training(model), "`cohortreg cohort` with this model")


def training_images(layout: Layout, training_set: str) -> list[str]:
    """The images of a training set.

    Raises:
        UserError: One of them is not as it was any more.
    """
    table = _read_set(layout, training_set)
    for image_id, made_from in table.itertuples(index=False):
        present = layout.sidecar(image_id).is_file()
        if not present or image_digest(read_sidecar(layout, image_id)) != made_from:
            raise UserError(
                f"{layout.training_images(training_set)}: image '{image_id}' has changed or is missing; "
                "--config retrain=last or retrain=scratch trains with the images that are"
            )
    return table["image_id"].tolist()
