"""docs/trained-models.md: its configurations, with the model that they name in its place."""

import pytest
import yaml
from pages import blocks
from projects import REPOSITORY
from typed import build_registration

from cohortreg.files import write_json
from cohortreg.learning import weights
from cohortreg.methods import registry
from cohortreg.model_files import CARD, WEIGHTS

PAGE = REPOSITORY / "docs" / "trained-models.md"
AS_A_ROW, AS_A_START = (block.text for block in blocks(PAGE) if block.language == "yaml")
NETWORK = {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]}
STAGES = [{"steps": 2, "downsample": 2}, {"steps": 1, "downsample": 1}, {"steps": 1, "downsample": 1}]


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch) -> None:
    """The model that the page names, of a folder with nothing else."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/knees/models/icon/stage-3"
    weights.save(folder / WEIGHTS, build_registration(NETWORK, STAGES, [16, 16, 16])[0].state_dict())
    preprocess = {"grid": [16, 16, 16], "fit": "pad", "mirror": "left", "percentiles": [0, 99]}
    card = {"network": NETWORK, "stages": STAGES, "similarity": "mse", "grid": [16, 16, 16]}
    write_json(folder / CARD, card | {"preprocess": preprocess})


def test_a_configuration_that_says_nothing_of_images_is_whole():
    config = registry.read(yaml.safe_load(AS_A_ROW))
    registry.check(config)
    assert config.methods == ["identity", "affine", "fit", "knees"]
    assert config.preprocess.grid == [16, 16, 16] and config.preprocess.fit == "pad"


def test_a_model_starts_from_the_one_that_it_names():
    config = registry.read(yaml.safe_load(AS_A_ROW) | yaml.safe_load(AS_A_START))
    registry.check(config)
    assert config.models["icon"].network.plain() == NETWORK
    assert config.methods[-2:] == ["icon-3step", "knees"]
