"""Problems of Bayesian inference: a prior, a simulator, a likelihood.  Chapter 15.

Their parameters theta are standardised: the prior is N(0, I), and ``parameters`` gives the natural units.
"""

import numpy as np
from scipy.special import gammaln, logsumexp

from ._epidemic import infected
from ._validate import count, positive, samples, vector
from .inverse_problem import InverseProblem
from .targets import LOG_2PI, Target


class BananaProblem(InverseProblem):
    """One datum ``y = t2 + t1^2 - 1 + noise e`` for two parameters: the posterior is a bent ridge.

    Parameters
    ----------
    noise : float
        Standard deviation of the datum.

    Examples
    --------
    >>> import mini_ot as mo
    >>> banana = mo.BananaProblem()
    >>> print(f"{banana.exact([0.3]).log_evidence:.4f}")
    -1.4543
    """

    names, data_dim = ("t1", "t2"), 1

    def __init__(self, noise: float = 0.5):
        self.noise = positive(noise, "noise")

    def exact(self, data) -> "ExactPosterior":
        """Return the posterior itself, by quadrature in t1."""
        return ExactPosterior(self, self._data(data))

    def _gap(self, theta, data):
        return data[0] - (theta[:, 1] + theta[:, 0] ** 2 - 1)

    def _simulate(self, theta, rng):
        return (theta[:, 1] + theta[:, 0] ** 2 - 1 + self.noise * rng.standard_normal(len(theta)))[:, None]

    def _log_likelihood(self, theta, data):
        return -0.5 * (self._gap(theta, data) / self.noise) ** 2 - np.log(self.noise) - 0.5 * LOG_2PI

    def _slope(self, theta, data):
        by_t2 = self._gap(theta, data) / self.noise**2
        return np.c_[2 * theta[:, 0] * by_t2, by_t2]


class ExactPosterior(Target):
    """The banana's posterior, known: what ``BananaProblem.exact(data)`` returns.

    Given t1, t2 is Gaussian, and t1 has a density in closed form up to its constant, an integral.

    Attributes
    ----------
    mean : ndarray, shape (2,)
    covariance : ndarray, shape (2, 2)
    log_evidence : float
    """

    def __init__(self, problem: BananaProblem, data):
        self._posterior = problem.posterior(data)
        variance = problem.noise**2
        self._sd = np.sqrt(variance / (1 + variance))
        half = 12 + np.sqrt(abs(data[0]))  # beyond it there is no mass
        t = self._t = np.linspace(-half, half, 40_001)
        t2 = self._given(t)
        logs = -0.5 * (t**2 + (data[0] + 1 - t**2) ** 2 / (1 + variance) + np.log(1 + variance)) - LOG_2PI
        total = logsumexp(logs)
        self.log_evidence = float(total + np.log(t[1] - t[0]))
        weights = np.exp(logs - total)
        self.mean = np.array([weights @ t, weights @ t2])
        self.covariance = np.cov(np.stack([t, t2]), aweights=weights, bias=True) + np.diag([0, self._sd**2])
        self._share = np.cumsum(weights) - weights / 2
        reach = 4.5 * np.sqrt(self.covariance.diagonal())
        self.bounds = tuple(zip((self.mean - reach).tolist(), (self.mean + reach).tolist(), strict=True))

    def _given(self, t1):
        return (self._posterior.data[0] + 1 - t1**2) * (1 - self._sd**2)

    def _sample(self, n, rng):
        t1 = np.interp(rng.random(n), self._share, self._t)
        return np.c_[t1, self._given(t1) + self._sd * rng.standard_normal(n)]

    def _log_density(self, x):
        return self._posterior.log_density(x) - self.log_evidence


