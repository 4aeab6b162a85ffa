"""Triangular maps from samples: one increasing component per coordinate, by maximum likelihood.  Chapter 3.

T takes the law of the samples to N(0, I), and its k-th component depends on x_1 ... x_k only
(Knothe and Rosenblatt).  Then det DT is a product, the likelihood splits into one problem per component,
the inverse goes coordinate by coordinate, and the later components alone give conditional laws.
"""

import warnings
from functools import partial

import numpy as np

from ._monotone import Component
from ._progress import progress as progress_bar
from ._triangular_fit import climb, summed
from ._validate import column_spread, count, generator, one_of, same_rows, samples, split, vector
from .density import LOG_2PI
from .maps import Map, _moments
from .targets import Target

_HIGHEST = 12  # degree that "auto" tries
_RANGE = 5.0  # standard deviations beyond which maps are linear, even where there are samples
_MARGIN = 1.0  # standard deviations outside the samples beyond which maps follow the affine one
_PRIOR_RANGE = 4.0  # standard deviations within which they do not: there the prior's points lie


class TriangularMap(Map):
    """An increasing triangular map: what :func:`triangular_map` returns.

    Attributes
    ----------
    degree : int
        Total degree of the polynomials, the largest over the components.
    degrees : tuple of int
        That of each component.
    coefficients : list of ndarray
        One vector per component: first those of c, then those of h.
    """

    def __init__(self, components, coefficients, mean, scale, *, given=(), history=None, stopped=""):
        super().__init__(len(components), history, stopped)
        self.components, self.coefficients, self.mean, self.scale = components, coefficients, mean, scale
        self.degrees = tuple(component.degree for component in components)
        self.degree = max(self.degrees)
        self._given = np.asarray(given, dtype=np.float64)  # what stands for the columns before the first

    def _standard(self, x):
        return (np.hstack([np.tile(self._given, (len(x), 1)), x]) - self.mean) / self.scale

    def _evaluate(self, u):
        """Return the components' values (n, d) at standardised points, and the log-determinant (n,)."""
        parts = zip(self.components, self.coefficients, strict=True)
        value, slope = np.stack([part.evaluate(u, coefficients) for part, coefficients in parts], axis=2)
        return value, np.log(slope).sum(axis=1) - np.log(self.scale[-self.dim :]).sum()

    def _forward(self, x):
        return self._evaluate(self._standard(x))[0]

    def _log_det(self, x):
        return self._evaluate(self._standard(x))[1]

    def _inverse(self, y):
        u = self._standard(np.zeros(y.shape))
        for j, part in enumerate(self.components):
            u[:, j - self.dim] = part.solve(u, y[:, j], self.coefficients[j])
        x = (self.mean + self.scale * u)[:, -self.dim :]
        if not np.isfinite(x).all():
            row, column = np.argwhere(~np.isfinite(x))[0]
            raise ValueError(
                f"y must have a finite preimage, got {y[row].tolist()}: column {column} of it overflows"
            )
        return x


