"""Optimal transport between two densities on a grid, by the back-and-forth method (chapter 8).

Maximise the dual value by turns in phi and in psi = phi*: the gradient in the norm of H^1 costs a push of one
density by the gradient of the potential and one Poisson equation, and the convex conjugate, in linear time,
makes the other potential as good as it can be.
"""

import warnings
from functools import cached_property

import numpy as np
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import gaussian_filter, map_coordinates

from ._ascent import DualProblem
from ._progress import progress as progress_bar
from ._push import push, scratch
from ._validate import box, count, grid, positive
from .maps import SmoothMap

_COARSEST = 16  # cells along the shorter side of the coarsest grid
_LOW = np.zeros(2)


class GridTransport:
    """The optimal transport between two densities on a grid, as :func:`mini_ot.back_and_forth` found it.

    Attributes
    ----------
    phi, psi : ndarray, shape (n1, n2)
        Convex potentials, each the Legendre transform of the other, at the centres of the cells: the gradient
        of phi takes mu to nu, that of psi takes nu to mu.
    mu, nu : ndarray, shape (n1, n2)
        The two densities, scaled to mass one.
    bounds : pair of (low, high)
    dual_value : float
        Half the squared distance.
    dual_gap : float
        By how much the map's own cost differs from the dual value, relative to it; the larger one of the two
        directions.  Zero at the optimum.  An estimate and no bound, for the map reaches nu only nearly.
    converged : bool
        Whether the gap came below the tolerance.
    history : dict of str to list
        One entry per step: "level" (longer side of the grid in cells), "value", "gap", "residual" (norm in
        H^-1 of what is still at the wrong place), "step".
    """

    def __init__(self, problem, bounds, gap, converged, history):
        low, size = box(bounds)
        (n1, n2), area = problem.mu.shape, size.prod()
        self.bounds, self.dual_gap, self.converged, self.history = bounds, gap, converged, history
        self.mu, self.nu = problem.mu / area, problem.nu / area
        self.dual_value = max(problem.value(), 0.0)
        self._size, self._phi = size, problem.phi
        x1, x2 = low[0] + (np.arange(n1) + 0.5) * size[0] / n1, low[1] + (np.arange(n2) + 0.5) * size[1] / n2
        linear = low[0] * x1[:, None] + low[1] * x2  # the problem has its origin in the box's corner
        self.phi, self.psi = problem.phi + linear, problem.psi + linear - low @ low

    @property
    def w2(self) -> float:
        """The Wasserstein distance."""
        return float(np.sqrt(2 * self.dual_value))

    @cached_property
    def map(self) -> "GridMap":
        """The optimal map from mu to nu, as a Map on the box: it can be evaluated off the grid."""
        return GridMap(self._phi, self.bounds)

    def residual(self, smoothing: float = 4.0) -> np.ndarray:
        """Return mu - nu(grad phi) det D^2 phi at the centres, shape (n1, n2).

        Parameters
        ----------
        smoothing : float
            Standard deviation in cells of the Gaussian that phi is smoothed by.  A transform on a grid has
            slopes on the grid only, so without it the second derivatives are noise.
        """
        T = GridMap(self._phi, self.bounds, smoothing)
        image, det = T.on_grid()
        cell = self._size[:, None, None] / np.array(self.mu.shape)[:, None, None]
        at = (image - box(self.bounds)[0][:, None, None]) / cell - 0.5
        return self.mu - map_coordinates(self.nu, at, order=1, mode="nearest") * det

    def interpolate(self, t: float) -> np.ndarray:
        """Return the density at time t of the way from mu (t = 0) to nu (t = 1), shape (n1, n2)."""
        if not 0 <= t <= 1:
            raise ValueError(f"t must be between 0 and 1, got {t}")
        return push_grid(self.mu, (1 - t) * self._half_square() + t * self._phi, bounds=self._box())

    def _box(self):
        return ((0.0, self._size[0]), (0.0, self._size[1]))

    def _half_square(self):
        (n1, n2), (l1, l2) = self.mu.shape, self._size
        return (((np.arange(n1) + 0.5) * l1 / n1)[:, None] ** 2 + ((np.arange(n2) + 0.5) * l2 / n2) ** 2) / 2

    def __repr__(self):
        state = f"dual_gap={self.dual_gap:.1e}" + ("" if self.converged else ", not converged")
        return f"GridTransport({self.mu.shape[0]} x {self.mu.shape[1]}, w2={self.w2:.6g}, {state})"


