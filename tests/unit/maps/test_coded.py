"""Transforms of results: what comes back, in how many bytes, and how a laboratory reads it without this package."""

import gzip

import numpy as np
import pytest
import safetensors.numpy
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.maps import coded
from cohortreg.maps.coded import margin, read_coded, write_coded
from cohortreg.maps.grids import identity_map, resize
from cohortreg.maps.matrices import ROUNDING, matrix_of_field
from cohortreg.maps.transforms import Transform, to_physical

AFFINE = np.array([[0, -1.5, 0, 70], [2.0, 0, 0, -30], [0, 0, 1.2, 200], [0, 0, 0, 1]])


def grid_of(shape) -> Grid:
    axes = [*range(len(shape)), 3]
    return Grid(shape, AFFINE[np.ix_(axes, axes)])


def smooth(shape, voxels: float, seed: int = 1) -> Transform:
    """A smooth field of about so many voxels."""
    coarse = torch.randn(1, len(shape), *[4] * len(shape), generator=torch.Generator().manual_seed(seed))
    unit = torch.tensor([max(n - 1.0, 1) for n in shape]).reshape(1, -1, *[1] * len(shape))
    return to_physical(voxels * resize(coarse, shape) / unit, grid_of(shape), grid_of(shape))


def off(found: Transform, expected: Transform) -> np.ndarray:
    """By how many voxels displacements differ along each array axis."""
    apart = found.displacement.astype(float) - expected.displacement
    dim = len(apart)
    return np.abs(np.einsum("ij,j...->i...", expected.grid.lps_to_voxel[:dim, :dim], apart))


def random_field(shape, size: float, seed: int) -> Transform:
    """Noise, which no other voxel tells anything about."""
    values = np.random.default_rng(seed).normal(0, size, (len(shape), *shape))
    return Transform(values.astype(np.float32), grid_of(shape))


def test_what_a_voxel_may_be_off_is_relative_to_small_grids():
    assert margin((80, 192, 192)) == margin((160, 384, 384)) == pytest.approx(0.005)
    assert margin((24, 48, 48)) == pytest.approx(0.005 / 4)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(*(st.tuples(*[st.integers(2, 9)] * dim) for dim in (2, 3))),
    st.sampled_from([0.003, 0.3, 30, 3e4]),
    st.integers(0, 9),
)
def test_no_component_of_any_field_is_off_by_more_than_the_margin(tmp_path_factory, shape, size, seed):
    path, field = tmp_path_factory.mktemp("coded") / "a.map.gz", random_field(shape, size, seed)
    write_coded(path, field)
    found = read_coded(path)
    np.testing.assert_array_equal(found.grid.affine, field.grid.affine)
    assert found.grid.shape == shape
    assert found.displacement.dtype == np.float32
    assert off(found, field).max() <= margin(shape) * (1 + 1e-3) + 1e-6 * (size + 100)


def test_a_smooth_field_takes_a_fraction_of_its_vectors_and_keeps_its_corrections(tmp_path):
    field = smooth((40, 48, 36), 5)
    path = tmp_path / "a.map.gz"
    write_coded(path, field)
    assert path.stat().st_size < field.displacement.nbytes / 6
    assert off(read_coded(path), field).max() <= margin(field.grid.shape) * 1.01
    # One voxel elsewhere, which its neighbours do not suggest.
    field.displacement[0, 20, 20, 20] += 7.5
    write_coded(path, field)
    assert off(read_coded(path), field).max() <= margin(field.grid.shape) * 1.01


@pytest.mark.parametrize("shape", [(40, 48, 36), (40, 48)])
def test_an_affine_map_is_a_matrix(tmp_path, shape):
    dim, path = len(shape), tmp_path / "a.map.gz"
    grid = grid_of(shape)
    moved = Grid(shape, grid.affine + np.eye(dim + 1)[:, :1] * np.ones(dim + 1) * 0.01)
    for linear in (np.zeros((dim, dim)), 0.1 * np.random.default_rng(0).normal(size=(dim, dim))):
        turned = torch.einsum("ij,bj...->bi...", torch.from_numpy(linear), identity_map(shape).double())
        field = to_physical(turned, moved, grid)
        write_coded(path, field)
        assert path.stat().st_size < 500
        found = read_coded(path)
        assert off(found, field).max() < 1e-4
        np.testing.assert_allclose(matrix_of_field(found), matrix_of_field(field), atol=1e-5)
    content = safetensors.numpy.load(gzip.decompress(path.read_bytes()))
    assert content.keys() == {"shape", "affine", "matrix"}


