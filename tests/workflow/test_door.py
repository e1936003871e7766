"""Configurations that are drawn from the schema, given to the real workflow: it plans a run, or says one sentence."""

import re

import yaml
from drawn import configurations
from hypothesis import HealthCheck, given, settings
from projects import new_project


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
