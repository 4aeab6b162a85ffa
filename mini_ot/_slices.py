"""Sorting on many lines at once: the loops of the sliced energy gradient.

On a line the slope of the energy kernel's witness at t is P(y < t) - P(y > t) - P(x < t) + P(x > t), where P
is a share of the points: ranks are all that is needed.  Here they come from sorting, in ``_cells.py`` faster
from counting.  Projections become whole numbers of 32 bits, so that equal means equal to 2^-32 of the extent.
Groups of slices add up in a fixed order, so the number of threads changes no bit.
"""

import numpy as np

from ._jit import by_rows, jit

GROUPS = 8
_INDEX = 30  # low bits that carry a point's number; its projection stands in the bits above
_BIG = 2.0**52  # adding it to a smaller number leaves the whole part in the low bits


@jit
def project(points, direction, reach, scale, line):
    """line[i] = scale (reach + <points[:, i], direction>), a loop that vector units take."""
    for i in range(len(line)):
        line[i] = scale * reach
    for k in range(len(direction)):
        row, factor = points[k], scale * direction[k]
        for i in range(len(line)):
            line[i] += row[i] * factor


@jit
def _sort(a, b):
    """Sort `a` by the 32 bits above the index, `b` as scratch; return the one of both that is sorted.

    Two passes by 11 bits each, and then insertion for the lowest ten bits, which hardly ever matter.  Where
    they do (one far point, all others in a few cells), insertion gives up and all 32 bits are sorted by 8.
    """
    low, high = np.zeros(2048, np.int64), np.zeros(2048, np.int64)
    for i in range(len(a)):
        low[(a[i] >> (_INDEX + 10)) & 2047] += 1
        high[a[i] >> (_INDEX + 21)] += 1
    _scatter(a, b, _INDEX + 10, low)
    _scatter(b, a, _INDEX + 21, high)
    moves, most = 0, 8 * len(a)
    for i in range(1, len(a)):
        one, j = a[i], i
        while j > 0 and a[j - 1] > one and moves <= most:
            a[j] = a[j - 1]
            j -= 1
            moves += 1
        a[j] = one
    if moves > most:
        for digit in range(4):
            low[:256] = 0
            for i in range(len(a)):
                low[(a[i] >> (_INDEX + 8 * digit)) & 255] += 1
            _scatter(a, b, _INDEX + 8 * digit, low[:256])
            a, b = b, a
    return a


@jit
def _scatter(a, b, shift, count):
    """Put `a` into `b` in the order of its bits above `shift`; `count` says how often each value occurs."""
    total, mask = 0, len(count) - 1
    for value in range(len(count)):
        here = count[value]
        count[value] = total
        total += here
    for i in range(len(a)):
        value = (a[i] >> shift) & mask
        b[count[value]] = a[i]
        count[value] += 1


@jit
def _sorted_groups(start, stop, out, pool, counts, weights, directions, reach, scale):
    n, total = out.shape[2], pool.shape[1]
    first, second = counts
    a, b, line = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total)
    for group in range(start, stop):
        for direction in directions[group::GROUPS]:
            project(pool, direction, reach, scale, line)
            for i in range(total):
                a[i] = ((np.float64(line[i] + _BIG).view(np.int64) & 0xFFFFFFFF) << _INDEX) | i
            order = _sort(a, b)
            before, i = 0.0, 0  # the sum of the weights below
            while i < total:
                key, upto, end = order[i] >> _INDEX, before, i
                while end < total and order[end] >> _INDEX == key:
                    index = order[end] & ((1 << _INDEX) - 1)
                    upto += weights[0] if index < first else (weights[1] if index < second else weights[2])
                    end += 1
                for j in range(i, end):
                    line[order[j] & ((1 << _INDEX) - 1)] = before + upto
                before, i = upto, end
            for k in range(len(direction)):
                for i in range(n):
                    out[group, k, i] += direction[k] * line[i]


def sorted_slopes(points, x, y, directions):
    """Return the mean over the directions of direction * slope at `points`, shape (n, d)."""
    n, own = len(points), points is x
    pool = np.ascontiguousarray(np.concatenate([x, y] if own else [points, x, y]).T)
    counts = (n, n) if own else (n, n + len(x))
    weights = (-1 / n if own else 0.0, -1 / len(x), 1 / len(y))
    pool -= (pool.max(axis=1) + pool.min(axis=1))[:, None] / 2
    reach = max(1.000001 * np.sqrt(len(pool)) * np.abs(pool).max(), 1e-280)
    out, scale = np.zeros((GROUPS, len(pool), n)), 2.0**31 / reach
    work = 10 * len(directions) * pool.shape[1]
    by_rows(_sorted_groups, GROUPS, work, out, pool, counts, weights, directions, reach, scale)
    return out.sum(axis=0).T / len(directions)
