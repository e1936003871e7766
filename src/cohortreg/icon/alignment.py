"""Rigid alignment of images that lie far apart, found without an initial guess.

A fit follows the gradient of its similarity, and finds the way over about an eighth of the field of view. Beyond, every
rotation of a set is tried with every shift at a coarse resolution, as a product of Fourier transforms; the best
few and the identity are refined by Adam, and the best of these is what the images say. What two subjects differ in
besides, such as their size, is left to the fit: maps that may also stretch and shear lead it astray more often.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product

import torch
import torch.nn.functional as F
from torch import Tensor

from cohortreg.icon.adam import Adam
from cohortreg.losses.fields_of_view import within
from cohortreg.losses.similarities import CorrelationWithOne
from cohortreg.maps.fields import AffineMap
from cohortreg.maps.grids import identity_map, interpolate

#: Voxels of the longest axis at which rotations and shifts are tried; and at which the best are refined, first and, if
#: the images then seem to lie far apart, once more.
SEARCHED, REFINED = 14, (14, 20)
#: Degrees of the rotations that are tried around each of 26 directions; those between are within Adam's reach.
ANGLES = (22.5, 45.0)
#: Part of the voxels that the two images share at least, and of the field of view that a shift crosses at most.
SHARED, FARTHEST = 0.4, 0.35
#: Rotations that are refined, beside the identity; the steps of Adam that each takes, and its rate, parts of the
#: longest axis; the window of the similarity, voxels.
BEST, STEPS, RATE, WINDOW = 6, 20, 0.02, 1.5
#: How far points move on average, as parts of the longest axis, under a map that a fit finds by itself; and how much
#: better than such ones, in squared local correlation, one that leads farther has to be.
REACHED, MARGIN = 0.1, 0.02


def align(images: Tensor, bounds: Tensor, extent: Sequence[float]) -> AffineMap | None:
    """The rigid map from the fixed to the moving image of a pair that lies far apart; None where it does not.

    Args:
        images: The moving and the fixed one, [2, 1, *grid], three-dimensional or two.
        bounds: What of them was imaged, see `within`, [2, 2, dim].
        extent: Of the grid between its outer voxel centres, in millimetres.

    Returns:
        The map of unit coordinates, in which it is affine, [1, dim, dim + 1].
    """
    scale = torch.tensor(extent, dtype=images.dtype, device=images.device)
    scale = scale / scale.max()
    starts = _shifted(_coarse(images, SEARCHED, scale), bounds, _in_unit(_rotations(len(extent)), scale))
    identity = torch.eye(len(extent), len(extent) + 1, device=images.device, dtype=images.dtype)
    maps = torch.stack([identity, *starts])
    for longest in REFINED:
        maps, losses = _refined(_coarse(images, longest, scale), bounds, maps, scale)
        best = _farther(maps, losses, scale)
        if best is None:
            return None
        found = AffineMap(maps[best : best + 1])
    return found


def _farther(maps: Tensor, losses: Tensor, scale: Tensor) -> int | None:
    """The best map of `_refined`, if a fit would not find it and it is clearly better than those it would; else None.

    Of the axes `scale` has the lengths, parts of the longest.
    """
    # Points halfway between the middle and the corners stand for all.
    points = identity_map([2] * len(scale), maps.device, maps.dtype) / 2 + 0.25
    moved = ((AffineMap(maps)(points) - points).movedim(1, -1) * scale).flatten(1, -2).norm(dim=-1).mean(1)
    near = moved < REACHED
    best = int(torch.where(near, math.inf, losses).argmin())
    if near.all() or losses[best] > torch.where(near, losses, math.inf).min() - MARGIN:
        return None
    return best


def _coarse(images: Tensor, longest: int, scale: Tensor) -> Tensor:
    """Downsample images to `longest` nearly cubic voxels along their longest axis, by averaging."""
    pool: Callable[..., Tensor] = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[len(scale)]
    sizes = (max(round(longest * part), 2) for part in scale.tolist())
    return pool(images, [min(size, voxels) for size, voxels in zip(images.shape[2:], sizes, strict=True)])


def _rotations(dim: int) -> Tensor:
    """The identity, and rotations by `ANGLES`, in a plane or around 26 directions, [rotations, dim, dim]."""
    planes = _planes(dim)
    directions = torch.tensor([d for d in product((-1.0, 0.0, 1.0), repeat=len(planes)) if any(d)])
    turns = torch.tensordot(directions / directions.norm(dim=1, keepdim=True), planes, 1)
    angles = torch.tensor([math.radians(angle) for angle in ANGLES])
    turned = torch.linalg.matrix_exp(angles.reshape(-1, 1, 1, 1) * turns).flatten(0, 1)
    return torch.cat([torch.eye(dim)[None], turned])


def _planes(dim: int) -> Tensor:
    """Generators of the rotations in the plane of each two axes, [planes, dim, dim]."""
    planes = torch.zeros(math.comb(dim, 2), dim, dim)
    for plane, (one, other) in zip(planes, combinations(range(dim), 2), strict=True):
        plane[one, other], plane[other, one] = -1, 1
    return planes


def _in_unit(linear: Tensor, scale: Tensor) -> Tensor:
    """Linear maps of millimetres around the grid's middle, [maps, dim, dim], as affine ones of unit coordinates."""
    linear = linear.to(scale) * scale / scale[:, None]
    middle = torch.full_like(scale, 0.5)
    return torch.cat([linear, (middle - linear @ middle)[..., None]], -1)


