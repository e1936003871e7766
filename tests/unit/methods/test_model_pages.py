"""What a person reads who is given a model."""

import pytest
from typed import build_registration

from cohortreg.errors import UserError
from cohortreg.files import write_json
from cohortreg.learning import weights
from cohortreg.methods.model_pages import page
from cohortreg.model_files import CARD, WEIGHTS

NETWORK = {"architecture": "conv_only", "channels": 2, "layers": 2}
STAGE = {"steps": 2, "downsample": 2, "training_steps": 60, "learning_rate": 1e-3}
CARD_OF = {
    "model": "Knees",
    "network": NETWORK,
    "stages": [STAGE],
    "similarity": "squared_lncc",
    "regularity": "icon",
    "grid": [24, 48, 40],
    "axes": "LIP",
    "preprocess": {"grid": [24, 40, 48], "fit": "pad", "mirror": "left", "percentiles": [0.5, 99]},
    "images": 12,
    "training_seconds": 7200.0,
    "validation": {"images": 3, "dice": 0.71, "gap": ""},
    "init": {"model": "brains", "weights_sha256": "c0ffee"},
}


@pytest.fixture
def folder(tmp_path):
    registration, _ = build_registration(NETWORK, [STAGE], [24, 48, 40])
    weights.save(tmp_path / WEIGHTS, registration.state_dict())
    write_json(tmp_path / CARD, CARD_OF)
    return tmp_path


def test_a_page_says_what_images_a_model_is_for_and_how_it_came_about(folder):
    text = page(folder)
    # Each of two networks: 2 channels from 2, then 3 from these and the images, by kernels of 5 voxels.
    assert f"{2 * (2 * 2 * 125 + 2 + 4 * 3 * 125 + 3):,} parameters" in text and text.startswith("# Knees\n")
    for line in (
        "- voxels: 24 x 40 x 48 along right, anterior, superior",
        "- axes of the arrays that it learnt from: LIP",
        "- fit: padded or cropped to that grid, voxels keep their size",
        "- intensities: percentiles 0.5 and 99 become 0 and 1",
        "- side: left ones are mirrored",
        "- architecture: conv_only, channels 2, layers 2",
        "- steps by stage: 2 at 1/2 of the resolution",
        "- similarity: squared LNCC",
        "- images: 12",
        "- stages:\n  1. steps 2, downsample 2, training_steps 60, learning_rate 0.001",
        "- time of the last stage: 2.0 h",
        "- validation: images 3, dice 0.71",
        "- started from: brains, weights c0ffee",
        f"  knees: {folder}\nmethods: [affine, knees, knees-fit]",
        f"cohortreg register MOVING FIXED --model {folder}",
    ):
        assert f"{line}\n" in text, line


def test_a_page_of_a_card_that_says_next_to_nothing_has_no_empty_line(folder):
    bare = {key: CARD_OF[key] for key in ("network", "stages", "similarity", "grid")}
    write_json(folder / CARD, bare | {"training_seconds": "long", "validation": 3, "software": None})
    lines = page(folder).splitlines()
    assert "- side: any" in lines and "- voxels: 24 x 48 x 40 along right, anterior, superior" in lines
    assert not [line for line in lines if line.endswith(": ")]


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no such file; train the model"):
        page(tmp_path)
