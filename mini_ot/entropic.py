"""Entropic optimal transport: Sinkhorn's iteration in the logarithmic domain, with an honest dual gap.

Chapter 6.  Between weights a on x and b on y, cost C_ij = |x_i - y_j|^2, a plan P minimises
``<P, C> + epsilon KL(P | a b')``; the dual maximises ``<a, f> + <b, g>`` over potentials for which
``P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon)`` has mass one.  No table is stored: O(n + m) memory.
"""

import warnings

import numpy as np

from ._jit import by_rows, fast_exp, jit, wide_vectors
from ._progress import progress as progress_bar
from ._validate import count, positive, samples, two_clouds
from .density import log_kernel_sums
from .discrete import as_weights

_SMALLEST = 1e-10  # epsilon over the squared diameter: below it rounding alone moves the marginals
_WARM = 0.1  # error of the marginals at which a larger epsilon has done its work


class EntropicPlan:
    """A plan between two weighted clouds, kept as its potentials: what :func:`mini_ot.sinkhorn` returns.

    Attributes
    ----------
    f, g : ndarray, shapes (n,) and (m,)
        Dual potentials.  The first marginal of the plan is exact, the second up to what `dual_gap` tells.
    cost : float
        ``<P, C>``, the mean squared distance that the plan moves.
    dual_value : float
        ``<a, f> + <b, g>``: never above the best value of ``<P, C> + epsilon KL(P | a b')``.
    dual_gap : float
        How far, relative to `dual_value`, a plan with exactly the right marginals (this one, rounded) can be
        above `dual_value` in that sum.  The best value lies between the two.
    epsilon : float
    steps : int
        Updates of both potentials, all epsilons together.
    converged : bool
    history : dict of str to list
        For each step ``epsilon`` and ``error``, the mass that the second marginal misses.
    """

    def __init__(self, problem, f, g, epsilon, dual_gap, converged, history):
        self.f, self.g, self.epsilon, self._problem = f, g, epsilon, problem
        self.dual_value = problem.dual_value(f, g)
        self.dual_gap, self.converged, self.history = dual_gap, converged, history
        self.steps = len(history["error"])

    @property
    def cost(self) -> float:
        p = self._problem
        return float(p.a @ self._average(p.x)[1])

    def map(self, x) -> np.ndarray:
        """Return for points `x` of shape (k, d) the mean of where the plan sends them, shape (k, d).

        The barycentric projection: at a point of the source cloud ``sum_j P_ij y_j / a_i``, elsewhere by the
        same formula, f continued by its optimality.  O(k + m) memory.
        """
        x = samples(x, "x", dim=self._problem.x.shape[1])
        centred = x.astype(np.float64) - self._problem.centre
        return (self._average(centred)[0] + self._problem.centre).astype(x.dtype)

    def plan(self) -> np.ndarray:
        """Return the plan as a table of shape (n, m), with entries that sum to one: 8 n m bytes."""
        p, scale = self._problem, np.sqrt(2 / self.epsilon)
        nothing = np.zeros(1)
        out = np.empty((len(p.x), len(p.y)))
        for j in range(len(p.y)):  # the sum over one point only
            out[:, j] = log_kernel_sums(p.x * scale, p.y[j : j + 1] * scale, nothing)
        out += self.f[:, None] / self.epsilon + p.log_a[:, None] + (self.g / self.epsilon + p.log_b)
        return np.exp(out, out=out)

    def _average(self, points):
        """Return the mean of y, and of the squared distance, under the plan's row of each point."""
        p, scale = self._problem, np.sqrt(2 / self.epsilon)
        u, v = points * scale, p.y * scale
        log_weight = p.log_b + self.g / self.epsilon
        top = log_kernel_sums(u, v, log_weight)
        mean, cost = np.empty_like(u), np.empty(len(u))
        args = np.ascontiguousarray(v.T), log_weight, top
        by_rows(_average_rows, len(u), len(u) * len(v), mean, cost, u, *args)
        return mean / scale, cost / scale**2

    def __repr__(self) -> str:
        return (
            f"EntropicPlan(n={len(self.f)}, m={len(self.g)}, epsilon={self.epsilon:g}, steps={self.steps}, "
            f"dual_value={self.dual_value:g}, dual_gap={self.dual_gap:.1e})"
        )


@jit
def _average_rows(start, stop, mean, cost, u, v, log_weight, top):
    """Means of v_j and of |u_i - v_j|^2 with the weights exp(log_weight[j] - |u_i - v_j|^2 / 2 - top[i])."""
    wide_vectors()
    square, share = np.empty(v.shape[1]), np.empty(v.shape[1])
    for i in range(start, stop):
        square[:] = 0.0
        for k in range(len(v)):
            for j in range(len(square)):
                square[j] += (u[i, k] - v[k, j]) ** 2
        for j in range(len(square)):
            share[j] = fast_exp(min(log_weight[j] - 0.5 * square[j] - top[i], 0.0))
        cost[i] = (share * square).sum()
        for k in range(len(v)):
            mean[i, k] = (share * v[k]).sum()