class GridMap(SmoothMap):
    """The gradient of a potential on a grid, between the grid's points by a cubic spline.

    Points must lie in the box.  Where mu vanishes the map has no meaning, and log_det may raise.
    """

    def __init__(self, phi, bounds, smoothing: float = 2.0):
        super().__init__(2)
        self.bounds, self._low, self._size = bounds, *box(bounds)
        self._shape = np.array(phi.shape)
        h = self._size / self._shape
        centres = [(np.arange(-4, n + 4) + 0.5) * step for n, step in zip(phi.shape, h, strict=True)]
        inner = [c[4:-4] for c in centres]
        shift = phi - (inner[0][:, None] ** 2 + inner[1] ** 2) / 2
        # Mirrored at the edge, the displacement keeps the edge on itself.
        shift = np.pad(gaussian_filter(shift, smoothing, mode="reflect"), 4, mode="symmetric")
        self._spline = RectBivariateSpline(*centres, shift)

    def on_grid(self):
        """Return the images of the centres, shape (2, n1, n2), and the determinant there, shape (n1, n2)."""
        x1, x2 = ((np.arange(n) + 0.5) * s / n for n, s in zip(self._shape, self._size, strict=True))
        d = lambda i, j: self._spline(x1, x2, dx=i, dy=j)  # noqa: E731
        image = np.stack([d(1, 0) + x1[:, None] + self._low[0], d(0, 1) + x2 + self._low[1]])
        return image, (1 + d(2, 0)) * (1 + d(0, 2)) - d(1, 1) ** 2

    def _inside(self, x):
        x = x - self._low
        slack = 1e-9 * self._size
        if not ((x >= -slack) & (x <= self._size + slack)).all():
            at = x[((x < -slack) | (x > self._size + slack)).any(axis=1).argmax()] + self._low
            raise ValueError(f"x must lie in the box {self.bounds}, got {at.tolist()}")
        return x.T

    def _forward(self, x):
        u, v = self._inside(x)
        return x + np.stack([self._spline.ev(u, v, dx=1), self._spline.ev(u, v, dy=1)], axis=1)

    def _jacobian(self, x):
        u, v = self._inside(x)
        d11, d12, d22 = (self._spline.ev(u, v, dx=i, dy=2 - i) for i in (2, 1, 0))
        return np.eye(2) + np.stack([d11, d12, d12, d22], axis=1).reshape(-1, 2, 2)


def push_grid(mu, phi, *, bounds=((0, 1), (0, 1))) -> np.ndarray:
    """Return the density that the gradient of `phi` carries `mu` to.

    Parameters
    ----------
    mu : array_like, shape (n1, n2)
        Density at the centres of the cells, not negative.
    phi : array_like, shape (n1, n2)
        Potential at the same points; what it sends out of the box ends at the box's edge.
    bounds : pair of (low, high)

    Returns
    -------
    ndarray, shape (n1, n2)
        Has the same sum as `mu`, to rounding.

    Raises
    ------
    ValueError
        If an array is not finite or they differ in shape, or if `mu` is negative somewhere.

    Examples
    --------
    >>> import mini_ot as mo, numpy as np
    >>> x = (np.arange(8) + 0.5) / 8
    >>> mu = np.ones((8, 8))
    >>> float(mo.push_grid(mu, (x[:, None] ** 2 + x**2) / 4).sum())  # half the size
    64.0

    References
    ----------
    Jacobs and Leger (2020), section 4.3, with corners shared by neighbours.
    """
    mu, phi = _density(mu, "mu"), grid(phi, "phi")
    if mu.shape != phi.shape:
        raise ValueError(f"mu and phi must have the same shape, got {mu.shape} and {phi.shape}")
    low, size = box(bounds)
    out = np.empty_like(mu)
    push(mu, phi, low, size, scratch(mu.shape), out)
    return out


