"""What --settings and --config may hold: values that the configuration may have too."""

import json

import pytest
from configurations import CONFIG

from cohortreg.cli.options import configured, parsed
from cohortreg.config import Phantom, part
from cohortreg.errors import UserError
from cohortreg.paper.settings import CELL
from cohortreg.settings import Text


@pytest.mark.parametrize(
    ("settings", "kind", "where"),
    [
        ({"training": "%s%n"}, part("training"), "training"),
        ({"training": {"precision": 7}}, part("training"), "training.precision"),
        ({"models": "null"}, part("models"), "models"),
        ({"models": {"icon": {"stages": [{"steps": 1}]}}}, part("models"), "models.icon.stages[0].training_steps"),
        ({"structures": {"shell": []}}, part("structures"), "structures.shell"),
        ({"structures": {"a b": [1]}}, part("structures"), "structures"),
        ({"preprocess": {"percentiles": [1], "grid": [8, 8]}}, part("preprocess"), "preprocess.percentiles"),
        ({"grid": [8, 8], "spacing": [1, 1, 1]}, Phantom, "grid"),
        ({"pairs": "many", "precision": "auto", "weight_from": 1, "weight_rise": 1, "checkpoint_every": 1,
          "networks": {}}, CELL, "pairs"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_one_sentence(settings, kind, where):
    with pytest.raises(UserError) as refused:
        parsed(json.dumps(settings), kind)
    assert str(refused.value).startswith(f"--settings: {where}: ")


def test_a_section_has_defaults():
    given = parsed('{"training": {"precision": "32-true"}, "structures": {}}', part("training", "structures"))
    assert given.training.precision == "32-true" and given.training.devices == 1
    assert given.structures == {}


def test_a_section_that_is_missing_is_named():
    with pytest.raises(UserError, match="--settings has no training; correct it"):
        parsed("{}", part("training"))


def test_a_setting_of_a_commands_own():
    kind = part(models=list[Text])
    assert parsed('{"models": ["icon"]}', kind).models == ["icon"]
    with pytest.raises(UserError, match=r"--settings: models\[0\]: 3 is not of type 'string'"):
        parsed('{"models": [3]}', kind)


def test_what_the_command_does_not_read_may_be_anything():
    assert parsed('{"images": {"start": null}, "training": {}}', part("training")).training.nodes == 1


def test_a_key_that_is_there_twice_is_refused():
    with pytest.raises(UserError, match="--settings gives steps twice; remove one"):
        parsed('{"a": {"steps": 1, "steps": 2}}', part())


def test_a_configuration_takes_the_place_of_settings():
    files = [CONFIG / "demo.yaml", CONFIG / "comparison.yaml"]
    assert configured("", files, "methods").methods[-1] == "icon-4step-fit"
    assert configured('{"methods": ["fit"]}', None, "methods").methods == ["fit"]
    for settings, config in (("", None), ("{}", files)):
        with pytest.raises(UserError, match="give either --settings or --config"):
            configured(settings, config, "methods")


def test_what_a_configuration_does_not_say_of_its_images_is_the_models(tmp_path):
    """Or a command would refuse, by --config, a cohort that the workflow runs."""
    path = tmp_path / "a.yaml"
    path.write_text(
        "{cohort: a, images: i.tsv, pairs: p.tsv, root: ., pretrained: {knees: nowhere}, methods: [knees]}"
    )
    with pytest.raises(UserError, match=r"pretrained\.knees: .*no such file"):
        configured("", [path], "methods")
