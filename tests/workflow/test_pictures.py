"""A real Snakemake run on 2D images: handwritten digits in several formats, from raw files to the report."""

import itertools

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml
from projects import CONFIGURATION, Project

from cohortreg.evaluation.overlap import dice
from cohortreg.files import read_json
from cohortreg.images.io import read_image
from cohortreg.jobs.comparison import OnDisk
from cohortreg.layout import Layout
from cohortreg.maps.exchange import read
from cohortreg.paper.data import read_fives
from cohortreg.report.figures.pair_panels import read_pair
from cohortreg.report.figures.registry import FIGURES
from cohortreg.report_layout import FIGURE_SUFFIXES

METHODS = ["identity", "affine", "demons", "icon-3step"]
TRAINING, TESTED = 4, 3


def write_digit(folder, name: str, suffix: str, pixels: np.ndarray) -> None:
    """A digit [rows, columns] of 0 to 255 and its label, with a geometry of its own where the format has one."""
    for kind, array in (("image", pixels), ("label", (pixels > 127).astype(np.uint8))):
        image = sitk.GetImageFromArray(array)
        if suffix != "png":
            c, s = np.cos(0.2), np.sin(0.2)
            image.SetSpacing([0.8, 0.7])
            image.SetOrigin([12, -30])
            image.SetDirection([c, -s, s, c])
        sitk.WriteImage(image, str(folder / f"{name}_{kind}.{suffix}"))


@pytest.fixture(scope="module")
def pictures(mnist, tmp_path_factory) -> Project:
    """The finished project of digits, 32 pixels wide and 28 high."""
    folder = tmp_path_factory.mktemp("pictures")
    changed = {
        "preprocess": {"grid": [36, 32], "fit": "pad", "mirror": "none", "percentiles": [0, 100]},
        "structures": {"stroke": [1]},
        "methods": METHODS,
        "method_settings": {"demons": {"iterations": [20, 10]}},
        "shards": {"images": 1, "pairs": 1},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIGURATION | changed))
    for part in ("raw", "tables"):
        (folder / part).mkdir()
    digits = (read_fives(mnist, "train")[: TRAINING + TESTED] * 255).astype(np.uint8)
    digits = np.pad(digits, [(0, 0), (0, 0), (2, 2)])
    rows = ["image_id\tsubject_id\tside\tsplit\timage\tlabel"]
    for number, (pixels, suffix) in enumerate(zip(digits, itertools.cycle(("png", "nii.gz", "mha")))):
        name, split = f"d{number}", "train" if number < TRAINING else "test"
        write_digit(folder / "raw", name, suffix, pixels)
        rows.append(f"{name}\t{name}\t\t{split}\t{name}_image.{suffix}\t{name}_label.{suffix}")
    (folder / "tables" / "images.tsv").write_text("\n".join(rows) + "\n")
    (folder / "tables" / "pairs.tsv").write_text("moving\tfixed\nd4\td5\nd5\td6\nd6\td4\n")
    project = Project(folder)
    run = project.snakemake()
    assert run.returncode == 0, run.stdout
    return project


def raw(project: Project, name: str, kind: str) -> sitk.Image:
    """A raw file as SimpleITK reads it."""
    (path,) = (project.folder / "raw").glob(f"{name}_{kind}.*")
    return sitk.ReadImage(str(path), sitk.sitkFloat32)


def warped(layout: Layout, row, moving: sitk.Image, fixed: sitk.Image) -> np.ndarray:
    """What SimpleITK makes of an image and the transform of a row of tables/pairs.csv, [rows, columns]."""
    transform = read(layout.forward(row.method, row.moving, row.fixed)).transform
    return sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -1.0))


def test_2d_images_go_from_raw_files_to_the_report(pictures):
    layout = Layout(pictures.results)
    pairs = pd.read_csv(layout.pairs_table)
    assert pairs.groupby("method", sort=False).size().to_dict() == dict.fromkeys(METHODS, 3)
    assert pairs["failure"].isna().all()
    assert read_image(layout.image("d4")).shape == (36, 32)
    assert pairs["hd95_mean"].notna().all()
    dices = pairs.groupby("method")["dice_mean"].mean()
    assert dices["demons"] > dices["affine"] > dices["identity"]
    assert (pairs.loc[pairs["method"] == "identity", "folds"] == 0).all()
    for name, suffix in itertools.product(FIGURES, FIGURE_SUFFIXES):
        assert layout.figure(name, suffix).stat().st_size > 0
    assert "icon-3step" in layout.report.index.read_text(encoding="utf-8")


def test_simpleitk_warps_raw_pictures_with_the_transforms_as_we_do(pictures):
    layout = Layout(pictures.results)
    for row in pd.read_csv(layout.pairs_table).itertuples():
        fixed = sitk.ReadImage(str(layout.image(row.fixed)))
        theirs = warped(layout, row, raw(pictures, row.moving, "image"), fixed).T
        low, high = read_json(layout.sidecar(row.moving))["percentiles"].values()
        ours = read_pair(OnDisk(layout), row.method, row.moving, row.fixed).warped * (high - low) + low
        inside = theirs >= 0
        assert inside.mean() > 0.3
        np.testing.assert_allclose(ours[inside], theirs[inside], atol=0.1)
        label = sitk.ReadImage(str(layout.label(row.fixed)))
        masks = warped(layout, row, raw(pictures, row.moving, "label"), label) >= 0.5
        assert dice(masks, sitk.GetArrayFromImage(label) > 0) == pytest.approx(row.dice_mean, abs=1e-5)
