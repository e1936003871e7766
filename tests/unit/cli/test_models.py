"""A model that is given away is used like the one that it is of."""

import pytest
from forkserver import command, refused
from typed import build_registration

from cohortreg.files import read_json, write_json
from cohortreg.learning import weights
from cohortreg.learning.devices import Device
from cohortreg.methods.model_pages import page
from cohortreg.methods.trained import Trained
from cohortreg.model_files import CARD, README, WEIGHTS

NETWORK = {"architecture": "conv_only", "channels": 2, "layers": 2}
STAGES = [{"steps": 1, "downsample": 2}]


@pytest.fixture
def model(tmp_path):
    registration, _ = build_registration(NETWORK, STAGES, [8, 8, 8])
    saved = weights.save(tmp_path / "knees" / WEIGHTS, registration.state_dict())
    card = {"model": "knees", "network": NETWORK, "stages": STAGES, "similarity": "mse", "grid": [8, 8, 8]}
    write_json(tmp_path / "knees" / CARD, card | {"weights_sha256": saved, "preprocess": {"grid": [8, 8, 8]}})
    return tmp_path / "knees"


def test_a_model_is_given_away_as_two_files_and_a_page(model, tmp_path):
    there = tmp_path / "away"
    done = command("model", "export", model, there)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in there.iterdir()} == {WEIGHTS, CARD, README}
    assert (there / README).read_text("utf-8") == page(there)
    device = Device("cpu", "32-true")
    assert Trained(there, device).version == Trained(model, device).version
    again = command("model", "inspect", there)
    assert again.stdout == page(there)
    assert "away already exists; name a folder that is not" in refused("model", "export", model, there)


def test_weights_that_are_not_the_cards_are_not_given_away(model, tmp_path):
    write_json(model / CARD, read_json(model / CARD) | {"weights_sha256": "0" * 64})
    assert "not the weights that model.json beside them is of" in refused(
        "model", "export", model, tmp_path / "away"
    )
    assert not (tmp_path / "away").exists()
    assert "no such file; train the model" in refused("model", "inspect", tmp_path)
