"""Transforms between raw images, left and right, of oblique, flipped and anisotropic voxels, in several programs."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates
from warping import by_ants, by_niftyreg, by_simpleitk

from cohortreg.config import Preprocess
from cohortreg.images.grid import Grid
from cohortreg.images.io import Image, read_image, write_image
from cohortreg.images.itk import to_sitk
from cohortreg.images.preprocess import preprocess
from cohortreg.maps.apply import warp
from cohortreg.maps.exchange import Pair, read, write, write_learn2reg
from cohortreg.maps.grids import identity_map
from cohortreg.maps.raw import Source, between_raw, covering, in_voxels
from cohortreg.maps.transforms import Transform, field_of, to_physical
from cohortreg.methods.programs import niftyreg

RESAMPLE = Preprocess(grid=[24, 28, 20], mirror="left", percentiles=[0, 100])
# Cuts two axes off, adds to one.
PAD = Preprocess(grid=[30, 36, 30], fit="pad", mirror="left", percentiles=[0, 100])


def turned(image: Image, angle: float, spacing, flip: int) -> Image:
    """The image with its axes permuted, one of them reversed, turned about an axis, in anisotropic voxels."""
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    affine[:3, 3] = [-30, 12, 40]
    order = [2, 0, 1]
    affine = affine[:, [*order, 3]]
    array = np.flip(image.array.transpose(order), flip)
    affine[:, 3] += affine[:, flip] * (array.shape[flip] - 1)
    affine[:, flip] *= -1
    return Image(np.ascontiguousarray(array), affine)


@pytest.fixture(scope="module")
def raw(hippocampus) -> tuple[Image, Image]:
    """A moving and a fixed image of two people."""
    paths = sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[:2]
    images = [read_image(path) for path in paths]
    images = [Image(image.array / image.array.max(), image.affine) for image in images]
    return turned(images[0], 0.2, [1.3, 0.8, 1.1], 1), turned(images[1], -0.3, [0.9, 1.0, 1.6], 0)


def registered(raw, sides, settings):
    """A transform between the preprocessed images, as on disk, and where they came from."""
    records, there = [], []
    for image, side in zip(raw, sides, strict=True):
        preprocessed, _, record = preprocess(image, None, side, settings)
        there.append(preprocessed.grid)
        records.append(record)
    x = identity_map(there[1].shape, dtype=torch.float64)
    phases = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64).reshape(1, 3, 1, 1, 1)
    displacement = 0.04 * torch.sin(4 * x + phases) + 0.02
    return to_physical(displacement.float(), *there), *(Source.of(record) for record in records)


def files(raw, folder) -> tuple[Path, Path]:
    """Both images as NIfTI."""
    paths = folder / "moving.nii.gz", folder / "fixed.nii.gz"
    for path, image in zip(paths, raw, strict=True):
        write_image(path, image)
    return paths


def by_hand(image: Image, transform: Transform, moving: Source, fixed: Source) -> np.ndarray:
    """The moving image at M(y + u(y)), y = F^-1(x), for every voxel x of the fixed one, in RAS throughout."""
    flip = np.array([-1.0, -1.0, 1.0])
    index = np.indices(fixed.grid.shape).reshape(3, -1)
    points = np.vstack([index, np.ones(index.shape[1])])
    y = np.linalg.inv(fixed.to_source) @ fixed.grid.affine @ points
    at = (np.linalg.inv(transform.grid.affine) @ y)[:3]
    u = np.array(
        [map_coordinates(component, at, order=1, mode="nearest") for component in transform.displacement]
    )
    y[:3] += flip[:, None] * u
    found = (np.linalg.inv(moving.grid.affine) @ moving.to_source @ y)[:3]
    return map_coordinates(image.array, found, order=1, cval=0).reshape(fixed.grid.shape), found.reshape(
        3, *fixed.grid.shape
    )


def inside(found: np.ndarray, image: Image) -> np.ndarray:
    """Beyond an image each program has its own idea of it."""
    last = np.array(image.shape).reshape(3, 1, 1, 1) - 1.01
    return ((found > 0.01) & (found < last)).all(0)


@pytest.mark.parametrize(
    "sides", [("right", "right"), ("left", "right"), ("right", "left"), ("left", "left")]
)
@pytest.mark.parametrize("settings", [RESAMPLE, PAD], ids=["resample", "pad"])
def test_every_program_warps_the_raw_image_alike(raw, sides, settings, tmp_path):
    transform, moving, fixed = registered(raw, sides, settings)
    expected, found = by_hand(raw[0], transform, moving, fixed)
    where = inside(found, raw[0])
    assert where.mean() > 0.3
    assert (moving.to_source[0, 0] < 0) == (sides[0] == "left")
    whole = between_raw(transform, moving, fixed)
    pair = Pair(moving.grid, fixed.grid)
    for name in ("field.nii.gz", "both.h5", "both.tfm"):
        write(tmp_path / name, whole, pair)

    opened = {name: read(tmp_path / name) for name in ("field.nii.gz", "both.h5", "both.tfm")}
    results = {name: warp(raw[0], each.transform, fixed.grid).array for name, each in opened.items()}

    for name in ("field.nii.gz", "both.h5"):
        results[f"SimpleITK, {name}"] = by_simpleitk(*files(raw, tmp_path), tmp_path / name)
    # The field's file says the same in millimetres as ITK's would, to the last bit.
    vectors = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "field.nii.gz")))
    again = to_sitk(field_of(whole, fixed.grid).displacement, fixed.grid)
    np.testing.assert_array_equal(vectors, sitk.GetArrayFromImage(again))

    for name, result in results.items():
        # Between voxels the field is interpolated on another grid than the preprocessed one where it was resampled.
        np.testing.assert_allclose(result[where], expected[where], atol=2e-3, err_msg=name)


@pytest.mark.parametrize("sides", [("right", "right"), ("left", "right")])
@pytest.mark.parametrize("name", ["field.nii.gz", "both.h5"])
def test_ants_warps_the_raw_image_alike(raw, sides, name, tmp_path):
    pytest.importorskip("ants", reason="ANTsPy is not installed; make baselines installs it")
    transform, moving, fixed = registered(raw, sides, RESAMPLE)
    expected, found = by_hand(raw[0], transform, moving, fixed)
    write(tmp_path / name, between_raw(transform, moving, fixed), Pair(moving.grid, fixed.grid))
    warped = by_ants(*files(raw, tmp_path), tmp_path / name)
    where = inside(found, raw[0])
    np.testing.assert_allclose(warped[where], expected[where], atol=2e-3)


@pytest.mark.skipif(niftyreg(None) is None, reason="NiftyReg is not installed; make baselines installs it")
@pytest.mark.parametrize("sides", [("right", "right"), ("left", "right")])
def test_niftyreg_warps_the_raw_image_alike(raw, sides, tmp_path):
    transform, moving, fixed = registered(raw, sides, RESAMPLE)
    expected, found = by_hand(raw[0], transform, moving, fixed)
    write(tmp_path / "field.nii.gz", between_raw(transform, moving, fixed), Pair(moving.grid, fixed.grid))
    warped = by_niftyreg(*files(raw, tmp_path), tmp_path / "field.nii.gz")
    where = inside(found, raw[0])
    np.testing.assert_allclose(warped[where], expected[where], atol=2e-3)


@pytest.mark.parametrize("name", ["disp.nii.gz", "disp.npz"])
def test_learn2reg_reads_our_array_as_its_evaluation_does(raw, name, tmp_path):
    """The moving array at voxel index + displacement, by scipy's map_coordinates."""
    transform, moving, fixed = registered(raw, ("left", "right"), RESAMPLE)
    expected, found = by_hand(raw[0], transform, moving, fixed)
    field = field_of(between_raw(transform, moving, fixed), fixed.grid)
    write_learn2reg(tmp_path / name, field, moving.grid)
    if name.endswith("npz"):
        displacement = np.load(tmp_path / name)["arr_0"]
        assert displacement.dtype == np.float16
    else:
        displacement = np.moveaxis(nibabel.load(tmp_path / name).get_fdata(), -1, 0)
    at = np.indices(fixed.grid.shape) + displacement.astype(np.float64)
    warped = map_coordinates(raw[0].array, at, order=1)
    where = inside(found, raw[0])
    np.testing.assert_allclose(warped[where], expected[where], atol=2e-2 if name.endswith("npz") else 2e-3)


