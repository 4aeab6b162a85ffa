"""Back-and-forth between potentials on two clouds: the dual of optimal transport, climbed along kernels.

Chapter 10.  The back-and-forth method on a grid preconditions the gradient of the dual by a Poisson solve;
on samples a kernel takes its place, and the gradient becomes the witness of an MMD.
"""

import warnings

import numpy as np

from ._jit import by_rows, jit
from ._progress import progress
from ._validate import count, samples, two_clouds
from .kernels import Energy
from .mmd import _checked

_FIRST = 0.1  # of the clouds' spread: what the first step moves a potential by, roughly
_GROW, _SHRINK = 1.5, 0.5
_NOTHING = 1e-9  # of the spread: a predicted rise that is not worth a step


@jit(fastmath=True)
def _transform_rows(start, stop, value, nearest, points, y, potential):
    """value[i] = min_j |points_i - y_j|^2 / 2 - potential_j, nearest[i] where; points stored as (d, n)."""
    cost = np.empty(y.shape[1])
    for i in range(start, stop):
        for j in range(len(cost)):
            cost[j] = -potential[j]
        for k in range(len(y)):
            at, row = points[k, i], y[k]
            for j in range(len(cost)):
                gap = row[j] - at
                cost[j] += 0.5 * gap * gap
        nearest[i] = cost.argmin()
        value[i] = cost[nearest[i]]


def _c_transform(points, y, potential):
    """Return the c-transform at `points` of a potential on `y`, and the places of the minima."""
    n, m = points.shape[1], y.shape[1]
    value, nearest = np.empty(n), np.empty(n, dtype=np.int64)
    by_rows(_transform_rows, n, n * m, value, nearest, points, y, potential)
    return value, nearest


class KernelDual:
    """Potentials on two clouds, what :func:`mini_ot.kernel_dual_ascent` returns.

    Attributes
    ----------
    source_potential, target_potential : ndarray, shapes (n,) and (m,)
        psi and phi with ``psi_i + phi_j <= |x_i - y_j|^2 / 2``.
    value : float
        Dual value, mean psi + mean phi: never above half the squared W2.
    nearest : ndarray of int, shape (n,)
        The sample of y at which the bound is reached for each x; several x may share one.
    history : dict of str to list
        ``dual`` after each iteration (the start first), and ``step``, the larger step length.
    """

    def __init__(self, x, y, target_potential, history):
        self.y, self.dim, self.target_potential, self.history = y, y.shape[1], target_potential, history
        self.source_potential, self.nearest = self._transform(x)
        self.value = float(self.source_potential.mean() + target_potential.mean())

    def _transform(self, points):
        flat = [np.ascontiguousarray(p.T) for p in (points, self.y)]
        return _c_transform(*flat, self.target_potential)

    def __call__(self, points) -> np.ndarray:
        """Return the gradient of :meth:`interpolant`, shape (k, d): for every point one of the samples y."""
        return self.y[self._transform(samples(points, "points", dim=self.dim).astype(np.float64))[1]]

    def interpolant(self, points) -> np.ndarray:
        """Return the convex ``max_j <p, y_j> - |y_j|^2 / 2 + phi_j`` at `points` (k, d), shape (k,)."""
        points = samples(points, "points", dim=self.dim).astype(np.float64)
        return 0.5 * (points**2).sum(axis=1) - self._transform(points)[0]


