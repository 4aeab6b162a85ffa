"""A log density that the user gives as a function: every call of it, and of its gradient, is checked."""

import numpy as np

from ._validate import _describe


class Frame:
    """A log density seen from affine coordinates u, x = shift + matrix u; all that it returns is checked.

    With `edges` it may be -inf, where there is no mass.
    """

    def __init__(self, log_density, score, dim, *, edges=True):
        for name, function in (("log_density", log_density), ("score", score)):
            if not callable(function) and not (name == "score" and function is None):
                raise TypeError(f"{name} must be a function of points (n, {dim}), got {_describe(function)}")
        self.log_density, self.score, self.dim, self.edges = log_density, score, dim, edges
        self.shift, self.matrix = np.zeros(dim), np.eye(dim)

    def move(self, u, matrix) -> None:
        """Put the origin at the point `u` of the frame, and multiply its matrix."""
        self.shift, self.matrix = self.points(u), self.matrix @ matrix

    def points(self, u) -> np.ndarray:
        return self.shift + u @ self.matrix.T

    def _call(self, name, u, shape):
        x = self.points(u)
        with np.errstate(all="ignore"):  # log(0) is no mass; NaN is reported below, with its place
            values = np.asarray(getattr(self, name)(x))
        if values.shape != shape or values.dtype.kind not in "fiu":
            wanted = f"{name} must return real numbers of shape {shape} for points of shape {x.shape}"
            raise ValueError(f"{wanted}, got {_describe(values)}")
        massless = self.edges and name == "log_density"
        bad = ~((values < np.inf) if massless else np.isfinite(values.reshape(len(x), -1)).all(axis=1))
        if bad.any():
            i, wanted = bad.argmax(), "finite, or -inf for no mass" if massless else "finite"
            raise ValueError(f"{name} must be {wanted}, got {values[i].tolist()} at {x[i].tolist()}")
        return values.astype(np.float64)

    def values(self, u) -> np.ndarray:
        return self._call("log_density", u, (len(u),))

    def slopes(self, u) -> np.ndarray:
        """Return the gradients in u; not finite where central differences meet an edge of the density."""
        return self.differences(u) if self.score is None else self._call("score", u, u.shape) @ self.matrix

    def differences(self, u, h=1e-5) -> np.ndarray:
        ends = np.concatenate([u + s * h * e for e in np.eye(self.dim) for s in (1, -1)])
        ends = self.values(ends).reshape(self.dim, 2, len(u))
        with np.errstate(invalid="ignore"):
            return (ends[:, 0] - ends[:, 1]).T / (2 * h)

    def check_score(self, u) -> None:
        """Compare the score with central differences at a few points; some may sit at a kink or an edge."""
        u = u[self.values(u) > -np.inf]
        if self.score is None or not len(u):
            return
        given, seen = self.slopes(u), self.differences(u)
        wrong = ~(np.abs(given - seen).max(axis=1) < 0.01 * (1 + np.abs(seen).max(axis=1)))
        if wrong.mean() > 0.5:
            i = wrong.argmax()
            given, seen = (np.linalg.solve(self.matrix.T, s[i]).tolist() for s in (given, seen))
            raise ValueError(
                f"score must be the gradient of log_density, got {given} at {self.points(u[i]).tolist()}, "
                f"where central differences are {seen}"
            )
