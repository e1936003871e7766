"""The configurations of the repository, each the files that are given with --configfile; a tiny preset of the paper."""

from pathlib import Path

from cohortreg.config import merged

CONFIG = Path(__file__).parents[1] / "config"
CONFIGURATIONS = [
    ("demo",),
    ("demo", "comparison"),
    ("hippocampus",),
    ("oai",),
    ("oai", "oai-anatomy-full"),
    ("oai-anatomy",),
]

_STEPS = {"training_steps": 3, "batch_size": 2, "learning_rate": 1e-3}
#: Of the paper's experiments, so small that every network trains in a moment.
PRESET = {
    "table1": {name: ["mlp", "enc_dec", "unet", "conv_only"] for name in ("mnist", "triangles_circles")},
    "weights": [64, 128],
    "size": 12,
    "train_images": 6,
    "test_images": 5,
    "pairs": 4,
    "precision": "32-true",
    "networks": {
        "mlp": {"hidden": [8, 8]} | _STEPS,
        "enc_dec": {"down": [2, 4, 4], "up": [4, 4]} | _STEPS,
        "unet": {"down": [2, 4, 4], "up": [4, 4]} | _STEPS,
        "conv_only": {"channels": 2, "layers": 2} | _STEPS,
    },
    "direct": {"steps": 5, "learning_rate": 1e-3},
    "weight_from": 64,
    "weight_rise": 0.5,
    "checkpoint_every": 2,
}


def cohort_of(names: tuple[str, ...]) -> dict:
    """What the files say of a cohort, later ones over earlier ones."""
    return merged(*(CONFIG / f"{name}.yaml" for name in names))
