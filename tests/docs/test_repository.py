"""What contributors meet first: checks of a commit, and the forms of issues."""

import re
import tomllib

import pytest
import yaml
from projects import REPOSITORY

TEMPLATES = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.md"))


def test_checks_of_a_commit_download_nothing():
    """Their programs are those that the test extra installs."""
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    extra = tomllib.loads(text)["project"]["optional-dependencies"]["test"]
    installed = {re.match(r"[\w-]+", requirement)[0] for requirement in extra}
    checks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text("utf-8"))
    for repository in checks["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            assert hook["entry"].split()[0].removeprefix(".venv/bin/") in installed


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_every_form_of_an_issue_has_what_github_asks_for(template):
    head = yaml.safe_load(template.read_text("utf-8").split("---")[1])
    assert head["name"] and head["about"]


def test_one_can_still_write_without_a_form():
    config = yaml.safe_load((REPOSITORY / ".github" / "ISSUE_TEMPLATE" / "config.yml").read_text("utf-8"))
    assert config["blank_issues_enabled"] is True and len(TEMPLATES) >= 2
