"""Push a density on a grid forward by the gradient of a potential, without losing mass (chapter 8).

The gradient is taken at the corners of the cells, so that neighbours share it and no gap opens between their
images.  A cell's mass is put where the mean of its corners goes, and shared by the four nearest cells
(bilinear); a cell that the map stretches over several is cut into as many pieces first.  All mass lands
inside the box, so its sum stays the same to rounding.
"""

import numpy as np

from ._jit import by_rows, jit, wide_vectors
from ._validate import box, grid, masses

_BUFFERS = 2  # rows are split among these whatever the number of threads, so that sums keep their order
WORTH_THREADS = 100_000  # cells from which on a second thread gives more than it costs
_SMALLEST = 1e-3  # side of a piece's image in cells, at least
_EMPTY = 1e-8  # cells with less than this share of the mean density are never cut


def push_grid(mu, phi, *, bounds=((0, 1), (0, 1))) -> np.ndarray:
    """Return the density that the gradient of `phi` carries `mu` to.

    Parameters
    ----------
    mu : array_like, shape (n1, n2)
        Density at the centres of the cells, not negative.
    phi : array_like, shape (n1, n2)
        Potential at the same points; what it sends out of the box ends at the box's edge.
    bounds : pair of (low, high)

    Returns
    -------
    ndarray, shape (n1, n2)
        Has the same sum as `mu`, to rounding.

    Raises
    ------
    ValueError
        If an array is not finite or they differ in shape, or if `mu` is negative somewhere.

    Examples
    --------
    >>> import mini_ot as mo, numpy as np
    >>> x = (np.arange(8) + 0.5) / 8
    >>> mu = np.ones((8, 8))
    >>> float(mo.push_grid(mu, (x[:, None] ** 2 + x**2) / 4).sum())  # half the size
    64.0

    References
    ----------
    Jacobs and Leger (2020), section 4.3, with corners shared by neighbours.
    """
    mu, phi = masses(mu, "mu"), grid(phi, "phi")
    if mu.shape != phi.shape:
        raise ValueError(f"mu and phi must have the same shape, got {mu.shape} and {phi.shape}")
    low, size = box(bounds)
    return pushed(mu, phi, low, size, pieces=2)


def pushed(mu, phi, low, size, pieces: int) -> np.ndarray:
    """Return the density that (grad phi)_# carries `mu` to, whatever the unit of its mass."""
    out, unit, buffers = np.empty_like(mu), mu.mean() or 1.0, scratch(mu.shape)
    density = mu / unit
    push(density, phi, low, size, shares(density, len(buffers)), np.zeros_like(mu), buffers, out, pieces)
    return out * unit


def push(density, phi, low, size, cuts, less, buffers, out, pieces: int = 1) -> None:
    """Write to `out` the density that (grad phi)_# carries `density` to, less another; `buffers` is scratch.

    The density's mean is one, `cuts` is what :func:`shares` says of it, and `pieces` the least number of
    pieces along each side of a cell.
    """
    n1, n2 = density.shape
    by_rows(
        _push_block, len(buffers), 5 * n1 * n2, cuts, density, phi, low, size / phi.shape, pieces, buffers
    )
    by_rows(_add, n1, n1 * n2, buffers, less, out)


def shares(density, number: int) -> np.ndarray:
    """Split the rows into blocks with about equally many cells that are not empty."""
    filled = np.cumsum((density > 0.0).sum(axis=1))
    cuts = np.searchsorted(filled, filled[-1] * np.arange(number + 1) / number)
    cuts[0], cuts[-1] = 0, len(density)
    return cuts


def scratch(shape) -> np.ndarray:
    """Return the buffers for densities of this shape: one where threads would not pay."""
    return np.empty((_BUFFERS if shape[0] * shape[1] > WORTH_THREADS else 1, *shape))


@jit
def _displacement_row(phi, i, low, h, v):
    """Read row i of phi - |x|^2 / 2, mirrored at the edge, which keeps the edge on itself.

    The row is mirrored, too, by an entry on either side.
    """
    wide_vectors()
    n1, n2 = phi.shape
    i = min(max(i, 0), n1 - 1)
    half = (low[0] + (i + 0.5) * h[0]) ** 2 / 2
    for j in range(n2):
        v[j + 1] = phi[i, j] - half - (low[1] + (j + 0.5) * h[1]) ** 2 / 2
    v[0], v[n2 + 1] = v[1], v[n2]


@jit
def _corner_row(below, above, h, t1, t2):
    """Displacement, in cells, of the corners between two rows of the potential."""
    wide_vectors()
    c1, c2 = 0.5 / (h[0] * h[0]), 0.5 / (h[1] * h[1])
    for j in range(len(t1)):
        t1[j] = c1 * (above[j] + above[j + 1] - below[j] - below[j + 1])
        t2[j] = c2 * (above[j + 1] + below[j + 1] - above[j] - below[j])