def back_and_forth(
    mu,
    nu,
    *,
    bounds=((0, 1), (0, 1)),
    tol: float = 1e-3,
    levels: int | str = "auto",
    max_steps: int = 400,
    step: str = "annealed",
    normalise: bool = False,
    progress: bool = True,
) -> GridTransport:
    """TODO"""
    mu, nu = _two_densities(mu, nu, normalise)
    _, size = box(bounds)
    problems = [DualProblem(mu, nu, size)]
    while min(problems[0].mu.shape) >= 2 * _COARSEST and (levels == "auto" or len(problems) < levels):
        problems.insert(0, problems[0].coarser())
    history = {"level": [], "value": [], "gap": [], "residual": [], "step": []}
    for k, problem in enumerate(problems):
        if k:
            problem.start_from(problems[k - 1])
        fine = k == len(problems) - 1
        gap = _climb(problem, tol if fine else tol / 4, max_steps, step, history)
    converged = gap <= tol
    if not converged:
        warnings.warn(
            f"back_and_forth stopped after max_steps={max_steps} steps on the finest grid with a relative "
            f"dual gap of {gap:.2e}, above tol={tol:g}; the best potentials found are returned",
            RuntimeWarning,
            stacklevel=2,
        )
    return GridTransport(problem, bounds, gap, converged, history)


def _climb(problem, tol, max_steps, rule, history) -> float:
    step = 4 / max(problem.mu.max(), problem.nu.max())
    scale, floor = (0.8, 0.05)
    value = problem.value()
    for _ in range(max_steps):
        gaps = []
        for side in (0, 1):
            w, norm, gap = problem.gradient(side)
            gaps.append(abs(gap))
            if len(gaps) == 2 and max(gaps) <= tol * abs(value):
                break
            problem.move(side, step, w)
            new = problem.value()
            rise, value = new - value, new
            if rise > 0.75 * step * norm:
                step /= scale
            elif rise < 0.25 * step * norm:
                step *= scale
        step = max(step, floor)
        gap = max(gaps) / max(abs(value), 1e-300)
        for key, entry in zip(history, (max(problem.mu.shape), value, gap, norm**0.5, step), strict=True):
            history[key].append(float(entry))
        if gap <= tol:
            break
    return gap


def _density(values, name):
    array = grid(values, name)
    if (array < 0).any():
        i, j = np.unravel_index(array.argmin(), array.shape)
        raise ValueError(f"{name} must not be negative, got {array[i, j]} at [{i}, {j}]")
    return array


def _two_densities(mu, nu, normalise):
    """Check both, and return them with mean one."""
    mu, nu = _density(mu, "mu"), _density(nu, "nu")
    if mu.shape != nu.shape:
        raise ValueError(f"mu and nu must have the same shape, got {mu.shape} and {nu.shape}")
    for array, name in ((mu, "mu"), (nu, "nu")):
        if array.sum() == 0:
            raise ValueError(f"{name} must have some mass, got zero everywhere")
        if np.count_nonzero(array) == 1:
            at = [int(i) for i in np.argwhere(array)[0]]
            raise ValueError(f"{name} must spread over several cells, got all its mass in the one at {at}")
    if not normalise and not np.isclose(mu.sum(), nu.sum(), rtol=1e-6, atol=0):
        raise ValueError(
            f"mu and nu must have the same mass, got sums {mu.sum():.10g} and {nu.sum():.10g}; "
            "normalise=True scales both to mass one"
        )
    return mu / mu.mean(), nu / nu.mean()
