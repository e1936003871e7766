"""Weights under the published names, through the importer, beside the authors' package itself."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "icon_published.py"


@pytest.mark.parametrize("which", ["icon", "gradicon"])
def test_weights_under_the_published_names_give_the_maps_of_the_authors_package(which, tmp_path):
    table = tmp_path / "table.csv"
    command = [sys.executable, SCRIPT, "--model", which, "--output", table]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (row,) = csv.DictReader(table.open())
    assert float(row["voxels_moved"]) > 1
    assert float(row["voxels_apart_forward"]) < 1e-3
    assert float(row["voxels_apart_inverse"]) < 1e-3
