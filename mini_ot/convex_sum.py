"""Gradients of convex functions by construction: sums of convex functions with weights that are not negative.

Chapter 9.  Nothing has to be checked afterwards, and the inverse is one convex minimisation.
"""

from contextlib import suppress

import numpy as np
from scipy.optimize import nnls

from ._jit import by_rows, fast_exp, jit
from ._validate import count, generator, positive, samples
from .maps import SmoothMap, affine_map

_TEMPERATURES = (0.003, 0.01, 0.03, 0.1, 0.3)  # of the soft maxima, relative to the spreads of x and tx


@jit
def _soft_maxima(start, stop, value, gradient, hessian, x, slopes, heights, temperature, beta):
    """Beta t log sum_i exp((height_i + <T_i, x>) / t) with its gradients and, if asked for, its Hessian.

    Shapes (n, q), (n, d, q) and (n, d, d); the Hessian, which may be empty, is that of the sum over q.
    """
    d = x.shape[1]
    plane, mean = np.empty(len(slopes)), np.empty(d)
    for i in range(start, stop):
        top = -np.inf
        for j in range(len(slopes)):
            plane[j] = heights[j]
            for k in range(d):
                plane[j] += slopes[j, k] * x[i, k]
            top = max(top, plane[j])
        for q in range(len(beta)):
            total, cold = 0.0, beta[q] / temperature[q]
            mean[:] = 0.0
            for j in range(len(slopes)):
                w = fast_exp((plane[j] - top) / temperature[q])
                total += w
                for k in range(d):
                    mean[k] += w * slopes[j, k]
            for k in range(d):
                mean[k] /= total
                gradient[i, k, q] = beta[q] * mean[k]
            value[i, q] = beta[q] * (top + temperature[q] * np.log(total))
            if hessian.size > 0:  # the covariance of the slopes
                for j in range(len(slopes)):
                    w = cold / total * fast_exp((plane[j] - top) / temperature[q])
                    for k in range(d):
                        for p in range(d):
                            hessian[i, k, p] += w * (slopes[j, k] - mean[k]) * (slopes[j, p] - mean[p])


class ConvexSumMap(SmoothMap):
    """T = grad phi, phi(x) = <x, matrix x> / 2 + <shift, x> + sum_q beta_q F_q(x), a convex function.

    F_q is the maximum of planes height_i + <slope_i, x>, made smooth: t log sum_i exp((...) / t).

    Attributes
    ----------
    matrix, shift : ndarray, shapes (d, d) and (d,)
        The matrix is symmetric and positive.
    slopes, heights : ndarray, shapes (k, d) and (k,)
    temperature, beta : ndarray, shape (q,)
        With beta >= 0; the temperature t tells how far the planes are rounded where they meet.
    """

    def __init__(self, matrix, shift, slopes, heights, temperature, beta):
        super().__init__(len(shift))
        self.matrix, self.shift = matrix, shift
        self.slopes, self.heights, self.temperature, self.beta = slopes, heights, temperature, beta

    def _derivatives(self, x, second=True):
        """Value, gradient and Hessian of phi (zero-sized unless `second`)."""
        linear = x @ self.matrix
        value, gradient = np.empty((len(x), len(self.beta))), np.empty((*x.shape, len(self.beta)))
        hessian = np.tile(self.matrix, (len(x), 1, 1)) if second else np.empty((0, 0, 0))
        planes = self.slopes, self.heights, self.temperature, self.beta
        work = gradient.size * len(self.slopes)
        by_rows(_soft_maxima, len(x), work, value, gradient, hessian, x, *planes)
        value = 0.5 * (x * linear).sum(axis=1) + x @ self.shift + value.sum(axis=1)
        return value, linear + self.shift + gradient.sum(axis=2), hessian

    def potential(self, x) -> np.ndarray:
        """Return phi at points `x` of shape (n, d), as shape (n,)."""
        return self._apply(lambda points: self._derivatives(points, False)[0], x, "x")

    def _forward(self, x):
        return self._derivatives(x, False)[1]

    def _jacobian(self, x):
        return self._derivatives(x)[2]


