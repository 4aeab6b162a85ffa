"""Two-dimensional targets whose densities are known: the course's test bench.

Every target has ``.sample(n, rng)``, ``.log_density(x)``, ``.dim`` and ``.bounds`` (for pictures).
Their entropies, which are the negative log-likelihood that no model can beat, follow from both.
"""

from typing import ClassVar

import numpy as np
from scipy.special import logsumexp, ndtri

from ._validate import count, generator, samples

LOG_2PI = np.log(2 * np.pi)


class Target:
    """A distribution to learn: what the classes below have in common.

    Attributes
    ----------
    dim : int
        Dimension d of the samples.
    bounds : tuple of (low, high)
        A box for pictures, one pair per coordinate; it holds nearly all of the mass.
    """

    dim: int = 2
    bounds: tuple = ((-4.0, 4.0), (-4.0, 4.0))

    def sample(self, n: int, rng=None) -> np.ndarray:
        """Draw `n` independent samples, shape (n, d).

        Parameters
        ----------
        n : int
            How many.
        rng : int, numpy.random.Generator or None
            Seed or generator; the same seed gives the same samples.

        Raises
        ------
        TypeError, ValueError
            If `n` is no positive whole number, or `rng` no seed or generator.
        """
        return self._sample(count(n, "n"), generator(rng))

    def log_density(self, x) -> np.ndarray:
        """Return the natural log of the density at the points `x` of shape (n, d), as shape (n,)."""
        return self._log_density(samples(x, "x", dim=self.dim).astype(np.float64))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim})"


class GaussianMixture(Target):
    """A mixture of Gaussians.

    Parameters
    ----------
    means : array_like, shape (k, d)
    covariances : array_like, shape (k, d, d)
    weights : array_like, shape (k,), optional
        Positive; they are normalised to sum 1.  Equal by default.

    Examples
    --------
    >>> import mini_ot as mo
    >>> two = mo.GaussianMixture([[-1.0], [1.0]], [[[0.1]], [[0.1]]])
    >>> two.sample(3, rng=0).shape
    (3, 1)
    """

    def __init__(self, means, covariances, weights=None):
        self.means = samples(means, "means").astype(np.float64)
        k, self.dim = self.means.shape
        self.covariances = np.asarray(covariances, dtype=np.float64)
        if self.covariances.shape != (k, self.dim, self.dim):
            raise ValueError(
                f"covariances must have shape {(k, self.dim, self.dim)}, got {self.covariances.shape}"
            )
        self.weights = np.ones(k) if weights is None else np.asarray(weights, dtype=np.float64)
        if self.weights.shape != (k,) or not (self.weights > 0).all() or not np.isfinite(self.weights).all():
            raise ValueError(f"weights must be {k} positive numbers, got {weights!r}")
        self.weights = self.weights / self.weights.sum()
        try:
            if not np.allclose(self.covariances, np.swapaxes(self.covariances, 1, 2)):
                raise np.linalg.LinAlgError
            self._roots = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError:
            raise ValueError(
                "covariances must be symmetric and positive definite, got one that is not"
            ) from None
        spread = 4 * np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))
        low, high = (self.means - spread).min(axis=0), (self.means + spread).max(axis=0)
        self.bounds = tuple(zip(low.tolist(), high.tolist(), strict=True))

    def _sample(self, n, rng):
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.dim))
        return self.means[component] + np.einsum("nij,nj->ni", self._roots[component], noise)

    def _log_density(self, x):
        terms = np.empty((len(self.weights), len(x)))
        for k, root in enumerate(self._roots):
            white = np.linalg.solve(root, (x - self.means[k]).T)
            log_det = np.log(np.diagonal(root)).sum()
            terms[k] = np.log(self.weights[k]) - 0.5 * (white**2).sum(axis=0) - log_det
        return logsumexp(terms, axis=0) - 0.5 * self.dim * LOG_2PI


class StandardNormal(GaussianMixture):
    """The easy reference N(0, I) in dimension `dim`."""

    def __init__(self, dim: int = 2):
        dim = count(dim, "dim")
        super().__init__(np.zeros((1, dim)), np.eye(dim)[None])

    def spread(self, n: int, rng=None) -> np.ndarray:
        """Return `n` points, shape (n, d), that follow the law more evenly than independent ones do.

        A scrambled Sobol set, taken through the normal quantiles.  A reference may be chosen, and one without
        accidents leaves only those of the data to be fitted.  The points are not independent: use
        :meth:`sample` to test with.
        """
        from scipy.stats import qmc  # half a second that other targets need not pay

        n, rng = count(n, "n"), generator(rng)
        sobol = qmc.Sobol(self.dim, seed=int(rng.integers(2**31)))
        return ndtri(np.clip(sobol.random_base2(max(1, (n - 1).bit_length()))[:n], 1e-12, 1 - 1e-12))


class RingOfGaussians(GaussianMixture):
    """`k` equal Gaussians of standard deviation `sd` on a circle of the given radius."""

    def __init__(self, k: int = 8, radius: float = 2.0, sd: float = 0.2):
        angle = 2 * np.pi * np.arange(count(k, "k")) / k
        super().__init__(radius * np.c_[np.cos(angle), np.sin(angle)], np.tile(sd**2 * np.eye(2), (k, 1, 1)))


