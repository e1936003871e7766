"""What pages quote from the package is there: names, messages, generated references."""

import ast
import re
import sys

import pytest
import yaml
from configurations import CONFIGURATIONS, cohort_of
from jsonschema import Draft202012Validator
from pages import PAGES
from projects import REPOSITORY

from cohortreg.config import Configuration
from cohortreg.paper.settings import Experiments
from cohortreg.settings import keys as keys_of

sys.path.insert(0, str(REPOSITORY / "docs" / "site"))

import reference
from source import NAMED, source_of

GENERATED = reference.generated()

TROUBLE = (REPOSITORY / "docs" / "troubleshooting.md").read_text("utf-8")
MESSAGES = re.findall(r"^\| `(.+?)` \|", TROUBLE, re.MULTILINE)
ELSEWHERE = "…"


def texts() -> list[str]:
    """Every text of the package and the workflow, with … for what a run fills in."""
    found = [(REPOSITORY / name).read_text("utf-8") for name in ("Makefile", "workflow/Snakefile")]
    for path in (REPOSITORY / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else ELSEWHERE for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


@pytest.fixture(scope="module")
def said() -> list[str]:
    return texts()


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_under_troubleshooting_is_one_that_the_package_says(message, said):
    pattern = re.compile(".*".join(re.escape(part) for part in message.split(ELSEWHERE)), re.DOTALL)
    assert any(pattern.search(text) for text in said)


def test_there_are_messages_and_names():
    assert len(MESSAGES) > 30
    assert sum(len(NAMED.findall(page.read_text("utf-8"))) for page in PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_name_of_the_package_that_a_page_links_is_there(page):
    for name, path in NAMED.findall(page.read_text("utf-8")):
        assert source_of(name, path)


def test_a_name_that_is_not_there_is_found_out():
    assert source_of("icon.steps.TwoSteps.forward", "icon/steps.py").lstrip().startswith("def forward")
    for name, path in [("icon.steps.ThreeSteps", "icon/steps.py"), ("icon.objective.halve", "icon/steps.py")]:
        with pytest.raises(LookupError, match=re.escape(name)):
            source_of(name, path)


def test_the_reference_of_the_configuration_has_every_key_with_its_default():
    table = reference.configuration_keys()
    assert "| `shards.pairs` | integer, ≥ 1 | `1` |" in table
    assert "| `models.{name}.stages[].downsample` | `1`, `2`, `4`, `8` | required |" in table
    assert "| `models.{name}.network.bottleneck` | integer, ≥ 1 or `null` |  |" in table
    assert "| `preprocess.grid` | list of integer, ≥ 4, 2 to 3 of them | required |" in table
    assert "| `preprocess.percentiles` | list of number, ≥ 0, ≤ 100, 2 of them | `[1, 99]` |" in table
    assert "| `retrain` | `scratch`, `last` or `null` | `null` |" in table
    paper = reference.configuration_keys(Experiments)
    assert '| `accelerator` | `auto`, `cpu`, `cuda`, `gpu`, `mps` | `"auto"` |' in paper
    for text, folder in ((table, "config"), (paper, "workflow/paper")):
        readme = (REPOSITORY / folder / "README.md").read_text("utf-8")
        keys = [re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE) for page in (text, readme)]
        assert set(keys[0]) == set(keys[1])


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_generated_files_are_current(path):
    assert path.read_text("utf-8") == GENERATED[path], "run `make generated` and commit what it wrote"


def test_every_caption_belongs_to_a_figure_or_table_or_is_that_of_the_whole():
    folder = REPOSITORY / "workflow" / "report"
    captions = {path for path in GENERATED if path.suffix == ".rst"}
    assert {*folder.iterdir()} == captions | {folder / "workflow.rst"}


@pytest.mark.parametrize("kind", [Configuration, Experiments])
def test_every_key_has_a_description(kind):
    assert all(field.description for _, field in keys_of(kind))


@pytest.mark.parametrize("names", CONFIGURATIONS, ids="+".join)
def test_the_schema_takes_every_configuration_of_the_repository(names):
    """As an editor checks them."""
    schema = yaml.safe_load((REPOSITORY / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
    assert not list(Draft202012Validator(schema).iter_errors(cohort_of(names)))


def test_the_schema_of_the_paper_takes_its_configuration():
    schema, given = (
        yaml.safe_load((REPOSITORY / "workflow" / "paper" / name).read_text("utf-8"))
        for name in ("config.schema.yaml", "config.yaml")
    )
    assert not list(Draft202012Validator(schema).iter_errors(given))
    assert list(Draft202012Validator(schema).iter_errors(given | {"preset": 1}))


def test_values_of_a_schema_in_words():
    rating = {"enum": ["good", "bad"]}
    either = {"anyOf": [rating, {"type": "array", "items": rating}, {"type": "null"}]}
    assert list(reference.values(either, {})) == ["`good`, `bad`", "list of `good`, `bad`", "`null`"]
    assert list(reference.values({"$ref": "#/$defs/rating"}, {"rating": rating})) == ["`good`, `bad`"]
    number = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    assert list(reference.values(number, {})) == ["number, > 0, ≤ 1"]


def test_the_reference_of_the_command_line_has_every_command_with_its_options():
    text = reference.command_line()
    assert "## cohortreg import msd" in text and "## cohortreg paper table1" in text
    assert "cohortreg apply [OPTIONS] TRANSFORM INPUT OUTPUT" in text
    assert "| `--test-fraction` | default `0.2` | Part of the subjects to test on. |" in text
    assert "| `--background` | default `0` |" in text
    assert "| `--output` | required |" in text
