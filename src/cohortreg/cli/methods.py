"""The command that lists methods, and what else is chosen by name."""

from collections.abc import Iterator
from typing import Any

import typer

from cohortreg.cli import app


@app.command("methods")
def methods_command() -> None:
    """List methods, similarities and networks by name: this package's, and those that other packages offer."""
    for title, rows in _tables():
        typer.echo(f"{title}\n")
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            typer.echo(f"  {name:{width}}  {text}".rstrip())
        typer.echo("")


def _tables() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A title for each kind, and its names, each with what is to be known of it."""
    from cohortreg.config import ARCHITECTURES, SIMILARITIES
    from cohortreg.methods.registry import LEARNED, PAIRWISE
    from cohortreg.plugins import Entries, package_of

    def others(entries: Entries[Any]) -> list[tuple[str, str]]:
        return [(name, f"of {package_of(point)}") for name, point in sorted(entries.others.items())]

    for title, methods, more in (
        ("Methods that need no training, rows under methods", PAIRWISE, others(PAIRWISE)),
        ("Methods that learn, the method of a model under models", LEARNED, []),
    ):
        yield title, [*((name, entry.missing({}) or "ready") for name, entry in methods.items()), *more]
    similarities = [(name, entry.name) for name, entry in SIMILARITIES.items()]
    yield "Similarities, of a model and of fit", similarities + others(SIMILARITIES)
    networks = [(name, f"needs {kind.own_keys()}") for name, kind in ARCHITECTURES.items()]
    yield "Networks, the architecture of a model's network", networks + others(ARCHITECTURES)
