"""Work in a forked child, with limits of time and memory: what crashes or hangs there does not end the script."""

import io
import json
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from experiments import one_line

from cohortreg.errors import UserError

SECONDS = 60
MEMORY = 4 * 2**30  # bytes beside what the script has already


@dataclass(frozen=True)
class Came:
    """What came of it.

    how: accepted, sentence, traceback, crash or hang. said: its last words. value: what an accepted task returned.
    """

    how: str
    said: str = ""
    value: object = None


def isolated(task: Callable[[], object], seconds: float = SECONDS) -> Came:
    """Call the task in a child; it returns JSON. A UserError is a sentence, what else it raises a traceback."""

    def attempt() -> dict:
        try:
            return {"how": "accepted", "value": task()}
        except UserError as error:
            return {"how": "sentence", "said": str(error)}
        except BaseException as error:
            traceback.print_exc()
            return {"how": "traceback", "said": f"{type(error).__name__}: {error}"}

    return _forked(attempt, seconds)


def command(arguments: Sequence[str], folder: Path, seconds: float = SECONDS) -> Came:
    """Run a command of `cohortreg` in a folder, as its users do; value: all that it printed."""

    def attempt() -> dict:
        from cohortreg.cli import main

        os.chdir(folder)
        sys.argv = ["cohortreg", *map(str, arguments)]
        said, code = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True), 0
        with redirect_stdout(said), redirect_stderr(said):
            try:
                main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            except BaseException:
                traceback.print_exc(file=said)
                code = 1
        return _judged(said.buffer.getvalue().decode(), code)

    return _forked(attempt, seconds)


def _judged(text: str, code: int) -> dict:
    """What a command's exit code and last words make of it."""
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if not code:
        return {"how": "accepted", "value": text}
    # typer puts what is wrong with an option into a box.
    if last.startswith("cohortreg: ") or re.search(r"^Usage: ", text, re.MULTILINE):
        boxed = [line.strip("│ ") for line in lines if line.startswith("│")]
        return {"how": "sentence", "said": last if last.startswith("cohortreg: ") else " ".join(boxed)}
    return {"how": "traceback", "said": last or f"exit code {code} without a word"}


def _forked(attempt: Callable[[], dict], seconds: float) -> Came:
    """What the attempt returned, in a child; or how the child ended."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _work(attempt, reading, writing)
    os.close(writing)
    answer, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        part = os.read(reading, 65536)
        if not part:
            break
        answer += part
    late = time.monotonic() >= end
    os.close(reading)
    for stop in (lambda: os.killpg(child, signal.SIGKILL), lambda: os.kill(child, signal.SIGKILL)):
        try:
            stop()
        except (ProcessLookupError, PermissionError):
            continue
    _, status = os.waitpid(child, 0)
    if answer.endswith(b"\n"):
        came = json.loads(answer)
        return Came(came["how"], one_line(came.get("said", "")), came.get("value"))
    if late:
        return Came("hang", f"not done after {seconds:g} s")
    return Came(
        "crash", f"ended by {signal.Signals(os.WTERMSIG(status)).name}" if os.WIFSIGNALED(status) else "ended"
    )


def _work(attempt: Callable[[], dict], reading: int, writing: int) -> None:
    """In the child: the attempt's answer into the pipe, and nothing else anywhere."""
    try:
        os.close(reading)
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        pages = (
            int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").is_file() else 0
        )
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        answer = json.dumps(attempt()).encode() + b"\n"
        while answer:
            answer = answer[os.write(writing, answer) :]
    finally:
        os._exit(0)
