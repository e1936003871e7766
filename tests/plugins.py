"""The example of a package that adds to this one, installed into a folder of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

from projects import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "cohortreg-example"


def installed(folder: Path) -> Path:
    """Install the example below a folder; returns what PYTHONPATH needs."""
    source, target = folder / "source", folder / "installed"
    shutil.copytree(EXAMPLE, source)  # where setuptools builds it
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", target, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target
