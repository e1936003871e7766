"""A preset so small that every network trains in a moment."""

import pytest

from cohortreg.layout import PaperLayout
from cohortreg.paper.settings import Preset

STEPS = {"training_steps": 3, "batch_size": 2, "learning_rate": 1e-3}


PRESET = {
    "table1": {name: ["mlp", "enc_dec", "unet", "conv_only"] for name in ("mnist", "triangles_circles")},
    "weights": [64, 128],
    "size": 12,
    "train_images": 6,
    "test_images": 5,
    "pairs": 4,
    "precision": "32-true",
    "networks": {
        "mlp": {"hidden": [8, 8]} | STEPS,
        "enc_dec": {"down": [2, 4, 4], "up": [4, 4]} | STEPS,
        "unet": {"down": [2, 4, 4], "up": [4, 4]} | STEPS,
        "conv_only": {"channels": 2, "layers": 2} | STEPS,
    },
    "direct": {"steps": 5, "learning_rate": 1e-3},
    "weight_from": 64,
    "weight_rise": 0.5,
    "checkpoint_every": 2,
}


@pytest.fixture
def preset() -> Preset:
    return Preset.read(PRESET)


@pytest.fixture
def layout(tmp_path) -> PaperLayout:
    return PaperLayout(tmp_path / "results")