class Epidemic(InverseProblem):
    """An epidemic in a closed population, from how many are ill on each day.

    The model is SIR: ``S' = -beta S I / N``, ``I' = beta S I / N - gamma I``, with one infected at time 0,
    and the count of day k = 1, 2, ... is negative binomial with mean I(k) and variance
    ``I + overdispersion I^2``.  So a count may exceed the population.

    The three parameters are lognormal: beta (per day) has median 1.5, gamma (per day) 0.5, and the
    overdispersion 0.1; their logarithms have standard deviations 0.5, 0.5 and 0.7.  With 95 % probability the
    illness takes 0.8 to 5.3 days, and one ill person infects 0.75 to 12 others at first.

    Parameters
    ----------
    days : int
        How many days are observed.
    population : int

    Attributes
    ----------
    data : ndarray, shape (14,)
        Boys in bed at an English boarding school of 763, from 22 January to 4 February 1978: influenza
        A/H1N1.  They were read off a printed figure, and other readings differ by a few boys.

    Notes
    -----
    The equations are solved by 20 Runge-Kutta steps a day.  Where theta is so far out (7 standard deviations)
    that this fails, beyond rates of 50 a day, the rates count as 50; the overdispersion counts from
    1e-6 to 1e6.

    Examples
    --------
    >>> import mini_ot as mo
    >>> flu = mo.Epidemic()
    >>> int(flu.data.sum()), flu.posterior(flu.data).dim
    (1559, 3)

    References
    ----------
    Kermack and McKendrick (1927); Anonymous (1978), data as in the R package outbreaks (from de Vries,
    Hillen, Lewis, Mueller and Schoenfisch, 2006); likelihood as in Grinsztajn, Semenova, Margossian and Riou
    (2021).
    """

    names = ("beta", "gamma", "overdispersion")
    data = np.array([3, 8, 26, 76, 225, 298, 258, 233, 189, 128, 68, 29, 14, 4.0])
    _middle, _width = np.log([1.5, 0.5, 0.1]), np.array([0.5, 0.5, 0.7])

    def __init__(self, days: int = 14, population: int = 763):
        self.data_dim = self.days = count(days, "days")
        self.population = count(population, "population", at_least=2)

    def infected(self, theta) -> np.ndarray:
        """Return how many are ill on each day by the equations alone, shape (n, days)."""
        return self._curve(self._checked(theta))

    def _curve(self, theta):
        return infected(self._parameters(theta)[:, :2], self.days, float(self.population))

    def _parameters(self, theta):
        return np.exp(np.minimum(self._middle + self._width * theta, 700.0))

    def _data(self, data):
        data = super()._data(data)
        if (data < 0).any() or (data % 1).any():
            raise ValueError(f"data must be counts 0, 1, 2, ..., got {data.tolist()}")
        return data

    def _size(self, theta):
        """Return the size r of the negative binomial, one over the overdispersion, shape (n, 1)."""
        return 1 / np.clip(self._parameters(theta)[:, 2:], 1e-6, 1e6)

    def _simulate(self, theta, rng):
        size, mean = self._size(theta), self._curve(theta)
        return rng.poisson(mean * rng.gamma(size, size=mean.shape) / size).astype(np.float64)

    def _log_likelihood(self, theta, data):
        size, mean = self._size(theta), self._curve(theta)
        ways = gammaln(data + size) - gammaln(size) - gammaln(data + 1)
        return (ways - size * np.log1p(mean / size) + data * (np.log(mean) - np.log(size + mean))).sum(axis=1)


class Tracking(InverseProblem):
    """Where something is and how it moves in the plane, from noisy ranges to beacons.

    It is at ``position + t velocity`` at time t, and each of the ranges, in the order of times and within a
    time of beacons, is the distance to a beacon plus Gaussian noise.  The prior has the position at time 0
    within 1 km of the origin, and the velocity within 0.1 km a minute of rest (standard deviations).

    Beacons on one line cannot tell a track from its mirror image in that line: the likelihood has two modes.

    Parameters
    ----------
    beacons : array_like, shape (b, 2)
        Their places in km.
    times : array_like
        In minutes.
    noise : float
        Standard deviation of a range, in km.

    Examples
    --------
    >>> import mini_ot as mo
    >>> track = mo.Tracking()
    >>> truth = [[0.5, -0.8, 0.4, 1.0]]
    >>> data = track.simulate(truth, rng=0)[0]
    >>> track.parameters(truth)
    array([[ 0.5 , -0.8 ,  0.04,  0.1 ]])

    References
    ----------
    Huang and Roumeliotis (2010), on posteriors with several modes in range-only tracking.
    """

    names = ("x", "y", "x velocity", "y velocity")
    _scale = np.array([1.0, 1.0, 0.1, 0.1])  # km and km per minute

    def __init__(
        self, beacons=((-1.5, -1.0), (1.5, -1.0), (0.0, 1.5)), times=(0.0, 3.0, 6.0, 9.0), noise: float = 0.2
    ):
        self.beacons, self.times = samples(beacons, "beacons", dim=2), vector(times, "times")
        self.noise, self.data_dim = positive(noise, "noise"), len(self.beacons) * len(self.times)

    def _parameters(self, theta):
        return self._scale * theta

    def track(self, theta) -> np.ndarray:
        """Return the places in km at the observed times, shape (n, times, 2)."""
        state = self._parameters(self._checked(theta))
        return state[:, None, :2] + self.times[:, None] * state[:, None, 2:]

    def _ways(self, theta):
        return self.track(theta)[:, :, None] - self.beacons

    def _ranges(self, theta):
        return np.sqrt((self._ways(theta) ** 2).sum(axis=3)).reshape(len(theta), -1)

    def _simulate(self, theta, rng):
        ranges = self._ranges(theta)
        return ranges + self.noise * rng.standard_normal(ranges.shape)

    def _log_likelihood(self, theta, data):
        square = (((data - self._ranges(theta)) / self.noise) ** 2).sum(axis=1)
        return -0.5 * square - self.data_dim * (np.log(self.noise) + 0.5 * LOG_2PI)

    def _slope(self, theta, data):
        ways = self._ways(theta)
        ranges = np.maximum(np.sqrt((ways**2).sum(axis=3)), 1e-300)
        pull = (data.reshape(ranges.shape[1:]) - ranges) / self.noise**2 / ranges
        force = (pull[..., None] * ways).sum(axis=2)
        return self._scale * np.concatenate([force.sum(axis=1), self.times @ force], axis=1)
