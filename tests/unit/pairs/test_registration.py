"""Two raw images, in Python and by `cohortreg register`, as the authors' command line has it and as ours."""

import json
import re
from dataclasses import replace

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
import typed
from forkserver import command, refused
from scipy import ndimage

import cohortreg
from cohortreg.cli import commands as registered  # noqa: F401  (registers every command)
from cohortreg.errors import UserError
from cohortreg.files import write_json
from cohortreg.images.geometry import mirrored
from cohortreg.images.io import Image, read_image, write_image
from cohortreg.jobs.register import register_shard
from cohortreg.layout import Layout
from cohortreg.learning.data import pack
from cohortreg.learning.devices import Device
from cohortreg.maps.coded import margin, read_coded
from cohortreg.maps.transforms import field_of
from cohortreg.methods.opening import open_method
from cohortreg.pairs.models import processor
from cohortreg.phantoms.anatomy import anatomy
from cohortreg.phantoms.dess import dess

GRID, SPACING = (20, 32, 36), (5.5, 4.4, 3.9)
MODEL = {
    "network": {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]},
    "similarity": "mse",
    "stages": [{"training_steps": 2, "batch_size": 1, "schedule": "constant"}],
}
PREPROCESS = {
    "grid": [16, 16, 16],
    "fit": "resample",
    "mirror": "left",
    "percentiles": [1, 99],
    "labels": "native",
}


def register(*arguments) -> str:
    """What the command said on standard error."""
    done = command("register", *arguments, "--threads", "1")
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """A left and a right knee, the right one of other voxels and lying elsewhere."""
    folder = tmp_path_factory.mktemp("knees")
    left = dess(anatomy(1, "a", "left", GRID, SPACING), 1, "a")
    right = dess(anatomy(1, "b", "right", (22, 30, 34), (5.0, 4.7, 4.1)), 1, "b")
    moved = right.affine.copy()
    moved[:3, 3] += [7, -12, 20]
    write_image(folder / "left.nii.gz", left)
    write_image(folder / "right.nii.gz", Image(right.array, moved))
    write_image(
        folder / "other.nii.gz", Image(mirrored(left).array, left.affine)
    )  # of the left knee, a right one
    write_image(folder / "none.nii.gz", Image(np.zeros(left.shape, np.uint8), left.affine))
    sitk.WriteImage(sitk.GetImageFromArray(left.array[:, :, 10].copy()), str(folder / "flat.mha"))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A trained model's folder; that it learnt next to nothing does not matter here."""
    layout = Layout(tmp_path_factory.mktemp("model"))
    random = np.random.default_rng(0)
    images = {f"image-{n}": random.random((16, 16, 16), np.float32) for n in range(3)}
    files = layout.packed("set"), layout.packed_index("set")
    pack(list(images), lambda name: (images[name], [[0, 16]] * 3), *files)
    training = {"training_set": "set", "images": 3, "start": None, "preprocess": PREPROCESS}
    write_json(layout.model_training("icon"), training)
    settings = {
        "model": typed.model(MODEL).plain(),
        "training": {"precision": "32-true", "accelerator": "cpu", "checkpoint_every": 5},
    }
    options = ["--model", "icon", "--stage", 1, "--settings", json.dumps(settings), "--threads", 1]
    done = command("train", layout.root, *options)
    assert done.returncode == 0, done.stderr
    return layout.stage("icon", 1)