def test_displacement_in_voxels_by_hand():
    """Two millimetres to the left are one voxel against the first axis of 2 mm that runs to the right."""
    grid = Grid((2, 3, 4), np.diag([2.0, 1.0, 1.0, 1.0]))
    shifted = Grid((2, 3, 4), np.array([[2.0, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    displacement = np.zeros((3, 2, 3, 4), np.float32)
    displacement[0] = 2  # LPS: to the left
    np.testing.assert_allclose(in_voxels(Transform(displacement, grid), grid)[:, 1, 2, 3], [-1, 0, 0])
    np.testing.assert_allclose(in_voxels(Transform(displacement, grid), shifted)[:, 1, 2, 3], [-3, 0, 0])


def test_covering_adds_what_is_missing_and_no_more():
    field = Transform(np.arange(3 * 64, dtype=np.float32).reshape(3, 4, 4, 4), Grid((4, 4, 4), np.eye(4)))
    assert covering(field, Grid((8, 8, 8), np.diag([0.5, 0.5, 0.5, 1]))).grid.shape == (5, 5, 5)
    centred = np.diag([0.5, 0.5, 0.5, 1])
    centred[:3, 3] = -0.25  # outer edges at the same place
    assert covering(field, Grid((8, 8, 8), centred)).grid.shape == (4, 4, 4)
    wide = covering(
        field, Grid((10, 4, 4), np.array([[1.0, 0, 0, -3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    )
    assert wide.grid.shape == (10, 4, 4)
    np.testing.assert_array_equal(wide.displacement[:, 3:7], field.displacement)
    np.testing.assert_array_equal(wide.displacement[:, 0], field.displacement[:, 0])
    np.testing.assert_array_equal(wide.grid.affine[:3, 3], [-3, 0, 0])
