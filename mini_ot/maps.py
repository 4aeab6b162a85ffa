"""The one abstraction of the course: an invertible map with its log-determinant.

Every method returns a :class:`Map`.  A map moves samples, takes them back, and says by how much it
stretches volume, which is all that the change of variables needs (chapter 3):
if T pushes rho to mu, then log rho(x) = log mu(T(x)) + log |det DT(x)|.
"""

from collections.abc import Callable

import numpy as np

from ._validate import column_spread, samples, vector


class Map:
    """An invertible map T of R^d to itself.

    Subclasses provide ``_forward``, ``_inverse`` and ``_log_det`` on checked arrays; everything else is here.

    Attributes
    ----------
    dim : int
        Dimension d of the space.
    steps : tuple of Map
        The elementary maps that it is composed of, first applied first; a single map has itself.
    history : dict of str to list
        What the method that made the map recorded on the way; empty for closed forms.
    stopped : str
        Why that method ended; empty for closed forms.
    """

    def __init__(self, dim: int, history: dict | None = None, stopped: str = ""):
        self.dim = dim
        self.stopped = stopped
        self.history = {} if history is None else history

    @property
    def steps(self) -> tuple["Map", ...]:
        return (self,)

    def __call__(self, x) -> np.ndarray:
        """Return T(x) for points `x` of shape (n, d), as shape (n, d); float32 in gives float32 out."""
        return self._apply(self._forward, x, "x")

    def inverse(self, y) -> np.ndarray:
        """Return the points that T takes to `y` of shape (n, d), as shape (n, d)."""
        return self._apply(self._inverse, y, "y")

    def log_det(self, x) -> np.ndarray:
        """Return ``log |det DT|`` at the points `x` of shape (n, d), as shape (n,)."""
        return self._apply(self._log_det, x, "x")

    def then(self, other: "Map") -> "Map":
        """Return the map x -> other(T(x))."""
        if not isinstance(other, Map):
            raise TypeError(f"other must be a Map, got {type(other).__name__}")
        if other.dim != self.dim:
            raise ValueError(
                f"other must map dimension {self.dim} to itself, got a map of dimension {other.dim}"
            )
        return Composition((*self.steps, *other.steps))

    def _apply(self, function, points, name):
        points = samples(points, name, dim=self.dim)
        return function(points.astype(np.float64)).astype(points.dtype)

    def _forward(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _inverse(self, y: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def _log_det(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no log-determinant, so it gives no density")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim}, steps={len(self.steps)})"


class Composition(Map):
    """Maps applied one after the other: what :meth:`Map.then` and every flow return."""

    def __init__(self, steps, history: dict | None = None, stopped: str = ""):
        super().__init__(steps[0].dim, history, stopped)
        self._steps = tuple(steps)

    @property
    def steps(self):
        return self._steps

    def _forward(self, x):
        for step in self._steps:
            x = step._forward(x)
        return x

    def _inverse(self, y):
        for step in reversed(self._steps):
            y = step._inverse(y)
        return y

    def _log_det(self, x):
        total = np.zeros(len(x))
        for step in self._steps:
            total += step._log_det(x)
            x = step._forward(x)
        return total


class SmoothMap(Map):
    """A map whose derivative is at hand: subclasses provide ``_forward`` and ``_jacobian`` (n, d, d).

    The derivative must be symmetric, as that of a gradient is.
    """

    def _jacobian(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _log_det(self, x):
        stretch = np.linalg.eigvalsh(self._jacobian(x))  # one by one: two folds make a positive determinant
        if not (stretch > 0).all():
            at = x[stretch.min(axis=1).argmin()].tolist()
            raise ValueError(f"x must lie where each step is one-to-one: one folds the space at {at}")
        return np.log(stretch).sum(axis=1)

    def _inverse(self, y):
        """Solve T(x) = y by Newton's method, halving moves that do not bring T(x) nearer to y."""
        x, miss = y.copy(), self._forward(y) - y
        goal = 1e-13 * (1.0 + np.abs(y).max(initial=0.0))
        for _ in range(60):
            todo = np.flatnonzero(np.abs(miss).max(axis=1) > goal)
            if not len(todo):
                return x
            at, gap = x[todo], miss[todo]
            move, size = _solve(self._jacobian(at), gap), np.abs(gap).max(axis=1)
            for _ in range(20):
                new = self._forward(at - move) - y[todo]
                worse = ~(np.abs(new).max(axis=1) < size)
                if not worse.any():
                    break
                move[worse] /= 2
            x[todo[~worse]], miss[todo[~worse]] = (at - move)[~worse], new[~worse]
            if worse.all():
                break
        if np.abs(miss).max() > 1e5 * goal:
            at = y[np.abs(miss).max(axis=1).argmax()].tolist()
            raise ValueError(
                f"y must be an image of this map, got {at}: a step of it folds the space or jumps there"
            )
        return x


def _solve(matrices, vectors):
    """Solve each system; where one is singular, try plain moves, and the caller's halving takes care."""
    try:
        return np.linalg.solve(matrices, vectors[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return vectors.copy()


class AffineMap(Map):
    """x -> shift + matrix x.

    Attributes
    ----------
    matrix : ndarray, shape (d, d)
    shift : ndarray, shape (d,)
    """

    def __init__(self, matrix, shift):
        self.matrix = samples(matrix, "matrix").astype(np.float64)
        super().__init__(len(self.matrix))
        self.shift = vector(shift, "shift", self.dim)
        if self.matrix.shape != (self.dim, self.dim):
            raise ValueError(f"matrix must be square, got shape {self.matrix.shape}")
        sign, self._log_abs_det = np.linalg.slogdet(self.matrix)
        if sign == 0:
            raise ValueError("matrix must be invertible, got a singular one")

    def _forward(self, x):
        return x @ self.matrix.T + self.shift

    def _inverse(self, y):
        return np.linalg.solve(self.matrix, (y - self.shift).T).T

    def _log_det(self, x):
        return np.full(len(x), self._log_abs_det)


def affine_map(x, y=None) -> AffineMap:
    """Return the optimal-transport map between the Gaussians with the samples' means and covariances.

    T(x) = m_y + A (x - m_x) with A = Sx^(-1/2) (Sx^(1/2) Sy Sx^(1/2))^(1/2) Sx^(-1/2), the one symmetric
    positive matrix that turns the covariance Sx into Sy.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Source samples, n > d.
    y : array_like, shape (m, d), optional
        Target samples, m > d; without them the target is the standard normal, and T whitens.

    Returns
    -------
    AffineMap

    Raises
    ------
    ValueError
        If the samples hold NaN or infinity, have different dimensions, or lie in a hyperplane (singular
        covariance).

    Examples
    --------
    >>> import mini_ot as mo, numpy as np
    >>> x = mo.Banana().sample(1000, rng=0)
    >>> white = mo.affine_map(x)(x)
    >>> bool(np.allclose(np.cov(white.T), np.eye(2)))
    True

    References
    ----------
    Olkin and Pukelsheim (1982); Peyre and Cuturi (2019), remark 2.31.
    """
    mean_x, cov_x = _moments(x, "x")
    root = _root(cov_x)
    inverse_root = np.linalg.inv(root)
    if y is None:
        return AffineMap(inverse_root, -inverse_root @ mean_x)
    mean_y, cov_y = _moments(y, "y", dim=len(mean_x))
    matrix = inverse_root @ _root(root @ cov_y @ root) @ inverse_root
    return AffineMap(matrix, mean_y - matrix @ mean_x)


def whitening(x) -> AffineMap:
    """Return the affine map to N(0, I) of largest likelihood: it divides the covariance by n, not n - 1.

    Columns are divided by their standard deviations first, so that only their correlation must be regular.
    """
    x = samples(x, "x", at_least=2).astype(np.float64)
    spread = column_spread(x, "x")
    white, factor = affine_map(x / spread), np.sqrt(len(x) / (len(x) - 1))
    return AffineMap(factor * white.matrix / spread, factor * white.shift)


def pullback_log_density(T: Map, log_density: Callable, x) -> np.ndarray:
    """Return the log density at `x` of the law that `T` takes to the given one.

    ``log rho(x) = log mu(T(x)) + log |det DT(x)|``: the likelihood of the model that T makes the data
    look like mu.

    Parameters
    ----------
    T : Map
    log_density : callable
        Log density of mu: points (n, d) to (n,); a target's method, say.
    x : array_like, shape (n, d)

    Returns
    -------
    ndarray, shape (n,)
    """
    return np.asarray(log_density(T(x))) + T.log_det(x)


def pushforward_log_density(T: Map, log_density: Callable, y) -> np.ndarray:
    """Return the log density at `y` of T(x), where x has the given log density.

    ``log mu(y) = log rho(x) - log |det DT(x)|`` with x = T^-1(y).  Parameters and shapes as in
    :func:`pullback_log_density`.
    """
    x = T.inverse(y)
    return np.asarray(log_density(x)) - T.log_det(x)


def _moments(x, name, dim=None):
    x = samples(x, name, dim=dim, at_least=2).astype(np.float64)
    cov = np.atleast_2d(np.cov(x.T))
    low, high = np.linalg.eigvalsh(cov)[[0, -1]]
    if not low > 1e-12 * high:
        raise ValueError(
            f"{name} must spread out in all {x.shape[1]} directions, got a singular covariance "
            f"(standard deviations along its axes from {max(low, 0) ** 0.5:.3g} to {max(high, 0) ** 0.5:.3g})"
        )
    return x.mean(axis=0), cov


def _root(symmetric):
    """Symmetric square root of a symmetric positive matrix."""
    value, vector = np.linalg.eigh(symmetric)
    return (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T
