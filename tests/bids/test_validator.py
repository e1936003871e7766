"""Derivatives of a cohort as the validator of BIDS sees them, which `make test-bids` installs."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cohorts import IDS, make_results
from forkserver import command

from cohortreg.cohort.tables import write_table
from cohortreg.digests import digest_file
from cohortreg.files import write_json
from cohortreg.images.io import read_image, read_label, write_image

VALIDATOR = Path(__file__).parents[2] / "build" / "bids" / "bin" / "bids-validator-deno"


def validate(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([VALIDATOR, folder], capture_output=True, text=True)


@pytest.fixture
def derivatives(tmp_path) -> Path:
    raw = tmp_path / "raw"
    layout, _ = make_results(tmp_path / "results")
    names = dict(zip(IDS, ("sub-s1_ses-1_T1w.nii.gz", "sub-s2_T1w.nii.gz", "knee.nii.gz"), strict=True))
    write_table(layout.images, pd.DataFrame({"image_id": IDS, "subject_id": ["s1", "s2", "s3"]}))
    for image_id in IDS:
        image = read_image(layout.image(image_id))
        record = {"source_shape": image.shape, "source_affine": image.affine.tolist()}
        write_image(raw / names[image_id], image)
        write_image(raw / f"label_{names[image_id]}", read_label(layout.label(image_id)))
        for kind, name in (("image", names[image_id]), ("label", f"label_{names[image_id]}")):
            record |= {kind: name, f"{kind}_sha256": digest_file(raw / name)}
        write_json(layout.sidecar(image_id), record | {"to_source": np.eye(4).tolist()})
    options = ("--bids", tmp_path / "derivatives", "--warped", "--labels", "--suffix", "PDw", "--root", raw)
    done = command("export", layout.root, "--method", "affine", *options)
    assert done.returncode == 0, done.stderr
    return tmp_path / "derivatives"


def test_the_validator_passes(derivatives):
    passed = validate(derivatives)
    assert passed.returncode == 0, passed.stdout
    assert "ERROR" not in passed.stdout
    assert (
        len([*derivatives.rglob("*_space-*")]) == 24
    )  # image and label, each with what is said of it, of six directions


def test_the_validator_sees_what_is_wrong(derivatives):
    (derivatives / ".bidsignore").unlink()
    assert "NOT_INCLUDED" in validate(derivatives).stdout
    (derivatives / "dataset_description.json").write_text("{}")
    assert validate(derivatives).returncode != 0
