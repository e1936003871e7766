"""The loops of `fit` over voxels, compiled by Numba, on float32 arrays and into preallocated ones.

Coordinates are voxels of the grid at hand, which has two at least along each axis. What is not finite must not reach
the kernels: they look up memory by what they are given.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

#: Sums may be reordered, which is what lets a processor add several numbers at once.
_OPTIONS: dict[str, Any] = {"fastmath": True, "nogil": True, "error_model": "numpy"}
_inlined = njit(inline="always", **_OPTIONS)


def _compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop when it is first called, and cache it on disk where that is writable."""
    try:
        return njit(cache=True, **_OPTIONS)(loop)
    except RuntimeError:  # neither beside the source nor in the user's folder of caches
        return njit(**_OPTIONS)(loop)


ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)


@_inlined
def _cell(position, size):
    """The lower corner of a position's cell, how far along the cell it lies, and 0 where it was beyond the border."""
    at = min(max(position, ZERO), np.float32(size - 1))
    corner = np.uint32(min(at, np.float32(size - 2)))
    return corner, at - np.float32(corner), ONE if at == position else ZERO


@_compiled
def warp(image, displacement, of_fixed, placement, first, last, warped, gradient, weight):
    """An image at x + displacement(x) for each voxel x, its gradient there, and whether it was imaged there.

    Args:
        image, of_fixed: [*grid].
        displacement: [3, *grid], voxels.
        placement: [3, 4], the affine map that leads the point on.
        first, last: [3], what the led point must lie between.
        warped: [*grid], written.
        gradient: [3, *grid], per voxel, written.
        weight: [*grid], written: of_fixed where the led point lies there, else 0.
    """
    depth, height, width = image.shape
    voxels = image.reshape(-1)
    row, plane = np.uint32(width), np.uint32(height * width)
    for i in range(depth):
        for j in range(height):
            for k in range(width):
                z = np.float32(i) + displacement[0, i, j, k]
                y = np.float32(j) + displacement[1, i, j, k]
                x = np.float32(k) + displacement[2, i, j, k]
                imaged = True
                for axis in range(3):
                    place = placement[axis, 0] * z + placement[axis, 1] * y + placement[axis, 2] * x
                    place += placement[axis, 3]
                    imaged &= (place >= first[axis]) & (place <= last[axis])
                weight[i, j, k] = of_fixed[i, j, k] if imaged else ZERO
                a, t, in_z = _cell(z, depth)
                b, u, in_y = _cell(y, height)
                c, v, in_x = _cell(x, width)
                at = a * plane + b * row + c
                # Values at the cell's corners and differences along x, then along y, then along z.
                x00, x01 = voxels[at], voxels[at + row]
                x10, x11 = voxels[at + plane], voxels[at + plane + row]
                dx00, dx01 = voxels[at + np.uint32(1)] - x00, voxels[at + row + np.uint32(1)] - x01
                dx10 = voxels[at + plane + np.uint32(1)] - x10
                dx11 = voxels[at + plane + row + np.uint32(1)] - x11
                y0, y1 = x00 + v * dx00, x10 + v * dx10
                dy0, dy1 = x01 + v * dx01 - y0, x11 + v * dx11 - y1
                z0 = y0 + u * dy0
                dz = y1 + u * dy1 - z0
                dx0, dx1 = dx00 + u * (dx01 - dx00), dx10 + u * (dx11 - dx10)
                warped[i, j, k] = z0 + t * dz
                gradient[0, i, j, k] = in_z * dz
                gradient[1, i, j, k] = in_y * (dy0 + t * (dy1 - dy0))
                gradient[2, i, j, k] = in_x * (dx0 + t * (dx1 - dx0))


@_compiled
def window(values, taps, between, out):
    """Values [channels, *grid] averaged over a window; beyond the grid they count as 0.

    Args:
        taps: A tuple, the weight of the middle and those of the voxels outward from it.
        between: As large as values.
    """
    channels, depth, height, width = values.shape
    radius = len(taps) - 1
    padded = np.zeros(width + 2 * radius, np.float32)
    plane = np.empty((1, height, width), np.float32)
    for channel in range(channels):
        for i in range(depth):
            for j in range(height):
                for k in range(width):
                    padded[radius + k] = values[channel, i, j, k]
                for k in range(width):
                    total = taps[0] * padded[radius + k]
                    for d in range(1, len(taps)):
                        total += taps[d] * (padded[radius + k - d] + padded[radius + k + d])
                    plane[0, j, k] = total
            _window_rows(plane, taps, between[channel, i : i + 1])
        flat = (1, depth, height * width)
        _window_rows(between[channel].reshape(flat), taps, out[channel].reshape(flat))


