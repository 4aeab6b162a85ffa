"""Maps that follow stored clouds of particles: what the flows of ``mmd.py`` return."""

import numpy as np

from ._validate import samples
from .maps import Composition, Map


class Witness:
    """The function ``w(z) = mean_i k(x_i, z) - mean_j k(y_j, z)``, large where x has more mass than y.

    Call it on points (n, d) to get (n,); ``.gradient`` gives (n, d) and ``.hessian`` (n, d, d).
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, kernel):
        self.x, self.y, self.kernel = x, y, kernel

    def __call__(self, points) -> np.ndarray:
        """Return w at `points`, shape (n,)."""
        return self._difference(self.kernel.mean, points)

    def gradient(self, points) -> np.ndarray:
        """Return the gradient of w at `points`, shape (n, d)."""
        return self._difference(self.kernel.gradient, points)

    def hessian(self, points) -> np.ndarray:
        """Return the second derivatives of w at `points`, shape (n, d, d)."""
        return self._difference(self.kernel.hessian, points)

    def _difference(self, function, points):
        points = samples(points, "points", dim=self.x.shape[1])
        return function(points, self.x) - function(points, self.y)


class MMDStep(Map):
    """One step ``z -> z - step * grad w(z)`` of an MMD flow, w the witness of its `particles` and `y`.

    Attributes
    ----------
    particles : ndarray, shape (n, d)
        Where the flow's particles were before the step.
    step : float
    """

    def __init__(self, particles, y, kernel, step):
        super().__init__(particles.shape[1])
        self.particles, self.y, self.kernel, self.step = particles, y, kernel, step

    @property
    def witness(self) -> Witness:
        return Witness(self.particles, self.y, self.kernel)

    def _forward(self, x):
        return x - self.step * self.witness.gradient(x)

    def _jacobian(self, x):
        return np.eye(self.dim) - self.step * self.witness.hessian(x)

    def _log_det(self, x):
        stretch = np.linalg.eigvalsh(self._jacobian(x))
        if not (stretch > 0).all():
            raise ValueError(
                f"step must be smaller for a log-determinant: one of size {self.step:.3g} folds the space "
                f"at {x[stretch.min(axis=1).argmin()].tolist()}"
            )
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
                f"y must be an image of this flow, got {at}: its step of size {self.step:.3g} folds the "
                f"space or jumps there (small steps of a smooth kernel do not)"
            )
        return x


def _solve(matrices, vectors):
    """Solve each system; a singular one is replaced by the identity, and the caller's halving takes care."""
    try:
        return np.linalg.solve(matrices, vectors[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return vectors.copy()


class MMDFlow(Composition):
    """What :func:`mmd_flow` returns: a Map of new points, and the way of the particles.

    Attributes
    ----------
    particles : ndarray, shape (n, d)
        Where the flow's own particles arrived.
    trajectory : ndarray, shape (steps + 1, n, d)
        Where they were, from the start to the end.
    """

    def __init__(self, steps, particles, history):
        super().__init__(steps, history)
        self.particles = particles

    @property
    def trajectory(self) -> np.ndarray:
        return np.stack([*(step.particles for step in self.steps), self.particles])
