"""The SIR equations of an epidemic for many parameters at once: the loop behind :class:`mini_ot.Epidemic`."""

import numpy as np

from ._jit import by_rows, jit, wide_vectors

_STEPS = 20  # Runge-Kutta steps a day
_FASTEST = 50.0  # rates a day beyond which such steps are not stable
_BLOCK = 64  # parameters whose states fit the vector units and the nearest cache


@jit
def _solve(start, stop, beta, gamma, population, out):
    """Write I at days 1, 2, ... into the rows of `out` (n, days), with shares s and i of the population."""
    wide_vectors()
    h, days = 1.0 / _STEPS, out.shape[1]
    s, i = np.empty(_BLOCK), np.empty(_BLOCK)
    for first in range(start, stop, _BLOCK):
        size = min(_BLOCK, stop - first)
        b, g = beta[first : first + size], gamma[first : first + size]
        s[:], i[:] = 1.0 - 1.0 / population, 1.0 / population
        for day in range(days):
            for _ in range(_STEPS):
                for k in range(size):
                    s0, i0 = s[k], i[k]
                    flow = b[k] * s0 * i0
                    s1, i1 = -flow, flow - g[k] * i0
                    sk, ik = s0 + 0.5 * h * s1, i0 + 0.5 * h * i1
                    flow = b[k] * sk * ik
                    s2, i2 = -flow, flow - g[k] * ik
                    sk, ik = s0 + 0.5 * h * s2, i0 + 0.5 * h * i2
                    flow = b[k] * sk * ik
                    s3, i3 = -flow, flow - g[k] * ik
                    sk, ik = s0 + h * s3, i0 + h * i3
                    flow = b[k] * sk * ik
                    s[k] = s0 + h / 6 * (s1 + 2 * (s2 + s3) - flow)
                    i[k] = i0 + h / 6 * (i1 + 2 * (i2 + i3) + flow - g[k] * ik)
            for k in range(size):
                out[first + k, day] = max(population * i[k], 1e-12)  # a mean of a count, so above 0


def infected(rates, days: int, population: float) -> np.ndarray:
    """Return how many are ill on days 1 ... days, shape (n, days), at rates beta and gamma (n, 2) a day."""
    beta, gamma = np.minimum(rates, _FASTEST).T.copy()
    out = np.empty((len(beta), days))
    by_rows(_solve, len(beta), 50 * out.size, beta, gamma, population, out)
    return out
