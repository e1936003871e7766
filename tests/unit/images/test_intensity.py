import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.errors import UserError
from cohortreg.images.intensity import normalised
from cohortreg.images.io import Image


def test_percentiles_by_hand():
    values = np.arange(1001, dtype=np.float32)
    np.random.default_rng(1).shuffle(values)
    image, (low, high) = normalised(Image(values.reshape(7, 11, 13), np.eye(4)), (1, 99))
    assert (low, high) == (10, 990)
    result = dict(zip(values.tolist(), image.array.ravel().tolist(), strict=True))
    assert result[0] == result[10] == 0
    assert result[990] == result[1000] == 1
    assert result[500] == pytest.approx(0.5)
    assert image.array.dtype == np.float32


@given(st.floats(-1e3, 1e3), st.floats(0.1, 1e4))
@settings(max_examples=30, deadline=None)
def test_result_does_not_depend_on_the_scanner_s_scale(shift, scale):
    values = np.random.default_rng(1).random((6, 6, 6)).astype(np.float32)
    one, _ = normalised(Image(values, np.eye(4)), (1, 99))
    other, _ = normalised(Image((values * scale + shift).astype(np.float32), np.eye(4)), (1, 99))
    np.testing.assert_allclose(other.array, one.array, atol=2e-3)


def test_almost_empty_image():
    values = np.zeros((10, 10, 10), np.float32)
    values[0, 0, 0] = 1
    with pytest.raises(UserError, match="almost every voxel"):
        normalised(Image(values, np.eye(4)), (1, 99))
