"""A small cohort, registered and evaluated, with everything that figures and report read."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from cohortreg.cohort.tables import write_table
from cohortreg.config import Configuration
from cohortreg.digests import digest
from cohortreg.files import write_json
from cohortreg.images.grid import Grid
from cohortreg.images.io import Image, write_image
from cohortreg.jobs.evaluate import evaluate_shard, registered_pairs
from cohortreg.jobs.tables import write_tables
from cohortreg.layout import Layout
from cohortreg.maps.coded import write_coded
from cohortreg.maps.transforms import to_physical

SHAPE = (10, 12, 8)
# An image id is a file name: as malicious as one can be.
EVIL = "<img src=x onerror=alert(1)>&\"'"
IDS = ("a", "b", EVIL)
PAIRS = (("a", "b"), ("b", EVIL), (EVIL, "a"))
STAGE = {
    "steps": 2, "downsample": 2, "training_steps": 3, "batch_size": 2,
    "learning_rate": 5e-4, "schedule": "cosine", "stride": 1, "window": 2,
    "weight": 70, "weight_increment": 0.1, "fold_threshold": 5,
}  # fmt: skip


def configuration(labels: bool = True, models: bool = True) -> Configuration:
    stages = [STAGE, STAGE | {"steps": 1, "downsample": 1}]
    network = {"architecture": "unet", "down": [2, 4, 8], "up": [4, 4]}
    methods = ["identity", "affine", *(["icon-2step", "icon-3step"] if models else [])]
    given = {
        "cohort": "tiny",
        "images": "images.tsv",
        "pairs": "pairs.tsv",
        "root": "raw",
        "preprocess": {"grid": [10, 12, 8]},
        "methods": methods,
        "models": {"icon": {"network": network, "similarity": "mse", "stages": stages}} if models else {},
        "structures": {"core": [1], "outer_rim": [2]} if labels else {},
    }
    return Configuration.read(given)


def make_results(
    root,
    labels: bool = True,
    models: bool = True,
    failures: dict[str, list[str]] | None = None,
    sets: Sequence[str] = ("", "", ""),
    shape: Sequence[int] = SHAPE,
) -> tuple[Layout, Configuration]:
    """Write the results of a cohort of three images and three pairs below `root`.

    failures: method -> for each of the pairs why it failed, empty where it did not. sets: of the pairs. shape: of the
    images, of two axes for 2D ones.
    """
    layout, config = Layout(root), configuration(labels, models)
    rng = np.random.default_rng(1)
    affine = np.diag([*(2.0, 1.0, 1.5)[: len(shape)], 1.0])
    for shift, image_id in enumerate(IDS):
        label = np.zeros(shape, np.uint8)
        label[np.s_[3:7, 3 + shift : 7 + shift, 2:6][: len(shape)]] = 2
        label[np.s_[4:6, 4 + shift : 6 + shift, 3:5][: len(shape)]] = 1
        write_image(
            layout.image(image_id), Image((label / 2 + rng.random(shape) / 2).astype(np.float32), affine)
        )
        if labels:
            write_image(layout.label(image_id), Image(label, affine))
    grid = Grid(shape, affine)
    for strength, method in enumerate(config.methods):
        for moving, fixed in PAIRS:
            for path in (layout.forward(method, moving, fixed), layout.inverse(method, moving, fixed)):
                displacement = torch.from_numpy(rng.normal(0, 0.03 * strength, (1, len(shape), *shape)))
                write_coded(path, to_physical(displacement, grid, grid))
        table = pd.DataFrame(PAIRS, columns=["moving", "fixed"]).assign(
            time_s=0.5, hardware="abacus, 7 beads"
        )
        if failures and method in failures:
            table["failure"] = failures[method]
        layout.registered_shard(method, 0).parent.mkdir(parents=True)
        table.to_csv(layout.registered_shard(method, 0), index=False)
        evaluate_shard(
            layout, method, 0, registered_pairs(layout, method, 0), config.structures, lambda: None
        )
    _write_cohort(layout)
    _write_training(layout, config)
    similarities = dict.fromkeys(config.methods, "") | {"affine": "MI"}
    pairs = pd.DataFrame(PAIRS, columns=["moving", "fixed"]).assign(set=sets)
    write_table(layout.pairs, pairs)
    write_tables(layout, config.methods, config.models, similarities, 1, reference="affine", seed=1)
    return layout, config


def _write_cohort(layout: Layout) -> None:
    counts = {"images": 3, "train": 0, "test": 3, "pairs": 3, "excluded_images": 1, "excluded_pairs": 1}
    warnings = [
        "1 test subject is also in training (s<1>): the results on them are not those of unseen subjects."
    ]
    layout.images.write_text("image_id\tsubject_id\n" + "".join(f"{image_id}\tsubject\n" for image_id in IDS))
    write_json(layout.cohort, {"name": "tiny", **counts, "warnings": warnings})
    rows = [
        ["image", "broken", "broken.nii is cut short"],
        ["pair", "broken a", "image 'broken' is <excluded>"],
    ]
    write_table(layout.excluded, pd.DataFrame(rows, columns=["kind", "id", "reason"]))


def write_training_set(layout: Layout, *image_ids: str) -> str:
    """Write the list of a training set; returns the name that it has by its content."""
    table = pd.DataFrame({"image_id": image_ids, "digest": "0"})
    name = digest(*table.to_numpy().ravel())[:16]
    write_table(layout.training_images(name), table)
    return name


def _write_training(layout: Layout, config: Configuration) -> None:
    columns = ["step", "similarity", "inverse_consistency", "loss", "folds", "weight", "steps_per_second"]
    training_set = write_training_set(layout, "another")
    for model, settings in config.models.items():
        write_json(layout.model_training(model), {"training_set": training_set})
        for stage in range(1, len(settings.stages) + 1):
            stages = settings.plain()["stages"][:stage]
            card = {
                "model": model, "stage": stage, "steps": sum(one["steps"] for one in stages), "stages": stages,
                "similarity": "mse", "grid": SHAPE, "images": 3, "seed": 1, "final_weight": 71.5,
                "training_seconds": 185.0, "hardware": "abacus, 7 beads", "threads": 1, "git_commit": "c0ffee",
                "software": {"python": "3.11", "torch": "2.13.0"},
            }  # fmt: skip
            write_json(layout.model_card(model, stage), card)
            history = [[step, 0.1 / step, 0.01, 0.2, 3.0, 70 + step, 2.0] for step in (1, 2, 3)]
            pd.DataFrame(history, columns=columns).to_csv(layout.history(model, stage), index=False)
