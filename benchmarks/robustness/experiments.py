"""What the scripts beside this one share: experiments drawn from a seed, a row of a table each, gone on with later.

An experiment is known by its number: number and seed say all that is drawn for it. Its row is written when it is done,
so that a script that was stopped goes on behind its last row.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from cohortreg.files import write_json
from cohortreg.provenance import git_commit, hardware, software

#: Worst first. lost: a file that was there before the experiment is not there as it was.
BAD = ("lost", "executed", "SILENT", "crash", "hang", "stuck", "stopped", "traceback")


def parsed(doc: str, count: int, **more: dict) -> argparse.Namespace:
    """The options that every script has; more: further ones, by name, for `add_argument`."""
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # so that what was started is ended
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=count, help=f"experiments, {count} unless said")
    parser.add_argument(
        "--seed", type=int, default=1, help="all that is drawn follows from it; 1 unless said"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the table, and of what is made")
    parser.add_argument("--only", type=int, nargs="+", help="carry out these numbers alone and write no row")
    for name, options in more.items():
        parser.add_argument(f"--{name}", **options)
    return parser.parse_args()


def carry_out(
    name: str,
    given: argparse.Namespace,
    experiment: Callable[[int, random.Random], Mapping[str, object]],
    shown: tuple[str, str],
) -> None:
    """Carry out the experiments that have no row yet, and print how many came out how.

    name: of the table. experiment: given its number and a random generator of its own, returns its row; of that
    `outcome` and `said` are printed. shown: columns whose counts the closing table has, down and across.
    """
    path = given.output / f"{name}.csv"
    if given.only:
        for number in given.only:
            print(
                json.dumps({"number": number} | dict(experiment(number, drawn(given.seed, number))), indent=2)
            )
        return
    _note_circumstances(given.output / f"{name}.json", given)
    done = _rows(path)
    numbers = [number for number in range(given.count) if str(number) not in {row["number"] for row in done}]
    began = time.monotonic()
    for position, number in enumerate(numbers, start=1):
        started = time.monotonic()
        row = {"number": number} | dict(experiment(number, drawn(given.seed, number)))
        # Where it was carried out is nobody's business.
        row["said"] = row["said"].replace(f"{given.output.absolute()}/", "")
        row["seconds"] = round(time.monotonic() - started, 1)
        _append(path, row)
        if position == len(numbers) or row["seconds"] > 1 or position % 50 == 0 or row["outcome"] in BAD:
            left = (time.monotonic() - began) / position * (len(numbers) - position)
            what = " | ".join(str(row[key]) for key in (shown[0], "input", "outcome", "said") if row.get(key))
            print(f"{number + 1} of {given.count}, {_duration(left)} left | {what}"[:250], flush=True)
    table = pd.DataFrame(_rows(path))
    print(counts(table, *shown).to_string())
    print(f"{path}: {len(table)} experiments, {_duration(table['seconds'].astype(float).sum())}")


def drawn(seed: int, number: int) -> random.Random:
    """The random generator of an experiment."""
    return random.Random(f"{seed}-{number}")


def counts(table: pd.DataFrame, down: str, across: str) -> pd.DataFrame:
    """How many rows there are of each value of two columns, with a row and a column of sums."""
    return pd.crosstab(table[down], table[across], margins=True, margins_name="all")


def made_whole(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that serves many experiments, made under another name until it is whole, and once."""
    beside = folder.with_name(f".{folder.name}")
    if not folder.is_dir():
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        make(beside)
        beside.rename(folder)
    return folder


def one_line(text: str, length: int = 300) -> str:
    """A text as a cell of a table."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _note_circumstances(path: Path, given: argparse.Namespace) -> None:
    """Write what the table is made with; ends where an earlier part of it was made with something else."""
    now = {"git_commit": git_commit(), "seed": given.seed, "hardware": hardware(), "software": software()}
    if path.is_file():
        before = json.loads(path.read_text("utf-8"))
        other = [key for key in ("git_commit", "seed", "hardware") if before[key] != now[key]]
        if other:
            sys.exit(f"{path} was begun with another {other[0]}, {before[other[0]]}; give another --output.")
    else:
        write_json(path, now)


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, without one that was cut short."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if None not in row.values() and row["seconds"]]


def _append(path: Path, row: Mapping[str, object]) -> None:
    before = _rows(path)
    if before and list(before[0]) != list(row):
        sys.exit(f"{path} has other columns than this version of the script; give another --output.")
    new = not before
    if not new and not path.read_bytes().endswith(b"\n"):
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, row)
            writer.writeheader()
            writer.writerows(before)
    with path.open("w" if new else "a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
        stream.flush()
        os.fsync(stream.fileno())


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
