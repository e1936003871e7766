"""A wheel and a source distribution, built from this folder and installed where there is no clone.

PyTorch and the other packages come from an index, in the versions of constraints.txt.
"""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from projects import REPOSITORY, new_project

#: What a clone has of the workflow, through whatever links.
SHIPPED = sorted(
    str(Path(folder, name).relative_to(REPOSITORY))
    for part in ("workflow", "config", "resources/paper")
    for folder, _, names in os.walk(REPOSITORY / part, followlinks=True)
    for name in names
)
OWN = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "BASH_ENV")}


#: Beside the default, which the shell has.
PAIR = """
import cohortreg as cr

found = cr.register("moving.nii.gz", "fixed.nii.gz", method="affine")
print(found.quality.folds, "folds")
try:
    cr.plot(found)
except cr.UserError as error:
    print(error)
"""


def run(*command: object, folder: Path) -> str:
    """What a command prints, in an environment that knows nothing of this folder."""
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=OWN, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """The source distribution."""
    tools, folder = tmp_path_factory.mktemp("tools"), tmp_path_factory.mktemp("source")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "hatchling", folder=folder)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder]
    subprocess.run(build, cwd=REPOSITORY, env=OWN | {"PYTHONPATH": str(tools)}, check=True)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def wheel(source, tmp_path_factory) -> Path:
    """The wheel that pip builds from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        folder,
        source,
        folder=folder,
    )
    return next(folder.glob("*.whl"))


def environment(folder: Path) -> Path:
    """The folder of programs of a new, empty environment."""
    run(sys.executable, "-m", "venv", folder, folder=folder.parent)
    return folder / "bin"


def test_both_hold_the_workflow_whole(source, wheel):
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= set(SHIPPED)
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.removeprefix("cohortreg/shipped/"): name for name in archive.namelist()}
        for name in SHIPPED:
            assert archive.read(inside[name]) == (REPOSITORY / name).read_bytes()
    assert not any("__pycache__" in name or name.startswith("results/demo") for name in inside)


def test_the_core_alone_registers_two_images(wheel, tmp_path):
    programs = environment(tmp_path / "core")
    constraints = REPOSITORY / "constraints.txt"
    run(programs / "pip", "install", "--quiet", "--constraint", constraints, wheel, folder=tmp_path)
    installed = run(programs / "pip", "freeze", folder=tmp_path).lower()
    assert not re.search("^(snakemake|pandas|matplotlib|lightning)", installed, flags=re.MULTILINE)
    points = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"))
    for name, radius in (("moving", 6), ("fixed", 8)):
        image = np.exp(-((np.linalg.norm(points - 11.5, axis=0) / radius) ** 4)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), tmp_path / f"{name}.nii.gz")
    cohortreg = programs / "cohortreg"
    said = run(cohortreg, "register", "moving.nii.gz", "fixed.nii.gz", folder=tmp_path)
    assert re.search(r"0 folds", said), said
    warped = nibabel.load(tmp_path / "moving_on_fixed.nii.gz").get_fdata()
    fixed, moving = (nibabel.load(tmp_path / f"{name}.nii.gz").get_fdata() for name in ("fixed", "moving"))
    assert np.abs(warped - fixed).mean() < 0.3 * np.abs(moving - fixed).mean()
    (tmp_path / "pair.py").write_text(PAIR)
    said = run(programs / "python", "pair.py", folder=tmp_path).splitlines()
    assert said == ["0 folds", 'plot needs pandas: pip install "cohortreg[report]"']
    for words, needed in (
        (["run", "demo"], "Snakemake"),
        (["import", "msd", ".", "--output", "."], "pandas"),
    ):
        done = subprocess.run([cohortreg, *words], cwd=tmp_path, env=OWN, capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert f'needs {needed}: pip install "cohortreg[workflow]"' in done.stderr


@pytest.fixture(scope="session")
def everything(wheel, tmp_path_factory) -> Path:
    """The programs of an environment with the wheel, and this one's packages."""
    folder = tmp_path_factory.mktemp("everything") / "environment"
    programs = environment(folder)
    packages = next(folder.glob("lib/python*/site-packages"))
    # Of a path in such a file the folder's own such files are not read, so that the clone stays unknown.
    (packages / "others.pth").write_text(f"{np.__path__[0].removesuffix('/numpy')}\n")
    run(programs / "pip", "install", "--quiet", "--no-deps", "--ignore-installed", wheel, folder=folder)
    return programs


def test_the_demo_is_planned_in_an_empty_folder(everything, tmp_path):
    said = run(everything / "cohortreg", "run", "demo", "-n", "--quiet", "rules", folder=tmp_path)
    assert str(everything.parent) in said.split("Snakefile:")[1].splitlines()[0]
    assert re.search(r"^report +1$", said, flags=re.MULTILINE)


def test_a_cohort_runs_to_the_report_and_then_has_nothing_to_do(everything, tmp_path):
    project = new_project(tmp_path)
    command = [everything / "cohortreg", "run", "tiny.yaml"]
    untrained = ["--config", "methods=[identity,affine]", "report={reference: affine}"]
    said = run(*command, "--cores", "1", *untrained, folder=project.folder)
    report = project.results / "report" / "index.html"
    assert f"The report of cohort tiny: {report.relative_to(project.folder)}" in said.splitlines()
    assert report.is_file()
    assert "Nothing to be done" in run(*command, *untrained, folder=project.folder)
