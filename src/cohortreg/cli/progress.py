"""The one progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error.

    Yields `advance(note="", completed=None)`: one item further, or to `completed`; a note is printed above the
    bar (why an item was left out) or, with `completed`, shown beside it.
    """
    columns = [*Progress.get_default_columns(), MofNCompleteColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)

        def advance(note: str = "", completed: int | None = None) -> None:
            if completed is None:
                if note:
                    progress.console.out(note, highlight=False)
                progress.advance(task)
            else:
                progress.update(task, completed=completed, description=f"{what} {note}")

        yield advance
