"""What is looked at before a transform is applied, and what lies outside of an image."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from cohortreg.errors import UserError
from cohortreg.images.io import Image
from cohortreg.maps.apply import looks_like_labels, warp

SHIFT = sitk.TranslationTransform(3, [-1.0, 0, 0])  # one voxel out of the image


@given(
    kind=st.sampled_from([np.uint8, np.int8, np.uint16, np.int32, np.int64, np.float32]),
    background=st.sampled_from([0, -1, 255, 256, 65535, 2**24 + 1, 2**53, 2**60, 0.5, 1e300, -1e300])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**40), 2**40),
)
def test_the_background_is_what_was_asked_for_or_is_refused(kind, background):
    image = Image(np.arange(1, 28, dtype=kind).reshape(3, 3, 3), np.eye(4))
    is_label = np.issubdtype(kind, np.integer)
    try:
        warped = warp(image, SHIFT, image.grid, nearest=is_label, background=background).array
    except UserError as error:
        assert f"{background:g}" in str(error)
        assert abs(background) > 2**53 if float(background).is_integer() or not is_label else True
        return
    assert np.issubdtype(warped.dtype, np.integer) == is_label
    outside, inside = np.sort(np.unique(warped.reshape(-1)))[[0, -1]], set(range(1, 28))
    assert {float(value) for value in outside} - inside <= {float(background), float(np.float32(background))}
    assert (warped[[0, -1]] == (background if is_label else np.float32(background))).all(axis=(1, 2)).any()


def test_a_label_map_keeps_its_type_where_it_can():
    image = Image(np.arange(1, 28, dtype=np.uint8).reshape(3, 3, 3), np.eye(4))
    kept, widened = (warp(image, SHIFT, image.grid, nearest=True, background=b).array for b in (9, -1))
    assert (kept.dtype, widened.dtype) == (np.uint8, np.int16)
    with pytest.raises(UserError, match="is not a label"):
        warp(image, SHIFT, image.grid, nearest=True, background=float("nan"))


def grey(shape=(40, 40, 40), levels=255):
    """A smooth image with noise, as scanners make them, in whole numbers."""
    random = np.random.default_rng(0)
    ball = np.linalg.norm(np.indices(shape) - 20.0, axis=0) < 17
    image = gaussian_filter(random.normal(size=shape), 3) * 20 + random.normal(size=shape) * 0.1 + 2
    return (ball * np.clip(image * levels / 4, 1, levels)).astype(np.int16)


def atlas(regions):
    """As many regions in a ball, each of whole voxels of one value."""
    random = np.random.default_rng(0)
    centres = random.uniform(0, 40, (regions, 3))
    voxels = np.moveaxis(np.indices((40, 40, 40)), 0, -1).reshape(-1, 3)
    nearest = cKDTree(centres).query(voxels)[1].reshape(40, 40, 40)
    return (nearest + 1) * (np.linalg.norm(np.indices((40, 40, 40)) - 20.0, axis=0) < 17)


@pytest.mark.parametrize("regions", [1, 2, 30, 100, 200])
def test_label_maps_look_like_such(regions):
    assert looks_like_labels(atlas(regions).astype(np.float32))
    assert looks_like_labels(atlas(regions)[:, :, 20])
    assert looks_like_labels(atlas(regions) * 614454)


@pytest.mark.parametrize("levels", [63, 255, 4095])
def test_images_in_whole_numbers_do_not_look_like_label_maps(levels):
    assert not looks_like_labels(grey(levels=levels))
    assert not looks_like_labels(grey(levels=levels)[:, :, 20])
    assert not looks_like_labels(grey(levels=levels) + 0.5)
