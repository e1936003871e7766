"""The parts of the ladder, each in a process of its own under a clock: what is measured already is left out."""

import argparse
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
from pathlib import Path

import records
from records import Clock, OutOfTime, Results

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
#: Times that a part is started again whose process died.
RESTARTS = 3


def climb(given: argparse.Namespace) -> bool:
    """Run the parts in their order, as many as the time allows; returns whether nothing is left to measure.

    First each has its share of the time, then what is left goes to those that were cut off.
    """
    clock = Clock(given.started + given.seconds - MARGIN)
    given.output.mkdir(parents=True, exist_ok=True)
    open_parts = [part for part in PARTS if part in given.parts and not _complete(given, part)]
    records.log(given.output, f"parts {' '.join(open_parts) or 'none'}, {clock.left():.0f} s")
    for shared in (True, False):
        for part in list(open_parts):
            if clock.left() < ENDING:
                break
            limit = PARTS[part][1] if shared else None
            end = min(clock.end, time.time() + (limit or clock.left()))
            if _run(given, part, end):
                open_parts.remove(part)
    records.log(
        given.output, f"ends with {clock.left() + MARGIN:.0f} s left; open: {' '.join(open_parts) or 'none'}"
    )
    return not open_parts


def _complete(given: argparse.Namespace, part: str) -> bool:
    """Whether a part is measured to its end, in the output or among what is known."""
    folders = [given.output, *([KNOWN] if given.size == "full" else [])]
    return any(records.read(folder, part).get("complete", False) for folder in folders)


def _run(given: argparse.Namespace, part: str, end: float) -> bool:
    """Run a part's process until it ends or has to; again where it died. Returns whether the part is complete."""
    for _ in range(RESTARTS):
        (given.output / f".{part}-attempt").unlink(missing_ok=True)
        code = _waited_for(_started(given, part, end), end)
        attempt = given.output / f".{part}-attempt"
        if code in (0, None):
            break
        key = attempt.read_text("utf-8") if attempt.is_file() else "start"
        records.log(given.output, f"{part}: its process ended with {code} while it measured {key}")
        if not attempt.is_file():
            break
        # The process that follows leaves it out.
        given.left_out = [*given.left_out, f"{part}:{key}"]
    (given.output / f".{part}-attempt").unlink(missing_ok=True)
    return _complete(given, part)


def _started(given: argparse.Namespace, part: str, end: float) -> subprocess.Popen:
    command = [sys.executable, str(FOLDER / "ladder.py"), part, "--end", repr(end)]
    for name in ("output", "packed", "work", "size", "device", "seed"):
        command += [f"--{name}", str(getattr(given, name))]
    if given.archive:
        command += ["--archive", str(given.archive)]
    command += [f"--left-out={key}" for key in given.left_out]
    return subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"}, start_new_session=True)


def _waited_for(process: subprocess.Popen, end: float) -> int | None:
    """The process's exit code; None where it had to be ended. What it started ends with it."""
    try:
        return process.wait(max(end - time.time(), 0))
    except subprocess.TimeoutExpired:
        return None
    finally:
        for which in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, which)
                try:
                    process.wait(2)
                except subprocess.TimeoutExpired:
                    continue


def measure(given: argparse.Namespace) -> None:
    """Measure what a part has open, in this process."""
    import torch
    from bench import Bench, facts, forget

    from cohortreg.learning.devices import Device, use_processor

    # It says at every start which precision it takes.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    part = importlib.import_module(PARTS[given.part][0])
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
    use_processor(threads)
    device = Device(given.device, "32-true").device
    kept = Results(given.output, given.part, given.size, KNOWN, given.archive)
    clock = Clock(given.end - ENDING)
    bench = Bench(device, given.size == "small", given.seed, given.packed, given.work, kept, clock)
    kept.begin(facts(device, given.seed, given.packed), part.__doc__.splitlines()[0])
    for key in given.left_out:
        if key.startswith(f"{given.part}:"):
            kept.fail(key.split(":", 1)[1], "its process died")
    left = False
    try:
        open_ones = list(part.measurements(bench))
    except Exception:
        kept.fail("start", traceback.format_exc())
        return
    for each in open_ones:
        if kept.has(each.key) or each.key in kept.failures:
            continue
        if clock.left() < (0 if bench.small else each.expected):
            left = True
            continue
        kept.attempt(each.key)
        started = time.perf_counter()
        try:
            kept.add(each.key, each.work(), time.perf_counter() - started)
        except torch.OutOfMemoryError:
            kept.add(each.key, {"outcome": "out of memory"}, time.perf_counter() - started)
        except OutOfTime:
            left = True
        except Exception:  # the next one may work
            kept.fail(each.key, traceback.format_exc())
        forget(device)
    kept.complete = not left and not kept.failures
    kept.write()


def end_with_parent() -> None:
    """Let the system end this process where the one that started it ends; Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main() -> None:
    """A part's own process."""
    end_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--end", type=float, required=True)
    for name in ("output", "packed", "work", "archive"):
        parser.add_argument(f"--{name}", type=Path)
    for name in ("size", "device"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--left-out", action="append", default=[])
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
