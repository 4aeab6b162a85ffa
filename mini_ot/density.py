"""Densities from samples: kernel estimates, plain and conditional, with bandwidths chosen by likelihood.

Chapters 1 and 2.  Both estimates are mixtures of Gaussians centred at the samples, so both are a
:class:`Density`; the conditional one has weights that depend on where it is asked.
"""

import warnings

import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import ndtr

from ._jit import by_rows, fast_exp, fast_max, fast_sum, jit
from ._validate import count, generator, positive, samples

LOG_2PI = np.log(2 * np.pi)


@jit
def _log_kernel_sums(start, stop, out, u, v, log_weight, group_u, group_v):
    """out[i] = log sum_j exp(log_weight[j] - |u_i - v_j|^2 / 2), leaving out j of i's own group.

    `u` (n, d) and `v` (d, m) are already divided by the bandwidth; group -1 leaves nothing out.
    The running maximum `top` keeps the sum from underflowing; nothing of size n times m is stored.
    """
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
        out[i] = top + np.log(total)


@jit
def _conditional_terms(start, stop, value, gradient, s, t, group):
    """Leave-own-group-out log conditional likelihood of each sample and its gradient in the log bandwidths.

    `s` (q, n) outcomes and `t` (p, n) covariates, divided by their bandwidths.  Row i is
    log sum_j e^{-(S_ij + T_ij)} - log sum_j e^{-T_ij}, S and T half squared distances; the derivative of
    S_ij in the log bandwidth of coordinate k is minus the k-th squared gap.
    """
    q, n = s.shape
    p = t.shape[0]
    far, near = np.empty(n), np.empty(n)
    for i in range(start, stop):
        for j in range(n):
            far[j] = 0.0
        for k in range(p):
            centre = t[k, i]
            for j in range(n):
                gap = centre - t[k, j]
                far[j] -= 0.5 * gap * gap
        for j in range(n):
            if group[j] == group[i]:
                far[j] = -np.inf
        for j in range(n):
            near[j] = far[j]
        for k in range(q):
            centre = s[k, i]
            for j in range(n):
                gap = centre - s[k, j]
                near[j] -= 0.5 * gap * gap
        top_near, top_far = fast_max(near), fast_max(far)
        for j in range(n):
            near[j] = fast_exp(near[j] - top_near)
            far[j] = fast_exp(far[j] - top_far)
        sum_near, sum_far = fast_sum(near), fast_sum(far)
        value[i] = top_near + np.log(sum_near) - top_far - np.log(sum_far)
        for k in range(q):
            total = 0.0
            for j in range(n):
                total += near[j] * (s[k, i] - s[k, j]) ** 2
            gradient[i, k] = total / sum_near - 1.0
        for k in range(p):
            with_near, with_far = 0.0, 0.0
            for j in range(n):
                gap2 = (t[k, i] - t[k, j]) ** 2
                with_near += near[j] * gap2
                with_far += far[j] * gap2
            gradient[i, q + k] = with_near / sum_near - with_far / sum_far


