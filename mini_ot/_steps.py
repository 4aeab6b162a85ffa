"""How far may a step of an MMD flow go?"""

from numbers import Real

import numpy as np

from ._pairs import double_sum
from ._particles import MMDStep, Witness
from ._validate import positive
from .kernels import Energy, Laplace

_CHECKED = 256  # particles at which a step of automatic size is checked for folds


def mean_within(x, kernel, unbiased=False):
    """Return the mean of k(x_i, x_j) over the pairs of different points, or over all pairs."""
    n, others = len(x), double_sum(kernel, x)
    return others / (n * (n - 1)) if unbiased else (others + n * kernel.at_zero) / n**2


class Descent:
    """Steps of a flow towards `y`: their size, and the (biased) MMD^2 that each leaves.

    A step without noise that makes the MMD^2 rise is halved.  Automatic sizes start where they are safe, and
    grow while the MMD^2 falls by a tenth of what its slope promises and no particle that is checked folds.
    """

    def __init__(self, x, y, step):
        self.y, self.auto = y, isinstance(step, str) and step == "auto"
        self.width = float(np.concatenate([x, y]).std(axis=0).max()) or 1.0
        self.size = None if self.auto else positive(step, "step")
        self.kernel = None

    def use(self, kernel, z):
        """Change to this kernel, and take the MMD^2 in it."""
        if self.auto:
            before = self._safe(self.kernel) if self.kernel else 1.0
            self.size = (self.size or 1.0) * self._safe(kernel) / before
        self.kernel, self.within_y = kernel, mean_within(self.y, kernel)
        self.value = self._mmd2(z)

    def _mmd2(self, z):
        between = double_sum(self.kernel, z, self.y) / (len(z) * len(self.y))
        return float(mean_within(z, self.kernel) + self.within_y - 2 * between)

    def _safe(self, kernel):
        """Return a step that is one-to-one and goes down; for a kernel with a kink the clouds' width."""
        return 0.5 / sum(w / k.bandwidth**2 for w, k in kernel.parts) if _is_smooth(kernel) else self.width

    def step(self, z, jitter=None):
        """Return a step and where it leads, or None if none goes down; gradients are taken at z + jitter."""
        w = Witness(z, self.y, self.kernel)
        slope = w.gradient(z if jitter is None else z + jitter)
        if self.auto:
            self.size = min(1.2 * self.size, self._limit(w))
        promised = 2 * (slope**2).sum() / len(z) * (0.1 if self.auto else 0.0)
        rounding = 1e-14 * (abs(self.within_y) + abs(self.kernel.at_zero))
        for _ in range(40):
            new = z - self.size * slope
            value = self._mmd2(new)
            if jitter is not None and not value <= 10 * (self.value + abs(self.within_y)):
                raise ValueError("noise and step must be smaller: the flow diverges")
            if jitter is not None or value <= self.value - self.size * promised + rounding:
                self.value = value
                return MMDStep(z, self.y, self.kernel, self.size), new
            self.size /= 2
        return None

    def _limit(self, w):
        """Return the largest step that halves no length at the particles that are checked."""
        if not _is_smooth(self.kernel):
            return np.inf
        bend = np.linalg.eigvalsh(w.hessian(w.x[:: 1 + (len(w.x) - 1) // _CHECKED])).max()
        return 0.5 / bend if bend > 0 else np.inf


def _is_smooth(kernel):
    return not any(isinstance(part, (Energy, Laplace)) for _, part in kernel.parts)


def spread(values, steps, name):
    """Return one of the values for each step, in order."""
    if not 1 <= len(values) <= steps:
        raise ValueError(f"{name} must hold at least 1 and at most {steps} (the steps), got {len(values)}")
    return [values[k * len(values) // steps] for k in range(steps)]


def noise_levels(noise, steps):
    """Return the standard deviation of the noise in each step."""
    if isinstance(noise, Real) and not isinstance(noise, bool):
        noise = noise * np.linspace(1.0, 0.0, steps, endpoint=False)
    levels = np.asarray(noise, dtype=np.float64)
    if levels.ndim != 1 or not (np.isfinite(levels) & (levels >= 0)).all():
        raise ValueError(f"noise must be a number or a sequence, finite and not negative, got {noise!r}")
    return spread(levels.tolist(), steps, "noise")
