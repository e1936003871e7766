"""What --settings may hold: values that the configuration may have too, and of them any part."""

import json

import pytest

from cohortreg import config
from cohortreg.cli.options import parsed
from cohortreg.errors import UserError


@pytest.mark.parametrize(
    ("settings", "section", "where"),
    [
        ({"training": "%s%n"}, (), "training"),
        ({"training": {"precision": 7}}, (), "training.precision"),
        ({"models": "null"}, (), "models"),
        ({"models": {"icon": {"stages": [{"steps": "two"}]}}}, (), "models.icon.stages[0].steps"),
        ({"structures": {"shell": []}}, (), "structures.shell"),
        ({"structures": {"a b": [1]}}, (), "structures"),
        ({"preprocess": {"percentiles": [1]}}, (), "preprocess.percentiles"),
        ({"grid": [8, 8]}, ("phantom",), "phantom.grid"),
        ({"pairs": "many"}, ("paper", "presets", "quick"), "paper.presets.quick.pairs"),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_sentence(settings, section, where):
    with pytest.raises(UserError) as refused:
        parsed(json.dumps(settings), *(() if section else settings), section=section)
    assert str(refused.value).startswith(f"--settings: {where}: ")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"structures": {}},
        {"training": {"precision": "32-true"}},
        {"preprocess": {}},
        {"models": {"icon": {}}},
    ],
)
def test_a_part_is_enough(settings):
    assert parsed(json.dumps(settings), *settings) == settings


def test_a_setting_of_a_commands_own():
    names = {"type": "array", "items": {"type": "string"}}
    assert parsed('{"models": ["icon"]}', models=names) == {"models": ["icon"]}
    with pytest.raises(UserError, match=r"--settings: models\[0\]: 3 is not of type 'string'"):
        parsed('{"models": [3]}', models=names)


def test_what_the_command_does_not_read_may_be_anything():
    assert parsed('{"images": {"start": null}}', "training") == {"images": {"start": None}}


def test_of_a_name_of_the_users_the_schema_is_that_of_any():
    rule = config.part_of_schema(config.schema(), ("models", "mine", "optimisation"))
    assert rule["required"] == ["steps", "learning_rate"]


def test_a_key_that_is_there_twice_is_refused():
    with pytest.raises(UserError, match="--settings has steps twice; remove one of the two"):
        parsed('{"a": {"steps": 1, "steps": 2}}')
