"""Kernels k(x, y), and the means of their values, gradients and Hessians over a cloud.  Chapter 11.

A kernel turns a cloud y into the function x -> mean_j k(x, y_j), and its gradient moves particles.
The loops over all pairs are in ``_pairs.py``, the grid of ``method="grid"`` in ``_grid.py``.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from . import _grid, _pairs
from ._validate import positive, two_clouds


class _Kernel:
    """What all kernels share; a kernel is a weighted sum of parts, each a function of ``|x - y| / h``.

    Two clouds in float32 give float32 (error about 1e-7 of the largest result), any others float64.
    Memory is O(n + m), except in ``kernel(x, y)`` itself.
    """

    @property
    def parts(self) -> tuple:
        """Pairs (weight, kernel): what this kernel is the sum of."""
        return ((1.0, self),)

    def __call__(self, x, y) -> np.ndarray:
        """Return the table of all k(x_i, y_j), shape (n, m): O(n m) memory, for teaching and small clouds."""
        x, y = two_clouds(x, y)
        return sum(weight * _pairs.table(k.kind, k.bandwidth, x, y) for weight, k in self.parts)

    def mean(self, x, y, *, method: str = "exact") -> np.ndarray:
        """Return mean_j k(x_i, y_j), shape (n,).

        Parameters
        ----------
        x, y : array_like, shapes (n, d) and (m, d)
        method : {"exact", "grid"}
            All n m pairs, or near-linear time for Gaussians in the plane.  The grid's error is at most 1e-5,
            where the kernel's largest value is 1; in a gradient at most 1e-5 / h in each component.
            A grid of over four million nodes (a box 300 bandwidths wide) is not built: exact, with a warning.
        """
        return self._mean(_pairs.values, _grid.values, x, y, method)

    def gradient(self, x, y, *, method: str = "exact") -> np.ndarray:
        """Return mean_j grad_x k(x_i, y_j), shape (n, d); `method` as in :meth:`mean`.

        Laplace and Energy have no gradient at x_i = y_j: that pair counts as 0.
        """
        return self._mean(_pairs.gradients, _grid.gradients, x, y, method)

    def hessian(self, x, y) -> np.ndarray:
        """Return mean_j D^2_x k(x_i, y_j), shape (n, d, d); a pair x_i = y_j counts as 0 as in `gradient`."""
        return self._mean(_pairs.hessians, None, x, y, "exact")

    def _mean(self, exact, grid, x, y, method):
        x, y = two_clouds(x, y)
        if method not in ("exact", "grid"):
            raise ValueError(f"method must be 'exact' or 'grid', got {method!r}")
        total = 0.0
        for weight, k in self.parts:
            sums = exact if method == "exact" or _without_grid(k, y) else grid
            total += weight * sums(k.kind, k.bandwidth, x, y)
        return (total / len(y)).astype(np.result_type(x, y), copy=False)


def _without_grid(k, y):
    """Whether the grid would be too big; an error where there is none."""
    if k.kind != _pairs.GAUSSIAN or y.shape[1] != 2:
        raise ValueError(f"method 'grid' is for Gaussian kernels in the plane, got {k} in {y.shape[1]}-D")
    if not _grid.too_big(k.bandwidth, y):
        return False
    text = f"the grid for {k} would have more than {_grid.MOST_NODES} nodes: using method 'exact'"
    warnings.warn(text, stacklevel=4)
    return True


@dataclass(frozen=True)
class _OneWidth(_Kernel):
    bandwidth: float
    at_zero: ClassVar[float] = 1.0  # k(x, x)

    def __post_init__(self):
        h = positive(self.bandwidth, "bandwidth")
        if not 1e-30 <= h <= 1e30:
            raise ValueError(f"bandwidth must be between 1e-30 and 1e30, got {h}; rescale the data")
        object.__setattr__(self, "bandwidth", h)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.bandwidth:g})"


class Gaussian(_OneWidth):
    """The kernel ``exp(-|x - y|^2 / (2 h^2))``: smooth, and blind beyond a few bandwidths.

    Parameters
    ----------
    bandwidth : float
        The length h.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.Gaussian(1.0)([[0.0, 0.0]], [[0.0, 0.0], [3.0, 4.0]]).round(6).tolist()
    [[1.0, 4e-06]]
    >>> mo.Gaussian(1.0).gradient([[1.0]], [[0.0], [2.0]]).tolist()
    [[0.0]]
    """

    kind: ClassVar[int] = _pairs.GAUSSIAN


class Laplace(_OneWidth):
    """The kernel ``exp(-|x - y| / h)``: a kink at 0 that keeps the finest details, and a longer reach."""

    kind: ClassVar[int] = _pairs.LAPLACE


class InverseMultiquadric(_OneWidth):
    """The kernel ``1 / sqrt(1 + |x - y|^2 / h^2)``: smooth, feels far points by ``h / |x - y|``."""

    kind: ClassVar[int] = _pairs.MULTIQUADRIC


@dataclass(frozen=True)
class Energy(_Kernel):
    """The kernel ``-|x - y|``: its MMD^2 is the energy distance; no bandwidth, and no point is too far.

    It is positive definite only on weights that sum to zero, as those of a difference of two clouds do.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.Energy()([[0.0, 0.0]], [[3.0, 4.0]]).tolist()
    [[-5.0]]
    """

    bandwidth: ClassVar[float] = 1.0
    kind: ClassVar[int] = _pairs.ENERGY
    at_zero: ClassVar[float] = 0.0


@dataclass(frozen=True)
class Mixture(_Kernel):
    """The kernel sum_l w_l k_l: several widths at once, so that no single one must be right.

    Parameters
    ----------
    kernels : sequence of kernels
    weights : sequence of positive numbers, optional
        1 / (number of kernels) each unless given.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.Mixture([mo.Gaussian(0.5), mo.Gaussian(2.0)])
    Mixture([Gaussian(0.5), Gaussian(2)], weights=[0.5, 0.5])
    """

    kernels: tuple
    weights: tuple | None = None

    def __post_init__(self):
        kernels = tuple(self.kernels) if np.iterable(self.kernels) else ()
        if not kernels or not all(isinstance(k, _Kernel) for k in kernels):
            raise TypeError(f"kernels must be a sequence of mini_ot's kernels, got {self.kernels!r}")
        weights = (1 / len(kernels),) * len(kernels) if self.weights is None else tuple(self.weights)
        if len(weights) != len(kernels):
            raise ValueError(f"weights must be as many as kernels, got {len(weights)} and {len(kernels)}")
        object.__setattr__(self, "kernels", kernels)
        object.__setattr__(self, "weights", tuple(positive(w, "each weight") for w in weights))

    @property
    def parts(self) -> tuple:
        """Pairs (weight, kernel): what this kernel is the sum of."""
        pairs = zip(self.weights, self.kernels, strict=True)
        return tuple((outer * inner, k) for outer, kernel in pairs for inner, k in kernel.parts)

    @property
    def bandwidth(self) -> tuple:
        """The bandwidths of the parts."""
        return tuple(k.bandwidth for _, k in self.parts)

    @property
    def at_zero(self) -> float:
        """k(x, x)."""
        return sum(weight * k.at_zero for weight, k in self.parts)

    def __repr__(self) -> str:
        return f"Mixture({list(self.kernels)}, weights=[{', '.join(f'{w:g}' for w in self.weights)}])"
