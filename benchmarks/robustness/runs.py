"""Runs of the workflow on a tiny cohort, to be disturbed: where they start, what came of them, how they end."""

import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from experiments import made_whole, one_line
from projects import REPOSITORY, Project, new_project

TABLES = ("tables/pairs.csv", "tables/methods.csv", "tables/sets.csv")
FILES = ("cohort.json", "excluded.tsv")
#: Of the columns: what a run took, and where it ran.
MEASURED = re.compile(r"time_s|hardware")
#: The longest that a run may take.
PATIENCE = 1200
TRIES = 3
#: An option of the scripts that disturb runs.
TARGET = {"default": "all", "help": "what Snakemake is asked for: all, or tables, which is quicker"}


# The cohort, and how it changes


def new_cohort(folder: Path) -> Project:
    """Five images and two pairs; a row of nothing done, and one of a network that is trained for six steps."""
    project = new_project(folder, training=3, tested=2)

    def small(config: dict) -> None:
        config["models"]["icon"]["stages"] = config["models"]["icon"]["stages"][:1]
        config["methods"] = ["identity", "icon-2step"]
        config["report"] = {"reference": "identity", "pages": 1}
        config["shards"] = {"images": 2, "pairs": 1}
        config["preprocess"]["percentiles"] = [1, 99]

    configure(project, small)
    return project


def configure(project: Project, edit: Callable[[dict], object]) -> None:
    """Change the project's configuration."""
    path = project.folder / "tiny.yaml"
    config = yaml.safe_load(path.read_text())
    edit(config)
    path.write_text(yaml.safe_dump(config))


def rolled(source: Path, target: Path, voxels: int) -> None:
    """Write an image or a label map that is moved along its first axis."""
    image = nibabel.load(source)
    moved = np.roll(np.asarray(image.dataobj), voxels, 0)
    nibabel.save(nibabel.Nifti1Image(moved, image.affine), target)


def _image(project: Project) -> None:
    for kind in ("image", "label"):
        path = project.folder / "raw" / f"s4_{kind}.nii.gz"
        rolled(path, path, 3)


def _structures(project: Project) -> None:
    configure(project, lambda config: config["structures"].update(shell=[1, 2]))


def _learning_rate(project: Project) -> None:
    configure(project, lambda config: config["models"]["icon"]["stages"][0].update(learning_rate=0.05))


def _percentiles(project: Project) -> None:
    configure(project, lambda config: config["preprocess"].update(percentiles=[10, 90]))


def _growth(project: Project) -> None:
    raw, tables = project.folder / "raw", project.folder / "tables"
    for kind in ("image", "label"):
        rolled(raw / f"s3_{kind}.nii.gz", raw / f"s9_{kind}.nii.gz", 2)
    with (tables / "images.tsv").open("a") as stream:
        stream.write("s9\ts9\tleft\ttest\ts9_image.nii.gz\ts9_label.nii.gz\n")
    with (tables / "pairs.tsv").open("a") as stream:
        stream.write("s9\ts3\ns4\ts9\n")


def _pair_removed(project: Project) -> None:
    path = project.folder / "tables" / "pairs.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


#: What happens to a finished cohort before the run that is disturbed; of `fresh` nothing was run before.
SCENARIOS: dict[str, Callable[[Project], None]] = {
    "fresh": lambda project: None,
    "image and label replaced": _image,
    "structures changed": _structures,
    "learning rate changed": _learning_rate,
    "percentiles changed": _percentiles,
    "image and pairs added": _growth,
    "pair removed": _pair_removed,
}


# Runs

#: Those that have not ended. None outlives the script.
RUNNING: list["Run"] = []


@atexit.register
def _end_all() -> None:
    for run in list(RUNNING):
        run.end()