def similarity(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def test_a_left_knee_onto_a_right_one(knees, tmp_path):
    images = [knees / "left.nii.gz", knees / "right.nii.gz"]
    sides = ["--moving-side", "left", "--fixed-side", "right"]
    outputs = {name: tmp_path / name for name in ("t.nii.gz", "i.h5", "w.nii.gz")}
    written = ["--transform-out", outputs["t.nii.gz"], "--inverse-out", outputs["i.h5"]]
    said = register(
        *images, "--model", "affine", *sides, *written, "--warped-moving-out", outputs["w.nii.gz"]
    )
    assert said == ""
    moving, fixed = (sitk.ReadImage(str(path)) for path in images)
    warped = read_image(outputs["w.nii.gz"])
    there = read_image(images[1])
    assert warped.shape == there.shape
    np.testing.assert_allclose(warped.affine, there.affine, atol=1e-5)
    assert similarity(warped.array, there.array) > 0.75
    field = sitk.ReadImage(str(outputs["t.nii.gz"]), sitk.sitkVectorFloat64)
    theirs = sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(field), sitk.sitkLinear)
    np.testing.assert_allclose(sitk.GetArrayFromImage(theirs).T, warped.array, atol=0.05)
    # There and back again, as the inverse of an affine map is.
    inverse = sitk.ReadTransform(str(outputs["i.h5"]))
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(outputs["t.nii.gz"]), sitk.sitkVectorFloat64))
    point = fixed.TransformContinuousIndexToPhysicalPoint([n / 2 for n in fixed.GetSize()])
    np.testing.assert_allclose(inverse.TransformPoint(field.TransformPoint(point)), point, atol=0.05)


def test_without_sides_nothing_is_mirrored(knees, tmp_path):
    warped = {}
    for name, sides in (("said", ["--moving-side", "left", "--fixed-side", "right"]), ("not said", [])):
        out = tmp_path / f"{name}.nii.gz"
        register(
            *("--moving", knees / "left.nii.gz", "--fixed", knees / "other.nii.gz", "--model", "affine"),
            *("--warped_moving_out", out, *sides),
        )
        warped[name] = similarity(read_image(out).array, read_image(knees / "other.nii.gz").array)
    assert warped["said"] > 0.99  # its own mirror image
    assert warped["not said"] < 0.97


def test_the_authors_options(knees, model, tmp_path):
    """Names as they have them; with instance optimisation and masks the result is another."""
    mask = tmp_path / "mask.nii.gz"
    image = read_image(knees / "left.nii.gz")
    write_image(mask, Image((np.indices(image.shape)[2] > 12).astype(np.uint8), image.affine))
    pair = ["--fixed", knees / "right.nii.gz", "--moving", knees / "left.nii.gz", "--model", model]
    results = {}
    for name, options in {
        "plain": ["--io_iterations", "None"],
        "optimised": ["--io_iterations", "3", "--io_sim", "lncc2"],
        "mean squares": ["--io_iterations", "3"],
        "masked": ["--moving_segmentation", mask],
    }.items():
        said = register(*pair, *options, "--transform_out", tmp_path / f"{name}.nii.gz")
        assert "left images are mirrored" in said
        assert ("made black, which counts" in said) == (name == "masked")
        field = sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"), sitk.sitkVectorFloat64)
        results[name] = sitk.GetArrayFromImage(field)
    others = [results[name] for name in ("optimised", "mean squares", "masked")]
    for one, other in [(results["plain"], each) for each in others] + [(others[0], others[1])]:
        assert np.abs(one - other).max() > 1e-4


def test_without_a_model_the_pair_is_fitted_and_it_is_said_what_was_achieved_and_what_to_open(
    knees, tmp_path
):
    """A knee onto another of other voxels that lies elsewhere; and back by the inverse."""
    files = {"--transform-out": "t.nii.gz", "--inverse-out": "i.nii.gz", "--warped-moving-out": "w.nii.gz"}
    options = [part for name, file in files.items() for part in (name, tmp_path / file)]
    done = command("register", knees / "other.nii.gz", knees / "right.nii.gz", *options, "--threads", "1")
    assert done.returncode == 0, done.stderr
    said = re.fullmatch(
        r"squared local correlation (0\.\d+) before and (0\.\d+) after, (\d+) folds \(.* %\), "
        r"inverse error (\d\.\d\d) voxels, \d+\.\d s",
        done.stdout.splitlines()[0],
    )
    assert done.stdout.splitlines()[-1].endswith(f"open it over {knees / 'right.nii.gz'}")
    before, after, folded, error = map(float, said.groups())
    assert after > before + 0.1 and folded < 50 and error < 0.5
    fixed, warped = (read_image(path) for path in (knees / "right.nii.gz", tmp_path / "w.nii.gz"))
    assert similarity(warped.array, fixed.array) > 0.9
    back = tmp_path / "back.nii.gz"
    assert command("apply", tmp_path / "i.nii.gz", tmp_path / "w.nii.gz", back).returncode == 0
    assert similarity(read_image(back).array, read_image(knees / "other.nii.gz").array) > 0.8


