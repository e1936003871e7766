"""What extras bring, and what is said of one that is missing."""

import re
import tomllib
from importlib.metadata import packages_distributions

import pytest
from projects import REPOSITORY

from cohortreg import extras
from cohortreg.errors import UserError

#: Extras that add to what the package does; the others are for its developers.
NAMES = ("workflow", "train", "report", "slurm", "meshes")


def brought() -> dict[str, set[str]]:
    """Packages that each extra brings, as pyproject.toml says."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    return {
        extra: {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}
        for extra, requirements in project["optional-dependencies"].items()
    }


def test_every_package_of_an_extra_is_known_by_its_modules():
    packages = {module: names[0].lower() for module, names in packages_distributions().items()}
    for extra in NAMES:
        known = {packages[module] for module, (_, names) in extras.MODULES.items() if extra in names}
        assert known == brought()[extra]


def test_all_is_what_a_cohort_may_need():
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    assert '"cohortreg[report,slurm,train,workflow]"' in text


def test_what_is_missing_is_named_with_the_extra_that_was_asked_for(monkeypatch):
    extras.require("training", "train", "workflow", "report")
    monkeypatch.setitem(extras.MODULES, "no_such_module", ("Nothing", ("workflow", "train")))
    extras.require("the report", "report")
    with pytest.raises(UserError) as raised:
        extras.require("training", "report", "train")
    assert str(raised.value) == 'training needs Nothing: pip install "cohortreg[train]"'
