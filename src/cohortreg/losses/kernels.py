"""The loops of `fit` over voxels, compiled by Numba, on float32 arrays and into preallocated ones.

Coordinates are voxels of the grid at hand, which has two at least along each axis. What is not finite must not reach
the kernels: they look up memory by what they are given.
"""

import numpy as np

from cohortreg.compiling import REORDERED, called, compiled, inlined

_compiled, _called, _inlined = compiled(REORDERED), called(REORDERED), inlined(REORDERED)

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)


@_inlined
def _cell(position, size):
    """The lower corner of a position's cell, how far along the cell it lies, and 0 where it was beyond the border."""
    at = min(max(position, ZERO), np.float32(size - 1))
    corner = np.uint32(min(at, np.float32(size - 2)))
    return corner, at - np.float32(corner), ONE if at == position else ZERO


@_compiled
def warp(image, before, displacement, of_fixed, placement, first, last, warped, gradient, weight):
    """An image at before(x) + displacement(x) for each voxel x, its gradient there, and whether it was imaged there.

    Args:
        image, of_fixed: [*grid].
        before, displacement: [3, *grid], voxels.
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
                z = before[0, i, j, k] + displacement[0, i, j, k]
                y = before[1, i, j, k] + displacement[1, i, j, k]
                x = before[2, i, j, k] + displacement[2, i, j, k]
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
def correlation(warped, fixed, mean, variance, weight, scale, taps, floor, squared, slopes):
    """The sum of scale * weight * (1 - correlation) over voxels; slopes are multiplied by its gradient, in place.

    Images pass through plane by plane, and only as many windowed planes are kept as a window is thick: more would not
    stay in the processor's cache.

    Args:
        warped, fixed, weight: [*grid].
        mean, variance: Of the fixed image's windows, [*grid].
        taps: A tuple, a window's weight of its middle and those of the voxels outward from it along an axis; beyond
            the grid images count as 0.
        floor: Added to variances.
        slopes: Of the warped image by what it depends on, [any, *grid]; multiplied by the gradient by that image.
    """
    depth, height, width = warped.shape
    radius = len(taps) - 1
    thick = 2 * radius + 1
    padded = np.zeros((3, height + 2 * radius, width + 2 * radius), np.float32)
    moments, by_warped = np.empty((3, height, width), np.float32), np.empty((height, width), np.float32)
    ahead = np.zeros((thick, 3, height, width), np.float32)
    behind = np.zeros_like(ahead)
    order, total = np.arange(thick), 0.0
    for i in range(depth + 2 * radius):
        if i < depth:
            _products(warped[i], fixed[i], padded, taps)
            _window_plane(padded, taps, ahead[i % thick])
        else:
            ahead[i % thick] = ZERO
        i -= radius
        if 0 <= i < depth:
            _window_planes(ahead, (order + i - radius) % thick, taps, moments)
            total += _correlation(
                moments, mean[i], variance[i], weight[i], scale, floor, squared, padded, taps
            )
            # Windows are symmetric: what a voxel's window took from another is what the gradient gives back.
            _window_plane(padded, taps, behind[i % thick])
        else:
            behind[i % thick] = ZERO
        i -= radius
        if i >= 0:
            _window_planes(behind, (order + i - radius) % thick, taps, moments)
            _by_warped(warped[i], fixed[i], moments, by_warped)
            for axis in range(len(slopes)):
                _multiply(slopes[axis, i], by_warped)
    return total


@_called
def _products(warped, fixed, padded, taps):
    """The warped image, its square and its product with the fixed one, [height, width] each, into [3, padded]."""
    height, width = warped.shape
    radius = len(taps) - 1
    for j in range(height):
        for k in range(width):
            padded[0, radius + j, radius + k] = warped[j, k]
            padded[1, radius + j, radius + k] = warped[j, k] * warped[j, k]
            padded[2, radius + j, radius + k] = warped[j, k] * fixed[j, k]


@_called
def _window_plane(padded, taps, out):
    """Values [3, height, width], given with as many zeros around them as a window reaches, averaged over it."""
    channels, height, width = out.shape
    radius = len(taps) - 1
    row = np.empty(width + 2 * radius, np.float32)
    for channel in range(channels):
        for j in range(radius, radius + height):
            for k in range(width + 2 * radius):
                total = taps[0] * padded[channel, j, k]
                for d in range(1, len(taps)):
                    total += taps[d] * (padded[channel, j - d, k] + padded[channel, j + d, k])
                row[k] = total
            for k in range(width):
                total = taps[0] * row[radius + k]
                for d in range(1, len(taps)):
                    total += taps[d] * (row[radius + k - d] + row[radius + k + d])
                out[channel, j - radius, k] = total


@_called
def _window_planes(ring, order, taps, out):
    """Planes [thick, 3, height, width] averaged over a window, in the order in which they lie in the grid."""
    planes, out = ring.reshape(len(ring), -1), out.reshape(-1)
    radius = len(taps) - 1
    for n in range(out.size):
        total = taps[0] * planes[order[radius], n]
        for d in range(1, len(taps)):
            total += taps[d] * (planes[order[radius - d], n] + planes[order[radius + d], n])
        out[n] = total


@_called
def _correlation(moments, mean, variance, weight, scale, floor, squared, by_moments, taps):
    """A plane's part of `correlation`: its sum, and into padded by_moments the gradient by the windowed moments."""
    height, width = mean.shape
    radius = len(taps) - 1
    total = ZERO
    for j in range(height):
        for k in range(width):
            share = scale * weight[j, k]
            own_mean = moments[0, j, k]
            covariance = moments[2, j, k] - own_mean * mean[j, k]
            spread = moments[1, j, k] - own_mean * own_mean
            own = max(spread, ZERO) + floor
            inverse = ONE / (own * variance[j, k])
            if squared:
                found = covariance * covariance * inverse
                by_covariance, by_variance = TWO * covariance * inverse, -found / own
            else:
                root = np.sqrt(inverse)
                found = covariance * root
                by_covariance, by_variance = root, np.float32(-0.5) * found / own
            total += share * (ONE - found)
            by_covariance *= -share
            by_variance *= -share if spread > ZERO else ZERO
            by_moments[0, radius + j, radius + k] = -by_covariance * mean[j, k] - TWO * by_variance * own_mean
            by_moments[1, radius + j, radius + k] = by_variance
            by_moments[2, radius + j, radius + k] = by_covariance
    return total