def triangular_map(
    x, *, degree="auto", held_out: float = 0.2, rng=None, progress: bool = True
) -> TriangularMap:
    """Fit an increasing triangular map from the law of samples to N(0, I), by maximum likelihood.

    Component k is ``c(x_<k) + integral from 0 to x_k of g(h(x_<k, t)) dt`` in standardised columns, with
    polynomials c and h of total degree p and p - 1, and g = log(1 + exp).

    Parameters
    ----------
    x : array_like, shape (n, d)
        Samples; the order of the columns matters.
    degree : int or "auto"
        Degree p >= 1 of all components.  "auto" tries 1, 2, 3, ... (12 at most), for each component on its
        own, until its held-out likelihood has not risen by two standard errors for four degrees.
    held_out : float
        Share of the samples on which degrees are judged; in the end all samples are fitted.
        It may be 0 where the degree is given.
    rng : int, numpy.random.Generator or None
        Draws the held-out share.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    TriangularMap
        Its `history` has ``degree``, those tried, and ``training`` and ``held_out``, the mean log-likelihoods
        of both shares in nats per sample.  A component that has stopped counts with its best degree.

    Raises
    ------
    ValueError
        If the samples hold NaN or infinity, are too few for the degree, have a constant column or a singular
        covariance, or an option is out of its range.

    Warns
    -----
    UserWarning
        If interrupted (Ctrl+C): the map so far is returned.

    Notes
    -----
    The slope g(h) is taken at knots a tenth of a standard deviation apart and is linear between them, so that
    integral, log-determinant and inverse are exact; outside the range of the samples the map is linear.
    From one standard deviation outside it (four from the mean, if that is more) it follows the affine map of
    the samples, lest the inverse, which feeds each coordinate into the next, run away: x_k is moved with
    the earlier coordinates by linear regression, and the slope in x_k rises to the affine one where less.
    Points of the Gaussian with the samples' moments count three thousandths, as a prior, so that polynomials
    do not run away in holes, and the likelihood is bounded even on samples of a curve.
    It is not concave: the maximum found is a local one.

    Examples
    --------
    >>> import mini_ot as mo
    >>> T = mo.triangular_map(mo.Banana().sample(2000, rng=0), rng=1)
    >>> T.degrees
    (1, 2)
    >>> fresh = T.inverse(mo.StandardNormal().sample(5, rng=2))

    References
    ----------
    Marzouk, Moselhy, Parno and Spantini (2016); Baptista, Marzouk and Zahm (2024).
    """
    x = samples(x, "x", at_least=2).astype(np.float64)
    column_spread(x, "x")
    return _learn(x, "x", 0, degree, held_out, rng, progress)


class ConditionalLaw(Target):
    """The law of z given one y: what ``ConditionalMap.given(y)`` returns.

    Attributes
    ----------
    map : TriangularMap
        It takes this law to N(0, I).
    """

    def __init__(self, T):
        self.map, self.dim = T, T.dim
        box = T.mean[:, None] + T.scale[:, None] * np.c_[T.components[-1].low, T.components[-1].high]
        self.bounds = tuple(map(tuple, box[-T.dim :].tolist()))

    def _sample(self, n, rng):
        return self.map._inverse(rng.standard_normal((n, self.dim)))

    def _log_density(self, x):
        return _pulled_back(*self.map._evaluate(self.map._standard(x)))


class ConditionalMap:
    """Maps from the law of z given y to N(0, I), one for each y: what :func:`conditional_map` returns.

    Attributes
    ----------
    degree, degrees, coefficients, history, stopped
        As those of a :class:`mini_ot.TriangularMap`, of the components of z alone.
    """

    def __init__(self, T):
        self._map, self._p = T, len(T.mean) - T.dim
        self.degree, self.degrees, self.coefficients = T.degree, T.degrees, T.coefficients
        self.history, self.stopped = T.history, T.stopped

    def given(self, y) -> ConditionalLaw:
        """Return the law of z at one covariate vector `y` of shape (p,)."""
        y, T = vector(y, "y", self._p), self._map
        return ConditionalLaw(TriangularMap(T.components, T.coefficients, T.mean, T.scale, given=y))

    def sample(self, y, n: int, rng=None) -> np.ndarray:
        """Draw `n` samples of z given one `y` of shape (p,), as shape (n, q)."""
        return self.given(y).sample(n, rng=rng)

    def log_density(self, z, y) -> np.ndarray:
        """Return log rho(z_i | y_i) for outcomes `z` (n, q) and covariates `y` (n, p), as shape (n,)."""
        z, y = samples(z, "z", dim=self._map.dim), samples(y, "y", dim=self._p)
        same_rows(z, y)
        return _pulled_back(*self._map._evaluate((np.hstack([y, z]) - self._map.mean) / self._map.scale))

    def __repr__(self) -> str:
        return f"ConditionalMap({self._map.dim} outcomes, {self._p} covariates, degree {self.degree})"