class _Problem:
    """Two weighted clouds, the clouds moved so that their common mean is zero."""

    def __init__(self, x, y, a, b):
        self.centre = (x.mean(axis=0) + y.mean(axis=0)) / 2
        self.x, self.y, self.a, self.b = x - self.centre, y - self.centre, a, b
        with np.errstate(divide="ignore"):
            self.log_a, self.log_b = np.log(a), np.log(b)

    def f_from(self, g, epsilon):
        """The best f for this g: ``f_i = -epsilon log sum_j b_j exp((g_j - C_ij) / epsilon)``."""
        scale = np.sqrt(2 / epsilon)
        return -epsilon * log_kernel_sums(self.x * scale, self.y * scale, self.log_b + g / epsilon)

    def g_from(self, f, epsilon):
        scale = np.sqrt(2 / epsilon)
        return -epsilon * log_kernel_sums(self.y * scale, self.x * scale, self.log_a + f / epsilon)

    def dual_value(self, f, g):
        return float(self.a @ f + self.b @ g)

    def gap(self, f, g, g_next, epsilon):
        """Return how far a plan with the right marginals is above the dual value at most, relative to that.

        f fits g, and g_next fits f.  Columns that hold too much are scaled down, and what rows r and columns
        s then lack is added as r s' / theta, theta their sum (Altschuler, Weed and Rigollet 2017).  The
        objective is convex, so that its parts bound it: the scaled plan's, and that of r s'.
        """
        low = np.minimum(g, g_next)
        r = self.a * -np.expm1(np.minimum((f - self.f_from(low, epsilon)) / epsilon, 0.0))
        s = self.b * -np.expm1(np.minimum((g - g_next) / epsilon, 0.0))
        value = self.dual_value(f, g)
        lost, theta = r.sum(), s.sum()
        if not (lost > 0 and theta > 0):
            return 0.0
        kept = (self.a - r) @ f + (self.b - s) @ low - epsilon * (1 - theta) * np.log1p(-theta)
        r, s = r / lost, s / theta
        spread = r @ (self.x**2).sum(axis=1) + s @ (self.y**2).sum(axis=1) - 2 * (r @ self.x) @ (s @ self.y)
        added = theta * (spread + epsilon * (_relative_entropy(r, self.a) + _relative_entropy(s, self.b)))
        return max(float(kept + added - value), 0.0) / max(value, np.finfo(float).tiny)


def _relative_entropy(p, q):
    some = p > 0
    return (p[some] * np.log(p[some] / q[some])).sum()


def sinkhorn(
    x, y, *, epsilon, x_weights=None, y_weights=None, tol=1e-6, scaling=0.5, max_steps=2000, progress=True
) -> EntropicPlan:
    """Return the entropic optimal plan between two clouds, by Sinkhorn's iteration with epsilon scaling."""
    x, y = (p.astype(np.float64) for p in two_clouds(x, y))
    a, b = as_weights(x_weights, len(x), "x_weights"), as_weights(y_weights, len(y), "y_weights")
    epsilon, tol, max_steps = (
        positive(epsilon, "epsilon"),
        positive(tol, "tol"),
        count(max_steps, "max_steps"),
    )
    problem = _Problem(x, y, a, b)
    both = np.concatenate([problem.x, problem.y])
    size = float(((both.max(axis=0) - both.min(axis=0)) ** 2).sum())
    history = {"epsilon": [], "error": []}
    g, now, gap, check_below = np.zeros(len(y)), max(size, epsilon), np.inf, np.inf
    converged = False
    for _ in progress_bar(range(max_steps), label="Sinkhorn", disable=not progress):
        f = problem.f_from(g, now)
        g_next = problem.g_from(f, now)
        error = float(b @ np.maximum(-np.expm1(np.minimum((g - g_next) / now, 0.0)), 0.0))
        history["epsilon"].append(now)
        history["error"].append(error)
        if now == epsilon and error <= check_below:
            gap = problem.gap(f, g, g_next, epsilon)
            if gap <= tol:
                converged = True
                break
            check_below = 0.9 * error * tol / gap
        if now > epsilon and error < _WARM:
            now = max(now * scaling, epsilon)
        g = g_next
    if not converged:
        f = problem.f_from(g, epsilon)
        gap = problem.gap(f, g, problem.g_from(f, epsilon), epsilon)
        warnings.warn(f"gap {gap:.1e} after {max_steps} steps", RuntimeWarning, stacklevel=2)
    return EntropicPlan(problem, f, g, epsilon, gap, converged, history)


def sinkhorn_divergence(x, y, *, epsilon) -> float:
    """Return the debiased divergence."""
    value = lambda p, q: sinkhorn(p, q, epsilon=epsilon).dual_value  # noqa: E731
    return value(x, y) - (value(x, x) + value(y, y)) / 2