@pytest.mark.parametrize("start", ["MODEL", "affine"])
def test_fit_refines_what_a_model_or_a_method_found(knees, model, tmp_path, start):
    pair = [knees / "other.nii.gz", knees / "right.nii.gz", "--model", model if start == "MODEL" else start]
    options = ["--transform-out", tmp_path / "t.h5", "--inverse-out", tmp_path / "i.h5", "--threads", 1]
    after = {}
    for name, fitted in (("plain", []), ("fitted", ["--fit", "--settings", '{"steps": 0.5}'])):
        done = command("register", *pair, *options, *fitted)
        assert done.returncode == 0, done.stderr
        after[name] = float(re.search(r"and (0\.\d+) after", done.stdout)[1])
    assert after["fitted"] > after["plain"] + 0.1


def test_without_any_option_files_are_named_after_the_images_and_nothing_is_replaced(knees, tmp_path):
    call = "register", knees / "other.nii.gz", knees / "right.nii.gz", "--settings", '{"steps": 0.05}'
    done = command(*call, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    steps = re.fullmatch(r"(?:Registering with fit: (\d+) of (\d+)\.\n)+", done.stderr)  # the last of them
    assert steps and steps[1] == steps[2], done.stderr
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(written) == {"other_to_right.nii.gz", "other_on_right.nii.gz"}
    done = command(*call, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("cohortreg: other_to_right.nii.gz already exists; move it elsewhere")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written


def test_weights_in_their_folder_are_the_model(knees, model, tmp_path):
    pair = [knees / "left.nii.gz", knees / "right.nii.gz", "--moving-side", "left", "--fixed-side", "right"]
    register(*pair, "--model", model, "--transform-out", tmp_path / "one.nii.gz")
    register(*pair, "--model", model / "weights.safetensors", "--transform-out", tmp_path / "two.nii.gz")
    one, two = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"))) for name in ("one", "two")
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "afine", "--transform-out", "t.nii.gz"], "afine: no such method and no such file; give"),
        (
            ["--model", "affine", "--transform-out", "t.txt"],
            "unsupported extension; use .nii.gz (a displacement field)",
        ),
        (["--moving-mask", "none.nii.gz", "--transform-out", "t.h5"], "none.nii.gz: no such file; correct"),
        (
            ["--model", "demons", "--inverse-out", "t.h5"],
            "t.h5 cannot be written: the method computes no inverse",
        ),
        (["--model", "demons", "--transform-out", "t.mat"], ".mat holds affine transforms only"),
        (
            ["--grid", "10000", "10000", "10000", "--transform-out", "t.h5"],
            "not enough memory on this machine",
        ),
        (["--model", "affine", "--io-iterations", "5", "--transform-out", "t.h5"], "affine has no networks"),
        (
            ["--model", "affine", "--io-iterations", "-5", "--transform-out", "t.h5"],
            "must be a whole number or None",
        ),
        (
            ["--model", "affine", "--settings", '{"level": 2}', "--transform-out", "t.h5"],
            "did you mean levels?",
        ),
        (
            ["--model", "MODEL", "--io-iterations", "5", "--io-sim", "mind", "--transform-out", "t.h5"],
            "unknown similarity",
        ),
        (
            ["--model", "ABOVE", "--transform-out", "t.h5"],
            "has the stages of a model; name one of them, such as",
        ),
        (["--model", "RIGHT", "--transform-out", "t.h5"], "not a plain file of weights"),
        (
            ["--fit", "--transform-out", "t.h5"],
            "fit refines the result of another method; name one as the model",
        ),
        (
            ["--model", "demons", "--fit", "--transform-out", "t.h5"],
            "demons computes no inverse, but fit starts from",
        ),
        (
            ["--model", "MODEL", "--fit", "--io-iterations", "5", "--transform-out", "t.h5"],
            "fit and the optimisation of networks exclude each other",
        ),
        (
            ["--model", "MODEL", "--fit", "--settings", '{"step": 2}', "--transform-out", "t.h5"],
            "did you mean steps?",
        ),
        (
            ["--model", "affine", "--moving-mask", "RIGHT", "--transform-out", "t.h5"],
            "is not on the grid of its image",
        ),
        (["--model", "affine", "--moving-mask", "NONE", "--transform-out", "t.h5"], "is zero everywhere"),
        (
            ["--model", "affine", "--warped-moving-out", "t.png"],
            "unsupported extension; use .nii.gz, .nii, .mha or .nrrd",
        ),
        (
            ["--model", "affine", "--transform-out", "t.nii.gz", "--warped-moving-out", "t.nii.gz"],
            "t.nii.gz is named twice",
        ),
        (
            ["--model", "affine", "--transform-out", "t.H5"],
            "unsupported extension; use .nii.gz (a displacement field)",
        ),
        (["--model", "affine", "--grid", "16", "16", "0", "--transform-out", "t.h5"], "2 voxels or more"),
        (["--model", "affine", "--fixed", "FLAT", "--transform-out", "t.h5"], "the moving image is 3D"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(knees, model, tmp_path, options, sentence):
    places = {
        "RIGHT": knees / "right.nii.gz",
        "MODEL": model,
        "ABOVE": model.parent,
        "FLAT": knees / "flat.mha",
        "NONE": knees / "none.nii.gz",
    }
    given = [places.get(each, tmp_path / each if each.startswith("t.") else each) for each in options]
    fixed = [] if "FLAT" in options else ["--fixed", knees / "right.nii.gz"]
    assert sentence in refused("register", knees / "left.nii.gz", *fixed, *given)
    assert not list(tmp_path.iterdir())


def test_a_missing_image_is_one_sentence_about_the_file(tmp_path):
    said = refused(
        "register", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", "--transform-out", tmp_path / "t.h5"
    )
    assert said == f"cohortreg: {tmp_path / 'a.nii.gz'}: no such file; correct the path.\n"


def test_what_cannot_be_written_is_said_before_the_work(knees, tmp_path):
    """A registration of an hour would be lost."""
    (tmp_path / "folder.nrrd").mkdir()
    images = [knees / "left.nii.gz", tmp_path / "nothing"]
    for output in ("--transform-out", "--inverse-out"):
        said = refused("register", *images, "--model", "affine", output, knees / "left.nii.gz" / "t.h5")
        assert "is not a folder" in said
    said = refused("register", *images, "--model", "affine", "--warped-moving-out", tmp_path / "folder.nrrd")
    assert "is a folder" in said


def test_a_method_without_an_inverse_writes_the_rest(knees, tmp_path):
    outputs = ["--transform-out", tmp_path / "t.hdf5", "--warped_moving_out", tmp_path / "w.nrrd"]
    settings = ["--settings", '{"iterations": [1]}', "--grid", 16, 16, 16]
    images = [knees / "left.nii.gz", knees / "right.nii.gz"]
    register(*images, "--model", "demons", *settings, *outputs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.hdf5", "w.nrrd"]
    moving, fixed = (sitk.ReadImage(str(path)) for path in images)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "w.nrrd")))
    theirs = sitk.Resample(moving, fixed, sitk.ReadTransform(str(tmp_path / "t.hdf5")))
    np.testing.assert_allclose(ours, sitk.GetArrayFromImage(theirs), atol=1e-3)


