"""Compiled kernels for the Dirichlet problem of the Monge-Ampere equation on a square grid.

Second differences D_k = (u(x + h e_k) + u(x - h e_k) - 2 u(x)) / h^2 are taken along whole vectors e_k.
Three of them that sum to zero (up to signs) and span all whole vectors are a superbase; it says what the
determinant of D^2 u is, exactly for quadratics.  The scheme MA-LBR (Benamou, Collino and Mirebeau 2016) takes
the smallest over superbases, each continued so that it never falls when a D_k rises: it is monotone.

Instead of its value F, the kernel returns the number t with ``F(D^2 u + t I) = f``: the amount by which all
curvatures fall short.  It is zero where F = f, is defined for u that is not convex too, and is the largest of
``2 sqrt(f det A) - <A, D^2 u>`` over positive matrices A of trace one spanned by a superbase (Bonnet and
Mirebeau 2022).  A maximum of functions linear in u is what policy iteration is made for.
"""

import numpy as np
from scipy.sparse import coo_matrix

from ._jit import jit

DIRECTIONS = np.array([(1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2)])
LENGTHS = (DIRECTIONS**2).sum(axis=1).astype(np.float64)  # squared
SUPERBASES = np.array([(0, 1, 2), (0, 1, 3), (0, 2, 4), (1, 2, 5), (0, 3, 6), (1, 3, 7)])


@jit
def second_differences(u, i, j, ring, out):
    """Write D_k of the interior node (i, j) for all directions k; infinity where one leaves the square."""
    n, whole = len(u) - 1, 1.0 * (len(u) - 1) ** 2
    for k in range(ring):
        a, b = DIRECTIONS[k]
        if k > 3 and (i < a or i + a > n or j < abs(b) or j + abs(b) > n):
            out[k] = np.inf
        else:
            out[k] = ((u[i + a, j + b] - u[i, j]) + (u[i - a, j - b] - u[i, j])) * whole


@jit
def shortfall(start, stop, u, root, weights):
    """Write t, and the weights of A on the directions where it is reached, for a block of interior rows.

    weights[k, i, j] belongs to D_k at the node (i + 1, j + 1); the last plane, weights[-1], is t.
    """
    ring = len(weights) - 1
    d = np.empty(ring)
    for i in range(start, stop):
        for j in range(weights.shape[2]):
            second_differences(u, i + 1, j + 1, ring, d)
            weights[:, i, j] = 0.0
            s, best, p, q, r = root[i, j] ** 2, -np.inf, 0, 1, -1
            wp = wq = 0.5
            wr = 0.0
            for m in range(2 if ring == 4 else 6):
                a, b, c = SUPERBASES[m]
                if d[c] == np.inf:
                    continue
                # D^2 u = x e_a'e_a'^T + y e_b'e_b'^T + z e_c'e_c'^T with e' the vector e turned by 90 degrees
                x, y, z = (d[b] + d[c] - d[a]) / 2, (d[a] + d[c] - d[b]) / 2, (d[a] + d[b] - d[c]) / 2
                la, lb, lc = LENGTHS[a], LENGTHS[b], LENGTHS[c]
                half = (x * la + y * lb + z * lc) / 2
                t = np.sqrt(max(half * half - (x * y + y * z + z * x), 0.0) + s) - half
                x += t * (lb + lc - la) / 2
                y += t * (la + lc - lb) / 2
                z += t * (la + lb - lc) / 2
                if min(x, min(y, z)) >= 0.0:  # of the matrix A where t is largest: this superbase spans it
                    if t > best:
                        best, p, q, r, wp, wq, wr = t, a, b, c, x, y, z
                    continue
                for e, g in ((a, b), (a, c), (b, c)):  # else two of its vectors do
                    le, lg = LENGTHS[e], LENGTHS[g]
                    skew, mean = (d[e] / le - d[g] / lg) / 2, (d[e] / le + d[g] / lg) / 2
                    t = np.sqrt(skew * skew + s / (le * lg)) - mean
                    if t > best:
                        best, p, q, r = t, e, g, -1
                        wp, wq, wr = max(d[g] + t * lg, 0.0), max(d[e] + t * le, 0.0), 0.0
            trace = wp * LENGTHS[p] + wq * LENGTHS[q] + (wr * LENGTHS[r] if r >= 0 else 0.0)
            if trace <= 0.0:  # flat: every matrix will do, the identity is the best conditioned
                p, q, r, wp, wq, trace = 0, 1, -1, 0.5, 0.5, 1.0
            weights[p, i, j], weights[q, i, j] = wp / trace, wq / trace
            if r >= 0:
                weights[r, i, j] = wr / trace
            weights[ring, i, j] = best


