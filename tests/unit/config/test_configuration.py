"""The configuration: what is refused, in which words, and that schema, defaults and README say the same."""

import json

import pytest
import typed
from configurations import CONFIGURATIONS, cohort_of

from cohortreg.config import Configuration
from cohortreg.errors import UserError

SMALLEST = {
    "cohort": "c",
    "images": "i.tsv",
    "pairs": "p.tsv",
    "root": "raw",
    "preprocess": {"grid": [8, 8, 8]},
}


@pytest.fixture
def demo() -> dict:
    """Every value of the demo's configuration, which a test may spoil."""
    return Configuration.read(cohort_of(("demo",))).plain()


def put(config: dict, path: str, value: object) -> None:
    """Set the value at a path such as models.icon.stages.1.steps."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        config = config[part]
    config[last] = value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("models.icon.stages.1.learningrate", 1.0, "stages[1].learningrate: unknown key; did you mean learning_rate?"),
        ("phantom.spacings", [1, 1, 1], "phantom.spacings: unknown key; did you mean spacing?"),
        ("cohrot", "demo", "cohrot: unknown key; did you mean cohort?"),
        ("mirror", "left", "mirror: unknown key; did you mean preprocess.mirror?"),
        ("seed", "one", "seed: 'one' is not of type 'integer'"),
        ("seed", True, "seed: True is not of type 'integer'"),
        ("seed", 8589934592, "seed: 8589934592 is greater than the maximum of 4294967295"),
        ("models.icon.stages.0.stride", 13, "stages[0].stride: is 13, but along one axis the stage's images have 12"),
        (
            "models.icon.network.channels",
            4,
            "models.icon.network.channels: a network of architecture dual_stream has none",
        ),
        (
            "models.icon.network",
            {"architecture": "conv_only", "channels": 4, "layers": 3, "down": [2, 4], "up": [4]},
            "models.icon.network.down: a network of architecture conv_only has none; remove it",
        ),
        (
            "models.icon.network",
            {"architecture": "enc_dec", "down": [2, 4], "up": [4], "bottleneck": 4},
            "models.icon.network.bottleneck: a network of architecture enc_dec has none; remove it",
        ),
        ("models.icon.stages.0.learning_rate", "fast", "learning_rate: 'fast' is not of type 'number'"),
        ("models.icon.stages.0.learning_rate", float("nan"), "learning_rate: 'nan' is not of type 'number'"),
        ("structures", {1: [1]}, "structures.1: the key 1 is not text; put it in quotes"),
        ("structures", {"1": [1]}, "structures: '1' does not match"),
        ("structures", {"a\n": [1]}, "structures: 'a\\n' does not match"),
        ("cohort", 7, "cohort: 7 is not of type 'string'; put it in quotes"),
        ("cohort", "demo\n", "does not match"),
        ("cohort", "c" * 256, "is too long"),
        ("preprocess.fit", "stretch", "preprocess.fit: 'stretch' is not one of ['resample', 'pad']"),
        ("preprocess.percentiles", [99, 1], "preprocess.percentiles: the first, 99, must be below the second, 1"),
        ("preprocess.grid", [25, 48, 48], "models.icon.stages[0].downsample: 2 does not divide preprocess.grid"),
        ("preprocess.grid", [24], "preprocess.grid: [24] is too short"),
        ("preprocess.grid", [24, 48], "preprocess.grid: [24, 48] is not 3D as phantoms are"),
        ("phantom.grid", [24, 48], "phantom.grid: [24, 48] is too short"),
        ("models.icon.stages.1.downsample", 4, "models.icon.stages[1].downsample: is 4 after 2"),
        ("models.icon.network.up", [16] * 5, "down has 5 entries and up 5, but down must have more than up"),
        ("models.icon.network.down", [2, 2, 2, 2, 2], "models.icon.network.down[0]: must be 1, one image at"),
        (
            "models.icon.network",
            {"architecture": "unet", "down": [1, 16, 32], "up": [16]},
            "models.icon.network.down[0]: must be 2, the moving and",
        ),
        ("models.icon.stages", [], "models.icon.stages: [] should be non-empty"),
        ("structures.tibia", [], "structures.tibia: [] should be non-empty"),
        ("structures", {"mean": [1]}, "structures: 'mean' does not match"),
        ("structures", {"union": [1]}, "structures: 'union' does not match"),
        ("report.reference", "icon-7step", "with which the others are compared, is not among methods"),
        ("cohort", "../demo", "cohort: '../demo' does not match"),
        ("exclude_rated", "awful", "exclude_rated: 'awful' is not one of ['good', 'doubtful', 'bad']"),
        ("exclude_rated", "bad", "exclude_rated: needs ratings, the path of a report's qc.tsv"),
        ("exclude_rated", ["bad", "awful"], "exclude_rated[1]: 'awful' is not one of"),
        ("shards.pairs", 0, "shards.pairs: 0 is less than the minimum of 1"),
        ("methods", ["affine", "affine"], "methods: ['affine', 'affine'] has non-unique elements"),
        ("models.icon", 3, "models.icon: 3 is not of type 'object'"),
        ("models.icon.network.architecture", "cnn", "models.icon.network.architecture: 'cnn' is not one of ['unet',"),
        ("models.icon.network", {"down": [1, 2], "up": [2]}, "models.icon.network.architecture: missing"),
        ("models.icon.stages.0.weight_rise", 0.5, "stages[0].weight_from: missing, but weight_rise needs it"),
        ("models.icon.noise", {"a": 1}, "models.icon.noise: {'a': 1} is not of type 'number'"),
        ("phantom", {"grid": [8, 8, 8]}, "phantom: needs grid and spacing, or labels"),
        ("training.accumulate", 3, "models.icon.stages[0].batch_size: 4 pairs cannot be divided into 3 equal parts"),
    ],
)  # fmt: skip
def test_wrong_value_ends_in_one_sentence_that_says_where(demo, path, value, words):
    put(demo, path, value)
    with pytest.raises(UserError) as caught:
        Configuration.read(demo)
    sentence = str(caught.value)
    assert words in sentence
    assert "\n" not in sentence


def test_missing_key_is_named(demo):
    del demo["preprocess"]["grid"]
    with pytest.raises(UserError, match=r"preprocess\.grid: missing, and it has no default; see"):
        Configuration.read(demo)


def test_misspelt_key_is_named_before_the_one_it_leaves_missing(demo):
    demo["preprocess"]["gird"] = demo["preprocess"].pop("grid")
    with pytest.raises(UserError, match=r"preprocess\.gird: unknown key; did you mean grid\?"):
        Configuration.read(demo)


def test_a_configuration_has_nothing_of_another():
    """Nothing of the demo's knees in a cohort that names what it must, and nothing to train."""
    plain = Configuration.read(SMALLEST)
    assert (plain.structures, plain.models, plain.phantom, plain.preprocess.mirror) == ({}, {}, None, "none")
    assert plain.methods == ["identity", "affine", "fit"]
    stages = {"icon": [2, 1], "other": [1]}
    given = {"icon": {"stages": []}, "other": {"stages": []}}
    for name, steps in stages.items():
        given[name]["stages"] = [typed.model({"stages": [{"steps": n}]}).plain()["stages"][0] for n in steps]
    trained = Configuration.read(SMALLEST | {"models": given})
    assert trained.methods == ["identity", "affine", "fit", "icon-3step", "other-1step"]
    assert trained.models["icon"].network.architecture == "dual_stream"
    assert trained.models["icon"].similarity == "squared_lncc"


