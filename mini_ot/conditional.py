"""The law of an outcome given covariates, as a ratio of two kernel estimates.  Chapter 2."""

import numpy as np
from scipy.optimize import minimize

from ._jit import by_rows, fast_exp, fast_max, fast_sum, jit
from ._progress import progress
from ._validate import column_spread, same_rows, samples, vector
from .density import LOG_2PI, Density, as_bandwidth, log_kernel_sums


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
        y = vector(y, "y", self.y.shape[1])
        log_weight = -0.5 * (((y - self.y) / self.bandwidth_y) ** 2).sum(axis=1)
        log_weight -= log_weight.max()
        return Density(self.z, self.bandwidth_z, log_weight - np.log(np.exp(log_weight).sum()))

    def log_density(self, z, y) -> np.ndarray:
        """Return log rho(z_i | y_i) for outcomes `z` (n, q) and covariates `y` (n, p), as shape (n,)."""
        z = samples(z, "z", dim=self.z.shape[1])
        y = samples(y, "y", dim=self.y.shape[1])
        same_rows(z, y)
        flat = np.zeros(len(self.z))
        u, v = y / self.bandwidth_y, self.y / self.bandwidth_y
        joint = log_kernel_sums(
            np.hstack([u, z / self.bandwidth_z]), np.hstack([v, self.z / self.bandwidth_z]), flat
        )
        q = self.z.shape[1]
        return joint - log_kernel_sums(u, v, flat) - np.log(self.bandwidth_z).sum() - 0.5 * q * LOG_2PI

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
    same_rows(z, y)
    (n, q), p = z.shape, y.shape[1]
    if not isinstance(bandwidth, str):
        try:
            bandwidth_z, bandwidth_y = bandwidth
        except (TypeError, ValueError):
            raise ValueError(
                f"bandwidth must be a pair (bandwidth_z, bandwidth_y), got {bandwidth!r}"
            ) from None
        return ConditionalDensity(z, y, as_bandwidth(bandwidth_z, q), as_bandwidth(bandwidth_y, p))
    spread = np.concatenate([column_spread(z, "z"), column_spread(y, "y")]) * np.sqrt(n / (n - 1))
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
        bar.update()
        st = np.ascontiguousarray((scaled / np.exp(log_h)).T)
        by_rows(_conditional_terms, n, n * n, value, gradient, st[:q], st[q:], group)
        score = value.mean() - log_h[:q].sum() - 0.5 * q * LOG_2PI
        return -score, -gradient.mean(axis=0)

    limits = [(np.log(1e-3), np.log(4.0))] * q + [(np.log(1e-2), np.log(1e3))] * p
    options = {"maxiter": 200, "ftol": 1e-7}
    with progress(label="bandwidths", unit=" tried") as bar:
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits, options=options)
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
