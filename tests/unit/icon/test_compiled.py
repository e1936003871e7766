"""The compiled loss is that of autograd, with the same gradient, wherever it serves."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache, partial

import pytest
import torch

from cohortreg.errors import NotFiniteError
from cohortreg.icon.compiled import CompiledLoss
from cohortreg.icon.fit import FieldsLoss, Imaged, Level, fit, lacking
from cohortreg.icon.objective import sample_points
from cohortreg.losses import loops, similarities
from cohortreg.losses.fields_of_view import unit_bounds
from cohortreg.losses.similarities import CorrelationWithOne, kernels_for, similarity_to
from cohortreg.maps.fields import AffineMap

SHAPE = (12, 14, 9)
LEVEL = Level(downsample=1, steps=5, rate=0.5, deviation=1.7, spacing=2, window=1.5, weight=1, stride=2)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def images(generator, number=2):
    coarse = torch.rand(number, 1, 4, 4, 3, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=SHAPE, mode="trilinear", align_corners=True)


def loss_of(generator, name="squared_lncc", number=2, places=None, bounded=True, level=LEVEL):
    fields_of_view = torch.tensor([[[0, 0, 0], [11, 14, 8]], [[1, 2, 0], [12, 14, 9]]]).repeat(
        number // 2, 1, 1
    )
    bounds = unit_bounds(fields_of_view, SHAPE, beyond_grid=False) if bounded else None
    before = 0.05 * torch.randn(number, 3, *SHAPE, generator=generator)
    imaged = Imaged(bounds, places)
    return FieldsLoss(images(generator, number), level, partial(similarity_to, name), imaged, before)


def assert_equal(loss, generator):
    control = torch.randn(loss.start().shape, generator=generator).requires_grad_()
    points = sample_points(loss.off_grid, 1, generator, control)
    fast = CompiledLoss(loss)
    value, (gradient,) = fast(control, points), torch.autograd.grad(fast(control, points), control)
    if isinstance(loss.similarity, CorrelationWithOne):
        loss.similarity.loops = None
    expected = loss(control, points)
    (by_autograd,) = torch.autograd.grad(expected, control)
    torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)
    # Not voxel by voxel: a point next to a voxel centre may fall to either side of it, where slopes differ.
    assert (gradient - by_autograd).norm() < 2e-3 * by_autograd.norm()


@pytest.mark.parametrize("name", ["squared_lncc", "lncc", "mse", "ncc"])
def test_value_and_gradient_are_those_of_autograd(name, generator):
    assert_equal(loss_of(generator, name), generator)


def test_of_two_pairs_too(generator):
    assert_equal(loss_of(generator, number=4), generator)


def test_where_everything_was_imaged(generator):
    assert_equal(loss_of(generator, bounded=False), generator)


def test_where_images_were_brought_to_one_place(generator):
    matrix = torch.eye(3, 4).repeat(2, 1, 1)
    matrix[0] += 0.05 * torch.randn(3, 4, generator=generator)
    assert_equal(loss_of(generator, places=AffineMap(matrix)), generator)


@pytest.mark.parametrize("change", [{"spacing": 1}, {"stride": 1}, {"deviation": 6}, {"window": 1}])
def test_of_other_levels(change, generator):
    assert_equal(loss_of(generator, level=replace(LEVEL, **change)), generator)


def test_two_threads_compute_what_one_does(generator, monkeypatch):
    monkeypatch.setattr(loops, "WORTH_THREADS", 1)
    loss = loss_of(generator)
    control = torch.randn(loss.start().shape, generator=generator)
    points = sample_points(loss.off_grid, 1, generator, control)
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(CompiledLoss(loss).value_and_gradient(control, points)[1])
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*results, atol=1e-8, rtol=1e-5)


def test_what_is_no_number_reaches_no_loop(generator):
    loss = loss_of(generator)
    control = loss.start()
    control[0, 0, 0, 0, 0] = torch.nan
    value, _ = CompiledLoss(loss).value_and_gradient(
        control, sample_points(loss.off_grid, 1, generator, control)
    )
    assert value.isnan()


def test_displacements_that_are_no_numbers_reach_no_loop_either(generator):
    start = torch.zeros(2, 3, *SHAPE)
    start[0, 0, 3, 3, 3] = torch.nan
    with pytest.raises(NotFiniteError):
        fit(images(generator), [LEVEL], partial(similarity_to, "squared_lncc"), start=start)


def test_a_correlation_keeps_the_gradients_of_earlier_calls(generator):
    """Of a sum of two of its values, as autograd asks for them later."""
    fixed, first, second = images(generator, 6).split(2)
    similarity, weight = CorrelationWithOne(1.5, fixed, squared=True), torch.ones_like(fixed)
    both = [each.clone().requires_grad_() for each in (first, second)]
    sum(similarity(each, weight) for each in both).backward()
    for each in both:
        expected = similarity.value_and_gradient(each.detach(), weight)[1]
        torch.testing.assert_close(each.grad, expected)


def test_volumes_on_a_processor_are_served_and_nothing_else():
    assert kernels_for(torch.zeros(1, 1, 2, 2, 2)) is loops
    others = [
        torch.zeros(1, 1, 4, 4),
        torch.zeros(1, 1, 4, 4, 1),
        torch.zeros(1, 1, 4, 4, 4, dtype=torch.float64),
        torch.zeros(1, 1, 4, 4, 4, device="meta"),
    ]
    assert [kernels_for(other) for other in others] == [None] * 4


def test_without_numba_it_is_slower_and_as_good(generator, monkeypatch):
    """By what similarity is lacking in the end: where it says nothing, Adam goes wherever rounding points."""
    pair, similarity = images(generator), partial(similarity_to, "squared_lncc")
    level = replace(LEVEL, steps=30, weight=0.1)

    def lacks() -> float:
        return lacking(pair, fit(pair, [level], similarity), level, similarity)

    still = lacking(pair, torch.zeros(2, 3, *SHAPE), level, similarity)
    fast = lacks()
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(similarities, "_compiled", cache(similarities._compiled.__wrapped__))
    assert kernels_for(pair) is None
    assert lacks() == pytest.approx(fast, rel=0.05) and fast < 0.9 * still


def test_a_numba_that_refuses_this_numpy_is_as_none_and_said_once(tmp_path):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('Numba needs NumPy 2.4 or less')")
    does = "import torch; from cohortreg.losses.similarities import kernels_for as k; x = torch.zeros(2, 1, 4, 4, 4); "
    does += "assert k(x) is None and k(x) is None"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        [sys.executable, "-c", does], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("Numba needs NumPy 2.4 or less") == 1


def test_loops_are_compiled_where_nothing_can_be_written():
    """In a process of its own, as a container has it: no folder beside the source, and none of the user's."""
    blocked = "from numba.core import caching; caching.CacheImpl._locator_classes = []; "
    does = (
        "import numpy as np; from cohortreg.losses.kernels import banded; out = np.empty((1, 1, 1), 'f4'); "
    )
    does += "banded(np.ones((1, 4, 1), 'f4'), np.array([0]), np.ones((1, 4), 'f4'), out); assert out == 4"
    subprocess.run([sys.executable, "-c", blocked + does], check=True)
