"""The parts of the ladder, each in a process of its own under a clock: what is measured already is left out."""

import argparse
import contextlib
import ctypes
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path

import records
import unfinished
from records import Clock, OutOfTime, Results

from cohortreg.errors import UserError

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parents[1]
#: Results that need not be measured again.
KNOWN = REPOSITORY / "docs" / "measured" / "accelerator"

#: Each part, its module, and the seconds that it may take on an H100 before the next one has its turn; None: the rest.
PARTS = {
    "a": ("a_works", 60),
    "b": ("b_model", 120),
    "c": ("c_fit", 60),
    "d": ("d_disk", 60),
    "e": ("e_hippocampi", 240),
    "f": ("f_knees", None),
    "g": ("g_table1", None),
    "h": ("h_profile", 60),
}
#: Seconds that a run keeps to end in.
MARGIN = 6
#: Seconds that a part keeps to write a checkpoint and its results, before it is ended.
ENDING = 10
#: Seconds that a part's process may take until it measures: PyTorch is loaded, and the device made ready.
STARTING = 120
#: Times that a part is started again whose process died, or had to be ended.
RESTARTS = 3
#: Exit code of a part that finds no GPU.
NO_DEVICE = 4
#: The name under which a failure is kept that came before the first measurement.
START = "start"


def climb(given: argparse.Namespace) -> bool:
    """Run the parts in their order, as many as the time allows; returns whether nothing is left to measure.

    First each has its share of the time, then what is left goes to those that were cut off. What failed is not tried
    again in the same run. Raises UserError where there is no such device.
    """
    clock = Clock(given.started + given.seconds - MARGIN)
    given.output.mkdir(parents=True, exist_ok=True)
    open_parts = [part for part in PARTS if part in given.parts and not _complete(given, part)]
    for part in open_parts:
        records.forget_failures(given.output, part)
    records.log(given.output, f"parts {' '.join(open_parts) or 'none'}, {clock.left():.0f} s")
    for folder in filter(None, [given.packed / "unfinished", given.unfinished]):
        for training in unfinished.read(folder, given.work):
            records.log(given.output, f"{training}: goes on from {folder}")
    waiting, too_large = list(open_parts), []
    for shared in (True, False):
        for part in list(waiting):
            limit = _share(part, waiting, clock.left()) if shared else clock.left()
            if limit < ENDING:
                continue
            if not _run(given, part, min(clock.end, time.time() + limit)):
                waiting.remove(part)
            too_large = unfinished.write(given.work, given.unfinished) if given.unfinished else []
    for training in too_large:
        records.log(given.output, f"{training}: too large to be kept in {given.unfinished}")
    open_parts = [part for part in open_parts if not _complete(given, part)]
    records.log(
        given.output, f"ends with {clock.left() + MARGIN:.0f} s left; open: {' '.join(open_parts) or 'none'}"
    )
    return not open_parts


def _share(part: str, waiting: list[str], left: float) -> float:
    """The seconds that a part has before the next one has its turn.

    One that has the rest leaves those after it what they are given.
    """
    limit = PARTS[part][1]
    if limit is None:
        limit = left - sum(PARTS[later][1] or 0 for later in waiting[waiting.index(part) + 1 :])
    return min(limit, left)


def _complete(given: argparse.Namespace, part: str) -> bool:
    """Whether a part is measured to its end, in the output or among what is known."""
    folders = [given.output, *([KNOWN] if given.size == "full" else [])]
    return any(records.read(folder, part).get("complete", False) for folder in folders)


def _run(given: argparse.Namespace, part: str, end: float) -> bool:
    """Run a part's process until it ends or has to; again, without what it died over. Returns whether there is more.

    Raises UserError where there is no such device.
    """
    attempt = records.attempt_path(given.output, part)
    try:
        for _ in range(RESTARTS):
            records.write_attempt(given.output, part, START, STARTING)
            code, late = _waited_for(_started(given, part, end), end, attempt)
            if code == NO_DEVICE:
                raise UserError(
                    f"--device {given.device}: PyTorch finds no GPU here; to measure a processor, say --device cpu"
                )
            if code == 0 or not (code or late):
                break
            key = records.read_attempt(attempt).get("key", START)
            why = (
                f"its process ended with {code}"
                if code
                else "it did not end in time, and its process was ended"
            )
            records.fail(given.output, part, given.size, key, why)
            if key == START:
                return False
    finally:
        attempt.unlink(missing_ok=True)
    return bool(records.read(given.output, part).get("left", True))


