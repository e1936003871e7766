"""Full disks: does a run end in an error, and once there is room the same command in an undisturbed run's tables?

python benchmarks/robustness/disks.py --output FOLDER [--count 40] [--seed 1] [--target all]

A tmpfs of random small size is mounted over the results of a fresh run, over one of their folders, or over $TMPDIR
(needs root on Linux; ends with a sentence elsewhere). After the run there is room, and the same command is given again,
up to three times. Outcomes are those of kills.py; an image that is excluded for want of space makes a run SILENT, since
excluded.tsv is compared, and an error where there is room again is `stuck`. `fitted`: the disk did not fill up.

A row a disk in FOLDER/disks.csv. About a minute each on two quiet cores.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from experiments import carry_out, parsed
from runs import TARGET, Run, States, brought, finish

#: Of the results; no folder that is written as a whole and takes another's place, which no mounted one can.
FOLDERS = (
    "images",
    "labels",
    "pairs",
    "training",
    "models",
    "transforms",
    "tables",
    "provenance",
    "logs",
    "figures",
)
RESULTS, TEMPORARY = "the results", "$TMPDIR"
ROOM = 200_000  # kB


def mount(folder: Path, kilobytes: int, again: bool = False) -> bool:
    """Give a folder a file system of so many kB of its own, or its own another size; whether that could be done."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"{'remount,' if again else ''}size={kilobytes}k"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    return subprocess.run(command, capture_output=True).returncode == 0


def unmount(folder: Path) -> None:
    """Take it away again, also from processes that still look there."""
    subprocess.run(["umount", "--lazy", folder], check=True)


def draw(random: random.Random, sizes: Mapping[str, int]) -> tuple[str, int]:
    """A place, and kB for it: from a page up to a little more than it needs, small ones as often as large ones.

    sizes: name of a folder of the results -> bytes of it after an undisturbed run.
    """
    folders = [name for name in FOLDERS if sizes.get(name)]
    place = random.choice([RESULTS, RESULTS, TEMPORARY, *folders])
    needed = max(sizes.values()) if place == RESULTS else sizes.get(place, 256_000)
    pages = 1.2 * needed / 4096
    return place, 4 * max(1, round(pages ** random.uniform(0, 1)))


def fill(states: States, place: str, kilobytes: int) -> dict[str, object]:
    """Run with a small disk at a place, make room, give the command again, and compare; the row of the table."""
    undisturbed = states.undisturbed("fresh")
    project = states.copy(states.state("fresh"))
    had, temporary = brought(project), project.folder / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)  # of the runs after it, too
    folder = {RESULTS: project.results, TEMPORARY: temporary}.get(place, project.results / place)
    if not mount(folder, kilobytes):
        sys.exit("A small file system cannot be mounted here: that needs root, on Linux.")
    try:
        run = Run(project, states.target)
        code = run.wait()
        run.wait_for_jobs()
        run.end()
        traceback = run.traceback() if code else ""
        said = run.last_words() if code else ""
        if not mount(folder, ROOM, again=True):
            sys.exit(f"{folder} could not be given more room.")
        ending = finish(run, code, undisturbed["results"], had)
    finally:
        unmount(folder)
        shutil.rmtree(project.folder, ignore_errors=True)
    outcome = "stuck" if ending.outcome == "error" else ending.outcome
    if traceback and outcome == "equal":
        outcome = "traceback"
    return {
        "place": place,
        "kilobytes": kilobytes,
        "first_exit": "" if code is None else code,
        "fitted": code == 0,
        "first_said": said,
        "tries": ending.tries,
        "unlocked": ending.unlocked,
        "outcome": outcome,
        "said": traceback or ending.said,
    }


def main() -> None:
    given = parsed(__doc__, 40, target=TARGET)
    states = States(given.output.absolute() / "disks", given.target)

    def experiment(number: int, random: random.Random) -> Mapping[str, object]:
        return fill(states, *draw(random, states.undisturbed("fresh")["bytes"]))

    carry_out("disks", given, experiment, ("place", "outcome"))


if __name__ == "__main__":
    main()
