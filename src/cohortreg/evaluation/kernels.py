"""The loops of the measures over voxels: volume forms, maps there and back, where structures arrive, distances.

Positions are voxels. Displacements are float32 [3, *grid] in millimetres of LPS, and finite; where a position lies
beyond the grid, they are those of the border. Matrices are float64: `onto` [3, 4] takes a voxel's position to
where it lies in another grid, `turned` [3, 3] takes a displacement to that grid's voxels.
"""

import numpy as np

from cohortreg.compiling import EXACT, called, compiled, inlined

_compiled, _called, _inlined = compiled(EXACT), called(EXACT), inlined(EXACT)

#: Voxels along each axis of the blocks in which `warp` looks for anything of a mask.
SIDE = 4
#: By how much of a voxel what `reach` finds is widened against rounding.
ROUNDING = 1e-3


@_inlined
def _cell(position, size):
    """The lower corner of a position's cell, and how far along the cell it lies, from 0 to 1."""
    at = min(max(0.0, position), np.float64(size - 1))  # 0 also of NaN
    corner = np.uint32(min(at, np.float64(max(size - 2, 0))))
    return corner, at - np.float64(corner)


@_inlined
def _steps(depth, height, width):
    """From a voxel in memory to the next along each axis; none along an axis of one voxel."""
    none = np.uint32(0)
    return (
        np.uint32(height * width) if depth > 1 else none,
        np.uint32(width) if height > 1 else none,
        np.uint32(1) if width > 1 else none,
    )


@_inlined
def _linear(values, at, steps, t, u, v):
    """Values [voxels] interpolated in the cell at a voxel."""
    z, y, x = steps
    a, b = np.float64(values[at]), np.float64(values[at + y])
    c, d = np.float64(values[at + z]), np.float64(values[at + z + y])
    a += v * (values[at + x] - a)
    b += v * (values[at + y + x] - b)
    c += v * (values[at + z + x] - c)
    d += v * (values[at + z + y + x] - d)
    a += u * (b - a)
    c += u * (d - c)
    return a + t * (c - a)


@_compiled
def volume_form(displacement, axes, form):
    """Determinants of the backward differences of x + u(x).

    Args:
        axes: From a voxel to the next along each axis, [3, 3] millimetres, a column each.
        form: [*(n - 1 for n in grid)], written.
    """
    depth, height, width = form.shape
    for i in range(depth):
        for j in range(height):
            for k in range(width):
                x = np.float64(displacement[0, i + 1, j + 1, k + 1])
                y = np.float64(displacement[1, i + 1, j + 1, k + 1])
                z = np.float64(displacement[2, i + 1, j + 1, k + 1])
                a = axes[0, 0] + (x - displacement[0, i, j + 1, k + 1])
                b = axes[1, 0] + (y - displacement[1, i, j + 1, k + 1])
                c = axes[2, 0] + (z - displacement[2, i, j + 1, k + 1])
                d = axes[0, 1] + (x - displacement[0, i + 1, j, k + 1])
                e = axes[1, 1] + (y - displacement[1, i + 1, j, k + 1])
                f = axes[2, 1] + (z - displacement[2, i + 1, j, k + 1])
                g = axes[0, 2] + (x - displacement[0, i + 1, j + 1, k])
                h = axes[1, 2] + (y - displacement[1, i + 1, j + 1, k])
                m = axes[2, 2] + (z - displacement[2, i + 1, j + 1, k])
                form[i, j, k] = (b * f - c * e) * g + (c * d - a * f) * h + (a * e - b * d) * m


