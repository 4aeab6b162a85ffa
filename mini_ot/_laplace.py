"""The mode of a density known up to its constant, and a descent that keeps off zero density."""

import numpy as np

from .targets import StandardNormal

_MEMORY = 50  # pairs of steps and gradients that the descent keeps
_ENOUGH = 1e-10  # nats: a step that promises less than this is the last one
_FIRST = 2.0  # largest length of the first step
_HELP = "give start=(mean, cov)"


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
