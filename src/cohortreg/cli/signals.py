"""Signals that ask a command to end: before a time limit, when a node is wanted for another job, on Ctrl-C."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: What Slurm sends first (its own, and what `--signal` is often set to), and Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Whether such a signal has arrived since the block was entered; within the block, none ends the process.

    Nor do more of them: Slurm sends them to torchrun and to its processes alike, and torchrun hands its own on. Only a
    second Ctrl-C ends it as ever.
    """
    came = []
    before = {}

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
