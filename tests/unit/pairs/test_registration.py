"""`cohortreg register`: two raw images, as the authors' command line has it and as ours."""

import json
import re

import numpy as np
import pytest
import SimpleITK as sitk
import typed
from forkserver import command, refused

from cohortreg.cli import commands as registered  # noqa: F401  (registers every command)
from cohortreg.files import write_json
from cohortreg.images.geometry import mirrored
from cohortreg.images.io import Image, read_image, write_image
from cohortreg.layout import Layout
from cohortreg.learning.data import pack
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
    steps = re.fullmatch(r"Registering with fit: (\d+) of (\d+)\.\n", done.stderr)
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
        (["--model", "RIGHT", "--transform-out", "t.h5"], "give the grid"),
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
