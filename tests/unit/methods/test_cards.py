"""What is looked at of a model that comes from elsewhere, before anything runs."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typed import build_registration

from cohortreg.config import Configuration, Optimisation, merge, merged
from cohortreg.errors import UserError
from cohortreg.files import write_json
from cohortreg.jobs.register import open_row
from cohortreg.learning import weights
from cohortreg.learning.devices import Device
from cohortreg.methods.cards import read_card
from cohortreg.methods.registry import check, read, similarity_of
from cohortreg.methods.trained import Trained
from cohortreg.model_files import CARD, WEIGHTS

CONFIG = Path(__file__).parents[3] / "config" / "demo.yaml"
GRID = [24, 48, 48]
PREPROCESS = {"grid": GRID, "fit": "resample", "mirror": "left", "percentiles": [1, 99], "labels": "native"}
MODEL = {
    "model": "knees",
    "steps": 1,
    "network": {"architecture": "conv_only", "channels": 2, "layers": 2},
    "stages": [{"steps": 1, "downsample": 2, "stride": 1, "window": 2}],
    "similarity": "mse",
    "regularity": "icon",
    "noise": 0,
    "final_weight": 1.0,
    "grid": GRID,
    "preprocess": PREPROCESS,
}


@pytest.fixture
def folder(tmp_path) -> Path:
    registration, _ = build_registration(MODEL["network"], MODEL["stages"], GRID)
    saved = weights.save(tmp_path / WEIGHTS, registration.state_dict())
    write_json(tmp_path / CARD, MODEL | {"weights_sha256": saved})
    return tmp_path


def configured(folder: Path, **preprocess) -> Configuration:
    """The demo's configuration with the model as a row."""
    more = {"pretrained": {"knees": str(folder)}, "preprocess": preprocess, "phantom": None}
    more["methods"] = ["identity", "affine", "knees"]
    return Configuration.read(merge(merged(CONFIG), more))


def refused(config: Configuration) -> str:
    with pytest.raises(UserError) as caught:
        check(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_of_the_cohorts_images_passes(folder):
    check(configured(folder))
    card = {key: value for key, value in MODEL.items() if key != "preprocess"}
    write_json(folder / CARD, card)  # of an earlier version, which does not say it
    check(configured(folder, mirror="none"))


def test_of_a_row_that_fit_refines_the_model_is_looked_at_as_well(folder):
    config = configured(folder, mirror="none").model_copy(
        update={"methods": ["identity", "affine", "knees-fit"]}
    )
    assert "preprocess.mirror is none" in refused(config)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"grid": [24, 48, 40]}, "preprocess.grid is [24, 48, 40]; set preprocess.grid to [24, 48, 48]"),
        ({"grid": [24, 48]}, "preprocess.grid is [24, 48]; set preprocess.grid to [24, 48, 48]"),
        ({"fit": "pad"}, "preprocess.fit is pad; set preprocess.fit to resample"),
        ({"mirror": "none"}, "preprocess.mirror is none; set preprocess.mirror to left"),
        (
            {"percentiles": [0, 100]},
            "preprocess.percentiles is [0, 100]; set preprocess.percentiles to [1, 99]",
        ),
    ],
)
def test_a_model_of_other_images_is_refused_with_what_to_set(folder, given, words):
    said = refused(configured(folder, **given))
    assert said.startswith("configuration: pretrained.knees: ") and words in said


def without_preprocess(folder: Path, **changes) -> dict:
    """A configuration that says nothing of preprocessing."""
    given = {"cohort": "a", "images": "i.tsv", "pairs": "p.tsv", "root": "."}
    return given | {"pretrained": {"knees": str(folder)}, "methods": ["affine", "knees"]} | changes


def test_what_a_configuration_does_not_say_of_its_images_is_the_models(folder):
    write_json(folder / CARD, MODEL | {"preprocess": PREPROCESS | {"fit": "pad", "percentiles": [0, 99]}})
    config = read(without_preprocess(folder))
    check(config)
    assert config.preprocess.plain() == PREPROCESS | {"fit": "pad", "percentiles": [0, 99]}
    assert config == Configuration.read(without_preprocess(folder, preprocess=config.preprocess.plain()))
    partly = read(without_preprocess(folder, preprocess={"labels": "grid", "mirror": "left"}))
    assert partly.preprocess.grid == GRID and partly.preprocess.labels == "grid"
    said = refused(read(without_preprocess(folder, preprocess={"mirror": "right"})))
    assert (
        "with mirror left, but preprocess.mirror is right; set preprocess.mirror to left or leave it out"
        in said
    )


