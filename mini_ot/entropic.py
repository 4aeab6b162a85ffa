"""Entropic optimal transport: Sinkhorn's iteration in the logarithmic domain, with an honest dual gap.

Chapter 6.  Between weights a on x and b on y, with the cost C_ij = |x_i - y_j|^2, a plan P minimises
``<P, C> + epsilon KL(P | a b')``; the dual maximises ``<a, f> + <b, g>`` over potentials for which
``P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon)`` has mass one.  No table is stored: O(n + m) memory.
"""

from functools import cached_property

import numpy as np
from scipy.spatial.distance import cdist

from ._sinkhorn import Problem, iterate
from ._softmin import softmin
from ._validate import count, positive, samples, two_clouds
from .closed_form import as_weights

_SMALLEST = 1e-9  # epsilon over the squared diameter: below it rounding alone moves the marginals


class EntropicPlan:
    """A plan between two weighted clouds, kept as its potentials: what :func:`mini_ot.sinkhorn` returns.

    Attributes
    ----------
    f, g : ndarray, shapes (n,) and (m,)
        Dual potentials.  The plan's first marginal is exact, the second as good as `dual_gap` says.
    dual_value : float
        ``<a, f> + <b, g>``, a lower bound of the smallest ``<P, C> + epsilon KL(P | a b')``.
    dual_gap : float
        How far above `dual_value`, relative to it, that sum is at most for this plan rounded to the right
        marginals; the smallest one lies between the two.
    epsilon : float
    steps : int
        Updates of both potentials, those with larger epsilons among them.
    converged : bool
        Whether `dual_gap` went below the tolerance.
    history : dict of str to list
        For each step ``epsilon``, ``dual`` (the dual value) and ``error``, the mass that the second marginal
        misses.
    """

    def __init__(self, problem, epsilon, tol, f, g, gap, history):
        self._problem, self.f, self.g, self.epsilon = problem, f, g, epsilon
        self.dual_value, self.dual_gap, self.converged = problem.dual(f, g), gap, gap <= tol
        self.history, self.steps = history, len(history["error"])

    @cached_property
    def cost(self) -> float:
        """``<P, C>``, the mean squared distance that the plan moves."""
        p = self._problem
        squares = (p.x**2).sum(axis=1) + self._mean(p.x, (p.y**2).sum(axis=1))
        return float(p.a @ (squares - 2 * (p.x * self._image(p.x)).sum(axis=1)))

    def map(self, x) -> np.ndarray:
        """Return where the plan sends points `x` of shape (k, d) on average, shape (k, d).

        The barycentric projection: at a point of the source cloud ``sum_j P_ij y_j / a_i``, elsewhere the
        same formula, f being continued by its optimality.  O(k + m) memory.
        """
        x = samples(x, "x", dim=self._problem.x.shape[1])
        centre = self._problem.centre
        return (self._image(x.astype(np.float64) - centre) + centre).astype(x.dtype)

    def plan(self) -> np.ndarray:
        """Return the plan as a table of shape (n, m), its entries summing to one: 8 n m bytes."""
        p = self._problem
        table = cdist(p.x, p.y, "sqeuclidean")
        table /= -self.epsilon
        table += (self.f / self.epsilon + p.log_a)[:, None]
        table += self.g / self.epsilon + p.log_b
        return np.exp(table, out=table)

    def _image(self, points):
        y = self._problem.y
        low = y.min(axis=0)
        return low + np.column_stack([self._mean(points, column) for column in (y - low).T])

    def _mean(self, points, values):
        """Return the mean of some values_j >= 0 under the plan's row of each point, from two log-sums."""
        p, log_weight = self._problem, self._problem.log_b + self.g / self.epsilon
        with np.errstate(divide="ignore"):
            tilted = log_weight + np.log(values)
        plain = softmin(points, p.y, log_weight, self.epsilon)
        return np.exp((plain - softmin(points, p.y, tilted, self.epsilon, plain)) / self.epsilon)

    def __repr__(self) -> str:
        return (
            f"EntropicPlan(n={len(self.f)}, m={len(self.g)}, epsilon={self.epsilon:g}, steps={self.steps}, "
            f"dual_value={self.dual_value:g}, dual_gap={self.dual_gap:.1e})"
        )


