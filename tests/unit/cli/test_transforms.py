"""`cohortreg apply` and `cohortreg jacobian` on files, as a user runs them."""

import functools
import os
import re
import resource
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from forkserver import command, refused

from cohortreg.config import Preprocess
from cohortreg.files import write_json
from cohortreg.images.grid import Grid
from cohortreg.images.io import Image, read_image, read_label, write_image
from cohortreg.images.preprocess import preprocess
from cohortreg.layout import Layout
from cohortreg.maps.coded import write_coded
from cohortreg.maps.exchange import Pair, write
from cohortreg.maps.transforms import Transform

AFFINE = np.array([[1.5, 0.2, 0, -10], [-0.3, 1.0, 0, 20], [0, 0, 2.0, 5], [0, 0, 0, 1.0]])
AFFINE[:3, 0] *= 1.5 / np.linalg.norm(AFFINE[:3, 0])
AFFINE[:3, 1] = [0.3 / 1.5, 1.0, 0]  # at a right angle to the first
AFFINE[:3, 0] = [1.5, -0.3, 0]

SETTINGS = Preprocess(grid=[6, 6, 6], mirror="left")


def run(*arguments) -> subprocess.CompletedProcess:
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A moving image with a label map, a fixed image elsewhere, and an affine transform between them in three files."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(1)
    moving = Image(random.random((14, 16, 12), np.float32) * 100 + 1, AFFINE)
    write_image(folder / "moving.nii.gz", moving)
    write_image(folder / "label.nii.gz", Image((moving.array * 1000).astype(np.int32), AFFINE))
    fixed = AFFINE.copy()
    fixed[:3, 3] += [2, -3, 1]
    write_image(folder / "fixed.nii.gz", Image(random.random((12, 15, 10), np.float32), fixed))
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([1.1, 0.05, 0, 0, 0.95, 0, 0, 0.1, 1.0])
    transform.SetTranslation([0.53, -1.07, 0.71])
    pair = Pair(Grid(moving.shape, AFFINE), Grid((12, 15, 10), fixed))
    for name in ("field.nii.gz", "itk.h5"):
        write(folder / name, transform, pair)
    sitk.WriteTransform(transform, str(folder / "alone.tfm"))
    return folder


def by_simpleitk(folder, name, interpolator):
    images = [sitk.ReadImage(str(folder / each)) for each in (name, "fixed.nii.gz")]
    warped = sitk.Resample(*images, sitk.ReadTransform(str(folder / "alone.tfm")), interpolator)
    return sitk.GetArrayFromImage(warped).T


@pytest.mark.parametrize("name", ["field.nii.gz", "itk.h5", "alone.tfm"])
def test_images_as_simpleitk_warps_them(folder, name, tmp_path):
    run(
        "apply",
        folder / name,
        folder / "moving.nii.gz",
        tmp_path / "w.nii.gz",
        "--reference",
        folder / "fixed.nii.gz",
    )
    warped = read_image(tmp_path / "w.nii.gz")
    np.testing.assert_allclose(
        warped.array, by_simpleitk(folder, "moving.nii.gz", sitk.sitkLinear), atol=1e-2
    )
    np.testing.assert_allclose(warped.affine, read_image(folder / "fixed.nii.gz").affine, atol=1e-5)


def test_labels_keep_their_values_and_type(folder, tmp_path):
    run("apply", folder / "field.nii.gz", folder / "label.nii.gz", tmp_path / "w.nii.gz", "--label")
    warped = read_label(tmp_path / "w.nii.gz").array
    assert warped.max() > 2**16
    assert set(np.unique(warped)) <= {0, *np.unique(read_label(folder / "label.nii.gz").array)}
    np.testing.assert_array_equal(warped, by_simpleitk(folder, "label.nii.gz", sitk.sitkNearestNeighbor))


