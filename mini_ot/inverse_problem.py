"""A problem of Bayesian inference and its posterior: what those of :mod:`mini_ot.posteriors` share."""

from collections.abc import Callable

import numpy as np

from ._validate import generator, samples, vector
from .targets import LOG_2PI, StandardNormal


class InverseProblem:
    """Parameters to be learnt from data: what the problems below have in common.

    Attributes
    ----------
    dim, data_dim : int
        Number of parameters, and of data.
    names : tuple of str
        Of the parameters.
    prior : StandardNormal
    """

    names: tuple[str, ...]
    data_dim: int

    @property
    def dim(self) -> int:
        return len(self.names)

    @property
    def prior(self) -> StandardNormal:
        return StandardNormal(self.dim)

    def parameters(self, theta) -> np.ndarray:
        """Return the parameters in natural units, shape (n, dim), at standardised `theta` (n, dim)."""
        return self._parameters(self._checked(theta))

    def simulate(self, theta, rng=None) -> np.ndarray:
        """Draw one data set for each row of `theta` (n, dim), shape (n, data_dim)."""
        return self._simulate(self._checked(theta), generator(rng))

    def log_likelihood(self, theta, data) -> np.ndarray:
        """Return the log density of one data set (data_dim,) at each row of `theta`, shape (n,)."""
        return self._log_likelihood(self._checked(theta), self._data(data))

    def posterior(self, data) -> "Posterior":
        """Return the law of the parameters given `data` of shape (data_dim,)."""
        return Posterior(self, self._data(data))

    def _checked(self, theta):
        return samples(theta, "theta", dim=self.dim).astype(np.float64)

    def _data(self, data):
        return vector(data, "data", self.data_dim)

    def _parameters(self, theta):
        return theta

    _slope = None  # gradient of the log-likelihood, where there is one

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.names)}; {self.data_dim} data)"


class Posterior:
    """The law of a problem's parameters given data: what ``problem.posterior(data)`` returns.

    Attributes
    ----------
    evaluations : int
        Points at which the log density was asked so far.
    score_evaluations : int
        Points at which its gradient was asked.
    score : callable or None
        Gradient of the log density, points (n, dim) to (n, dim), where the problem has one.
    """

    def __init__(self, problem: InverseProblem, data):
        self.problem, self.data, self.dim = problem, data, problem.dim
        self.evaluations = self.score_evaluations = 0

    def log_density(self, theta) -> np.ndarray:
        """Return log prior + log likelihood, shape (n,): its exponential integrates to the evidence."""
        theta = self.problem._checked(theta)
        self.evaluations += len(theta)
        prior = -0.5 * (theta**2).sum(axis=1) - 0.5 * self.dim * LOG_2PI
        return prior + self.problem._log_likelihood(theta, self.data)

    __call__ = log_density

    @property
    def score(self) -> Callable | None:
        return None if self.problem._slope is None else self._score

    def _score(self, theta):
        theta = self.problem._checked(theta)
        self.score_evaluations += len(theta)
        return self.problem._slope(theta, self.data) - theta

    def __repr__(self) -> str:
        return f"Posterior(of {self.problem!r}, {self.evaluations} evaluations)"
