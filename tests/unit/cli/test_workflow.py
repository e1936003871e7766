"""`cohortreg run`: which configuration it takes, and what it hands to Snakemake."""

import forkserver
import pytest
from projects import REPOSITORY


def run(folder, *arguments: str):
    done = forkserver.command("run", *arguments, folder=folder)
    return done.returncode, done.stdout + done.stderr


def test_a_shipped_configuration_is_copied_with_its_tables_and_planned(tmp_path):
    code, said = run(tmp_path, "demo", "--dry-run", "--quiet", "rules")
    assert code == 0, said
    assert "--cores all --dry-run" in said and "config/demo.yaml: copied" in said
    for name in ("config/demo.yaml", "config/demo/images.tsv", "config/demo/pairs.tsv"):
        assert (tmp_path / name).read_bytes() == (REPOSITORY / name).read_bytes()
    assert not (tmp_path / "results").exists()


def test_what_is_in_the_folder_is_kept_and_takes_precedence(tmp_path):
    own = tmp_path / "config" / "demo.yaml"
    own.parent.mkdir()
    own.write_text("cohort: mine\nimages: gone.tsv\n")
    code, said = run(tmp_path, "demo", "--cores", "1")
    assert code == 1 and "copied" not in said
    assert [path.name for path in own.parent.iterdir()] == ["demo.yaml"]
    assert own.read_text() == "cohort: mine\nimages: gone.tsv\n"


def test_overlays_options_and_a_profile_by_its_name(tmp_path):
    code, said = run(tmp_path, "demo", "comparison", "--profile", "slurm", "-n", "--quiet", "rules")
    assert code == 0, said
    command = next(line for line in said.splitlines() if line.strip().startswith("Command:"))
    assert "--configfile config/demo.yaml config/comparison.yaml --profile slurm -n" in command
    assert "--cores" not in command
    profile = (REPOSITORY / "workflow" / "profiles" / "slurm" / "config.yaml").read_bytes()
    assert (tmp_path / "slurm" / "config.yaml").read_bytes() == profile


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gone.yaml"], "gone.yaml: no such configuration file; correct the path"),
        (["dmeo", "-n"], "dmeo: no such configuration file; correct the path, or name one that comes"),
        (["demo", "gone.yaml"], "gone.yaml: no such configuration file"),
        (["broken.yaml"], "configuration broken.yaml: cannot be read as YAML"),
        (["-n", "demo"], "name the configuration before Snakemake's options"),
        (["demo", "-n", "--configfile", "b.yaml"], "name every configuration first"),
        (["demo", "-n", "--configfile=b.yaml"], "name every configuration first"),
    ],
)
def test_what_is_mistyped_ends_in_one_sentence(tmp_path, arguments, sentence):
    (tmp_path / "broken.yaml").write_text("a: [\n")
    code, said = run(tmp_path, *arguments)
    assert code == 1
    assert said.splitlines()[-1].startswith(f"cohortreg: {sentence}")
    assert "Traceback" not in said and not (tmp_path / "results").exists()
