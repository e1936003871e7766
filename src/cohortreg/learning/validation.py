"""Validation of a training on pairs that it does not learn from."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cohortreg.errors import NotFiniteError
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import TrainingImages, validation_pairs
from cohortreg.losses.terms import Objective

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Columns of the history of a training, empty where nothing was measured.
MEASURED = ["validation_similarity", "validation_inverse_consistency", "validation_loss"]
MEASURED_DICE = "validation_dice"
#: Part of the similarity loss of training pairs by which that of validation pairs is a lot larger.
GAP = 0.1

#: Given rows of a moving and a fixed image and both images [1, 1, *grid], their Dice; NaN where one has no label.
Overlap = Callable[[int, int, Tensor, Tensor], float]


class Validation:
    """Measures the loss on validation pairs every so many steps of a training, and keeps the weights of the lowest.

    Args:
        images: The validation images, at least two.
        seed: Of the pairs, see `validation_pairs`, and of what is random in the loss, so that every measurement sees
            the same.
        every: Steps from one measurement to the next; after a training's last step there is one as well.
        keep: The weights that a training ends with, "best" or "last".
        overlap: Of a pair under the objective's map as it is then, which is measured besides and decides nothing.
    """

    def __init__(
        self, images: TrainingImages, seed: int, every: int, keep: str, overlap: Overlap | None = None
    ):
        self.images, self.overlap = images, overlap
        self.seed, self.every, self.keep = seed, every, keep
        self.pairs = list(zip(*validation_pairs(len(images), seed), strict=True))

    def due(self, state: TrainingState, steps: int) -> bool:
        """Whether the state of a training of so many steps is to be measured, and was not yet."""
        measured = state.validation[-1][0] if state.validation else 0
        return measured < state.step and (state.step % self.every == 0 or state.step == steps)

    def measure(self, objective: Objective, weight: float, state: TrainingState, fabric: "Fabric") -> None:
        """Measure the objective on the validation pairs and add a row to the state.

        Where the loss is the lowest yet, the objective's weights are kept; where there are labels, Dice is recorded as
        well. Networks use the batch statistics of training, as in registration, and leave them as they are. A loss that
        is not finite is no measurement. The weight of inverse consistency is the same at every one of a training.
        """
        terms = self._terms(objective, fabric)
        if terms is None:
            return
        similarity, inverse_consistency = terms
        loss = similarity + weight * inverse_consistency
        if not state.validation or loss < min(row[-1] for row in state.validation):
            state.best = {name: tensor.cpu().clone() for name, tensor in objective.state_dict().items()}
        state.validation.append([state.step, similarity, inverse_consistency, loss])
        dice = self._dice(objective, fabric)
        if not math.isnan(dice):
            state.dice.append([state.step, dice])

    @torch.no_grad()
    def _terms(self, objective: Objective, fabric: "Fabric") -> tuple[float, float] | None:
        """Mean similarity and inverse consistency; None where they are not finite.

        Pairs are run one by one, since a device may have room for no more.
        """
        objective.eval()
        sums = torch.zeros(2, dtype=torch.float64)
        try:
            for number, rows in enumerate(self.pairs):
                a, b = (np.array([row]) for row in rows)
                generator = torch.Generator().manual_seed(self.seed + number)
                batch = self.images.pairs(a, b, generator)
                with fabric.autocast():
                    similarity, inverse_consistency, _ = objective(batch)
                sums += torch.stack([similarity, inverse_consistency]).double().cpu()
        except NotFiniteError:
            return None
        finally:
            objective.train()
        similarity, inverse_consistency = (sums / len(self.pairs)).tolist()
        return (similarity, inverse_consistency) if sums.isfinite().all() else None

    @torch.no_grad()
    def _dice(self, objective: Objective, fabric: "Fabric") -> float:
        """Mean Dice over the pairs that have one; NaN if there is none."""
        if self.overlap is None:
            return math.nan
        objective.eval()
        scores = []
        for a, b in self.pairs:
            images = (self.images.batch(np.array([row])) for row in (a, b))
            with fabric.autocast():
                scores.append(self.overlap(a, b, *images))
        objective.train()
        present = [dice for dice in scores if not math.isnan(dice)]
        return sum(present) / len(present) if present else math.nan

    def kept(self, state: TrainingState) -> list[float] | None:
        """The row of the state's validation whose weights a training ends with; None where they were not measured."""
        if not state.validation:
            return None
        return min(state.validation, key=lambda row: row[-1]) if self.keep == "best" else state.validation[-1]


def gap_in_words(similarity: float, validation_similarity: float) -> str:
    """A sentence where the similarity loss of validation pairs is more than a tenth above that of training, else ""."""
    gap = validation_similarity - similarity
    if gap <= GAP * abs(similarity):
        return ""
    return (
        f"On validation pairs its similarity loss is {validation_similarity:.3g}, on training pairs {similarity:.3g}: "
        "it does less well on unseen subjects; use more subjects, fewer training_steps, or a dual_stream network."
    )
