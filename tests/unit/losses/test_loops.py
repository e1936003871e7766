"""Products with banded matrices are those with the matrices."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from cohortreg.losses.loops import Banded


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 6), st.integers(0, 2**16))
def test_a_banded_matrix_is_the_matrix(to, columns, reach, seed):
    generator = torch.Generator().manual_seed(seed)
    distance = torch.arange(to)[:, None] * columns / to - torch.arange(columns)
    matrix = torch.rand(to, columns, generator=generator) * (distance.abs() <= reach)
    values = torch.rand(2, columns, 3, generator=generator)
    found = torch.from_numpy(Banded(matrix)(values.numpy()))
    torch.testing.assert_close(found, matrix @ values, atol=1e-5, rtol=1e-5)
