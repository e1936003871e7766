"""Training images on the device that reads them."""

import numpy as np
import pytest
import torch

from cohortreg.learning.data import AT_ONCE, copied


@pytest.mark.parametrize("images", [1, AT_ONCE, 2 * AT_ONCE + 3])
def test_images_are_copied_to_a_device_part_by_part(images, tmp_path):
    values = np.random.default_rng(1).random((images, 3, 4, 2)).astype(np.float16)
    np.save(tmp_path / "images.npy", values)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    found = copied(mapped, torch.device("cpu"))
    assert found.dtype == torch.float16
    np.testing.assert_array_equal(found.numpy(), values)