@pytest.mark.parametrize("names", CONFIGURATIONS, ids="+".join)
def test_what_is_written_of_a_configuration_is_read_as_the_same(names):
    """Jobs get it so, and what they are asked for must not change from one version to the next."""
    given = cohort_of(names)
    read = Configuration.read(given)
    assert Configuration.read(read.plain()) == read
    assert json.dumps(read.plain()) == json.dumps(Configuration.read(read.plain()).plain())
    for model, written in read.plain()["models"].items():
        sparse = type(read.models[model]).sparse
        assert set(written) - set(given["models"][model]) <= {"network", "similarity", "regularity", "noise"}
        assert not set(sparse) & (set(written) - set(given["models"][model]))


@pytest.mark.parametrize("names", CONFIGURATIONS, ids="+".join)
def test_a_training_takes_the_accelerator_that_is_there(names):
    """See `learning.devices` for what `auto` takes."""
    training = Configuration.read(cohort_of(names)).training
    assert training.precision == training.accelerator == "auto"


@pytest.mark.parametrize(
    ("architecture", "missing"), [("mlp", "hidden"), ("conv_only", "channels"), ("enc_dec", None)]
)
def test_an_architecture_needs_its_own_keys(demo, architecture, missing):
    demo["models"]["icon"]["network"] = {"architecture": architecture}
    if missing is None:
        demo["models"]["icon"]["network"] |= {"down": [2, 4, 8], "up": [4, 4]}
        Configuration.read(demo)
        return
    with pytest.raises(UserError, match=rf"models.icon.network.{missing}: missing; {architecture} needs"):
        Configuration.read(demo)


def as_text(value: object) -> object:
    """A value as Snakemake has what is nested in --config: all of it text."""
    if isinstance(value, dict):
        return {key: as_text(part) for key, part in value.items()}
    if isinstance(value, list):
        return [as_text(part) for part in value]
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


@pytest.mark.parametrize("names", CONFIGURATIONS, ids="+".join)
def test_configuration_that_was_given_as_text_is_the_same(names):
    given = Configuration.read(cohort_of(names))
    text = as_text(given.plain())
    text["method_settings"] = given.method_settings  # whose types the methods know
    read = Configuration.read(text)
    assert read == given
    assert read.models["icon"].stages[0].steps == given.models["icon"].stages[0].steps
    assert {type(stage.steps) for model in read.models.values() for stage in model.stages} == {int}


@pytest.mark.parametrize(
    ("path", "text", "number"),
    [
        ("models.icon.stages.0.learning_rate", "5e-4", 5e-4),
        ("models.icon.stages.0.training_steps", "1e2", 100),
        ("models.icon.stages.0.training_steps", 100.0, 100),
        ("models.icon.stages.0.downsample", "2", 2),
        ("training.recompute_activations", "True", True),
        ("preprocess.grid", ["24", "48", "48"], [24, 48, 48]),
        ("ratings", "None", None),
        ("retrain", "~", None),
        ("seed", "007", 7),
        ("report.note", "1e5", "1e5"),
        ("report.note", "001", "001"),
    ],
)
def test_what_is_given_as_text_is_read_as_what_is_asked_for(demo, path, text, number):
    put(demo, path, text)
    read = Configuration.read(demo).plain()
    for part in path.split("."):
        read = read[int(part) if part.isdigit() else part]
    assert read == number and type(read) is type(number)


def test_a_key_without_a_description_of_its_own_that_is_not_text(demo):
    demo["method_settings"] = {None: {}}
    with pytest.raises(UserError, match=r"method_settings: the key None is not text; put it in quotes"):
        Configuration.read(demo)
