"""Configurations that are drawn from the schema, given to the real workflow: it plans a run, or says one sentence."""

import re
from dataclasses import replace

import yaml
from drawn import configurations
from hypothesis import HealthCheck, given, settings
from projects import new_project

#: What makes a package one that is not installed, for every process that Python starts.
MISSING = "import sys; sys.modules['tensorboard'] = None"


@settings(
    max_examples=4,
    derandomize=True,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(configurations())
def test_a_run_is_planned_or_refused_in_one_sentence(tmp_path_factory, drawn):
    project = new_project(tmp_path_factory.mktemp("drawn"))
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(drawn, allow_unicode=True))
    run = project.snakemake("--dry-run", "--quiet")
    assert "Traceback" not in run.stdout
    if run.returncode:
        assert len(re.findall(r"^cohortreg: (?!warning)", run.stdout, flags=re.MULTILINE)) == 1, run.stdout


def test_a_logger_that_is_not_installed_ends_in_one_sentence(project, tmp_path_factory):
    modules = tmp_path_factory.mktemp("modules")
    (modules / "sitecustomize.py").write_text(MISSING)
    asked = yaml.safe_load((project.folder / "tiny.yaml").read_text())
    asked["training"] = asked.get("training", {}) | {"logger": "tensorboard"}
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(asked))
    run = replace(project, modules=modules).snakemake("--dry-run", "--quiet")
    assert run.returncode == 1
    sentence = 'training.logger: tensorboard needs TensorBoard: pip install "cohortreg[tensorboard]"'
    assert run.stdout.splitlines()[-1] == f"cohortreg: {sentence}"