@_called
def _by_warped(warped, fixed, by_products, out):
    """A gradient by the three `_products` as one by the warped image, [height, width]."""
    height, width = warped.shape
    for j in range(height):
        for k in range(width):
            out[j, k] = by_products[0, j, k] + TWO * warped[j, k] * by_products[1, j, k]
            out[j, k] += fixed[j, k] * by_products[2, j, k]


@_called
def _multiply(values, factors):
    """Multiply values [height, width] in place."""
    height, width = values.shape
    for j in range(height):
        for k in range(width):
            values[j, k] *= factors[j, k]


@_inlined
def _exponential(value):
    """The exponential of a number from -20 to 0, within 1e-5 of it, by a polynomial, which is vectorised."""
    y = value * np.float32(1 / 64)
    power = np.float32(1 / 24) + y * np.float32(1 / 120)
    power = ONE + y * (ONE + y * (np.float32(1 / 2) + y * (np.float32(1 / 6) + y * power)))
    for _ in range(6):
        power *= power
    return power


@_compiled
def self_similarity(warped, fixed, weight, scale, taps, least, planes, windowed, by_windowed, by_warped):
    """The sum of scale * weight * mean((MIND(warped) - MIND(fixed))**2) over voxels, and its gradient; see `mind`.

    In windowed distances [depth + 1, 3, height + 1, width + 1], D(p, p + a) along each axis is at p + (1, 1, 1), and
    so D(p, p - a) at p + (1, 1, 1) - a.

    Args:
        warped, weight: [*grid].
        fixed: MIND of the fixed image, [6, *grid].
        taps: As of `correlation`.
        least: The least V.
        planes: Room for windowed distances with `radius` planes before and after them, which are 0.
        windowed, by_windowed: Room for windowed distances.
        by_warped: The gradient by the warped image, [*grid], written.
    """
    depth, height, width = warped.shape
    radius = len(taps) - 1
    order = np.arange(2 * radius + 1)
    padded = np.zeros((3, height + 1 + 2 * radius, width + 1 + 2 * radius), np.float32)
    for i in range(depth + 1):
        _squared_differences(warped, i, padded, radius)
        _window_plane(padded, taps, planes[radius + i])
    for i in range(depth + 1):
        _window_planes(planes[i : i + 2 * radius + 1], order, taps, windowed[i])
        by_windowed[i] = ZERO
    total, by_distance = 0.0, np.empty((6, width), np.float32)
    for i in range(depth):
        for j in range(height):
            total += _descriptors(windowed, fixed, weight, scale, least, i, j, by_distance)
            for axis in range(3):
                _add_row(by_windowed[i + 1, axis, j + 1], 1, by_distance[axis])
            _add_row(by_windowed[i, 0, j + 1], 1, by_distance[3])
            _add_row(by_windowed[i + 1, 1, j], 1, by_distance[4])
            _add_row(by_windowed[i + 1, 2, j + 1], 0, by_distance[5])
    # Windows are symmetric: what a voxel's window took from another is what the gradient gives back.
    for i in range(depth + 1):
        padded[:, radius : radius + height + 1, radius : radius + width + 1] = by_windowed[i]
        _window_plane(padded, taps, planes[radius + i])
    for i in range(depth + 1):
        _window_planes(planes[i : i + 2 * radius + 1], order, taps, windowed[i])
    for i in range(depth):
        _by_differences(warped, i, windowed, by_warped[i])
    return total