def test_a_precision_that_there_is_not(knees, tmp_path):
    images = [knees / "left.nii.gz", knees / "right.nii.gz"]
    done = command(
        "register", *images, "--model", "affine", "--precision", "32", "--transform-out", tmp_path / "t.h5"
    )
    assert done.returncode == 2
    assert "32-true" in done.stderr


def test_what_comes_of_a_pair_in_python(pair, found, tmp_path):
    quality = found.quality
    assert 0 < quality.similarity_before < quality.similarity_after - 0.2
    assert quality.folds == 0 and quality.folds_percent == 0 and quality.inverse_consistency_voxels < 0.3
    assert repr(found) == f"<hippocampus_003 to hippocampus_004 by fit: {quality}>"
    fixed, moving = (sitk.ReadImage(str(pair[name])) for name in ("fixed", "moving"))
    theirs = sitk.Resample(sitk.Cast(moving, sitk.sitkFloat32), fixed, found.forward, sitk.sitkLinear)
    np.testing.assert_allclose(found.warped.array, sitk.GetArrayFromImage(theirs).T, atol=1e-2)
    assert found.warped.to_sitk().GetSize() == fixed.GetSize()
    np.testing.assert_array_equal(found.warped.to_nibabel().get_fdata(), found.warped.array)
    point = found.fixed.grid.points(np.array([15, 25, 17]))
    back = found.inverse.TransformPoint(found.forward.TransformPoint(point.tolist()))
    assert np.linalg.norm(back - point) < 1
    found.save(tmp_path / "f.h5", str(tmp_path / "i.nii.gz"), tmp_path / "w.nii.gz")
    read = sitk.ReadTransform(str(tmp_path / "f.h5"))
    assert read.TransformPoint(point.tolist()) == found.forward.TransformPoint(point.tolist())
    with pytest.raises(UserError, match="holds affine transforms only"):
        found.save(tmp_path / "f.mat")


