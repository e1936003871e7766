"""ICON (Greer et al., ICCV 2021): training of a stage, and registration with a trained one."""

import json
import time
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from cohortreg.errors import UserError
from cohortreg.files import digest, digest_file, read_json, whole, write_json
from cohortreg.icon.losses import StageObjective
from cohortreg.icon.similarities import SIMILARITIES
from cohortreg.icon.stages import build_registration, full_resolution, inherit, steps
from cohortreg.icon.steps import DisplacementNetwork
from cohortreg.images.io import Image
from cohortreg.layout import Layout
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
        "similarity": settings["model"]["similarity"],
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
    similarity = SIMILARITIES[settings["similarity"]](stages[-1]["window"])
    return StageObjective(registration, before, stages[-1]["downsample"], similarity, stages[-1]["stride"])


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
    """Registration by a trained stage: both directions of a pair in one batch."""

    similarity = "MSE"

    def __init__(self, layout: Layout, model: str, stage: int, fabric: Fabric):
        card = read_json(layout.model_card(model, stage))
        path = layout.weights(model, stage)
        registration, _ = build_registration(card["network"], card["stages"], card["grid"])
        tensors, _ = weights.load(path)
        weights.load_into(registration, tensors, path)
        self.version = f"icon-1 {digest_file(path)}"
        self.similarity = card["similarity"].upper()
        self.grid = tuple(card["grid"])
        self.fabric = fabric
        self.registration = for_registration(full_resolution(registration, card["stages"]), fabric)

    @torch.inference_mode()
    def __call__(self, moving: Image, fixed: Image) -> Registration:
        pair = torch.stack([self._tensor(moving), self._tensor(fixed)])
        phi = self.registration(pair, pair.flip(0)).on_grid(self.grid)
        displacement = (phi - identity_map(self.grid, phi.device)).cpu()
        return Registration(displacement[:1], displacement[1:])

    def _tensor(self, image: Image) -> Tensor:
        if image.array.shape != self.grid:
            raise UserError(
                f"an image of {image.array.shape} voxels does not fit a model of {self.grid}; "
                "preprocess it to the model's grid"
            )
        return self.fabric.to_device(torch.from_numpy(image.array)[None])


def find_stage(layout: Layout, method: str) -> tuple[str, int] | None:
    """Model and stage that a row such as `icon-3step` names; None where no trained stage has that name."""
    for path in sorted(layout.root.glob("models/*/stage-*/model.json")):
        card = read_json(path)
        if method == f"{card['model']}-{steps(card['stages'])}step":
            return card["model"], len(card["stages"])
    return None
