"""The layout of a cohort's results folder: every path of the project is named here, once.

Those of the report are in `report_layout`.

The workflow's rules and the package's commands both use it, so that they cannot disagree.
"""

from dataclasses import dataclass
from pathlib import Path

from cohortreg.model_files import CARD, WEIGHTS
from cohortreg.report_layout import Below, Figures, ReportLayout

SHEET_IMAGES = 60  # on a page of the contact sheet


@dataclass(frozen=True)
class Results(Figures):
    """A folder of results, and what lies in every such folder."""

    # What was said and used along the way.
    logs = Below("logs")

    def log(self, rule: str, name: str = "all") -> Path:
        """The log of a job."""
        return self.logs / rule / f"{name}.log"

    def benchmark(self, rule: str, name: str = "all") -> Path:
        """Snakemake's measurements of a job's time and memory."""
        return self.root / "benchmarks" / rule / f"{name}.tsv"

    def settings(self, rule: str, name: str = "all") -> Path:
        """JSON: the settings of a job.

        It is rewritten when they change, so that what was made with other settings is older than it. Each has a
        folder of its own, since Snakemake lists a folder once and takes what is written there later for missing.
        """
        return self.root / "settings" / rule / name / "settings.json"


@dataclass(frozen=True)
class Layout(Results):
    """Paths under `results/{cohort}/`, see "Files out" in the documentation."""

    @property
    def check(self) -> "CheckLayout":
        """The folder of the check before a long run."""
        return CheckLayout(self.root / "check")

    def phantoms(self, shard: int | str) -> Path:
        """JSON: the SHA-256 of every image and label that the project made of a shard."""
        return self.root / "phantoms" / f"{shard}.json"

    # Preprocessed images and labels; a sidecar beside each image says what was done to it.
    def image(self, image_id: str) -> Path:
        """A preprocessed image."""
        return self.root / "images" / f"{image_id}.nii.gz"

    def sidecar(self, image_id: str) -> Path:
        """JSON beside a preprocessed image: how it was made."""
        return self.root / "images" / f"{image_id}.json"

    def label(self, image_id: str) -> Path:
        """A preprocessed label map."""
        return self.root / "labels" / f"{image_id}.nii.gz"

    def image_shard(self, shard: int | str) -> Path:
        """A table with a row for each image of the shard.

        Columns: image_id, status (ok or excluded), reason, sidecar (its SHA-256), digest (of what the image was made
        from, and how).
        """
        return self.root / "images" / "shards" / f"{shard}.tsv"

    # What is left of the cohort after preprocessing.
    images = Below("images.tsv")
    pairs = Below("pairs.tsv")
    #: The table of images that were left out, and why.
    excluded = Below("excluded.tsv")
    #: JSON: name, counts, warnings, a digest of the preprocessed images.
    cohort = Below("cohort.json")

    def pair_shard(self, shard: int | str) -> Path:
        """A row a pair of the shard: moving, fixed, and the SHA-256 of the sidecar of each."""
        return self.root / "pairs" / f"{shard}.tsv"

    # Training. A training set is named by a digest of its images.
    def training_images(self, training_set: str) -> Path:
        """A row an image of the training set: image_id, digest (of what it was made from, and how)."""
        return self.root / "training" / training_set / "images.tsv"

    def packed(self, training_set: str) -> Path:
        """The training images as one array [images, *grid], memory-mapped."""
        return self.root / "training" / training_set / "images.npy"

    def packed_index(self, training_set: str) -> Path:
        """JSON: ids in the array's order, grid, SHA-256 of the array."""
        return self.root / "training" / training_set / "images.json"

    models = Below("models")

    def model_training(self, model: str) -> Path:
        """JSON: what a model is trained on.

        Its training_set, the number of images in it, how they were preprocessed, and a digest of the initial weights.
        """
        return self.models / model / "training.json"

    def start_weights(self, model: str, stage: int | str) -> Path:
        """A stage's weights of an earlier training, which the next one starts with."""
        return self.models / model / "start" / f"stage-{stage}.safetensors"

    def stage(self, model: str, stage: int | str) -> Path:
        """The folder of a training stage."""
        return self.models / model / f"stage-{stage}"

    def weights(self, model: str, stage: int | str) -> Path:
        """The weights that a stage ended with."""
        return self.stage(model, stage) / WEIGHTS

    def model_card(self, model: str, stage: int | str) -> Path:
        """JSON: configuration, seed, versions, git commit, data hash."""
        return self.stage(model, stage) / CARD

    def history(self, model: str, stage: int | str) -> Path:
        """The loss terms of each training step of a stage."""
        return self.stage(model, stage) / "history.csv"

    def checkpoints(self, model: str, stage: int | str) -> Path:
        """The folder of a stage's checkpoints."""
        return self.stage(model, stage) / "checkpoints"

    def curves(self, model: str, stage: int | str) -> Path:
        """The folder of a stage's training curves, see `training.logger`."""
        return self.stage(model, stage) / "curves"

    # Registration and evaluation.
    def transforms(self, method: str) -> Path:
        """The folder of a method's transforms, which may be deleted once they are evaluated."""
        return self.root / "transforms" / method

    def forward(self, method: str, moving: str, fixed: str) -> Path:
        """Map from the fixed to the moving image, see `maps.coded`: warps the moving image onto the fixed one."""
        return self.transforms(method) / "forward" / moving / f"{fixed}.map.gz"

    def inverse(self, method: str, moving: str, fixed: str) -> Path:
        """Map from the moving to the fixed image."""
        return self.transforms(method) / "inverse" / moving / f"{fixed}.map.gz"

    @staticmethod
    def before(transform: Path) -> Path:
        """The file of a transform in results of earlier versions: a displacement field, see `maps.transforms`."""
        return transform.with_name(transform.name.removesuffix(".map.gz") + ".nii")

    def registration_record(self, method: str, moving: str, fixed: str) -> Path:
        """JSON: how long the pair took and what its transforms were made from; written after them."""
        return self.transforms(method) / "records" / moving / f"{fixed}.json"

    def registered_shard(self, method: str, shard: int | str) -> Path:
        """A row a pair: moving, fixed, time_s, hardware, failure (why it has no transforms; empty where it has)."""
        return self.transforms(method) / "shards" / f"{shard}.csv"

    def evaluated_shard(self, method: str, shard: int | str) -> Path:
        """A row a pair, with the columns of `pairs_table` but for the set."""
        return self.root / "tables" / "shards" / method / f"{shard}.csv"

    def evaluated_pair(self, method: str, moving: str, fixed: str) -> Path:
        """JSON: the measures of one pair and a digest of what they were computed from.

        With it, an interrupted shard computes only what is missing.
        """
        return self.root / "tables" / "shards" / method / "pairs" / moving / f"{fixed}.json"

    #: The measures of each registered pair.
    pairs_table = Below("tables/pairs.csv")
    #: The means of the measures for each method.
    methods_table = Below("tables/methods.csv")
    #: The means of the measures over each set of pairs.
    sets_table = Below("tables/sets.csv")
    methods_markdown = Below("tables/methods.md")
    methods_latex = Below("tables/methods.tex")
    #: An empty file, as old as the report.
    reported = Below("report.made")

    @property
    def report(self) -> "ReportLayout":
        """The folder of the report."""
        return ReportLayout(self.root / "report")