def test_what_a_pair_is_worth_by_numpy_on_oblique_anisotropic_grids(pair):
    """Both images on grids of their own, one of them left-handed, against each number's definition."""
    turns = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.3, 0.4), sitk.Euler3DTransform((0, 0, 0), -0.3, 0.1, 0.2)
    images = []
    for name, turn, spacing, flip in zip(
        ("moving", "fixed"), turns, ((1.8, 2.0, 1.4), (1.3, 1.9, 2.2)), (-1.0, 1.0), strict=True
    ):
        raw = sitk.ReadImage(str(pair[name]), sitk.sitkFloat32)
        size = [round(n / step) for n, step in zip(raw.GetSize(), spacing, strict=True)]
        axes = np.reshape(turn.GetMatrix(), (3, 3)) @ np.diag([flip, 1, 1])
        middle = raw.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in raw.GetSize()])
        origin = middle - axes @ (np.array(spacing) * (np.array(size) - 1) / 2)
        where = size, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear, origin, spacing
        images.append(sitk.Resample(raw, *where, axes.flatten().tolist()))
    found = cohortreg.register(*images, settings={"steps": 0.2, "smoothness": 0.5}, threads=1)
    moving, fixed = (each.image for each in found.preprocessed)
    assert moving.shape == fixed.shape == images[1].GetSize() and not moving.grid.matches(fixed.grid)
    at = np.indices(fixed.shape).astype(float)

    def there(transform, source, target):
        """Voxels of an image where those of the other one lie in it."""
        points = source.grid.points(np.moveaxis(at, 0, -1)).reshape(-1, 3).tolist()
        moved = np.array([transform.TransformPoint(point) for point in points]).reshape(*source.shape, 3)
        return np.moveaxis(target.grid.indices(moved), -1, 0)

    def linear(values, index):
        return ndimage.map_coordinates(values.astype(float), index, order=1, mode="nearest")

    def similarity(one, other):
        weights = np.exp(-0.5 * (np.arange(-4, 5) / 2) ** 2)
        means = []
        for values in (one, other, one * one, other * other, one * other):
            for axis in range(3):
                values = ndimage.correlate1d(values, weights / weights.sum(), axis, mode="constant")
            means.append(values)
        a, b, aa, bb, ab = means
        return np.mean((ab - a * b) ** 2 / ((aa - a * a + 1e-5) * (bb - b * b + 1e-5)))

    forward, inverse = there(found.forward, fixed, moving), there(found.inverse, moving, fixed)
    target = fixed.array.astype(float)
    quality = found.quality
    np.testing.assert_allclose(
        quality.similarity_before, similarity(moving.array.astype(float), target), rtol=1e-3
    )
    np.testing.assert_allclose(
        quality.similarity_after, similarity(linear(moving.array, forward), target), rtol=1e-3
    )
    backward = [np.diff(forward, axis=axis + 1) for axis in range(3)]
    crop = [tuple(slice(None) if axis == n else slice(1, None) for axis in range(3)) for n in range(3)]
    jacobian = np.stack([values[:, *part] for values, part in zip(backward, crop, strict=True)], -1)
    determinant = np.linalg.det(np.moveaxis(jacobian, 0, -2))
    assert quality.folds == (determinant < 0).sum()
    assert quality.folds_percent == pytest.approx(100 * quality.folds / determinant.size)
    errors = []
    for one, other in ((forward, inverse), (inverse, forward)):
        back = one + np.stack([linear(component, one) for component in other - at])
        errors.append(np.linalg.norm(back - at, axis=0).mean())
    assert quality.inverse_consistency_voxels == pytest.approx(np.mean(errors), rel=1e-2)


