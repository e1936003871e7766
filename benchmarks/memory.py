"""The peak resident memory of each command on one pair of OAI's size, on the processor.

python benchmarks/memory.py OUTPUT.csv OAI_LABELS FOLDER

OAI_LABELS holds label maps of real knees, 160×384×384 voxels, SUBJECT_VISIT_label.nii.gz; scans are made from two of
them. FOLDER gets the results: 80×192×192 voxels, the paper's network in float32 with random weights, since memory does
not depend on what was learnt.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from cohortreg.cohort.tables import write_table
from cohortreg.files import write_json
from cohortreg.importers.label_maps import import_label_maps
from cohortreg.model_files import CARD, WEIGHTS
from cohortreg.provenance import git_commit, hardware, software

COMMAND = [sys.executable, "-c", "from cohortreg.cli import main; main()"]
GRID, METHOD = [80, 192, 192], "icon-4step"
STRUCTURES = {"femoral_cartilage": [2], "tibial_cartilage": [4]}
PREPROCESS = {
    "grid": GRID,
    "fit": "resample",
    "mirror": "left",
    "percentiles": [1, 99],
    "labels": "native",
}
MODEL = {
    "model": "icon",
    "method": "icon",
    "network": {"architecture": "unet", "down": [2, 16, 32, 64, 256, 512], "up": [16, 32, 64, 128, 256]},
    "stages": [
        {"steps": steps, "downsample": downsample, "stride": 1, "window": 2}
        for steps, downsample in [(2, 2), (1, 1), (1, 1)]
    ],
    "similarity": "mse",
    "regularity": "icon",
    "noise": 0,
    "grid": GRID,
    "final_weight": 1600,
}


def write_tables(labels: Path, folder: Path) -> None:
    """The first scan of each of two subjects, and their pair."""
    images = import_label_maps(labels).images
    images = images.drop_duplicates("subject_id").head(2).assign(split="test")
    moving, fixed = images["image_id"]
    write_table(folder / "images.tsv", images)
    write_table(folder / "pairs.tsv", images.head(1).assign(moving=moving, fixed=fixed)[["moving", "fixed"]])


def write_model(folder: Path) -> None:
    """A four-step model of random weights that move voxels by a little."""
    import torch  # seconds to import

    from cohortreg.config import read_network, read_steps
    from cohortreg.icon.stages import build_registration
    from cohortreg.learning import weights

    torch.manual_seed(1)
    registration, _ = build_registration(read_network(MODEL["network"]), read_steps(MODEL["stages"]), GRID)
    tensors = {
        name: 1e-3 * torch.randn_like(tensor) if "last.weight" in name else tensor
        for name, tensor in registration.state_dict().items()
    }
    weights.save(folder / WEIGHTS, tensors)
    write_json(folder / CARD, MODEL)


def commands(labels: Path, folder: Path) -> dict[str, list]:
    """What is measured, in order: the work's name and the command's arguments."""
    results, raw, images = folder / "results", folder / "raw", folder / "images.tsv"
    settings = {
        "phantom": {"labels": str(labels.absolute())},
        "preprocess": {"preprocess": PREPROCESS, "structures": STRUCTURES},
        "register": {
            "model": str(folder / "model"),
            "training": {"accelerator": "cpu", "precision": "32-true"},
        },
        "evaluate": {"structures": STRUCTURES},
    }
    given = {work: ["--settings", json.dumps(each)] for work, each in settings.items()}
    pairs, method = folder / "pairs.tsv", ["--method", METHOD]
    return {
        "phantom": ["phantom", images, raw, *given["phantom"]],
        "preprocess": ["preprocess", results, "--images", images, "--root", raw, *given["preprocess"]],
        "cohort": ["cohort", results, "--name", "memory", "--images", images, "--pairs", pairs],
        "register": ["register-shard", results, *method, "--threads", os.cpu_count(), *given["register"]],
        "evaluate": ["evaluate", results, *method, *given["evaluate"]],
        "export": ["export", results, *method, "--output", folder / "exported"],
    }


def peak(arguments: list) -> float:
    """Peak resident memory of a command in GiB."""
    process = subprocess.Popen([*COMMAND, *map(str, arguments)])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"cohortreg {arguments[0]} failed")
    return usage.ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    write_tables(given.labels, given.folder)
    # In a process of its own, since a command's peak is at least this one's.
    write = f"import memory, pathlib; memory.write_model(pathlib.Path({str(given.folder / 'model')!r}))"
    subprocess.run([sys.executable, "-c", write], cwd=Path(__file__).parent, check=True)
    rows = [
        {"work": work, "peak_gib": round(peak(arguments), 2)}
        for work, arguments in commands(given.labels, given.folder).items()
    ]
    facts = {
        "hardware": hardware("cpu"),
        "torch": software()["torch"],
        "git_commit": git_commit(),
    }
    with given.output.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0] | facts)
        writer.writeheader()
        writer.writerows(row | facts for row in rows)


if __name__ == "__main__":
    main()
