"""The optimisation itself: where it starts, what it reports, and that weights serve images of any size."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from cohortreg.errors import NotFiniteError
from cohortreg.icon.fit import Level, fit, lacking
from cohortreg.losses.similarities import similarity_to
from cohortreg.maps.fields import AffineMap
from cohortreg.maps.grids import identity_map

LEVEL = Level(downsample=1, steps=40, rate=0.3, deviation=1.5, spacing=1, window=2, weight=0.1, stride=1)
MSE = partial(similarity_to, "mse")


def ball(centre: float, size: int = 24) -> torch.Tensor:
    """A soft ball in a square, its centre in unit coordinates on the first axis, [1, 1, size, size]."""
    x, y = identity_map([size, size])[0]
    return torch.exp(-((x - centre) ** 2 + (y - 0.5) ** 2) / 0.02)[None, None]


def test_a_shift_is_found_in_both_directions():
    """Phi takes points of the fixed image to the moving one: at its ball by the distance, 0.1, and back by minus it."""
    found = fit(torch.cat([ball(0.55), ball(0.45)]), [LEVEL], MSE)
    forward, backward = found[0, :, 11, 12], found[1, :, 13, 12]
    torch.testing.assert_close(forward, torch.tensor([0.1, 0.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(backward, torch.tensor([-0.1, 0.0]), atol=0.02, rtol=0)


def test_it_goes_on_from_where_it_starts():
    """From the right answer, steps of next to nothing leave it there, whatever the grid that it is given on."""
    start = torch.zeros(2, 2, 12, 12)
    start[0, 0], start[1, 0] = 0.1, -0.1
    images = torch.cat([ball(0.55), ball(0.45)])
    found = fit(images, [Level(1, 1, 1e-6, 1.5, 1, 2, 0.1, 1)], MSE, start=start)
    torch.testing.assert_close(found[0, 0], torch.full((24, 24), 0.1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1, 0], torch.full((24, 24), -0.1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("downsample", [1, 2])
def test_what_similarity_is_lacking_where_the_balls_lie_and_where_they_are_placed(downsample):
    """By hand: nothing under the right shift, the mean squared difference under none, nothing once both are placed."""
    images, level = torch.cat([ball(0.55), ball(0.45)]), replace(LEVEL, downsample=downsample)
    shift, still = torch.zeros(2, 2, 24, 24), torch.zeros(2, 2, 24, 24)
    shift[0, 0], shift[1, 0] = 0.1, -0.1
    assert lacking(images, shift, level, MSE) < 1e-3
    if downsample == 1:
        difference = (images[0] - images[1]).square().mean().item()
        assert lacking(images, still, level, MSE) == pytest.approx(difference, rel=1e-4)
    identity = torch.eye(2, 3)
    moved = identity + torch.tensor([[0, 0, 0.1], [0, 0, 0]])
    assert lacking(images, still, level, MSE, places=AffineMap(torch.stack([moved, identity]))) < 1e-3


def test_two_pairs_at_once_are_found_as_each_alone():
    """Means over pairs halve gradients, and Adam takes the same steps."""
    movings, fixeds = [ball(0.55), ball(0.4)], [ball(0.45), ball(0.5)]
    together = fit(torch.cat([*movings, *fixeds]), [LEVEL], MSE)
    for number, pair in enumerate(zip(movings, fixeds, strict=True)):
        alone = fit(torch.cat(pair), [LEVEL], MSE)
        torch.testing.assert_close(together[number::2], alone, atol=2e-3, rtol=0)


def test_all_is_computed_where_the_images_are(monkeypatch):
    """A tensor made anywhere else, here where there is no memory, meets those of the images in an error."""
    jitter = identity_map([24, 24]) + 0.01
    monkeypatch.setattr("cohortreg.icon.fit.sample_points", lambda *given: jitter)  # drawn on the processor
    for name in ("mse", "lncc"):
        levels = [replace(LEVEL, downsample=2, steps=1, stride=2), replace(LEVEL, steps=1)]
        images, bounds = torch.cat([ball(0.55), ball(0.45)]), torch.tensor([[[0, 0], [24, 22]]] * 2)
        start = torch.zeros(2, 2, 24, 24)
        with torch.device("meta"):
            found = fit(images, levels, partial(similarity_to, name), bounds, start)
        assert found.device == images.device and found.isfinite().all()


def test_every_step_is_reported():
    steps = []
    fit(torch.cat([ball(0.5), ball(0.5)]), [LEVEL, LEVEL], MSE, report=lambda: steps.append(1))
    assert len(steps) == 80


def test_images_that_are_no_numbers_end_in_an_error():
    with pytest.raises(NotFiniteError):
        fit(torch.full((2, 1, 12, 12), torch.nan), [LEVEL], MSE)
