"""Small moves of points: how much likelihood each would gain, and which of many would gain most.

Points z (d, n) have mean zero and covariance I.  A move z + beta v(z) + A z + b, with symmetric A, changes
their mean log-likelihood under N(0, I) to second order by beta G - beta^2 H / 2, once A and b are the best
for this beta:

    G = mean(div v - z . v),
    H = mean(|v|^2 + |Dv|^2) - |mean v|^2 - |S|^2 / 2,  S the symmetric part of mean(z v^T + Dv).

The two last terms are what the affine part takes over; without it they are absent.  H is never negative.
"""

from math import lgamma

import numpy as np

from ._jit import jit, wide_vectors
from .maps import Map

_LARGEST = 0.8  # share of the strength at which a move would fold the space
_ROUNDS = 3  # of a search near the best move so far
_WIDEST = 3.0  # largest radius, as the rule for it explodes for far centres


@jit(fastmath=True)
def radial_scores(z, centres, alphas, affine):
    """Return (G, H) for v = (z - c) / (alpha + r) round each centre, shape (K, 2)."""
    wide_vectors()
    d, n = z.shape
    out = np.empty((len(centres), 2))
    norm2, f, q, pull = np.zeros(n), np.empty(n), np.empty(n), np.empty(d)
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
            r = np.sqrt(r2 + 1e-300)
            w = 1 / (r * (a + r))  # one division for both 1 / (a + r) and 1 / r
            v = r * w  # v and g = (r v)' are the stretches across and along the ray from the centre
            g = a * v * v
            first += (d - 1) * v + g - 0.5 * v * (r2 + norm2[i] - c2)
            second += v * v * (r2 + d - 1) + g * g
            total += v
            f[i] = v
            q[i] = v - v * w
        taken = 0.0
        for j in range(d if affine else 0):  # S of the docstring, by z = c + (z - c)
            pull[j] = 0.0
            for i in range(n):
                pull[j] += f[i] * (z[j, i] - c[j])
            taken += (pull[j] / n) ** 2
            for m in range(j + 1):
                s = total if m == j else 0.0
                for i in range(n):
                    s += q[i] * (z[j, i] - c[j]) * (z[m, i] - c[m])
                s += 0.5 * (pull[j] * c[m] + pull[m] * c[j])
                taken += (s / n) ** 2 * (0.5 if m == j else 1.0)
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
    return np.minimum(_WIDEST, np.sqrt(2 * np.pi) * (share / unit_ball) ** (1 / d) * grown)


def newton_strength(scores, low, high):
    """Return the strengths that maximise beta G - beta^2 H / 2 within limits, and these maxima."""
    first, second = scores[..., 0], np.maximum(scores[..., 1], 1e-12)
    beta = np.clip(first / second, low, high)
    return beta, beta * first - beta**2 * second / 2


def best_push(z, rng, neighbours, candidates, affine):
    """Return centre, alpha and beta of the radial map of largest gain among some, for z of shape (n, d)."""
    (n, d), zt = z.shape, np.ascontiguousarray(z.T)
    normal, own = rng.standard_normal((candidates, d)), z[rng.integers(n, size=candidates)]
    centres = np.where(rng.random((candidates, 1)) < 0.5, own, normal)
    share = neighbours / n * max(1.0, n / (5 * neighbours)) ** np.linspace(0, 1, candidates)
    alphas = ball_radius(centres, share)
    for rounds_left in range(_ROUNDS if candidates > 1 else 0, -1, -1):
        scores = radial_scores(zt, centres, alphas, affine)
        betas, gains = newton_strength(scores, -_LARGEST * alphas, 2 * alphas)
        k = gains.argmax()
        centre, alpha, beta = centres[k], alphas[k], betas[k]
        if rounds_left:
            near = centre + 0.5 * alpha * rng.standard_normal((candidates, d))
            centres = np.vstack([centre, near])
            alphas = alpha * np.exp(np.append(0.0, 0.4 * rng.standard_normal(candidates)))
            alphas = np.clip(alphas, ball_radius(centres, neighbours / n), _WIDEST)
    return centre, alpha, beta


def best_kinks(z, rng, candidates, affine):
    """Return rotation, centres, widths and gammas of the kinks of largest gain among some, for z (n, d)."""
    best = _kinks_in_frame(z, rng, rng.standard_normal((z.shape[1],) * 2), None, candidates, affine)
    for k in range(1, 2 * candidates if candidates > 1 else 1):
        noise, near = rng.standard_normal(best[1][0].shape), best[1] if k >= candidates else None
        frame = near[0] + 0.15 * noise if near else noise
        best = max(best, _kinks_in_frame(z, rng, frame, near, candidates, affine), key=lambda found: found[0])
    return best[1]


def _kinks_in_frame(z, rng, frame, near, candidates, affine):
    """Return the largest gain among a few kinks on each axis of a frame, the rotation and these kinks."""
    n, d = z.shape
    q, r = np.linalg.qr(frame)
    rotation = q * np.sign(np.diag(r))  # the one near the frame
    u, shape = np.ascontiguousarray(rotation @ z.T), (d, 8 if candidates > 1 else 1)
    noise, least = rng.standard_normal(shape), min(0.5, max(0.01, 50 / n))
    if near:
        _, centre, width, _ = near
        centres = centre[:, None] + 0.5 * width[:, None] * noise
        widths = width[:, None] * np.exp(0.4 * rng.standard_normal(shape))
        widths = np.clip(widths, _widths(centres, least), _WIDEST)
    else:
        own = np.take_along_axis(u, rng.integers(n, size=shape), axis=1)
        centres = np.where(rng.random(shape) < 0.5, own, noise)
        widths = _widths(centres, least * (0.5 / least) ** rng.random(shape))
    gammas, gains = newton_strength(kink_scores(u, centres, widths, affine), -_LARGEST, _LARGEST)
    at = np.arange(d), gains.argmax(axis=1)
    return gains[at].sum(), (rotation, centres[at], widths[at], gammas[at])


def _widths(centres, share):
    """Return the radii of intervals that hold a share of N(0, 1), for centres of any shape."""
    return ball_radius(centres.reshape(-1, 1), np.ravel(share)).reshape(centres.shape)


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