@_compiled
def distance_there_and_back(there, onto, turned, back, onto_back, turned_back, beyond, distances):
    """The sum over the voxels of `there` of how many voxels of its grid a voxel is from where it comes back to.

    Args:
        there, back: Displacements of either grid.
        onto, turned: To the grid of `back`; `onto_back`, `turned_back` from there.
        beyond: How many voxels there a voxel outside the grid of `back` is, along each axis, [3].
        distances: [width], for those of a row, written.
    """
    depth, height, width = there.shape[1:]
    depth_back, height_back, width_back = back.shape[1:]
    steps = _steps(depth_back, height_back, width_back)
    plane, row = np.uint32(height_back * width_back), np.uint32(width_back)
    size = depth_back * height_back * width_back
    values = back.reshape(-1)
    along_0, along_1, along_2 = values[:size], values[size : 2 * size], values[2 * size :]
    total = 0.0
    for i in range(depth):
        for j in range(height):
            start_0 = onto[0, 0] * i + onto[0, 1] * j + onto[0, 3]
            start_1 = onto[1, 0] * i + onto[1, 1] * j + onto[1, 3]
            start_2 = onto[2, 0] * i + onto[2, 1] * j + onto[2, 3]
            for k in range(width):
                n = np.float64(np.int32(k))
                u0, u1, u2 = there[0, i, j, k], there[1, i, j, k], there[2, i, j, k]
                z = start_0 + onto[0, 2] * n + turned[0, 0] * u0 + turned[0, 1] * u1 + turned[0, 2] * u2
                y = start_1 + onto[1, 2] * n + turned[1, 0] * u0 + turned[1, 1] * u1 + turned[1, 2] * u2
                x = start_2 + onto[2, 2] * n + turned[2, 0] * u0 + turned[2, 1] * u1 + turned[2, 2] * u2
                a, t = _cell(z, depth_back)
                b, u = _cell(y, height_back)
                c, v = _cell(x, width_back)
                at = a * plane + b * row + c
                w0 = _linear(along_0, at, steps, t, u, v)
                w1 = _linear(along_1, at, steps, t, u, v)
                w2 = _linear(along_2, at, steps, t, u, v)
                # Where in its grid that is, and how far it is to the point outside.
                p, q, r = a + t, b + u, c + v
                e0 = onto_back[0, 0] * p + onto_back[0, 1] * q + onto_back[0, 2] * r + onto_back[0, 3]
                e1 = onto_back[1, 0] * p + onto_back[1, 1] * q + onto_back[1, 2] * r + onto_back[1, 3]
                e2 = onto_back[2, 0] * p + onto_back[2, 1] * q + onto_back[2, 2] * r + onto_back[2, 3]
                e0 += turned_back[0, 0] * w0 + turned_back[0, 1] * w1 + turned_back[0, 2] * w2
                e1 += turned_back[1, 0] * w0 + turned_back[1, 1] * w1 + turned_back[1, 2] * w2
                e2 += turned_back[2, 0] * w0 + turned_back[2, 1] * w1 + turned_back[2, 2] * w2
                e0 += beyond[0] * (z - p) - i
                e1 += beyond[1] * (y - q) - j
                e2 += beyond[2] * (x - r) - n
                distances[k] = np.sqrt(e0 * e0 + e1 * e1 + e2 * e2)
            for k in range(width):
                total += distances[k]
    return total


@_compiled
def reach(displacement, to_field, onto, turned, shape, block, low, high):
    """The box in another grid that each block of voxels of a grid is mapped into.

    An interpolated displacement lies between the least and the greatest of the field around it along each axis.

    Args:
        to_field: [3, 4], from a voxel's position to that in the grid of the displacements.
        onto, turned: To the other grid.
        shape, block: Voxels along each axis, of the grid and of a block.
        low, high: [*blocks, 3], written.
    """
    middle, half, least, most = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    first, last = np.empty(3, np.int64), np.empty(3, np.int64)
    for p, q, r in np.ndindex(low.shape[:3]):
        for axis, number in enumerate((p, q, r)):
            nearest = number * block[axis]
            furthest = min(nearest + block[axis], shape[axis]) - 1
            middle[axis], half[axis] = (nearest + furthest) / 2, (furthest - nearest) / 2
        for axis in range(3):
            centre, around = to_field[axis, 3], ROUNDING
            for other in range(3):
                centre += to_field[axis, other] * middle[other]
                around += abs(to_field[axis, other]) * half[other]
            furthest = displacement.shape[axis + 1] - 1
            first[axis] = int(min(max(np.floor(centre - around), 0), furthest))
            last[axis] = int(min(max(np.ceil(centre + around), 0), furthest))
        for axis in range(3):
            lower = upper = displacement[axis, first[0], first[1], first[2]]
            for i in range(first[0], last[0] + 1):
                for j in range(first[1], last[1] + 1):
                    for k in range(first[2], last[2] + 1):
                        value = displacement[axis, i, j, k]
                        lower, upper = min(lower, value), max(upper, value)
            least[axis], most[axis] = lower, upper
        for axis in range(3):
            begin, end = onto[axis, 3] - ROUNDING, onto[axis, 3] + ROUNDING
            for other in range(3):
                centre, around = onto[axis, other] * middle[other], abs(onto[axis, other]) * half[other]
                one, two = turned[axis, other] * least[other], turned[axis, other] * most[other]
                begin += centre - around + min(one, two)
                end += centre + around + max(one, two)
            low[p, q, r, axis], high[p, q, r, axis] = begin, end


@_called
def _positions(displacement, to_field, onto, turned, i, j, begin, z, y, x):
    """Where voxels (i, j, begin), (i, j, begin + 1), ... are mapped to, written into [voxels] along each axis."""
    depth, height, width = displacement.shape[1:]
    steps = _steps(depth, height, width)
    plane, row = np.uint32(height * width), np.uint32(width)
    size = depth * height * width
    values = displacement.reshape(-1)
    along_0, along_1, along_2 = values[:size], values[size : 2 * size], values[2 * size :]
    for n in range(len(z)):
        k = np.float64(np.int32(begin + n))
        a, t = _cell(to_field[0, 0] * i + to_field[0, 1] * j + to_field[0, 2] * k + to_field[0, 3], depth)
        b, u = _cell(to_field[1, 0] * i + to_field[1, 1] * j + to_field[1, 2] * k + to_field[1, 3], height)
        c, v = _cell(to_field[2, 0] * i + to_field[2, 1] * j + to_field[2, 2] * k + to_field[2, 3], width)
        at = a * plane + b * row + c
        u0 = _linear(along_0, at, steps, t, u, v)
        u1 = _linear(along_1, at, steps, t, u, v)
        u2 = _linear(along_2, at, steps, t, u, v)
        z[n] = onto[0, 0] * i + onto[0, 1] * j + onto[0, 2] * k + onto[0, 3]
        y[n] = onto[1, 0] * i + onto[1, 1] * j + onto[1, 2] * k + onto[1, 3]
        x[n] = onto[2, 0] * i + onto[2, 1] * j + onto[2, 2] * k + onto[2, 3]
        z[n] += turned[0, 0] * u0 + turned[0, 1] * u1 + turned[0, 2] * u2
        y[n] += turned[1, 0] * u0 + turned[1, 1] * u1 + turned[1, 2] * u2
        x[n] += turned[2, 0] * u0 + turned[2, 1] * u1 + turned[2, 2] * u2


