"""Arguments and options that several commands have."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cohortreg.errors import UserError

if TYPE_CHECKING:
    from cohortreg.config import Configuration
    from cohortreg.settings import Section

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

Images = Annotated[Path, typer.Option(help="The cohort's images.tsv.")]
Root = Annotated[str, typer.Option(help="Folder that the table's paths start from; $VARIABLES are expanded.")]
ImageShard = Annotated[int, typer.Option(min=0, help="Which shard of the images, from 0.")]
ImageShards = Annotated[int, typer.Option(min=1, help="How many shards there are.")]
PairShard = Annotated[int, typer.Option(min=0, help="Which shard of the pairs, from 0.")]
Settings = Annotated[
    str,
    typer.Option(help="JSON, or a file of it: the keys of the configuration that the command reads."),
]
Config = Annotated[
    list[Path] | None,
    typer.Option(help="Instead of --settings: a configuration file; of several, later ones over earlier."),
]


def _object(pairs: list[tuple[str, object]]) -> dict[str, Any]:
    """Build a JSON object from its keys and values, in order."""
    content = dict(pairs)
    names = [name for name, _ in pairs]
    if twice := [name for name in content if names.count(name) > 1]:
        raise UserError(f"--settings gives {twice[0]} twice; remove one.")
    return content


def plain(settings: str) -> dict[str, Any]:
    """The JSON object of --settings, or of the file that it names."""
    try:
        content = json.loads(_text(settings), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--settings must be JSON ({error}); correct it.") from error
    if not isinstance(content, dict):
        raise UserError("--settings must be a JSON object; correct it.")
    return content


def parsed(settings: str, kind: "type[Section]") -> "Section":
    """Read the settings that a command takes from --settings.

    Args:
        settings: JSON, or the name of a file of it.
        kind: What the command reads, see `config.part`; other keys may be anything.

    Raises:
        UserError: One sentence on what is missing or wrong.
    """
    content = plain(settings)
    for key, field in kind.model_fields.items():
        if field.is_required() and key not in content:
            raise UserError(f"--settings has no {key}; correct it.")
    return kind.read({key: content[key] for key in kind.model_fields if key in content}, source="--settings")


def configured(settings: str, config: Sequence[Path] | None, *names: str, **own: Any) -> "Configuration":
    """Read keys of the configuration from --settings or --config.

    Args:
        settings: JSON, or the name of a file of it.
        own: Of --settings alone, see `config.part`.

    Returns:
        The configuration, or what of it --settings has.

    Raises:
        UserError: Both or neither are given, or one sentence on what is missing or wrong.
    """
    from cohortreg.config import merged, part
    from cohortreg.methods import registry

    if bool(settings) == bool(config):
        raise UserError("give either --settings or --config.")
    if config:
        return registry.read(merged(*config))
    return cast("Configuration", parsed(settings, part(*names, **own)))


def _text(settings: str) -> str:
    """The text of --settings, or the content of the file that it names."""
    if settings.lstrip().startswith(("{", "[")):
        return settings
    try:
        return Path(settings).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"--settings must be JSON, or a file of JSON ({error}); correct it.") from error


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """A command's arguments with the content of the --settings file in place of its name, since the file may change."""
    whole = list(arguments)
    for number, name in enumerate(whole[:-1]):
        if name == "--settings":
            with suppress(UserError):  # which the command ends in by itself
                whole[number + 1] = _text(whole[number + 1]).strip()
    return whole
