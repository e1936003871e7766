"""Arguments and options that several commands have."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cohortreg.asked import WHEN
from cohortreg.errors import UserError

#: What every library takes for a seed: 32 bits.
LARGEST_SEED = 2**32 - 1

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
Seed = Annotated[
    int, typer.Option(min=0, max=LARGEST_SEED, help="Everything drawn at random follows from it.")
]
Threads = Annotated[
    int,
    typer.Option(
        min=1,
        help="Threads of the processor; no more than it has cores.",
        callback=lambda threads: min(threads, os.cpu_count() or 1),
    ),
]


class _Given(dict):
    """What --settings holds; a key that is not there, or is there twice, ends in one sentence."""

    @classmethod
    def of(cls, pairs: list[tuple[str, object]]) -> "_Given":
        """From the keys and values of a JSON object, in order."""
        given = cls(pairs)
        names = [name for name, _ in pairs]
        if twice := [name for name in given if names.count(name) > 1]:
            raise UserError(f"--settings has {twice[0]} twice; remove one of the two.")
        return given

    def __missing__(self, key: str):
        raise UserError(f"--settings has no {key}; correct it.")


def parsed(settings: str, *names: str, section: Sequence[str] = (), **own: Mapping) -> dict:
    """The JSON object of --settings, or of the file that it names, its values as the configuration may have them.

    names, section, own: see `config.check_settings`.
    """
    from cohortreg.config import check_settings

    try:
        given = json.loads(_text(settings), object_pairs_hook=_Given.of)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--settings must be JSON ({error}); correct it.") from error
    if not isinstance(given, _Given):
        raise UserError("--settings must be a JSON object; correct it.")
    given.pop(WHEN, None)
    check_settings(given, names, section, **own)
    return given


def _text(settings: str) -> str:
    """--settings as it was given, or what the file holds that it names."""
    if settings.lstrip().startswith(("{", "[")):
        return settings
    try:
        return Path(settings).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"--settings must be JSON, or a file of JSON ({error}); correct it.") from error


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """A command's arguments with the content of the file that --settings names, which may be another one tomorrow."""
    whole = list(arguments)
    for number, name in enumerate(whole[:-1]):
        if name == "--settings":
            with suppress(UserError):  # which the command ends in by itself
                whole[number + 1] = _text(whole[number + 1]).strip()
    return whole
