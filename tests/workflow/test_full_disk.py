"""A file system that fills up while the workflow writes to it: one sentence, nothing lost, and a rerun completes."""

import subprocess

import pytest

from cohortreg.layout import Layout

SENTENCE = "no space is left to write it; make room and run again, what was finished is kept"


@pytest.fixture
def small(project):
    """Gives a folder of the project's results a file system of its own with that many kB; later, more."""
    mounted = []

    def size(folder, kilobytes):
        remount = folder in mounted
        folder.mkdir(parents=True, exist_ok=True)
        options = f"{'remount,' if remount else ''}size={kilobytes}k"
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
        if mount.returncode:
            pytest.skip("a small file system cannot be mounted here")
        if not remount:
            mounted.append(folder)

    yield size
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


def test_during_a_shard(project, small):
    """Pairs that were registered before stay, and are not registered again."""
    folder = project.results / "transforms"
    small(folder, 60)
    run = project.snakemake("tables")
    assert run.returncode != 0
    assert SENTENCE in run.stdout
    assert "Traceback" not in run.stdout
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/records/*/*.json")}
    assert 0 < len(before) < 9
    assert not list(folder.rglob(".*"))
    small(folder, 10_000)
    run = project.snakemake("tables")
    assert run.returncode == 0, run.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_during_a_checkpoint(project, small, finished):
    """Training goes on from the checkpoint before, to the weights that it would have had."""
    folder = project.results / "models"
    small(folder, 220)
    run = project.snakemake("tables")
    assert run.returncode != 0
    assert SENTENCE in run.stdout
    assert "Traceback" not in run.stdout
    (checkpoint,) = folder.rglob("step-*.safetensors")
    written = checkpoint.stat().st_mtime_ns
    small(folder, 10_000)
    run = project.snakemake("tables")
    assert run.returncode == 0, run.stdout
    assert checkpoint.stat().st_mtime_ns == written
    for stage in (1, 2):
        undisturbed = Layout(finished.results).weights("icon", stage)
        assert Layout(project.results).weights("icon", stage).read_bytes() == undisturbed.read_bytes()
