"""Dice of pairs during a training, on boxes whose overlap is known by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import typed
from torch import nn

from cohortreg.evaluation.overlap import dice, mean_of_structures
from cohortreg.evaluation.structures import structure_masks
from cohortreg.files import write_json, write_sealed
from cohortreg.images.io import Image, read_label, write_image
from cohortreg.jobs.register import open_row
from cohortreg.jobs.train import label_overlap, train_stage
from cohortreg.layout import Layout
from cohortreg.learning.data import pack, validation_pairs
from cohortreg.learning.devices import Device
from cohortreg.learning.fabric import make_fabric
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.transforms import to_physical
from cohortreg.methods.icon import Icon

GRID = (8, 8, 8)
STRUCTURES = {"box": [1, 2], "rod": [3]}


class Shift(nn.Module):
    """Leads from each voxel of the fixed image to the one so many further along the first axis in the moving one."""

    def __init__(self, voxels: float):
        super().__init__()
        self.voxels = voxels

    def forward(self, moving, fixed):
        field = torch.zeros(1, 3, *GRID)
        field[:, 0] = self.voxels / (GRID[0] - 1)
        return DisplacementField(field)


def labelled(
    layout: Layout, image_id: str, boxes: dict[int, tuple[slice, ...]] | None, finer: int = 1
) -> None:
    """What preprocessing leaves of an image: its sidecar, and a label that may have finer voxels."""
    sidecar = {"structures": STRUCTURES, "shape": list(GRID), "label": "x" if boxes else ""}
    write_sealed(layout.sidecar(image_id), sidecar)
    if boxes is None:
        return
    array = np.zeros(GRID, np.uint8)
    for value, box in boxes.items():
        array[box] = value
    for axis in range(3):
        array = array.repeat(finer, axis)
    affine = np.diag([2 / finer, 2 / finer, 2 / finer, 1])
    affine[:3, 3] = (1 / finer - 1) * np.ones(3)  # the outer edges stay where they were
    write_image(layout.label(image_id), Image(array, affine))


@pytest.mark.parametrize("finer", [1, 2])
def test_dice_of_shifted_boxes(tmp_path, finer):
    """Boxes of 4 and rods of 2 voxels along the axis of the shift; the fixed ones begin 2 voxels before."""
    layout = Layout(tmp_path)
    middle = (slice(3, 5), slice(3, 5))
    labelled(layout, "moving", {1: (slice(3, 5), *middle), 2: (slice(5, 7), *middle), 3: (slice(4, 6), 0, 0)})
    labelled(layout, "fixed", {1: (slice(1, 5), *middle), 3: (slice(2, 4), 0, 0)}, finer)
    images = torch.zeros(2, 1, 1, *GRID)
    found = {}
    for shift in (0, 1, 2):
        overlap = label_overlap(Shift(shift), layout, ["moving", "fixed"])
        found[shift] = overlap(0, 1, *images)
        assert overlap.labels[1].shape == GRID
    # Two of four voxels in common and none of two; three of four and one of two; all.
    assert found == pytest.approx({0: (0.5 + 0) / 2, 1: (0.75 + 0.5) / 2, 2: 1.0})


def test_an_image_without_a_label_has_no_dice(tmp_path):
    layout = Layout(tmp_path)
    box = {1: (slice(3, 5),) * 3, 3: (slice(1, 2),) * 3}
    labelled(layout, "labelled", box)
    labelled(layout, "unwanted", box)
    labelled(layout, "unlabelled", None)
    images = torch.zeros(2, 1, 1, *GRID)
    overlap = label_overlap(Shift(0), layout, ["labelled", "unlabelled", "unknown", None])
    assert list(overlap.labels) == [0] and overlap(0, 0, *images) == 1
    assert all(
        math.isnan(overlap(0, row, *images)) and math.isnan(overlap(row, 0, *images)) for row in (1, 2, 3)
    )


STAGE = {"downsample": 2, "training_steps": 8, "learning_rate": 1e-2, "schedule": "constant", "weight": 0.1}
MODEL = {
    "network": {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]},
    "similarity": "mse",
    "stages": [STAGE],
}
TRAINING = {
    "precision": "32-true",
    "accelerator": "cpu",
    "checkpoint_every": 4,
    "validate_every": 4,
    "keep": "last",
}


def cube(corner: int) -> tuple[slice, ...]:
    return (slice(corner, corner + 4),) * 3


def test_a_training_ends_with_the_dice_that_its_network_has_in_the_tables(tmp_path):
    """Of a stage at half resolution, whose network registers images at full resolution in the end."""
    layout, corners = Layout(tmp_path), {"a": 1, "b": 2, "c": 3}
    for image_id, corner in corners.items():
        labelled(layout, image_id, {1: cube(corner), 3: (slice(6, 8), slice(0, corner), 0)})

    def read(image_id: str):
        array = np.zeros(GRID, np.float32)
        array[cube(corners[image_id])] = 1
        return array, [[0, size] for size in GRID]

    for name in ("set", "validation"):
        pack(list(corners), read, layout.packed(name), layout.packed_index(name))
    sets = {"training_set": "set", "images": 3, "start": None, "validation_set": "validation"}
    write_json(layout.model_training("icon"), sets)
    model, training = typed.model(MODEL), typed.training(TRAINING)
    train_stage(Icon, layout, "icon", 1, model, training, 1, make_fabric("cpu", "32-true"))
    history = pd.read_csv(layout.history("icon", 1))
    assert history["step"][history["validation_dice"].notna()].tolist() == [4, 8]

    method = open_row("icon-1step", layout, 1, 1, Device("cpu", "32-true"))
    registered, before = [], []
    for rows in zip(*validation_pairs(3, 1), strict=True):
        ids = [list(corners)[row] for row in rows]
        labels = [read_label(layout.label(image_id)) for image_id in ids]
        field = method(*(Image(read(image_id)[0], np.eye(4)) for image_id in ids)).forward
        for means, displacement in ((registered, field), (before, 0 * field)):
            transform = to_physical(displacement, *(label.grid for label in labels))
            masks = structure_masks(*labels, transform, STRUCTURES)
            means.append(mean_of_structures({name: dice(*both) for name, *both in masks}))
    assert history["validation_dice"].iloc[-1] == pytest.approx(np.mean(registered), abs=1e-6)
    assert abs(np.mean(registered) - np.mean(before)) > 0.01
    assert layout.model_card("icon", 1).read_text().count('"dice"') == 1
