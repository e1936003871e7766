"""Methods that learn: training of a stage, and registration with what was trained."""

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cohortreg.config import Model, Optimisation, Training
from cohortreg.errors import NotFiniteError, UserError
from cohortreg.files import digest, digest_file, whole, write_json
from cohortreg.icon.networks import recompute_activations
from cohortreg.images.image import Image
from cohortreg.layout import CARD, WEIGHTS, Layout
from cohortreg.learning import weights
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import TrainingImages
from cohortreg.learning.devices import Device, precision_on
from cohortreg.learning.training import HISTORY, train
from cohortreg.learning.validation import MEASURED, MEASURED_DICE, Validation, gap_in_words
from cohortreg.maps.axes import Axes
from cohortreg.maps.grids import identity_map
from cohortreg.methods.cards import Card, read_card
from cohortreg.methods.interface import Registration
from cohortreg.methods.overlap import LabelOverlap
from cohortreg.provenance import git_commit, hardware, software

if TYPE_CHECKING:
    import pandas as pd
    from lightning_fabric import Fabric


class Learned:
    """Registration by a trained model: both directions of a pair in one batch.

    A method that learns says here how its registration is built and what its training minimises. A registration is
    a module that takes a moving and a fixed image [batch, 1, *grid] and returns a map, see `icon.steps`. `model` is
    the model's part of the configuration, or its card; of its `stages` the last is the one that is meant.

    folder: has the model's weights.safetensors and model.json. optimisation: None, or steps and learning_rate of
    Adam by which the networks are fitted to each pair first, under the loss of their last stage, or of another
    similarity.
    """

    #: Changes when the results of the same weights would, see `registry.Entry`.
    release = ""

    @staticmethod
    def similarity_in_words(model: Model | Card) -> str:
        """The similarity that training maximises, as the tables show it."""
        raise NotImplementedError

    @staticmethod
    def build(model: Model | Card, grid: Sequence[int]) -> tuple[nn.Module, nn.Module | None]:
        """The registration up to the last stage, and the stages before it, inside of it, which it freezes."""
        raise NotImplementedError

    @staticmethod
    def inherit(registration: nn.Module, before: nn.Module) -> None:
        """Start what the last stage adds from what was learnt before it; where nothing can be, nothing."""

    @staticmethod
    def objective(registration: nn.Module, before: nn.Module | None, model: Model | Card) -> nn.Module:
        """What training of the last stage minimises, see `learning.training.Objective`."""
        raise NotImplementedError

    @staticmethod
    def on_full_grid(registration: nn.Module, model: Model | Card) -> nn.Module:
        """A registration that is trained at its last stage's resolution, of images on the cohort's grid."""
        return registration

    @staticmethod
    def ready(registration: nn.Module, model: Model | Card, device: Device) -> nn.Module:
        """A trained registration of images on the cohort's grid, on its device, in evaluation mode."""
        return device.to_device(registration.eval().requires_grad_(False))

    def __init__(self, folder: Path, device: Device, optimisation: Optimisation | None = None):
        path = folder / WEIGHTS
        self.card = read_card(folder, optimisation is not None)
        self.registration, _ = self.build(self.card, self.card.grid)
        weights.load_into(self.registration, _weights_of(self.card, path), path)
        self.registration = device.to_device(self.registration.eval().requires_grad_(False))
        fitted = json.dumps(optimisation and optimisation.plain(), sort_keys=True)
        turned = [self.card.axes] if self.card.axes else []
        self.version = digest(self.release, digest_file(path), device.precision, fitted, *turned)
        self.similarity = self.similarity_in_words(self.card)
        # A model that we did not train may have learnt from other axes than ours.
        self.axes = Axes(self.card.axes) if self.card.axes else None
        self.grid = self.axes.ours(self.card.grid) if self.axes else tuple(self.card.grid)
        self.device = device
        self.optimisation = optimisation
        self.prepared = self.ready(self.registration, self.card, device) if optimisation is None else None

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        pair = torch.stack([self._tensor(image) for image in (moving, fixed)])
        if self.axes:
            pair = self.axes.to_model(pair)
        grid = pair.shape[2:]
        registration = self.prepared
        if self.optimisation is not None:
            seen = [image.field_of_view or [[0, size] for size in self.grid] for image in (moving, fixed)]
            if self.axes:
                seen = [self.axes.boxes_to_model(boxes, self.grid) for boxes in seen]
            fitted = self._fitted(pair, torch.tensor(seen, device=pair.device).mT)
            registration = self.ready(fitted, self.card, self.device)
        with torch.inference_mode():
            phi = registration(pair, pair.flip(0)).on_grid(grid)
        displacement = (phi - identity_map(grid, phi.device)).cpu()
        if self.axes:
            displacement = self.axes.from_model(displacement)
        if not displacement.isfinite().all():
            raise UserError("the networks' displacement field is not finite")
        return Registration(displacement[:1], displacement[1:])

    def _fitted(self, pair: Tensor, field_of_view: Tensor) -> nn.Module:
        """A copy of the registration whose networks, all of them, were trained on this pair alone.

        pair: [2, 1, *grid]. field_of_view: of each, [2, 2, dim], see `TrainingImages`.

        Batch statistics stay those of the cohort. The same pair gives the same result, whatever came before it.
        """
        registration = copy.deepcopy(self.registration).requires_grad_(True)
        similarity = getattr(self.optimisation, "similarity", None) or self.card.similarity
        card = self.card.model_copy(update={"similarity": similarity})
        objective = self.objective(registration, None, card).eval()
        optimizer = torch.optim.Adam(registration.parameters(), lr=self.optimisation.learning_rate)
        for step in range(self.optimisation.steps):
            generator = torch.Generator().manual_seed(step)
            with self.device.autocast():
                similarity, regularity, _ = objective(*pair.split(1), *field_of_view.split(1), generator)
            loss = similarity + self.card.final_weight * regularity
            if not loss.isfinite():
                raise NotFiniteError(
                    f"instance optimisation diverged at step {step + 1}; give it a smaller learning rate"
                )
            optimizer.zero_grad()
            loss.backward()
            try:
                optimizer.step()
            except RuntimeError as error:
                if "overflow" not in str(error):  # of Adam's step, whose size is no float32 any more
                    raise
                raise NotFiniteError(
                    "instance optimisation diverged; give it a smaller learning rate"
                ) from None
        if not weights.finite(registration.state_dict().values()):
            raise NotFiniteError("instance optimisation diverged; give it a smaller learning rate")
        return registration

    def _tensor(self, image: Image) -> Tensor:
        if image.array.shape != self.grid:
            raise UserError(
                f"an image of {image.array.shape} voxels does not fit a model of {self.grid}; "
                "preprocess it to the model's grid"
            )
        if not np.isfinite(image.array).all():
            raise UserError("an image has NaN or infinite values; preprocess it again")
        return self.device.to_device(torch.from_numpy(image.array)[None])