def _shifted(images: Tensor, bounds: Tensor, maps: Tensor) -> list[Tensor]:
    """The `BEST` maps, each with its best shift, under which the images correlate most.

    Correlation is the normalised one over the voxels that both images have at a shift (Padfield, IEEE TIP 2012), and
    squared, so that contrast may be reversed. Images are [2, 1, *grid].
    """
    shape, dim = images.shape[2:], images.dim() - 2
    padded = [2 * size for size in shape]
    axes = tuple(range(-dim, 0))

    def transformed(values: Tensor) -> Tensor:
        return torch.fft.rfftn(values, s=padded, dim=axes)

    def products(first: Tensor, second: Tensor) -> Tensor:
        """Sums over x of first(x) second(x + shift), at each shift."""
        return torch.fft.irfftn(first.conj() * second, s=padded, dim=axes)

    centres = identity_map(shape, images.device, images.dtype)
    moving, fixed = images.split(1)
    points = AffineMap(maps).on_grid(shape)
    inside = within(points, bounds[:1])[:, 0]
    turned = interpolate(moving.expand(len(maps), *moving.shape[1:]), points)[:, 0] * inside
    inside_fixed = within(centres, bounds[1:])[:, 0]
    fixed = fixed[:, 0] * inside_fixed
    of_fixed, of_square, of_inside = map(transformed, (fixed, fixed**2, inside_fixed))
    by_turned, by_square, by_inside = map(transformed, (turned, turned**2, inside))
    shared = products(of_inside, by_inside).clamp(min=1e-3)
    sum_fixed, sum_turned = products(of_fixed, by_inside), products(of_inside, by_turned)
    covariance = products(of_fixed, by_turned) - sum_fixed * sum_turned / shared
    spread_fixed = (products(of_square, by_inside) - sum_fixed**2 / shared).clamp(min=1e-6)
    spread_turned = (products(of_inside, by_square) - sum_turned**2 / shared).clamp(min=1e-6)
    correlation = covariance**2 / (spread_fixed * spread_turned)
    correlation = torch.where(shared >= SHARED * inside_fixed.sum(), correlation, 0)
    shifts = torch.meshgrid(*(torch.fft.fftfreq(n, 1 / n) for n in padded), indexing="ij")
    near = torch.stack([s.abs() <= FARTHEST * n for s, n in zip(shifts, shape, strict=True)]).all(0)
    correlation = torch.where(near.to(images.device), correlation, 0).flatten(1)
    best, places = correlation.max(1)
    starts = []
    for number in best.argsort(descending=True)[:BEST].tolist():
        shift = torch.stack([s.flatten()[int(places[number])] for s in shifts]).to(images)
        shift = shift / torch.tensor([max(n - 1, 1) for n in shape], device=images.device)
        linear, offset = maps[number, :, :-1], maps[number, :, -1]
        starts.append(torch.cat([linear, (offset + linear @ shift)[:, None]], 1))
    return starts


def _refined(images: Tensor, bounds: Tensor, starts: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Rigid maps, each by Adam from a start, [starts, dim, dim + 1], and what squared local correlation each lacks."""
    shape, dim = images.shape[2:], images.dim() - 2
    count = len(starts)
    moving, fixed = (image.expand(count, *image.shape[1:]) for image in images.split(1))
    similarity = CorrelationWithOne(WINDOW, fixed, squared=True)
    from_middle = identity_map(shape, images.device, images.dtype) - 0.5
    inside = within(from_middle + 0.5, bounds[1:])
    linear, planes = starts[..., :-1], _planes(dim).to(starts)
    rotations, middles = linear * scale[:, None] / scale, linear.sum(-1) / 2 + starts[..., -1]
    # Half of a turn and parts of the longest axis, so that each parameter moves points about as far as the others do.
    change = starts.new_zeros(count, len(planes) + dim).requires_grad_(True)
    optimizer = Adam(change, RATE, STEPS)

    def rigid() -> tuple[Tensor, Tensor]:
        turn, shift = change.split([len(planes), dim], 1)
        rotated = torch.linalg.matrix_exp(torch.tensordot(2 * turn, planes, 1)) @ rotations
        return rotated * scale / scale[:, None], middles + shift / scale

    def warped() -> tuple[Tensor, Tensor]:
        linear, middle = rigid()
        phi = (linear @ from_middle.flatten(2)).unflatten(2, shape) + middle.reshape(count, dim, *[1] * dim)
        return interpolate(moving, phi), within(phi.detach(), bounds[:1]) * inside

    for _ in range(STEPS):
        similarity(*warped()).backward()
        optimizer.step()
    with torch.no_grad():
        linear, middle = rigid()
        maps = torch.cat([linear, (middle - linear.sum(-1) / 2)[..., None]], -1)
        similarity = CorrelationWithOne(WINDOW, fixed[:1], squared=True)
        images, weights = warped()
        lacking = [similarity(*pair) for pair in zip(images.split(1), weights.split(1), strict=True)]
        shared = weights.flatten(1).sum(1) >= SHARED * inside.sum()
        return maps, torch.where(shared, torch.stack(lacking), math.inf)