def _started(given: argparse.Namespace, part: str, end: float) -> subprocess.Popen:
    command = [sys.executable, str(FOLDER / "ladder.py"), part, "--end", repr(end)]
    command += ["--parent", str(os.getpid())]
    for name in ("started", "output", "packed", "work", "size", "device", "seed"):
        command += [f"--{name}", str(getattr(given, name))]
    if given.archive:
        command += ["--archive", str(given.archive)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"}, start_new_session=True)


def _waited_for(process: subprocess.Popen, end: float, attempt: Path) -> tuple[int | None, bool]:
    """The process's exit code, None where it had to be ended, and whether it was since a measurement took too long.

    One that ends itself by the part's clock took too long where it did not. What the process started ends with it.
    """
    late = False
    while process.poll() is None and not late and time.time() < end:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(max(end - time.time(), 0), 0.2))
        late = process.returncode is None and records.read_attempt(attempt).get("until", end) < time.time()
    code = process.poll()
    late |= code is None and "until" not in records.read_attempt(attempt)
    for which in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, which)
            process.wait(2)
    return code, late


def measure(given: argparse.Namespace) -> None:
    """Measure what a part has open, in this process."""
    import torch
    from bench import Bench, facts, forget, works_still

    from cohortreg.learning.devices import Device, use_processor

    # It says at every start which precision it takes.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    part = importlib.import_module(PARTS[given.part][0])
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
    use_processor(threads)
    try:
        device = Device(given.device, "32-true").device
    except UserError:
        sys.exit(NO_DEVICE)
    if given.size == "full" and device.type == "cpu" and given.device != "cpu":
        sys.exit(NO_DEVICE)
    kept = Results(given.output, given.part, given.size, KNOWN, given.archive)
    clock = Clock(given.end - ENDING)
    began = f"{datetime.fromtimestamp(given.started, UTC):%Y-%m-%d %H:%M:%S}"
    bench = Bench(device, given.size == "small", given.seed, given.packed, given.work, kept, clock, began)
    kept.begin(facts(device, given.seed, given.packed), part.__doc__.splitlines()[0])
    try:
        every = list(part.measurements(bench))
    except Exception:
        kept.fail(START, traceback.format_exc())
        return
    kept.left = [each.key for each in every if not kept.has(each.key) and each.key not in kept.failures]
    kept.write()
    for each in [each for each in every if each.key in kept.left]:
        if clock.left() < (0 if bench.small else each.expected):
            continue
        records.write_attempt(given.output, given.part, each.key, each.limit)
        started = time.perf_counter()
        try:
            kept.add(each.key, each.work(), time.perf_counter() - started)
        except torch.OutOfMemoryError:
            kept.add(each.key, {"outcome": "out of memory"}, time.perf_counter() - started)
        except OutOfTime:
            pass
        except Exception:  # the next one may work
            kept.fail(each.key, traceback.format_exc())
            if not works_still(device):
                sys.exit(
                    f"{each.key} left the device in a state in which nothing works; in a new process it may."
                )
        forget(device)


def end_with_parent(parent: int) -> None:
    """Let the system end this process where the one that started it ends; Linux alone can.

    parent: its number. Where it ended before this was called, as while modules were loaded, this process ends here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def main() -> None:
    """A part's own process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    for name in ("started", "end"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--parent", type=int, required=True)
    for name in ("output", "packed", "work", "archive"):
        parser.add_argument(f"--{name}", type=Path)
    for name in ("size", "device"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    end_with_parent(given.parent)
    try:
        measure(given)
    except Exception:
        key = records.read_attempt(records.attempt_path(given.output, given.part)).get("key", START)
        records.fail(given.output, given.part, given.size, key, traceback.format_exc())
        raise


if __name__ == "__main__":
    main()
