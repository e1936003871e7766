"""Arguments and options that several commands have."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cohortreg.errors import UserError

#: Folders of results that commands of this process were given.
given_results: list[Path] = []


def _note(results: Path) -> Path:
    given_results.append(results)
    return results


Results = Annotated[
    Path,
    typer.Argument(help="The folder of results, results/{cohort} or results/paper-{preset}.", callback=_note),
]
Output = Annotated[Path, typer.Option(help="The folder to write to.", callback=_note)]
Seed = Annotated[int, typer.Option(help="Everything drawn at random follows from it.")]
# Far above, libraries ask the system for more than it has, and crash.
Threads = Annotated[int, typer.Option(min=1, max=1024, help="Threads of the processor.")]


class _Given(dict):
    """What --settings holds; a key that is not there ends in one sentence."""

    def __missing__(self, key: str):
        raise UserError(f"--settings has no {key}; correct it.")


def parsed(settings: str) -> dict:
    """The JSON object of --settings."""
    try:
        given = json.loads(settings, object_hook=_Given)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--settings must be JSON ({error}); correct it.") from error
    if not isinstance(given, _Given):
        raise UserError("--settings must be a JSON object; correct it.")
    return given
