"""The settings of each job of the workflow, in a file that is older than the job's outputs.

Snakemake remembers settings in a folder of its own. It takes a job that failed for one that was done with the new ones
(9.27 records what it was given), and knows nothing where that folder is lost. A file that changes with the settings,
and where a result is missing, is an input like any other.
"""

import atexit
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from cohortreg.files import read_kept, write_json
from cohortreg.layout import Results

Mode = Literal["run", "show", "job"]
#: When a job was asked for, nanoseconds: another number whenever it has to run.
WHEN = "asked"


class SettingsFiles:
    """Writes the settings of jobs below a folder of results.

    Args:
        mode: What this process does. It runs the workflow; or shows what a run would do, and writes nothing of it; or
            does a job, whose settings the process that runs the workflow has written.
    """

    def __init__(self, layout: Results, mode: Callable[[], Mode]):
        self.layout = layout
        self.mode = mode
        self._known: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}

    def __call__(
        self,
        made: bool,
        rule: str,
        name: str = "all",
        /,
        aside: Mapping[str, object] = MappingProxyType({}),
        **settings: object,
    ) -> str:
        """Path of the settings of a job, written anew only where they changed, or what it makes is missing.

        In a dry run new settings are a temporary file: newer than all that was made, as the real one would be.

        Args:
            made: Whether what it makes is there.
            aside: Settings that change nothing of what it makes, so that it is not made again for them.
        """
        settings = json.loads(json.dumps(settings))
        before, path = self._known.get((rule, name), (None, ""))
        if before != settings:  # once in a run, during which a job may have begun
            path = self._write(made, rule, name, settings, aside)
            self._known[rule, name] = (settings, path)
        return path

    def _write(
        self, made: bool, rule: str, name: str, settings: dict[str, Any], aside: Mapping[str, object]
    ) -> str:
        path, mode = self.layout.settings(rule, name), self.mode()
        if mode == "job":
            return str(path)
        there = read_kept(path)
        requested = there.pop(WHEN, 0)
        if requested and made and {key: there[key] for key in there if key not in aside} == settings:
            return str(path)
        if mode == "show":
            return str(self._new)
        write_json(path, settings | dict(aside) | {WHEN: time.time_ns()})
        return str(path)

    @cached_property
    def _new(self) -> Path:
        """An empty file in place of all that a run would write, which may be thousands."""
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        path = folder / "settings.json"
        path.touch()
        return path
