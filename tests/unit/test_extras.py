"""What extras bring, and what is said of one that is missing."""

import json
import re
import tomllib
from importlib.metadata import Distribution, packages_distributions

import pytest
from projects import REPOSITORY

from cohortreg import extras
from cohortreg.errors import UserError

#: Extras that add to what the package does; the others are for its developers.
NAMES = ("workflow", "train", "report", "slurm", "meshes", "tensorboard")


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


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, "cohortreg[all]==1.2.0"),
        (
            {"url": "file:///a%20folder/clone", "dir_info": {"editable": True}},
            "--editable file:///a%20folder/clone[all]",
        ),
        ({"url": "file:///a/clone", "dir_info": {}}, "cohortreg[all] @ file:///a/clone"),
        (
            {
                "url": "https://forge.org/a/cohortreg",
                "vcs_info": {"vcs": "git", "commit_id": "c0ffee", "requested_revision": "v1.2.0"},
            },
            "cohortreg[all] @ git+https://forge.org/a/cohortreg@c0ffee",
        ),
    ],
    ids=["version", "editable", "folder", "commit"],
)
def test_the_package_is_installed_once_more_from_where_it_came(tmp_path, origin, line):
    (tmp_path / "METADATA").write_text("Metadata-Version: 2.4\nName: cohortreg\nVersion: 1.2.0\n")
    if origin:
        (tmp_path / "direct_url.json").write_text(json.dumps(origin))
    assert extras.requirement(Distribution.at(tmp_path)) == line
