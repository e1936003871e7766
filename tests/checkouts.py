"""Copies of the project, in which the commands of pages are tried."""

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from projects import REPOSITORY

#: What a command of the path runs: this very package, by this very Python.
STARTED = {
    "cohortreg": "from cohortreg.cli import main; main()",
    "snakemake": "from snakemake.cli import main; main()",
}


@dataclass(frozen=True)
class Checkout:
    """A copy of the project in which nothing was run yet."""

    folder: Path

    def bash(self, script: str) -> subprocess.CompletedProcess:
        """Run a script in its root, up to the first command that fails; output and errors in `stdout`."""
        path = os.pathsep.join([str(self.folder / ".bin"), os.environ["PATH"]])
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY / "src")},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def new_checkout(folder: Path) -> Checkout:
    """Make a copy of what a clone has and the commands of pages need, with cohortreg and snakemake on the path."""
    for name in ("config", "workflow", "resources/paper", "src/cohortreg/schemas"):
        shutil.copytree(REPOSITORY / name, folder / name, symlinks=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, folder)
    (folder / "slurm").symlink_to("workflow/profiles/slurm")
    for name, code in STARTED.items():
        program = folder / ".bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!{sys.executable}\n{code}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return Checkout(folder)
