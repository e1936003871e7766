"""What every rule has in common, read from the workflow's files."""

import re

import pytest
from projects import REPOSITORY

WORKFLOW = REPOSITORY / "workflow"
RULES = sorted([*WORKFLOW.glob("*/*.smk"), WORKFLOW / "paper" / "Snakefile"])
#: Made here, and no text of a configuration's.
OURS = {"params.launcher", "params.ratings"}
#: Keys of a configuration that are no paths.
PLAIN = {"seed", "on_bad_image", "shards", "ratings", "cohort", "training", "report", "accelerator", "preset"}
NAMES = [str(path.relative_to(WORKFLOW)) for path in RULES]


def shells(text: str) -> list[str]:
    """The command of each rule, its strings joined."""
    found = re.findall(r"^    shell:\n((?:        .*\n)+)", text, flags=re.MULTILINE)
    return ["".join(re.findall(r'"(.*)"', block)) for block in found]


@pytest.mark.parametrize("path", RULES, ids=NAMES)
def test_nothing_reaches_a_shell_unquoted(path):
    """`$(...)`, blanks, quotes and line feeds of a configuration, or of a model's name, stay what they are."""
    for shell in shells(path.read_text(encoding="utf-8")):
        bare = set(re.findall(r"\{([^}:]*)\}", shell)) - OURS
        assert not bare, shell


def test_every_command_is_seen_by_the_test_above():
    commands = [shell for path in RULES for shell in shells(path.read_text(encoding="utf-8"))]
    text = "".join(path.read_text(encoding="utf-8") for path in RULES)
    assert len(commands) == len(re.findall(r"^    (?:shell|run|script):", text, flags=re.MULTILINE)) >= 14
    assert all("cohortreg " in command and command.endswith("2>&1 | tee {log:q}") for command in commands)


@pytest.mark.parametrize("path", RULES, ids=NAMES)
def test_what_a_configuration_says_is_no_pattern_of_snakemakes(path):
    """A path with braces, as it stands in an input or a parameter, would be filled in as a wildcard."""
    text = path.read_text(encoding="utf-8")
    inputs = re.findall(r"^    (?:input|params|output):\n((?:        .*\n)+)", text, flags=re.MULTILINE)
    for line in "".join(inputs).splitlines():
        given = re.findall(r"(?<!as_it_is\()settings\.(\w+)", line)
        assert set(given) <= PLAIN, line
