"""Is a map the gradient of a convex function, when only its values at samples are known?

Chapter 9.  Pairs (x_i, T_i) are values of a (sub)gradient of a convex function exactly if there are numbers
phi_i with phi_j >= phi_i + <T_i, x_j - x_i> for all i and j.  Such -phi are distances in the graph with
weight <T_i, x_i - x_j> from i to j; they exist unless a cycle of the graph has negative weight (Rockafellar).
"""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ._cycles import search, shorten, shortest_paths
from ._progress import progress
from ._validate import count, positive, samples
from .convex_sum import convex_combination_map
from .discrete import assignment
from .maps import Composition, Map

__all__ = ["Certificate", "certify_convex", "convex_combination_map", "largest_convex_step", "straighten"]


@dataclass(frozen=True, repr=False, eq=False)
class Certificate:
    """What :func:`mini_ot.certify_convex` found.

    Attributes
    ----------
    is_monotone : bool
        Whether a convex function has these gradients at these points, up to the tolerance.
    potentials : ndarray, shape (n,), or None
        Values phi_i of such a function, with mean zero.
    cycle : ndarray of int, or None
        Points i, j, k, ... that disprove it: giving each of them the image of the one before is cheaper.
    violation : float
        The largest excess in phi_j >= phi_i + <T_i, x_j - x_i>, or for a cycle -sum <T_i, x_i - x_next>, over
        the product of the root mean squares of x and T about their means.
    tolerance : float
    x, tx : ndarray, shape (n, d)
    """

    is_monotone: bool
    potentials: np.ndarray | None
    cycle: np.ndarray | None
    violation: float
    tolerance: float
    x: np.ndarray
    tx: np.ndarray

    @cached_property
    def optimality_gap(self) -> float:
        """What the best pairing saves: ``mean |T_i - x_i|^2 - W2^2(x, T)``, found on demand in n^3 time."""
        return optimality_gap(self.x, self.tx)

    @cached_property
    def interpolant(self) -> "ConvexInterpolant":
        """The convex function x -> max_i phi_i + <T_i, x - x_i>, with its ``.gradient``."""
        if self.cycle is not None:
            raise ValueError(f"x and tx must be certified to be interpolated, got a {self!r}")
        return ConvexInterpolant(self.x, self.tx, self.potentials)

    def __repr__(self) -> str:
        what = f"Certificate({len(self.x)} points, dim={self.x.shape[1]}: "
        if self.is_monotone:
            return what + f"convex, largest violation {self.violation:.1e} of {self.tolerance:.0e} allowed)"
        return what + f"not convex, a cycle of {len(self.cycle)} points violates by {self.violation:.2g})"


class ConvexInterpolant:
    """The largest of the planes phi_i + <T_i, x - x_i>; its gradient is the T_i of the largest."""

    def __init__(self, x, tx, potentials):
        self.slopes, self.heights = tx, potentials - (tx * x).sum(axis=1)

    def __call__(self, points) -> np.ndarray:
        """Return the values at `points` of shape (m, d), as shape (m,)."""
        return -self._largest(points)[0]

    def gradient(self, points) -> np.ndarray:
        """Return a subgradient at `points` of shape (m, d), as shape (m, d)."""
        return self.slopes[self._largest(points)[1]]

    def _largest(self, points):
        points = samples(points, "points", dim=self.slopes.shape[1]).astype(np.float64)
        return search(-self.heights, self.slopes, points)


