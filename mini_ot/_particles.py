"""Maps that follow stored clouds of particles: what the flows of ``mmd.py`` return."""

import numpy as np

from ._validate import samples
from .maps import Composition, SmoothMap


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


class MMDStep(SmoothMap):
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


class MMDFlow(Composition):
    """What :func:`mini_ot.mmd_flow` returns: a Map of new points, and the way of the particles.

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
