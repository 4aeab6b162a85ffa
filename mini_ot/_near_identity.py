"""How much likelihood a small move of the points would gain, for many candidate moves: compiled.

Points z (d, n) have mean zero and covariance I.  A move z + beta v(z) + A z + b, with symmetric A, changes
their mean log-likelihood under N(0, I) to second order by beta G - beta^2 H / 2, once A and b are the best
for this beta:

    G = mean(div v - z . v),
    H = mean(|v|^2 + |Dv|^2) - |mean v|^2 - |S|^2 / 2,  S = mean of the symmetric part of z v^T + Dv.

The two last terms are what the affine part takes over; without it they are absent.  H is never negative.
"""

from math import lgamma

import numpy as np

from ._jit import jit, wide_vectors
from .maps import Map

WIDEST = 3.0  # largest radius, as the rule for it explodes for far centres


@jit(fastmath=True)
def radial_scores(z, centres, alphas, affine):
    """Return (G, H) for v = (z - c) / (alpha + r) round each centre, shape (K, 2)."""
    wide_vectors()
    d, n = z.shape
    out = np.empty((len(centres), 2))
    norm2, f, q = np.zeros(n), np.empty(n), np.empty(n)
    for j in range(d):
        for i in range(n):
            norm2[i] += z[j, i] ** 2
    for k in range(len(centres)):
        a, c, c2 = alphas[k], centres[k], 0.0
        f[:] = 0.0
        for j in range(d):
            c2 += c[j] ** 2
            for i in range(n):
                f[i] += (z[j, i] - c[j]) ** 2
        first, second, total = 0.0, 0.0, 0.0
        for i in range(n):
            r2 = f[i]
            r = np.sqrt(r2)
            v = 1 / (a + r)  # v and g = (r v)' are the stretches across and along the ray from the centre
            g = a * v * v
            first += (d - 1) * v + g - 0.5 * v * (r2 + norm2[i] - c2)
            second += v * v * (r2 + d - 1) + g * g
            total += v
            f[i] = v
            q[i] = v * v / (r + 1e-300)
        taken = 0.0
        for j in range(d if affine else 0):
            mean = 0.0
            for i in range(n):
                mean += f[i] * (z[j, i] - c[j])
            taken += (mean / n) ** 2
            for m in range(j + 1):
                s = 2 * total if m == j else 0.0
                for i in range(n):
                    s += f[i] * ((z[j, i] - c[j]) * z[m, i] + (z[m, i] - c[m]) * z[j, i])
                    s -= 2 * q[i] * (z[j, i] - c[j]) * (z[m, i] - c[m])
                taken += (s / (2 * n)) ** 2 * (0.5 if m == j else 1.0)
        out[k, 0], out[k, 1] = first / n, second / n - taken
    return out


@jit(fastmath=True)
def kink_scores(u, centres, widths, affine):
    """Return (G, H) for v = (width^2 + (u - c)^2)^(1/2) on each axis u of shape (d, n), shape (d, K, 2)."""
    wide_vectors()
    d, n = u.shape
    out = np.empty((d, centres.shape[1], 2))
    for j in range(d):
        for k in range(centres.shape[1]):
            c, w2 = centres[j, k], widths[j, k] ** 2
            slope, mean, cross, square = 0.0, 0.0, 0.0, 0.0
            for i in range(n):
                gap = u[j, i] - c
                v2 = w2 + gap * gap
                v = np.sqrt(v2)
                t = gap / v
                slope += t
                mean += v
                cross += u[j, i] * v
                square += v2 + t * t
            taken = (mean / n) ** 2 + 0.5 * ((cross + slope) / n) ** 2 if affine else 0.0
            out[j, k, 0], out[j, k, 1] = (slope - cross) / n, square / n - taken
    return out


def ball_radius(centres, share):
    """Return how wide a ball round each centre holds a given share of N(0, I)."""
    d = centres.shape[1]
    unit_ball = np.exp(d / 2 * np.log(np.pi) - lgamma(d / 2 + 1))
    grown = np.exp(np.minimum((centres**2).sum(axis=1) / (2 * d), 50.0))
    return np.minimum(WIDEST, np.sqrt(2 * np.pi) * (share / unit_ball) ** (1 / d) * grown)


def newton_strength(scores, low, high):
    """Return the strengths that maximise beta G - beta^2 H / 2 within limits, and these maxima."""
    first, second = scores[..., 0], np.maximum(scores[..., 1], 1e-12)
    beta = np.clip(first / second, low, high)
    return beta, beta * first - beta**2 * second / 2


class KinkMap(Map):
    """One kink on each axis of a turned frame: Q^T k(Q z) with k(u) = u + gamma (w^2 + (u - c)^2)^(1/2).

    Attributes
    ----------
    rotation : ndarray, shape (d, d)
        Q, orthogonal.
    centre, width, gamma : ndarray, shape (d,)
        Where each kink is, how smooth, and how much the slope changes: from 1 - gamma to 1 + gamma, with
        ``|gamma| < 1``, so that the map is one-to-one.  Its inverse is the root of a quadratic.
    """

    def __init__(self, rotation, centre, width, gamma):
        super().__init__(len(rotation))
        self.rotation, self.centre, self.width, self.gamma = rotation, centre, width, gamma

    def _forward(self, x):
        u = x @ self.rotation.T
        return x + (self.gamma * np.hypot(self.width, u - self.centre)) @ self.rotation

    def _inverse(self, y):
        t = y @ self.rotation.T - self.centre
        root = np.hypot(t, self.width * np.sqrt(1 - self.gamma**2))
        return y - (self.gamma * (root - self.gamma * t) / (1 - self.gamma**2)) @ self.rotation

    def _log_det(self, x):
        gap = x @ self.rotation.T - self.centre
        return np.log1p(self.gamma * gap / np.hypot(self.width, gap)).sum(axis=1)
