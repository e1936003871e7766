"""What every command has: how it ends, and what it prints where."""

import os
import subprocess
import sys

import forkserver
import pytest

import cohortreg
from cohortreg.files import write_json
from cohortreg.records import FOLDER

RECORD = {
    "command": "cohortreg register – 👩 א", "started": "now", "seconds": 1, "hardware": "abacus", "git_commit": "",
    "software": {}, "inputs": {"/ä\udce4.nii": "sha"}, "outputs": ["ä.json"],
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_lacks_letters_ends_no_command(tmp_path, encoding):
    """So it is where LANG is de_DE or en_US without .UTF-8."""
    write_json(tmp_path / FOLDER / "20260101T000000-x-host-1.json", RECORD)
    for result, code in ((tmp_path, 0), (tmp_path / "א", 1)):
        done = subprocess.run(
            [sys.executable, "-c", "from cohortreg.cli import main; main()", "provenance", result],
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert done.returncode == code, said
        assert "Traceback" not in said and "cohortreg" in said


def test_a_locale_in_which_no_file_can_have_a_name_ends_in_a_sentence(tmp_path):
    header = "image_id\tsubject_id\tside\tsplit\timage\tlabel\n"
    (tmp_path / "images.tsv").write_text(f"{header}א\ts\t\t\tgone.nii\t\n", encoding="utf-8")
    settings = '{"preprocess": {"grid": [8, 8, 8], "mirror": "none"}, "structures": {}}'
    arguments = ["preprocess", "results", "--images", "images.tsv", "--root", ".", "--settings", settings]
    done = subprocess.run(
        [sys.executable, "-c", "from cohortreg.cli import main; main()", *arguments],
        cwd=tmp_path,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
    )
    last = done.stderr.decode("ascii").splitlines()[-1]
    assert done.returncode == 1
    assert last == r"cohortreg: this locale has no \u05d0; set LC_ALL=C.UTF-8 and run again."


def test_the_version():
    assert forkserver.command("--version").stdout == f"cohortreg {cohortreg.__version__}\n"


def test_help_is_in_groups_in_the_order_of_use():
    shown = forkserver.command("--help").stdout
    places = [shown.index(f" {name} ") for name in ("For two images", "register", "For a cohort", "run")]
    assert places == sorted(places)
    assert shown.index(" Jobs of the workflow ") < shown.index(" preprocess ")


@pytest.mark.parametrize(
    ("arguments", "module", "sentence"),
    [
        (["run", "demo"], "snakemake", 'cohortreg run needs Snakemake: pip install "cohortreg[workflow]"'),
        (
            ["import", "msd", "folder", "--output", "tables"],
            "pandas",
            'cohortreg import msd needs pandas: pip install "cohortreg[workflow]"',
        ),
    ],
)
def test_a_command_whose_extra_is_missing_ends_in_one_sentence(tmp_path, arguments, module, sentence):
    script = f"import sys; sys.modules[{module!r}] = None; from cohortreg.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, sentence + "\n")
    assert not list(tmp_path.iterdir())
