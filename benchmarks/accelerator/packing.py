"""Makes the folder that `run` needs on a GPU machine, and rehearses it."""

import argparse
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
from bench import ABOUT, CODE, REPOSITORY, code_digest
from borrowed import borrow
from ladder import KNOWN

from cohortreg import config
from cohortreg.cohort.tables import read_table
from cohortreg.config import Preprocess
from cohortreg.errors import UserError
from cohortreg.files import whole, write_json
from cohortreg.images import geometry
from cohortreg.images.image import Image
from cohortreg.images.io import read_label
from cohortreg.images.preprocess import preprocess, read_labelled
from cohortreg.phantoms.dess import dess
from cohortreg.provenance import git_commit

#: What GPU machines lack, at the versions of constraints.txt, and the authors' package.
BROUGHT = (
    *("lightning-fabric", "lightning-utilities", "nibabel", "monai"),
    *("pydantic", "annotated-types", "typing-inspection"),
)
#: Of these what is compiled, for Linux on x86-64.
COMPILED = ("pydantic_core",)
PEER = "icon_registration==1.1.9"
#: What they have, of which the rehearsal's environment has what is here. PyYAML comes with Lightning.
THERE = (
    *("torch", "numpy", "scipy", "pandas", "safetensors", "matplotlib", "seaborn", "pytest", "hypothesis", "typer"),
    *("rich", "pyyaml"),
)  # fmt: skip
PYTHON = "3.12"
MOST_MB = 60
#: Knees that are brought as images; all others are made from their label maps where they are needed.
KNEES = 4
#: Seconds that the rehearsal has on a busy machine; two idle cores need less than half.
REHEARSAL = 600


def main(description: str) -> None:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="install it and rehearse every part here")
    given = parser.parse_args()
    make(given.folder)
    if given.check:
        check(given.folder)


def make(folder: Path) -> None:
    """Make the folder; images that are there are kept. Raises UserError where it is too large."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in ("src", "benchmarks", "docs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (*CODE, *([str(KNOWN.relative_to(REPOSITORY))] if KNOWN.is_dir() else [])):
        _copy(REPOSITORY / name, folder / name)
    _wheels(folder / "wheels")
    _data(folder / "data")
    about = {"commit": git_commit(), "code": code_digest(), "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M}"}
    write_json(folder / ABOUT, about)
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    print(f"{folder}: {megabytes:.1f} MB")
    if megabytes >= MOST_MB:
        raise UserError(
            f"{folder} has {megabytes:.1f} MB, more than the {MOST_MB} that can be brought along."
        )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy2(source, target)
    else:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _wheels(folder: Path) -> None:
    """Download the wheels that are not there yet.

    Compiled ones for the GPU machine's version of Python, and for this one's, with which it is rehearsed.
    """
    versions = dict(
        line.split("==")
        for line in (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    )
    plain = [*(f"{name}=={versions[name]}" for name in BROUGHT), PEER]
    compiled = [f"{name}=={versions[name]}" for name in COMPILED]
    pythons = sorted({PYTHON, "{}.{}".format(*sys.version_info)})
    wanted = [(each, "") for each in plain] + [
        (each, "cp" + python.replace(".", "")) for each in compiled for python in pythons
    ]
    if all(_wheel_of(folder, *each) for each in wanted):
        return
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    pip += ["--dest", str(folder)]
    # For any platform, or there is none: `run` unpacks them, which is all that plain Python needs.
    subprocess.run([*pip, "--python-version", PYTHON, "--platform", "any", *plain], check=True)
    for python in pythons:
        options = ["--python-version", python, "--implementation", "cp", "--platform", "manylinux2014_x86_64"]
        subprocess.run([*pip, *options, *compiled], check=True)


def _wheel_of(folder: Path, wanted: str, built_for: str) -> bool:
    """Whether a wheel of such as "name==1.0" is there, built for a Python, such as cp312."""
    name = wanted.replace("-", "_").replace("==", "-")
    return any(built_for in path.name for path in folder.glob(f"{name}-*.whl"))


def _data(folder: Path) -> None:
    _settings(folder / "settings.json")
    golden = config.expand_root("$COHORTREG_DATA") / ".." / "reference" / "icon_parity"
    if not golden.is_dir():
        raise UserError(f"{golden} is not there; set COHORTREG_DATA to a folder of the data beside it.")
    (folder / "golden").mkdir(exist_ok=True)
    for path in golden.glob("*.safetensors"):
        shutil.copyfile(path, folder / "golden" / path.name)
    if not (folder / "hippocampi.json").is_file():
        _hippocampi(folder)
    if not (folder / "oai-labels.json").is_file():
        _label_maps(folder)
    if not (folder / "knees.json").is_file():
        _knees(folder)


def _configuration(*names: str) -> dict:
    return config.load(*(REPOSITORY / "config" / f"{name}.yaml" for name in names)).plain()


def _settings(path: Path) -> None:
    """What parts need of the configurations, as JSON, since GPU machines need not read YAML."""
    paper = config.merged(REPOSITORY / "workflow" / "paper" / "config.yaml")
    kept = ("models", "training", "preprocess", "structures", "seed")
    found = {
        "hippocampus": _configuration("hippocampus"),
        "oai-anatomy-full": _configuration("oai", "oai-anatomy-full"),
    }
    found = {name: {key: each[key] for key in kept} for name, each in found.items()}
    write_json(path, found | {"table1": paper["presets"]["full"]})


def _tables(configuration: dict) -> tuple[list[dict], list[tuple[str, str]]]:
    """The rows of a cohort's images that have a split, and its pairs."""
    images = read_table(REPOSITORY / configuration["images"], ["image_id", "split"], "the importer").to_dict(
        "records"
    )
    pairs = read_table(REPOSITORY / configuration["pairs"], ["moving", "fixed"], "the importer")
    if "set" in pairs:
        pairs = pairs[pairs["set"].isin(["", "main"])]
    return images, list(pairs[["moving", "fixed"]].itertuples(index=False, name=None))