@_inlined
def _window_rows(values, taps, out):
    """Values [many, size, width] averaged along their middle axis."""
    many, size, width = values.shape
    radius = len(taps) - 1
    for row in range(many):
        for n in range(radius, size - radius):
            for m in range(width):
                total = taps[0] * values[row, n, m]
                for d in range(1, len(taps)):
                    total += taps[d] * (values[row, n - d, m] + values[row, n + d, m])
                out[row, n, m] = total
        for end in range(min(2 * radius, size)):  # near both ends
            n = end if end < radius else size - 1 - (end - radius)
            for m in range(width):
                out[row, n, m] = taps[0] * values[row, n, m]
            for d in range(1, len(taps)):
                if n >= d:
                    for m in range(width):
                        out[row, n, m] += taps[d] * values[row, n - d, m]
                if n + d < size:
                    for m in range(width):
                        out[row, n, m] += taps[d] * values[row, n + d, m]


@_compiled
def products(warped, fixed, out):
    """The warped image, its square and its product with the fixed one, [voxels] each, into [3, voxels]."""
    for n in range(warped.size):
        out[0, n] = warped[n]
        out[1, n] = warped[n] * warped[n]
        out[2, n] = warped[n] * fixed[n]


@_compiled
def correlation(moments, mean, variance, share, floor, squared, by_moments):
    """The sum of share * (1 - correlation) over voxels, and its gradient by the windowed moments.

    Args:
        moments: Windowed `products`, [3, voxels].
        mean, variance: Of the fixed image's windows, [voxels].
        share: Of each voxel in the mean, [voxels].
        floor: Added to variances.
        by_moments: [3, voxels], written.
    """
    total = 0.0
    for n in range(share.size):
        own_mean = moments[0, n]
        covariance = moments[2, n] - own_mean * mean[n]
        spread = moments[1, n] - own_mean * own_mean
        own = max(spread, ZERO) + floor
        inverse = ONE / (own * variance[n])
        if squared:
            found = covariance * covariance * inverse
            by_covariance, by_variance = TWO * covariance * inverse, -found / own
        else:
            root = np.sqrt(inverse)
            found = covariance * root
            by_covariance, by_variance = root, np.float32(-0.5) * found / own
        total += share[n] * (ONE - found)
        by_covariance *= -share[n]
        by_variance *= -share[n] if spread > ZERO else ZERO
        by_moments[0, n] = -by_covariance * mean[n] - TWO * by_variance * own_mean
        by_moments[1, n] = by_variance
        by_moments[2, n] = by_covariance
    return total


@_compiled
def by_warped(warped, fixed, by_products, out):
    """A gradient by `products`, [3, voxels], as one by the warped image, [voxels]."""
    for n in range(warped.size):
        out[n] = by_products[0, n] + TWO * warped[n] * by_products[1, n] + fixed[n] * by_products[2, n]


@_compiled
def banded(values, first, weights, out):
    """The product of a banded matrix with the middle axis of values [many, from, width], into [many, to, width].

    Args:
        first: Where each row's band begins, [to].
        weights: Of the bands, [to, band], the band a multiple of 4.
    """
    many, _, width = values.shape
    size, band = weights.shape
    for row in range(many):
        for n in range(size):
            at = first[n]
            for d in range(0, band, 4):
                w0, w1, w2, w3 = weights[n, d], weights[n, d + 1], weights[n, d + 2], weights[n, d + 3]
                kept = ZERO if d == 0 else ONE
                for m in range(width):
                    out[row, n, m] = (
                        kept * out[row, n, m]
                        + w0 * values[row, at + d, m]
                        + w1 * values[row, at + d + 1, m]
                        + w2 * values[row, at + d + 2, m]
                        + w3 * values[row, at + d + 3, m]
                    )


