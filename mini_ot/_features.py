"""Sums over radial features F_l(z) = F(|z - c_l|^2; a_l): the loops of the data-driven flow.

Points are stored by coordinate, (d, n), and handled in tiles that stay in the fastest cache.
For s = r^2 each kind has F, the factor g of its gradient g (z - c), and the factor q of its Hessian
g I + q (z - c)(z - c)^T.  All are scaled so that F is a squared length and g = +-1 at the centre:

* gaussian: F = a^2 exp(-s / 2 a^2), never zero;
* bump: F = a^2 / 8 (1 - s / a^2)^4 within the radius a and 0 beyond, nearly a Gaussian of width a / sqrt(8);
* multiquadric: F = a sqrt(s + a^2), convex, and it pulls at any distance.
"""

import numpy as np

from ._jit import by_rows, fast_exp, jit

KINDS = {"gaussian": 0, "bump": 1, "multiquadric": 2}
RADIUS = {
    "gaussian": 1.0,
    "bump": np.sqrt(8.0),
    "multiquadric": 1.0,
}  # the parameter a of a feature of width 1
_TILE = 256
_FOR_WIDTHS = 1000  # samples of each cloud that are enough to choose widths
_WIDEST = 0.3  # share of the samples within the widest feature's width


@jit(fastmath=True)
def _squares(s, points, low, centre):
    """s[j] = |points[:, low + j] - centre|^2."""
    for j in range(len(s)):
        s[j] = 0.0
    for k in range(len(centre)):
        c, row = centre[k], points[k, low : low + len(s)]
        for j in range(len(s)):
            gap = row[j] - c
            s[j] += gap * gap


@jit(fastmath=True)
def _factors(kind, a, s, g, q):
    """Turn squared distances s into the factors g of the gradient and q of the Hessian."""
    inverse = 1.0 / (a * a)
    if kind == 0:
        for j in range(len(s)):
            g[j] = -fast_exp(-0.5 * inverse * s[j])
            q[j] = -inverse * g[j]
    elif kind == 1:
        for j in range(len(s)):
            u = max(1.0 - inverse * s[j], 0.0)
            g[j] = -u * u * u
            q[j] = 6.0 * inverse * u * u
    else:
        for j in range(len(s)):
            g[j] = 1.0 / np.sqrt(1.0 + inverse * s[j])
            q[j] = -inverse * g[j] * g[j] * g[j]


@jit(fastmath=True)
def _mean_rows(start, stop, value, slope, points, centres, a, kind):
    """value[l] = mean of F_l over the points, slope[l] = mean of |grad F_l|^2."""
    s, g, q = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
    n = points.shape[1]
    for i in range(start, stop):
        square, inverse, total, steep = a[i] * a[i], 1.0 / (a[i] * a[i]), 0.0, 0.0
        for low in range(0, n, _TILE):
            here = s[: min(_TILE, n - low)]
            _squares(here, points, low, centres[i])
            _factors(kind[i], a[i], here, g, q)
            if kind[i] == 0:
                for j in range(len(here)):
                    total -= g[j]
            elif kind[i] == 1:
                for j in range(len(here)):
                    total -= 0.125 * g[j] * max(1.0 - inverse * here[j], 0.0)
            else:
                for j in range(len(here)):
                    total += np.sqrt(1.0 + inverse * here[j])
            for j in range(len(here)):
                steep += g[j] * g[j] * here[j]
        value[i], slope[i] = square * total / n, steep / n


@jit(fastmath=True)
def _gradient_rows(start, stop, out, points, centres, a, kind):
    """out[l, k, i] = d F_l / d z_k at point i."""
    n = points.shape[1]
    s, g, q = np.empty(n), np.empty(n), np.empty(n)
    for i in range(start, stop):
        _squares(s, points, 0, centres[i])
        _factors(kind[i], a[i], s, g, q)
        for k in range(len(points)):
            c, row, to = centres[i, k], points[k], out[i, k]
            for j in range(n):
                to[j] = g[j] * (row[j] - c)


@jit(fastmath=True)
def _push_columns(start, stop, move, bend, points, centres, a, kind, beta):
    """Set move = sum_l beta_l grad F_l and bend = its derivative, a lower triangle row by row.

    A `bend` without rows is left out.
    """
    s, g, q = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
    for low in range(start, stop, _TILE):
        size = min(_TILE, stop - low)
        here = s[:size]
        move[:, low : low + size] = 0.0
        bend[:, low : low + size] = 0.0
        for i in range(len(a)):
            _squares(here, points, low, centres[i])
            _factors(kind[i], a[i], here, g, q)
            weight = beta[i]
            for k in range(len(points)):
                c, row, to = centres[i, k], points[k, low : low + size], move[k, low : low + size]
                for j in range(size):
                    to[j] += weight * g[j] * (row[j] - c)
            entry = 0
            for k in range(len(points) if len(bend) else 0):
                c, row = centres[i, k], points[k, low : low + size]
                for m in range(k):
                    b, other, to = centres[i, m], points[m, low : low + size], bend[entry, low : low + size]
                    for j in range(size):
                        to[j] += weight * q[j] * (row[j] - c) * (other[j] - b)
                    entry += 1
                to = bend[entry, low : low + size]
                for j in range(size):
                    gap = row[j] - c
                    to[j] += weight * (g[j] + q[j] * gap * gap)
                entry += 1


