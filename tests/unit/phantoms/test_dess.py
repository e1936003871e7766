import numpy as np
import pytest
from scipy import ndimage

from cohortreg.images.geometry import resampled
from cohortreg.images.io import Image, read_label
from cohortreg.phantoms.anatomy import anatomy
from cohortreg.phantoms.dess import dess

GRID, SPACING = (48, 96, 96), (2.3, 1.46, 1.46)


@pytest.fixture(scope="module")
def knee():
    return anatomy(1, "anna", "right", GRID, SPACING)


@pytest.fixture(scope="module")
def scan(knee):
    return dess(knee, 1, "anna")


def core(mask, times=1) -> np.ndarray:
    return ndimage.binary_erosion(mask, iterations=times, border_value=1)


def test_scan_lies_on_its_label_and_holds_whole_numbers(knee, scan):
    assert scan.array.shape == knee.array.shape and scan.array.dtype == np.float32
    np.testing.assert_array_equal(scan.affine, knee.affine)
    np.testing.assert_array_equal(scan.array, np.rint(scan.array))
    assert scan.array.min() >= 0


def test_cartilage_is_bright_and_marrow_dark_grey_and_cortex_darker(knee, scan):
    cartilage = scan.array[np.isin(knee.array, (2, 4))].mean()
    for bone in (1, 3, 5):
        inside = knee.array == bone
        marrow = scan.array[core(inside, 3)].mean()
        rim = scan.array[inside & ~core(inside)].mean()
        assert 0.2 < marrow / cartilage < 0.6
        assert rim < 0.95 * marrow
    air = scan.array[:, :6].mean()
    assert air < 0.15 * cartilage


def test_background_shows_soft_tissue_around_the_knee_and_air_beyond(knee, scan):
    away = ndimage.distance_transform_edt(knee.array == 0, sampling=SPACING)
    outside = knee.array == 0
    near, far = scan.array[outside & (away < 8)], scan.array[away > 45]
    assert near.mean() > 4 * far.mean()
    assert near.std() > 2 * far.std()


def test_noise_in_air_is_rician(knee):
    empty = dess(Image(np.where(np.indices(GRID).sum(0) < 3, 1, 0).astype(np.uint8), knee.affine), 1, "air")
    air = empty.array[-16:, -32:, -32:]
    # A Rayleigh distribution, which Rician noise without signal is: mean over deviation is sqrt(pi / (4 - pi)).
    assert air.mean() / air.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.05)


def test_bias_field_is_smooth_and_there(knee):
    bone = core(knee.array == 1, 3)
    drift = []
    for name in ("a", "b", "c", "d"):
        scan = ndimage.gaussian_filter(np.where(bone, dess(knee, 1, name).array, 0), 4)
        weight = ndimage.gaussian_filter(bone.astype(np.float32), 4)
        smooth = scan[bone] / weight[bone]
        drift.append(smooth.std() / smooth.mean())
    assert 0.02 < np.mean(drift) < 0.25


def test_scan_follows_from_label_seed_and_identifier(knee, scan):
    np.testing.assert_array_equal(dess(knee, 1, "anna").array, scan.array)
    for other in (dess(knee, 2, "anna"), dess(knee, 1, "bert")):
        # The same anatomy under other noise, and no more than that.
        assert 0.8 < np.corrcoef(other.array.ravel(), scan.array.ravel())[0, 1] < 0.9999


def test_label_in_no_table_has_a_mean_too(knee):
    scan = dess(Image(np.where(knee.array == 1, 200, 0).astype(np.uint8), knee.affine), 1, "anna")
    inside = core(knee.array == 1, 3)
    assert scan.array[inside].mean() > 3 * scan.array[:, :6].mean()


def test_partial_volume_at_a_sharp_edge():
    labels = np.full((24, 24, 24), 4, np.uint8)
    labels[:, :, 12:] = 42
    scan = dess(Image(labels, np.eye(4)), 1, "edge").array
    tibial, edge, inner_edge, other = (scan[:, :, k].mean() for k in (8, 11, 12, 15))
    assert tibial > 1.05 * edge > edge > inner_edge > 1.03 * other


@pytest.mark.parametrize("value", [0, 1])
def test_label_of_one_value(value):
    scan = dess(Image(np.full((8, 9, 10), value, np.uint8), np.eye(4)), 1, "flat")
    assert np.isfinite(scan.array).all() and scan.array.std() > 0


def test_real_label_maps(oai_labels):
    path = sorted(oai_labels.glob("*_label.nii.gz"))[0]
    label = read_label(path)
    assert label.shape == (160, 384, 384)
    label = resampled(label, (80, 128, 128), nearest=True)
    scan = dess(label, 1, path.name)
    cartilage = scan.array[np.isin(label.array, (2, 4, 6))].mean()
    marrow = scan.array[core(label.array == 1, 3)].mean()
    assert 0.2 < marrow / cartilage < 0.6
