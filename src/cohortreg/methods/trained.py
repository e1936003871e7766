"""Registration by a trained model."""

import copy
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from cohortreg.config import LEARNED, Optimisation
from cohortreg.digests import digest
from cohortreg.errors import NotFiniteError, UserError
from cohortreg.images.image import Image
from cohortreg.learning import weights
from cohortreg.learning.devices import Device
from cohortreg.losses.terms import Batch
from cohortreg.maps.axes import Axes
from cohortreg.maps.grids import identity_map
from cohortreg.methods.cards import Card, packages_of, read_card
from cohortreg.methods.interface import Registration, check_finite
from cohortreg.methods.registry import packages_of_similarity, recipe
from cohortreg.model_files import CARD, WEIGHTS
from cohortreg.provenance import running


class Trained:
    """A model's weights and its card: registers both directions of a pair in one batch.

    Args:
        folder: Of the model's weights.safetensors and model.json.
        optimisation: How the networks are fitted to each pair first, by Adam, under the loss of their last stage, or of
            another similarity; None if they are not.

    Raises:
        UserError: There is no model, or it is damaged.
    """

    def __init__(self, folder: Path, device: Device, optimisation: Optimisation | None = None):
        path = folder / WEIGHTS
        self.card = read_card(folder, optimisation is not None)
        self.recipe = recipe(self.card.method)
        self.registration, _ = self.recipe.build(self.card, self.card.grid)
        weights.load_into(self.registration, weights_of(self.card, path), path)
        self.registration = device.to_device(self.registration.eval().requires_grad_(False))
        fitted = json.dumps(optimisation and optimisation.plain(), sort_keys=True)
        turned = [self.card.axes] if self.card.axes else []
        others = packages_of(self.card, training=optimisation is not None)
        if similarity := getattr(optimisation, "similarity", None):
            others += packages_of_similarity(similarity)
        release, read = LEARNED[self.card.method].release, running().reads(path)
        self.version = digest(release, read, device.precision, fitted, *turned, *others)
        self.similarity = self.recipe.similarity_in_words(self.card)
        # A model that we did not train may have learnt from other axes than ours.
        self.axes = Axes(self.card.axes) if self.card.axes else None
        self.grid = self.axes.ours(self.card.grid) if self.axes else tuple(self.card.grid)
        self.device = device
        self.optimisation = optimisation
        if optimisation is None:
            self.registration = self.recipe.ready(self.registration, self.card, device)

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair of preprocessed images."""
        pair = torch.stack([self._tensor(image) for image in (moving, fixed)])
        if self.axes:
            pair = self.axes.to_model(pair)
        grid = pair.shape[2:]
        registration = self.registration
        if self.optimisation is not None:
            seen = [moving.imaged, fixed.imaged]
            if self.axes:
                seen = [self.axes.boxes_to_model(boxes, self.grid) for boxes in seen]
            fitted = self._fitted(pair, torch.tensor(seen, device=pair.device).mT, self.optimisation)
            registration = self.recipe.ready(fitted, self.card, self.device)
        with torch.inference_mode():
            phi = registration(pair, pair.flip(0)).on_grid(grid)
        displacement = (phi - identity_map(grid, phi.device)).cpu()
        if self.axes:
            displacement = self.axes.from_model(displacement)
        if not displacement.isfinite().all():
            raise UserError("the networks' displacement field is not finite")
        return Registration(displacement[:1], displacement[1:])

    def _fitted(self, pair: Tensor, field_of_view: Tensor, optimisation: Optimisation) -> nn.Module:
        """A copy of the registration whose networks, all of them, were trained on this pair alone.

        Batch statistics stay those of the cohort. The same pair gives the same result, whatever came before it.

        Args:
            pair: The moving and the fixed image, [2, 1, *grid].
            field_of_view: Of each in voxels, [2, 2, dim], see `Batch`.
        """
        registration = copy.deepcopy(self.registration).requires_grad_(True)
        card = self.card
        if similarity := getattr(optimisation, "similarity", None):
            card = card.model_copy(update={"similarity": similarity})
        objective = self.recipe.objective(registration, None, card).eval()
        optimizer = torch.optim.Adam(registration.parameters(), lr=optimisation.learning_rate)
        weight = card.final_weight
        assert weight is not None  # or `read_card` had refused it
        moving, fixed = pair.split(1)
        moving_view, fixed_view = field_of_view.split(1)
        for step in range(optimisation.steps):
            generator = torch.Generator().manual_seed(step)
            with self.device.autocast():
                terms = objective(Batch(moving, fixed, moving_view, fixed_view, generator))
            loss = terms.similarity + weight * terms.inverse_consistency
            if not loss.isfinite():
                raise NotFiniteError(
                    f"instance optimisation diverged at step {step + 1}; use a smaller learning rate"
                )
            optimizer.zero_grad()
            loss.backward()
            try:
                optimizer.step()
            except RuntimeError as error:
                if "overflow" not in str(error):  # of Adam's step, whose size is no float32 any more
                    raise
                raise NotFiniteError("instance optimisation diverged; use a smaller learning rate") from None
        if not weights.finite(registration.state_dict().values()):
            raise NotFiniteError("instance optimisation diverged; use a smaller learning rate")
        return registration

    def _tensor(self, image: Image) -> Tensor:
        if image.array.shape != self.grid:
            raise UserError(
                f"an image of {image.array.shape} voxels does not fit a model for {self.grid}; "
                "preprocess it to the model's grid"
            )
        check_finite(image)
        return self.device.to_device(torch.from_numpy(image.array)[None])


def weights_by_stage(folder: Path) -> dict[int, dict[str, Tensor]]:
    """Return a model's weights as each of its stages, from 1, would have them: earlier ones are inside of later ones.

    Raises:
        UserError: There is no model, or its weights are not those of its card.
    """
    card, path = read_card(folder), folder / WEIGHTS
    learns, tensors = recipe(card.method), weights_of(card, path)
    by_stage = {}
    for stage in range(len(card.stages), 0, -1):
        by_stage[stage] = tensors
        with torch.device("meta"):  # for its names alone
            registration, before = learns.build(card.up_to(stage), card.grid)
        if before is not None:
            (inside,) = (f"{name}." for name, part in registration.named_modules() if part is before)
            within = [name for name in tensors if name.startswith(inside)]
            tensors = {name.removeprefix(inside): tensors[name] for name in within}
    return by_stage


def weights_of(card: Card | None, path: Path) -> dict[str, Tensor]:
    """Read the tensors of a model's weights and compare them with its card; if None, with one beside them, if any.

    Raises:
        UserError: They are not those that the card is of; one of an earlier version does not say.
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
