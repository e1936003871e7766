"""The Python of docs/python.md, and what was promised of `import cohortreg`, as written, on two hippocampi."""

import shutil

import matplotlib.figure
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from pages import blocks
from projects import REPOSITORY
from typed import build_registration

import cohortreg
from cohortreg.files import write_json
from cohortreg.learning import weights
from cohortreg.model_files import CARD, WEIGHTS

PROMISED = """\
import cohortreg as cr

found = cr.register("moving.nii.gz", "fixed.nii.gz")            # the default needs no training; model=, method= choose others
found.forward, found.inverse      # SimpleITK transforms, fixed -> moving and back, LPS
found.warped                      # the moving image on the fixed grid; .to_sitk(), .to_nibabel(), .array
found.quality                     # similarity before and after, folds, inverse-consistency error
found.save("a_to_b.h5")
cr.warp(label, found.forward, like="fixed.nii.gz", label=True)
cr.measure(found.forward, moving_label, fixed_label, {"cartilage": [2, 4]})
knees = cr.load("models/knees", device="cuda")                  # once, then many pairs
cr.plot(found)                    # the figure of a pair: moving, fixed, warped, grid
"""  # noqa: E501

NETWORK = {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]}
STAGES = [{"steps": 1, "downsample": 1}]


@pytest.fixture
def folder(tmp_path, hippocampus, monkeypatch):
    """Where the code runs: the files that it names, of two people, and a model's folder."""
    names = [path.name for path in sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[:2]]
    for name, copies in zip(names, (("moving", "a", "b"), ("fixed",)), strict=True):
        for copy in copies:
            shutil.copyfile(hippocampus / "imagesTr" / name, tmp_path / f"{copy}.nii.gz")
        shutil.copyfile(hippocampus / "labelsTr" / name, tmp_path / f"{copies[0]}_label.nii.gz")
    registration, _ = build_registration(NETWORK, STAGES, [16, 16, 16])
    model = tmp_path / "models" / "knees"
    saved = weights.save(model / WEIGHTS, registration.state_dict())
    card = {"model": "knees", "network": NETWORK, "stages": STAGES, "similarity": "mse", "grid": [16, 16, 16]}
    write_json(model / CARD, card | {"weights_sha256": saved, "preprocess": {"grid": [16, 16, 16]}})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text: str, names: dict) -> None:
    """Run code as it stands, on a GPU where there is one."""
    exec(text if torch.cuda.is_available() else text.replace('device="cuda"', 'device="cpu"'), names)


def test_what_was_promised(folder):
    names = {"label": "moving_label.nii.gz", "moving_label": "moving_label.nii.gz"}
    names["fixed_label"] = "fixed_label.nii.gz"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run(PROMISED, names)
    found, knees = names["found"], names["knees"]
    assert found.quality.similarity_after > found.quality.similarity_before
    moving, fixed = (sitk.ReadImage(f"{name}.nii.gz", sitk.sitkFloat32) for name in ("moving", "fixed"))
    theirs = sitk.Resample(moving, fixed, sitk.ReadTransform("a_to_b.h5"), sitk.sitkLinear)
    np.testing.assert_allclose(found.warped.array, sitk.GetArrayFromImage(theirs).T, atol=1e-2)
    assert cohortreg.register("moving.nii.gz", "fixed.nii.gz", model=knees).inverse is not None
    written = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert written.pop(folder / "a_to_b.h5") and written == before


def test_the_page(folder):
    names: dict = {}
    first, labels, models, files = (
        block.text for block in blocks(REPOSITORY / "docs" / "python.md") if block.language == "python"
    )
    run(first, names)
    for text in (labels, models):
        run(text, names)
    cohortreg.register("moving.nii.gz", "fixed.nii.gz", method="identity").save("a_to_b.nii.gz")
    cohortreg.register("fixed.nii.gz", "moving.nii.gz", method="affine").save("b_to_c.nii.gz")
    run(files, names)
    made = {"a_on_b.nii.gz", "a_to_b.png", "a_to_fixed.h5", "b_to_fixed.h5", "a_to_b.h5"}
    assert made <= {path.name for path in folder.iterdir()}
    assert isinstance(cohortreg.plot(names["found"]), matplotlib.figure.Figure)
    for name in ("a_to_c", "back"):
        assert np.isfinite(names[name].TransformPoint((1.0, 2.0, 3.0))).all()
    assert len(np.unique(names["label"].array)) == 3
