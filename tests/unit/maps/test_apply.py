"""What is looked at before a transform is applied."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from cohortreg.maps.apply import looks_like_labels


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
