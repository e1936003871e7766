"""A training on two nodes: one slurmd each, both on this machine."""

from dataclasses import replace

import numpy as np
import yaml
from projects import REPOSITORY, Project, new_project

from cohortreg.learning import weights

NODES = 2
WEIGHTS = "results/tiny/models/icon/stage-1/weights.safetensors"

# As docs/cluster.md writes it, for one GPU on each node.
TWO_NODES = {"gpu": 2, "nodes": 2, "tasks": 2, "tasks_per_gpu": 0, "mpi": "srun"}


def without_batch_normalisation(project: Project, nodes: int) -> Project:
    """A project whose network sees a pair as it sees a batch, trained on that many nodes."""
    path = project.folder / "tiny.yaml"
    configuration = yaml.safe_load(path.read_text())
    model = configuration["models"]["icon"]
    model["network"] = {"architecture": "conv_only", "channels": 4, "layers": 3}
    model["stages"] = model["stages"][:1]
    configuration["methods"][-1] = "icon-2step"
    configuration["training"]["nodes"] = nodes
    path.write_text(yaml.safe_dump(configuration))
    return project


def test_two_nodes_train_the_weights_of_one(project, cluster, tmp_path_factory):
    one = without_batch_normalisation(new_project(tmp_path_factory.mktemp("one")), 1)
    profile = yaml.safe_load((REPOSITORY / "workflow" / "profiles" / "slurm" / "config.yaml").read_text())
    profile["set-resources"]["train"] |= TWO_NODES
    folder = tmp_path_factory.mktemp("profile")
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    options = (f"--profile={folder}", *project.options[1:])
    two = without_batch_normalisation(replace(project, options=options), 2)

    for run in (one.snakemake(WEIGHTS), two.snakemake(WEIGHTS)):
        assert run.returncode == 0, run.stdout
    (job,) = [job for job in cluster.jobs(two.folder) if job.rule == "train"]
    assert (job.gpus, job.state) == (2, "COMPLETED")
    nodes = cluster.run("sacct", "--allocations", "--noheader", "--format=NodeList", f"--jobs={job.number}")
    assert nodes.split() == ["node[1-2]"]
    expected, _ = weights.load(one.folder / WEIGHTS)
    found, _ = weights.load(two.folder / WEIGHTS)
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, atol=4e-4, err_msg=name)
