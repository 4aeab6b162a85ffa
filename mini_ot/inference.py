"""Inference with maps: from a normal to a density that is known up to its constant.  Chapter 3.

The Kullback-Leibler divergence of T(z), z ~ N(0, I), from the density pi / Z is, up to log Z,
E[-log pi(T(z)) - log det DT(z)] and a constant.  Nothing but pi and its gradient is needed to make it small.
"""

import warnings
from itertools import combinations_with_replacement
from math import comb, factorial

import numpy as np
from numpy.polynomial.hermite_e import hermevander

from . import _progress
from ._laplace import Descent, laplace
from ._log_density import Frame
from ._monotone import Component
from ._validate import _describe, count, generator
from .maps import AffineMap, Composition
from .targets import LOG_2PI, GaussianMixture, StandardNormal
from .triangular import TriangularMap

_GAP = 0.1  # nats that the bound may be higher on the fitted points
_ENDLESS = 7.0  # log of the factor per direction by which only a map without end spreads


class InferenceMap(Composition):
    """A triangular map from N(0, I) to an unnormalised density: what :func:`inference_map` returns.

    Attributes
    ----------
    degree : int
    log_evidence : float
        Log of the density's integral, by importance sampling: ``log mean exp w`` over fresh points z, with
        ``w = log pi(T(z)) + log det DT(z) - log N(z; 0, I)``.
    lower_bound : float
        Mean of w: log evidence less the Kullback-Leibler divergence.
    variance_diagnostic : float
        Variance of w: zero at the exact map, about twice the divergence near it.
    effective_samples : float
        Share of a fresh sample that its weights exp(w) leave, in (0, 1].
    converged : bool
    """

    def __init__(self, steps, degree, log_weights, history, stopped):
        super().__init__(steps, history, stopped)
        self.degree, self.converged = degree, stopped == "converged"
        top = np.maximum(log_weights.max(), -1e300)  # finite, where no point has mass
        weights = np.exp(log_weights - top)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.log_evidence = float(top + np.log(weights.mean()))
            self.effective_samples = min(1.0, float(weights.mean() ** 2 / (weights**2).mean()))
        self.lower_bound = float(log_weights.mean())
        self.variance_diagnostic = np.inf if self.lower_bound == -np.inf else float(log_weights.var())

    def sample(self, n: int, rng=None) -> np.ndarray:
        """Draw `n` independent points T(z), shape (n, d)."""
        return self(StandardNormal(self.dim).sample(n, rng))

    def __repr__(self) -> str:
        return (
            f"InferenceMap(dim={self.dim}, degree={self.degree}, log_evidence={self.log_evidence:.4g}, "
            f"variance_diagnostic={self.variance_diagnostic:.2g}, stopped={self.stopped!r})"
        )


class _Objective:
    """E[-log pi(T(z)) - log det DT(z)] over weighted points z, as a function of scaled coefficients.

    The scaling is the metric E[dT dT' + dlog dlog'] at the identity, in which a Gaussian density is round.
    """

    def __init__(self, frame, z, weights, degree):
        self.frame, self.z, self.weights, self.log_det = frame, z, weights, 0.0
        edge = np.full(frame.dim, np.abs(z).max() + 0.5)  # beyond it the tails are linear
        self.components = [Component(-edge[: k + 1], edge[: k + 1], degree) for k in range(frame.dim)]
        counts = [c.count for c in self.components]
        self.size, self.cuts = sum(counts), np.cumsum(counts)[:-1]
        self.roots = []
        for c in self.components:
            out, rows = c.gradients(z, c.identity())
            rows[1] /= out[1][:, None]
            metric = sum((r.T * weights) @ r for r in rows)
            self.roots.append(
                np.linalg.cholesky(metric + 1e-9 * np.trace(metric) / c.count * np.eye(c.count))
            )

    def coefficients(self, v):
        parts = zip(self.components, self.roots, np.split(v, self.cuts), strict=True)
        return [c.identity() + np.linalg.solve(root.T, part) for c, root, part in parts]

    def map(self, v) -> TriangularMap:
        return TriangularMap(
            self.components, self.coefficients(v), np.zeros(self.frame.dim), np.ones(self.frame.dim)
        )

    def __call__(self, v):
        """Return value and gradient, or infinity where some point has no mass or no finite gradient."""
        parts = [c.gradients(self.z, a) for c, a in zip(self.components, self.coefficients(v), strict=True)]
        u, slope = (np.stack([out[i] for out, _ in parts], axis=1) for i in (0, 1))
        usable = np.isfinite(u).all() and np.isfinite(slope).all()
        values = self.frame.values(u) if usable else np.array([-np.inf])
        if values.min() == -np.inf:
            return np.inf, None
        score = self.frame.slopes(u)
        if not np.isfinite(score).all():
            return np.inf, None
        by_value, by_slope = -self.weights[:, None] * score, -self.weights[:, None] / slope
        gradient = [
            np.linalg.solve(root, by_value[:, k] @ rows[0] + by_slope[:, k] @ rows[1])
            for k, (root, (_, rows)) in enumerate(zip(self.roots, parts, strict=True))
        ]
        self.log_det = self.weights @ np.log(slope).sum(axis=1)
        return -self.weights @ values - self.log_det, np.concatenate(gradient)


