"""How many jobs a large cohort is, as the benchmark of the graph plans it."""

import csv
import subprocess
import sys

from projects import REPOSITORY


def test_jobs_follow_from_shards(tmp_path):
    """5,000 images in 5 shards and 10,000 pairs in 5 shards, with the demo's model and six methods."""
    output = tmp_path / "graph.csv"
    script = REPOSITORY / "benchmarks" / "graph.py"
    run = subprocess.run([sys.executable, script, output, "5000:10000"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (row,) = csv.DictReader(output.open())
    preprocess, cohort, train, register, evaluate = 5, 1, 2, 6 * 5, 6 * 5
    shown = len(["tables", "figures", "report", "all"])
    assert int(row["jobs"]) == preprocess + cohort + train + register + evaluate + shown