@_called
def _squared_differences(image, i, out, margin):
    """Plane i of the squared differences, not windowed yet, as of `self_similarity`, behind a margin in `out`."""
    depth, height, width = image.shape
    for j in range(height):
        for k in range(width):
            along_z = ZERO
            if 0 < i < depth:
                along_z = image[i, j, k] - image[i - 1, j, k]
            out[0, margin + j + 1, margin + k + 1] = along_z * along_z
    for j in range(height):
        for k in range(width):
            along_y = along_x = ZERO
            if i > 0:
                if j < height - 1:
                    along_y = image[i - 1, j + 1, k] - image[i - 1, j, k]
                if k < width - 1:
                    along_x = image[i - 1, j, k + 1] - image[i - 1, j, k]
            out[1, margin + j + 1, margin + k + 1] = along_y * along_y
            out[2, margin + j + 1, margin + k + 1] = along_x * along_x


@_called
def _descriptors(windowed, fixed, weight, scale, least, i, j, by_distance):
    """A row's part of `self_similarity`: its sum, and the gradient by its six distances [6, width]."""
    total = ZERO
    for k in range(weight.shape[2]):
        d0, d1 = windowed[i + 1, 0, j + 1, k + 1], windowed[i + 1, 1, j + 1, k + 1]
        d2, d3 = windowed[i + 1, 2, j + 1, k + 1], windowed[i, 0, j + 1, k + 1]
        d4, d5 = windowed[i + 1, 1, j, k + 1], windowed[i + 1, 2, j + 1, k]
        mean = (d0 + d1 + d2 + d3 + d4 + d5) * np.float32(1 / 6)
        inverse = ONE / max(mean, least)
        m0, m1, m2 = _exponential(-d0 * inverse), _exponential(-d1 * inverse), _exponential(-d2 * inverse)
        m3, m4, m5 = _exponential(-d3 * inverse), _exponential(-d4 * inverse), _exponential(-d5 * inverse)
        e0, e1, e2 = m0 - fixed[0, i, j, k], m1 - fixed[1, i, j, k], m2 - fixed[2, i, j, k]
        e3, e4, e5 = m3 - fixed[3, i, j, k], m4 - fixed[4, i, j, k], m5 - fixed[5, i, j, k]
        share = scale * weight[i, j, k] * np.float32(1 / 6)
        total += share * (e0 * e0 + e1 * e1 + e2 * e2 + e3 * e3 + e4 * e4 + e5 * e5)
        share *= -TWO * inverse
        e0, e1, e2, e3, e4, e5 = e0 * m0, e1 * m1, e2 * m2, e3 * m3, e4 * m4, e5 * m5
        by_mean = (e0 * d0 + e1 * d1 + e2 * d2 + e3 * d3 + e4 * d4 + e5 * d5) * inverse * np.float32(1 / 6)
        by_mean = by_mean if mean > least else ZERO
        by_distance[0, k], by_distance[1, k] = share * (e0 - by_mean), share * (e1 - by_mean)
        by_distance[2, k], by_distance[3, k] = share * (e2 - by_mean), share * (e3 - by_mean)
        by_distance[4, k], by_distance[5, k] = share * (e4 - by_mean), share * (e5 - by_mean)
    return total


@_called
def _add_row(values, at, added):
    """Add to values, from `at` on, in place."""
    for k in range(len(added)):
        values[at + k] += added[k]


@_called
def _by_differences(image, i, by_squares, out):
    """Plane i of a gradient by the image, from one by the squared differences, as of `self_similarity`."""
    depth, height, width = image.shape
    for j in range(height):
        for k in range(width):
            value = image[i, j, k]
            total = ZERO
            if i > 0:
                total += (value - image[i - 1, j, k]) * by_squares[i, 0, j + 1, k + 1]
            if i < depth - 1:
                total += (value - image[i + 1, j, k]) * by_squares[i + 1, 0, j + 1, k + 1]
            out[j, k] = TWO * total
    for j in range(height):
        for k in range(width):
            value = image[i, j, k]
            total = ZERO
            if j > 0:
                total += (value - image[i, j - 1, k]) * by_squares[i + 1, 1, j, k + 1]
            if j < height - 1:
                total += (value - image[i, j + 1, k]) * by_squares[i + 1, 1, j + 1, k + 1]
            if k > 0:
                total += (value - image[i, j, k - 1]) * by_squares[i + 1, 2, j + 1, k]
            if k < width - 1:
                total += (value - image[i, j, k + 1]) * by_squares[i + 1, 2, j + 1, k + 1]
            out[j, k] += TWO * total


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
        field[a, b, c, axis], field[a, b, c + 1, axis],
        field[a, b + 1, c, axis], field[a, b + 1, c + 1, axis],
        field[a + 1, b, c, axis], field[a + 1, b, c + 1, axis],
        field[a + 1, b + 1, c, axis], field[a + 1, b + 1, c + 1, axis],
    )  # fmt: skip


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