@jit
def _derivative(j, s1, s2, t1, t2):
    """Return what a step of one cell along each axis becomes in cells, entry by entry without its sign."""
    along1, across1 = (t1[j] + t1[j + 1] - s1[j] - s1[j + 1]) / 2, (s1[j + 1] + t1[j + 1] - s1[j] - t1[j]) / 2
    along2, across2 = (t2[j] + t2[j + 1] - s2[j] - s2[j + 1]) / 2, (s2[j + 1] + t2[j + 1] - s2[j] - t2[j]) / 2
    return abs(1 + along1), abs(across1), abs(along2), abs(1 + across2)


@jit
def _centre_row(i, s1, s2, t1, t2, c1, c2, stretched):
    """Say where the centres of a row of cells go, in cells, and which cells become two cells long.

    The corners of the cells move by s below and by t above.
    """
    wide_vectors()
    for j in range(len(c1)):
        c1[j] = i + 0.25 * (s1[j] + s1[j + 1] + t1[j] + t1[j + 1])
        c2[j] = j + 0.25 * (s2[j] + s2[j + 1] + t2[j] + t2[j + 1])
        a11, a12, a21, a22 = _derivative(j, s1, s2, t1, t2)
        stretched[j] = (a11 >= 2.0) | (a21 >= 2.0) | (a12 >= 2.0) | (a22 >= 2.0)


@jit
def _splat(target, p1, p2, v1, v2, mass):
    """Spread a mass over a box round p with sides 1 / v <= 1, counted in cells from the first centre."""
    n1, n2 = target.shape
    p1 = min(max(p1, 0.0), n1 - 1.0)
    p2 = min(max(p2, 0.0), n2 - 1.0)
    i, j = min(np.uint64(p1), np.uint64(n1 - 2)), min(np.uint64(p2), np.uint64(n2 - 2))
    s, t = p1 - i, p2 - j
    if v1 > 1.0 or v2 > 1.0:
        s = min(max((s - 0.5) * v1 + 0.5, 0.0), 1.0)  # the share beyond the border between two cells
        t = min(max((t - 0.5) * v2 + 0.5, 0.0), 1.0)
    one = np.uint64(1)
    upper = mass * s
    lower = mass - upper
    target[i, j] += lower - lower * t
    target[i, j + one] += lower * t
    target[i + one, j] += upper - upper * t
    target[i + one, j + one] += upper * t


@jit
def _push_block(start, stop, cuts, density, phi, low, h, pieces, buffers):
    n2 = density.shape[1]
    below, above = np.empty(n2 + 2), np.empty(n2 + 2)
    s1, s2, t1, t2 = np.empty(n2 + 1), np.empty(n2 + 1), np.empty(n2 + 1), np.empty(n2 + 1)
    c1, c2, stretched = np.empty(n2), np.empty(n2), np.empty(n2, np.bool_)
    for block in range(start, stop):
        target = buffers[block]
        target[:] = 0.0
        first = cuts[block]
        _displacement_row(phi, first - 1, low, h, below)
        _displacement_row(phi, first, low, h, above)
        _corner_row(below, above, h, s1, s2)
        for i in range(first, cuts[block + 1]):
            below, above = above, below
            _displacement_row(phi, i + 1, low, h, above)
            _corner_row(below, above, h, t1, t2)
            _centre_row(i, s1, s2, t1, t2, c1, c2, stretched)
            for j in range(n2):
                mass = density[i, j]
                if mass == 0.0:
                    continue
                if mass < _EMPTY or (pieces == 1 and not stretched[j]):
                    _splat(target, c1[j], c2[j], 1.0, 1.0, mass)
                else:
                    _push_cell(i, j, mass, s1, s2, t1, t2, pieces, target)
            s1, s2, t1, t2 = t1, t2, s1, s2


@jit
def _push_cell(i, j, mass, s1, s2, t1, t2, pieces, target):
    """Push one cell in as many pieces as its image is long, each spread over its own image if asked for."""
    a11, a12, a21, a22 = _derivative(j, s1, s2, t1, t2)
    k, n = max(int(max(a11, a21)), pieces), max(int(max(a12, a22)), pieces)
    v1, v2 = 1.0, 1.0
    if pieces > 1:
        v1 = max(1.0, 1.0 / max(a11 / k, a12 / n, _SMALLEST))
        v2 = max(1.0, 1.0 / max(a22 / n, a21 / k, _SMALLEST))
    part = mass / (k * n)
    for r in range(k):
        x = (r + 0.5) / k
        for q in range(n):
            y = (q + 0.5) / n
            d1 = (1 - x) * ((1 - y) * s1[j] + y * s1[j + 1]) + x * ((1 - y) * t1[j] + y * t1[j + 1])
            d2 = (1 - x) * ((1 - y) * s2[j] + y * s2[j + 1]) + x * ((1 - y) * t2[j] + y * t2[j + 1])
            _splat(target, i - 0.5 + x + d1, j - 0.5 + y + d2, v1, v2, part)


@jit
def _add(start, stop, buffers, less, out):
    for i in range(start, stop):
        for j in range(out.shape[1]):
            out[i, j] = buffers[0, i, j] - less[i, j]
        for k in range(1, len(buffers)):
            for j in range(out.shape[1]):
                out[i, j] += buffers[k, i, j]
