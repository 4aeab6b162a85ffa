"""Sums of exponentials over all pairs of two clouds: the loops of Sinkhorn's iteration (chapter 6).

With x and y over sqrt(epsilon) and logarithms to base 2 the sums are ``sum_j 2^-(base_j + |x_i - y_j|^2)``.
A sum is computed relative to a guess of its value, Sinkhorn's last one, so that one pass without a running
maximum is enough; rows where the guess was far off are done again, safely.
"""

import numpy as np

from ._jit import by_rows, jit, wide_vectors
from ._pairs import LOG2_E, TILE
from ._vector_math import exp2, plus
from .density import log_kernel_sums

_FAR = 900.0  # powers of two by which a sum may differ from its guess


@jit(fastmath={"contract"})
def _far_columns(t, base, x, y, low):
    """t_j = base_j + |x - y_(low + j)|^2 over the columns from the third on."""
    wide_vectors()
    for j in range(len(t)):
        t[j] = base[j]
    for k in range(2, len(y)):
        a, v = x[k], y[k, low : low + len(t)]
        for j in range(len(t)):
            t[j] += (a - v[j]) * (a - v[j])


@jit(fastmath={"contract"})
def _plane_sum(t, guess, x, y, low, one):
    """sum_j 2^-(t_j + guess + |x - y_(low + j)|^2) over the first two columns, each power below 2^1000."""
    wide_vectors()
    a, b, v, w = x[0], x[1], y[0, low : low + len(t)], y[1, low : low + len(t)]
    total, rate, again = 0.0, -one, -one * one
    for j in range(len(t)):
        p, q = a - v[j], b - w[j]
        total = plus(total, exp2(max(p * p + q * q + (t[j] + guess), -1000.0), rate, again))
    return total


@jit
def _sum_rows(start, stop, out, guess, x, y, base, one):
    """out[i] = sum_j 2^-(base_j + guess_i + |x_i - y_j|^2)."""
    tile = np.empty(TILE)
    for i in range(start, stop):
        out[i] = 0.0
        for low in range(0, y.shape[1], TILE):
            t = base[low : low + TILE]
            if len(y) > 2:
                t = tile[: len(t)]
                _far_columns(t, base[low : low + TILE], x[i], y, low)
            out[i] += _plane_sum(t, guess[i], x[i], y, low, one)


def softmin(x, y, log_weight, epsilon, guess=None):
    """Return ``-epsilon log sum_j exp(log_weight_j - |x_i - y_j|^2 / epsilon)``, fast from a guess of it."""
    scale = np.sqrt(2 / epsilon)
    if guess is None:
        return -epsilon * log_kernel_sums(x * scale, y * scale, log_weight)
    out, bits = np.empty(len(x)), LOG2_E / epsilon  # a cost times this is a power of two
    u, v = (np.pad(p * np.sqrt(bits), ((0, 0), (0, p.shape[1] == 1))) for p in (x, y))
    args = u, np.ascontiguousarray(v.T), -LOG2_E * log_weight, 1.0
    by_rows(_sum_rows, len(x), len(x) * len(y), out, -bits * guess, *args)
    off = ~((out > 2.0**-_FAR) & (out < 2.0**_FAR))
    out = guess - np.log2(np.where(off, 1.0, out)) / bits
    if off.any():
        out[off] = softmin(x[off], y, log_weight, epsilon)
    return out