@_called
def _mark(mask, marked):
    """Mark the blocks of `SIDE` voxels along each axis that have anything of a mask."""
    depth, height, width = mask.shape
    for i in range(depth):
        for j in range(height):
            for k in range(width):
                if mask[i, j, k]:
                    marked[i // SIDE, j // SIDE, k // SIDE] = True


@_called
def _any_within(marked, mask, low, high):
    """Whether a box of positions touches a marked block. What lies outside the mask is background."""
    first, last = np.empty(3, np.int64), np.empty(3, np.int64)
    for axis in range(3):
        furthest = mask.shape[axis] - 1
        if high[axis] < 0 or low[axis] > furthest:
            return False
        first[axis] = int(max(0.0, low[axis])) // SIDE
        last[axis] = int(min(furthest, max(0.0, high[axis] + 1))) // SIDE
    for i in range(first[0], last[0] + 1):
        for j in range(first[1], last[1] + 1):
            for k in range(first[2], last[2] + 1):
                if marked[i, j, k]:
                    return True
    return False


@_compiled
def warp(mask, low, high, block, begin, displacement, to_field, onto, turned, least, warped):
    """Which voxels of a box are mapped to where a mask, as an image that is interpolated linearly, is `least` or more.

    Args:
        mask: [i, j, k] bool, with a layer of background around it.
        low, high: What `reach` says of the blocks of the box.
        begin: The box's first voxel, [3].
        onto, turned: To the voxels of the mask.
        warped: [*box] bool, false, written.
    """
    depth, height, width = mask.shape
    marked = np.zeros(((depth - 1) // SIDE + 1, (height - 1) // SIDE + 1, (width - 1) // SIDE + 1), np.bool_)
    _mark(mask, marked)
    voxels, row, plane = mask.reshape(-1), width, height * width
    z, y, x = np.empty(block[2]), np.empty(block[2]), np.empty(block[2])
    for number in np.ndindex(low.shape[:3]):
        p, q, r = number
        if not _any_within(marked, mask, low[p, q, r], high[p, q, r]):
            continue
        first = r * block[2]
        many = min(first + block[2], warped.shape[2]) - first
        for i in range(p * block[0], min((p + 1) * block[0], warped.shape[0])):
            for j in range(q * block[1], min((q + 1) * block[1], warped.shape[1])):
                _positions(
                    displacement, to_field, onto, turned, np.float64(begin[0] + i), np.float64(begin[1] + j),
                    begin[2] + first, z[:many], y[:many], x[:many],
                )  # fmt: skip
                for n in range(many):
                    if not (0 <= z[n] < depth - 1 and 0 <= y[n] < height - 1 and 0 <= x[n] < width - 1):
                        continue
                    a, b, c = int(z[n]), int(y[n]), int(x[n])
                    at = a * plane + b * row + c
                    m000, m001 = voxels[at], voxels[at + 1]
                    m010, m011 = voxels[at + row], voxels[at + row + 1]
                    m100, m101 = voxels[at + plane], voxels[at + plane + 1]
                    m110, m111 = voxels[at + plane + row], voxels[at + plane + row + 1]
                    if not (m000 | m001 | m010 | m011 | m100 | m101 | m110 | m111):
                        continue
                    t, u, v = z[n] - a, y[n] - b, x[n] - c
                    s, w = 1 - u, 1 - v
                    lower = s * (w * m000 + v * m001) + u * (w * m010 + v * m011)
                    upper = s * (w * m100 + v * m101) + u * (w * m110 + v * m111)
                    warped[i, j, first + n] = (1 - t) * lower + t * upper >= least


@_compiled
def nearest(mask, places, offsets, lengths, distances):
    """The distance from each place to the nearest voxel of a mask; infinite where no offset leads to one.

    Args:
        mask: [voxels] bool, with background around it for offsets to end in.
        places: Indices of voxels.
        offsets, lengths: From a voxel to those around it, the nearest first, and how far that is.
        distances: [places], written.
    """
    for place in range(len(places)):
        distances[place] = np.inf
        for number in range(len(offsets)):
            if mask[places[place] + offsets[number]]:
                distances[place] = lengths[number]
                break
