"""The command that traces where a result comes from."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from cohortreg.cli import app

SHARDS_SHOWN = 2
INPUTS_SHOWN = 10


@app.command("provenance")
def provenance_command(
    result: Annotated[
        Path, typer.Argument(help="results/{cohort} or results/paper-{preset}, or any file below it.")
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Every shard and every input, not the first of each kind.")
    ] = False,
) -> None:
    """Print the commands that a result comes from, with settings, seed, inputs, versions, commit and hardware."""
    from cohortreg.records import history

    shown = Counter[str]()
    for made, record in history(result):
        kind = " ".join(record["command"].split()[:2])
        shown[kind] += 1
        if every or shown[kind] <= SHARDS_SHOWN:
            typer.echo(_described(made, record, len(record["inputs"]) if every else INPUTS_SHOWN))
    for kind, number in shown.items():
        if number > SHARDS_SHOWN and not every:
            typer.echo(f"... and {number - SHARDS_SHOWN} more of {kind}; --all shows them")


def _described(made: str, record: dict[str, Any], inputs: int) -> str:
    """Format a record with its first inputs, headed by one file that its command wrote."""
    others = len(record["outputs"]) - 1
    more = f" and {others} more file{'s' if others > 1 else ''}" if others else ""
    versions = ", ".join(f"{name} {version}" for name, version in record["software"].items())
    lines = [
        f"{made}{more}",
        f"  command   {record['command']}",
        f"  when      {record['started']}, {record['seconds']} s",
        f"  hardware  {record['hardware']}",
        f"  software  {versions}",
        f"  commit    {record['git_commit'] or 'not known: the source is not a git repository'}",
    ]
    lines += [f"  input     {path}  sha256 {sha}" for path, sha in list(record["inputs"].items())[:inputs]]
    hidden = len(record["inputs"]) - inputs
    if hidden > 0:
        lines.append(f"  ... and {hidden} more inputs; --all shows them")
    return "\n".join(lines) + "\n"
