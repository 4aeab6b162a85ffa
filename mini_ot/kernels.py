"""Kernels k(x, y), and the means of their values, gradients and Hessians over a cloud.  Chapter 11.

A kernel turns a cloud y into a smooth function x -> mean_j k(x, y_j), whose gradient moves particles.
The loops over all pairs are in ``_pairs.py``.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from . import _pairs
from ._validate import positive, two_clouds


class _Kernel:
    """What all kernels share; a kernel is a weighted sum of `parts` that are radial."""

    @property
    def parts(self):
        """Weights and radial kernels that this kernel is the sum of."""
        return ((1.0, self),)

    def __call__(self, x, y) -> np.ndarray:
        """Return the table of all k(x_i, y_j), shape (n, m), in O(n m) memory: for teaching and small n."""
        return self._total(_pairs.table, x, y)

    def mean(self, x, y) -> np.ndarray:
        """Return mean_j k(x_i, y_j), shape (n,), in O(n) memory."""
        return self._total(_pairs.values, x, y, mean=True)

    def gradient(self, x, y) -> np.ndarray:
        """Return mean_j grad_x k(x_i, y_j), shape (n, d), in O(n) memory."""
        return self._total(_pairs.gradients, x, y, mean=True)

    def hessian(self, x, y) -> np.ndarray:
        """Return mean_j D^2_x k(x_i, y_j), shape (n, d, d), in O(n) memory."""
        return self._total(_pairs.hessians, x, y, mean=True)

    def _total(self, operation, x, y, mean=False):
        x, y = two_clouds(x, y)
        dtype = np.result_type(x, y)
        x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
        total = sum(w * operation(k.kind, k.bandwidth, x, y) for w, k in self.parts)
        return (total / len(y) if mean else total).astype(dtype, copy=False)


@dataclass(frozen=True)
class Gaussian(_Kernel):
    """exp(-|x - y|^2 / (2 h^2))."""

    bandwidth: float
    kind: ClassVar[int] = _pairs.GAUSSIAN
    at_zero: ClassVar[float] = 1.0

    def __post_init__(self):
        object.__setattr__(self, "bandwidth", positive(self.bandwidth, "bandwidth"))


@dataclass(frozen=True)
class Laplace(Gaussian):
    """exp(-|x - y| / h)."""

    kind: ClassVar[int] = _pairs.LAPLACE


@dataclass(frozen=True)
class InverseMultiquadric(Gaussian):
    """1 / sqrt(1 + |x - y|^2 / h^2)."""

    kind: ClassVar[int] = _pairs.MULTIQUADRIC


@dataclass(frozen=True)
class Energy(_Kernel):
    """-|x - y|: conditionally positive definite; no bandwidth to choose."""

    bandwidth: ClassVar[float] = 1.0
    kind: ClassVar[int] = _pairs.ENERGY
    at_zero: ClassVar[float] = 0.0


@dataclass(frozen=True)
class Mixture(_Kernel):
    """sum_l weights_l k_l: several widths at once."""

    kernels: tuple
    weights: tuple | None = None

    def __post_init__(self):
        kernels = tuple(self.kernels)
        if not kernels or not all(isinstance(k, _Kernel) for k in kernels):
            raise TypeError(f"kernels must be a list of kernels, got {self.kernels!r}")
        weights = [1 / len(kernels)] * len(kernels) if self.weights is None else self.weights
        weights = tuple(positive(w, "weight") for w in weights)
        if len(weights) != len(kernels):
            raise ValueError(f"weights must be as many as kernels, got {len(weights)} and {len(kernels)}")
        object.__setattr__(self, "kernels", kernels)
        object.__setattr__(self, "weights", weights)

    @property
    def parts(self):
        """Weights and radial kernels that this kernel is the sum of."""
        return tuple((w * v, k) for w, kernel in zip(self.weights, self.kernels) for v, k in kernel.parts)

    @property
    def at_zero(self) -> float:
        """k(x, x)."""
        return sum(w * k.at_zero for w, k in self.parts)

    @property
    def bandwidth(self) -> tuple:
        """The bandwidth of every part."""
        return tuple(k.bandwidth for _, k in self.parts)
