"""Copies of the project, in which the commands of pages are tried."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import forkserver
from projects import REPOSITORY


@dataclass(frozen=True)
class Checkout:
    """A copy of the project in which nothing was run yet."""

    folder: Path

    def bash(self, script: str) -> subprocess.CompletedProcess:
        """Run a script in its root, up to the first command that fails; output and errors in `stdout`."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")} | forkserver.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def new_checkout(folder: Path) -> Checkout:
    """Make a copy of what a clone has and the commands of pages need."""
    for name in ("config", "workflow", "resources/paper"):
        shutil.copytree(REPOSITORY / name, folder / name, symlinks=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, folder)
    (folder / "slurm").symlink_to("workflow/profiles/slurm")
    return Checkout(folder)
