"""The Monge-Ampere equation in the unit square with given boundary values (chapter 7).

``det D^2 u = f``, u convex.  Two schemes: the determinant of the usual central differences, which is second
order and may converge to a function that is not convex, and a monotone one, which is convex along all
directions that it looks along.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import dstn, idstn
from scipy.interpolate import RectBivariateSpline
from scipy.sparse.linalg import LinearOperator, bicgstab, splu

from ._jit import by_rows
from ._progress import progress as bar
from ._superbases import LENGTHS, apply_weights, determinant, least_curvature, shortfall, sparse_matrix
from ._validate import _describe, count, one_of, positive

_COARSEST = 16  # intervals of the first grid, at most
_KRYLOV = 60  # steps of BiCGStab at most, then LU


@dataclass(frozen=True, repr=False, eq=False)
class GridSolution:
    """A solution at the nodes of a grid, what :func:`mini_ot.monge_ampere` returns.

    Attributes
    ----------
    x : ndarray, shape (n + 1,)
        Coordinates of the nodes along either axis.
    u : ndarray, shape (n + 1, n + 1)
        ``u[i, j]`` at the point (x[i], x[j]).
    is_convex : bool
        Whether `least_curvature` is not negative beyond what `tol` and rounding explain.
    least_curvature : float
        The smallest second difference, ``(u(p + e) + u(p - e) - 2 u(p)) / |e|^2``, over nodes p and steps e
        along the axes and diagonals (and, if wide, by a knight's move), edges of the square included.
    residual : float
        Monotone scheme: the largest ``|t|`` over nodes, where D^2 u + t I has determinant f; u differs
        nowhere by more than residual / 4 from the scheme's exact solution.  Newton scheme: the largest
        ``|det D^2 u - f|``, which bounds no error.
    converged : bool
    steps : tuple of int
        Steps on each grid, the coarsest first.
    history : dict of str to list
        ``n``, ``residual`` and ``step`` for every u: 0 at a grid's start, 1 after a full step.
    """

    x: np.ndarray
    u: np.ndarray
    is_convex: bool
    least_curvature: float
    residual: float
    converged: bool
    steps: tuple[int, ...]
    history: dict

    def gradient(self) -> np.ndarray:
        """Return the gradient at the nodes, shape (n + 1, n + 1, 2), by differences of second order."""
        return np.stack(np.gradient(self.u, self.x, self.x, edge_order=2), axis=-1)

    def __repr__(self) -> str:
        convex = "convex" if self.is_convex else "not convex"
        return (
            f"GridSolution(n={len(self.x) - 1}, {convex}, residual {self.residual:.1e}, steps {self.steps})"
        )


def monge_ampere(
    f: Callable,
    boundary: Callable,
    *,
    n: int,
    scheme: str = "monotone",
    wide: bool = False,
    start: str = "nested",
    tol: float = 1e-7,
    max_steps: int = 100,
    progress: bool = True,
) -> GridSolution:
    """Solve ``det D^2 u = f`` in the unit square with u = boundary on its edges and u convex.

    Parameters
    ----------
    f, boundary : callable
        Functions of points, (k, 2) to (k,); f >= 0 is asked for at interior nodes, boundary at the others.
    n : int
        Intervals along each side, at least 4.
    scheme : {"monotone", "newton"}
        "monotone" is MA-LBR, solved by policy iteration (Newton's method for a maximum of linear functions).
        "newton" is the determinant of central differences, solved by Newton's method, whose steps are halved
        while the residual would grow: see Warns.
    wide : bool
        Let the monotone scheme use knight's moves, too: smaller errors where curvatures differ greatly.
    start : {"nested", "cold"}
        Begin on coarse grids and refine by cubic interpolation, or on the grid itself from
        ``u_xx + u_yy = sqrt(2 f)``.
    tol : float
        The residual to reach, over the range of u.
    max_steps : int
        Steps on each grid at most.
    progress : bool
        Show a bar if it takes long.

    Returns
    -------
    GridSolution

    Raises
    ------
    ValueError
        If f is negative at a node, or f or boundary is not finite or returns another shape.

    Warns
    -----
    RuntimeWarning
        If the result is not convex, as happens with "newton" and with boundary values that no convex function
        has; or if the tolerance was not reached, and then the best u is returned.

    Notes
    -----
    The monotone scheme has an error of second order where the two curvatures of u differ by a factor below
    3 + 2 sqrt(2), about 5.8; with `wide` 9 + 4 sqrt(5), about 17.9, but for the outermost nodes.  Elsewhere
    the few directions of the grid may leave an error that refining does not remove.  Each step solves one
    linear equation: by BiCGStab with a sine transform, and where that takes too long by sparse LU.

    Examples
    --------
    >>> import mini_ot as mo, numpy as np
    >>> exact = lambda p: np.exp((p**2).sum(axis=1) / 2)
    >>> s = mo.monge_ampere(lambda p: (1 + (p**2).sum(axis=1)) * exact(p) ** 2, exact, n=32)
    >>> s.is_convex, bool(abs(s.u[16, 16] - exact(np.array([[0.5, 0.5]]))[0]) < 1e-4)
    (True, True)

    References
    ----------
    Benamou, Froese and Oberman (2010); Benamou, Collino and Mirebeau (2016); Bonnet and Mirebeau (2022).
    """
    for function, name in ((f, "f"), (boundary, "boundary")):
        if not callable(function):
            raise TypeError(f"{name} must be a function of points (k, 2), got {_describe(function)}")
    one_of(scheme, "scheme", ("monotone", "newton"))
    one_of(start, "start", ("nested", "cold"))
    n, max_steps, tol = count(n, "n", at_least=4), count(max_steps, "max_steps"), positive(tol, "tol")
    if wide and scheme == "newton":
        raise ValueError("wide must be False with scheme='newton', whose stencil has nine points")
    sizes = [n]
    while start == "nested" and sizes[0] > _COARSEST:
        sizes.insert(0, (sizes[0] + 1) // 2)
    solver = _Solver(tol, max_steps, 8 if wide else 4, scheme == "newton", progress)
    u = None
    for size in sizes:
        u, root = _begin(f, boundary, size, u)
        u, residual, converged = solver.solve(u, root)
    return _checked(u, residual, converged, solver)


def _values(function, points, name):
    """Call a function of points and check what it returns."""
    values = np.asarray(function(points))
    if values.shape != (len(points),) or values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must return {len(points)} numbers, got {_describe(values)}")
    bad = ~np.isfinite(values) | ((values < 0) & (name == "f"))
    if bad.any():
        wanted = "non-negative and finite" if name == "f" else "finite"
        raise ValueError(
            f"{name} must be {wanted}, got {values[bad][0]} at {points[bad][0].tolist()} "
            f"({bad.sum()} of {len(points)} nodes)"
        )
    return values.astype(np.float64)


def _begin(f, boundary, n, coarse):
    """Return a start with the right boundary values, and the square root of f at interior nodes."""
    x = np.linspace(0, 1, n + 1)
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)
    inside = np.zeros((n + 1, n + 1), dtype=bool)
    inside[1:-1, 1:-1] = True
    root = np.sqrt(_values(f, points[inside], "f")).reshape(n - 1, n - 1)
    u = np.zeros((n + 1, n + 1))
    if coarse is not None:
        knots = np.linspace(0, 1, len(coarse))
        u = RectBivariateSpline(knots, knots, coarse, s=0)(x, x)
    u[~inside] = _values(boundary, points[~inside], "boundary")
    if coarse is None:
        axes = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]
        u[1:-1, 1:-1] = _poisson(np.sqrt(2) * root - axes * n**2)
    return u, root


def _poisson(right):
    """Solve v_xx + v_yy = right at interior nodes, v = 0 at the others, by the sine transform."""
    n = len(right) + 1
    eigen = -4.0 * n**2 * np.sin(np.pi * np.arange(1, n) / (2 * n)) ** 2
    return idstn(dstn(right, type=1) / (eigen[:, None] + eigen).astype(right.dtype), type=1)


class _Solver:
    """Newton steps on one grid after the other, written down in one history."""

    def __init__(self, tol, max_steps, ring, newton, show):
        self.tol, self.max_steps, self.ring, self.newton, self.show = tol, max_steps, ring, newton, show
        self.history, self.steps = {"n": [], "residual": [], "step": []}, []

    def evaluate(self, u, root):
        """Return the linearised scheme, whose last plane is the residual, and the size of that."""
        planes = np.empty((self.ring + 1, *root.shape))
        kernel, cost = (determinant, 10) if self.newton else (shortfall, 25 * self.ring)
        by_rows(kernel, len(root), cost * root.size, u, root, planes)
        return planes, float(abs(planes[-1]).max())

    def solve(self, u, root):
        """Return the best u of this grid, its residual, and whether that is small enough."""
        n = len(u) - 1
        goal = self.slack = self.tol * np.ptp(u) + 32 * np.finfo(float).eps * abs(u).max() * n**2
        if self.newton:  # an error e of the curvatures makes one of about e * trace in the determinant ...
            goal *= 2 * root.max() + np.ptp(u) + goal
            self.slack = np.sqrt(goal)  # ... and much less where both vanish
        planes, size = self.evaluate(u, root)
        best, before, taken = (u, size), 10 * size, 0
        self.note(n, size, 0.0)
        for _ in bar(range(self.max_steps), label=f"Monge-Ampere, n = {n}", show=self.show):
            if not size > goal:
                break
            accuracy = 1e-6 if self.newton else min(0.1, max(1e-3, (size / before) ** 2))
            before, step, move = size, 1.0, _solve(planes, accuracy)
            new = self.evaluate(trial := _moved(u, move), root)
            while self.newton and not new[1] < size and step > 1e-3:
                step /= 2
                new = self.evaluate(trial := _moved(u, step * move), root)
            taken, u, (planes, size) = taken + 1, trial, new
            self.note(n, size, step)
            if size < best[1]:
                best = u, size
            elif self.newton or not np.isfinite(size):
                break
        self.steps.append(taken)
        return *best, best[1] <= goal

    def note(self, *values):
        for series, value in zip(self.history.values(), values, strict=True):
            series.append(value)


def _moved(u, move):
    out = u.copy()
    out[1:-1, 1:-1] += move
    return out


def _solve(planes, accuracy):
    """Solve sum_k planes[k] D_k v = planes[-1], v = 0 on the edges of the square."""
    inside = planes.shape[1:]
    trace = abs(np.tensordot(LENGTHS[: len(planes) - 1], planes[:-1], 1))
    planes = planes / np.maximum(trace, 1e-9 * trace.max() or 1.0)
    v, out = np.zeros((inside[0] + 2, inside[1] + 2)), np.empty(inside)

    def apply(flat):
        v[1:-1, 1:-1] = flat.reshape(inside)
        by_rows(apply_weights, len(out), 5 * out.size, v, planes, out)
        return out.ravel().copy()

    def precondition(flat):  # single precision is enough for that
        return 2 * _poisson(flat.reshape(inside).astype(np.float32)).ravel()

    scale = abs(planes[-1]).max()  # keeps single precision in range
    right, shape = planes[-1].ravel() / scale, 2 * (out.size,)
    operator, poisson = (LinearOperator(shape, matvec=m, dtype=float) for m in (apply, precondition))
    flat, failed = bicgstab(operator, right, rtol=accuracy, atol=0.0, maxiter=_KRYLOV, M=poisson)
    if failed or not np.isfinite(flat).all():
        try:
            flat = splu(sparse_matrix(planes), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.1).solve(right)
        except RuntimeError:  # singular, which only Newton's scheme can be
            flat = precondition(right)
    return scale * flat.reshape(inside)


def _checked(u, residual, converged, solver):
    """Look whether u is convex, warn of what is wrong, and wrap it up."""
    least, at, along = least_curvature(u, solver.ring)
    convex, steps = bool(least >= -solver.slack), tuple(solver.steps)
    bent = f"the solution is not convex: its second difference along {along} is {least:.3g} at {at}"
    short = f"not converged: residual {residual:.2g} after {steps[-1]} steps on the finest grid (best u kept)"
    for good, message in ((convex, bent), (converged, short)):
        if not good:
            warnings.warn(message, RuntimeWarning, stacklevel=3)
    return GridSolution(
        np.linspace(0, 1, len(u)), u, convex, least, residual, bool(converged), steps, solver.history
    )