def means(points, centres, a, kind):
    """Return the means of F_l and of |grad F_l|^2 over `points` (d, n), each of shape (L,)."""
    value, slope = np.empty(len(a)), np.empty(len(a))
    by_rows(_mean_rows, len(a), len(a) * points.shape[1], value, slope, points, centres, a, kind)
    return value, slope


def gradients(points, centres, a, kind):
    """Return the gradients of all features at a few points (d, n), shape (L, d, n)."""
    out = np.empty((len(a), *points.shape))
    by_rows(_gradient_rows, len(a), len(a) * points.shape[1], out, points, centres, a, kind)
    return out


def push(points, centres, a, kind, beta, *, bend=False):
    """Return sum_l beta_l grad F_l at `points`, (d, n), and its derivative, (d (d + 1) / 2, n) or (0, n)."""
    d, n = points.shape
    move, derivative = np.empty((d, n)), np.empty((d * (d + 1) // 2 if bend else 0, n))
    by_rows(_push_columns, n, n * len(a), move, derivative, points, centres, a, kind, beta)
    return move, derivative


def full_matrices(bend, d):
    """Unpack lower triangles (d (d + 1) / 2, n) into symmetric matrices (n, d, d)."""
    out = np.empty((bend.shape[1], d, d))
    for row, (k, m) in zip(bend, zip(*np.tril_indices(d), strict=True), strict=True):
        out[:, k, m] = out[:, m, k] = row
    return out


class Features:
    """Centres, widths and kinds of some features, as the loops want them."""

    def __init__(self, centres, bandwidth, kernel):
        self.centres, self.bandwidth, self.kernel = centres, bandwidth, np.asarray(kernel)

    def discrepancy(self, z, y):
        """Return b = E_z F - E_y F, and the mean of |grad F|^2 over both, for clouds stored as (d, n)."""
        (over_z, steep_z), (over_y, steep_y) = (means(p, *packed(self)) for p in (z, y))
        return over_z - over_y, 0.5 * (steep_z + steep_y)

    def gram(self, z, y):
        """Return G, the mean of grad F_l . grad F_m over both clouds."""
        total = 0.0
        for points in (z, y):
            table = gradients(points, *packed(self)).reshape(len(self.bandwidth), -1)
            total = total + table @ table.T / (2 * points.shape[1])
        return total


def packed(features):
    kind = np.array([KINDS[k] for k in features.kernel])
    radius = np.array([RADIUS[k] for k in features.kernel])
    return np.ascontiguousarray(features.centres), radius * features.bandwidth, kind


def propose(z, y, *, size, neighbours, kernel, rng):
    """Draw features, and return them with their discrepancy b.

    Centres are samples, and each feature is as wide as a random share of the samples reaches.
    The share is log-uniform from `neighbours` samples to 30 %.  Two proposals are made for each centre, and
    the one with the larger predicted fall of the dual, ``b^2 / (2 E|grad F|^2)``, is kept.
    """
    some = np.concatenate([p[:, rng.permutation(p.shape[1])[:_FOR_WIDTHS]] for p in (z, y)], axis=1).T
    centres = some[rng.permutation(len(some))[: min(size, len(some))]]
    size, total = len(centres), z.shape[1] + y.shape[1]
    square = ((centres[:, None, :] - some) ** 2).sum(axis=2)
    square.sort(axis=1)
    share = np.exp(rng.uniform(np.log(min(neighbours / total, _WIDEST)), np.log(_WIDEST), (2, size)))
    reach = np.clip((share * len(some)).astype(int), 1, len(some) - 1)
    # Repeated samples have no distance: a feature is never narrower than a thousandth of the cloud.
    least = 1e-3 * some.std(axis=0).max()
    h = np.maximum(np.sqrt(np.take_along_axis(square, reach.T, axis=1)).T, least)
    kinds = np.array(["bump", "multiquadric"]) if kernel == "auto" else np.array([kernel])
    kind = kinds[(rng.random((2, size)) < 0.2).astype(int) if len(kinds) > 1 else np.zeros((2, size), int)]
    b, steep = np.stack([Features(centres, h[i], kind[i]).discrepancy(z, y) for i in range(2)], axis=1)
    better = (b**2 / np.maximum(steep, 1e-300)).argmax(axis=0), np.arange(size)
    return Features(centres, h[better], kind[better]), b[better]
