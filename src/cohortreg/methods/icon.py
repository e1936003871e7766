"""ICON (Greer et al., ICCV 2021): steps composed over stages, kept regular by inverse consistency."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cohortreg.config import SIMILARITIES, IconModel
from cohortreg.files import write_json
from cohortreg.icon.objective import REGULARITIES, StageObjective
from cohortreg.icon.published import check_release, read_published, release_of, translate
from cohortreg.icon.releases import named
from cohortreg.icon.stages import at_resolution, build_registration, inherit
from cohortreg.icon.steps import DisplacementNetwork
from cohortreg.learning import weights
from cohortreg.learning.devices import Device
from cohortreg.losses.similarities import make_similarity
from cohortreg.losses.words import similarity_in_words
from cohortreg.maps.axes import CANONICAL, Axes
from cohortreg.methods.cards import IconCard
from cohortreg.methods.recipes import Recipe
from cohortreg.model_files import CARD, WEIGHTS
from cohortreg.provenance import running

Described = IconModel | IconCard


class Icon(Recipe[Described]):
    """Networks whose steps compose, from coarse to fine; each stage freezes what came before it (section 4.5)."""

    @staticmethod
    def similarity_in_words(model: Described) -> str:
        """Name the similarity as the report does."""
        return similarity_in_words(model.similarity)

    @staticmethod
    def build(model: Described, grid: Sequence[int]) -> tuple[nn.Module, nn.Module | None]:
        """Build the registration of the last stage, and the part of it that this stage freezes."""
        return build_registration(model.network, model.stages, grid)

    @staticmethod
    def inherit(registration: nn.Module, before: nn.Module) -> None:
        """Start the new networks of a stage from the weights of the ones before."""
        inherit(registration, before)

    @staticmethod
    def objective(registration: nn.Module, before: nn.Module | None, model: Described) -> StageObjective:
        """Build the objective of the last stage."""
        stage = model.stages[-1]
        # `read_card` refuses a card without them where networks are to be optimised.
        assert model.regularity and model.noise is not None and stage.stride and stage.window
        return StageObjective(
            registration,
            before,
            stage.downsample,
            similarity=make_similarity(model.similarity, stage.window),
            regularity=REGULARITIES[model.regularity],
            stride=stage.stride,
            noise=model.noise,
            beyond_grid=SIMILARITIES[model.similarity].beyond_grid,
        )

    @staticmethod
    def on_full_grid(registration: nn.Module, model: Described) -> nn.Module:
        """Return the registration for images at full resolution."""
        return at_resolution(registration, model.stages[-1].downsample, 1)

    @staticmethod
    def ready(registration: nn.Module, model: Described, device: Device) -> nn.Module:
        """Prepare a trained registration for inference on a device."""
        return for_registration(Icon.on_full_grid(registration, model), device)


def for_registration(registration: nn.Module, device: Device) -> nn.Module:
    """A trained registration on its device, in evaluation mode, its networks in its precision.

    Where training mixes precisions, its networks keep no float32 at all: their activations take half the memory.
    Maps and images stay float32.
    """
    registration = device.to_device(registration.eval().requires_grad_(False))
    with device.autocast():
        if torch.is_autocast_enabled(device.device.type):
            for module in registration.modules():
                if isinstance(module, DisplacementNetwork):
                    module.to(torch.get_autocast_dtype(device.device.type))
    return registration


def import_weights(
    path: Path,
    folder: Path,
    grid: Sequence[int] | None = None,
    axes: str | None = None,
    percentiles: Sequence[float] | None = None,
    mirror: str | None = None,
    published: str | None = None,
) -> dict[str, Any]:
    """Write a model's folder from a file of published weights, see `icon.published`, and return the model's card.

    Args:
        grid: Voxels of the images that the model is for, along its own axes. Without it, the file has to be one of
            `icon.releases`, whose facts then stand for what is not given.
        axes: The directions that its axes run to.
        percentiles: Of the intensities of an image, which become 0 and 1.
        mirror: The side whose images are mirrored.
        published: The name of the release that the file is, where its content does not tell.

    Raises:
        UserError: The file is not one of weights, or not of a published model.
    """
    tensors, release = read_published(path), None
    if published is not None:
        release = named(published)
        check_release(release, tensors, path)
    elif grid is None:
        release = release_of(tensors, path)
    known: dict[str, Any] = {"fit": "resample", "percentiles": [1, 99], "mirror": "left"}
    if release:
        known = release.preprocess
        grid, axes = grid or release.grid, axes or release.axes
    assert grid is not None
    turn = Axes(axes or CANONICAL)
    translated, settings = translate(tensors, list(grid), path)
    saved = weights.save(folder / WEIGHTS, translated)
    preprocess = {"grid": list(turn.ours(grid))} | known
    if percentiles is not None:
        preprocess["percentiles"] = list(percentiles)
    if mirror is not None:
        preprocess["mirror"] = mirror
    card = {"model": folder.name, "steps": sum(stage["steps"] for stage in settings["stages"])}
    card |= {"grid": list(grid), "preprocess": preprocess}
    if turn.letters != CANONICAL:
        card["axes"] = turn.letters
    origin = {"source": path.name, "source_sha256": running().reads(path), "weights_sha256": saved}
    if release:
        origin |= {"published": release.name, "release": release.address, "intensities": release.intensities}
    card |= settings | origin
    write_json(folder / CARD, card)
    return card
