"""A fresh Python environment that has nothing but packages of this one that are named, and what those need.

python benchmarks/accelerator/borrowed.py FOLDER torch numpy safetensors

Nothing is copied or downloaded: the packages are linked. Prints the environment's Python.
"""

import argparse
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path


def needed(names: Iterable[str]) -> list[Distribution]:
    """The named distributions and all that they need here, as far as it is installed."""
    from packaging.requirements import Requirement

    found = {name: distribution(name) for name in names}
    waiting = list(found.values())
    while waiting:
        for text in waiting.pop().requires or []:
            requirement = Requirement(text)
            name = requirement.name.lower().replace("_", "-")
            if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            try:
                found[name] = distribution(name)
            except PackageNotFoundError:  # which it does without here too
                continue
            waiting.append(found[name])
    return list(found.values())


def borrow(folder: Path, names: Iterable[str]) -> Path:
    """Make the environment in an empty folder; returns its Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for package in needed(names):
        tops = {file.parts[0] for file in package.files or [] if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            link = site / top
            if not link.exists():
                link.symlink_to(package.locate_file(top))
    return folder / "bin" / "python"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+")
    given = parser.parse_args()
    print(borrow(given.folder, given.names))


if __name__ == "__main__":
    main()
