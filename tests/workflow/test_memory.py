"""What a pair of OAI's size takes on a processor, as the benchmark of memory measures it."""

import csv
import subprocess
import sys

import nibabel
import pandas as pd
from projects import REPOSITORY

from cohortreg.layout import Layout
from cohortreg.maps.coded import read_coded

LIMIT = 6  # GiB


def test_every_command_stays_below_6_gib(oai_labels, tmp_path):
    """Scans of real anatomy, 160x384x384; 80x192x192 preprocessed; four steps of the paper's network in float32."""
    output, folder = tmp_path / "memory.csv", tmp_path / "run"
    script = REPOSITORY / "benchmarks" / "memory.py"
    run = subprocess.run([sys.executable, script, output, oai_labels, folder], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    peaks = {row["work"]: float(row["peak_gib"]) for row in csv.DictReader(output.open())}
    assert {"preprocess", "register", "evaluate", "export"} < set(peaks)
    assert all(0 < peak < LIMIT for peak in peaks.values()), peaks
    # It did all of that, at these sizes.
    layout = Layout(folder / "results")
    (row,) = pd.read_csv(layout.evaluated_shard("icon-4step", 0)).to_dict("records")
    assert 0 < row["dice_mean"] < 1 and row["hd95_mean"] > 0 and row["inverse_consistency_voxels"] > 0
    assert nibabel.load(layout.label(row["moving"])).shape == (160, 384, 384)
    for transform in (layout.forward, layout.inverse):
        path = transform("icon-4step", row["moving"], row["fixed"])
        assert read_coded(path).grid.shape == (80, 192, 192)
    assert len(list((folder / "exported").iterdir())) == 2
