"""The Legendre transform on a grid, in linear time (chapter 8).

phi*(y) = max_x <x, y> - phi(x) splits into one-dimensional transforms, first along the rows, then along the
columns.  A line's transform needs only the lower convex hull of its values: at slope y the maximum sits at
the corner of the hull where the slopes pass y, and as y grows this corner moves to the right only.
"""

import numpy as np

from ._jit import by_rows, jit, wide_vectors
from ._validate import box, grid

_LINES = 16  # lines done together, as columns are copied by cache lines, which hold eight numbers of a row


def legendre(phi, *, bounds=((0, 1), (0, 1))) -> np.ndarray:
    """Return the Legendre transform of a function on a grid: phi*(y) = max over x of <x, y> - phi(x).

    Exact for the maximum over the grid's points, in time proportional to their number.

    Parameters
    ----------
    phi : array_like, shape (n1, n2)
        Values at the centres of the cells; ``phi[i, j]`` at the i-th first and j-th second coordinate.
    bounds : pair of (low, high)
        The box, which holds x and y alike.

    Returns
    -------
    ndarray, shape (n1, n2)
        phi* at the same points.  Transformed twice, `phi` becomes the largest function below it that is a
        maximum of affine functions with slopes on the grid.

    Raises
    ------
    ValueError
        If `phi` is not a finite array with two axes of at least 4 entries, or the box is empty.

    Examples
    --------
    >>> import mini_ot as mo, numpy as np
    >>> x = (np.arange(100) + 0.5) / 100
    >>> phi = x[:, None] ** 2 / 2 + x**2 / 2  # its own transform
    >>> bool(np.allclose(mo.legendre(phi), phi))
    True

    References
    ----------
    Lucet (1997); Jacobs and Leger (2020), section 4.1.
    """
    phi = grid(phi, "phi")
    low, size = box(bounds)
    phi_star = np.empty_like(phi)
    conjugate(phi, low, size, np.empty_like(phi), phi_star)
    return phi_star


def conjugate(phi, low, size, work, out) -> None:
    """Write the transform of `phi` to `out`; `work` is scratch, and all three have one shape."""
    n1, n2 = phi.shape
    cost = 5 * n1 * n2  # a transform takes as long as that many pairs of a kernel sum
    by_rows(_rows, -(-n1 // _LINES), cost, phi, low[1], size[1] / n2, work)
    by_rows(_columns, -(-n2 // _LINES), cost, work, low[0], size[0] / n1, out)


@jit
def _bends_down(u, tolerance):
    wide_vectors()
    count = 0
    for i in range(len(u) - 3):
        count += u[i] - 2.0 * u[i + 1] + u[i + 2] < tolerance
    return count > 0


@jit
def _convex_hull(u, corner, slope, reciprocal):
    """Replace a line's values by their lower convex hull, unless they are convex already."""
    n = len(u) - 1
    if not _bends_down(u, -4e-16 * (abs(u[0]) + abs(u[n - 1]))):  # less is rounding in straight stretches
        return
    top = 0
    corner[0] = 0
    for i in range(1, n):
        s = (u[i] - u[corner[top]]) * reciprocal[i - corner[top]]
        while top > 0 and s <= slope[top]:  # the last corner lies above the line to the new one
            top -= 1
            s = (u[i] - u[corner[top]]) * reciprocal[i - corner[top]]
        top += 1
        corner[top] = i
        slope[top] = s
    for k in range(top):
        for i in range(corner[k] + 1, corner[k + 1]):
            u[i] = u[corner[k]] + (i - corner[k]) * slope[k + 1]


@jit
def _advance(u, x, rise, out, i, j):
    """Write the result of slope j as if corner i were its own; move on to the next corner or slope."""
    one = np.uint64(1)  # unsigned: Numba asks of a signed index whether it counts from the end
    out[j] = x[j] * x[i] - u[i]
    go = np.uint64(u[i + one] - u[i] < rise[j])
    return i + go, j + one - go


@jit
def _merge(u, x, rise, out):
    """Transform four convex lines: merge their slopes with the sorted slopes that are asked for.

    No step has a branch to guess wrong, and four lines at a time hide that every step waits for the one
    before.  Infinite entries at the ends stop both indices.
    """
    i0 = i1 = i2 = i3 = j0 = j1 = j2 = j3 = np.uint64(0)
    for _ in range(2 * len(x) - 3):
        i0, j0 = _advance(u[0], x, rise, out[0], i0, j0)
        i1, j1 = _advance(u[1], x, rise, out[1], i1, j1)
        i2, j2 = _advance(u[2], x, rise, out[2], i2, j2)
        i3, j3 = _advance(u[3], x, rise, out[3], i3, j3)


@jit
def _tables(n, low, h):
    """Return buffers for a bundle of lines, the coordinates, what a slope means, and the hull's stack."""
    u, out = np.zeros((_LINES, n + 1)), np.zeros((_LINES, n + 1))
    x, rise, reciprocal = np.zeros(n + 1), np.empty(n + 1), np.zeros(n)
    u[:, n] = np.inf
    for i in range(n):
        x[i] = low + (i + 0.5) * h
        rise[i] = x[i] * h
        reciprocal[i] = 1.0 / max(i, 1)
    rise[n] = np.inf
    return u, out, (x, rise, np.empty(n, np.int64), np.empty(n), reciprocal)


@jit
def _transform(u, width, tables, out):
    """Transform the lines of a bundle, of which the first `width` are in use."""
    x, rise, corner, slope, reciprocal = tables
    for k in range(width):
        _convex_hull(u[k], corner, slope, reciprocal)
    for k in range(0, _LINES, 4):
        _merge(u[k : k + 4], x, rise, out[k : k + 4])


@jit
def _rows(start, stop, phi, low, h, partial):
    n1, n2 = phi.shape
    u, out, tables = _tables(n2, low, h)
    for block in range(start, stop):
        first = block * _LINES
        width = min(_LINES, n1 - first)
        for k in range(width):
            for j in range(n2):
                u[k, j] = phi[first + k, j]
        _transform(u, width, tables, out)
        for k in range(width):
            for j in range(n2):
                partial[first + k, j] = out[k, j]


@jit
def _columns(start, stop, partial, low, h, phi_star):
    """Transform minus the partial transform along the first axis."""
    n1, n2 = partial.shape
    u, out, tables = _tables(n1, low, h)
    for block in range(start, stop):
        first = block * _LINES
        width = min(_LINES, n2 - first)
        for i in range(n1):
            for k in range(width):
                u[k, i] = -partial[i, first + k]
        _transform(u, width, tables, out)
        for i in range(n1):
            for k in range(width):
                phi_star[i, first + k] = out[k, i]
