"""Shortest paths among samples, without a table of their weights: the engine of :mod:`mini_ot.convexity`.

The graph has an edge from each point i to each point j, with weight <T_i, x_i - x_j>.  Everything is a search
for min_i level_i - <a_i, b_j>, done for one point b_j after the other, so that memory stays O(n d).
"""

import numpy as np

from ._jit import by_rows, jit

_TILE = 512


@jit
def _lowest(level, rows, at, tile, best):
    """Return min_i level_i - <A_i, at>; rows, of shape (d, n), is A transposed."""
    for i in range(_TILE):
        best[i] = np.inf
    for low in range(0, len(level), _TILE):
        value, part = tile[: min(_TILE, len(level) - low)], level[low : low + _TILE]
        for i in range(len(value)):
            value[i] = part[i]
        for k in range(len(at)):
            coordinate, row = at[k], rows[k, low : low + _TILE]
            for i in range(len(value)):
                value[i] -= coordinate * row[i]
        for i in range(len(value)):  # a minimum for each place in the tile: vector units can do that
            best[i] = value[i] if value[i] < best[i] else best[i]
    lowest = np.inf
    for i in range(_TILE):
        lowest = min(lowest, best[i])
    return lowest


@jit
def _arg_lowest(level, rows, at, skip):
    """Return the i != skip that attains it, and the minimum."""
    lowest, where = np.inf, 0
    for i in range(len(level)):
        value = level[i]
        for k in range(len(at)):
            value -= at[k] * rows[k, i]
        if value < lowest and i != skip:
            lowest, where = value, i
    return where, lowest


@jit
def _each_lowest(start, stop, out, where, level, rows, points, skip):
    for j in range(start, stop):
        where[j], out[j] = _arg_lowest(level, rows, points[j], j if skip else -1)


@jit
def _sweep(order, u, parent, level, s, x, t_rows, eps):
    """Relax all points once, in place: u_j <- min_i u_i + <T_i, x_i - x_j>; return how many gained by it."""
    tile, best, changed = np.empty(_TILE), np.empty(_TILE), 0
    for j in order:
        if _lowest(level, t_rows, x[j], tile, best) < u[j] - eps:
            i, value = _arg_lowest(level, t_rows, x[j], j)
            if value < u[j] - eps:
                u[j], parent[j], level[j] = value, i, value + s[j]
                changed += 1
    return changed


def search(level, a, b, others=False):
    """For each point b_j the smallest level_i - <a_i, b_j>, over the i != j if asked so, and its i."""
    out, where = np.empty(len(b)), np.empty(len(b), dtype=np.int64)
    by_rows(_each_lowest, len(b), b.size * len(level), out, where, level, a.T.copy(), b, others)
    return out, where


def shortest_paths(x, t, s, root, eps):
    """Bellman and Ford from the root: u with u_j <= u_i + <T_i, x_i - x_j> + eps, or a bad cycle.

    A point moves only if it gains more than eps, so a cycle of parents weighs less than -eps.  Good paths
    make small hops outwards: in the order of <x - x_0, T - T_0> one sweep follows most of them to the end.
    """
    order = np.argsort(((x - x[root]) * (t - t[root])).sum(axis=1), kind="stable")
    u, parent, t_rows = (x[root] - x) @ t[root], np.full(len(x), root), t.T.copy()
    parent[root], level = -1, u + s
    while _sweep(order, u, parent, level, s, x, t_rows, eps):
        cycle = _cycle(parent.tolist())
        if cycle:
            return u, np.array(cycle)
    return u, None


def _cycle(parent):
    """Return a cycle of the graph j -> parent[j], turned round so that it runs from parent to child."""
    seen = [-1] * len(parent)
    for first in range(len(parent)):
        path, j = [], first
        while j >= 0 and seen[j] < 0:
            seen[j] = first
            path.append(j)
            j = parent[j]
        if j >= 0 and seen[j] == first:
            return path[path.index(j) :][::-1]
    return []


def shorten(cycle, x, t):
    """Cut a violating cycle along chords as long as that makes its mean weight per edge lower."""
    while True:
        weight = t[cycle] @ x[cycle].T
        weight = weight.diagonal()[:, None] - weight  # of the chord from a to b
        along = np.r_[0.0, np.cumsum(weight.diagonal(1))]
        length = np.arange(1, len(cycle) + 1) - np.arange(len(cycle))[:, None]
        mean = np.where(length > 1, along - along[:, None] + weight.T, np.inf) / np.maximum(length, 1)
        a, b = np.unravel_index(mean.argmin(), mean.shape)
        if not mean[a, b] < mean[0, -1] * (1 + 1e-9):
            return cycle
        cycle = cycle[a : b + 1]
