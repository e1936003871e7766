"""What other packages offer: found by name, imported when it is named, refused in a sentence."""

import json
from importlib.metadata import EntryPoint

import pytest
import typed
import yaml
from plugins import installed, newer, offering, run
from projects import REPOSITORY

from cohortreg.cohort.tables import read_images
from cohortreg.config import SIMILARITIES, SimilarityEntry
from cohortreg.errors import UserError
from cohortreg.plugins import Entries, resolve, said_in_a_sentence

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
COMMAND = "from cohortreg.cli import main; main()"
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


#: Prints what makes results be made again: of rows, of a training, of measures, of pairs.
FOLLOWS_FROM = """
import json, sys
from cohortreg.methods import registry
from cohortreg.methods.cards import packages_of
from cohortreg.methods.opening import open_method
config = registry.read(json.loads(sys.argv[1]))
registry.check(config)
assert registry.read(config.plain()) == config
print(json.dumps({
    "rows": {row: registry.packages(row, config) for row in config.methods},
    "releases": registry.releases("smooth-net", "smooth"),
    "trained": {name: packages_of(model, training=True) for name, model in config.models.items()},
    "measured": registry.measured(config),
    "fit": [open_method("fit", given, "", 1, 1).version for given in ({}, {"similarity": "mae"})],
}))
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("example"))


def test_the_configuration_of_the_examples_readme(example):
    text = (REPOSITORY / "examples" / "cohortreg-example" / "README.md").read_text("utf-8")
    block = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    cohort = {key: CONFIGURATION[key] for key in ("cohort", "images", "pairs", "root", "preprocess")}
    _, read = json.loads(run(example, READ, json.dumps(cohort | block)))
    assert read["methods"] == ["affine", "centre", "icon-1step", "smooth-net"]
    assert read["measures"] == ["volume_error"]


def test_names_of_another_package_are_read_like_ones_own(example):
    imported, plain = json.loads(run(example, READ, json.dumps(CONFIGURATION)))
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
    imported, said = json.loads(run(example, READ, json.dumps(given)))
    if words is None:
        assert imported == [] and said["methods"] == ["affine"]
    else:
        assert words in said and "\n" not in said


def test_the_list_of_methods_says_what_is_missing_and_whose_the_others_are(example):
    listed = run(example, COMMAND, "methods")
    lines = [" ".join(line.split()) for line in listed.splitlines()]
    assert {"affine ready", "centre of cohortreg-example 1.0", "mae of cohortreg-example 1.0"} <= set(lines)
    assert {"mse MSE", "dilated of cohortreg-example 1.0", "unet needs down and up"} <= set(lines)
    assert {
        "smooth of cohortreg-example 1.0",
        "volume_error of cohortreg-example 1.0",
        "dice Dice [%]",
    } <= set(lines)
    assert {"flat of cohortreg-example 1.0", "bids A folder with sub-*/[ses-*/]anat/."} <= set(lines)


def test_results_follow_from_the_version_of_what_another_package_offers_and_no_others(tmp_path):
    modules = installed(tmp_path)
    stage = typed.model({"stages": [{}]}).plain()["stages"][0]
    of_any = {key: value for key, value in stage.items() if key not in ("downsample", "stride", "window")}
    own = ICON | {"network": {"architecture": "conv_only", "channels": 2, "layers": 2}, "similarity": "mse"}
    models = {
        "icon": ICON,
        "own": own,
        "smooth-net": {"method": "smooth", "settings": {"channels": 2}, "stages": [of_any]},
    }
    rows = ["affine", "centre", "fit", "icon-1step", "own-1step", "own-1step-fit", "smooth-net"]
    given = CONFIGURATION | {"models": models, "methods": rows, "measures": ["volume_error"]}
    first = json.loads(run(modules, FOLLOWS_FROM, json.dumps(given)))
    old = ["cohortreg-example 1.0"]
    followed = {row: [] for row in rows} | dict.fromkeys(("fit", "icon-1step", "own-1step-fit"), old)
    assert first["rows"] == followed and first["releases"] == ["smooth-1"]
    assert first["trained"] == {"icon": old, "own": [], "smooth-net": []}
    assert first["measured"] == {"measures": ["volume_error"], "packages": old}
    newer(modules)
    second = json.loads(run(modules, FOLLOWS_FROM, json.dumps(given)))
    assert second["rows"]["fit"] == ["cohortreg-example 1.1"] and second["rows"]["own-1step"] == []
    assert second["fit"][0] == first["fit"][0] and second["fit"][1] != first["fit"][1]


def test_an_importer_of_another_package_is_a_command_like_the_others(example, tmp_path):
    folder, tables = tmp_path / "images", tmp_path / "tables"
    folder.mkdir()
    for name in ("s1", "s2", "s3", "s1_label", "s2_label", "s3_label"):
        (folder / f"{name}.nii.gz").touch()
    assert "flat" in run(example, COMMAND, "import", "--help")
    assert "--ending" in run(example, COMMAND, "import", "flat", "--help")
    said = run(
        example, COMMAND, "import", "flat", folder, "--output", tables, "--ending", "_label", "--pairs", 2
    )
    assert f"{tables}: 3 images" in said
    images = read_images(tables / "images.tsv").set_index("image_id")
    assert images.loc["s2", ["image", "label"]].tolist() == ["s2.nii.gz", "s2_label.nii.gz"]


def test_a_broken_importer_is_a_sentence_and_no_hindrance(tmp_path):
    odd = offering(
        tmp_path / "odd", "[cohortreg.importers]\nodd = no_such_package:ENTRY\nuseless = json:dumps\n"
    )
    sentence = (
        "cohortreg: no_such_package:ENTRY, which odd 2.0 offers as odd in cohortreg.importers, cannot be imported "
        "(ModuleNotFoundError: No module named 'no_such_package'); update or remove the package.\n"
    )
    assert run(odd, COMMAND, "import", "odd", "anywhere", "--output", tmp_path, status=1) == sentence
    assert "is no Importer" in run(odd, COMMAND, "import", "useless", status=1)
    # Others are there, and say so.
    assert "no_such_package" in run(odd, COMMAND, "import", "--help")
    assert "--subject" in run(odd, COMMAND, "import", "folder", "--help")
    assert "odd 2.0" in run(odd, COMMAND, "methods")


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


def test_two_packages_with_one_name_are_refused(tmp_path):
    for name in ("one", "other"):
        offering(tmp_path, "[cohortreg.similarities]\ntwice = json:dumps\n", name)
    said = run(tmp_path, "from cohortreg.config import SIMILARITIES; SIMILARITIES['twice']", status=1)
    assert "one 2.0 and other 2.0 both offer twice in cohortreg.similarities; remove one." in said


def test_what_the_code_of_another_package_raises_is_a_sentence():
    sentence = r"^it of odd 2.0 failed \(KeyError: 'a'\); tell its authors.$"
    with pytest.raises(UserError, match=sentence), said_in_a_sentence("it", "odd 2.0"):
        raise KeyError("a")
    for package, error in (("odd 2.0", MemoryError), ("odd 2.0", OSError), ("", KeyError)):
        with pytest.raises(error), said_in_a_sentence("it", package):
            raise error
