"""After a kill, signal or failure at any moment: are the next run's tables an undisturbed run's, or is it an error?

python benchmarks/robustness/kills.py --output FOLDER [--count 100] [--seed 1] [--target all]

A tiny cohort is run fresh, updated (an image and its label, structures, the learning rate, percentiles), grown by an
image and pairs, or loses a pair. At a random moment of that run SIGKILL, SIGTERM or SIGINT meets one process of a job,
all processes (as when a node goes down), or Snakemake alone; or one job ends once with exit code 1, at its start or
behind its work; or the folder .snakemake is lost. After Snakemake's own death its jobs are waited for, killed, or left
to go on beside the next run. Then the same command is given again, up to three times, after --unlock where Snakemake
asks for it. Outcomes:

equal      exit code 0, and pairs.csv, methods.csv, sets.csv (without time and hardware), cohort.json and excluded.tsv
           are those of an undisturbed run
error      no exit code 0; `said` is the sentence
SILENT     exit code 0 and other numbers
lost       a file that the user brought was changed or deleted
traceback  the last thing that a command said in the run after is a Python traceback of ours
hang       the run after did not end

A row a disturbance in FOLDER/kills.csv. `traceback_when_disturbed` is a traceback that the disturbed run itself ended
in. An empty `first_exit`: the disturbed run did not end and was killed, as by a scheduler that lost its patience;
Snakemake's handler of SIGTERM can wait forever for a lock that its own thread holds. About a minute each on two quiet
cores.
"""

import random
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments import carry_out, parsed
from runs import SCENARIOS, TARGET, Run, States, brought, finish

#: Seconds that a disturbed run has to end by itself.
DISTURBED = 180

SIGNALS = {name: getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT")}

#: Fails once: the command of this number, of those that jobs start, from 0. Python imports it before anything else.
FAILING = """
import atexit, itertools, os, sys
from pathlib import Path

folder, which, late = Path(__file__).parent, {which}, {late}
if any(Path(part).name == "cohortreg" for part in sys.orig_argv[:3]):
    for number in itertools.count():
        try:
            os.close(os.open(folder / str(number), os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            continue

    def fail():
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(1)

    if number == which and late:
        atexit.register(fail)
    elif number == which:
        os._exit(1)
"""


@dataclass(frozen=True)
class Disturbance:
    """What happens to a run.

    kind: a signal's name, "exit 1", or "records lost". whom: of a signal "job", "all" or "snakemake"; of "exit 1"
    "start" or "end" of a job's command; of "records lost" "before" the run, or "all", killed and then lost. part: of
    the undisturbed run's duration, or of its jobs, 0 to 1. orphans: what becomes of jobs whose Snakemake died:
    "waited for", "killed" or "left". command: of "job", the command of ours that is meant; "" for any process.
    """

    kind: str
    whom: str
    part: float
    orphans: str = "waited for"
    command: str = ""


def draw(number: int, random: random.Random) -> tuple[str, Disturbance]:
    """The scenario and the disturbance of an experiment; scenarios take turns."""
    scenario = list(SCENARIOS)[number % len(SCENARIOS)]
    kind = random.choices([*SIGNALS, "exit 1", "records lost"], [3, 3, 3, 2, 1])[0]
    whom = {"exit 1": ["start", "end"], "records lost": ["before", "all"]}.get(
        kind, ["job", "all", "snakemake"]
    )
    part, orphans = random.random(), random.choice(["waited for", "killed", "left"])
    return scenario, Disturbance(kind, random.choice(whom), part, orphans)


def disturb(states: States, scenario: str, given: Disturbance, random: random.Random) -> dict[str, object]:
    """Disturb one run, give its command again, and compare; the row of the table."""
    undisturbed = states.undisturbed(scenario)
    before = given.kind == "records lost" and given.whom == "before" and scenario != "fresh"
    if before:
        project = states.copy(states.before(scenario))
        shutil.rmtree(project.folder / ".snakemake")
        SCENARIOS[scenario](project)
    else:
        project = states.copy(states.state(scenario))
    had, hit, moment = brought(project), "", given.part * undisturbed["seconds"]
    if given.kind == "exit 1":
        which = int(given.part * len(undisturbed["jobs"]))
        run = Run(
            project, states.target, {"PYTHONPATH": str(_failing(project.folder, which, given.whom == "end"))}
        )
        hit = f"command {which + 1} of {len(undisturbed['jobs'])}"
    else:
        run = Run(project, states.target)
        if not before:
            hit = _signal(run, given, moment, random)
    code = run.wait(DISTURBED)
    if given.orphans == "waited for" or given.kind == "exit 1" or before:
        run.wait_for_jobs()
    if given.orphans != "left" or given.whom != "snakemake":
        run.end()
    if given.kind == "records lost" and not before:
        shutil.rmtree(project.folder / ".snakemake", ignore_errors=True)
    traceback = run.traceback() if code else ""
    ending = finish(run, code, undisturbed["results"], had)
    run.end()
    shutil.rmtree(project.folder)
    return {
        "scenario": scenario,
        "disturbance": given.kind,
        "whom": given.whom,
        "moment_s": round(moment, 1),
        "of_s": round(undisturbed["seconds"], 1),
        "hit": hit,
        "orphans": given.orphans if given.whom == "snakemake" else "",
        "first_exit": "" if code is None else code,
        "tries": ending.tries,
        "unlocked": ending.unlocked,
        "traceback_when_disturbed": traceback,
        "outcome": ending.outcome,
        "said": ending.said,
    }


def _signal(run: Run, given: Disturbance, moment: float, random: random.Random) -> str:
    """Send the signal when its moment has come; returns whom it met, "" where the run was over."""
    end = run.started + moment
    while run.process.poll() is None and time.time() < end:
        time.sleep(min(0.05, max(0, end - time.time())))
    number = SIGNALS.get(given.kind, signal.SIGKILL)
    if run.process.poll() is not None:
        return ""
    if given.whom == "snakemake":
        run.signal(number, [run.process.pid])
        return "snakemake"
    if given.whom == "all":
        there = run.processes()
        run.signal(number, list(there))
        return ", ".join(sorted({name for line in there.values() if (name := _named(line))})) or "snakemake"
    while run.process.poll() is None:
        # A command of ours as often as its shell and what writes its log together.
        there = run.jobs()
        ours = [pid for pid, line in there.items() if (name := _named(line)) and given.command in ("", name)]
        chosen = ours if given.command else random.choice([ours or list(there), list(there)])
        if chosen:
            pid = random.choice(sorted(chosen))
            run.signal(number, [pid])
            return _named(there[pid]) or Path(there[pid][0]).name if there[pid] else "?"
        time.sleep(0.02)
    return ""


def _named(line: list[str]) -> str:
    """The command of ours that a process runs, such as "train"; "" of another process."""
    return line[2] if len(line) > 2 and Path(line[1]).name == "cohortreg" else ""


def _failing(folder: Path, which: int, late: bool) -> Path:
    """A folder for PYTHONPATH."""
    path = folder / "failing"
    path.mkdir()
    (path / "sitecustomize.py").write_text(FAILING.format(which=which, late=late))
    return path


def main() -> None:
    given = parsed(__doc__, 100, target=TARGET)
    states = States(given.output.absolute() / "kills", given.target)

    def experiment(number: int, random: random.Random) -> Mapping[str, object]:
        return disturb(states, *draw(number, random), random)

    carry_out("kills", given, experiment, ("scenario", "outcome"))


if __name__ == "__main__":
    main()
