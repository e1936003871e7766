"""Records of the commands that made the files below a folder of results."""

import os
import re
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cohortreg.errors import UserError
from cohortreg.files import damaged, read_json, write_json
from cohortreg.provenance import Provenance, git_commit, hardware, software

#: Below a folder of results, a record for each command that wrote into it.
FOLDER = "provenance"
#: Of what a record tells, the kind.
KINDS = {"command": str, "outputs": list, "inputs": dict, "software": dict}


class Command:
    """A command that runs now, and its provenance."""

    def __init__(self, arguments: Sequence[str]):
        self.line = shlex.join(["cohortreg", *arguments])
        named = (part for part in arguments[:2] if re.fullmatch(r"[a-z]+(-[a-z]+)*", part))
        self.name = "-".join(named)[:80]  # of a file, which a folder of results may be called after
        self.provenance = Provenance()
        self.started, self._clock = datetime.now(UTC), time.perf_counter()

    @contextmanager
    def recorded(self, roots: list[Path], every: float = 60) -> Iterator[None]:
        """Write the records below folders of results when the block ends, however it does.

        And every so many seconds before: a command that is killed leaves only its last files without a record. roots
        may be added to meanwhile.
        """
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(every):
                with suppress(OSError, UserError):  # of a full disk, what the command itself writes tells
                    self._record_all(roots)

        keeper = threading.Thread(target=keep, daemon=True)
        keeper.start()
        try:
            with self.provenance:
                yield
        finally:
            ended.set()
            keeper.join()
            self._record_all(roots)

    def _record_all(self, roots: list[Path]) -> None:
        for root in list(roots):
            self.record(root)

    def record(self, root: Path) -> None:
        """Write what made the files that the command wrote below a folder of results; nothing if there are none."""
        # Copies: the command goes on meanwhile.
        inputs = dict(self.provenance.inputs)
        written = {path for path in set(self.provenance.outputs) if path.parent.name != FOLDER}
        outputs = sorted(str(path.relative_to(root)) for path in written if path.is_relative_to(root))
        if not outputs:
            return
        read = sorted((path, sha) for path, sha in inputs.items() if path not in written)
        torch = sys.modules.get("torch")
        on_accelerator = torch is not None and torch.cuda.is_initialized()
        when = self.started.strftime("%Y%m%dT%H%M%S")
        name = f"{when}-{self.name}-{socket.gethostname()}-{os.getpid()}.json"
        write_json(
            root / FOLDER / name,
            {
                "command": self.line,
                "started": self.started.isoformat(timespec="seconds"),
                "seconds": round(time.perf_counter() - self._clock, 1),
                "git_commit": git_commit(),
                "hardware": hardware("cuda" if on_accelerator else "cpu"),
                "software": software(),
                "inputs": {_below(root, path): sha for path, sha in read},
                "outputs": outputs,
            },
        )


def history(result: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The commands that a result of a cohort or of the paper comes from: what each made, and its record.

    The result's own command comes first, then those that made its inputs, back to the raw images; of a folder, the last
    command first.

    Raises:
        UserError: No command's record names the result.
    """
    whole = result.absolute()
    root = next((folder for folder in (whole, *whole.parents) if (folder / FOLDER).is_dir()), None)
    if root is None:
        raise UserError(f"{result}: not in a folder of results; no folder above it has a folder {FOLDER}")
    makers: dict[str, Path] = {}
    # In the order of time, so that the last one to write a file made it; a hidden record was never finished.
    for path in sorted((root / FOLDER).glob("[!.]*.json")):
        makers |= dict.fromkeys(map(str, _record(path)["outputs"]), path)
    # Of a folder that was written as a whole, such as the report, the record names the folder.
    names = [str(path.relative_to(root)) for path in (whole, *whole.parents) if path.is_relative_to(root)]
    wanted = [name for name in names if name in makers][:1] if whole != root else list(reversed(makers))
    told = set()
    if not wanted:
        raise UserError(f"{result}: no record in {root / FOLDER} says what made it")
    while wanted:
        name = wanted.pop(0)
        maker = makers.get(name)
        if maker is not None and maker not in told:
            told.add(maker)
            record = _record(maker)
            yield name, record
            wanted += record["inputs"]


def _record(path: Path) -> dict[str, Any]:
    """A record; raises UserError where it is damaged."""
    record = read_json(path)
    for key, kind in KINDS.items():
        if not isinstance(record[key], kind):
            raise UserError(damaged(path, f"its {key} are none"))
    return record


def _below(root: Path, path: Path) -> str:
    """A path as records name it: from the folder of results where it is below it, else as it was given."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