def certify_convex(x, tx, *, tolerance: float | None = None) -> Certificate:
    """Decide whether the pairs (x_i, T_i) are values of the gradient of a convex function.

    All pairs of points are compared first, then longer cycles by shortest paths: O(n^2 d) time a sweep, and
    usually ten or twenty sweeps; memory is O(n d).

    Parameters
    ----------
    x, tx : array_like, shape (n, d)
        Points, and their images under the map in question.
    tolerance : float
        Excess allowed in each inequality, relative as in :class:`Certificate`; by default 1e-9, and 1e-6 for
        single precision.

    Returns
    -------
    Certificate
        With potentials, the mean of the two extreme solutions (no plane touches more points than it must), or
        a violating cycle.

    Notes
    -----
    It speaks of the samples only: between them the map may be anything.  A mu-strongly convex function with
    an L-Lipschitz gradient exists exactly if ``certify_convex(L * x - tx, tx - mu * x)`` holds.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.certify_convex([0.0, 1.0, 2.0], [0.0, 1.0, 8.0]).is_monotone
    True
    >>> mo.certify_convex([0.0, 1.0, 2.0], [0.0, 9.0, 8.0]).cycle.tolist()
    [1, 2]

    References
    ----------
    Rockafellar (1966); Taylor, Hendrickx and Glineur (2017), theorem 4, for the smooth form.
    """
    x, tx = samples(x, "x"), samples(tx, "tx")
    if x.shape != tx.shape:
        raise ValueError(f"tx must have the shape of x, {x.shape}, got {tx.shape}")
    usual = 1e-6 if np.float32 in (x.dtype, tx.dtype) else 1e-9
    tolerance = usual if tolerance is None else positive(tolerance, "tolerance")
    x, tx = x.astype(np.float64), tx.astype(np.float64)
    z, t = x - x.mean(axis=0), tx - tx.mean(axis=0)  # shifts change no cycle, but cost digits
    s, scale = (z * t).sum(axis=1), max(_size(z, np.mean) * _size(t, np.mean), np.finfo(float).tiny)
    rounding = _size(x, np.max) * _size(t, np.max) + _size(z, np.max) * _size(tx, np.max)
    eps = max(tolerance * scale, 1e-15 * rounding)

    weight, partner = search(s, np.hstack((t, z)), np.hstack((z, t)))  # of i -> partner -> i
    worst = int((weight + s).argmin())
    cycle, low, high = np.array([worst, partner[worst]]), None, None
    root = int((z**2).sum(axis=1).argmin())
    if weight[worst] + s[worst] >= -eps:
        low, cycle = shortest_paths(z, t, s, root, eps)
    if cycle is None:
        high, cycle = shortest_paths(t, z, s, root, eps)  # of the inverse map, hence with phi conjugate
        cycle = None if cycle is None else cycle[::-1]
    if cycle is not None:
        cycle = shorten(cycle, z, t)
        loss = (t[cycle] * (z[cycle] - z[np.roll(cycle, -1)])).sum()
        return Certificate(False, None, cycle, float(-loss / scale), tolerance, x, tx)
    phi = 0.5 * (s + high - low)
    if len(x) > 1:  # half of the way to the middle of what the others allow: planes part where they can
        floor, ceiling = -search(s - phi, t, z, True)[0], s + search(phi, z, t, True)[0]
        phi += 0.25 * (floor + ceiling - 2 * phi)
    excess = max(0.0, float((-phi - search(s - phi, t, z)[0]).max() / scale))
    phi += z @ tx.mean(axis=0)
    return Certificate(True, phi - phi.mean(), None, excess, tolerance, x, tx)


def _size(a, over):
    return float(np.sqrt(over((a**2).sum(axis=1))))


def optimality_gap(x, tx) -> float:
    """Return ``mean |T_i - x_i|^2 - W2^2(x, T)``: zero exactly for optimal pairs, by an exact assignment."""
    x, tx = (np.asarray(a, dtype=np.float64) - np.mean(a, axis=0, dtype=np.float64) for a in (x, tx))
    return max(0.0, 2 * float((x * (tx[assignment(x, tx)] - tx)).sum(axis=1).mean()))


