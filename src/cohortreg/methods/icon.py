"""ICON (Greer et al., ICCV 2021): training of a stage, and registration with a trained one."""

import copy
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from cohortreg.errors import UserError
from cohortreg.evaluation.names import similarity_in_words
from cohortreg.files import digest, digest_file, read_json, whole, write_json
from cohortreg.icon.losses import REGULARITIES, StageObjective
from cohortreg.icon.published import read_published, translate
from cohortreg.icon.similarities import SIMILARITIES, WITHIN_GRID
from cohortreg.icon.stages import build_registration, full_resolution, inherit, steps
from cohortreg.icon.steps import DisplacementNetwork
from cohortreg.images.io import Image
from cohortreg.layout import CARD, WEIGHTS, Layout
from cohortreg.learning import weights
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import TrainingImages
from cohortreg.learning.training import HISTORY, train
from cohortreg.maps.grids import identity_map
from cohortreg.methods.interface import Registration
from cohortreg.provenance import git_commit, hardware, software


def train_stage(
    layout: Layout,
    model: str,
    stage: int,
    settings: dict,
    seed: int,
    fabric: Fabric,
    progress: Callable[[TrainingState], None] = lambda state: None,
) -> None:
    """Train a stage of a model and write its weights, history and card.

    settings: `model` (network, similarity, stages) and `training` of the configuration. A training that was
    stopped goes on from its last checkpoint, as long as settings, seed, images and earlier stages are the same.
    """
    network, stages = settings["model"]["network"], settings["model"]["stages"][:stage]
    images = TrainingImages(layout.packed, layout.packed_index, fabric.device)
    objective = stage_objective(layout, model, stages, settings["model"], images.grid, seed)
    before = digest_file(layout.weights(model, stage - 1)) if stage > 1 else ""
    made_from = digest(
        json.dumps(
            [settings["model"] | {"stages": stages}, settings["training"]["precision"], seed], sort_keys=True
        ),
        images.sha256,
        before,
    )
    started = time.perf_counter()
    state = train(
        objective,
        images,
        stages[-1],
        seed + stage,
        fabric,
        layout.checkpoints(model, stage) / made_from[:16],
        settings["training"]["checkpoint_every"],
        progress,
    )
    history = pd.DataFrame(state.history, columns=HISTORY).astype({"step": int})
    with whole(layout.history(model, stage)) as beside:
        history.to_csv(beside, index=False)
    weights.save(layout.weights(model, stage), objective.registration.state_dict())
    card = {
        "model": model,
        "stage": stage,
        "steps": steps(stages),
        "network": network,
        **{key: settings["model"][key] for key in ("similarity", "regularity", "noise")},
        "stages": stages,
        "training": settings["training"],
        "seed": seed,
        "final_weight": state.weight,
        "training_seconds": float((1 / history["steps_per_second"]).sum()),
        "wall_seconds": time.perf_counter() - started,
    }
    write_json(layout.model_card(model, stage), card | _circumstances(images, fabric))


def _circumstances(images: TrainingImages, fabric: Fabric) -> dict:
    """What a training ran on: the images, the hardware, the software."""
    return {
        "grid": list(images.grid),
        "images": len(images),
        "images_sha256": images.sha256,
        "hardware": hardware(fabric.device.type),
        "threads": torch.get_num_threads(),
        "git_commit": git_commit(),
        "software": software(),
    }