def test_a_model_that_no_row_uses_says_nothing_of_images(folder):
    with pytest.raises(UserError, match="preprocess: missing"):
        read(without_preprocess(folder, methods=["affine"]))
    with pytest.raises(UserError, match="preprocess: missing"):
        read(without_preprocess(folder, pretrained=["knees"]))
    with pytest.raises(UserError, match=r"methods\[0\]: {} is not of type 'string'"):
        read(without_preprocess(folder, methods=[{}], preprocess={"grid": GRID}))


def test_models_of_images_that_differ_leave_nothing_to_take(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(folder, other, dirs_exist_ok=True)
    write_json(other / CARD, MODEL | {"preprocess": PREPROCESS | {"mirror": "none"}})
    models = {"knees": str(folder), "others": str(other)}
    with pytest.raises(UserError) as caught:
        read(without_preprocess(folder, pretrained=models, methods=["affine", "knees", "others-fit"]))
    assert str(caught.value) == (
        "configuration: pretrained: knees is a model for images with mirror left, and others for none; take one of "
        "them out of methods."
    )


def test_a_model_that_is_not_there_is_said_before_what_would_follow_from_it(tmp_path):
    with pytest.raises(UserError, match=r"pretrained\.knees: .*no such file"):
        read(without_preprocess(tmp_path / "nowhere"))


TRAINED = {"training_steps": 1, "batch_size": 1, "learning_rate": 1e-3, "schedule": "cosine"}
TRAINED |= {"weight": 1, "weight_increment": 0, "fold_threshold": 0}
STAGE = TRAINED | MODEL["stages"][0]
AVSM = {"method": "avsm", "settings": {"affine_channels": [4], "down": [2, 4, 4], "up": [4]}}


def starting(folder: Path, grid=GRID, **model) -> dict:
    """A configuration of a model that starts from the one in a folder."""
    given = {"cohort": "a", "images": "i.tsv", "pairs": "p.tsv", "root": ".", "preprocess": {"grid": grid}}
    return given | {"models": {"mine": {"init": str(folder), "stages": [STAGE]} | model}}


def test_a_model_that_starts_from_another_has_its_network_where_it_names_none(folder):
    config = read(starting(folder))
    assert config.models["mine"].network.plain() == MODEL["network"]
    check(config)
    check(read(starting(folder, stages=[STAGE, STAGE | {"downsample": 1}])))  # one more, which starts anew
    check(read(starting(folder, [16, 16, 16])))  # convolutions are of any grid
    assert config.models["mine"].up_to(1) == read(starting(folder, init=None)).models["mine"].model_copy(
        update={"network": config.models["mine"].network}
    )


@pytest.mark.parametrize(
    ("card", "given", "words"),
    [
        ({}, {"network": {"architecture": "conv_only", "channels": 3, "layers": 2}}, "channels 2, layers 2 as the"),
        ({}, {"stages": [STAGE | {"steps": 2}]}, "has 1 as the steps of stages[0], and this one 2"),
        ({}, {"stages": [STAGE | {"downsample": 1}]}, "has 2 as the downsample of stages[0], and this one 1"),
        ({}, AVSM | {"stages": [TRAINED | {"steps": 1}]}, "is a model of icon, and this one's method is avsm"),
        ({"axes": "LIP", "preprocess": None}, {}, "learnt from images whose axes run to LIP"),
        ({"network": {"architecture": "mlp", "hidden": [3, 3]}}, {"grid": [16] * 3}, "weights of images of [24, 48"),
        (AVSM, AVSM | {"grid": [16] * 3, "stages": [TRAINED | {"steps": 1}]}, "weights of images of [24, 48"),
        (
            AVSM,
            AVSM | {"settings": AVSM["settings"] | {"flow_steps": 3}, "stages": [TRAINED | {"steps": 1}]},
            "has 10 as the flow_steps, and this one 3",
        ),
    ],
)  # fmt: skip
def test_a_model_of_another_architecture_is_nothing_to_start_from(folder, card, given, words):
    given = dict(given)
    write_json(folder / CARD, MODEL | card)
    said = refused(read(starting(folder, given.pop("grid", GRID), **given)))
    assert said.startswith("configuration: models.mine.init: ") and words in said


def test_what_no_row_needs_starts_from_nothing(tmp_path):
    with pytest.raises(UserError, match=r"models.mine.init: .*no such file"):
        read(starting(tmp_path / "nowhere"))
    config = starting(tmp_path / "nowhere", network=MODEL["network"])
    assert "models.mine.init: " in refused(read(config))
    check(read(config | {"methods": ["affine"]}))


def test_labels_are_nothing_that_a_network_sees(folder):
    check(configured(folder, labels="grid"))


def test_the_grid_of_a_model_of_other_axes_is_turned_first(folder):
    write_json(folder / CARD, MODEL | {"axes": "LIP", "grid": [24, 40, 48], "preprocess": None})
    check(configured(folder, grid=[24, 48, 40]))
    assert "set preprocess.grid to [24, 48, 40]" in refused(configured(folder, grid=[24, 40, 48]))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / CARD).unlink(), "model.json: no such file; train the model, or import"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no such weights"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "not a safetensors file, or cut short"),
        (
            lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1]),
            "not a safetensors file, or cut short",
        ),
        (lambda folder: (folder / CARD).write_text(""), "is cut short or damaged"),
        (lambda folder: (folder / CARD).write_text("[" * 10**5), "is cut short or damaged"),
        (lambda folder: (folder / CARD).write_bytes(b"\xff"), "is cut short or damaged"),
        (lambda folder: (folder / CARD).write_text("[]"), "it holds no JSON object"),
        (
            lambda folder: write_json(folder / CARD, MODEL | {"method": "newer"}),
            "no trainable method 'newer'",
        ),
        (lambda folder: write_json(folder / CARD, MODEL | {"method": ["a"]}), "no trainable method ['a']"),
        (lambda folder: write_json(folder / CARD, MODEL | {"axes": "XYZ"}), "is not an orientation"),
        (
            lambda folder: write_json(folder / CARD, MODEL | {"preprocess": {"grid": GRID, "bias_field": 1}}),
            "preprocess.bias_field: unknown; the model is from another version",
        ),
    ],
)
def test_a_model_that_is_not_there_or_damaged_is_refused(folder, spoil, words):
    spoil(folder)
    assert words in refused(configured(folder))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert "no such file" in refused(configured(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    assert "name the folder of a model" in refused(configured(tmp_path / "file"))


@settings(max_examples=40)
@given(data=st.data())
def test_a_card_with_a_part_missing_or_of_another_kind_opens_or_is_refused(tmp_path_factory, data):
    """Whatever it is, every way to a card ends in the model or in a sentence."""
    folder = tmp_path_factory.mktemp("model")
    card = copy.deepcopy(MODEL)
    where = data.draw(st.sampled_from([card, card["network"], card["stages"][0], card["preprocess"]]))
    key = data.draw(st.sampled_from([*where, "newer", "method", "axes"]))
    value = data.draw(st.sampled_from([None, "newer", -1, [], {}, [1], {"a": 1}, 0.5, True, "gone"]))
    where[key] = value
    if value == "gone":
        del where[key]
    registration, _ = build_registration(MODEL["network"], MODEL["stages"], GRID)
    weights.save(folder / WEIGHTS, registration.state_dict())
    (folder / CARD).write_text(json.dumps(card))
    device = Device("cpu", "32-true")
    for use in (
        lambda: read_card(folder),
        lambda: check(configured(folder)),
        lambda: similarity_of("knees", {}, {"knees": str(folder)}, {}),
        lambda: Trained(folder, device, Optimisation(steps=1, learning_rate=1e-3)),
        lambda: open_row("knees", None, 1, 1, device, model=str(folder)),
    ):
        try:
            use()
        except UserError as error:
            assert "\n" not in str(error)


def test_weights_of_another_model_are_not_taken_for_the_cards(folder):
    registration, _ = build_registration(MODEL["network"], MODEL["stages"], GRID)
    weights.save(folder / WEIGHTS, registration.state_dict())
    with pytest.raises(UserError, match=r"not the weights that model\.json beside them is of"):
        Trained(folder, Device("cpu", "32-true"))


LOOKED_AT = """
import sys
from cohortreg import config
from cohortreg.methods.registry import check, missing
overlay = {"pretrained": {"knees": sys.argv[2]}, "methods": ["affine", "knees"]}
whole = config.Configuration.read(config.merge(config.merged(sys.argv[1]), overlay))
check(whole), missing(whole)
print(not {"torch", "SimpleITK", "pandas", "scipy"}.isdisjoint(sys.modules))
"""


def test_a_model_is_looked_at_without_pytorch(folder):
    """The workflow does so for itself, and its jobs read the same file."""
    command = [sys.executable, "-c", LOOKED_AT, str(CONFIG), str(folder)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