def test_labels_of_an_atlas(folder, tmp_path):
    """Those of the Allen Institute go beyond what float32 counts."""
    label = read_label(folder / "label.nii.gz")
    write_image(tmp_path / "label.nrrd", Image(label.array.astype(np.uint32) + 614454277, label.affine))
    options = ["--label", "--background", 614454277]
    run("apply", folder / "field.nii.gz", tmp_path / "label.nrrd", tmp_path / "w.nrrd", *options)
    run("apply", folder / "field.nii.gz", folder / "label.nii.gz", tmp_path / "w.nii.gz", "--label")
    large, small = (read_label(tmp_path / name).array for name in ("w.nrrd", "w.nii.gz"))
    np.testing.assert_array_equal(large.astype(np.int64) - 614454277, small)


def test_a_label_map_is_not_mixed_unless_it_is_said_to_be_an_image(folder, tmp_path):
    values = np.digitize(read_label(folder / "label.nii.gz").array, [30_000, 60_000]) * 5
    write_image(tmp_path / "few.nii.gz", Image(values.astype(np.uint8), AFFINE))
    out = tmp_path / "w.nii.gz"
    said = refused("apply", folder / "field.nii.gz", tmp_path / "few.nii.gz", out)
    assert "few.nii.gz looks like a label map" in said
    assert not out.exists()
    run("apply", folder / "field.nii.gz", tmp_path / "few.nii.gz", out, "--linear")
    assert len(np.unique(read_image(out).array)) > 3
    run("apply", folder / "field.nii.gz", tmp_path / "few.nii.gz", out, "--nearest_neighbor")
    assert set(np.unique(read_label(out).array)) <= {0, 5, 10}


def test_background(folder, tmp_path):
    options = ["--background", -1000, "--reference", folder / "fixed.nii.gz"]
    run("apply", folder / "itk.h5", folder / "moving.nii.gz", tmp_path / "w.nii.gz", *options)
    warped = read_image(tmp_path / "w.nii.gz").array
    assert warped.min() == -1000
    assert warped.max() > 0


def test_an_image_it_was_not_made_for(folder, tmp_path):
    moving = read_image(folder / "moving.nii.gz")
    elsewhere = moving.affine.copy()
    elsewhere[:3, 3] += 9
    write_image(tmp_path / "other.nii.gz", Image(moving.array, elsewhere))
    said = refused("apply", folder / "field.nii.gz", tmp_path / "other.nii.gz", tmp_path / "w.nii.gz")
    assert "other.nii.gz: the transform was made for a moving image of 14 x 16 x 12 voxels" in said
    assert not (tmp_path / "w.nii.gz").exists()
    run("apply", folder / "field.nii.gz", tmp_path / "other.nii.gz", tmp_path / "w.nii.gz", "--any-image")
    # What fills the same space is welcome: at another resolution, with its axes turned.
    coarse = moving.affine @ np.diag([2, 2, 2, 1.0])
    coarse[:3, 3] = (moving.affine @ [0.5, 0.5, 0.5, 1])[:3]
    write_image(tmp_path / "coarse.nii.gz", Image(moving.array[::2, ::2, ::2].copy(), coarse))
    run("apply", folder / "field.nii.gz", tmp_path / "coarse.nii.gz", tmp_path / "w.nii.gz")
    turned = moving.affine[:, [1, 0, 2, 3]]
    write_image(
        tmp_path / "turned.nii.gz", Image(np.ascontiguousarray(moving.array.transpose(1, 0, 2)), turned)
    )
    run("apply", folder / "field.nii.gz", tmp_path / "turned.nii.gz", tmp_path / "v.nii.gz")
    expected = by_simpleitk(folder, "moving.nii.gz", sitk.sitkLinear)
    np.testing.assert_allclose(read_image(tmp_path / "v.nii.gz").array, expected, atol=1e-2)


def test_transforms_in_an_order_in_which_nothing_can_be_warped(folder, tmp_path):
    said = refused("compose", folder / "field.nii.gz", folder / "field.nii.gz", tmp_path / "both.h5")
    assert (
        "a transform for a moving image of 14 x 16 x 12 voxels follows one onto an image of 12 x 15 x 10"
        in said
    )
    assert "give them in the order in which they warp an image" in said
    assert not (tmp_path / "both.h5").exists()


