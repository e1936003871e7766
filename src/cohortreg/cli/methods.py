"""The command that lists methods, and what else is chosen by name."""

from collections.abc import Iterator
from typing import Any

import typer

from cohortreg.cli import app


@app.command("methods")
def methods_command() -> None:
    """List methods, similarities, networks, measures and importers: this package's, and those of other packages."""
    for title, rows in _tables():
        typer.echo(f"{title}\n")
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            typer.echo(f"  {name:{width}}  {text}".rstrip())
        typer.echo("")


def _tables() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A title for each kind, and its names, each with what is to be known of it."""
    from cohortreg.config import ARCHITECTURES, LEARNED, SIMILARITIES
    from cohortreg.evaluation.measures import MEASURES
    from cohortreg.evaluation.measures import OTHERS as MEASURES_OF_OTHERS
    from cohortreg.importers.registry import IMPORTERS
    from cohortreg.methods.registry import PAIRWISE, lacking
    from cohortreg.plugins import Entries, package_of

    def others(entries: Entries[Any]) -> list[tuple[str, str]]:
        return [(name, f"of {package_of(point)}") for name, point in sorted(entries.others.items())]

    ready = [(name, entry.missing({}) or "ready") for name, entry in PAIRWISE.items()]
    yield "Methods that need no training, rows under methods", ready + others(PAIRWISE)
    ready = [(name, lacking(name) or "ready") for name in LEARNED]
    yield "Methods that learn, the method of a model under models", ready + others(LEARNED)
    similarities = [(name, entry.name) for name, entry in SIMILARITIES.items()]
    yield "Similarities, of a model and of fit", similarities + others(SIMILARITIES)
    networks = [(name, f"needs {kind.own_keys()}") for name, kind in ARCHITECTURES.items()]
    yield "Networks, the architecture of a model's network", networks + others(ARCHITECTURES)
    yield (
        "Measures of every pair; those of other packages where the configuration's measures names them",
        [*((measure.key, measure.title) for measure in MEASURES), *others(MEASURES_OF_OTHERS)],
    )
    readers = [(name, importer.source) for name, importer in IMPORTERS.items()]
    yield "Importers, commands of cohortreg import", readers + others(IMPORTERS)