@_inlined
def _weights(t, u, v):
    """Of the corners of a cell, by how far along it a point lies along each axis, as [2, 2, 2]."""
    s, r, q = ONE - t, ONE - u, ONE - v
    return s * r * q, s * r * v, s * u * q, s * u * v, t * r * q, t * r * v, t * u * q, t * u * v


@_inlined
def _corners(field, a, b, c, axis):
    """What a field [*grid, 3] has along an axis at the corners of a cell, as [2, 2, 2]."""
    return (
        field[a, b, c, axis],
        field[a, b, c + 1, axis],
        field[a, b + 1, c, axis],
        field[a, b + 1, c + 1, axis],
        field[a + 1, b, c, axis],
        field[a + 1, b, c + 1, axis],
        field[a + 1, b + 1, c, axis],
        field[a + 1, b + 1, c + 1, axis],
    )


@_inlined
def _add(field, a, b, c, axis, weights, value):
    """Add a value to a field [*grid, 3] along an axis at the corners of a cell, each by its weight."""
    field[a, b, c, axis] += weights[0] * value
    field[a, b, c + 1, axis] += weights[1] * value
    field[a, b + 1, c, axis] += weights[2] * value
    field[a, b + 1, c + 1, axis] += weights[3] * value
    field[a + 1, b, c, axis] += weights[4] * value
    field[a + 1, b, c + 1, axis] += weights[5] * value
    field[a + 1, b + 1, c, axis] += weights[6] * value
    field[a + 1, b + 1, c + 1, axis] += weights[7] * value


@_compiled
def inverse_consistency(points, there, back, scale, by_there, by_back):
    """The sum over points x and axes of scale * e**2, e = there(x) + back(x + there(x)), and its gradient: Eqs. 16, 17.

    Args:
        points: [number, 3].
        there, back: Displacements [*grid, 3].
        scale: Of each axis, [3].
        by_there, by_back: [*grid, 3], to which the gradient is added.
    """
    depth, height, width, _ = there.shape
    total = 0.0
    moved, error, onward = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    for n in range(len(points)):
        z, y, x = points[n, 0], points[n, 1], points[n, 2]
        a, t, _ = _cell(z, depth)
        b, u, _ = _cell(y, height)
        c, v, _ = _cell(x, width)
        of_there = _weights(t, u, v)
        for axis in range(3):
            at = _corners(there, a, b, c, axis)
            value = ZERO
            for corner in range(8):
                value += of_there[corner] * at[corner]
            moved[axis] = value
        k, t, in_z = _cell(z + moved[0], depth)
        j, u, in_y = _cell(y + moved[1], height)
        i, v, in_x = _cell(x + moved[2], width)
        of_back = _weights(t, u, v)
        s, r, q = ONE - t, ONE - u, ONE - v
        by_z, by_y, by_x = ZERO, ZERO, ZERO
        for axis in range(3):
            f000, f001, f010, f011, f100, f101, f110, f111 = _corners(back, k, j, i, axis)
            value = moved[axis]
            value += of_back[0] * f000 + of_back[1] * f001 + of_back[2] * f010 + of_back[3] * f011
            value += of_back[4] * f100 + of_back[5] * f101 + of_back[6] * f110 + of_back[7] * f111
            total += scale[axis] * value * value
            value *= TWO * scale[axis]
            error[axis] = value
            by_z += value * (
                r * (q * (f100 - f000) + v * (f101 - f001)) + u * (q * (f110 - f010) + v * (f111 - f011))
            )
            by_y += value * (
                s * (q * (f010 - f000) + v * (f011 - f001)) + t * (q * (f110 - f100) + v * (f111 - f101))
            )
            by_x += value * (
                s * (r * (f001 - f000) + u * (f011 - f010)) + t * (r * (f101 - f100) + u * (f111 - f110))
            )
        onward[0], onward[1], onward[2] = in_z * by_z, in_y * by_y, in_x * by_x
        for axis in range(3):
            _add(by_back, k, j, i, axis, of_back, error[axis])
            _add(by_there, a, b, c, axis, of_there, error[axis] + onward[axis])
    return total