def test_a_transform_that_leads_nowhere(folder, tmp_path):
    moving = read_image(folder / "moving.nii.gz")
    far = moving.affine.copy()
    far[:3, 3] += 900
    write_image(tmp_path / "far.nii.gz", Image(moving.array, far))
    options = ["--reference", folder / "fixed.nii.gz"]
    said = refused("apply", folder / "alone.tfm", tmp_path / "far.nii.gz", tmp_path / "w.nii.gz", *options)
    assert "the transform was made for a different one" in said


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        ("itk.h5", "give the fixed image: --reference, in Python like"),
        ("moving.nii.gz", "1 values per voxel in 3 dimensions"),
        ("nothing.h5", "nothing.h5: no such file; correct the path."),
        ("short.h5", "not a transform that ITK can read"),
        ("short.nii.gz", "is cut short or damaged"),
        ("short.tfm", "not a transform that ITK can read"),
    ],
)
def test_what_is_no_transform_is_one_sentence(folder, tmp_path, transform, sentence):
    field = sitk.ReadImage(str(folder / "field.nii.gz"), sitk.sitkVectorFloat64)
    sitk.WriteTransform(sitk.DisplacementFieldTransform(field), str(folder / "field.tfm"))
    for name in ("itk.h5", "field.nii.gz", "field.tfm"):
        content = (folder / name).read_bytes()
        (folder / f"short{name[name.index('.') :]}").write_bytes(content[: len(content) // 2])
    assert sentence in refused("apply", folder / transform, folder / "moving.nii.gz", tmp_path / "w.nii.gz")


def test_2d_and_3d_do_not_go_together(folder, tmp_path):
    flat = Image(np.random.default_rng(0).random((9, 8), np.float32), np.diag([2.0, 2, 1]))
    write_image(tmp_path / "flat.mha", flat)
    write(tmp_path / "flat.nii.gz", sitk.AffineTransform(2), Pair(flat.grid, flat.grid))
    sitk.WriteTransform(sitk.AffineTransform(2), str(tmp_path / "flat.tfm"))
    (tmp_path / "p.csv").write_text("x,y,z\n1,2,3\n")
    moving, fixed, out = folder / "moving.nii.gz", folder / "fixed.nii.gz", tmp_path / "w.nii.gz"
    for transform, image, reference in (
        (folder / "field.nii.gz", tmp_path / "flat.mha", []),
        (folder / "alone.tfm", moving, ["--fixed", tmp_path / "flat.mha"]),
        (tmp_path / "flat.nii.gz", moving, []),
        (tmp_path / "flat.tfm", moving, ["--fixed", fixed]),
        (tmp_path / "flat.nii.gz", tmp_path / "p.csv", []),
    ):
        out_here = tmp_path / "q.csv" if image.suffix == ".csv" else out
        assert re.search("the transform is [23]D", refused("apply", transform, image, out_here, *reference))
    assert "2D" in refused("jacobian", tmp_path / "flat.tfm", out, "--fixed", fixed)
    assert not out.exists()


def test_no_input_is_overwritten(folder, tmp_path):
    """By none of its names."""
    field, moving, fixed = (folder / f"{name}.nii.gz" for name in ("field", "moving", "fixed"))
    tool, other = folder / "alone.tfm", tmp_path / "other.tfm"
    hard, soft = tmp_path / "hard.nii.gz", tmp_path / "soft.nii.gz"
    os.link(moving, hard), soft.symlink_to(field)
    os.link(tool, tmp_path / "hard.tfm"), write(other, sitk.AffineTransform(3), None)
    before = {path: path.read_bytes() for path in [*folder.iterdir(), *tmp_path.iterdir()]}
    round_about = folder / ".." / folder.name / "field.nii.gz"
    for arguments in (
        ("apply", field, moving, moving),
        ("apply", field, moving, fixed, "--reference", fixed),
        ("apply", field, moving, hard),
        ("apply", soft, moving, field),
        ("jacobian", field, round_about),
        ("jacobian", tool, hard, "--fixed", moving),
        ("invert", tool, tmp_path / "hard.tfm"),
        ("invert", field, soft),
        ("invert", tool, hard, "--moving", moving),
        ("compose", tool, other, tool),
        ("compose", other, tmp_path / "hard.tfm", tool),
        ("compose", tool, field, hard, "--reference", moving),
        ("register", moving, fixed, "--model", "identity", "--warped-moving-out", hard),
        ("register", moving, fixed, "--model", "identity", "--inverse-out", fixed),
        ("register", moving, fixed, "--moving-mask", hard, "--transform-out", hard),
        ("register", moving, fixed, "--model", tool, "--transform-out", tmp_path / "hard.tfm"),
    ):
        assert "is an input, which is never overwritten" in refused(*arguments), arguments
    assert {path: path.read_bytes() for path in [*folder.iterdir(), *tmp_path.iterdir()]} == before


def test_the_last_transform_is_not_taken_for_the_name_to_write(folder, tmp_path):
    files = [folder / name for name in ("alone.tfm", "itk.h5", "field.nii.gz")]
    before = [path.read_bytes() for path in files]
    assert "two transforms or more" in refused("compose", *files[:2])
    assert "field.nii.gz already exists" in refused("compose", *files)
    assert [path.read_bytes() for path in files] == before


def test_what_cannot_be_written_is_said_before_anything_is_read(folder, tmp_path):
    nothing, below = tmp_path / "nothing.nii.gz", folder / "alone.tfm" / "t.nii.gz"
    for arguments in (
        ("apply", nothing, nothing, below),
        ("invert", nothing, below),
        ("compose", nothing, nothing, below),
        ("jacobian", nothing, below),
    ):
        assert "alone.tfm is not a folder" in refused(*arguments)


def test_points_go_where_simpleitk_takes_them(folder, tmp_path):
    transform = sitk.ReadTransform(str(folder / "alone.tfm"))
    grid = read_image(folder / "fixed.nii.gz").grid
    inside = (grid.voxel_to_lps @ [5, 7, 4, 1])[:3]
    pd.DataFrame([inside, inside + 500], columns=["x", "y", "z"]).to_csv(tmp_path / "in.csv", index=False)
    done = run("apply", folder / "field.nii.gz", tmp_path / "in.csv", tmp_path / "out.csv")
    assert "1 of them lie beyond the transform's grid" in done.stderr
    found = pd.read_csv(tmp_path / "out.csv").to_numpy()
    np.testing.assert_allclose(found[0], transform.TransformPoint(inside.tolist()), atol=1e-4)
    np.testing.assert_allclose(found[1], inside + 500, atol=1e-4)


def test_determinant_of_an_affine_map(folder, tmp_path):
    expected = np.linalg.det(np.array([[1.1, 0.05, 0], [0, 0.95, 0], [0, 0.1, 1.0]]))
    done = run("jacobian", folder / "field.nii.gz", tmp_path / "j.nii.gz")
    assert "0 of 1800 voxels fold" in done.stdout
    np.testing.assert_allclose(read_image_of_one_value(tmp_path / "j.nii.gz"), expected, rtol=1e-4)
    run("jacobian", folder / "itk.h5", tmp_path / "l.nii.gz", "--log", "--fixed", folder / "fixed.nii.gz")
    np.testing.assert_allclose(read_image_of_one_value(tmp_path / "l.nii.gz"), np.log(expected), rtol=1e-3)


def read_image_of_one_value(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_export_goes_on_behind_a_pair_that_failed(tmp_path):
    layout = Layout(tmp_path / "results")
    random = np.random.default_rng(0)
    for image_id in "abc":
        made, _, record = preprocess(Image(random.random((8, 9, 10), np.float32), AFFINE), None, "", SETTINGS)
        write_json(layout.sidecar(image_id), record)
    layout.pairs.write_text("moving\tfixed\na\tb\na\tc\n")
    grid = made.grid
    write_coded(layout.forward("demons", "a", "c"), Transform(np.ones((3, *grid.shape), np.float32), grid))
    done = command("export", layout.root, "--method", "demons", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "1 of 2 pairs have no transform of demons, the first of them a to b;" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_to_c.nii.gz"]


def test_an_export_replaces_no_raw_image(tmp_path):
    layout, raw = Layout(tmp_path / "results"), tmp_path / "raw"
    random = np.random.default_rng(0)
    for name in ("a", "a_to_b"):
        image = Image(random.random((8, 9, 10), np.float32), AFFINE)
        write_image(raw / f"{name}.nii.gz", image)
        write_json(layout.sidecar(name), {"image": f"{name}.nii.gz", "label": ""})
    layout.pairs.write_text("moving\tfixed\na\tb\na\ta_to_b\n")
    before = {path: path.read_bytes() for path in raw.iterdir()}
    said = refused("export", layout.root, "--method", "demons", "--output", raw, "--root", raw)
    assert "a_to_b.nii.gz is one of the cohort's raw images, which are never overwritten" in said
    assert {path: path.read_bytes() for path in raw.iterdir()} == before


@pytest.mark.parametrize(
    "kind, pairs, name",
    [
        ("tfm", ("a_to_b\tc", "a\tb_to_c"), "a_to_b_to_c.tfm"),
        ("learn2reg", ("b\tc_a", "a_b\tc"), "disp_c_a_b.nii.gz"),
    ],
)
def test_transforms_that_would_share_a_name_are_refused_before_anything_is_written(
    tmp_path, kind, pairs, name
):
    layout = Layout(tmp_path / "results")
    layout.root.mkdir()
    layout.pairs.write_text("\n".join(["moving\tfixed", *pairs]) + "\n")
    said = refused(
        "export", layout.root, "--method", "demons", "--output", tmp_path / "out", "--format", kind
    )
    first, second = (pair.replace("\t", " to ") for pair in pairs)
    assert f"The transforms of {first} and of {second} would both be called {name};" in said
    assert not (tmp_path / "out").exists()


@pytest.fixture
def bent(folder, tmp_path):
    """A field that bends on the fixed image's voxels, as SimpleITK writes it, and it as a transform."""
    like = sitk.ReadImage(str(folder / "fixed.nii.gz"))
    index = np.indices(like.GetSize()[::-1])
    wave = np.stack([np.sin(index[axis] / 3 + axis) * 2.0 for axis in range(3)], -1)
    field = sitk.GetImageFromArray(wave, isVector=True)
    field.CopyInformation(like)
    sitk.WriteImage(field, str(tmp_path / "bent.nii.gz"))
    return tmp_path / "bent.nii.gz", sitk.DisplacementFieldTransform(field)


def centres(path) -> np.ndarray:
    """The voxels of an image in LPS millimetres, [n, 3]."""
    image = sitk.ReadImage(str(path))
    return np.array([image.TransformIndexToPhysicalPoint(index) for index in np.ndindex(*image.GetSize())])


def within(path, points: np.ndarray) -> np.ndarray:
    """Which points lie in the voxels of an image."""
    image = sitk.ReadImage(str(path))
    index = np.array([image.TransformPhysicalPointToContinuousIndex(point) for point in points.tolist()])
    return ((index >= -0.5) & (index <= np.array(image.GetSize()) - 0.5)).all(1)


def through(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_invert_tells_how_far_it_is_from_an_inverse(folder, bent, tmp_path):
    """By SimpleITK, at every voxel of the moving image."""
    done = run("invert", bent[0], tmp_path / "back.h5", "--moving", folder / "moving.nii.gz")
    points = centres(folder / "moving.nii.gz")
    back = through(sitk.ReadTransform(str(tmp_path / "back.h5")), points)
    reached = within(folder / "fixed.nii.gz", back)
    off = np.linalg.norm(through(bent[1], back) - points, axis=1)[reached]
    assert off.max() < 0.01
    mean, largest = re.search("off by (.+) mm on average and (.+) mm at most", done.stdout).groups()
    assert float(mean) == pytest.approx(off.mean(), rel=0.05) and float(largest) == pytest.approx(
        off.max(), rel=0.05
    )
    unreached, voxels = re.match("(.+) of (.+) voxels of the moving image", done.stderr).groups()
    assert number(unreached) == (~reached).sum() > 0 and number(voxels) == len(points)


@pytest.mark.parametrize("name", ["both.h5", "both.nii.gz"])
def test_compose_gives_simpleitks_composite_and_counts_what_leaves_a_field(folder, bent, tmp_path, name):
    path, transform = bent
    done = run("compose", path, folder / "alone.tfm", tmp_path / name, "--fixed", folder / "fixed.nii.gz")
    if name.endswith(".h5"):
        both = sitk.ReadTransform(str(tmp_path / name))
    else:
        field = sitk.ReadImage(str(tmp_path / name), sitk.sitkVectorFloat64)
        both = sitk.DisplacementFieldTransform(field)
    alone = sitk.ReadTransform(str(folder / "alone.tfm"))
    points = centres(folder / "fixed.nii.gz")
    expected = through(sitk.CompositeTransform([transform, alone]), points)
    np.testing.assert_allclose(through(both, points), expected, atol=1e-5)
    left, voxels = re.match("(.+) of (.+) voxels of the last fixed image", done.stderr).groups()
    assert number(left) == (~within(folder / "fixed.nii.gz", through(alone, points))).sum() > 0
    assert number(voxels) == len(points)
    # The other way round, points begin in the field.
    assert not run("compose", folder / "alone.tfm", path, tmp_path / "of.h5").stderr


def test_measure_prints_dice_and_millimetres(folder, bent, tmp_path):
    """Structures warped by SimpleITK, linearly, and cut at one half; surfaces by SciPy."""
    from scipy import ndimage

    like = {name: sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("moving", "fixed")}
    masks = {}
    for (name, image), radius in zip(like.items(), (6.5, 6), strict=True):
        points = centres(folder / f"{name}.nii.gz")
        middle = image.TransformContinuousIndexToPhysicalPoint([size / 2 for size in image.GetSize()])
        ball = np.linalg.norm(points - middle, axis=1) < radius
        mask = sitk.GetImageFromArray(ball.reshape(image.GetSize()).T.astype(np.uint8) * 3)
        mask.CopyInformation(image)
        sitk.WriteImage(mask, str(tmp_path / f"{name}.nii.gz"))
        masks[name] = mask > 0
    warped = sitk.Resample(
        sitk.Cast(masks["moving"], sitk.sitkFloat64), like["fixed"], bent[1], sitk.sitkLinear
    )
    one, other = (sitk.GetArrayFromImage(mask).astype(bool) for mask in (warped >= 0.5, masks["fixed"]))
    dice = 2 * (one & other).sum() / (one.sum() + other.sum())
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (one, other)]
    apart = [ndimage.distance_transform_edt(~edge, like["fixed"].GetSpacing()[::-1]) for edge in edges]
    hd95 = max(np.percentile(apart[1][edges[0]], 95), np.percentile(apart[0][edges[1]], 95))
    files = tmp_path / "moving.nii.gz", tmp_path / "fixed.nii.gz"
    rows = [
        line.split("\t")
        for line in run("measure", bent[0], *files, "--structure", "ball=3").stdout.splitlines()
    ]
    assert [(row[0], *row[2:]) for row in rows] == [
        ("dice_mean",), ("dice_ball",), ("hd95_mean", "mm"), ("hd95_ball", "mm"),
    ]  # fmt: skip
    np.testing.assert_allclose([float(row[1]) for row in rows], [dice, dice, hd95, hd95], rtol=1e-5)
    assert 0.3 < dice < 0.99


def test_what_the_machine_refuses_is_said_without_a_word_on_pairs(folder, tmp_path):
    """There are none whose results could be kept."""
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1000, 1000))
    arguments = ["apply", folder / "field.nii.gz", folder / "moving.nii.gz", tmp_path / "w.nii.gz"]
    done = subprocess.run(
        [sys.executable, "-m", "cohortreg", *arguments], capture_output=True, text=True, preexec_fn=limit
    )
    assert done.returncode == 1 and done.stderr.endswith("File too large; fix it and run again.\n")
    assert not list(tmp_path.iterdir())