@dataclass(frozen=True)
class CheckLayout:
    """Paths below the folder of `cohortreg check`, in a workflow `results/{cohort}/check/`."""

    root: Path

    #: A row an image, with the columns of docs/outputs.md.
    table = Below("check.tsv")

    def sheets(self, images: int) -> list[Path]:
        """The pages of the contact sheet of that many images."""
        pages = range(1, -(-images // SHEET_IMAGES) + 1)
        return [self.root / f"contact-sheet{f'-{page}' if page > 1 else ''}.png" for page in pages]


@dataclass(frozen=True)
class PaperLayout(Results):
    """Paths under `results/paper-{preset}/`: the paper's experiments."""

    def packed(self, dataset: str, split: str) -> Path:
        """A data set's training or test images as one array [images, *grid]."""
        return self.root / "data" / dataset / f"{split}.npy"

    def packed_index(self, dataset: str, split: str) -> Path:
        """JSON: their number, grid, SHA-256 of the array."""
        return self.root / "data" / dataset / f"{split}.json"

    def cell(self, dataset: str, network: str, weight: int | str, variant: str) -> Path:
        """The folder of one training."""
        return self.root / "cells" / dataset / network / f"{weight}-{variant}"

    def measured(self, *cell: *tuple[str, str, int | str, str]) -> Path:
        """JSON: Dice and folds of a trained cell on the held-out pairs, and how it was trained."""
        return self.cell(*cell) / "cell.json"

    def examples(self, *cell: *tuple[str, str, int | str, str]) -> Path:
        """Held-out pairs with their warped images and maps, for the figures."""
        return self.cell(*cell) / "examples.npz"

    def checkpoints(self, *cell: *tuple[str, str, int | str, str]) -> Path:
        """The folder of a training's checkpoints."""
        return self.cell(*cell) / "checkpoints"

    table1 = Below("tables/table1.csv")
    table1_markdown = Below("tables/table1.md")
