"""What the figures say of a map in numbers."""

import numpy as np
import pytest

from cohortreg.paper.figures import steepness


def test_a_linear_map_is_as_steep_as_its_slopes_squared():
    rows, columns = np.indices((9, 5)).astype(float)
    # In pixels: rows stretched by a tenth, columns sheared by a fifth of the row.
    phi = np.stack([1.1 * rows / 8, (columns + 0.2 * rows) / 4])
    assert steepness(phi) == pytest.approx(0.1**2 + 0.2**2)
