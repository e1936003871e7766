"""Images of two subjects, one of them turned and shifted by a known map."""

import itertools
import math

import pytest
import torch

from cohortreg.icon.alignment import align
from cohortreg.maps.fields import AffineMap
from cohortreg.maps.grids import identity_map, interpolate


def blobs(shape, seed: int) -> torch.Tensor:
    """Something smooth in the middle that looks like itself from one side only, [1, 1, *shape]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 1, *[7] * len(shape), generator=generator)
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
    smooth = torch.nn.functional.interpolate(noise, shape, mode=mode, align_corners=True)
    from_middle = (identity_map(shape) - 0.5).square().sum(1, keepdim=True)
    return (smooth + 1.5) * torch.exp(-from_middle / 0.05)


def turned(shape, spacing, degrees: float, shift) -> AffineMap:
    """A rotation in the plane of the last two axes, millimetres around the middle, and a shift in unit coordinates."""
    dim = len(shape)
    extent = torch.tensor([(size - 1) * step for size, step in zip(shape, spacing, strict=True)])
    rotation = torch.eye(dim)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rotation[-2:, -2:] = torch.tensor([[cos, -sin], [sin, cos]])
    linear = rotation * extent / extent[:, None]
    middle = torch.full((dim,), 0.5)
    return AffineMap(torch.cat([linear, (middle - linear @ middle + torch.tensor(shift))[:, None]], 1)[None])


CASES = {
    "3d": ((24, 32, 28), (1.0, 1.0, 1.0), (0.15, -0.2, 0.1)),
    "slices of 3 mm": ((12, 40, 40), (3.0, 1.0, 1.0), (0.1, 0.2, -0.2)),
    "2d": ((48, 40), (1.0, 1.0), (0.2, -0.15)),
}


@pytest.mark.parametrize("contrast", [1, -1])
@pytest.mark.parametrize("case", CASES)
def test_a_turned_and_shifted_image_is_found(case, contrast):
    shape, spacing, shift = CASES[case]
    image = blobs(shape, 1)
    there = turned(shape, spacing, 40, shift)
    moving = contrast * interpolate(image, there.on_grid(shape))
    bounds = torch.tensor([[[0.0] * len(shape), [1.0] * len(shape)]] * 2)
    extent = [(size - 1) * step for size, step in zip(shape, spacing, strict=True)]
    found = align(torch.cat([moving, image]), bounds, extent)
    corners = torch.tensor(list(itertools.product((0.35, 0.65), repeat=len(shape)))).T[None]
    # The moving image at a point is the fixed one at `there` of it: both maps in turn lead back.
    error = (there(found(corners)) - corners) * torch.tensor(extent)[None, :, None]
    assert error.norm(dim=1).max() < 0.08 * max(extent)


@pytest.mark.parametrize("case", CASES)
def test_images_that_lie_near_each_other_stay_where_they_are(case):
    shape, spacing, _ = CASES[case]
    image = blobs(shape, 2)
    moving = interpolate(image, turned(shape, spacing, 8, [0.04] * len(shape)).on_grid(shape))
    bounds = torch.tensor([[[0.0] * len(shape), [1.0] * len(shape)]] * 2)
    extent = [(size - 1) * step for size, step in zip(shape, spacing, strict=True)]
    assert align(torch.cat([moving, image]), bounds, extent) is None
