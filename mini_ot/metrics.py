"""How far apart are two clouds?  Distances, and the floor of noise below which they mean nothing.

Chapter 1.  Every number is given with what two fresh samples of the same law would show.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from ._pairs import double_sum
from ._progress import progress
from ._validate import count, generator, samples, two_clouds
from .density import Density
from .discrete import w2
from .kernels import Energy


def energy_distance(x, y, *, unbiased: bool = True) -> float:
    """Return the energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|`` between two clouds.

    It is zero exactly when both laws agree, and it is the squared MMD of the kernel ``-|x - y|``
    (chapter 11).

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Samples; at least two each for the unbiased estimate.
    unbiased : bool
        Leave out the pairs of a point with itself (mean zero when the laws agree, so it can be negative), or
        keep them (never negative, too large by about (E|x - x'| / n + E|y - y'| / m)).

    Returns
    -------
    float
        In the units of the data.

    Raises
    ------
    ValueError
        If the clouds differ in dimension, hold NaN or infinity, or have too few samples.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.energy_distance([[0.0], [0.0]], [[1.0], [1.0]])
    2.0

    References
    ----------
    Szekely and Rizzo (2013), equation 1.
    """
    x, y = two_clouds(x, y, at_least=2 if unbiased else 1)
    x, y = x.astype(np.float64), y.astype(np.float64)
    n, m, own = len(x), len(y), int(unbiased)
    kernel = Energy()
    within = double_sum(kernel, x) / (n * (n - own)) + double_sum(kernel, y) / (m * (m - own))
    return within - 2 * double_sum(kernel, x, y) / (n * m)


def sliced_w2(x, y, *, slices: int = 100, rng=0) -> float:
    """Return the sliced Wasserstein distance: W2 of one-dimensional projections, averaged.

    The square root of the mean over random directions of the squared one-dimensional W2, which sorting
    gives: n log n time, where the exact W2 takes n^3.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
    slices : int
        Random directions.
    rng : int, numpy.random.Generator or None
        Seed of the directions (the default fixes them, so that two calls can be compared).

    Returns
    -------
    float

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.sliced_w2([[0.0], [1.0]], [[2.0], [3.0]])
    2.0

    References
    ----------
    Rabin, Peyre, Delon and Bernot (2012); Bonneel, Rabin, Peyre and Pfister (2015).
    """
    x, y = two_clouds(x, y)
    direction = generator(rng).standard_normal((count(slices, "slices"), x.shape[1]))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    total = 0.0
    for one in direction:
        total += _w2_squared_sorted(np.sort(x @ one), np.sort(y @ one))
    return float(np.sqrt(total / slices))


def _w2_squared_sorted(x, y):
    """Squared W2 of two sorted samples: the integral of the squared gap between their quantile functions."""
    if len(x) == len(y):
        return ((x - y) ** 2).mean()
    n, m = len(x), len(y)
    level = np.union1d(np.arange(1, n + 1) / n, np.arange(1, m + 1) / m)
    width = np.diff(level, prepend=0.0)
    middle = level - width / 2
    gap = x[np.minimum((middle * n).astype(int), n - 1)] - y[np.minimum((middle * m).astype(int), m - 1)]
    return (width * gap**2).sum()


class NoiseFloor(NamedTuple):
    """What a distance shows between two fresh samples of one law: its mean and its 95 % quantile."""

    mean: float
    quantile: float


def noise_floor(target, n: int, measure: Callable, *, repeats: int = 20, rng=0) -> NoiseFloor:
    """Measure the distance between pairs of fresh samples of `target`: a perfect model shows no less.

    Parameters
    ----------
    target : object with ``.sample(n, rng)``
    n : int
        Samples in each cloud.
    measure : callable
        ``measure(x, y) -> float``, :func:`energy_distance` say.
    repeats : int
        Pairs of samples, at least 2.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    NoiseFloor
        Named tuple ``(mean, quantile)``; the quantile is the 95 % one.

    Examples
    --------
    >>> import mini_ot as mo
    >>> floor = mo.noise_floor(mo.Banana(), 200, mo.energy_distance)
    >>> bool(abs(floor.mean) < floor.quantile)
    True
    """
    rng, n, repeats = generator(rng), count(n, "n"), count(repeats, "repeats", at_least=2)
    if not callable(measure):
        raise TypeError(f"measure must be a function of two clouds, got {type(measure).__name__}")
    pairs = progress(range(repeats), label="noise floor")
    values = [measure(target.sample(n, rng=rng), target.sample(n, rng=rng)) for _ in pairs]
    return NoiseFloor(float(np.mean(values)), float(np.quantile(values, 0.95)))


class Comparison(NamedTuple):
    """One line of :func:`compare`: a distance and the floor to hold it against."""

    name: str
    value: float
    floor: NoiseFloor

    @property
    def inside(self) -> bool:
        """Whether the value is one that two true samples would show (at most the 95 % quantile)."""
        return self.value <= self.floor.quantile


class ComparisonTable(tuple):
    """Lines of :class:`Comparison`; prints as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        lines = [f"{'distance':<16}{'value':>10}{'floor':>10}{'95 %':>10}  verdict"]
        for c in self:
            verdict = (
                "as good as the truth" if c.inside else f"{c.value / c.floor.quantile:.1f} x the 95 % floor"
            )
            lines.append(
                f"{c.name:<16}{c.value:>10.4f}{c.floor.mean:>10.4f}{c.floor.quantile:>10.4f}  {verdict}"
            )
        return "\n".join(lines)