def test_the_same_images_from_elsewhere_are_registered_alike_to_the_last_digit(pair, found):
    images = [nibabel.load(pair[name]) for name in ("moving", "fixed")]
    arrays = [(np.asanyarray(image.dataobj), image.affine) for image in images]
    by_itk = [sitk.ReadImage(str(pair[name])) for name in ("moving", "fixed")]
    for moving, fixed in (images, arrays, by_itk, (arrays[0], by_itk[1])):
        other = cohortreg.register(moving, fixed, threads=1)
        np.testing.assert_array_equal(other.displacement.displacement, found.displacement.displacement)
        assert replace(other.quality, seconds=0) == replace(found.quality, seconds=0)
    assert other.name == "moving to fixed by fit"


def test_the_shell_and_python_are_one(pair, found, tmp_path):
    names = "t.nii.gz", "i.h5", "w.nii.gz"
    ours, shell = tmp_path / "python", tmp_path / "shell"
    ours.mkdir(), shell.mkdir()
    found.save(*(ours / name for name in names))
    done = command(
        *("register", pair["moving"], pair["fixed"], "--threads", 1, "--transform-out", shell / names[0]),
        *("--inverse-out", shell / names[1], "--warped-moving-out", shell / names[2]),
    )
    assert done.returncode == 0, done.stderr
    # But for the seconds.
    assert done.stdout.splitlines()[0].rpartition(",")[0] == str(found.quality).rpartition(",")[0]
    for name in (names[0], names[2]):
        np.testing.assert_array_equal(*(nibabel.load(folder / name).get_fdata() for folder in (ours, shell)))
    one, two = (sitk.ReadTransform(str(folder / names[1])) for folder in (ours, shell))
    for point in found.moving.grid.points(np.random.default_rng(0).uniform(0, 30, (20, 3))).tolist():
        assert one.TransformPoint(point) == two.TransformPoint(point)


#: Few steps of what takes long, but enough to move the image.
FEW = {"demons": {"iterations": [5]}, "vsvf-opt": {"iterations": 2}}


@pytest.mark.parametrize("name", ["identity", "affine", "demons", "vsvf-opt", "icon"])
def test_of_each_model_the_shell_python_and_a_workflows_job_have_the_same_map(knees, model, tmp_path, name):
    source, given = model if name == "icon" else name, FEW.get(name)
    images = knees / "left.nii.gz", knees / "right.nii.gz"
    sides = {"moving_side": "left", "fixed_side": "right"} if name == "icon" else {}
    found = cohortreg.register(*images, model=source, settings=given, threads=1, device="cpu", **sides)
    options = ["--settings", json.dumps(given)] if given else []
    options += [part for key, side in sides.items() for part in (f"--{key.replace('_', '-')}", side)]
    register(*images, "--model", source, *options, "--transform-out", tmp_path / "shell.nii.gz")
    found.save(tmp_path / "python.nii.gz")
    fields = [nibabel.load(tmp_path / f"{way}.nii.gz").get_fdata() for way in ("shell", "python")]
    np.testing.assert_array_equal(*fields)
    layout = Layout(tmp_path / "results")
    for image_id, seen in zip("ab", found.preprocessed, strict=True):
        write_image(layout.image(image_id), seen.image)
        write_json(layout.sidecar(image_id), {"field_of_view": seen.image.field_of_view})
    pairs = pd.DataFrame({"moving": ["a"], "fixed": ["b"]})
    with processor(1):
        opened = open_method(source, given or {}, "", 1, 1, Device("cpu", "32-true"))
        register_shard(layout, name, opened, pairs, 0, "cpu", lambda reason: None)
    job = read_coded(layout.forward(name, "a", "b"))
    allowed = 3**0.5 * margin(job.grid.shape) * job.grid.spacing.max()  # which a job may round by
    np.testing.assert_allclose(job.displacement, found.displacement.displacement, atol=allowed)
    if name != "identity":
        assert np.ptp(job.displacement) > 0.01


