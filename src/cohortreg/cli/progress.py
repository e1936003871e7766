"""The one progress bar."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from cohortreg.provenance import running

SECONDS_BETWEEN_LINES = 30


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[..., None]]:
    """Show progress on standard error: a bar or, in a log or under a scheduler, a line every half minute.

    Yields:
        `advance(note="", completed=None)`, which goes one item further, or to `completed`. A note is printed above the
        bar, such as why an item was left out; with `completed` it is shown beside the bar.
    """
    console = Console(stderr=True)
    done, printed = 0, time.monotonic()
    columns = [*Progress.get_default_columns(), MofNCompleteColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)

        def say(text: str) -> None:
            # Who listened may be gone, ended by the signal that asks a training to write a checkpoint.
            with suppress(BrokenPipeError):
                console.out(text, highlight=False)

        def advance(note: str = "", completed: int | None = None) -> None:
            """Go one item further, or to `completed`."""
            nonlocal done, printed
            if note and completed is None:
                say(note)
            state = note if completed is not None else ""
            before, done = done, done + 1 if completed is None else completed
            progress.update(task, completed=done, description=f"{what} {state}".rstrip())
            late = time.monotonic() - printed > SECONDS_BETWEEN_LINES
            if not console.is_terminal and (late or before < done == total):
                say(f"{what}: {done} of {total}. {state}".rstrip())
                printed = time.monotonic()

        yield advance


def new_and_kept(records: Iterable[Path]) -> str:
    """Count the results that this command wrote and those that it kept, by their records: "1 new, 12 kept"."""
    records, written = list(records), running().outputs
    new = sum(path in written for path in records)
    return f"{new} new, {len(records) - new} kept"
