"""Configuration files: read, merged, and what is said of those that cannot be."""

import pytest
import yaml
from configurations import CONFIG

from cohortreg.config import load, merge, repeated_keys
from cohortreg.errors import UserError


def test_file_that_is_not_yaml_is_named(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("cohort: [")
    with pytest.raises(UserError, match=r"broken\.yaml: cannot be read as YAML") as caught:
        load(CONFIG / "demo.yaml", broken)
    assert "\n" not in str(caught.value)


def test_what_runs_where_nothing_is_named_is_the_demo():
    (named,) = yaml.safe_load((CONFIG / "config.yaml").read_text("utf-8")).values()
    assert load(CONFIG.parent / named).cohort == "demo"


def test_later_files_go_over_earlier_ones():
    merged = merge({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "d": {"e": None}})
    assert merged == {"a": {"b": 1, "c": [2]}, "d": {"e": None}}


@pytest.mark.parametrize("text", ["[1]", "text", "[" * 5000, "a: \x00"])
def test_a_file_without_keys_ends_in_one_sentence(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=r"configuration .*c.yaml: "):
        load(CONFIG / "demo.yaml", tmp_path / "c.yaml")


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
    (said,) = repeated_keys(path)
    assert sentence in said


def test_a_key_of_an_alias_is_there_once(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: &a {steps: 1}\nb: [*a, {<<: *a, steps: 2}]\n")
    assert repeated_keys(path) == repeated_keys(tmp_path / "nowhere.yaml") == []