@pytest.mark.parametrize("method", ["identity", "affine"])
def test_an_affine_map_is_an_affine_transform(pair, method, tmp_path):
    found = cohortreg.register(pair["moving"], pair["fixed"], method=method, threads=1)
    assert isinstance(found.forward, sitk.AffineTransform) and isinstance(found.inverse, sitk.AffineTransform)
    for name in ("t.mat", "t.tfm", "t.h5"):
        found.save(tmp_path / name)
        assert sitk.ReadTransform(str(tmp_path / name)).GetName() == "AffineTransform"
    # It says what the field says that the method computed.
    grid = found.preprocessed[1].image.grid
    np.testing.assert_allclose(
        field_of(found.forward, grid).displacement, found.displacement.displacement, atol=2e-3
    )


@pytest.mark.parametrize("options", [{"grid": [20, 20, 20]}, {"axes": "LPS"}])
def test_a_models_own_grid_and_axes_are_not_replaced(model, options):
    for source in (model, model / "weights.safetensors"):
        with pytest.raises(UserError, match="has a grid and axes of its own; leave grid and axes out"):
            cohortreg.load(source, **options)


def test_a_model_that_was_loaded_once(knees, model):
    ready = cohortreg.load(model, device="cpu", threads=1)
    assert repr(ready).startswith("Model(name=") and ready.mirror == "left"
    images = knees / "left.nii.gz", knees / "right.nii.gz"
    sides = {"moving_side": "left", "fixed_side": "right"}
    one, two = (
        cohortreg.register(*images, ready, **sides),
        cohortreg.register(*images, model, threads=1, **sides),
    )
    np.testing.assert_array_equal(one.displacement.displacement, two.displacement.displacement)
    unlike = cohortreg.register(*images, ready)
    assert np.abs(unlike.displacement.displacement - one.displacement.displacement).max() > 1e-3


def test_progress_is_told_step_by_step(pair):
    told = []
    cohortreg.register(
        *(pair["moving"], pair["fixed"]),
        settings={"steps": 0.1},
        threads=1,
        progress=lambda *step: told.append(step),
    )
    done, total = [step[0] for step in told], told[0][1]
    assert told[0] == (0, total, "(how the images lie)") and told[-1] == (total, total, "(what it achieved)")
    assert done == sorted(done) and {1, total} <= set(done)


def test_torch_is_left_as_it_was(pair):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        cohortreg.register(pair["moving"], pair["fixed"], method="identity", threads=1)
        assert torch.get_num_threads() == 2
        assert torch.tensor([1e-40]).item() * 1 != 0 and (torch.tensor([1e-40]) * 0.5).item() != 0
    finally:
        torch.set_num_threads(before)


