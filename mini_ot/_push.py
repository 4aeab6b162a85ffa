"""Push a density on a grid forward by the gradient of a potential, without losing mass (chapter 8).

The gradient is taken at the corners of the cells, so that neighbours share it and no gap opens between their
images.  A cell's mass is put where the mean of its corners goes, and shared by the four nearest cells
(bilinear); a cell that the map stretches over several is cut into as many pieces first.  All mass lands
inside the box, so its sum stays the same to rounding.
"""

import numpy as np

from ._jit import by_rows, jit, wide_vectors

_BUFFERS = 4  # rows are split among these whatever the number of threads, so that sums keep their order
_EMPTY = 1e-8  # cells with less than this share of the mean density are never cut


def push(density, phi, low, size, buffers, out, pieces: int = 1) -> None:
    """Write to `out` the density that (grad phi)_# carries `density` to; `buffers` is scratch.

    `pieces` is the least number of pieces along each side of a cell.
    """
    n1, n2 = density.shape
    filled = np.cumsum((density > 0.0).sum(axis=1))
    cuts = np.searchsorted(filled, filled[-1] * np.arange(len(buffers) + 1) / len(buffers))
    cuts[0], cuts[-1] = 0, n1
    by_rows(_push_block, len(buffers), 5 * n1 * n2, cuts, density, phi, low, size / phi.shape, pieces, buffers)
    by_rows(_add, n1, n1 * n2, buffers, out)


def scratch(shape) -> np.ndarray:
    """Return the buffers for densities of this shape: one where threads would not pay."""
    return np.empty((_BUFFERS if shape[0] * shape[1] > 200 * 200 else 1, *shape))


@jit
def _displacement_row(phi, i, low, h, v):
    """Read row i of phi - |x|^2 / 2, mirrored at the edge, which keeps the edge on itself.

    The row is mirrored, too, by two entries on either side.
    """
    wide_vectors()
    n1, n2 = phi.shape
    i = -1 - i if i < 0 else (2 * n1 - 1 - i if i >= n1 else i)
    half = (low[0] + (i + 0.5) * h[0]) ** 2 / 2
    for j in range(n2):
        v[j + 2] = phi[i, j] - half - (low[1] + (j + 0.5) * h[1]) ** 2 / 2
    v[1], v[0], v[n2 + 2], v[n2 + 3] = v[2], v[3], v[n2 + 1], v[n2]


@jit
def _corner_row(v0, v1, v2, v3, h, a, b, t1, t2):
    """Displacement, in cells, of the corners between the rows v1 and v2, from four rows of the potential."""
    wide_vectors()
    for j in range(len(v0)):
        a[j] = (v3[j] + v2[j] - v1[j] - v0[j]) / (8.0 * h[0] * h[0])
        b[j] = (v2[j] + v1[j]) / (8.0 * h[1] * h[1])
    for j in range(len(t1)):
        t1[j] = a[j + 1] + a[j + 2]
        t2[j] = b[j + 3] + b[j + 2] - b[j + 1] - b[j]


@jit
def _splat(target, p1, p2, mass):
    """Share a mass at a point, counted in cells from the first centre, among the four nearest cells."""
    n1, n2 = target.shape
    p1 = min(max(p1, 0.0), n1 - 1.0)
    p2 = min(max(p2, 0.0), n2 - 1.0)
    i, j = min(int(p1), n1 - 2), min(int(p2), n2 - 2)
    s, t = p1 - i, p2 - j
    upper = mass * s
    lower = mass - upper
    target[i, j] += lower * (1.0 - t)
    target[i, j + 1] += lower * t
    target[i + 1, j] += upper * (1.0 - t)
    target[i + 1, j + 1] += upper * t


@jit
def _push_block(start, stop, cuts, density, phi, low, h, pieces, buffers):
    n2 = density.shape[1]
    v0, v1, v2, v3 = np.empty(n2 + 4), np.empty(n2 + 4), np.empty(n2 + 4), np.empty(n2 + 4)
    a, b = np.empty(n2 + 4), np.empty(n2 + 4)
    s1, s2, t1, t2 = np.empty(n2 + 1), np.empty(n2 + 1), np.empty(n2 + 1), np.empty(n2 + 1)
    for block in range(start, stop):
        target = buffers[block]
        target[:] = 0.0
        first = cuts[block]
        _displacement_row(phi, first - 2, low, h, v0)
        _displacement_row(phi, first - 1, low, h, v1)
        _displacement_row(phi, first, low, h, v2)
        _displacement_row(phi, first + 1, low, h, v3)
        _corner_row(v0, v1, v2, v3, h, a, b, s1, s2)
        for i in range(first, cuts[block + 1]):
            v0, v1, v2, v3 = v1, v2, v3, v0
            _displacement_row(phi, i + 2, low, h, v3)
            _corner_row(v0, v1, v2, v3, h, a, b, t1, t2)
            _push_row(density[i], i, s1, s2, t1, t2, pieces, target)
            s1, s2, t1, t2 = t1, t2, s1, s2


@jit
def _push_row(mass, i, s1, s2, t1, t2, pieces, target):
    """Push one row of cells, whose corners move by s below and by t above."""
    for j in range(len(mass)):
        m = mass[j]
        if m == 0.0:
            continue
        c1 = (s1[j] + s1[j + 1] + t1[j] + t1[j + 1]) / 4
        c2 = (s2[j] + s2[j + 1] + t2[j] + t2[j + 1]) / 4
        # How far the image reaches, in cells, along each side of the cell.
        along = max(abs(1.0 + t1[j] - s1[j]), abs(1.0 + t1[j + 1] - s1[j + 1]))
        along = max(along, max(abs(t2[j] - s2[j]), abs(t2[j + 1] - s2[j + 1])))
        across = max(abs(1.0 + s2[j + 1] - s2[j]), abs(1.0 + t2[j + 1] - t2[j]))
        across = max(across, max(abs(s1[j + 1] - s1[j]), abs(t1[j + 1] - t1[j])))
        k, l = max(int(along), pieces), max(int(across), pieces)
        if k * l == 1 or m < _EMPTY:
            _splat(target, i + c1, j + c2, m)
            continue
        part = m / (k * l)
        for r in range(k):
            x = (r + 0.5) / k
            for q in range(l):
                y = (q + 0.5) / l
                d1 = (1 - x) * ((1 - y) * s1[j] + y * s1[j + 1]) + x * ((1 - y) * t1[j] + y * t1[j + 1])
                d2 = (1 - x) * ((1 - y) * s2[j] + y * s2[j + 1]) + x * ((1 - y) * t2[j] + y * t2[j + 1])
                _splat(target, i - 0.5 + x + d1, j - 0.5 + y + d2, part)


@jit
def _add(start, stop, buffers, out):
    for i in range(start, stop):
        for j in range(out.shape[1]):
            out[i, j] = buffers[0, i, j]
        for k in range(1, len(buffers)):
            for j in range(out.shape[1]):
                out[i, j] += buffers[k, i, j]
