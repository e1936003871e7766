"""The example of a package that adds to this one, installed into a folder of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

from forkserver import printed
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


def newer(modules: Path) -> None:
    """Have the example's version be another one."""
    (about,) = modules.glob("cohortreg_example-*.dist-info")
    metadata = (about / "METADATA").read_text()
    assert metadata.count("\nVersion: 1.0\n") == 1
    (about / "METADATA").write_text(metadata.replace("\nVersion: 1.0\n", "\nVersion: 1.1\n"))


def offering(folder: Path, entries: str, name: str = "odd", version: str = "2.0") -> Path:
    """Make what pip leaves of a package with entry points, in the form of entry_points.txt, and nothing else of it."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(entries)
    return folder


def run(modules: Path, code: str, *arguments: object, status: int = 0) -> str:
    """What Python printed that ran code, with packages of a folder beside the installed ones, as `printed`."""
    return printed(code, *arguments, paths=[modules, *sys.path], status=status)
