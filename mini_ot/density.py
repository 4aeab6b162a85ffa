"""Densities from samples: a Gaussian on each sample, its width chosen by likelihood.  Chapter 1."""

import warnings

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtr

from ._jit import by_rows, fast_exp, fast_max, fast_sum, jit, wide_vectors
from ._progress import progress
from ._validate import column_spread, count, generator, positive, samples

LOG_2PI = np.log(2 * np.pi)


@jit
def _kernel_sums(start, stop, out, u, v, log_weight, group_u, group_v):
    """out[i] = log sum_j exp(log_weight[j] - |u_i - v_j|^2 / 2), leaving out j of i's own group.

    `u` (n, d) and `v` (d, m) are already divided by the bandwidth; group -1 leaves nothing out.
    The running maximum `top` keeps the sum from underflowing; nothing of size n times m is stored.
    """
    wide_vectors()
    m = v.shape[1]
    tile = np.empty(512)
    for i in range(start, stop):
        top, total = -np.inf, 0.0
        for low in range(0, m, 512):
            exponent = tile[: min(512, m - low)]
            for j in range(len(exponent)):
                exponent[j] = log_weight[low + j]
            for k in range(v.shape[0]):
                centre, source = u[i, k], v[k, low : low + 512]
                for j in range(len(exponent)):
                    gap = centre - source[j]
                    exponent[j] -= 0.5 * gap * gap
            if group_u[i] >= 0:
                for j in range(len(exponent)):
                    if group_v[low + j] == group_u[i]:
                        exponent[j] = -np.inf
            here = fast_max(exponent)
            if here == -np.inf:  # nothing in this tile counts: skip it, or -inf - -inf makes NaN
                continue
            if here > top:
                total *= np.exp(top - here)
                top = here
            for j in range(len(exponent)):
                exponent[j] = fast_exp(exponent[j] - top)
            total += fast_sum(exponent)
        out[i] = top + np.log(total) if total > 0.0 else -np.inf


def log_kernel_sums(u, v, log_weight, group_u=None, group_v=None):
    """Run the kernel above over all rows of `u`."""
    out = np.empty(len(u))
    nobody = np.full(1, -1)
    group_u = np.broadcast_to(nobody, len(u)) if group_u is None else group_u
    group_v = np.broadcast_to(nobody, len(v)) if group_v is None else group_v
    args = np.ascontiguousarray(v.T), log_weight, np.ascontiguousarray(group_u), np.ascontiguousarray(group_v)
    by_rows(_kernel_sums, len(u), len(u) * len(v), out, np.ascontiguousarray(u), *args)
    return out


class Density:
    """A mixture of equally wide Gaussians centred at samples: what :func:`kde` returns.

    Attributes
    ----------
    centres : ndarray, shape (n, d)
    bandwidth : ndarray, shape (d,)
        Standard deviation of the Gaussian along each coordinate, in the units of the data.
    weights : ndarray, shape (n,)
        Non-negative, sum 1.
    dim : int
    """

    def __init__(self, centres, bandwidth, log_weights=None):
        self.centres = samples(centres, "centres").astype(np.float64)
        n, self.dim = self.centres.shape
        self.bandwidth = as_bandwidth(bandwidth, self.dim)
        self._log_weights = np.full(n, -np.log(n)) if log_weights is None else log_weights

    @property
    def weights(self) -> np.ndarray:
        return np.exp(self._log_weights)

    def log_density(self, x) -> np.ndarray:
        """Return the log density at the points `x` of shape (n, d), as shape (n,); O(n) memory."""
        x = samples(x, "x", dim=self.dim).astype(np.float64)
        sums = log_kernel_sums(x / self.bandwidth, self.centres / self.bandwidth, self._log_weights)
        return sums - np.log(self.bandwidth).sum() - 0.5 * self.dim * LOG_2PI

    def sample(self, n: int, rng=None) -> np.ndarray:
        """Draw `n` samples, shape (n, d): a centre by its weight, plus Gaussian noise of one bandwidth."""
        n, rng = count(n, "n"), generator(rng)
        pick = rng.choice(len(self.centres), size=n, p=self.weights / self.weights.sum())
        return self.centres[pick] + self.bandwidth * rng.standard_normal((n, self.dim))

    def moved(self, by) -> "Density":
        """Return the density of X + `by`, for a number or a vector of shape (d,)."""
        return Density(self.centres + np.asarray(by, dtype=np.float64), self.bandwidth, self._log_weights)

    def cdf(self, t) -> np.ndarray:
        """Return P(X <= t) for each t of shape (n,); dimension one only."""
        self._must_be_1d("cdf")
        t = samples(t, "t", dim=1)[:, 0]
        out = np.empty(len(t))
        for i in range(0, len(t), 256):
            out[i : i + 256] = (
                ndtr((t[i : i + 256, None] - self.centres[:, 0]) / self.bandwidth) @ self.weights
            )
        return out

    def quantile(self, p) -> np.ndarray:
        """Return the t with P(X <= t) = p for each p in (0, 1), shape (n,); dimension one only."""
        self._must_be_1d("quantile")
        p = samples(p, "p", dim=1)[:, 0]
        if not ((p > 0) & (p < 1)).all():
            raise ValueError(f"p must lie strictly between 0 and 1, got values from {p.min()} to {p.max()}")
        low = self.centres.min() - 40 * self.bandwidth[0]
        high = self.centres.max() + 40 * self.bandwidth[0]
        return np.array([brentq(lambda t, q=q: self.cdf([t])[0] - q, low, high, xtol=1e-10) for q in p])

    def _must_be_1d(self, what):
        if self.dim != 1:
            raise ValueError(f"{what} needs a one-dimensional density, got dimension {self.dim}")

    def __repr__(self) -> str:
        n, h = len(self.centres), self.bandwidth.round(4)
        return f"Density({n} Gaussians in dimension {self.dim}, bandwidth {h})"


