"""What a cluster refuses ends with the cluster's own words, and nothing is lost."""

#: This cluster has none.
GPUS = 0


def test_a_partition_that_does_not_exist(project, cluster):
    run = project.snakemake("--default-resources", "slurm_partition=nowhere", "mem_mb=1000", "runtime=9")
    assert run.returncode != 0
    assert "invalid partition specified: nowhere" in run.stdout
    assert "Traceback" not in run.stdout
    assert not cluster.jobs(project.folder)
    run = project.snakemake("tables", "--until", "preprocess")
    assert run.returncode == 0, run.stdout
    assert {(job.rule, job.array) for job in cluster.jobs(project.folder)} == {("preprocess", True)}


def test_a_gpu_on_a_cluster_without_one(project, cluster):
    """What needs none is done; a run that asks for none completes and repeats nothing."""
    run = project.snakemake("tables")
    assert run.returncode != 0
    assert "Invalid generic resource (gres) specification" in run.stdout
    assert "Traceback" not in run.stdout
    without = ["--set-resources", "train:gpu=0", "register_networks:gpu=0"]
    done = {job.rule for job in cluster.jobs(project.folder)}
    assert done == {"preprocess", "pack", "register", "evaluate"}
    before = len(cluster.jobs(project.folder))
    run = project.snakemake("tables", *without)
    assert run.returncode == 0, run.stdout
    later = {job.rule for job in cluster.jobs(project.folder)[before:]}
    assert later == {"train", "register_networks", "evaluate", "report_tables"}