def _described(
    configuration: dict, images: list[dict], pairs: list[tuple[str, str]], spacing: list[float]
) -> dict:
    ids = [row["image_id"] for row in images]
    rows = [[ids.index(name) for name in pair] for pair in pairs if set(pair) <= set(ids)]
    return {
        "ids": ids,
        "split": [row["split"] for row in images],
        "pairs": rows,
        "spacing": spacing,
        "structures": configuration["structures"],
    }


def _hippocampi(folder: Path) -> None:
    """All hippocampi, preprocessed as their configuration says."""
    configuration = _configuration("hippocampus")
    images, pairs = _tables(configuration)
    root = config.expand_root(configuration["root"])
    settings = Preprocess.read(configuration["preprocess"])
    arrays = {"images": [], "labels": [], "fields_of_view": []}
    for row in images:
        read = read_labelled(root / row["image"], root / row["label"], configuration["structures"])
        image, label, record = preprocess(*read, row["side"], settings)
        arrays["images"].append(image.array.astype(np.float16))
        arrays["labels"].append(label.array.astype(np.uint8))
        arrays["fields_of_view"].append(record["field_of_view"])
    with whole(folder / "hippocampi.npz") as beside:
        np.savez_compressed(beside, **{name: np.array(values) for name, values in arrays.items()})
    write_json(folder / "hippocampi.json", _described(configuration, images, pairs, [1.0, 1.0, 1.0]))


def _label_maps(folder: Path) -> None:
    """The label maps of all knees at their own resolution."""
    configuration = _configuration("oai", "oai-anatomy-full")
    images, pairs = _tables(configuration)
    labels = config.expand_root(configuration["phantom"]["labels"])
    (folder / "oai-labels").mkdir(exist_ok=True)
    with ProcessPoolExecutor() as processes:
        paths = [labels / Path(row["label"]).name for row in images]
        targets = [folder / "oai-labels" / f"{row['image_id']}.npy.xz" for row in images]
        affines = list(processes.map(_compressed, paths, targets))
    described = _described(configuration, images, pairs, [0, 0, 0])
    write_json(folder / "oai-labels.json", described | {"affines": affines})


def _compressed(path: Path, target: Path) -> list[list[float]]:
    """Write a label map as a compressed array, its axes along right, anterior, superior; returns its affine."""
    label = geometry.canonical(read_label(path))
    with lzma.open(target, "wb", preset=2) as stream:
        np.lib.format.write_array(stream, label.array.astype(np.uint8))
    return label.affine.tolist()


def _knees(folder: Path) -> None:
    """The first test pairs' knees as images, made and preprocessed as the workflow does it."""
    configuration = _configuration("oai", "oai-anatomy-full")
    images, pairs = _tables(configuration)
    chosen = list(dict.fromkeys(name for pair in pairs for name in pair))[:KNEES]
    rows = [row for name in chosen for row in images if row["image_id"] == name]
    with ProcessPoolExecutor(min(os.cpu_count(), KNEES)) as processes:
        made = list(processes.map(_knee, rows, [configuration] * len(rows)))
    with whole(folder / "knees.npz") as beside:
        names = ("images", "labels", "fields_of_view")
        np.savez_compressed(beside, **{n: np.stack([each[n] for each in made]) for n in names})
    every = [(one, other) for one in chosen for other in chosen if one != other]
    spacing = made[0]["spacing"].tolist()
    write_json(folder / "knees.json", _described(configuration, rows, every, spacing))


def _knee(row: dict, configuration: dict) -> dict[str, np.ndarray]:
    """A knee's image and its label map, both on the networks' grid."""
    label = read_label(config.expand_root(configuration["phantom"]["labels"]) / Path(row["label"]).name)
    raw = dess(label, configuration["seed"], row["image_id"])
    settings = Preprocess.read(configuration["preprocess"] | {"labels": "grid"})
    image, label, record = preprocess(raw, label, row["side"], settings)
    return {
        "images": np.rint(255 * image.array.clip(0, 1)).astype(np.uint8),
        "labels": label.array.astype(np.uint8),
        "fields_of_view": np.array(record["field_of_view"]),
        "spacing": Image(image.array, image.affine).spacing,
    }


def check(folder: Path) -> None:
    """Rehearse every part from the folder alone, in a fresh environment. Raises UserError where one fails."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        machine = Path(temporary)
        shutil.copytree(folder, machine / "brought")
        here = {each.name.lower() for each in distributions()}
        python = borrow(machine / "python", [name for name in THERE if name in here])
        command = [python, machine / "brought" / "benchmarks" / "accelerator" / "run", "--size", "small"]
        command += ["--seconds", str(REHEARSAL), "--output", machine / "output", "--device", "cpu"]
        environment = {"PATH": os.environ["PATH"], "HOME": temporary, "OMP_NUM_THREADS": "1"}
        code = subprocess.run(list(map(str, command)), env=environment, cwd=temporary).returncode
        found = {
            path.stem: json.loads(path.read_text("utf-8")) for path in (machine / "output").glob("?.json")
        }
    failed = [
        f"{part}: {key}: {why['reason']}"
        for part, each in found.items()
        for key, why in each["failures"].items()
    ]
    seconds = time.perf_counter() - started
    print(f"rehearsed {', '.join(sorted(found))} in {seconds:.0f} s")
    if code or failed:
        print(*failed, sep="\n", file=sys.stderr)
        raise UserError(f"{folder}: the rehearsal did not get through (exit code {code}).")