def conditional_map(
    z, y, *, degree="auto", held_out: float = 0.2, rng=None, progress: bool = True
) -> ConditionalMap:
    """Fit the law of outcomes z given covariates y: the later block of a triangular map of (y, z).

    Parameters
    ----------
    z : array_like, shape (n,) or (n, q)
        Outcomes.
    y : array_like, shape (n,) or (n, p)
        Covariates, one row per outcome; their own law is not modelled.
    degree, held_out, rng, progress
        As for :func:`mini_ot.triangular_map`.

    Returns
    -------
    ConditionalMap

    Raises
    ------
    ValueError
        As :func:`mini_ot.triangular_map`, or if the rows of z and y differ in number.

    Examples
    --------
    >>> import mini_ot as mo
    >>> x = mo.Banana().sample(2000, rng=0)
    >>> forecast = mo.conditional_map(x[:, 1], x[:, 0], rng=1)
    >>> bool(abs(forecast.sample([1.0], 4000, rng=2).mean() - 1.0) < 0.1)
    True

    References
    ----------
    Marzouk, Moselhy, Parno and Spantini (2016), section 6.
    """
    z, y = (samples(v, name, at_least=2).astype(np.float64) for v, name in ((z, "z"), (y, "y")))
    same_rows(z, y)
    column_spread(y, "y"), column_spread(z, "z")
    p = y.shape[1]
    return ConditionalMap(_learn(np.hstack([y, z]), "y and z together", p, degree, held_out, rng, progress))


def _pulled_back(value, log_det):
    return log_det - 0.5 * (value**2).sum(axis=1) - 0.5 * value.shape[1] * LOG_2PI


def _families(u):
    """Return for each column what makes its component of a given degree."""
    low, high = u.min(axis=0), u.max(axis=0)
    box = np.maximum(low, -_RANGE), np.minimum(high, _RANGE)
    ends = np.minimum(low - _MARGIN, -_PRIOR_RANGE), np.maximum(high + _MARGIN, _PRIOR_RANGE)
    affine = np.linalg.inv(np.linalg.cholesky(u.T @ u / len(u)))

    def family(k, degree):
        return Component(box[0][:k], box[1][:k], degree, np.array(ends)[:, :k], affine[k - 1, :k])

    return [partial(family, k + 1) for k in range(len(low))]


def _learn(x, name, first, degree, held_out, rng, show) -> TriangularMap:
    """Fit the components of the columns from `first` on."""
    if isinstance(degree, str):
        one_of(degree, "degree", ["auto"])
    tried = range(1, _HIGHEST + 1) if degree == "auto" else [count(degree, "degree")]
    mean, scale = x.mean(axis=0), x.std(axis=0)
    u = (x - mean) / scale
    _moments(u, name)
    train, test = split(u, held_out, generator(rng), at_least=1)
    if not len(test):
        if degree == "auto":
            raise ValueError("held_out must be above 0 to choose a degree, got 0")
        test = train
    families = _families(u)[first:]
    largest = families[-1](tried[0])
    if len(train) <= largest.count:
        raise ValueError(
            f"{name} must hold more samples: degree {tried[0]} has {largest.count} coefficients in component "
            f"{largest.size}, got {len(train)} samples to fit them to ({len(x)} less the held-out share)"
        )
    found = [(start := family(1), start.identity()) for family in families]
    records, reasons = [[] for _ in families], []
    try:
        with progress_bar(label="triangular map", unit=" fits", show=show) as bar:
            for k, family in enumerate(families):
                reasons.append(climb(found, k, family, tried, u, train, test, records[k], bar))
    except KeyboardInterrupt:
        warnings.warn(f"interrupted: {len(reasons)} of {len(families)} components are finished", stacklevel=3)
        reasons = ["interrupted"]
    history = summed(records, found, -0.5 * LOG_2PI * len(families) - np.log(scale[first:]).sum())
    if not held_out:
        history["held_out"] = []
    components, coefficients = map(list, zip(*found, strict=True))
    stopped = "; ".join(dict.fromkeys(reasons))
    given = np.zeros(first)
    return TriangularMap(components, coefficients, mean, scale, given=given, history=history, stopped=stopped)