def kernel_dual_ascent(x, y, *, kernel=None, steps: int = 50) -> KernelDual:
    """Climb the dual of optimal transport between samples, along kernel gradients, from both sides.

    The dual of the cost ``|x - y|^2 / 2`` is ``D = mean_i psi_i + mean_j phi_j`` with
    psi = phi^c, the c-transform ``psi_i = min_j |x_i - y_j|^2 / 2 - phi_j``.
    Its gradient in the norm of a kernel k is the witness
    ``g(y) = mean_l k(y, y_l) - mean_i k(y, y_T(i))``, T(i) the place of the minimum.  One iteration takes
    ``phi += step * g``, ``psi = phi^c``, then the mirror image.  Time O(n m) an iteration, memory O(n + m).

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
    kernel : kernel of mini_ot, optional
        The energy kernel by default: it has no width to choose, and in one dimension it is twice the Green's
        function of the Poisson solve that the grid method uses.
    steps : int
        Iterations at most; it ends earlier when no step of a visible size raises the dual.

    Returns
    -------
    KernelDual

    Raises
    ------
    ValueError
        If the clouds differ in dimension, or hold NaN or infinity.

    Warns
    -----
    UserWarning
        If interrupted (Ctrl+C): the potentials so far are returned.

    Notes
    -----
    A step that would lower the dual is not taken, so that it never falls.  Steps grow where the dual rises by
    more than 3/4 of what its gradient predicts, and shrink below 1/4.  The dual of samples has kinks, and an
    ascent that never falls can stop at one: a small gap to the optimum remains.

    Examples
    --------
    >>> import mini_ot as mo
    >>> x, y = mo.StandardNormal().sample(300, rng=0), mo.TwoMoons().sample(300, rng=1)
    >>> dual = mo.kernel_dual_ascent(x, y)
    >>> 0.99 < dual.value / (mo.w2(x, y) ** 2 / 2) <= 1
    True

    References
    ----------
    Jacobs and Leger (2020), algorithm 2 and its step rule, on a grid and with a Poisson solve.
    """
    x, y = (p.astype(np.float64) for p in two_clouds(x, y))
    kernel = Energy() if kernel is None else _checked(kernel)
    ascent, history = _Ascent(y, x, kernel), {"dual": [], "step": []}
    try:
        history["dual"].append(ascent.start())
        for _ in progress(range(count(steps, "steps")), label="dual ascent"):
            hopes = [ascent.climb(side) for side in (0, 1)]
            history["dual"].append(ascent.dual)
            history["step"].append(max(ascent.step))
            if max(hopes) <= _NOTHING * ascent.spread:
                break
    except KeyboardInterrupt:
        warnings.warn(f"interrupted: the ascent took {len(history['step'])} iterations", stacklevel=2)
    return KernelDual(x, y, ascent.potential[0], history)


class _Ascent:
    """Potentials on two clouds, numbered 0 and 1, of which each is the other's c-transform or below it."""

    def __init__(self, first, second, kernel):
        self.kernel, self.cloud = kernel, (first, second)
        self.flat = [np.ascontiguousarray(p.T) for p in self.cloud]
        self.own = [kernel.mean(p, p) for p in self.cloud]
        self.spread = np.concatenate(self.cloud).var(axis=0).sum()
        self.potential, self.step = [np.zeros(len(p)) for p in self.cloud], [0.0, 0.0]

    def start(self):
        self.potential[1], _ = _c_transform(self.flat[1], self.flat[0], self.potential[0])
        self.dual = self.potential[0].mean() + self.potential[1].mean()
        return self.dual

    def climb(self, side):
        """Take one step of one potential if that raises the dual; return the rise that was predicted."""
        mine, other = self.flat[side], self.flat[1 - side]
        _, nearest = _c_transform(other, mine, self.potential[side])
        witness = self.own[side] - self.kernel.mean(self.cloud[side], self.cloud[side][nearest])
        slope = 1 / len(witness) - np.bincount(nearest, minlength=len(witness)) / len(nearest)
        norm2 = slope @ witness  # the squared MMD between the cloud and where the other one is sent
        if self.step[side] == 0.0 and norm2 > 0:
            self.step[side] = _FIRST * self.spread / np.sqrt(norm2)
        hope = self.step[side] * norm2
        if not hope > 0:
            return 0.0
        new = self.potential[side] + self.step[side] * witness
        back, _ = _c_transform(other, mine, new)
        dual = new.mean() + back.mean()
        rise = dual - self.dual
        self.step[side] *= _GROW if rise > 0.75 * hope else _SHRINK if rise < 0.25 * hope else 1.0
        if rise > 0:
            self.potential[side], self.potential[1 - side], self.dual = new, back, dual
        return hope
