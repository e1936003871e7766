"""Where a result of a finished run comes from."""

import subprocess

import pytest
import yaml
from forkserver import command

import cohortreg
from cohortreg.digests import digest_file
from cohortreg.provenance import git_commit


def provenance(project, *arguments) -> subprocess.CompletedProcess:
    return command("provenance", *arguments, folder=project.folder)


def test_a_table_goes_back_to_the_raw_images(finished):
    """Every command on the way, once; a raw image with the hash of its content."""
    told = provenance(finished, "results/tiny/tables/methods.csv", "--all")
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    commands = [line.split()[2] for line in lines if line.startswith("  command   ")]
    assert commands[0] == "tables"
    counts = {name: commands.count(name) for name in set(commands)}
    made = {
        "preprocess": 3,
        "cohort": 1,
        "pack": 1,
        "train": 2,
        "register-shard": 3,
        "evaluate": 3,
        "tables": 1,
    }
    assert counts == made
    inputs = {line.split()[1]: line.split()[3] for line in lines if line.startswith("  input")}
    raw = finished.folder / "raw" / "s4_image.nii.gz"
    assert inputs[str(raw.relative_to(finished.folder))] == digest_file(raw)
    assert any("--seed 1" in line for line in lines) and any('"training_steps": 6' in line for line in lines)
    assert f"cohortreg {cohortreg.__version__}" in told.stdout and git_commit() in told.stdout


def test_a_picture_of_the_whole_is_short(finished):
    told = provenance(finished, "results/tiny/report/index.html")
    assert told.returncode == 0, told.stderr
    assert "... and 1 more of cohortreg evaluate; --all shows them" in told.stdout
    assert "cohortreg cohort" in told.stdout


def test_a_folder_of_results_is_all_that_was_made_there(finished):
    told = provenance(finished, "results/tiny", "--all")
    assert told.returncode == 0, told.stderr
    commands = [line.split()[2] for line in told.stdout.splitlines() if line.startswith("  command   ")]
    assert commands[0] == "report"
    assert {"figures", "tables", "evaluate", "register-shard", "train", "pack", "cohort", "preprocess"} < set(
        commands
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("raw/s4_image.nii.gz", "not in a folder of results"),
        ("results/tiny/nothing.csv", "no record in"),
    ],
)
def test_what_nobody_made(finished, path, reason):
    told = provenance(finished, path)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith(f"cohortreg: {path}: {reason}") and told.stderr.count("\n") == 1


def test_what_a_command_wrote_before_it_failed(project):
    """A later one keeps it, and it is known where it comes from."""
    (project.folder / "raw" / "s3_image.nii.gz").write_bytes(b"no image")
    path = project.folder / "tiny.yaml"
    configuration = yaml.safe_load(path.read_text())
    configuration |= {"on_bad_image": "fail", "shards": {"images": 1, "pairs": 1}}
    path.write_text(yaml.safe_dump(configuration))
    run = project.snakemake("tables")
    assert run.returncode != 0 and "s3_image.nii.gz" in run.stdout
    told = provenance(project, "results/tiny/images/s2.nii.gz")
    assert told.returncode == 0, told.stderr
    assert "cohortreg preprocess" in told.stdout
