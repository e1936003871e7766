"""A tiny cohort, and real Snakemake runs on it in a folder of their own."""

import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import forkserver
import nibabel
import numpy as np
import yaml

from cohortreg.config import merge, merged

REPOSITORY = Path(__file__).parents[1]

#: That of `.test`, with images that are no phantoms.
CONFIGURATION = merge(
    merged(REPOSITORY / ".test" / "config" / "config.yaml"),
    {
        "images": "tables/images.tsv",
        "pairs": "tables/pairs.tsv",
        "root": "raw",
        "phantom": None,
        "preprocess": {"grid": [16, 16, 16]},
    },
) | {"structures": {"shell": [1], "core": [2]}}


def write_cohort(folder: Path, training: int, tested: int) -> None:
    """Subjects, each a shell around a core, of one size and place each; each tested one is a pair with the next."""
    rows = ["image_id\tsubject_id\tside\tsplit\timage\tlabel"]
    points = np.stack(np.meshgrid(*[np.arange(20.0)] * 3, indexing="ij"))
    random = np.random.default_rng(1)
    for number in range(training + tested):
        name = f"s{number}"
        centre = random.uniform(8, 12, (3, 1, 1, 1))
        distance = np.linalg.norm((points - centre) / random.uniform(0.8, 1.2, (3, 1, 1, 1)), axis=0)
        label = (distance < 7).astype(np.uint8) + (distance < 4)
        image = label * 100 + random.normal(0, 5, label.shape)
        for kind, array in (("image", image.astype(np.float32)), ("label", label)):
            path = folder / "raw" / f"{name}_{kind}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
        split = "train" if number < training else "test"
        rows.append(
            f"{name}\t{name}\t{'left' if number % 2 else 'right'}\t{split}\t{name}_image.nii.gz\t{name}_label.nii.gz"
        )
    tables = folder / "tables"
    tables.mkdir()
    (tables / "images.tsv").write_text("\n".join(rows) + "\n")
    names = [f"s{training + number % tested}" for number in range(tested + 1)]
    pairs = [f"{moving}\t{fixed}" for moving, fixed in itertools.pairwise(names)]
    (tables / "pairs.tsv").write_text("\n".join(["moving\tfixed", *pairs]) + "\n")


@dataclass(frozen=True)
class Project:
    """A folder with the workflow's defaults and a tiny cohort.

    options: where Snakemake runs its jobs. snakefile: None for the one in this folder. configuration: None for the one
    that the workflow finds by itself. modules: a folder of modules that every command finds. forked: Snakemake and its
    jobs are started by the fork server, see `forkserver.py`, whose strings have those hashes.
    """

    folder: Path
    options: tuple[str, ...] = ("--cores", "2")
    snakefile: Path | None = REPOSITORY / "workflow" / "Snakefile"
    configuration: str | None = "tiny.yaml"
    modules: Path | None = None
    forked: bool = True
    hashes: str = "random"

    @property
    def results(self) -> Path:
        """The cohort's results."""
        return self.folder / "results" / "tiny"

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run the workflow in this folder to its end; output and errors in `stdout`."""
        with self.started(*arguments) as running:
            output, _ = running.communicate()
        return subprocess.CompletedProcess(running.args, running.returncode, output)

    def started(self, *arguments: str) -> subprocess.Popen:
        """The same, just started."""
        program = (
            forkserver.forked("snakemake", self.hashes)
            if self.forked
            else [sys.executable, "-m", "snakemake"]
        )
        snakefile = ["--snakefile", self.snakefile] if self.snakefile else []
        configuration = ["--configfile", self.configuration] if self.configuration else []
        paths = [str(path) for path in (self.modules, REPOSITORY / "src") if path]
        environment = {"PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.Popen(
            [*program, *snakefile, *configuration, *self.options, *arguments],
            cwd=self.folder,
            env=os.environ | environment | (forkserver.environment(self.hashes) if self.forked else {}),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def new_project(folder: Path, training: int = 4, tested: int = 3) -> Project:
    """Make a project in an empty folder, of that many subjects."""
    (folder / "config").mkdir()
    shutil.copy(REPOSITORY / "config" / "config.yaml", folder / "config")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    write_cohort(folder, training, tested)
    return Project(folder)