def compare(x, target, *, n_exact: int = 500, repeats: int = 20, rng=0) -> ComparisonTable:
    """Compare samples with a known target by three distances, each beside its noise floor.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Samples of a model, at least 10.
    target : object with ``.sample(n, rng)``
        The truth; as many fresh samples of it are drawn.
    n_exact : int
        Points used for the exact W2, whose cost grows like their cube.
    repeats : int
        Pairs of true samples behind each floor.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    ComparisonTable
        Three lines with ``.name``, ``.value``, ``.floor`` and ``.inside``.
    """
    x, rng = samples(x, "x", at_least=10), generator(rng)
    few = min(len(x), count(n_exact, "n_exact", at_least=2))
    truth = target.sample(len(x), rng=rng)
    subset = rng.permutation(len(x))[:few]
    lines = []
    for name, measure, n in (
        ("energy distance", energy_distance, len(x)),
        ("sliced W2", sliced_w2, len(x)),
        (f"W2 ({few} points)", w2, few),
    ):
        value = measure(x[subset], truth[:few]) if n < len(x) else measure(x, truth)
        lines.append(Comparison(name, value, noise_floor(target, n, measure, repeats=repeats, rng=rng)))
    return ComparisonTable(lines)


def crps(density: Density, z) -> np.ndarray:
    """Return the continuous ranked probability score of a one-dimensional forecast, smaller is better.

    CRPS = E|X - z| - E|X - X'| / 2 = integral of (F(t) - 1{t >= z})^2 dt: the energy distance of the
    forecast to what happened, halved.  It is in the units of the data; a sure forecast scores its error.

    Parameters
    ----------
    density : Density
        One-dimensional, from :func:`kde` or ``conditional_kde(...).given(y)``.
    z : array_like, shape (n,)
        What happened.

    Returns
    -------
    ndarray, shape (n,)

    References
    ----------
    Matheson and Winkler (1976); Gneiting and Raftery (2007), section 4.2; closed form for mixtures of
    Gaussians: Grimit, Gneiting, Berrocal and Johnson (2006).
    """
    if not isinstance(density, Density):
        raise TypeError(f"density must be a mini_ot Density, got {type(density).__name__}")
    density._must_be_1d("crps")
    z = samples(z, "z", dim=1)[:, 0]
    centre, weight, h = density.centres[:, 0], density.weights, density.bandwidth[0]
    distance = np.empty(len(z))  # E|X - z|, a sum of closed forms
    for i, one in enumerate(z):
        u = (one - centre) / h
        distance[i] = h * weight @ (u * (2 * ndtr(u) - 1) + np.sqrt(2 / np.pi) * np.exp(-0.5 * u**2))
    # E|X - X'| is twice the integral of F (1 - F).  On a grid of half a bandwidth the trapezoid rule has
    # converged to rounding: its error is of order exp(-pi^2 (h / step)^2).
    F = density.cdf(np.arange(centre.min() - 9 * h, centre.max() + 9 * h, h / 2))
    return distance - 0.5 * h * (F * (1 - F)).sum()