@jit
def determinant(start, stop, u, root, weights):
    """Write f - D_xx D_yy + D_xy^2 as the last plane, and the derivative of the determinant before it."""
    d = np.empty(4)
    for i in range(start, stop):
        for j in range(weights.shape[2]):
            second_differences(u, i + 1, j + 1, 4, d)
            xy = (d[2] - d[3]) / 4
            weights[0, i, j], weights[1, i, j] = d[1], d[0]
            weights[2, i, j], weights[3, i, j] = -xy / 2, xy / 2
            weights[4, i, j] = root[i, j] ** 2 - d[0] * d[1] + xy * xy


@jit
def apply_weights(start, stop, v, weights, out):
    """Write sum_k weights[k] D_k v at interior nodes; v has the boundary's nodes, too."""
    n, whole = len(v) - 1, 1.0 * (len(v) - 1) ** 2
    for i in range(start, stop):
        out[i, :] = 0.0
        for k in range(len(weights) - 1):
            a, b = DIRECTIONS[k]
            first, last = 0, n - 1
            if k > 3:
                if i + 1 < a or i + 1 + a > n:
                    continue
                first, last = abs(b) - 1, n - abs(b)
            for j in range(first, last):
                two = v[i + 1 + a, j + 1 + b] + v[i + 1 - a, j + 1 - b] - 2 * v[i + 1, j + 1]
                out[i, j] += weights[k, i, j] * two
        for j in range(n - 1):
            out[i, j] *= whole


def sparse_matrix(weights):
    """Return what :func:`apply_weights` does as a matrix over interior nodes, for v = 0 at the others."""
    m = weights.shape[1]
    i, j = (index.ravel() for index in np.indices((m, m)))
    rows, columns, entries = [np.arange(m * m)], [np.arange(m * m)], [-2 * weights[:-1].sum(axis=0).ravel()]
    for weight, direction in zip(weights[:-1], DIRECTIONS, strict=False):
        for a, b in (direction, -direction):
            kept = (weight.ravel() != 0) & (i + a >= 0) & (i + a < m) & (j + b >= 0) & (j + b < m)
            rows.append(rows[0][kept])
            columns.append(rows[0][kept] + a * m + b)
            entries.append(weight.ravel()[kept])
    entries, rows, columns = (np.concatenate(part) for part in (entries, rows, columns))
    return coo_matrix(((m + 1) ** 2 * entries, (rows, columns))).tocsc()


def least_curvature(u, ring):
    """Return the smallest second derivative along any of `ring` directions, the point and the direction."""
    n, low = len(u) - 1, (np.inf, None, None)
    for (a, b), length in zip(DIRECTIONS[:ring].tolist(), LENGTHS[:ring], strict=True):
        c = abs(b)
        ends = u[2 * a :, 2 * c :], u[: n + 1 - 2 * a, : n + 1 - 2 * c]
        if b < 0:
            ends = u[2 * a :, : n + 1 - 2 * c], u[: n + 1 - 2 * a, 2 * c :]
        bend = (ends[0] + ends[1] - 2 * u[a : n + 1 - a, c : n + 1 - c]) * n**2 / length
        if bend.min() < low[0]:
            i, j = np.unravel_index(bend.argmin(), bend.shape)
            low = float(bend.min()), (float((i + a) / n), float((j + c) / n)), (a, b)
    return low
