"""A Slurm cluster for the tests of this folder."""

import shutil

import pytest
import yaml
from projects import REPOSITORY, Project, new_project
from slurm.cluster import missing, started

# Slurm is asked every second, not every half minute: jobs take seconds here.
PROFILE = (
    f"--profile={REPOSITORY / 'slurm'}",
    "--slurm-init-seconds-before-status-checks=1",
    "--latency-wait=5",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, request):
    """A Slurm of one node with one GPU, or as many nodes and GPUs on each as the module's NODES and GPUS say."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    size = getattr(request.module, "GPUS", 1), getattr(request.module, "NODES", 1)
    with started(tmp_path_factory.mktemp("slurm"), *size) as running:
        yield running


@pytest.fixture
def project(cluster, tmp_path) -> Project:
    """The tiny cohort, whose jobs run on the cluster."""
    return Project(new_project(tmp_path).folder, PROFILE, forked=False)


@pytest.fixture
def demo(cluster, tmp_path) -> Project:
    """The demo cohort with four of its pairs, trained for a few steps, whose jobs run on the cluster."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    pairs = tmp_path / "config" / "demo" / "pairs.tsv"
    pairs.write_text("".join(pairs.read_text().splitlines(keepends=True)[:5]))
    whole = yaml.safe_load((tmp_path / "config" / "demo.yaml").read_text()) | {"cohort": "tiny"}
    for stage in whole["models"]["icon"]["stages"]:
        stage["training_steps"] = 4
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(whole))
    return Project(tmp_path, PROFILE, forked=False)
