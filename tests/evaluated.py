"""A cohort of two pairs whose shards were registered and evaluated, with numbers that are easy to average."""

import math
from pathlib import Path

import pandas as pd
import typed
from cohorts import write_training_set

from cohortreg.cohort.shards import shard_of
from cohortreg.evaluation.csv_files import write_table
from cohortreg.files import write_json
from cohortreg.layout import Layout

MODELS = {"icon": typed.model({"similarity": "mse", "stages": [{"steps": 2, "downsample": 2}]})}
SIMILARITIES = {"identity": "", "icon-2step": "MSE"}
METHODS = ["identity", "icon-2step"]
SHARDS = 7


def row(method, moving, fixed, dice, folds=0, time=1.0, error=0.0, failure=""):
    return {
        "method": method,
        "moving": moving,
        "fixed": fixed,
        "dice_mean": dice,
        "dice_core": dice,
        "hd95_mean": 10 * dice,
        "hd95_core": 10 * dice,
        "folds": folds,
        "folds_percent": folds / 10,
        "log_jacobian_std": folds / 100,
        "inverse_consistency_voxels": error,
        "time_s": time,
        "failure": failure,
    }


def failed(method, moving, fixed, reason):
    return row(method, moving, fixed, math.nan, math.nan, math.nan, math.nan, reason)


def train(layout, *image_ids):
    """The images that the model icon was trained on."""
    write_json(layout.model_training("icon"), {"training_set": write_training_set(layout, *image_ids)})


def write_evaluated(root: Path) -> Layout:
    """Two methods and two pairs, each in its shard beside a pair that the cohort no longer has."""
    layout = Layout(root)
    layout.pairs.write_text("moving\tfixed\nb\tNA\na\tb\n")
    layout.images.write_text("image_id\tsubject_id\na\tanna\nb\tbert\nNA\tcleo\nbert-2\tbert\ndora\tdora\n")
    train(layout, "dora")
    rows = [
        row("icon-2step", "b", "NA", 0.8, folds=3, time=3.0),
        row("icon-2step", "a", "b", 0.6),
        row("identity", "b", "NA", 0.5, error=math.nan),
        row("identity", "a", "b", 0.25),
    ]
    for one in rows:
        shard = shard_of(one["moving"], one["fixed"], shards=SHARDS)
        gone = row(one["method"], f"gone-{one['moving']}", "b", 0.1)
        write_table(layout.evaluated_shard(one["method"], shard), pd.DataFrame([one, gone]))
        hardware = "abacus" if one["method"] == "identity" or one["fixed"] == "b" else "GPU"
        registered = pd.DataFrame([one | {"hardware": hardware}])[["moving", "fixed", "time_s", "hardware"]]
        write_table(layout.registered_shard(one["method"], shard), registered)
    # Left behind by a run with more shards.
    stale = pd.DataFrame({"moving": ["a"], "fixed": ["b"], "time_s": [1.0], "hardware": ["slide rule"]})
    write_table(layout.registered_shard("identity", SHARDS), stale)
    return layout