def sinkhorn(
    x,
    y,
    *,
    epsilon: float,
    x_weights=None,
    y_weights=None,
    tol: float = 1e-6,
    scaling: float = 0.5,
    max_steps: int = 1000,
    progress: bool = True,
) -> EntropicPlan:
    """Return the entropic optimal plan between two clouds for the cost ``|x - y|^2``.

    Sinkhorn's iteration on potentials: each update makes one marginal exact.  Epsilon starts at the squared
    diameter of the clouds and shrinks by `scaling` as soon as the marginals are about right.  The steps are
    extrapolated (Anderson acceleration), and taken back where that lowers the dual.
    Time O(n m) a step, memory O(n + m).

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
    epsilon : float
        Weight of the entropy, in the units of a squared distance.  The plan blurs over about its root.
    x_weights, y_weights : array_like, shapes (n,) and (m,), optional
        Not negative, with sum 1; equal weights unless given.
    tol : float
        Stop when the dual gap, relative to the dual value, is below.
    scaling : float
        Factor in [0, 1) from one epsilon to the next; 0 starts at `epsilon` itself.
    max_steps : int
    progress : bool
        Whether to show a bar when it takes longer than two seconds.

    Returns
    -------
    EntropicPlan

    Raises
    ------
    ValueError
        If the clouds differ in dimension or hold NaN or infinity, weights are negative or do not sum to 1, or
        epsilon is below 1e-9 of the squared diameter, where rounding would decide.

    Warns
    -----
    RuntimeWarning
        If the gap is still larger than `tol` after `max_steps`; the potentials so far are returned, also when
        interrupted (Ctrl+C).

    Examples
    --------
    >>> import mini_ot as mo
    >>> plan = mo.sinkhorn([[0.0], [1.0]], [[1.1], [0.2]], epsilon=0.01)
    >>> plan.plan().round(3).tolist()
    [[0.0, 0.5], [0.5, 0.0]]

    References
    ----------
    Cuturi (2013); Schmitzer (2019) for the logarithmic domain and epsilon scaling; Altschuler, Weed and
    Rigollet (2017) for the rounding; Walker and Ni (2011) for the extrapolation.
    """
    x, y = (p.astype(np.float64) for p in two_clouds(x, y))
    a, b = as_weights(x_weights, len(x), "x_weights"), as_weights(y_weights, len(y), "y_weights")
    epsilon, tol, problem = positive(epsilon, "epsilon"), positive(tol, "tol"), Problem(x, y, a, b)
    if epsilon < _SMALLEST * problem.size:
        raise ValueError(
            f"epsilon must be at least {_SMALLEST:g} of the squared diameter {problem.size:.3g}, "
            f"got {epsilon:g}: use w2 for the limit"
        )
    if not 0 <= scaling < 1:
        raise ValueError(f"scaling must be in [0, 1), got {scaling}")
    found = iterate(problem, epsilon, tol, scaling, count(max_steps, "max_steps"), progress)
    return EntropicPlan(problem, epsilon, tol, *found)


def sinkhorn_divergence(x, y, *, epsilon: float) -> float:
    """Return the debiased divergence ``S(x, y) - S(x, x) / 2 - S(y, y) / 2``.

    S is the smallest ``<P, C> + epsilon KL(P | a b')`` (the dual value of :func:`mini_ot.sinkhorn`, to 1e-6).
    It is zero only for equal clouds; it goes to W2^2 as epsilon goes to 0, and to the squared distance of the
    means for large epsilon.

    Examples
    --------
    >>> import mini_ot as mo
    >>> round(mo.sinkhorn_divergence([[0.0], [1.0]], [[3.0], [4.0]], epsilon=1.0), 6)
    9.0

    References
    ----------
    Feydy et al. (2019).
    """
    x, y = two_clouds(x, y)
    value = {}
    for name, p, q in (("xy", x, y), ("xx", x, x), ("yy", y, y)):
        value[name] = sinkhorn(p, q, epsilon=epsilon).dual_value
    return max(value["xy"] - (value["xx"] + value["yy"]) / 2, 0.0)
