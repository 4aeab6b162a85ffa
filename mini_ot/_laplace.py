"""A density known up to its constant: checked calls, a descent that keeps off zero density, the mode."""

import numpy as np

from ._validate import _describe
from .targets import StandardNormal

_MEMORY = 50  # pairs of steps and gradients that the descent keeps
_ENOUGH = 1e-10  # nats: a step that promises less than this is the last one
_FIRST = 2.0  # largest length of the first step
_HELP = "give start=(mean, cov)"


class Frame:
    """A log density seen from affine coordinates u, x = shift + matrix u; all that it returns is checked."""

    def __init__(self, log_density, score, dim):
        for name, function in (("log_density", log_density), ("score", score)):
            if not callable(function) and not (name == "score" and function is None):
                raise TypeError(f"{name} must be a function of points (n, {dim}), got {_describe(function)}")
        self.log_density, self.score, self.dim = log_density, score, dim
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
        bad = ~((values < np.inf) if name == "log_density" else np.isfinite(values).all(axis=1))
        if bad.any():
            i, wanted = bad.argmax(), "finite, or -inf for no mass" if name == "log_density" else "finite"
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


class Descent:
    """L-BFGS with halved steps; `at` and `value` are good whenever it is left, even by an interrupt.

    A value of infinity is a place not to step to.  No step is longer than `growth` times the one before.
    """

    def __init__(self, function, at, growth):
        self.function, self.at, self.pairs, self.stopped = function, at, [], ""
        self.longest, self.growth = _FIRST, growth
        self.value, self.gradient = function(at)

    def _direction(self):
        q, shares = -self.gradient, []
        for s, y in reversed(self.pairs):
            shares.append(s @ q / (s @ y))
            q = q - shares[-1] * y
        if self.pairs:
            s, y = self.pairs[-1]
            q = q * (s @ y) / (y @ y)
        for (s, y), share in zip(self.pairs, reversed(shares), strict=True):
            q = q + (share - y @ q / (s @ y)) * s
        return q * min(1.0, self.longest / max(np.linalg.norm(q), 1e-300))

    def step(self) -> bool:
        """Take a step; without one, say why in `stopped` and return False."""
        way = self._direction()
        fall, size = -self.gradient @ way, 1.0
        if fall <= _ENOUGH:
            self.stopped = "converged"
            return False
        for _ in range(40):
            at = self.at + size * way
            value, gradient = self.function(at)
            if value <= self.value - 1e-4 * size * fall:
                break
            size /= 2
        else:
            met = "log_density is -inf at all points tried" if value == np.inf else "no step leads down"
            self.stopped = "converged" if fall < 1e-6 else f"stuck, as {met}"
            return False
        s, y = at - self.at, gradient - self.gradient
        if s @ y > 1e-10 * np.sqrt((s @ s) * (y @ y)):
            self.pairs = [*self.pairs, (s, y)][-_MEMORY:]
        self.at, self.value, self.gradient = at, value, gradient
        self.longest *= self.growth
        return True


def laplace(frame) -> None:
    """Move the frame to the mode, and scale it by the second derivative there."""
    d = frame.dim
    u = np.r_[np.zeros((1, d)), StandardNormal(d).spread(64, 0)]
    found = frame.values(u)
    if found.max() == -np.inf:
        raise ValueError(f"log_density must not be -inf at all of 65 points round the origin: {_HELP}")
    frame.move(u[found.argmax()], np.eye(d))
    _fit_axes(frame, top=False)
    frame.check_score(u[:20])

    def loss(u):
        value, slope = frame.values(u[None])[0], frame.slopes(u[None])[0]
        return (-value, -slope) if value > -np.inf and np.isfinite(slope).all() else (np.inf, None)

    descent = Descent(loss, np.zeros(d), growth=2.0)
    for _ in range(500):
        if not descent.step():
            break
    frame.move(descent.at, np.eye(d))
    if descent.stopped != "converged":
        why = descent.stopped or "still rising after 500 steps"
        raise ValueError(f"log_density must have a mode, got {why} at {frame.shift.tolist()}: {_HELP}")
    for h in (0.1, 0.03, 0.01):
        _fit_axes(frame)
        slopes = frame.slopes(np.r_[h * np.eye(d), -h * np.eye(d), np.zeros((1, d))])
        bend = (slopes[d:-1] - slopes[:d]) / (4 * h)
        value, axes = np.linalg.eigh(bend + bend.T) if np.isfinite(bend).all() else (np.zeros(d), np.eye(d))
        if value[0] > 0.05 and bend.diagonal().max() < 2:  # half the bend; a normal's is 0.2 to 1.4 here
            step = axes @ (axes.T @ slopes[-1] / value)
            frame.move(step * (np.abs(step).max() < 0.1), axes / np.sqrt(value))
        else:  # a flat top, a kink or a long ridge: measure along the main directions
            frame.move(np.zeros(d), axes)
            _fit_axes(frame)
    frame.matrix = np.linalg.cholesky(frame.matrix @ frame.matrix.T)


def _fit_axes(frame, top=True):
    """Scale the axes so that a step of one along each changes the log density by about a half.

    At the `top` the change must be a fall.
    """
    d = frame.dim
    here, width, factor = frame.values(np.zeros((1, d)))[0], np.ones(d), 4.0
    goal = 0.5 + 1e-8 * abs(here)  # far from the mode, changes must be seen above the rounding
    for _ in range(60):
        there = frame.values(np.r_[np.diag(width), -np.diag(width)]).reshape(2, d).max(axis=0)
        share = np.clip(np.abs(there - here) / goal, 1e-30, 1e30)
        if (abs(np.log(share)) < 1).all() and not (top and (there > here).any()):
            frame.matrix = frame.matrix * width
            return
        width *= np.clip(share**-0.5, 1 / factor, factor)
        factor **= 0.97  # against cycles
    raise ValueError(
        f"log_density must rise to a mode and fall beyond it, got changes {(there - here).tolist()} from "
        f"{frame.shift.tolist()} to the points {frame.points(np.diag(width)).tolist()}: {_HELP}"
    )
