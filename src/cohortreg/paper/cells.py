"""One training of the paper's experiments: a network, on a data set, with a weight of inverse consistency."""

import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from cohortreg.config import Network, Stage
from cohortreg.digests import digest
from cohortreg.files import whole, write_json
from cohortreg.icon.networks import MLP
from cohortreg.icon.objective import icon_loss, sample_points
from cohortreg.icon.stages import build_network
from cohortreg.icon.steps import DisplacementNetwork
from cohortreg.layout import PaperLayout
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import TrainingImages, draw_pairs
from cohortreg.learning.devices import precision_on
from cohortreg.learning.training import train
from cohortreg.losses.terms import Batch, LossTerms, Objective
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.jacobian import folds
from cohortreg.paper.plan import Cell
from cohortreg.paper.settings import Preset
from cohortreg.provenance import git_commit, hardware

FOREGROUND = 0.5
EXAMPLES = 8
AT_ONCE = 64  # pairs that are registered together when measuring

# Pairs of neighbouring background pixels (row, column; row, column + 1) that swap places when Figure 3 starts.
SWAPS = ((2, 3), (3, 23), (24, 2), (24, 23))


class Pairs(Objective):
    """Trains a registration of pairs at their own resolution; inverse consistency on or off the grid."""

    def __init__(self, registration: nn.Module, off_grid: bool):
        super().__init__(registration)
        self.off_grid = off_grid

    def forward(self, batch: Batch) -> LossTerms:
        """Compute the loss terms of a batch of pairs."""
        shape = batch.moving.shape[2:]
        points = identity_map(shape, batch.moving.device)
        if self.off_grid:
            points = sample_points(shape, 1, batch.generator, batch.moving)
        return icon_loss(self.registration, batch.moving, batch.fixed, points)


def swap_pixels(network: MLP) -> None:
    """Let an MLP start from a map that swaps the pixels of `SWAPS`, and is the identity everywhere else.

    Its last layer has a bias for each pixel's displacement.
    """
    rows, columns = network.grid
    with torch.no_grad():
        displacement = network.last.bias.view(2, rows, columns)
        for row, column in SWAPS:
            displacement[1, row, column] = 1 / (columns - 1)
            displacement[1, row, column + 1] = -1 / (columns - 1)


def run_cell(
    layout: PaperLayout,
    cell: Cell,
    settings: Preset,
    seed: int,
    fabric: Fabric,
    progress: Callable[[TrainingState], None] = lambda state: None,
) -> dict[str, Any]:
    """Train a cell, from its last checkpoint if there is one, measure it on held-out pairs and write both.

    Returns:
        What was measured.

    Raises:
        UserError: As by `train` and `TrainingImages`.
    """
    images = _images(layout, cell, "train", fabric)
    precision = precision_on(fabric.device, settings.precision)
    stage = _stage(cell, settings)
    objective = _objective(cell, settings.networks.network(cell.network), images.grid, seed)
    network = getattr(settings.networks, cell.network).plain()
    follows_from = {key: value for key, value in stage.plain().items() if key != "steps"}
    made_from = digest(
        json.dumps([network, follows_from, cell, seed, precision], sort_keys=True), images.recorded
    )
    checkpoints = layout.checkpoints(*cell) / made_from[:16]
    commit, started = git_commit(), time.perf_counter()
    train(objective, images, stage, seed, fabric, checkpoints, settings.checkpoint_every, progress)
    facts = {
        "dataset": cell.dataset,
        "network": cell.network,
        "lambda": cell.weight,
        "variant": cell.variant,
        "size": images.grid[0],
        "training_images": len(images),
        "training_steps": stage.training_steps,
        "batch_size": stage.batch_size,
        "weight_from": stage.weight_from,
        "weight_rise": stage.weight_rise,
        "seed": seed,
        "training_seconds": round(time.perf_counter() - started, 1),
        "precision": precision,
        "hardware": hardware(fabric.device.type),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "git_commit": commit,
    }
    test = _images(layout, cell, "test", fabric)
    measured, examples = measure(objective.registration.eval(), test, settings.pairs, seed, fabric)
    with whole(layout.examples(*cell)) as beside:
        np.savez_compressed(beside, **examples)
    write_json(layout.measured(*cell), facts | measured)
    shutil.rmtree(layout.checkpoints(*cell))
    return facts | measured


def _stage(cell: Cell, settings: Preset) -> Stage:
    """The settings of the only stage: the weight rises to the cell's, and stays there."""
    network = getattr(settings.networks, cell.network)
    return Stage(
        steps=1,
        training_steps=network.training_steps,
        learning_rate=network.learning_rate,
        batch_size=network.batch_size,
        schedule="cosine",
        weight=cell.weight,
        weight_from=settings.weight_from,
        weight_rise=settings.weight_rise,
        weight_increment=0,
        fold_threshold=0,
    )


def _images(layout: PaperLayout, cell: Cell, split: str, fabric: Fabric) -> TrainingImages:
    array, index = layout.packed(cell.dataset, split), layout.packed_index(cell.dataset, split)
    images = TrainingImages(array, index, fabric.device)
    images.verify()
    return images


def _objective(cell: Cell, network: Network, grid: tuple[int, int], seed: int) -> Pairs:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        predictor = build_network(network, grid)
    if cell.variant != "table1":
        assert isinstance(predictor, MLP)  # as planned
        swap_pixels(predictor)
    return Pairs(DisplacementNetwork(predictor), off_grid=cell.variant != "swapped-on-grid")


def foreground_dice(warped: Tensor, fixed: Tensor) -> Tensor:
    """Dice of the pixels above 0.5 of two images [batch, 1, *grid]: 2 |A and B| / (|A| + |B|), [batch]."""
    a, b = warped.flatten(1) > FOREGROUND, fixed.flatten(1) > FOREGROUND
    return 2 * (a & b).sum(1) / (a.sum(1) + b.sum(1))


@torch.inference_mode()
def measure(
    registration: nn.Module, images: TrainingImages, pairs: int, seed: int, fabric: Fabric
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Mean Dice and folds over pairs of held-out images in both directions, and the first pairs as registered.

    Every cell of a data set is measured on the same pairs. The examples: moving, fixed and warped [pairs, *grid],
    phi and its way back phi_back [pairs, 2, *grid] in unit coordinates.
    """
    registration = fabric.to_device(registration)
    rows_a, rows_b = draw_pairs(len(images), pairs, seed, 0)
    dice, folded, examples = [], [], dict[str, Any]()
    for start in range(0, pairs, AT_ONCE):
        images_a, images_b = (images.batch(rows[start : start + AT_ONCE]) for rows in (rows_a, rows_b))
        moving, fixed = torch.cat([images_a, images_b]), torch.cat([images_b, images_a])
        phi = registration(moving, fixed).on_grid(images.grid)
        warped = interpolate(moving, phi)
        dice.append(foreground_dice(warped, fixed))
        folded.append(folds(phi).float())
        if not examples:
            names = ("moving", "fixed", "warped", "phi", "phi_back")
            arrays = (images_a[:, 0], images_b[:, 0], warped.chunk(2)[0][:, 0], *phi.chunk(2))
            examples = {
                name: array[:EXAMPLES].cpu().numpy() for name, array in zip(names, arrays, strict=True)
            }
    means = {"dice": torch.cat(dice).mean().item(), "folds": torch.cat(folded).mean().item()}
    return means | {"pairs": pairs}, examples