def _descend(descent, fit, steps, show):
    """Go down; return the objective at the start and after each step, and why it ended."""
    objective, k = [descent.value], 0
    try:
        for k in _progress.progress(range(1, steps + 1), label="inference map", show=show):
            before = descent.at
            with np.errstate(all="ignore"):  # steps too long are refused
                moved = descent.step()
            if not moved:
                return objective, descent.stopped
            if fit.log_det > _ENDLESS * fit.frame.dim:
                descent.at = before
                why = "the map spreads without end, as where log_density has no finite integral"
                return objective, f"diverged at step {k}: {why}"
            objective.append(descent.value)
    except KeyboardInterrupt:
        return objective, f"interrupted in step {k}"
    return objective, f"all {steps} steps done"


def _balanced(z, degree):
    """Return positive weights near 1 / n under which polynomials have the means that they have under N(0, I).

    Up to total degree 2 * `degree`, or as many as positive weights and a tenth of n conditions can do.  With
    them a Gaussian density is matched to rounding, and the banana by degree 2.
    """
    n, d = z.shape
    powers = hermevander(z, 2 * degree) / np.sqrt([factorial(m) for m in range(2 * degree + 1)])
    for top in range(2 * degree, 0, -2):
        if 10 * comb(d + top, top) > n:
            continue
        table = np.ones((comb(d + top, top), n))
        for row, factors in zip(table, combinations_with_replacement(range(d + 1), top), strict=True):
            for j in range(d):  # the factor d stands for 1
                row *= powers[:, j, factors.count(j)]
        goal = np.zeros(len(table))
        goal[-1] = 1.0  # the product of nothing but ones comes last
        weights = 1 / n + table.T @ np.linalg.solve(table @ table.T, goal - table.mean(axis=1))
        if weights.min() > 0:
            return weights
    return np.full(n, 1 / n)


def _given(start, dim):
    """Return the mean and a triangular root of the covariance that the user gave."""
    try:
        mean, cov = start
        normal = GaussianMixture([mean], [cov])
        if normal.dim == dim:
            return normal.means[0], np.linalg.cholesky(normal.covariances[0])
        problem = f"dimension {normal.dim}"
    except (TypeError, ValueError) as error:
        problem = error
    raise ValueError(
        f"start must be 'laplace' or a pair (mean, cov) in dimension {dim}, got {_describe(start)}: {problem}"
    )


def _say(T, fitted, points):
    """Warn of what is wrong with a map."""
    if T.stopped.startswith("interrupted"):
        warnings.warn(f"{T.stopped}: this is the map so far", stacklevel=3)
    elif not T.converged:
        warnings.warn(f"not converged: {T.stopped}; this is the last good map", RuntimeWarning, stacklevel=3)
    elif fitted - T.lower_bound > _GAP:
        warnings.warn(
            f"the map fits its {points} reference points (lower bound {fitted:.4g}) better than fresh ones "
            f"({T.lower_bound:.4g}): take more points or a lower degree than {T.degree}",
            stacklevel=3,
        )


