"""Gaussian kernel sums in the plane in near-linear time, by a grid and the fast Fourier transform.

Each source is spread over the 4 by 4 nodes around it with cubic B-spline weights; the Fourier transform of
the grid is multiplied by that of the Gaussian (and by i k for a gradient) and divided by that of the spline,
once for spreading and once for reading off; the result is read off at the targets with the same weights.
Time n + N log N for N nodes, and N grows like (box / h)^2.

Error: with nodes h / 7 apart, aliasing changes the kernel of any pair of points by at most 1e-5 (its largest
value is 1), and each component of its gradient by at most 1e-5 / h; means inherit both bounds.  Measured.
"""

import numpy as np

from ._jit import by_rows, jit

PER_BANDWIDTH = 7  # nodes in a bandwidth
REACH = 6  # bandwidths after which the Gaussian counts as 0: it is 2e-8 there
MOST_NODES = 2**22


@jit
def _spline(weight, s):
    """Values of the cubic B-spline at the four nodes around a point, which is `s` past the second."""
    r = 1 - s
    weight[0], weight[3] = r * r * r / 6, s * s * s / 6
    weight[1], weight[2] = 2 / 3 - s * s * (1 - s / 2), 2 / 3 - r * r * (1 - r / 2)


@jit
def _spread(grid, points):
    """Add one unit of mass per point to the nodes around it."""
    a, b = np.empty(4), np.empty(4)
    for i in range(len(points)):
        row, column = int(points[i, 0]), int(points[i, 1])
        _spline(a, points[i, 0] - row)
        _spline(b, points[i, 1] - column)
        for k in range(4):
            for j in range(4):
                grid[row - 1 + k, column - 1 + j] += a[k] * b[j]


@jit
def _read(start, stop, out, points, fields):
    """out[i] = the fields at point i; 0 outside the grid."""
    a, b = np.empty(4), np.empty(4)
    _, rows, columns = fields.shape
    for i in range(start, stop):
        if not (1 <= points[i, 0] < rows - 2 and 1 <= points[i, 1] < columns - 2):
            continue
        row, column = int(points[i, 0]), int(points[i, 1])
        _spline(a, points[i, 0] - row)
        _spline(b, points[i, 1] - column)
        for f in range(len(fields)):
            total = 0.0
            for k in range(4):
                for j in range(4):
                    total += a[k] * b[j] * fields[f, row - 1 + k, column - 1 + j]
            out[i, f] = total


def _corners(y):
    columns = np.ascontiguousarray(y.T, dtype=float)  # along columns NumPy's minimum is ten times as fast
    return columns.min(axis=1), columns.max(axis=1)


def nodes(h, low, high):
    """Return the numbers of nodes that a box needs in either direction."""
    return np.ceil((high - low) / h * PER_BANDWIDTH).astype(int) + 2 * REACH * PER_BANDWIDTH + 4


def too_big(h, y) -> bool:
    """Whether the grid around `y` would have more than MOST_NODES nodes."""
    low, high = _corners(y)
    return bool(((high - low) / h > MOST_NODES).any() or nodes(h, low, high).prod() > MOST_NODES)


def _sums(h, x, y, gradient):
    """Run the steps above: sum_j k(x_i, y_j), shape (n, 1), or its gradient in x, shape (n, 2)."""
    from scipy import fft

    low, high = _corners(y)
    shape = [fft.next_fast_len(int(n), real=True) for n in nodes(h, low, high)]
    low, step, grid = low - (REACH + 0.5) * h, h / PER_BANDWIDTH, np.zeros(shape)
    _spread(grid, (y - low) / step)
    f, g = (
        np.fft.fftfreq(grid.shape[0])[:, None],
        np.fft.rfftfreq(grid.shape[1]),
    )  # cycles per node
    area = 2 * np.pi * PER_BANDWIDTH**2  # the integral of the Gaussian, in nodes
    spectrum = fft.rfft2(grid, overwrite_x=True)
    for cycles in (f, g):
        spectrum *= np.exp(-np.pi * area * cycles**2) / np.sinc(cycles) ** 8
    factors = [2j * np.pi / step * cycles for cycles in (f, g)] if gradient else [1.0]
    fields = np.stack([fft.irfft2(spectrum * factor, grid.shape) for factor in factors])
    out = np.zeros((len(x), len(fields)))
    by_rows(_read, len(x), 16 * len(x), out, (x - low) / step, area * fields)
    return out


def values(kind, h, x, y):
    """Return sum_j k(x_i, y_j), shape (n,), in float64, for the Gaussian kernel in the plane."""
    return _sums(h, x, y, gradient=False)[:, 0]


def gradients(kind, h, x, y):
    """Return sum_j grad_x k(x_i, y_j), shape (n, 2), in float64, for the Gaussian kernel in the plane."""
    return _sums(h, x, y, gradient=True)
