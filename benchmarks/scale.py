"""What an image, a pair and a training step of the size of OAI's knees cost, in seconds, memory, disk and files.

python benchmarks/scale.py OUTPUT.csv FOLDER

Measured by the workflow itself. FOLDER, which must not exist, gets phantoms of 160×384×384 voxels and the results:
80×192×192 voxels, the paper's network, trained for two steps a stage, since how long a registration takes does not
depend on what was learnt.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from cohortreg.cohort.tables import read_images, write_table
from cohortreg.config import load
from cohortreg.layout import Layout
from cohortreg.provenance import git_commit, hardware, software

REPOSITORY = Path(__file__).parents[1]
METHODS = ["affine", "demons", "icon-4step"]
TRAINED, TESTED, STAGES = 2, 5, [(2, 2), (1, 1), (1, 1)]


def configuration() -> dict:
    """Of full-size knees; every test image is registered to the next, in one shard."""
    stages = [
        {
            "steps": steps,
            "downsample": downsample,
            "training_steps": 2,
            "batch_size": 1,
            "learning_rate": 5.0e-5,
            "schedule": "constant",
            "weight": 1000,
            "weight_increment": 0,
            "fold_threshold": 0,
            "stride": 1,
            "window": 2,
        }
        for steps, downsample in STAGES
    ]
    demo = load(REPOSITORY / "config" / "demo.yaml").plain()
    network = {"architecture": "unet", "down": [2, 16, 32, 64, 256, 512], "up": [16, 32, 64, 128, 256]}
    return {
        "cohort": "scale",
        "images": "config/images.tsv",
        "pairs": "config/pairs.tsv",
        "phantom": {"grid": [160, 384, 384], "spacing": [0.7, 0.365, 0.365]},
        "root": demo["root"],
        "structures": demo["structures"],
        "preprocess": {"grid": [80, 192, 192], "mirror": "left"},
        "models": {"icon": {"network": network, "stages": stages}},
        "training": {"precision": "bf16-mixed"},
        "methods": METHODS,
        "shards": {"images": 1, "pairs": 1},
        "threads": {"train": os.cpu_count(), "register": os.cpu_count()},
    }


def write_project(folder: Path) -> None:
    """The demo's subjects, few of them, at full size."""
    folder.mkdir()
    shutil.copytree(REPOSITORY / "config", folder / "config")
    images = read_images(REPOSITORY / "config" / "demo" / "images.tsv")
    tested = images[images["split"] == "test"].head(TESTED)
    chosen = pd.concat([images[images["split"] == "train"].head(TRAINED), tested])
    write_table(folder / "config" / "images.tsv", chosen)
    ids = list(tested["image_id"])
    pairs = pd.DataFrame({"moving": ids[:-1], "fixed": ids[1:]})
    write_table(folder / "config" / "pairs.tsv", pairs)
    (folder / "scale.yaml").write_text(yaml.safe_dump(configuration()))


def run(folder: Path) -> None:
    """The workflow up to its tables; evaluations, of one core each, one at a time."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "workflow" / "Snakefile"]
    command += ["--configfile", "scale.yaml", "--cores", str(os.cpu_count())]
    command += ["--set-threads", f"evaluate={os.cpu_count()}", "--", "tables"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    subprocess.run(command, cwd=folder, env=environment, check=True)


def job(layout: Layout, rule: str, name: str = "all") -> tuple[float, float]:
    """Seconds and peak memory in GiB of a job, as Snakemake saw it."""
    row = pd.read_csv(layout.benchmark(rule, name), sep="\t").iloc[0]
    return float(row["s"]), float(row["max_rss"]) / 1024


def on_disk(folders: list[Path]) -> tuple[float, int]:
    """MB and number of files below folders."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6, len(files)


def measured(layout: Layout) -> list[dict]:
    """A row for each kind of work: its jobs, its results, divided by its images or pairs."""
    images, pairs = TRAINED + TESTED, TESTED - 1
    works = [("preprocess", "", images, "0", [layout.image("x").parent, layout.label("x").parent])]
    for stage in range(1, 1 + len(STAGES)):
        works.append(("train", f"stage {stage}", 1, f"icon-{stage}", [layout.weights("icon", stage).parent]))
    for method in METHODS:
        works.append(("register", method, pairs, f"{method}-0", [layout.root / "transforms" / method]))
        works.append(("evaluate", method, pairs, f"{method}-0", [layout.evaluated_shard(method, 0).parent]))
    itself = pd.read_csv(layout.pairs_table).groupby("method")["time_s"].mean().to_dict()
    for stage in range(1, 1 + len(STAGES)):
        # Of the last step, since the first one plans.
        itself[f"stage {stage}"] = 1 / pd.read_csv(layout.history("icon", stage))["steps_per_second"].iloc[-1]
    rows = []
    for work, method, count, name, folders in works:
        seconds, gibibytes = job(layout, work, name)
        megabytes, files = on_disk(folders)
        rows.append(
            {
                "work": work,
                "method": method,
                "items": count,
                # Of a registration or a training step itself; of the others what the job took, its start included.
                "seconds": round(itself[method] if work in ("train", "register") else seconds / count, 2),
                "job_seconds": round(seconds, 1),
                "peak_gib": round(gibibytes, 2),
                "megabytes": round(megabytes / count, 2),
                "files": round(files / count, 2),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    write_project(given.folder)
    run(given.folder)
    facts = {
        "hardware": hardware("cpu"),
        "torch": software()["torch"],
        "git_commit": git_commit(),
    }
    rows = [row | facts for row in measured(Layout(given.folder / "results" / "scale"))]
    with given.output.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
