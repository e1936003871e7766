"""Commands for evaluating, and what they refuse before they measure anything."""

import json

import pytest
from typer.testing import CliRunner

from cohortreg.cli import app, commands  # noqa: F401  (the commands of app)
from cohortreg.errors import UserError


@pytest.mark.parametrize("values", [["--help"], ["one"], [1.5], [0], [], 1, None])
def test_label_values_that_no_label_map_holds_are_refused(tmp_path, values):
    """Such a structure would be found nowhere, and have a Dice of 0 without a word."""
    settings = json.dumps({"structures": {"shell": values}})
    run = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "r"), "--method", "affine", "--settings", settings]
    )
    assert isinstance(run.exception, UserError)
    assert str(run.exception).startswith("--settings: structures.shell")
    assert not (tmp_path / "r").exists()
