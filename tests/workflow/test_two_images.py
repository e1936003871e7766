"""A pair of a workflow, the same pair in Python and by `cohortreg register`: the same but for what results round."""

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from forkserver import command
from projects import CONFIGURATION

import cohortreg
from cohortreg.files import read_json
from cohortreg.layout import Layout
from cohortreg.maps.coded import margin
from cohortreg.maps.transforms import read_transform

GRID = CONFIGURATION["preprocess"]["grid"]
#: Measures that a registered pair has, too.
OF_MAPS = ("folds", "folds_percent", "inverse_consistency_voxels")


@pytest.fixture(scope="module")
def table(finished) -> pd.DataFrame:
    """A row for each method and pair."""
    return pd.read_csv(finished.results / "tables" / "pairs.csv").set_index(["method", "moving", "fixed"])


@pytest.mark.parametrize("row", ["affine", "icon-3step"])
def test_python_and_the_shell_give_a_workflow_s_row(finished, table, tmp_path, row):
    images = pd.read_csv(finished.folder / "tables" / "images.tsv", sep="\t").set_index("image_id")
    moving, fixed = table.loc[row].index[0]
    raw = [finished.folder / "raw" / images["image"][name] for name in (moving, fixed)]
    labels = [finished.folder / "raw" / images["label"][name] for name in (moving, fixed)]
    sides = [images["side"][name] for name in (moving, fixed)]
    folder = Layout(finished.results).stage("icon", 2)
    chosen = {"method": row, "grid": GRID} if row == "affine" else {"model": folder}
    found = cohortreg.register(*raw, threads=1, moving_side=sides[0], fixed_side=sides[1], **chosen)

    # Of the map as results keep it, rounded.
    of_workflow = read_json(Layout(finished.results).evaluated_pair(row, moving, fixed))["measures"]
    measured = {name: getattr(found.quality, name) for name in OF_MAPS}
    assert measured == pytest.approx({name: of_workflow[name] for name in measured}, rel=0, abs=1e-3)
    measured = cohortreg.measure(found.forward, *labels, CONFIGURATION["structures"])
    # And an affine map goes on beyond the field that the workflow measures, which keeps its border's value.
    assert measured == pytest.approx({name: of_workflow[name] for name in measured}, rel=0, abs=1e-3)
    assert len(measured) > 5

    exported = command("export", finished.results, "--method", row, "--output", tmp_path / "exported")
    assert exported.returncode == 0, exported.stderr
    found.save(tmp_path / "python.nii.gz")
    model = ["--model", row, "--grid", *GRID] if row == "affine" else ["--model", folder]
    options = [*model, "--moving-side", sides[0], "--fixed-side", sides[1], "--threads", 1]
    done = command("register", *raw, *options, "--transform-out", tmp_path / "shell.nii.gz")
    assert done.returncode == 0, done.stderr
    python, shell = (read_transform(tmp_path / name) for name in ("python.nii.gz", "shell.nii.gz"))
    np.testing.assert_array_equal(python.displacement, shell.displacement)
    workflow = read_transform(tmp_path / "exported" / f"{moving}_to_{fixed}.nii.gz")
    off = margin(python.grid.shape) * python.grid.spacing.max()
    np.testing.assert_allclose(python.displacement, workflow.displacement, rtol=1e-6, atol=3**0.5 * off)


def test_an_affine_row_is_exported_as_twelve_numbers(finished, tmp_path):
    for kind in ("h5", "tfm"):
        done = command(
            "export", finished.results, "--method", "affine", "--output", tmp_path, "--format", kind
        )
        assert done.returncode == 0, done.stderr
        for path in tmp_path.glob(f"*.{kind}"):
            assert sitk.ReadTransform(str(path)).GetName() == "AffineTransform"