def stage_objective(
    layout: Layout, model: str, stages: list[dict], settings: dict, grid: Sequence[int], seed: int
) -> StageObjective:
    """What training of the last of `stages` minimises, with the weights of the stages before it.

    settings: of the model: its network and its similarity.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed + len(stages))
        registration, before = build_registration(settings["network"], stages, grid)
    if before is not None:
        path = layout.weights(model, len(stages) - 1)
        tensors, _ = weights.load(path)
        weights.load_into(before, tensors, path)
        inherit(registration, before)
    return make_objective(registration, before, settings | {"stages": stages})


def make_objective(registration: nn.Module, before: nn.Module | None, settings: dict) -> StageObjective:
    """The objective of the last stage of a model; settings: of the model, as in the configuration or its card."""
    stage = settings["stages"][-1]
    return StageObjective(
        registration,
        before,
        stage["downsample"],
        similarity=SIMILARITIES[settings["similarity"]](stage["window"]),
        regularity=REGULARITIES[settings["regularity"]],
        stride=stage["stride"],
        noise=settings["noise"],
        beyond_grid=settings["similarity"] not in WITHIN_GRID,
    )


def for_registration(registration: nn.Module, fabric: Fabric) -> nn.Module:
    """A trained registration on its device, in evaluation mode, its networks in the precision of the fabric.

    Where training mixes precisions, its networks keep no float32 at all: their activations take half the memory.
    Maps and images stay float32.
    """
    registration = fabric.to_device(registration.eval().requires_grad_(False))
    with fabric.autocast():
        if torch.is_autocast_enabled(fabric.device.type):
            for module in registration.modules():
                if isinstance(module, DisplacementNetwork):
                    module.to(torch.get_autocast_dtype(fabric.device.type))
    return registration


class Icon:
    """Registration by a model: both directions of a pair in one batch.

    folder: has the model's weights.safetensors and model.json. optimisation: None, or steps and learning_rate of
    Adam by which the networks are fitted to each pair first, under the loss of their last stage.
    """

    def __init__(self, folder: Path, fabric: Fabric, optimisation: dict | None = None):
        path = folder / WEIGHTS
        self.card = read_card(folder)
        self.registration, _ = build_registration(
            self.card["network"], self.card["stages"], self.card["grid"]
        )
        tensors, _ = weights.load(path)
        weights.load_into(self.registration, tensors, path)
        self.registration = fabric.to_device(self.registration.eval().requires_grad_(False))
        self.version = digest("icon-3", digest_file(path), json.dumps(optimisation, sort_keys=True))
        self.similarity = similarity_in_words(self.card["similarity"])
        self.grid = tuple(self.card["grid"])
        self.fabric = fabric
        self.optimisation = optimisation
        self.ready = self._ready(self.registration) if optimisation is None else None

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        pair = torch.stack([self._tensor(image) for image in (moving, fixed)])
        registration = self.ready
        if self.optimisation is not None:
            seen = [image.field_of_view or [[0, size] for size in self.grid] for image in (moving, fixed)]
            registration = self._ready(self._fitted(pair, torch.tensor(seen, device=pair.device).mT))
        with torch.inference_mode():
            phi = registration(pair, pair.flip(0)).on_grid(self.grid)
        displacement = (phi - identity_map(self.grid, phi.device)).cpu()
        return Registration(displacement[:1], displacement[1:])

    def _ready(self, registration: nn.Module) -> nn.Module:
        return for_registration(full_resolution(registration, self.card["stages"]), self.fabric)

    def _fitted(self, pair: Tensor, field_of_view: Tensor) -> nn.Module:
        """A copy of the registration whose networks, all of them, were trained on this pair alone.

        pair: [2, 1, *grid]. field_of_view: of each, [2, 2, dim], see `TrainingImages`.

        Batch statistics stay those of the cohort. The same pair gives the same result, whatever came before it.
        """
        registration = copy.deepcopy(self.registration).requires_grad_(True)
        objective = make_objective(registration, None, self.card).eval()
        optimizer = torch.optim.Adam(registration.parameters(), lr=self.optimisation["learning_rate"])
        for step in range(self.optimisation["steps"]):
            generator = torch.Generator().manual_seed(step)
            with self.fabric.autocast():
                terms = objective(*pair.split(1), *field_of_view.split(1), generator)
            optimizer.zero_grad()
            (terms.similarity + self.card["final_weight"] * terms.inverse_consistency).backward()
            optimizer.step()
        return registration

    def _tensor(self, image: Image) -> Tensor:
        if image.array.shape != self.grid:
            raise UserError(
                f"an image of {image.array.shape} voxels does not fit a model of {self.grid}; "
                "preprocess it to the model's grid"
            )
        return self.fabric.to_device(torch.from_numpy(image.array)[None])


def import_weights(path: Path, folder: Path, grid: list[int]) -> None:
    """Write a model's folder from a file of published weights, see `icon.published`."""
    tensors, settings = translate(read_published(path), grid, path)
    weights.save(folder / WEIGHTS, tensors)
    card = {"model": folder.name, "steps": steps(settings["stages"]), "grid": grid, **settings}
    write_json(folder / CARD, card | {"source": path.name, "source_sha256": digest_file(path)})


def read_card(folder: Path) -> dict:
    """What a model's card, model.json, says of it."""
    if not (folder / CARD).is_file():
        raise UserError(f"{folder / CARD}: no such file; train the model, or import its weights, first")
    return read_json(folder / CARD)


def find_stage(layout: Layout, method: str) -> Path | None:
    """Folder of the trained stage that a row such as `icon-3step` names; None where no stage has that name."""
    for path in sorted(layout.root.glob("models/*/stage-*/model.json")):
        card = read_json(path)
        if method == f"{card['model']}-{steps(card['stages'])}step":
            return path.parent
    return None
