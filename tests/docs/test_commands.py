"""Every command of a page works: it is run, or tried as far as it can be without its hours, images or machines.

| command | how it is tried |
| --- | --- |
| cohortreg | read by the real command line, as are those within sentences as far as they go |
| snakemake | a dry run in a copy of the project |
| make | a dry run, too |
| python of a script, a script | it is there |
| what PLAIN names | bash reads it |

docs/own-cohort.md is run as it stands, and so are the commands for two images, see `test_tutorials.py`.
"""

import os
import re
import shlex
import shutil

import pytest
import typer.main
from pages import FENCE, PAGES, Block, blocks, commands, without_code
from projects import REPOSITORY

from cohortreg.cli import app
from cohortreg.cli import commands as registered  # noqa: F401  (registers every command)

SHELL = {"", "sh", "bash"}
#: Programs of others, of whose commands no more is asked than that bash reads them.
PLAIN = {".", "apptainer", "cd", "docker", "git", "mkdir", "pip", "pre-commit", "printf", "python3"}
PLAIN |= {"snakedeploy"}
#: Run by `test_tutorials.py`.
RUN = {"own-cohort.md"}
#: What stands for a name of the reader's.
NAMES = {"{cohort}": "hippocampus"}


def named(line: str) -> str:
    """A command with names of this project where it has the reader's."""
    for name, value in NAMES.items():
        line = line.replace(name, value)
    return line


BLOCKS = [block for page in PAGES for block in blocks(page) if block.language in SHELL]
COMMANDS = [(str(block), line, block.page.name) for block in BLOCKS for line in commands(block)]
SNAKEMAKE = sorted(
    {named(line) for _, line, page in COMMANDS if line.startswith("snakemake ") and page not in RUN}
)
MAKE = sorted({line for _, line, _ in COMMANDS if line.startswith("make ")})
ROOT = typer.main.get_command(app)
SPANS = [
    (page, span)
    for page in PAGES
    for span in re.findall(r"`(cohortreg [a-z][^`]*)`", FENCE.sub("", page.read_text("utf-8")))
]


def command_of(words: list[str]):
    """The command that words name, and the words behind its name."""
    command, words = ROOT, list(words)
    while hasattr(command, "commands"):
        assert words, f"{command.name} needs a command"
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command = command.commands[words.pop(0)]
    return command, words


def split(line: str) -> list[str]:
    """A command's words, up to what it is piped or written to."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
    lexer.whitespace_split = True
    words = list(lexer)
    stops = [number for number, word in enumerate(words) if set(word) <= set("|;&>") or word in (">", ">>")]
    return words[: stops[0]] if stops else words


@pytest.mark.parametrize(("where", "line"), [row[:2] for row in COMMANDS], ids=lambda value: str(value)[:60])
def test_every_command_is_one_that_a_test_knows_how_to_try(where, line, shared_checkout):
    for part in re.split(r"\s*&&\s*", line):
        words = split(re.sub(r"^[A-Za-z_]+=\S+\s+", "", part)) or ["printf"]
        program = words[0]
        if program == "cohortreg":
            command, rest = command_of(words[1:])
            command.make_context("cohortreg", rest)
        elif program == "python" and words[1].startswith("benchmarks/"):
            assert (REPOSITORY / words[1]).is_file(), part
        elif program.startswith("benchmarks/"):
            assert os.access(REPOSITORY / program, os.X_OK), part
        elif program in {"snakemake", "make"}:
            continue  # below
        else:
            known = program in PLAIN or re.match(r"[a-z]+=\$\(", part)
            assert known, f"{where}: {program} is none of those that this test knows how to try"
            plain = re.sub(r"<([^<>]*)>", r"\1", part)
            assert shared_checkout.bash(f"bash -n -c {shlex.quote(plain)}").returncode == 0, part


@pytest.fixture(scope="module")
def with_oai(shared_checkout):
    """A checkout with tables where an import writes those of OAI, and folders for data; any will do for a plan."""
    (shared_checkout.folder / "../shared/data/hippocampus").resolve().mkdir(parents=True)
    folder = shared_checkout.folder / "resources" / "oai"
    folder.mkdir()
    for table in ("images.tsv", "pairs.tsv"):
        shutil.copy(REPOSITORY / "config" / "oai-anatomy" / table, folder)
    return shared_checkout


@pytest.mark.parametrize("line", SNAKEMAKE)
def test_every_run_of_snakemake_can_be_planned(line, with_oai):
    run = with_oai.bash(line if "--dry-run" in line else f"{line} --dry-run --quiet all")
    assert run.returncode == 0, run.stdout
    assert "--dry-run" not in line or re.search(r"^total +\d+$", run.stdout, re.MULTILINE), run.stdout


@pytest.mark.parametrize("line", MAKE)
def test_every_target_of_make_is_there(line, shared_checkout):
    run = shared_checkout.bash(f"make --dry-run {line.removeprefix('make ')}")
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(("page", "span"), SPANS, ids=lambda value: getattr(value, "stem", value))
def test_commands_within_sentences_have_the_names_and_options_of_real_ones(page, span):
    words = span.split()[1:]
    if words[0].isupper() or words[0].startswith("--"):
        return
    command, rest = ROOT, words
    while hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, f"{page.name}: {span}"
        command, rest = command.commands[rest[0]], rest[1:]
    if command.context_settings.get("ignore_unknown_options"):  # Snakemake's
        return
    known = {"--help"} | {
        option for param in command.params for option in [*param.opts, *param.secondary_opts]
    }
    assert {word for word in rest if word.startswith("--")} <= known, f"{page.name}: {span}"


def test_blocks_without_a_language_are_commands():
    """So that none hides: output and tables say that they are text."""
    for block in BLOCKS:
        assert all(re.match(r"[a-z.A-Z_]", line) for line in commands(block)), block


def test_a_block_is_taken_apart_as_bash_does():
    block = Block(REPOSITORY, "sh", "snakemake a \\\n  b   # why\n# nothing\nmake c\n", 1)
    assert commands(block) == ["snakemake a b", "make c"]
    assert without_code("a `[b](c)` d") == "a `code` d"
