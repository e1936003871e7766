"""From DICOM, MetaImage and NIfTI files of left and right knees to transforms that other programs apply to them."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml
from forkserver import command
from projects import Project
from series import packed, rotation, write_series
from warping import by_ants, by_niftyreg, by_simpleitk

from cohortreg.images.io import Image, read_image, write_image
from cohortreg.images.itk import to_sitk
from cohortreg.layout import Layout
from cohortreg.methods.programs import niftyreg
from cohortreg.phantoms.anatomy import anatomy
from cohortreg.phantoms.dess import dess

KNEES = [
    (9000001, "left", "folder"),
    (9000002, "right", "archive"),
    (9000003, "left", "mha"),
    (9000004, "right", "nifti"),
]
TURNS = [(0.1, -0.2), (0.0, 0.0), (-0.15, 0.1), (0.05, 0.2)]
CONFIGURATION = {
    "cohort": "tiny",
    "images": "tables/images.tsv",
    "pairs": "tables/pairs.tsv",
    "root": "archive",
    "phantom": None,
    "preprocess": {"grid": [20, 36, 40], "mirror": "left"},
    "structures": {"femoral_cartilage": [2]},
    "models": {},
    "methods": ["affine", "demons"],
    "report": {"reference": "affine"},
}


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """A project with the tables that `import oai` made of four scans, left and right, and their pairs registered."""
    folder = tmp_path_factory.mktemp("knees")
    for (subject, side, kind), turn in zip(KNEES, TURNS, strict=True):
        label = anatomy(1, str(subject), side, (26, 44, 48), (4.2, 3.2, 2.9))
        scan = to_sitk(np.maximum(dess(label, 1, str(subject)).array, 0), label.grid)
        # As a scanner would have it: other axes first, turned in space.
        scan = sitk.Cast(sitk.DICOMOrient(scan, "PIR"), sitk.sitkInt16)
        scan.SetDirection((rotation(*turn) @ np.reshape(scan.GetDirection(), (3, 3))).flatten().tolist())
        name = f"SAG_3D_DESS_{side.upper()}"
        series = folder / "archive" / "0.C.2" / str(subject) / "20040909" / f"1000{subject}"
        tags = {
            "0008|103e": name,
            "0010|0020": str(subject),
            "0008|0020": "20040909",
            "0010|0010": "Jane Doe",
        }
        if kind in ("folder", "archive"):
            write_series(series, scan, flipped=kind == "archive", **tags)
            if kind == "archive":
                packed(series)
                for path in series.iterdir():
                    path.unlink()
                series.rmdir()
        else:
            suffix = {"mha": "mha", "nifti": "nii.gz"}[kind]
            path = folder / "archive" / f"{subject}_20040909_{name}_016610{subject % 10**6:06}_image.{suffix}"
            sitk.WriteImage(scan, str(path))
    made = command(
        *("import", "oai", folder / "archive", "--output", folder / "tables"),
        *("--test-fraction", "1", "--pairs", "4", "--seed", "1"),
    )
    assert made.returncode == 0, made.stderr
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    project = Project(folder)
    shards = [Layout("results/tiny").registered_shard(method, 0) for method in CONFIGURATION["methods"]]
    run = project.snakemake(*map(str, shards))
    assert run.returncode == 0, run.stdout
    return project


def core_of(path):
    """An image of ones but for its outer layers: at the border each program has its own idea of an image."""
    image = read_image(path)
    core = np.zeros(image.shape, np.float32)
    core[1:-1, 1:-1, 1:-1] = 1
    write_image(path.with_name("core.nii.gz"), Image(core, image.affine))
    return path.with_name("core.nii.gz")


def test_tables_of_the_archive(knees):
    images = pd.read_csv(knees.folder / "tables" / "images.tsv", sep="\t", dtype=str)
    assert images["image_id"].tolist() == [f"{subject}_20040909_{side}" for subject, side, _ in KNEES]
    assert "Jane" not in (knees.folder / "tables" / "images.tsv").read_text()


@pytest.mark.parametrize("method", ["affine", "demons"])
def test_every_program_warps_the_scanner_s_files_alike(knees, method, tmp_path):
    images = pd.read_csv(knees.folder / "tables" / "images.tsv", sep="\t", dtype=str).set_index("image_id")
    pairs = pd.read_csv(knees.folder / "tables" / "pairs.tsv", sep="\t", dtype=str)
    sides = set()
    for kind in ("nii.gz", "h5"):
        out = command("export", knees.results, "--method", method, "--output", tmp_path, "--format", kind)
        assert out.returncode == 0, out.stderr
    for moving, fixed in pairs[["moving", "fixed"]].itertuples(index=False):
        sides.add((images["side"][moving], images["side"][fixed]))
        raw = [knees.folder / "archive" / images["image"][image] for image in (moving, fixed)]
        # Our command reads the scanner's files; other programs get them as NIfTI, since not all read the others.
        files = [tmp_path / f"{image}.nii.gz" for image in (moving, fixed)]
        for path, file in zip(raw, files, strict=True):
            write_image(file, read_image(path))
        field, composite = (tmp_path / f"{moving}_to_{fixed}.{kind}" for kind in ("nii.gz", "h5"))
        applied = command("apply", field, raw[0], tmp_path / "ours.nii.gz")
        assert applied.returncode == 0, applied.stderr
        applied = command("apply", composite, raw[0], tmp_path / "too.nii.gz", "--reference", raw[1])
        assert applied.returncode == 0, applied.stderr
        ours = read_image(tmp_path / "ours.nii.gz").array
        assert ours.std() > 20  # there is a knee
        expected = {"composite": read_image(tmp_path / "too.nii.gz").array}
        expected["SimpleITK"] = by_simpleitk(*files, field)
        expected["SimpleITK, composite"] = by_simpleitk(*files, composite)
        if find_spec("ants"):
            expected["ANTs"] = by_ants(*files, field)
            expected["ANTs, composite"] = by_ants(*files, composite)
        if niftyreg(None):
            expected["NiftyReg"] = by_niftyreg(*files, field)
        inside = by_simpleitk(core_of(files[0]), files[1], field) > 0.999
        assert inside.mean() > 0.3
        for name, theirs in expected.items():
            # Grey values go to 700; a field between voxels is not quite what the composite interpolates.
            np.testing.assert_allclose(
                theirs[inside], ours[inside], atol=3, err_msg=f"{name}, {moving} {fixed}"
            )
            if "composite" not in name:
                np.testing.assert_allclose(theirs[inside], ours[inside], atol=0.1, err_msg=name)
    assert ("left", "right") in sides or ("right", "left") in sides


def test_left_and_right_knees_are_matched(knees, tmp_path):
    """What comes from a left knee onto a right one looks like it."""
    images = pd.read_csv(knees.folder / "tables" / "images.tsv", sep="\t", dtype=str).set_index("image_id")
    pairs = pd.read_csv(knees.folder / "tables" / "pairs.tsv", sep="\t", dtype=str)[["moving", "fixed"]]
    crossed = [
        pair for pair in pairs.itertuples(index=False) if len({images["side"][image] for image in pair}) == 2
    ]
    moving, fixed = crossed[0]
    made = command("export", knees.results, "--method", "demons", "--output", tmp_path, "--moving", moving)
    assert made.returncode == 0, made.stderr
    raw = [knees.folder / "archive" / images["image"][image] for image in (moving, fixed)]
    field = tmp_path / f"{moving}_to_{fixed}.nii.gz"
    command("apply", field, raw[0], tmp_path / "warped.nii.gz")
    warped, there = read_image(tmp_path / "warped.nii.gz").array, read_image(raw[1]).array
    assert np.corrcoef(warped.ravel(), there.ravel())[0, 1] > 0.75
    said = command("jacobian", field, tmp_path / "jacobian.nii.gz")
    assert "the transform mirrors" in said.stdout
