"""Which images each model learns from: those there when it was first trained, until retraining is asked for.

A training set is a list of images and of what was preprocessed from them, and is named after its content. A cohort that
grows has a new set; its models keep theirs.
"""

import shutil
from collections.abc import Mapping, Sequence

import pandas as pd

from cohortreg.cohort.tables import write_table
from cohortreg.errors import UserError
from cohortreg.files import digest, digest_file, read_json, whole, write_json
from cohortreg.layout import Layout

#: What `retrain` may be, and with what a training then starts: as a new model's does, or with the last weights.
RETRAIN = ("scratch", "last")


def assign_training_sets(
    layout: Layout,
    images: pd.DataFrame,
    sidecars: Mapping[str, str],
    models: Sequence[str],
    retrain: str | None,
) -> list[str]:
    """Write the cohort's training set, and give it to every model that has none or is to be trained again.

    images: rows of the training images. sidecars: SHA-256 of the sidecar of each image. retrain: see `RETRAIN`, None to
    leave models that have a training set with theirs. Returns a sentence for each model whose set is not the cohort's.
    """
    if not models:
        return []
    if images.empty:
        raise UserError(
            f"{layout.images}: no training images; mark images with split 'train', or use no models"
        )
    current = images[["image_id"]].assign(sidecar=[sidecars[image_id] for image_id in images["image_id"]])
    name = digest(*current.to_numpy().ravel())[:16]
    if not layout.training_images(
        name
    ).is_file():  # what is there is the same, and what follows from it up to date
        write_table(layout.training_images(name), current)
    behind = []
    for model in models:
        path = layout.model_training(model)
        given = read_json(path) if path.is_file() else None
        if given is None or (retrain and given["training_set"] != name):
            start = None if given is None or retrain == "scratch" else _keep_weights(layout, model)
            given = {"training_set": name, "images": len(current), "start": start}
        if given["training_set"] != name:
            behind.append(
                f"{model} was trained on an earlier set of {given['images']} images, now there are {len(current)}; "
                "--config retrain=last or retrain=scratch trains it again"
            )
        write_json(path, given)
    return behind


def _keep_weights(layout: Layout, model: str) -> str | None:
    """Put the weights of a model's stages aside, since its training replaces them; returns their digest."""
    stages = sorted(layout.models.glob(f"{model}/stage-*/weights.safetensors"))
    for path in stages:
        with whole(layout.start_weights(model, path.parent.name.removeprefix("stage-"))) as beside:
            shutil.copyfile(path, beside)
    return digest(*map(digest_file, stages)) if stages else None


def training_of(layout: Layout, model: str) -> dict:
    """The training set of a model, how many images it has, and the digest of the weights that training starts with."""
    path = layout.model_training(model)
    if not path.is_file():
        raise UserError(f"{path}: no such file; run cohortreg cohort with this model first")
    return read_json(path)


def training_images(layout: Layout, training_set: str) -> list[str]:
    """The images of a training set; raises UserError where one is not as it was any more."""
    table = pd.read_csv(layout.training_images(training_set), sep="\t", dtype=str, keep_default_na=False)
    for image_id, sidecar in table.itertuples(index=False):
        path = layout.sidecar(image_id)
        if not path.is_file() or digest_file(path) != sidecar:
            raise UserError(
                f"{layout.training_images(training_set)}: image '{image_id}' is not there as it was any more; "
                "--config retrain=last or retrain=scratch trains with the images that are"
            )
    return table["image_id"].tolist()
