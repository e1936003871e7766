"""A configuration that fits a cohort's images and this machine, with comments."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from cohortreg.importers.dataset_json import read_description
from cohortreg.importers.folders import counted
from cohortreg.importers.learn2reg import dataset_file
from cohortreg.importers.survey import Survey

#: The network halves the grid this many times over, its first stage included.
MULTIPLE = 16
#: Voxels of the largest grid that a processor, and a GPU, is given.
MOST_VOXELS = {False: 1_000_000, True: 3_000_000}
#: By what part the voxel size of images may differ from the median, if they are to keep it.
ALIKE = 0.1
#: Images to train on that make a network worthwhile, and from which on it is the larger one.
ENOUGH, MANY = 10, 50
#: Seconds of a training step of the larger network for each voxel and core, as measured on hippocampi (see
#: docs/measured/hippocampus), and how much faster a GPU is.
SECONDS, FASTER = 2.0e-5, 30
#: Steps of a stage for each training image, at least and at most; and hours that training may take.
STEPS, FEWEST, MOST, HOURS = 25, 200, 800, 3
#: Structures that tables have columns for.
STRUCTURES = 30


class Machine(NamedTuple):
    """Cores that this process may use, and whether there is a GPU."""

    cores: int
    gpu: bool


class Preprocessing(NamedTuple):
    """Voxels along right, anterior, superior, how images are brought to them, and why."""

    grid: list[int]
    fit: str
    why: str


def preprocessing(survey: Survey, gpu: bool) -> Preprocessing:
    """Choose the grid: that of the images if they are alike and not too large, else one of fewer, larger voxels."""
    largest, typical = survey.shapes.max(axis=0), np.median(survey.shapes, axis=0)
    spacing = np.median(survey.spacings, axis=0)
    alike = bool((np.abs(survey.spacings / spacing - 1) <= ALIKE).all())
    cover = np.percentile(survey.shapes, 95, axis=0) if (largest > 1.5 * typical).any() else largest
    grid = _multiple(np.ceil(cover / MULTIPLE))
    size = " x ".join(f"{number:.3g}" for number in spacing)
    if alike and math.prod(grid) <= MOST_VOXELS[gpu]:
        cropped = ", some are cropped" if (survey.shapes > grid).any() else ""
        return Preprocessing(grid, "pad", f"voxels of all images are about {size} mm and stay so{cropped}")
    extent = typical * spacing
    voxel = (math.prod(extent) / MOST_VOXELS[gpu]) ** (1 / len(extent))
    pieces = np.minimum(extent / voxel, np.ceil(typical)) / MULTIPLE
    grid = _multiple(np.ceil(pieces))
    if math.prod(grid) > MOST_VOXELS[gpu]:
        grid = _multiple(np.round(pieces))
    why = "images have too many voxels for this machine" if alike else "voxels of the images differ in size"
    return Preprocessing(grid, "resample", why)


def _multiple(numbers: np.ndarray) -> list[int]:
    return [int(max(1, number)) * MULTIPLE for number in numbers]


def structure_names(folder: Path) -> dict[int, str]:
    """Return the names that a dataset.json, if there is one, gives to label values."""
    source = dataset_file(folder)
    labels = read_description(source).get("labels") if source.is_file() else None
    names: dict[int, str] = {}
    for key, name in labels.items() if isinstance(labels, dict) else ():
        if isinstance(name, int):  # as nnU-Net writes it
            key, name = name, key
        text = re.sub(r"\W+", "_", str(name).strip().lower(), flags=re.ASCII).strip("_")
        if str(key).isdigit() and re.match("(?!(mean|std|union)$)[a-z]", text) and text not in names.values():
            names[int(key)] = text
    return names


def proposed(
    cohort: str,
    tables: Path,
    root: Path,
    images: pd.DataFrame,
    pairs: int,
    survey: Survey,
    names: Mapping[int, str],
    machine: Machine,
    more: str,
) -> str:
    """Write a configuration.

    Args:
        tables: Folder of images.tsv and pairs.tsv.
        root: Folder that their paths start from.
        more: The command that adds images to the tables.
    """
    chosen = preprocessing(survey, machine.gpu)
    voxels = math.prod(chosen.grid)
    trained = int((images["split"] == "train").sum())
    steps = training_steps(trained, voxels, machine)
    register = min(machine.cores, 1 if voxels < 500_000 else 2)
    image_shards = min(len(images), max(machine.cores, len(images) // 500))
    pair_shards = min(pairs, max(machine.cores // register, pairs // 500))
    sides = set(images["side"]) - {""}
    lines = [
        f"# {counted(len(images), 'image')}, {counted(pairs, 'pair')}: written by cohortreg init; yours to change.",
        "# What is not here has its default, see docs/configuration.md.",
        f"cohort: {_text(cohort)}",
        f"images: {_text(tables / 'images.tsv')}",
        f"pairs: {_text(tables / 'pairs.tsv')}",
        f"root: {_text(root)}  # what the paths in images.tsv start from",
        "# Adds to the tables what is new in the folder, and changes no row:",
        *(f"#   {line}" for line in more.splitlines()),
        "",
        "preprocess:",
        f"  grid: {chosen.grid}  # voxels along right, anterior, superior; multiples of {MULTIPLE}, for the network",
        f"  fit: {chosen.fit}  # {chosen.why}",
        "  mirror: left  # left images are mirrored, so that all look alike"
        if len(sides) == 2
        else "  mirror: none  # left or right, if the column side of images.tsv is filled in and all are to look alike",
        "",
        *_structures(survey, names),
        *_model(steps, trained, in_words(training_seconds(steps, voxels, machine))),
        f"threads: {{train: {min(machine.cores, 16)}, register: {register}}}",
        f"shards: {{images: {image_shards}, pairs: {pair_shards}}}  # jobs to divide the work into",
    ]
    return "\n".join(lines) + "\n"


def training_steps(trained: int, voxels: int, machine: Machine) -> int:
    """Return the steps of a stage; 0 where there are too few images, or they would take too long."""
    affordable = int(HOURS * 3600 / training_seconds(1, voxels, machine))
    steps = min(max(FEWEST, STEPS * trained), MOST * (2 if machine.gpu else 1), affordable) // 50 * 50
    return steps if trained >= ENOUGH and steps >= FEWEST else 0


def training_seconds(steps: int, voxels: int, machine: Machine) -> float:
    """Estimate what both stages take, at most, where nothing else runs on the machine."""
    return 2 * steps * SECONDS * voxels / (FASTER if machine.gpu else min(machine.cores, 16))


def in_words(seconds: float) -> str:
    """A duration as one estimates it: 90 minutes and more in hours, shorter ones in tens of minutes."""
    if seconds >= 5400:
        return f"{seconds / 3600:.2g} hours"
    return f"{max(1, math.ceil(seconds / 600)) * 10} minutes"


def _structures(survey: Survey, names: Mapping[int, str]) -> list[str]:
    """The section of the structures that every label has."""
    if not survey.values:
        return ["# Without label maps there are no structures, and no Dice.", ""]
    values = sorted(survey.values[:STRUCTURES])
    rows = {value: f"{_text(names.get(value, f'label_{value}'))}: [{value}]" for value in values}
    shared = [row for value, row in rows.items() if value not in survey.missing]
    lines = [
        "# What Dice is measured on: names of your choice, and their values in the label maps. An image that lacks one",
        "# is left out.",
    ]
    lines += ["structures:", *(f"  {row}" for row in shared)] if shared else ["# structures:"]
    lines += [
        f"#  {row}  # not in {survey.missing[value]:,} of {counted(survey.labels, 'label')}"
        for value, row in rows.items()
        if value in survey.missing
    ]
    return [*lines, ""]


def _model(steps: int, trained: int, duration: str) -> list[str]:
    """The sections of the network and of the rows."""
    rows = ["identity", "affine", "demons", "fit"]
    if not steps:
        why = (
            f"{trained} to train on, and a network needs {ENOUGH} or more"
            if trained < ENOUGH
            else f"training would take more than {HOURS} hours here"
        )
        return [f"# No network: {why}.", f"methods: [{', '.join(rows)}]", ""]
    network: dict[str, Any] = {"down": [1, 32, 48, 64], "up": [32, 32, 32]}
    if trained < MANY:
        network = {"down": [1, 16, 32, 48], "up": [32, 32, 32]}
    stage = "schedule: cosine, learning_rate: 1.0e-3, stride: 2"
    return [
        "models:",
        f"  dual:  # two stages, at half and at full resolution; trained within about {duration} on this machine",
        "    network:",
        f"      {{architecture: dual_stream, down: {network['down']}, finest: 2, up: {network['up']}, "
        "smoothing: 0.75}",
        "    stages:",
        f"      - {{steps: 1, downsample: 2, training_steps: {steps}, batch_size: 4, {stage},",
        "         weight: 60, weight_increment: 1, fold_threshold: 1, window: 1.3}",
        f"      - {{steps: 1, downsample: 1, training_steps: {steps}, batch_size: 2, {stage},",
        "         weight: 400, weight_increment: 4, fold_threshold: 5, window: 2.5}",
        "",
        f"methods: [{', '.join([*rows, 'dual-2step', 'dual-2step-fit'])}]",
        "",
    ]


def _text(value: object) -> str:
    """A text as YAML has it, in quotation marks where it would be read as anything else, such as true or .5."""
    return yaml.safe_dump([str(value)], default_flow_style=True, width=math.inf, allow_unicode=True)[1:-2]
