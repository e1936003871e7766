"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

#: Folders of results that commands of this process were given.
given_results: list[Path] = []


def _note(results: Path) -> Path:
    given_results.append(results)
    return results


Results = Annotated[
    Path,
    typer.Argument(help="The folder of results, results/{cohort} or results/paper-{preset}.", callback=_note),
]
Seed = Annotated[int, typer.Option(help="Everything drawn at random follows from it.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of the processor.")]
