"""Grids of any orientation, obliqueness, voxel size and origin, for tests of properties."""

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cohortreg.images.grid import Grid

shapes = st.tuples(*[st.integers(2, 9)] * 3)


@st.composite
def grids(draw):
    """A grid of two axes or three, left-handed or right-handed."""
    dim = draw(st.sampled_from([2, 3]))
    shape = draw(shapes)[:dim]
    # Tenths of degrees: of angles near the smallest number that is not zero, ITK finds no singular values.
    angles = np.array(draw(st.tuples(*[st.integers(-1800, 1800)] * 3))) / 10
    angles[: 6 - 2 * dim] = 0  # a plane turns about the last axis alone
    spacing = draw(st.tuples(*[st.floats(0.3, 3)] * dim))
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()[:dim, :dim]
    affine = np.eye(dim + 1)
    affine[:-1, :-1] = np.diag([draw(st.sampled_from([-1, 1])), 1, 1][:dim]) @ turn * spacing
    affine[:-1, -1] = draw(st.tuples(*[st.floats(-200, 200)] * dim))
    return Grid(shape, affine)