class Banana(Target):
    """x1 ~ N(0, 1) and x2 given x1 ~ N(x1^2, 1/4): one bend, a long thin tail, entropy 2.1447."""

    bounds = ((-3.5, 3.5), (-2.0, 10.0))

    def _sample(self, n, rng):
        x = rng.standard_normal((n, 2))
        x[:, 1] = x[:, 0] ** 2 + 0.5 * x[:, 1]
        return x

    def _log_density(self, x):
        second = (x[:, 1] - x[:, 0] ** 2) / 0.5
        return -0.5 * (x[:, 0] ** 2 + second**2) - np.log(0.5) - LOG_2PI


class Checkerboard(Target):
    """Uniform on the eight dark cells of a 4 x 4 board on [-4, 4]^2: sharp edges, entropy log 32."""

    def _sample(self, n, rng):
        row, pair = rng.integers(4, size=n), rng.integers(2, size=n)
        cell = np.c_[2 * pair + row % 2, row]
        return 2.0 * (cell + rng.random((n, 2))) - 4.0

    def _log_density(self, x):
        return np.where(self.dark(x), -np.log(32.0), -np.inf)

    @staticmethod
    def dark(x) -> np.ndarray:
        """Tell for each row of `x` whether it lies in a dark cell, shape (n,) of bool."""
        cell = np.floor((np.asarray(x) + 4) / 2)
        return ((cell >= 0) & (cell <= 3)).all(axis=1) & (cell.sum(axis=1) % 2 == 0)


class Pinwheel(Target):
    """Five elongated Gaussians, each turned by an angle that grows with the distance from the origin.

    A rotation that depends on the radius alone keeps areas, so the density is exact.
    (The usual recipe turns by ``exp`` of the first coordinate, which is not one-to-one and has no
    closed-form density; the pictures hardly differ.)
    """

    arms = 5
    rate = 0.25
    _mean = np.array([1.0, 0.0])
    _sd = np.array([0.3, 0.1])

    def _angle(self, radius, arm):
        return 2 * np.pi * arm / self.arms + self.rate * np.exp(radius)

    def _sample(self, n, rng):
        arm = rng.integers(self.arms, size=n)
        blob = self._mean + self._sd * rng.standard_normal((n, 2))
        return 2 * _rotate(blob, self._angle(np.hypot(*blob.T), arm))

    def _log_density(self, x):
        x = x / 2
        radius = np.minimum(
            np.hypot(*x.T), 10.0
        )  # far outside the angle would overflow and no longer matters
        terms = [
            -0.5 * (((_rotate(x, -self._angle(radius, arm)) - self._mean) / self._sd) ** 2).sum(axis=1)
            for arm in range(self.arms)
        ]
        return logsumexp(terms, axis=0) - np.log(self.arms) - LOG_2PI - np.log(self._sd).sum() - 2 * np.log(2)


class _NoisyCurve(Target):
    """A random point of a curve plus isotropic Gaussian noise.

    The density is an integral over the curve's parameter; the integrand is smooth, so Gauss-Legendre
    quadrature on short panels gives it to rounding error.
    """

    noise = 0.1
    interval: ClassVar = (0.0, 1.0)
    panels = 40

    def _curves(self, t):
        """Return the curves at parameters t as a list of arrays (len(t), 2); each is equally likely."""
        raise NotImplementedError

    def _parameter(self, u):
        """Return the parameter at quantile u (default: uniform on the interval)."""
        low, high = self.interval
        return low + (high - low) * u

    def _parameter_density(self, t):
        """Return the density of the parameter at t."""
        low, high = self.interval
        return np.full_like(t, 1 / (high - low))

    def _sample(self, n, rng):
        curves = self._curves(self._parameter(rng.random(n)))
        points = np.stack(curves)[rng.integers(len(curves), size=n), np.arange(n)]
        return points + self.noise * rng.standard_normal((n, 2))

    def _log_density(self, x):
        node, weight = np.polynomial.legendre.leggauss(12)
        low, high = self.interval
        half = (high - low) / (2 * self.panels)
        t = (low + half * (2 * np.arange(self.panels)[:, None] + 1 + node)).ravel()
        weight = half * np.tile(weight, self.panels) * self._parameter_density(t)
        curves = self._curves(t)
        points, log_weight = np.concatenate(curves), np.log(np.tile(weight, len(curves)) / len(curves))
        out = np.empty(len(x))
        for i in range(0, len(x), 256):  # blocks keep the table of distances small
            gap = x[i : i + 256, None, :] - points
            out[i : i + 256] = logsumexp(log_weight - 0.5 * (gap**2).sum(axis=2) / self.noise**2, axis=1)
        return out - LOG_2PI - 2 * np.log(self.noise)


class TwoMoons(_NoisyCurve):
    """Two interleaved half circles with Gaussian noise 0.1 (scikit-learn's ``make_moons``)."""

    interval: ClassVar = (0.0, np.pi)
    bounds = ((-1.6, 2.6), (-1.1, 1.6))

    def _curves(self, t):
        upper = np.c_[np.cos(t), np.sin(t)]
        return [upper, np.array([1.0, 0.5]) - upper]


class Spirals(_NoisyCurve):
    """Two spirals of one and a half turns with Gaussian noise 0.1, equally dense along their length."""

    interval: ClassVar = (0.0, 3 * np.pi)
    panels = 80

    def _parameter(self, u):
        return self.interval[1] * np.sqrt(u)

    def _parameter_density(self, t):
        return 2 * t / self.interval[1] ** 2

    def _curves(self, t):
        arm = (t / 3)[:, None] * np.c_[-np.cos(t), np.sin(t)]
        return [arm, -arm]


def _rotate(x, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.c_[c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]]