@dataclass
class Run:
    """A run of the workflow in a session of its own, so that its processes can be found whoever their parents are."""

    project: Project
    target: str
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def __post_init__(self):
        self.output = self.project.folder / "output.txt"
        command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "workflow" / "Snakefile"]
        command += ["--configfile", "tiny.yaml", *self.project.options, *self.arguments, self.target]
        path = os.pathsep.join(filter(None, [self.environment.get("PYTHONPATH"), str(REPOSITORY / "src")]))
        self.started = time.time()
        with self.output.open("wb") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=self.project.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(self.environment) | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        RUNNING.append(self)

    def processes(self) -> dict[int, list[str]]:
        """The living processes of the session with their command lines, Snakemake's among them."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # Behind the name, which may hold anything, in brackets.
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                line = (folder / "cmdline").read_bytes().split(b"\0")[:-1]
            except OSError:
                continue
            if int(session) == self.process.pid and state not in "ZX":
                found[int(folder.name)] = [part.decode(errors="replace") for part in line]
        return found

    def jobs(self) -> dict[int, list[str]]:
        """Those that run a job, its shell included."""
        return {pid: line for pid, line in self.processes().items() if pid != self.process.pid}

    def signal(self, number: int, pids: list[int]) -> None:
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """Snakemake's exit code; None where it had to be killed after that time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            return None

    def wait_for_jobs(self, seconds: float = PATIENCE) -> None:
        """Until no process of the session lives any more."""
        end = time.monotonic() + seconds
        while self.processes() and time.monotonic() < end:
            time.sleep(0.1)

    def end(self) -> None:
        """Kill what is left of it."""
        while left := self.processes():
            self.signal(signal.SIGKILL, list(left))
            self.process.poll()
            time.sleep(0.05)
        self.process.wait()
        if self in RUNNING:
            RUNNING.remove(self)

    @property
    def text(self) -> str:
        return self.output.read_text("utf-8", errors="replace")

    def job_names(self) -> list[str]:
        """The rules of the jobs that were started, in order."""
        names = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", self.text, flags=re.MULTILINE)
        return [name for name in names if name != "all"]

    def last_words(self) -> str:
        """What a user reads last: a command's own sentence, or else the last line of all."""
        said = [
            line
            for line in self.text.splitlines()
            if line.startswith("cohortreg: ") and "warning" not in line
        ]
        lines = [line for line in self.text.splitlines() if line.strip()]
        errors = [line for line in lines if re.search(r"(Error|Exception)\b", line)]
        return one_line((said or errors or lines or ["nothing"])[-1])

    def traceback(self) -> str:
        """The last line of a traceback of ours that was the last thing that a command, or the workflow, said; or ""."""
        logs = (self.project.results / "logs").rglob("*.log")
        texts = [
            path.read_text("utf-8", errors="replace") for path in logs if path.stat().st_mtime >= self.started
        ]
        for text in [*texts, self.text]:
            if found := ends_in_traceback(text):
                return found
        return ""


def ends_in_traceback(text: str) -> str:
    """The last line of the last traceback in a text with a frame of ours, if no sentence of ours follows; else ""."""
    _, found, after = text.rpartition("Traceback (most recent call last)")
    if not found or not re.search(r'File ".*(/cohortreg/|/workflow/rules/)', after):
        return ""
    lines = after.splitlines()
    if any(line.startswith("cohortreg: ") for line in lines):
        return ""
    ends = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    return one_line((ends or lines)[-1] if not ends else ends[0])


# What came of it


def results(project: Project) -> dict[str, str]:
    """The numbers of a cohort as text by file name, without what is never twice the same; "" of a file not there."""
    found = {}
    for name in TABLES:
        path = project.results / name
        if not path.is_file():
            found[name] = ""
            continue
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        kept = [column for column in table if not MEASURED.match(column)]
        found[name] = table[kept].to_csv(index=False)
    for name in FILES:
        path = project.results / name
        found[name] = path.read_text("utf-8") if path.is_file() else ""
    return found


def difference(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """In which file two results differ, and what stands there first; "" where they do not."""
    for name, text in expected.items():
        if found[name] != text:
            if not found[name]:
                return f"{name} is not there"
            pairs = zip(found[name].splitlines(), text.splitlines(), strict=False)
            first = next(((one, other) for one, other in pairs if one != other), ("fewer or more lines", ""))
            return one_line(f"{name} has {first[0]}, undisturbed {first[1]}")
    return ""


def brought(project: Project) -> dict[str, bytes]:
    """What a user brought, by path."""
    folders = (project.folder / name for name in ("config", "raw", "tables"))
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(project.folder)): path.read_bytes()
        for path in [*files, project.folder / "tiny.yaml"]
    }


# States that experiments start from


