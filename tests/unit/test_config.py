"""The configuration: what is refused, in which words, and that schema, defaults and README say the same."""

import copy
from pathlib import Path

import pytest
import yaml

from cohortreg import config as configuration
from cohortreg.errors import UserError

CONFIG = Path(__file__).parents[2] / "config"
NAMED = ("models", "structures", "paper.presets", "method_settings")
FREE = ("method_settings.{name}", "models.{name}.settings")


@pytest.fixture
def demo() -> dict:
    """A copy of the demo's configuration that a test may spoil."""
    return copy.deepcopy(configuration.load(CONFIG / "config.yaml"))


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
        ("structures", {}, "structures: {} should be non-empty"),
        ("report.reference", "icon-7step", "report.reference: 'icon-7step' is not among methods"),
        ("cohort", "../demo", "cohort: '../demo' does not match"),
        ("exclude_rated", "awful", "exclude_rated: 'awful' is not valid"),
        ("exclude_rated", "bad", "exclude_rated: needs ratings, the path of a report's qc.tsv"),
        ("shards.pairs", 0, "shards.pairs: 0 is less than the minimum of 1"),
    ],
)  # fmt: skip
def test_wrong_value_ends_in_one_sentence_that_says_where(demo, path, value, words):
    put(demo, path, value)
    with pytest.raises(UserError) as caught:
        configuration.validate(demo)
    sentence = str(caught.value)
    assert words in sentence
    assert "\n" not in sentence


def test_missing_key_is_named(demo):
    del demo["threads"]["train"]
    with pytest.raises(UserError, match=r"threads\.train: missing"):
        configuration.validate(demo)


def test_misspelt_key_is_named_before_the_one_it_leaves_missing(demo):
    demo["threads"]["trian"] = demo["threads"].pop("train")
    with pytest.raises(UserError, match=r"threads\.trian: unknown key; did you mean train\?"):
        configuration.validate(demo)


