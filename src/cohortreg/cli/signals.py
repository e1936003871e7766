"""Signals that ask a command to end: before a time limit, when a node is wanted for another job, on Ctrl-C."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: What Slurm sends first (its own, and what `--signal` is often set to), and Ctrl-C.
SIGNALS: tuple[int, ...] = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Keep these signals from ending the process while the block runs.

    Nor do repeated ones end it: Slurm signals torchrun and its processes alike, and torchrun passes its own on. Only a
    second Ctrl-C does, as ever.

    Yields:
        A function that says whether a signal has arrived.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        came.append(number)
        if number == signal.SIGINT:
            signal.signal(number, before[number])

    for number in SIGNALS:
        before[number] = signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