def convex_combination_map(x, tx, *, planes: int = 300, rng=0, least_slope: float = 1e-3) -> ConvexSumMap:
    """Fit the gradient of a convex function to pairs (x_i, T_i), smooth and convex by construction.

    phi is a sum, with weights that are not negative, of ``|x|^2 / 2``, of the quadratic of the Gaussian
    optimal map and of the convex interpolant of some of the pairs, made smooth at five temperatures.
    The weights are those that fit the other pairs best, by least squares.

    Parameters
    ----------
    x, tx : array_like, shape (n, d)
        Points, and the images that the map shall come close to, such as an assignment's; n >= 4.
        Where some are no gradient of a convex function, the images are paired anew among them.
    planes : int
        Pairs to interpolate, at most half of them.
    rng : int, numpy.random.Generator or None
        Seed of their choice.
    least_slope : float
        Smallest eigenvalue of the Hessian, over the spread of tx divided by that of x: it bounds the inverse.

    Returns
    -------
    ConvexSumMap

    Raises
    ------
    ValueError
        If x or tx is one point only, repeated; if they are too few, differ in shape or are not finite.

    Examples
    --------
    >>> import mini_ot as mo, numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 2))
    >>> T = mo.convex_combination_map(x, np.sign(x) + x)
    >>> bool((T.beta >= 0).all() and np.allclose(T.inverse(T(x)), x))
    True
    """
    from .convexity import certify_convex
    from .discrete import assignment

    x, tx = samples(x, "x", at_least=4).astype(np.float64), samples(tx, "tx").astype(np.float64)
    if x.shape != tx.shape:
        raise ValueError(f"tx must have the shape of x, {x.shape}, got {tx.shape}")
    count(planes, "planes"), positive(least_slope, "least_slope")
    n, d = x.shape
    spread, image = (np.sqrt(((a - a.mean(axis=0)) ** 2).sum(axis=1).mean()) for a in (x, tx))
    if spread == 0 or image == 0:
        raise ValueError(f"{'tx' if spread else 'x'} must not be one point, repeated")
    chosen, rest = np.split(generator(rng).permutation(n), [min(planes, n // 2)])
    anchor, slopes = x[chosen], tx[chosen]
    found = certify_convex(anchor, slopes)
    if not found.is_monotone:
        slopes = slopes[assignment(anchor, slopes)]
        found = certify_convex(anchor, slopes, tolerance=1e-6)
    heights = found.potentials - (slopes * anchor).sum(axis=1)
    temperature = spread * image * np.array(_TEMPERATURES)

    quadratic = [np.eye(d)]
    with suppress(ValueError):  # all in a hyperplane: there is no Gaussian map, the rest will do
        quadratic.append(affine_map(x, tx).matrix)
    least = least_slope * image / spread * np.eye(d)
    z = x[rest]
    gradient = np.empty((*z.shape, len(temperature)))
    args = np.empty((len(z), len(temperature))), gradient, np.empty((0, 0, 0)), z, slopes, heights
    by_rows(_soft_maxima, len(z), gradient.size * len(slopes), *args, temperature, np.ones(len(temperature)))
    table = [gradient, np.stack([z @ A for A in quadratic], axis=2), (tx[rest] - z @ least)[:, :, None]]
    table = np.concatenate(table, axis=2)
    table = (table - table.mean(axis=0)).reshape(z.size, -1)  # the shift is free
    beta = nnls(table[:, :-1], table[:, -1])[0]
    kept = np.flatnonzero(beta[: len(temperature)])
    matrix = least + sum(b * A for b, A in zip(beta[len(temperature) :], quadratic, strict=True))
    T = ConvexSumMap(matrix, np.zeros(d), slopes, heights, temperature[kept], beta[kept])
    T.shift = (tx - T._forward(x)).mean(axis=0)
    return T