def inference_map(
    log_density,
    dim: int,
    *,
    degree: int = 3,
    score=None,
    start="laplace",
    points: int = 2000,
    steps: int = 500,
    rng=None,
    progress: bool = True,
) -> InferenceMap:
    """Map N(0, I) to a density known up to its constant, such as a posterior.

    Minimises ``E[-log pi(T(z)) - log det DT(z)]`` over monotone triangular maps of a degree, followed by an
    affine map, for fixed reference points z; they are spread evenly, and weighted so that polynomials have
    their exact means.

    Parameters
    ----------
    log_density : callable
        Log of the density pi, up to a constant: points (n, dim) to (n,); -inf where there is no mass.
    dim : int
    degree : int
        Total degree of the polynomials; more fit finer, and need more points.
    score : callable, optional
        Gradient of `log_density`: points (n, dim) to (n, dim).  Central differences without it.
    start : "laplace" or a pair (mean, cov)
        The affine map: from the mode and the second derivative there, or as given.
    points : int
        Reference points; as many fresh ones measure the result.
    steps : int
        At most so many steps of the descent (L-BFGS).
    rng : int, numpy.random.Generator or None
    progress : bool

    Returns
    -------
    InferenceMap
        Its `history` has the ``lower_bound`` of the log evidence on the reference points after each step.

    Raises
    ------
    ValueError
        If `log_density` returns NaN, +inf or a wrong shape, has no mode to be found or no mass round the
        start; if `score` is no gradient of it.

    Warns
    -----
    RuntimeWarning
        If the descent diverges, finds no way down or needs more steps: the last good map is returned.
    UserWarning
        If the descent is interrupted (Ctrl+C): the map so far is returned, its diagnostics NaN.
        If the map fits its reference points much better than fresh ones.

    Notes
    -----
    The divergence has its expectation under the map's law, so a map may leave out a far mode of pi and never
    see it: neither the lower bound nor the diagnostics can tell.

    Examples
    --------
    >>> import mini_ot as mo
    >>> T = mo.inference_map(lambda x: mo.Banana().log_density(x) + 5.0, 2, degree=2, rng=0)
    >>> print(f"{T.log_evidence:.3f}")
    5.000

    References
    ----------
    El Moselhy and Marzouk (2012); Marzouk, Moselhy, Parno and Spantini (2016).
    """
    dim, degree, points = count(dim, "dim"), count(degree, "degree"), count(points, "points", at_least=10)
    steps, rng = count(steps, "steps"), generator(rng)
    frame = Frame(log_density, score, dim)
    if isinstance(start, str) and start == "laplace":
        laplace(frame)
    else:
        frame.shift, frame.matrix = _given(start, dim)
    z = StandardNormal(dim).spread(points, rng)
    for _ in range(8):  # a density with an edge may have no mass at some points: come nearer to the middle
        if frame.values(z).min() > -np.inf:
            break
        frame.matrix = frame.matrix / 2
    frame.check_score(z[:20])
    fit = _Objective(frame, z, _balanced(z, degree), degree)
    descent = Descent(fit, np.zeros(fit.size), growth=1.1)
    if descent.value == np.inf:
        raise ValueError(
            f"log_density must be finite round the start, got -inf near {frame.shift.tolist()}: "
            "give another start=(mean, cov)"
        )
    normal, affine = StandardNormal(dim), AffineMap(frame.matrix, frame.shift)
    objective, stopped = _descend(descent, fit, steps, progress)
    triangular, log_weights = fit.map(descent.at), np.full(points, np.nan)
    if not stopped.startswith("interrupted"):
        z = normal.sample(points, rng)
        log_det = triangular.log_det(z) + affine.log_det(z)
        try:
            log_weights = frame.values(triangular(z)) + log_det - normal.log_density(z)
        except KeyboardInterrupt:
            stopped = "interrupted after the last step"
    # What the objective lacks: the affine map's log-determinant and the entropy of the reference.
    constant = affine.log_det(z[:1])[0] + 0.5 * dim * (1 + LOG_2PI)
    bounds = [constant - value for value in objective]
    T = InferenceMap([triangular, affine], degree, log_weights, {"lower_bound": bounds}, stopped)
    _say(T, bounds[-1], points)
    return T
