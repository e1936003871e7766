"""The demo from nothing to its report on a Slurm cluster, and what its jobs asked for."""

from collections import Counter

# What the rules and the profile say: memory in MB, minutes, cores, GPUs.
ASKED = {
    # The demo's images, which the workflow makes itself.
    "phantom": (2000, 30, 1, 0),
    "preprocess": (4000, 240, 1, 0),
    "pack": (4000, 240, 1, 0),
    "train": (8000, 1440, 2, 1),
    "register": (8000, 720, 1, 0),
    "register_networks": (8000, 720, 1, 1),
    "evaluate": (4000, 240, 1, 0),
    # Three rules, one after the other in one job: the most memory and cores, the sum of times.
    "report_figures_report_tables": (4000, 150, 2, 0),
}

# What the plugin adds to the memory of an array, for the commands that it hands over.
ARRAY = 1


def test_the_demo_runs_from_nothing_to_its_report(demo, cluster):
    """GPUs are asked for where networks run, shards are arrays, and the last three rules share a job."""
    run = demo.snakemake()
    assert run.returncode == 0, run.stdout
    assert (demo.results / "report" / "index.html").is_file()
    jobs = cluster.jobs(demo.folder)
    assert Counter(job.rule for job in jobs) == {
        "phantom": 2,
        "preprocess": 2,
        "pack": 1,
        "train": 2,
        "register": 2,
        "register_networks": 4,
        "evaluate": 6,
        "report_figures_report_tables": 1,
    }
    for job in jobs:
        memory, minutes, cpus, gpus = ASKED[job.rule]
        asked = (memory + ARRAY * job.array, minutes, cpus, gpus)
        assert (job.memory, job.minutes, job.cpus, job.gpus) == asked, job
        assert job.state == "COMPLETED", job
    # Those that are ready at the same time; preprocessing and evaluations are, if what they wait for ends together.
    assert {job.rule for job in jobs if job.array} - {"preprocess", "evaluate"} == {
        "register",
        "register_networks",
    }
