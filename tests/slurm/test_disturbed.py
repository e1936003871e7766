"""What clusters do to jobs: each ends, after retries, as if nothing had happened."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from projects import Project, new_project

from cohortreg.layout import Layout

PATIENCE = 300
EVERY = 100
WEIGHTS = "results/tiny/models/icon/stage-1/weights.safetensors"


def until(what: Callable[[], object]) -> object:
    """What the call returns, once that is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.5)
    raise TimeoutError(f"not within {PATIENCE} s")


def long_training(project: Project) -> Project:
    """A project whose training takes minutes."""
    path = project.folder / "tiny.yaml"
    configuration = yaml.safe_load(path.read_text())
    model = configuration["models"]["icon"]
    model["stages"] = [model["stages"][0] | {"training_steps": 6000}]
    configuration["methods"][-1] = "icon-2step"
    configuration["training"]["checkpoint_every"] = EVERY
    path.write_text(yaml.safe_dump(configuration))
    return project


def trainings(cluster, project) -> list:
    return [job for job in cluster.jobs(project.folder) if job.rule == "train"]


def next_checkpoint(cluster, project, running: subprocess.Popen, attempt: int):
    """The job of an attempt, once it trains and has written a checkpoint."""

    def trains():
        assert running.poll() is None, running.communicate()[0]
        jobs = trainings(cluster, project)
        if len(jobs) == attempt and jobs[-1].state == "RUNNING" and training_processes(project.folder):
            return jobs[-1]

    job = until(trains)
    before = checkpoints(project)
    until(lambda: checkpoints(project) - before)
    return job


def checkpoints(project) -> set[Path]:
    return set(project.results.glob("models/icon/stage-1/checkpoints/*/step-*.safetensors"))


def training_processes(folder: Path) -> list[int]:
    """Processes that train in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            if {b"train", b"--stage"} <= set(arguments) and (process / "cwd").resolve() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_a_training_that_is_cancelled_killed_preempted_and_out_of_time(project, cluster, tmp_path_factory):
    """Three retries later its weights are those of a training that nothing disturbed."""
    undisturbed = long_training(new_project(tmp_path_factory.mktemp("undisturbed")))
    with undisturbed.started(WEIGHTS) as other, long_training(project).started(WEIGHTS) as running:
        job = next_checkpoint(cluster, project, running, 1)
        cluster.run("scancel", job.number)

        next_checkpoint(cluster, project, running, 2)
        for process in training_processes(project.folder):
            os.kill(process, signal.SIGKILL)

        preempted = next_checkpoint(cluster, project, running, 3)
        cluster.run(
            "sbatch", "--partition=urgent", "--exclusive", "--wait", "--output=/dev/null", "--wrap=true"
        )

        job = next_checkpoint(cluster, project, running, 3)
        assert job.number == preempted.number
        cluster.run("scontrol", "update", f"jobid={job.number}", "timelimit=2")
        # Between those that it writes anyway, one because it was asked to end.
        until(lambda: [path for path in checkpoints(project) if int(path.stem.removeprefix("step-")) % EVERY])

        output, _ = running.communicate()
        assert running.returncode == 0, output
        assert other.communicate() and other.returncode == 0
    states = [job.state for job in trainings(cluster, project)]
    assert states == ["CANCELLED", "FAILED", "FAILED", "COMPLETED"], output
    assert (project.folder / WEIGHTS).read_bytes() == (undisturbed.folder / WEIGHTS).read_bytes()


def test_the_main_process_is_killed(project, cluster):
    """Its jobs go on; a new one finishes the run, and what was whole stays as it was."""
    layout, weights = Layout(project.results), project.folder / WEIGHTS
    with project.started("tables") as running:
        until(
            lambda: list(project.results.glob("transforms/identity/records/*/*.json")) and weights.is_file()
        )
        running.kill()
    until(lambda: all(job.state not in ("RUNNING", "PENDING") for job in cluster.jobs(project.folder)))
    kept = [*project.results.glob("transforms/*/records/*/*.json"), *layout.images.parent.glob("images/*")]
    kept.append(weights)
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert project.snakemake("--unlock").returncode == 0
    run = project.snakemake("tables")
    assert run.returncode == 0, run.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