def kde(x, *, bandwidth="likelihood") -> Density:
    """Estimate a density from samples by putting a Gaussian on each.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, d)
        Samples, n >= 2.
    bandwidth : {"likelihood", "scott", "silverman"}, float or array_like, shape (d,)
        A number is the kernel's standard deviation in the units of the data.  The rules scale the
        standard deviation of each coordinate: by n^(-1/(d+4)) (Scott), by (4/(d+2))^(1/(d+4)) times that
        (Silverman), or by the factor that maximises the leave-one-out log-likelihood.

    Returns
    -------
    Density

    Raises
    ------
    ValueError
        If `x` holds NaN or infinity, has fewer than two samples or a constant column (unless the bandwidth
        is given), or the bandwidth is not positive.

    Warns
    -----
    UserWarning
        If the likelihood is largest at the smallest bandwidth tried, which means repeated or rounded values.

    Examples
    --------
    >>> import mini_ot as mo
    >>> density = mo.kde(mo.Banana().sample(500, rng=0))
    >>> density.log_density([[0.0, 0.0]]).shape
    (1,)

    References
    ----------
    Rosenblatt (1956); Parzen (1962); Scott (1992), section 6.3; Habbema, Hermans and van den Broek (1974)
    for the leave-one-out likelihood.
    """
    if not isinstance(bandwidth, str):
        x = samples(x, "x")
        return Density(x, as_bandwidth(bandwidth, x.shape[1]))
    x = samples(x, "x", at_least=2).astype(np.float64)
    n, d = x.shape
    sd = column_spread(x, "x") * np.sqrt(len(x) / (len(x) - 1))
    scott = n ** (-1 / (d + 4))
    if bandwidth == "scott":
        return Density(x, scott * sd)
    if bandwidth == "silverman":
        return Density(x, (4 / (d + 2)) ** (1 / (d + 4)) * scott * sd)
    if bandwidth != "likelihood":
        raise ValueError(
            f"bandwidth must be 'likelihood', 'scott', 'silverman' or numbers, got {bandwidth!r}"
        )
    z, own = x / sd, np.arange(n)
    no_weight = np.zeros(n)

    def loss(log_factor, every=1):
        bar.update()
        h, some = np.exp(log_factor), slice(None, None, every)
        sums = log_kernel_sums(z[some] / h, z[some] / h, no_weight[some], own[some], own[some])
        return d * log_factor - sums.mean()

    # Bracket on at most 2,000 samples, then search with all of them.
    # The smallest bandwidth tried is far below any that samples without ties ask for.
    low, high = np.log(1e-4 * scott), np.log(4.0)
    grid = np.linspace(low, high, 24)
    with progress(label="bandwidth", unit=" tried") as bar:
        best = int(np.argmin([loss(g, every=-(-n // 2000)) for g in grid]))
        bracket = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        found = minimize_scalar(loss, bounds=bracket, method="bounded", options={"xatol": 5e-3})
        ties = loss(low) <= found.fun
    if ties:
        warnings.warn(
            "x has repeated values: the leave-one-out likelihood is largest at bandwidth zero. "
            "Pass a bandwidth (the rounding unit of the data, say) or spread the ties out.",
            stacklevel=2,
        )
        return Density(x, np.exp(low) * sd)
    return Density(x, np.exp(found.x) * sd)


def as_bandwidth(bandwidth, dim):
    h = np.asarray(bandwidth, dtype=np.float64) if np.ndim(bandwidth) else positive(bandwidth, "bandwidth")
    h = np.broadcast_to(h, (dim,)).copy() if np.ndim(h) == 0 else h
    if h.shape != (dim,) or not ((h > 0) & np.isfinite(h)).all():
        raise ValueError(f"bandwidth must be one positive number or {dim} of them, got {bandwidth!r}")
    return h