@dataclass
class States:
    """States of a cohort below a folder, each made once and then copied; and what an undisturbed run makes of them."""

    folder: Path
    target: str

    def state(self, scenario: str) -> Path:
        """The folder of a project in which the scenario's run is to come."""
        name = scenario.replace(" ", "-")

        def make(folder: Path) -> None:
            if scenario == "fresh":
                new_cohort(folder)
            else:
                _copy(self._finished(), folder)
                SCENARIOS[scenario](Project(folder))

        return made_whole(self.folder / name, make)

    def before(self, scenario: str) -> Path:
        """The same before the change."""
        return self.state("fresh") if scenario == "fresh" else self._finished()

    def undisturbed(self, scenario: str) -> dict:
        """Of a run that nothing disturbs: results, seconds, the names of its jobs, bytes in folders of results."""
        path = self.folder / f"{scenario.replace(' ', '-')}.json"
        if scenario == "fresh":
            self._finished()
        elif not path.is_file():
            project = self.copy(self.state(scenario))
            path.write_text(json.dumps(_undisturbed(project, self.target)))
            shutil.rmtree(project.folder)
        return json.loads(path.read_text())

    def copy(self, source: Path) -> Project:
        """A copy of a state to be disturbed, at one place, since Snakemake knows files by their paths."""
        folder = self.folder / "experiment"
        shutil.rmtree(folder, ignore_errors=True)
        _copy(source, folder)
        return Project(folder)

    def _finished(self) -> Path:
        def make(folder: Path) -> None:
            _copy(self.state("fresh"), folder)
            (self.folder / "fresh.json").write_text(json.dumps(_undisturbed(Project(folder), self.target)))

        return made_whole(self.folder / "finished", make)


def _undisturbed(project: Project, target: str) -> dict:
    """Run a project to its end; what `States.undisturbed` tells of it."""
    before = results(project)
    run = Run(project, target)
    if run.wait() != 0:
        sys.exit(f"an undisturbed run fails:\n{run.text}")
    run.end()
    after = results(project)
    if not difference(after, before):
        sys.exit("an undisturbed run changes nothing, so that nothing old could be told from it")
    folders = [*project.results.iterdir(), project.results]
    return {
        "results": after,
        "seconds": time.time() - run.started,
        "jobs": run.job_names(),
        "bytes": {each.name: _size(each) for each in folders},
    }


def _copy(source: Path, target: Path) -> None:
    """Copy a project; times stay, or all of it would look changed."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)


def _size(path: Path) -> int:
    """Bytes of a file, or of all below a folder as a file system of pages counts them."""
    files = [path] if path.is_file() else list(path.rglob("*"))
    return sum(4096 * -(-max(1, each.stat().st_size) // 4096) for each in files)


# The next run


@dataclass
class Ending:
    """How a cohort ended after a disturbance.

    outcome: equal, error, traceback, SILENT or lost. said: the last words, or the difference. tries: runs after the
    disturbed one. unlocked: how often Snakemake asked for --unlock.
    """

    outcome: str
    said: str
    tries: int
    unlocked: int


def finish(
    disturbed: Run, exit_code: int | None, expected: Mapping[str, str], had: Mapping[str, bytes]
) -> Ending:
    """Give the same command again until it ends with 0, three times at most, and compare with an undisturbed run."""
    project, target, unlocked = disturbed.project, disturbed.target, 0
    if exit_code == 0 and (differs := difference(results(project), expected)):
        return Ending("SILENT", f"the disturbed run ended with 0: {differs}", 0, 0)
    outcome, said, tries = "error", "", 0
    while tries < TRIES:
        run = Run(project, target)
        code = run.wait()
        run.end()
        if code and re.search(r"cannot be locked|LockException", run.text) and unlocked < TRIES:
            unlocked += 1
            unlocking = Run(project, target, arguments=("--unlock",))
            unlocking.wait()
            unlocking.end()
            continue
        tries += 1
        if code is None:
            return Ending("hang", run.last_words(), tries, unlocked)
        if code == 0:
            differs = difference(results(project), expected)
            outcome, said = ("SILENT", differs) if differs else ("equal", said)
            break
        said = run.last_words()
        if found := run.traceback():
            outcome, said = "traceback", found
            break
    if outcome != "SILENT" and (gone := _gone(project, had)):
        outcome, said = "lost", f"{gone} is not as it was"
    return Ending(outcome, said, tries, unlocked)


def _gone(project: Project, had: Mapping[str, bytes]) -> str:
    """The first file that a user brought and that is not there as it was."""
    now = brought(project)
    return next((name for name, content in had.items() if now.get(name) != content), "")
