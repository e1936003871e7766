"""What a job that registers a shard costs beside registering: wall time of the command over the time of its pairs.

python benchmarks/shard_overhead.py OUTPUT.csv RESULTS METHOD...

RESULTS is the folder of a cohort that was run with one shard of pairs. Transforms of the methods are made anew.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from cohortreg.layout import Layout
from cohortreg.provenance import git_commit, hardware, software

TRAINING = {"training": {"accelerator": "auto", "precision": "bf16-mixed"}}


def measure(layout: Layout, method: str, threads: int) -> dict:
    """Seconds of the command, and of the pairs in it."""
    shutil.rmtree(layout.root / "transforms" / method, ignore_errors=True)
    command = [sys.executable, "-c", "from cohortreg.cli import main; main()", "register-shard", layout.root]
    command += ["--method", method, "--settings", json.dumps(TRAINING), "--threads", str(threads)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall = time.perf_counter() - started
    pairs = pd.read_csv(layout.registered_shard(method, 0))
    pure = pairs["time_s"].sum()
    return {
        "method": method,
        "pairs": len(pairs),
        "seconds": round(wall, 2),
        "seconds_of_pairs": round(pure, 2),
        "ratio": round(wall / pure, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("methods", nargs="+")
    given = parser.parse_args()
    layout, threads = Layout(given.results), os.cpu_count()
    cohort = json.loads(layout.cohort.read_text("utf-8"))["name"]
    facts = {
        "hardware": hardware(),
        "threads": threads,
        "torch": software()["torch"],
        "git_commit": git_commit(),
    }
    rows = []
    for method in given.methods:
        rows.append({"cohort": cohort} | measure(layout, method, threads) | facts)
        print(rows[-1])
    with given.output.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
