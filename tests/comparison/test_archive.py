"""What `make archive` packs of the comparison."""

import io
import subprocess
import tarfile
from pathlib import Path

import pandas as pd
import yaml

REPOSITORY = Path(__file__).parents[2]


def test_a_reader_gets_what_a_rerun_needs():
    subprocess.run(["make", "archive", "COHORT=comparison"], cwd=REPOSITORY, check=True, capture_output=True)
    with tarfile.open(REPOSITORY / "build" / "comparison.tar.gz") as archive:
        names = set(archive.getnames())
        results = "comparison/results/comparison"
        table = archive.extractfile(f"{results}/tables/methods.csv").read()
        versions = archive.extractfile(f"{results}/versions.txt").read().decode()
    config = yaml.safe_load((REPOSITORY / "config" / "comparison.yaml").read_text("utf-8"))
    assert pd.read_csv(io.BytesIO(table))["method"].tolist() == config["methods"]
    assert "torch==2.13.0" in versions
    needed = {"Makefile", "constraints.txt", "config/comparison.yaml", "workflow/Snakefile"}
    assert {f"comparison/{path}" for path in needed} < names
    for model in config["models"]:
        assert f"{results}/models/{model}/stage-1/weights.safetensors" in names
        assert f"{results}/models/{model}/stage-1/model.json" in names
    assert f"{results}/report/index.html" in names and any(f"{results}/provenance/" in name for name in names)
    left_out = ("/checkpoints/", f"{results}/images/", f"{results}/transforms/")
    assert not [name for name in names if any(part in name for part in left_out)]