def test_file_that_is_not_yaml_is_named(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("cohort: [")
    with pytest.raises(UserError, match=r"broken\.yaml: cannot be read as YAML") as caught:
        configuration.load(CONFIG / "config.yaml", broken)
    assert "\n" not in str(caught.value)


def test_overlay_merges_and_its_structures_and_settings_replace_the_demos(demo):
    demo["method_settings"] = {"demons": {"iterations": [1]}, "syn": {}}
    overlay = {"preprocess": {"fit": "pad"}, "structures": {"anterior": [1]}, "methods": ["affine"]}
    overlay["method_settings"] = {"demons": {}}
    merged = configuration.merge(demo, overlay)
    assert merged["method_settings"] == {"demons": {}}
    assert merged["preprocess"] == demo["preprocess"] | {"fit": "pad"}
    assert merged["structures"] == {"anterior": [1]}
    assert merged["methods"] == ["affine"]
    assert configuration.merge(merged, overlay) == merged
    assert "femoral_cartilage" in demo["structures"]


def test_a_network_of_another_architecture_has_no_keys_of_the_demos(demo):
    other = {"architecture": "conv_only", "channels": 4, "layers": 3}
    merged = configuration.merge(demo, {"models": {"icon": {"network": other}}})
    assert configuration.validate(merged)["models"]["icon"]["network"] == other
    # As Snakemake leaves it, which has merged the files before.
    mixed = copy.deepcopy(demo)
    mixed["models"]["icon"]["network"] = demo["models"]["icon"]["network"] | other
    assert configuration.merge(mixed, {"models": {"icon": {"network": other}}}) == merged
    wider = {"architecture": "dual_stream", "up": [8, 8]}
    merged = configuration.merge(demo, {"models": {"icon": {"network": wider}}})
    assert merged["models"]["icon"]["network"] == demo["models"]["icon"]["network"] | wider


@pytest.mark.parametrize("overlay", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_of_the_repository_is_valid(overlay):
    assert configuration.load(CONFIG / "config.yaml", overlay)["cohort"]


@pytest.mark.parametrize("overlay", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_training_takes_the_accelerator_that_is_there(overlay):
    """See `learning.devices` for what `auto` takes."""
    loaded = configuration.load(CONFIG / "config.yaml", overlay)
    presets = loaded.get("paper", {}).get("presets", {}).values()
    assert {loaded["training"]["precision"], *(preset["precision"] for preset in presets)} == {"auto"}
    assert loaded["training"]["accelerator"] == "auto"


def test_trained_methods_count_the_steps_of_the_stages():
    stages = [{"steps": 2}, {"steps": 1}, {"steps": 3}]
    plain = {
        "icon-2step": ("icon", 1),
        "icon-3step": ("icon", 2),
        "icon-6step": ("icon", 3),
        "lncc-1step": ("lncc", 1),
        "lncc-4step": ("lncc", 2),
    }
    found = configuration.trained_methods({"icon": {"stages": stages}, "lncc": {"stages": stages[1:]}})
    assert found == plain | {f"{row}-fit": stage for row, stage in plain.items()}


def test_the_networks_of_the_last_stage_alone_are_optimised_for_each_pair():
    model = {"stages": [{"steps": 2}, {"steps": 1}], "optimisation": {"steps": 5, "learning_rate": 1e-3}}
    found = configuration.trained_methods({"icon": model})
    assert {row: stage for row, stage in found.items() if row.endswith("-io")} == {
        "icon-3step-io": ("icon", 2)
    }


def test_root_of_data_outside_the_repository(monkeypatch):
    monkeypatch.setenv("COHORTREG_DATA", "/data")
    assert configuration.expand_root("$COHORTREG_DATA/hippocampus") == Path("/data/hippocampus")
    monkeypatch.delenv("COHORTREG_DATA")
    assert configuration.expand_root("$COHORTREG_DATA/hippocampus") == Path("../shared/data/hippocampus")
    assert configuration.expand_root("resources/demo") == Path("resources/demo")


def schema_node(path: str) -> dict:
    """The schema's node at a dotted path as `key_paths` gives it."""
    node = configuration.schema()
    for part in path.replace("[]", ".[]").split("."):
        node = {"[]": node.get("items"), "{name}": node.get("additionalProperties")}.get(part) or node[
            "properties"
        ][part]
    return node


def default_paths(value: object, path: str = "", named: bool = False) -> set[str]:
    """The dotted paths of the keys of config.yaml, in the form of `key_paths`."""
    if isinstance(value, list):
        return set().union(*(default_paths(entry, f"{path}[]") for entry in value))
    if not isinstance(value, dict):
        return set()
    paths = set()
    for key, child in value.items():
        here = f"{path}.{'{name}' if named else key}".removeprefix(".")
        # What is inside is the method's own, see docs/methods.md.
        child = {} if here in FREE else child
        paths |= (set() if named else {here}) | default_paths(child, here, here in NAMED)
    return paths


def is_required(path: str) -> bool:
    """Whether a key must be there: it and all that it is a part of. Others have no default."""
    parent, _, key = path.rpartition(".")
    if not parent:
        return True
    name = parent.removesuffix(".{name}")
    needed = key == "{name}" or key in schema_node(parent).get("required", [])
    return needed and is_required(name.removesuffix("[]"))


def test_every_key_has_a_description_a_default_and_a_row_in_the_readme():
    known = {path for _, path in configuration.key_paths(configuration.schema())}
    files = [yaml.safe_load((CONFIG / name).read_text("utf-8")) for name in ("config.yaml", "paper.yaml")]
    defaults = set().union(*map(default_paths, files))
    assert defaults <= known
    required = {path for path in known if is_required(path)}
    assert required - defaults == set()
    readme = (CONFIG / "README.md").read_text("utf-8").splitlines()
    rows = {line for line in readme if line.startswith("| `")}
    assert rows == {f"| `{path}` | {schema_node(path)['description']} |" for path in known}


@pytest.mark.parametrize(
    ("architecture", "missing"), [("mlp", "hidden"), ("conv_only", "channels"), ("enc_dec", None)]
)
def test_an_architecture_needs_its_own_keys(demo, architecture, missing):
    demo["models"]["icon"]["network"] = {"architecture": architecture, "down": [2, 4, 8], "up": [4, 4]}
    if missing is None:
        configuration.validate(demo)
        return
    with pytest.raises(UserError, match=rf"models.icon.network.{missing}: missing; {architecture} needs"):
        configuration.validate(demo)


def as_text(value: object) -> object:
    """A value as Snakemake has what is nested in --config: all of it text."""
    if isinstance(value, dict):
        return {key: as_text(part) for key, part in value.items()}
    if isinstance(value, list):
        return [as_text(part) for part in value]
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


@pytest.mark.parametrize(
    "name", ["config.yaml", "hippocampus.yaml", "comparison.yaml", "oai.yaml", "paper.yaml"]
)
def test_configuration_that_was_given_as_text_is_the_same(name):
    given = configuration.load(CONFIG / "config.yaml", CONFIG / name)
    text = as_text(given)
    text["method_settings"] = given["method_settings"]  # whose schema the methods know
    for model in text["models"]:
        if "settings" in text["models"][model]:
            text["models"][model]["settings"] = given["models"][model]["settings"]
    read = configuration.validate(text)
    assert read == given
    assert repr(read["models"]) == repr(given["models"])  # whole numbers are whole


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
    read = configuration.validate(demo)
    for part in path.split("."):
        read = read[int(part) if part.isdigit() else part]
    assert read == number and type(read) is type(number)


def test_a_method_s_settings_may_be_text():
    schema = {"steps": {"type": "integer", "default": 1, "description": "steps"}}
    assert configuration.complete(schema, {"steps": "3"}, "here") == {"steps": 3}


@pytest.mark.parametrize("text", ["[1]", "text", "[" * 5000, "a: \x00"])
def test_a_file_without_keys_ends_in_one_sentence(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=r"configuration .*c.yaml: "):
        configuration.load(CONFIG / "config.yaml", tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed: 1\nmethods: [affine]\nseed: 2\n", "line 3: seed is already given in line 1"),
        ("models:\n  icon:\n    noise: 0\n    noise: 1\n", "line 4: noise is already given in line 3"),
        ('{"seed": 1, "seed": 2}', "line 1: seed is already given in line 1"),
    ],
)
def test_a_key_that_is_there_twice_is_said(tmp_path, text, sentence):
    """Of the two, YAML takes the last, without a word."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    (said,) = configuration.repeated_keys(path)
    assert sentence in said


def test_a_key_of_an_alias_is_there_once(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: &a {steps: 1}\nb: [*a, {<<: *a, steps: 2}]\n")
    assert configuration.repeated_keys(path) == configuration.repeated_keys(tmp_path / "nowhere.yaml") == []
