"""The configuration of the paper's experiments: what is read of it, and what is refused in which words."""

import pytest
from projects import REPOSITORY

from cohortreg.config import merged
from cohortreg.errors import UserError
from cohortreg.paper.settings import Experiments


@pytest.fixture
def given() -> dict:
    """Every value of the configuration that is shipped."""
    return merged(REPOSITORY / "workflow" / "paper" / "config.yaml")


def test_every_preset_of_the_shipped_configuration_is_read(given):
    assert {"quick", "mnist", "shapes", "full"} <= set(given["presets"])
    for name, preset in given["presets"].items():
        read = Experiments.read(given | {"preset": name})
        assert read.chosen.plain() == preset
        assert (read.seed, read.accelerator) == (1, "auto")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"preset": "fast"},
            "preset: no preset 'fast'; known are quick, mnist, shapes, full; see workflow/paper/",
        ),
        ({"preset": "../full", "presets": {"../full": {}}}, "presets: '../full' does not match"),
        ({"cohort": "demo"}, "cohort: only the configuration of a cohort has it; remove it"),
        ({"mnsit": "x"}, "mnsit: unknown key; did you mean mnist?"),
        ({"seed": -1}, "seed: -1 is less than the minimum of 0"),
        ({"accelerator": "abacus"}, "accelerator: 'abacus' is not one of"),
    ],
)
def test_wrong_value_ends_in_one_sentence_that_says_where(given, changed, words):
    with pytest.raises(UserError) as caught:
        Experiments.read(given | changed)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
