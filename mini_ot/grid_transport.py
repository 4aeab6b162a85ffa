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

from ._ascent import RECORD, DualProblem, centres, climb, half_square
from ._progress import progress as progress_bar
from ._push import pushed
from ._validate import box, count, masses, one_of, positive, samples
from .maps import SmoothMap

_COARSEST = 16  # cells along the shorter side of the coarsest grid


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
        By how much the map's own cost differs from the dual value, plus half the squared residual, relative
        to that value; the smaller one of the two directions.  Zero at the optimum.  An estimate and no bound,
        for the map reaches nu only nearly.
    converged : bool
        Whether the gap came below the tolerance, or the value rose no more and the gap was below what the
        grid can tell.
    history : dict of str to list
        One entry per step: "level" (longer side of the grid in cells), "value", "gap", "residual" (norm in
        H^-1 of what is still at the wrong place), "step" (its length) and "norm" ("flat" or "weighted").
    """

    def __init__(self, problem, bounds, converged, history):
        low, size = box(bounds)
        area = size.prod()
        self.bounds, self.dual_gap, self.converged, self.history = bounds, problem.gap, converged, history
        self.mu, self.nu = problem.mu / area, problem.nu / area
        self.dual_value = max(problem.value(), 0.0)
        self._size, self._phi, self._psi = size, problem.phi, problem.psi
        x1, x2 = centres(problem.mu.shape, size)  # the problem has its origin in the box's corner
        linear = low[0] * (low[0] + x1[:, None]) + low[1] * (low[1] + x2)
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
        T = GridMap(self._phi, self.bounds, positive(smoothing, "smoothing"))
        image, det = T.on_grid()
        cell = self._size[:, None, None] / np.array(self.mu.shape)[:, None, None]
        at = (image - box(self.bounds)[0][:, None, None]) / cell - 0.5
        return self.mu - map_coordinates(self.nu, at, order=1, mode="nearest") * det

    def interpolate(self, t: float) -> np.ndarray:
        """Return the density at time t of the way from mu (t = 0) to nu (t = 1), shape (n1, n2).

        A mixture of mu pushed forward by (1 - t) x + t grad phi(x) and nu pushed back by the mirror image,
        weighted by 1 - t and t: both are the same density, and where one map stretches the other shrinks.
        """
        t = positive(t, "t") if t != 0 else 0.0
        if t > 1:
            raise ValueError(f"t must be between 0 and 1, got {t}")
        low, square = np.zeros(2), half_square(self.mu.shape, self._size)
        there = pushed(self.mu, (1 - t) * square + t * self._phi, low, self._size, pieces=3)
        back = pushed(self.nu, t * square + (1 - t) * self._psi, low, self._size, pieces=3)
        return (1 - t) * there + t * back

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
        self._shape, self._slack = phi.shape, 1e-6 * self._size  # single precision may end just outside
        h = self._size / phi.shape
        centres = [(np.arange(-4, n + 4) + 0.5) * step for n, step in zip(phi.shape, h, strict=True)]
        shift = phi - half_square(phi.shape, self._size)
        # Mirrored at the edge, the displacement keeps the edge on itself.
        shift = np.pad(gaussian_filter(shift, smoothing, mode="reflect"), 4, mode="symmetric")
        self._spline = RectBivariateSpline(*centres, shift)

    def on_grid(self):
        """Return the images of the centres, shape (2, n1, n2), and the determinant there, shape (n1, n2)."""
        x1, x2 = centres(self._shape, self._size)
        d = lambda i, j: self._spline(x1, x2, dx=i, dy=j)  # noqa: E731
        image = np.stack([d(1, 0) + x1[:, None] + self._low[0], d(0, 1) + x2 + self._low[1]])
        return image, (1 + d(2, 0)) * (1 + d(0, 2)) - d(1, 1) ** 2

    def _apply(self, function, points, name):
        points = samples(points, name, dim=2)
        low, high = self._low - self._slack, self._low + self._size + self._slack
        beyond = ((points < low) | (points > high)).any(axis=1)
        if beyond.any():
            at = points[beyond.argmax()].tolist()
            raise ValueError(f"{name} must lie in the box {self.bounds}, got {at}")
        return super()._apply(function, points, name)

    def _forward(self, x):
        u, v = np.clip(x - self._low, 0, self._size).T  # beyond the box, where Newton may look, just shifted
        return x + np.stack([self._spline.ev(u, v, dx=1), self._spline.ev(u, v, dy=1)], axis=1)

    def _jacobian(self, x):
        u, v = np.clip(x - self._low, 0, self._size).T
        d11, d12, d22 = (self._spline.ev(u, v, dx=i, dy=2 - i) for i in (2, 1, 0))
        return np.eye(2) + np.stack([d11, d12, d12, d22], axis=1).reshape(-1, 2, 2)

    def _inverse(self, y):
        return np.clip(super()._inverse(y), self._low, self._low + self._size)


def back_and_forth(
    mu,
    nu,
    *,
    bounds=((0, 1), (0, 1)),
    tol: float = 1e-3,
    levels: int | str = "auto",
    max_steps: int = 400,
    step: str = "adaptive",
    normalise: bool = False,
    progress: bool = True,
) -> GridTransport:
    """Return the optimal transport between two densities on a grid, for the cost ``|x - y|^2 / 2``.

    Parameters
    ----------
    mu, nu : array_like, shape (n1, n2)
        Source and target at the centres of the cells, not negative, of equal sums; ``mu[i, j]`` belongs to
        the i-th first and the j-th second coordinate.  They may vanish on part of the box.  Both are scaled
        to mass one.
    bounds : pair of (low, high)
        The box.
    tol : float
        Stop where the relative dual gap is at most this, or where the value rises no more; that counts as
        converged if the gap is below half the area of a cell, as the grid itself knows the value no better.
    levels : int or "auto"
        Grids to go through, each half as fine as the next, the last that of `mu`; 1 is the finest alone.
        "auto" starts with about 16 cells along the shorter side.
    max_steps : int
        Largest number of steps on each grid; a step changes phi and then psi.
    step : {"adaptive", "published"}
        "adaptive" goes by turns up the gradient in the norm of H^1 and in the one weighted by the density,
        whichever pays; "published" is the rule of the paper, with the norm of H^1 alone.
    normalise : bool
        Accept densities whose sums differ.
    progress : bool
        Show a progress bar on work of over two seconds.

    Returns
    -------
    GridTransport
        With ``phi``, ``psi``, ``map``, ``w2``, ``dual_gap``, ``residual``, ``interpolate`` and ``history``.

    Raises
    ------
    ValueError
        If a density is negative or not finite somewhere, has no mass or all its mass in one cell, the shapes
        or the sums differ, or a side has fewer than 4 cells.

    Warns
    -----
    RuntimeWarning
        If the gap stays above `tol`; the best potentials found are returned.

    Notes
    -----
    Memory is about 26 arrays of the grid's size.  The masses sit at the centres of the cells, which makes
    the squared distance larger by up to about a sixth of a cell's area: for densities that hardly differ
    take a finer grid.

    Examples
    --------
    >>> import mini_ot as mo, numpy as np
    >>> x = (np.arange(64) + 0.5) / 64
    >>> bump = lambda a: np.exp(-((x[:, None] - a) ** 2 + (x - 0.5) ** 2) / 0.005)
    >>> transport = mo.back_and_forth(bump(0.375), bump(0.625))
    >>> round(transport.w2, 3)
    0.25

    References
    ----------
    Jacobs and Leger (2020), algorithm 2.  The weighted norm, that of Newton's method for a map near the
    identity, is an addition.
    """
    mu, nu = _two_densities(mu, nu, normalise)
    _, size = box(bounds)
    tol, max_steps = positive(tol, "tol"), count(max_steps, "max_steps")
    one_of(step, "step", ("adaptive", "published"))
    if levels != "auto":
        levels = count(levels, "levels")
    problems = [DualProblem(mu, nu, size)]
    while min(problems[0].mu.shape) >= 2 * _COARSEST and (levels == "auto" or len(problems) < levels):
        problems.insert(0, problems[0].coarser())
    history, why = {key: [] for key in RECORD}, ""
    with progress_bar(label="back and forth", unit=" steps", show=progress) as bar:
        for coarse, problem in zip([None, *problems], problems, strict=False):
            if coarse is not None:
                problem.start_from(coarse)
            last = problem is problems[-1]
            # Coarse steps are cheap, and what they leave undone costs dear later; after Ctrl+C just refine.
            idle = (8 if problem.mu.size > 64 * 64 else 20) if last else 4
            if why != "interrupted":
                why = climb(problem, tol if last else tol / 10, max_steps, step, idle, history, bar.update)
    if why != "converged":
        warnings.warn(
            f"back_and_forth stopped after {len(history['gap'])} steps at a relative dual gap of "
            f"{problem.gap:.2e}, above tol={tol:g} ({why}); the best potentials found are returned",
            RuntimeWarning,
            stacklevel=2,
        )
    return GridTransport(problem, bounds, why == "converged", history)


def _two_densities(mu, nu, normalise):
    """Check both, and return them with mean one."""
    mu, nu = masses(mu, "mu"), masses(nu, "nu")
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