def train_stage(
    method: type[Learned],
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

    settings: the section `training` of the configuration. A training that was stopped goes on from its last
    checkpoint, as long as settings, seed, images and earlier stages are the same. Of several processes that train
    together, the first writes.

    Raises UserError where what it learns from, or starts with, is not what was written any more: the packed images, the
    list of the training set, weights, or checkpoints.
    """
    import pandas as pd

    from cohortreg.cohort.training_sets import check_start, training_of

    model = model.up_to(stage)
    training = training_of(layout, name)
    images = _packed(layout, training["training_set"], fabric)
    if fabric.is_global_zero:  # once for all that train together
        check_start(layout, name, training["start"])
    fabric.barrier()
    precision = precision_on(fabric.device, settings.precision)
    objective = stage_objective(method, layout, name, model, images.grid, seed, training["start"] is not None)
    if settings.recompute_activations:
        recompute_activations(objective)
    registration = method.on_full_grid(objective.registration, model)
    validation = _validation(layout, training, settings, seed, fabric, registration)
    before = digest_file(layout.weights(name, stage - 1)) if stage > 1 else ""
    made_from = digest(
        json.dumps([model.plain(), precision, seed], sort_keys=True),
        images.recorded,
        before,
        training["start"] or "",
        *([validation.images.recorded] if validation else []),
    )
    started = time.perf_counter()
    state = train(
        objective,
        images,
        model.stages[-1],
        seed + stage,
        fabric,
        layout.checkpoints(name, stage) / made_from[:16],
        settings.checkpoint_every,
        progress,
        stop,
        settings.accumulate,
        validation,
    )
    if not fabric.is_global_zero:
        return
    if state.step < model.stages[-1].training_steps:
        raise UserError(
            f"training of {name} stage {stage} was stopped after step {state.step}; "
            "the same command continues from there"
        )
    history = pd.DataFrame(state.history, columns=HISTORY).astype({"step": int})
    measured = pd.DataFrame(state.validation, columns=["step", *MEASURED]).astype({"step": int})
    dice = pd.DataFrame(state.dice, columns=["step", MEASURED_DICE]).astype({"step": int})
    history = history.merge(measured, on="step", how="left").merge(dice, on="step", how="left")
    with whole(layout.history(name, stage)) as beside:
        history.to_csv(beside, index=False)
    saved = weights.save(layout.weights(name, stage), objective.registration.state_dict())
    card = {
        "model": name,
        "stage": stage,
        "steps": model.steps,
        **model.plain(),
        "weights_sha256": saved,
        "training": settings.model_dump(exclude_unset=True) | {"precision": precision},
        "seed": seed,
        "training_set": training["training_set"],
        "preprocess": training.get("preprocess"),
        "start": training["start"],
        "final_weight": state.weight,
        "training_seconds": float((1 / history["steps_per_second"]).sum()),
        "wall_seconds": time.perf_counter() - started,
    }
    if validation:
        card["validation"] = _validated(validation, state, history) | {"set": training["validation_set"]}
    write_json(layout.model_card(name, stage), card | _circumstances(images, fabric))


def _packed(layout: Layout, image_set: str, fabric: "Fabric", seldom: bool = False) -> TrainingImages:
    """The packed images of a set; the first process compares them with its list and their digest."""
    from cohortreg.cohort.training_sets import check_packed

    files = layout.packed(image_set), layout.packed_index(image_set)
    images = TrainingImages(*files, fabric.device, seldom)
    if fabric.is_global_zero:
        check_packed(layout, image_set, images.ids)
        images.verify()
    return images


def _validation(
    layout: Layout,
    training: Mapping,
    settings: Training,
    seed: int,
    fabric: "Fabric",
    registration: nn.Module,
) -> Validation | None:
    """What measures a training, see `training_of`, on its validation images; None where it has none.

    registration: that is trained, of images on the cohort's grid.
    """
    if training.get("validation_set") is None:
        return None
    images = _packed(layout, training["validation_set"], fabric, seldom=True)
    validation = Validation(images, seed, settings.validate_every, settings.keep)
    if fabric.is_global_zero:  # which measures
        seen = {row for pair in validation.pairs for row in pair}
        ids = [image_id if row in seen else None for row, image_id in enumerate(images.ids)]
        validation.overlap = LabelOverlap(registration, layout, ids)
    return validation


def _validated(validation: Validation, state: TrainingState, history: "pd.DataFrame") -> dict:
    """What a card says of the weights that were kept: as of which step, and how they do on both kinds of pairs."""
    facts = {"images": len(validation.images), "pairs": len(validation.pairs), "keep": validation.keep}
    kept = validation.kept(state)
    if kept is None:
        return facts | {"gap": ""}
    step, similarity, _, loss = kept
    learnt = history[history["step"].between(step - validation.every + 1, step)]["similarity"].mean()
    facts |= {"step": int(step), "loss": loss, "similarity": similarity, "training_similarity": float(learnt)}
    if step in (dice := dict(state.dice)):
        facts["dice"] = dice[step]
    return facts | {"gap": gap_in_words(learnt, similarity)}


def stage_objective(
    method: type[Learned],
    layout: Layout,
    name: str,
    model: Model | Card,
    grid: Sequence[int],
    seed: int,
    goes_on: bool = False,
) -> nn.Module:
    """What training of the model's last stage minimises, with the weights of the stages before it.

    goes_on: start with the stage's weights of an earlier training, where there are any.
    """
    stage = len(model.stages)
    with torch.random.fork_rng():
        torch.manual_seed(seed + stage)
        registration, before = method.build(model, grid)
    if before is not None:
        path = layout.weights(name, stage - 1)
        weights.load_into(before, _weights_of(None, path), path)
        method.inherit(registration, before)
    path = layout.start_weights(name, stage)
    if goes_on and path.is_file():
        earlier = copy.deepcopy(before.state_dict()) if before is not None else {}
        weights.load_into(registration, weights.load(path)[0], path)
        if before is not None:
            before.load_state_dict(earlier)
    return method.objective(registration, before, model)


def _circumstances(images: TrainingImages, fabric: "Fabric") -> dict:
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


def _weights_of(card: Card | None, path: Path) -> dict[str, Tensor]:
    """The tensors of a model's weights. card: the model's, or None to read the one beside them, if there is one.

    Raises UserError where they are not those that the card is of; one of an earlier version does not say.
    """
    tensors, _ = weights.load(path)
    if card is None:
        card = read_card(path.parent) if (path.parent / CARD).is_file() else None
    recorded = card and card.weights_sha256
    if recorded is not None and recorded != weights.digest_of(tensors):
        raise UserError(
            f"{path}: not the weights that {CARD} beside them is of; train or import the model again"
        )
    return tensors
