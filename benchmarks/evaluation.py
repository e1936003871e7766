"""Processor time of the measures of a registered pair, by this checkout and by another one in turn.

python benchmarks/evaluation.py CONFIG.yaml RESULTS METHOD MOVING FIXED OUTPUT.csv [--beside CHECKOUT] [--repetitions 3]

RESULTS is a cohort's folder in which METHOD has registered the pair. Each time in a new process, on one thread: first
what a job of one pair takes, imports included, then what each further pair does.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve()


def measure(results: str, method: str, moving: str, fixed: str, structures: str) -> None:
    """Measure the pair twice in this process, and print seconds and measures."""
    from cohortreg.jobs.evaluate import measure_pair
    from cohortreg.layout import Layout

    found, seconds = {}, [0.0]
    for _ in range(2):
        found = measure_pair(Layout(Path(results)), method, moving, fixed, json.loads(structures))
        seconds.append(time.process_time())
    print(json.dumps({"first_s": seconds[1], "further_s": seconds[2] - seconds[1], **found}))


def main() -> None:
    from cohortreg.config.files import merged
    from cohortreg.files import whole
    from cohortreg.methods.registry import read
    from cohortreg.provenance import hardware

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("config", "results", "method", "moving", "fixed"):
        parser.add_argument(name)
    parser.add_argument("output", type=Path)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    pair = [given.results, given.method, given.moving, given.fixed]
    structures = json.dumps(read(merged(Path(given.config))).structures)
    rows = []
    for _ in range(given.repetitions):
        for name, checkout in (("this", HERE.parents[1]), ("beside", given.beside)):
            if not checkout:
                continue
            environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, HERE, "--measure", *pair, structures]
            said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            row = {"checkout": name, **json.loads(said.splitlines()[-1]), "hardware": hardware("cpu", 1)}
            rows.append(row)
            print(*list(row.values())[:3], flush=True)
    with whole(given.output) as beside:
        pd.DataFrame(rows).to_csv(beside, index=False)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        main()
