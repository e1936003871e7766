"""What other packages offer: found by name, imported when it is named, refused in a sentence."""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import typed
import yaml
from plugins import installed
from projects import REPOSITORY

from cohortreg.config import SIMILARITIES, SimilarityEntry
from cohortreg.errors import UserError
from cohortreg.plugins import Entries, resolve

CONFIGURATION = {
    "cohort": "a",
    "images": "i.tsv",
    "pairs": "p.tsv",
    "root": ".",
    "preprocess": {"grid": [8, 8, 8]},
    "models": {
        "icon": {
            "network": {"architecture": "dilated", "channels": 2, "layers": 1},
            "similarity": "mae",
            "stages": typed.model({"stages": [{}]}).plain()["stages"],
        }
    },
    "methods": ["centre", "icon-1step"],
    "method_settings": {"centre": {"power": 2}, "fit": {"similarity": "mae"}},
    "report": {"reference": "centre"},
}
ICON = CONFIGURATION["models"]["icon"]
#: Prints whether the package was imported, and what a configuration is read as, or why it is refused.
READ = """
import json, sys
from cohortreg.config import Configuration
from cohortreg.errors import UserError
from cohortreg.methods import registry
given = json.loads(sys.argv[1])
try:
    config = registry.read(given)
    registry.check(config)
    assert Configuration.read(config.plain()) == config
    plain = config.plain()
    plain["releases"] = registry.releases("centre") if "centre" in config.methods else None
    plain["similarities"] = registry.similarity_of("icon-1step", config.models, {}, {}) if config.models else ""
except UserError as error:
    plain = str(error)
names = [name.partition(".")[2] for name in sys.modules if name.startswith("cohortreg_example")]
print(json.dumps([names, plain]))
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("example"))


def run(example, *arguments: str) -> str:
    environment = {"PYTHONPATH": os.pathsep.join([str(example), *sys.path])}
    done = subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_configuration_of_the_examples_readme(example):
    text = (REPOSITORY / "examples" / "cohortreg-example" / "README.md").read_text("utf-8")
    block = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    cohort = {key: CONFIGURATION[key] for key in ("cohort", "images", "pairs", "root", "preprocess")}
    _, read = json.loads(run(example, "-c", READ, json.dumps(cohort | block)))
    assert read["methods"] == ["affine", "centre", "icon-1step"]


def test_names_of_another_package_are_read_like_ones_own(example):
    imported, plain = json.loads(run(example, "-c", READ, json.dumps(CONFIGURATION)))
    assert "entries" in imported
    assert plain["models"]["icon"]["network"] == CONFIGURATION["models"]["icon"]["network"]
    assert plain["models"]["icon"]["similarity"] == "mae" and plain["similarities"] == "MAE"
    assert plain["releases"] == ["centre-1"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": ["affine"], "models": {}, "method_settings": {}, "report": {"reference": "affine"}}, None),
        ({"methods": ["centres"]}, "choose one of identity, affine, fit, demons, syn, niftyreg-nmi, niftyreg-lncc"),
        ({"method_settings": {"centre": {"powr": 2}}}, "method_settings.centre.powr: unknown key; did you mean power?"),
        (
            {"models": {"icon": ICON | {"network": {"architecture": "dilated", "channels": 2}}}},
            "models.icon.network.layers: missing; dilated needs channels and layers",
        ),
        ({"models": {"centre": ICON}}, "models.centre: centre is already the name of a method"),
    ],
)  # fmt: skip
def test_what_is_not_named_is_not_imported_and_what_is_wrong_is_a_sentence(example, change, words):
    if words and "methods" not in change:
        change |= {"methods": ["centre"]}
    given = (
        CONFIGURATION
        | {"report": {"reference": "centres" if "centres" in str(change) else "centre"}}
        | change
    )
    imported, said = json.loads(run(example, "-c", READ, json.dumps(given)))
    if words is None:
        assert imported == [] and said["methods"] == ["affine"]
    else:
        assert words in said and "\n" not in said


def test_the_list_of_methods_says_what_is_missing_and_whose_the_others_are(example):
    listed = run(example, "-c", "from cohortreg.cli import main; main()", "methods")
    lines = [" ".join(line.split()) for line in listed.splitlines()]
    assert {"affine ready", "centre of cohortreg-example 1.0", "mae of cohortreg-example 1.0"} <= set(lines)
    assert {"mse MSE", "dilated of cohortreg-example 1.0", "unet needs down and up"} <= set(lines)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            "no_such_package:ENTRY",
            "cannot be imported (ModuleNotFoundError: No module named 'no_such_package')",
        ),
        ("json:nothing", "cannot be imported (AttributeError: module 'json' has no attribute 'nothing')"),
        ("json:dumps", "is no SimilarityEntry; update or remove the package"),
        ("json:JSONEncoder", "is no SimilarityEntry"),
    ],
)
def test_what_is_no_entry_is_refused_in_a_sentence(value, words):
    entries = Entries("cohortreg.similarities", SimilarityEntry)
    entries.others = {"odd": EntryPoint("odd", value, entries.group)}
    assert "odd" in entries and entries.names() == ["odd"] and [*entries] == []
    with pytest.raises(UserError) as caught:
        entries["odd"]
    said = str(caught.value)
    assert (
        said.startswith(f"{value}, which a package offers as odd in cohortreg.similarities,")
        and words in said
    )
    with pytest.raises(KeyError):
        entries["even"]


def test_a_name_of_this_package_stays_its_own(monkeypatch):
    entries = Entries("cohortreg.similarities", SimilarityEntry)
    entries |= {"mse": SIMILARITIES["mse"]}
    point = EntryPoint("mse", "json:dumps", entries.group)
    monkeypatch.setattr("cohortreg.plugins.entry_points", lambda group: [point])
    assert (
        not entries.is_other("mse") and entries["mse"] is SIMILARITIES["mse"] and entries.names() == ["mse"]
    )


def test_a_path_is_of_this_package_or_of_any():
    assert resolve("decoder.JSONDecoder", "json") is resolve("json.decoder:JSONDecoder", "nowhere")
