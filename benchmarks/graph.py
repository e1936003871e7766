"""How long Snakemake takes to plan a large cohort, and how much memory: `snakemake --dry-run` on generated tables.

python benchmarks/graph.py OUTPUT.csv 5000:10000 50000:100000 100000:1000000
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from cohortreg.provenance import git_commit, hardware, software

REPOSITORY = Path(__file__).parents[1]
IMAGES_A_SHARD, PAIRS_A_SHARD = 1000, 2000


def write_project(folder: Path, images: int, pairs: int) -> None:
    """Tables of that many images, half of them to train, and pairs of the others; empty files stand for the images."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    rows = []
    for n in range(images):
        name = f"image-{n:06d}"
        files = [f"{name}.nii.gz", f"{name}-label.nii.gz"]
        for file in files:
            (raw / file).touch()
        rows.append("\t".join([name, f"subject-{n}", "left", "train" if n % 2 else "test", *files]))
    head = "image_id\tsubject_id\tside\tsplit\timage\tlabel"
    (folder / "images.tsv").write_text("\n".join([head, *rows]) + "\n")
    # Every test image to those that follow it, as many as it takes.
    tested = images // 2
    numbers = np.arange(pairs)
    moving, step = numbers % tested, 1 + numbers // tested
    fixed = (moving + step) % tested
    # Line by line: what this process takes counts as memory of those that it starts.
    with (folder / "pairs.tsv").open("w") as stream:
        stream.write("moving\tfixed\n")
        for a, b in zip(moving, fixed, strict=True):
            stream.write(f"image-{2 * a:06d}\timage-{2 * b:06d}\n")
    overlay = {
        "cohort": "large",
        "images": "images.tsv",
        "pairs": "pairs.tsv",
        "root": "raw",
        "phantom": None,
        "shards": {"images": -(-images // IMAGES_A_SHARD), "pairs": -(-pairs // PAIRS_A_SHARD)},
    }
    demo = yaml.safe_load((REPOSITORY / "config" / "demo.yaml").read_text("utf-8"))
    (folder / "large.yaml").write_text(yaml.safe_dump(demo | overlay))


def dry_run(folder: Path) -> dict:
    """Seconds, those of the processor, peak memory and number of jobs of a dry run."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "snakemake",
        "--snakefile",
        str(REPOSITORY / "workflow" / "Snakefile"),
    ]
    command += ["--configfile", "large.yaml", "--cores", "2", "--dry-run", "--quiet", "rules"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - started, os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    jobs = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("total"))
    gibibytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    measured = {"jobs": int(jobs), "seconds": round(seconds, 1), "processor_s": round(busy, 1)}
    return measured | {"peak_gib": round(gibibytes, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "sizes", nargs="+", help="images:pairs, the smallest first, since peaks are of all so far"
    )
    arguments = parser.parse_args()
    rows = []
    for size in arguments.sizes:
        images, pairs = map(int, size.split(":"))
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder) / "project"
            write_project(project, images, pairs)
            measured = dry_run(project)
        facts = {
            "hardware": hardware("cpu"),
            "snakemake": software().get("snakemake"),
            "git_commit": git_commit(),
        }
        rows.append({"images": images, "pairs": pairs} | measured | facts)
        print(rows[-1], flush=True)
    with arguments.output.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