def largest_convex_step(z, gradient, beta: float, *, tolerance: float | None = None) -> float:
    """Return the largest part of `beta` for which z + beta * gradient is certified on the samples.

    With F convex any beta >= 0 will do.  A negative one is shrunk: each violating cycle has a weight that is
    linear in beta and positive at zero, so it says itself at which beta it stops to violate.

    Parameters
    ----------
    z, gradient : array_like, shape (n, d)
        Points, and the gradient of F there.
    beta : float
        The step that was asked for, of either sign.
    tolerance : float
        As in :func:`certify_convex`.

    Returns
    -------
    float
        Between 0 and `beta`.

    Examples
    --------
    >>> import mini_ot as mo
    >>> round(mo.convexity.largest_convex_step([0.0, 1.0, 2.0], [0.0, 1.0, 8.0], -1.0), 6)
    -0.142857
    """
    z, gradient = samples(z, "z").astype(np.float64), samples(gradient, "gradient").astype(np.float64)
    if gradient.shape != z.shape:
        raise ValueError(f"gradient must have the shape of z, {z.shape}, got {gradient.shape}")
    if not np.isfinite(beta):
        raise ValueError(f"beta must be finite, got {beta}")
    while beta != 0:
        cycle = certify_convex(z, z + beta * gradient, tolerance=tolerance).cycle
        if cycle is None:
            break
        hop = z[cycle] - z[np.roll(cycle, -1)]
        at_rest, slope = (z[cycle] * hop).sum(), (gradient[cycle] * hop).sum()
        beta = -at_rest / slope if at_rest > 0 and -at_rest / slope / beta < 1 else 0.0
    return float(beta)


def straighten(x, tx, y=None, *, solver=None, legs: int = 4, rounds: int = 3) -> Map:
    """Bring a map that is not optimal closer to the optimal one, by displacement interpolation.

    The straight way from x to T is cut into legs, z_k = (1 - k / N) x + (k / N) T.  Each leg is solved anew,
    from where the legs before it ended, and the legs together are the next T.  If each leg were solved
    exactly, the mean squared way would never rise from round to round (chapter 9).

    Parameters
    ----------
    x : array_like, shape (n, d)
        Source samples.
    tx : array_like, shape (n, d), or Map
        Their images under the map to repair, or that map.
    y : array_like, shape (m, d), optional
        Target samples for the last leg; by default the images.
    solver : callable
        ``solver(a, b) -> Map`` that takes the cloud a nearly to the cloud b, and is best for small ways; by
        default a short :func:`data_driven_flow`.
    legs, rounds : int

    Returns
    -------
    Map
        The legs of the last round; ``history["gap"]`` and ``history["cost"]`` hold the optimality gap (of the
        first 1000 points) and the mean squared way, before the first round and after each.

    Warns
    -----
    RuntimeWarning
        If interrupted (Ctrl+C) after the first round: the map of the last full round is returned.

    References
    ----------
    Kuang and Tabak (2019); McCann (1997) for the interpolation.
    """
    x = samples(x, "x").astype(np.float64)
    tx = samples(tx(x) if callable(tx) else tx, "tx", dim=x.shape[1]).astype(np.float64)
    if len(tx) != len(x):
        raise ValueError(f"tx must have as many samples as x, {len(x)}, got {len(tx)}")
    y = tx if y is None else samples(y, "y", dim=x.shape[1]).astype(np.float64)
    legs, rounds = count(legs, "legs"), count(rounds, "rounds")
    solver = _short_flow if solver is None else solver
    if not callable(solver):
        raise TypeError(f"solver must be a function of two clouds, got {type(solver).__name__}")
    history, best = {"gap": [], "cost": []}, None

    def record():
        history["gap"].append(optimality_gap(x[:1000], tx[:1000]))
        history["cost"].append(float(((tx - x) ** 2).sum(axis=1).mean()))

    record()
    try:
        for _ in progress(range(rounds), label="rounds of straightening"):
            steps, z = [], x
            for k in range(1, legs + 1):
                steps.append(solver(z, y if k == legs else x + k / legs * (tx - x)))
                z = steps[-1](z)
            tx, best = z, Composition([one for step in steps for one in step.steps], history)
            record()
    except KeyboardInterrupt:
        if best is None:
            raise
        message = f"interrupted: this is the map of {len(history['gap']) - 1} of {rounds} rounds"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return best


def _short_flow(a, b):
    from .data_driven import data_driven_flow

    return data_driven_flow(a, b, rng=0, steps=20)
