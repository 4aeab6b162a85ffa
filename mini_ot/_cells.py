"""Counting on many lines at once: the loops of the sliced energy flow.

As in ``_slices.py``, but projections fall into some thousand cells, and points in one cell count as equal.
That needs no sort; the targets are counted once for the whole flow.
"""

import numpy as np

from ._jit import by_rows, jit
from ._slices import GROUPS, project


@jit
def _find_cells(points, direction, reach, scale, last, line, cell):
    """cell[i] = where the projection of points[:, i] falls: 0 at -reach, `last` at reach, and no further."""
    project(points, direction, reach, scale, line)
    for i in range(len(cell)):
        cell[i] = np.int32(min(max(line[i], 0.0), last))


@jit
def _middle_ranks(cell, count, rank):
    """rank[c] = (#{cell < c} - #{cell > c}) / n, with `count` as scratch."""
    n, below = len(cell), 0
    count[:] = 0
    for c in cell:
        count[c] += 1
    for c in range(len(count)):
        rank[c] = (2 * below + count[c] - n) / n
        below += count[c]


@jit
def _count_rows(start, stop, ranks, points, directions, reach, scale):
    count = np.empty(ranks.shape[1], np.int32)
    line, cell = np.empty(points.shape[1]), np.empty(points.shape[1], np.int32)
    for p in range(start, stop):
        _find_cells(points, directions[p], reach, scale, len(count) - 1, line, cell)
        _middle_ranks(cell, count, ranks[p])


def middle_ranks(points, directions, reach, cells):
    """Return the middle ranks of `points` (d, m) in every cell on every direction, shape (p, cells)."""
    ranks = np.empty((len(directions), cells), np.float32)
    work = len(directions) * (4 * points.shape[1] + cells)
    by_rows(_count_rows, len(directions), work, ranks, points, directions, reach, cells / (2 * reach))
    return ranks


@jit
def _counted_groups(start, stop, out, points, x, own, targets, directions, reach, scale):
    last, count = targets.shape[1] - 1, np.empty(targets.shape[1], np.int32)
    slope = np.empty(targets.shape[1], np.float32)
    line, cell = np.empty(x.shape[1]), np.empty(x.shape[1], np.int32)
    new_line, new_cell = np.empty(points.shape[1]), np.empty(points.shape[1], np.int32)
    for group in range(start, stop):
        for p in range(group, len(directions), GROUPS):
            _find_cells(x, directions[p], reach, scale, last, line, cell)
            _middle_ranks(cell, count, slope)
            for c in range(len(slope)):
                slope[c] = targets[p, c] - slope[c]
            if not own:
                _find_cells(points, directions[p], reach, scale, last, new_line, new_cell)
            at = cell if own else new_cell
            for k in range(points.shape[0]):
                for i in range(points.shape[1]):
                    out[group, k, i] += directions[p, k] * slope[at[i]]


def counted_slopes(points, x, targets, directions, reach):
    """Return what :func:`sorted_slopes` does for (d, n) points, shape (d, n); `targets` by `middle_ranks`."""
    cells, own, out = targets.shape[1], points is x, np.zeros((GROUPS, *points.shape))
    work = len(directions) * (4 * x.shape[1] + 4 * points.shape[1] + cells)
    scale = cells / (2 * reach)
    by_rows(_counted_groups, GROUPS, work, out, points, x, own, targets, directions, reach, scale)
    return out.sum(axis=0) / len(directions)