def test_what_deforms_by_less_than_rounding_is_affine(tmp_path):
    for voxels, affine in ((margin((10, 11, 12)) / 20, True), (20 * ROUNDING, False)):
        write_coded(tmp_path / "a.map.gz", smooth((10, 11, 12), voxels))
        content = safetensors.numpy.load(gzip.decompress((tmp_path / "a.map.gz").read_bytes()))
        assert ("coefficients" in content) != affine


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20])
def test_what_is_no_number_or_as_good_as_none_is_not_written(tmp_path, value):
    field = smooth((10, 11, 12), 1)
    field.displacement[1, 2, 3, 4] = value
    with pytest.raises(UserError, match=r"a\.map\.gz cannot be written: displacements are NaN, infinite"):
        write_coded(tmp_path / "a.map.gz", field)
    assert not list(tmp_path.iterdir())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_one_wrong_byte_or_a_cut_anywhere_is_noticed(tmp_path_factory, data):
    """Or changes nothing, as of gzip's remarks at the beginning."""
    path, field = tmp_path_factory.mktemp("coded") / "a.map.gz", smooth((4, 5, 6), 1)
    write_coded(path, field)
    content, expected = path.read_bytes(), read_coded(path)
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(data.draw(st.sampled_from([damaged, content[:place]])))
    try:
        found = read_coded(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        np.testing.assert_array_equal(found.displacement, expected.displacement)


def test_other_files_are_refused_with_their_name(tmp_path):
    path = tmp_path / "a.map.gz"
    with pytest.raises(UserError, match=r"a\.map\.gz: no such transform"):
        read_coded(path)
    other = {"shape": np.array([2, 3]), "affine": np.eye(3)}
    wrong = other | {"matrix": np.eye(3), "coefficients": np.zeros((1, 2, 2, 2), np.uint8)}
    for content in (b"", b"nothing", safetensors.numpy.save(other), safetensors.numpy.save(wrong)):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(UserError, match=r"a\.map\.gz is not a transform of a cohort's results"):
            read_coded(path)
    nowhere = other | {"matrix": np.full((3, 3), np.nan)}
    path.write_bytes(gzip.compress(safetensors.numpy.save(nowhere)))
    with pytest.raises(UserError, match=r"a\.map\.gz has NaN or infinite displacements"):
        read_coded(path)


def test_the_same_map_has_the_same_bytes(tmp_path):
    for name in "ab":
        write_coded(tmp_path / f"{name}.map.gz", smooth((10, 11, 12), 1))
    assert (tmp_path / "a.map.gz").read_bytes() == (tmp_path / "b.map.gz").read_bytes()


def test_numbers_of_any_size_come_back_from_bytes():
    for largest in (0, 1, 127, 128, 2**15, 2**23 - 1, 2**23, 2**29, 2**30, 2**45):
        numbers = np.array([[0, 1, -1, largest, -largest, -largest - 1]], np.float64)
        np.testing.assert_array_equal(coded._from_bytes(coded._to_bytes(numbers)), numbers)


def test_numpy_and_scipy_read_a_file_as_the_page_says(tmp_path):
    """docs/outputs.md has these lines."""
    field = smooth((9, 11, 13), 2)
    write_coded(tmp_path / "b.map.gz", field)
    stored = safetensors.numpy.load(gzip.decompress((tmp_path / "b.map.gz").read_bytes()))

    def numbers(name):
        n = sum(part.astype(int) << 8 * place for place, part in enumerate(stored[name]))
        return (n >> 1) ^ -(n & 1)  # 0, 1, 2, 3, 4 stand for 0, -1, 1, -2, 2

    steps, lps = stored["steps"], np.diag([-1, -1, 1, 1]) @ stored["affine"]
    u = scipy.fft.idctn(numbers("coefficients") * steps[0], axes=(1, 2, 3), norm="ortho")
    u += numbers("corrections") * steps[1]
    index = np.indices(stored["shape"])
    x = np.einsum("ij,j...->i...", lps[:3, :3], index) + lps[:3, 3, None, None, None]
    matrix = stored["matrix"]
    y = np.einsum("ij,j...->i...", matrix[:3, :3], x) + matrix[:3, 3, None, None, None]
    y += np.einsum("ij,j...->i...", lps[:3, :3], u)
    np.testing.assert_allclose(y - x, read_coded(tmp_path / "b.map.gz").displacement, atol=1e-4)
    assert off(Transform((y - x).astype(np.float32), field.grid), field).max() < margin((9, 11, 13)) * 1.1
