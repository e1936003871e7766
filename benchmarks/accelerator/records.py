"""What the parts of the ladder measured, on the disk after every measurement: JSON, tables and a log.

A file appears whole or not at all, so that a run that is killed at any moment leaves what it had.
"""

import csv
import io
import json
import tarfile
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cohortreg.errors import UserError
from cohortreg.files import whole, write_json, write_text

LOG = "log.txt"


def read(folder: Path, part: str) -> dict:
    """What a folder has of a part: runs, measurements, failures; empty where it has nothing."""
    path = folder / f"{part}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def log(folder: Path, line: str) -> None:
    """Add a line to a folder's log, with the time, in one go; and print it."""
    line = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}"
    with (folder / LOG).open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    print(line, flush=True)


def attempt_path(folder: Path, part: str) -> Path:
    """Where a part's process says what it measures, for whoever finds that it died over it or hangs."""
    return folder / f".{part}-attempt"


def write_attempt(folder: Path, part: str, key: str, limit: float | None) -> None:
    """Say what is being measured. limit: seconds that it may take; None where it ends by the part's clock."""
    write_json(attempt_path(folder, part), {"key": key} | ({"until": time.time() + limit} if limit else {}))


def read_attempt(path: Path) -> dict:
    """What is being measured, `key`, and the time by which it has to be, `until`; empty where nothing is."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def fail(folder: Path, part: str, size: str, key: str, reason: str) -> None:
    """Keep why a part's process could not measure something, where it did not say so itself."""
    content = read(folder, part) or {"part": part, "size": size, "measurements": {}, "failures": {}}
    if key not in content["failures"]:
        content["failures"][key] = {"run": len(content.get("runs", [])) - 1, "reason": reason}
        content |= {"left": [each for each in content.get("left", []) if each != key], "complete": False}
        write_json(folder / f"{part}.json", content)
        log(folder, f"{part} {key}: failed: {_last_line(reason)}")


def forget_failures(folder: Path, part: str) -> None:
    """What failed in an earlier run is tried again."""
    if content := read(folder, part):
        write_json(folder / f"{part}.json", content | {"failures": {}})


class Results:
    """The results of a part in a folder, beside those that another folder has already.

    size: "full", or "small" for a rehearsal; the two cannot share a folder. known: a folder of earlier results, which
    are taken over. archive: a file that always holds the whole folder; None for none. Raises UserError where the
    folder's results are of the other size.
    """

    def __init__(self, folder: Path, part: str, size: str, known: Path | None, archive: Path | None = None):
        self.folder, self.part, self.size, self.archive = folder, part, size, archive
        earlier = read(known, part) if known and size == "full" else {}
        own = read(folder, part)
        if own and own["size"] != size:
            raise UserError(
                f"{folder}: holds results of size {own['size']}, and these are of size {size}; choose another folder."
            )
        taken = own if own.get("runs") else earlier
        self.runs: list[dict] = taken.get("runs", [])
        self.measurements: dict[str, dict] = taken.get("measurements", {})
        #: Of this run; another one tries again.
        self.failures: dict[str, dict] = own.get("failures", {})
        #: What is to be measured yet, by name; None where it is not known.
        self.left: list[str] | None = None

    def begin(self, facts: Mapping, question: str) -> None:
        """Note what this run runs on. question: that the part answers."""
        self.question, self.started = question, time.perf_counter()
        self.runs.append(dict(facts))

    @property
    def complete(self) -> bool:
        """Whether nothing is left to measure, and nothing failed."""
        return self.left == [] and not self.failures

    def has(self, key: str) -> bool:
        """Whether something was measured to its end."""
        return self.measurements.get(key, {}).get("done", False)

    def add(self, key: str, values: Mapping, seconds: float, done: bool = True) -> None:
        """Keep what was measured, and write everything. done: False where there is more to come."""
        self.measurements[key] = {
            "done": done,
            "run": len(self.runs) - 1,
            "seconds": round(seconds, 3),
            **values,
        }
        self._ended(key if done else None)
        rows = [value for value in values.values() if isinstance(value, list) and value and not done]
        told = {**values, **(rows[-1][-1] if rows else {})}
        told = {name: _short(value) for name, value in told.items() if not isinstance(value, list | dict)}
        log(self.folder, f"{self.part} {key}: {json.dumps(told)} ({seconds:.1f} s)")

    def fail(self, key: str, reason: str) -> None:
        """Keep why something could not be measured, and write everything."""
        self.failures[key] = {"run": len(self.runs) - 1, "reason": reason}
        self._ended(key)
        log(self.folder, f"{self.part} {key}: failed: {_last_line(reason)}")

    def _ended(self, key: str | None) -> None:
        if self.left and key in self.left:
            self.left.remove(key)
        self.write()

    def write(self) -> None:
        """Write the part's files and the archive."""
        self.runs[-1]["seconds"] = round(time.perf_counter() - self.started, 1)
        write_json(
            self.folder / f"{self.part}.json",
            {
                "part": self.part,
                "question": self.question,
                "size": self.size,
                "complete": self.complete,
                "left": self.left,
                "runs": self.runs,
                "measurements": self.measurements,
                "failures": self.failures,
            },
        )
        for name, rows in self.tables().items():
            write_text(self.folder / f"{name}.csv", as_csv(rows))
        if self.archive:
            write_archive(self.folder, self.archive)

    def tables(self) -> dict[str, list[dict]]:
        """The part's tables by name: a row for each measurement; and of each list of rows among values, its own."""
        tables: dict[str, list[dict]] = {self.part: []}
        for key, values in self.measurements.items():
            plain = {name: value for name, value in values.items() if not isinstance(value, list | dict)}
            tables[self.part].append({"measurement": key, **plain})
            for name, rows in values.items():
                if isinstance(rows, list) and rows and isinstance(rows[0], dict):
                    tables.setdefault(f"{self.part}-{name}", []).extend(
                        {"measurement": key, **row} for row in rows
                    )
        return tables


def _last_line(reason: str) -> str:
    return reason.strip().splitlines()[-1]


def _short(value: object) -> object:
    """A number with few digits, for the log."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def as_csv(rows: Iterable[Mapping]) -> str:
    """Rows as CSV, with every column that any of them has."""
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def write_archive(folder: Path, archive: Path) -> None:
    """Write the folder's results into one file; for machines that give back few."""
    with whole(archive) as beside, tarfile.open(beside, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                tar.add(path, arcname=path.name)


class OutOfTime(Exception):  # noqa: N818 (it is no error)
    """The run ends here; what was begun goes on in the next one."""


class Clock:
    """When a run has to end. end: as `time.time()` counts."""

    def __init__(self, end: float):
        self.end = end

    def left(self) -> float:
        """Seconds until then."""
        return self.end - time.time()