FLAT = (np.random.default_rng(0).random((20, 24)), np.eye(3))
CUBE = (np.random.default_rng(0).random((12, 13, 14)), np.eye(4))


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((CUBE, FLAT), {}, "the moving image is 3D; what is registered here is 2D"),
        ((CUBE, FLAT), {"method": "affine", "grid": [12, 12, 12]}, "the fixed image is 2D"),
        ((CUBE[0], CUBE), {}, "the moving image is an array without a place in space"),
        ((CUBE, 3), {}, "the fixed image is of type int"),
        ((CUBE, CUBE, "fit", "affine"), {}, "give a model or a method, not both"),
        ((CUBE, CUBE, "afine"), {}, "afine: no such method and no such file"),
        (
            (CUBE, CUBE),
            {"method": "affine", "settings": {"level": 2}},
            "settings: level: .*did you mean levels?",
        ),
        ((CUBE, CUBE), {"moving_side": "port"}, "the side of the moving image is 'port'; give left or right"),
        ((CUBE, CUBE), {"grid": [4, 1, 4]}, "a grid of 4 x 1 x 4 voxels is too small"),
        ((CUBE, CUBE), {"grid": [8, 8, 8, 8]}, "settings: grid: .* is too long"),
        (
            (CUBE, CUBE),
            {"fixed_mask": (np.zeros(CUBE[0].shape), np.eye(4))},
            "mask of the fixed image is zero every",
        ),
        ((CUBE, CUBE), {"device": "tpu"}, "'tpu', but PyTorch finds none here"),
        ((CUBE, CUBE), {"fit": True}, "fit refines the result of another method"),
        ((CUBE, CUBE), {"method": "demons", "fit": True}, "demons computes no inverse"),
    ],
    ids=range(14),
)
def test_what_cannot_be_done_is_one_sentence_in_python(arguments, options, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        cohortreg.register(*arguments, **options)
    assert "\n" not in str(refused.value)


def test_options_of_loading_come_too_late(pair):
    ready = cohortreg.load("identity")
    with pytest.raises(UserError, match="identity is loaded already; give device, threads to load instead"):
        cohortreg.register(pair["moving"], pair["fixed"], ready, device="cuda", threads=1)


def test_without_an_inverse_nothing_else_is_written(pair, tmp_path):
    found = cohortreg.register(
        pair["moving"], pair["fixed"], method="demons", settings={"iterations": [1]}, threads=1
    )
    assert found.inverse is None and found.quality.inverse_consistency_voxels is None
    with pytest.raises(UserError, match="computes no inverse"):
        found.save(tmp_path / "t.h5", inverse=tmp_path / "i.h5")
    assert not list(tmp_path.iterdir())


def test_no_file_that_was_registered_is_overwritten(pair, tmp_path, monkeypatch):
    files = {}
    for name in ("moving", "fixed", "moving_label"):
        files[name] = tmp_path / f"{name}.nii.gz"
        files[name].write_bytes(pair[name].read_bytes())
    (tmp_path / "link.nii.gz").symlink_to(files["moving"])
    (tmp_path / "hard.nii.gz").hardlink_to(files["moving_label"])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    found = cohortreg.register(
        "moving.nii.gz", str(files["fixed"]), method="identity", moving_mask=files["moving_label"]
    )
    (tmp_path / "below").mkdir()
    monkeypatch.chdir("below")
    for arguments in (
        {"warped": "../moving.nii.gz"},
        {"warped": tmp_path / "link.nii.gz"},
        {"forward": "t.h5", "inverse": files["fixed"]},
        {"forward": "t.h5", "warped": "../hard.nii.gz"},
    ):
        with pytest.raises(UserError, match="is an input, which is never overwritten"):
            found.save(**arguments)
    with pytest.raises(UserError, match="is named twice"):
        found.save("t.h5", inverse="../below/t.h5")
    with pytest.raises(UserError, match="there is nothing to write; name a file"):
        found.save()
    with pytest.raises(UserError, match="unsupported extension"):
        found.save("t.h5", warped="")
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert not list((tmp_path / "below").iterdir())


def test_two_dimensions(tmp_path):
    image = np.zeros((40, 48))
    image[10:24, 12:30] = 1
    moved = np.roll(image, 3, 1)
    found = cohortreg.register((moved, np.eye(3)), (image, np.eye(3)), threads=1)
    assert np.abs(found.warped.array - image).mean() < 0.5 * np.abs(moved - image).mean()
    assert found.forward.GetDimension() == 2