def _log_sums(u, v, log_weight, group_u=None, group_v=None):
    """Run the kernel above over all rows of `u`."""
    out = np.empty(len(u))
    nobody = np.full(1, -1)
    group_u = np.broadcast_to(nobody, len(u)) if group_u is None else group_u
    group_v = np.broadcast_to(nobody, len(v)) if group_v is None else group_v
    args = np.ascontiguousarray(v.T), log_weight, np.ascontiguousarray(group_u), np.ascontiguousarray(group_v)
    by_rows(_log_kernel_sums, len(u), len(u) * len(v), out, np.ascontiguousarray(u), *args)
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
        self.bandwidth = _as_bandwidth(bandwidth, self.dim)
        self._log_weights = np.full(n, -np.log(n)) if log_weights is None else log_weights

    @property
    def weights(self) -> np.ndarray:
        return np.exp(self._log_weights)

    def log_density(self, x) -> np.ndarray:
        """Return the log density at the points `x` of shape (n, d), as shape (n,); O(n) memory."""
        x = samples(x, "x", dim=self.dim).astype(np.float64)
        sums = _log_sums(x / self.bandwidth, self.centres / self.bandwidth, self._log_weights)
        return sums - np.log(self.bandwidth).sum() - 0.5 * self.dim * LOG_2PI

    def sample(self, n: int, rng=None) -> np.ndarray:
        """Draw `n` samples, shape (n, d): a centre by its weight, plus Gaussian noise of one bandwidth."""
        n, rng = count(n, "n"), generator(rng)
        pick = rng.choice(len(self.centres), size=n, p=self.weights / self.weights.sum())
        return self.centres[pick] + self.bandwidth * rng.standard_normal((n, self.dim))

    def cdf(self, t) -> np.ndarray:
        """Return P(X <= t) for each t of shape (n,); one-dimensional densities only."""
        self._must_be_1d("cdf")
        t = samples(t, "t", dim=1)[:, 0]
        out = np.empty(len(t))
        for i in range(0, len(t), 256):
            out[i : i + 256] = ndtr((t[i : i + 256, None] - self.centres[:, 0]) / self.bandwidth) @ self.weights
        return out

    def quantile(self, p) -> np.ndarray:
        """Return the t with P(X <= t) = p for each p in (0, 1), shape (n,); one-dimensional densities only."""
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
        return f"Density({len(self.centres)} Gaussians in dimension {self.dim}, bandwidth {self.bandwidth.round(4)})"


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
        return Density(x, _as_bandwidth(bandwidth, x.shape[1]))
    x = samples(x, "x", at_least=2).astype(np.float64)
    n, d = x.shape
    sd = _spread(x, "x")
    scott = n ** (-1 / (d + 4))
    if bandwidth == "scott":
        return Density(x, scott * sd)
    if bandwidth == "silverman":
        return Density(x, (4 / (d + 2)) ** (1 / (d + 4)) * scott * sd)
    if bandwidth != "likelihood":
        raise ValueError(f"bandwidth must be 'likelihood', 'scott', 'silverman' or numbers, got {bandwidth!r}")
    z, own = x / sd, np.arange(n)
    no_weight = np.zeros(n)

    def loss(log_factor, every=1):
        h, some = np.exp(log_factor), slice(None, None, every)
        sums = _log_sums(z[some] / h, z[some] / h, no_weight[some], own[some], own[some])
        return d * log_factor - sums.mean()

    # Bracket on at most 2,000 samples, then search with all of them.
    # The smallest bandwidth tried is far below any that samples without ties ask for.
    low, high = np.log(1e-4 * scott), np.log(4.0)
    grid = np.linspace(low, high, 24)
    best = int(np.argmin([loss(g, every=-(-n // 2000)) for g in grid]))
    bracket = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(loss, bounds=bracket, method="bounded", options={"xatol": 5e-3})
    if loss(low) <= found.fun:
        warnings.warn(
            "x has repeated values: the leave-one-out likelihood is largest at bandwidth zero. "
            "Pass a bandwidth (the rounding unit of the data, say) or spread the ties out.",
            stacklevel=2,
        )
        return Density(x, np.exp(low) * sd)
    return Density(x, np.exp(found.x) * sd)


class ConditionalDensity:
    """The density of an outcome z given covariates y: what :func:`conditional_kde` returns.

    Attributes
    ----------
    bandwidth_z, bandwidth_y : ndarray, shapes (q,) and (p,)
        In the units of the data.  A very large entry of `bandwidth_y` means that this covariate is ignored.
    score : float
        Mean leave-own-group-out log-likelihood that the bandwidths reached.
    """

    def __init__(self, z, y, bandwidth_z, bandwidth_y, score=np.nan):
        self.z, self.y = z, y
        self.bandwidth_z, self.bandwidth_y, self.score = bandwidth_z, bandwidth_y, score

    def given(self, y) -> Density:
        """Return the density of z at one covariate vector `y` of shape (p,)."""
        y = np.atleast_1d(np.asarray(y, dtype=np.float64))
        if y.ndim == 2 and len(y) == 1:
            y = y[0]
        if y.shape != (self.y.shape[1],) or not np.isfinite(y).all():
            raise ValueError(f"y must be {self.y.shape[1]} finite numbers, got {y.tolist()}")
        log_weight = -0.5 * (((y - self.y) / self.bandwidth_y) ** 2).sum(axis=1)
        log_weight -= log_weight.max()
        return Density(self.z, self.bandwidth_z, log_weight - np.log(np.exp(log_weight).sum()))

    def log_density(self, z, y) -> np.ndarray:
        """Return log rho(z_i | y_i) for outcomes `z` (n, q) and covariates `y` (n, p), as shape (n,)."""
        z = samples(z, "z", dim=self.z.shape[1])
        y = samples(y, "y", dim=self.y.shape[1])
        if len(z) != len(y):
            raise ValueError(f"z and y must have the same number of rows, got {len(z)} and {len(y)}")
        flat = np.zeros(len(self.z))
        u, v = y / self.bandwidth_y, self.y / self.bandwidth_y
        joint = _log_sums(
            np.hstack([u, z / self.bandwidth_z]), np.hstack([v, self.z / self.bandwidth_z]), flat
        )
        q = self.z.shape[1]
        return joint - _log_sums(u, v, flat) - np.log(self.bandwidth_z).sum() - 0.5 * q * LOG_2PI

    def __repr__(self) -> str:
        return (
            f"ConditionalDensity({len(self.z)} samples, bandwidth_z {self.bandwidth_z.round(4)}, "
            f"bandwidth_y {self.bandwidth_y.round(4)})"
        )


def conditional_kde(z, y, *, bandwidth="likelihood", groups=None) -> ConditionalDensity:
    """Estimate the density of an outcome z given covariates y, as the ratio of two kernel estimates.

    rho(z | y) = sum_j w_j(y) K_g(z - z_j) with weights w_j(y) proportional to K_h(y - y_j).

    Parameters
    ----------
    z : array_like, shape (n,) or (n, q)
        Outcomes.
    y : array_like, shape (n,) or (n, p)
        Covariates, one row per outcome.
    bandwidth : "likelihood", "scott" or a pair (bandwidth_z, bandwidth_y)
        "likelihood" maximises the leave-one-out conditional log-likelihood over one bandwidth per
        coordinate; a covariate that does not matter gets a bandwidth so large that it is smoothed out.
    groups : array_like of shape (n,), optional
        Labels; samples that share one are left out together.  Needed when rows are near copies of each
        other (several stations on one day), else the likelihood rewards copying.

    Returns
    -------
    ConditionalDensity

    Raises
    ------
    ValueError
        If the rows of z and y differ in number, hold NaN or infinity, a column is constant, there are fewer
        than two groups, or a bandwidth is not positive.

    Examples
    --------
    >>> import mini_ot as mo
    >>> x = mo.Banana().sample(300, rng=0)
    >>> forecast = mo.conditional_kde(x[:, 1], x[:, 0])
    >>> bool(abs(forecast.given([1.0]).quantile([0.5])[0] - 1.0) < 0.3)
    True

    References
    ----------
    Rosenblatt (1969) for the ratio; Hall, Racine and Li (2004) for the bandwidths.
    """
    z, y = samples(z, "z", at_least=2).astype(np.float64), samples(y, "y", at_least=2).astype(np.float64)
    if len(z) != len(y):
        raise ValueError(f"z and y must have the same number of rows, got {len(z)} and {len(y)}")
    (n, q), p = z.shape, y.shape[1]
    if not isinstance(bandwidth, str):
        try:
            bandwidth_z, bandwidth_y = bandwidth
        except (TypeError, ValueError):
            raise ValueError(f"bandwidth must be a pair (bandwidth_z, bandwidth_y), got {bandwidth!r}") from None
        return ConditionalDensity(z, y, _as_bandwidth(bandwidth_z, q), _as_bandwidth(bandwidth_y, p))
    spread = np.concatenate([_spread(z, "z"), _spread(y, "y")])
    start = np.full(q + p, -np.log(n) / (q + p + 4))
    if bandwidth == "scott":
        scott = spread * np.exp(start)
        return ConditionalDensity(z, y, scott[:q], scott[q:])
    if bandwidth != "likelihood":
        raise ValueError(f"bandwidth must be 'likelihood', 'scott' or a pair of numbers, got {bandwidth!r}")
    group = _group_labels(groups, n)
    scaled = np.hstack([z, y]) / spread
    value, gradient = np.empty(n), np.empty((n, q + p))

    def loss(log_h):
        st = np.ascontiguousarray((scaled / np.exp(log_h)).T)
        by_rows(_conditional_terms, n, n * n, value, gradient, st[:q], st[q:], group)
        score = value.mean() - log_h[:q].sum() - 0.5 * q * LOG_2PI
        return -score, -gradient.mean(axis=0)

    limits = [(np.log(1e-3), np.log(4.0))] * q + [(np.log(1e-2), np.log(1e3))] * p
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 200})
    h = spread * np.exp(found.x)
    return ConditionalDensity(z, y, h[:q], h[q:], score=-found.fun - np.log(spread[:q]).sum())


def _group_labels(groups, n):
    if groups is None:
        return np.arange(n)
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise ValueError(f"groups must have shape ({n},), got {groups.shape}")
    labels = np.unique(groups, return_inverse=True)[1]
    if labels.max() == 0:
        raise ValueError("groups must hold at least two different labels, got one")
    return labels


def _spread(x, name):
    sd = x.std(axis=0, ddof=1)
    if not (sd > 1e-12 * np.abs(x).max(axis=0)).all():
        raise ValueError(f"{name} must vary in every column, got a constant column {int(sd.argmin())}; pass a bandwidth")
    return sd


def _as_bandwidth(bandwidth, dim):
    h = np.asarray(bandwidth, dtype=np.float64) if np.ndim(bandwidth) else positive(bandwidth, "bandwidth")
    h = np.broadcast_to(h, (dim,)).copy() if np.ndim(h) == 0 else h
    if h.shape != (dim,) or not ((h > 0) & np.isfinite(h)).all():
        raise ValueError(f"bandwidth must be one positive number or {dim} of them, got {bandwidth!r}")
    return h
