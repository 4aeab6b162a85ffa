"""Simulation-based calibration: whether a sampler of posteriors says how sure it is.  Chapter 15.

Draw parameters from the prior, data given them, and draws from the posterior of these data.  If the sampler
is right, the rank of the true parameter among the draws is uniform, whatever the model.
"""

import warnings

import numpy as np
from scipy.special import chdtrc

from ._progress import progress as progress_bar
from ._validate import _describe, count, generator, positive, samples


class Calibration:
    """Ranks of true parameters among draws: what :func:`mini_ot.simulation_based_calibration` returns.

    Attributes
    ----------
    ranks : ndarray of int, shape (repeats, d)
        How many draws lay below the true parameter, from 0 to `draws`.
    counts : ndarray of int, shape (d, bins)
        Their histograms.
    p_values : ndarray, shape (d,)
        Of the chi-square test that the ranks are uniform.
    draws, bins : int
    names : tuple of str
        Of the parameters.
    """

    def __init__(self, ranks, draws, bins, names):
        self.ranks, self.draws, self.bins, self.names = ranks, draws, bins, tuple(names)
        which = ranks * bins // (draws + 1)
        self.counts = np.stack([np.bincount(column, minlength=bins) for column in which.T])
        expected = len(ranks) / bins
        self.p_values = chdtrc(bins - 1, ((self.counts - expected) ** 2).sum(axis=1) / expected)

    def band(self, level: float = 0.95) -> tuple[int, int]:
        """Return the lowest and highest count that one bin has with probability `level` if all is well."""
        from scipy.stats import binom  # takes long to load

        if positive(level, "level") >= 1:
            raise ValueError(f"level must be below 1, got {level}")
        low, high = binom.ppf([(1 - level) / 2, (1 + level) / 2], len(self.ranks), 1 / self.bins)
        return int(low), int(high)

    def __repr__(self) -> str:
        p = ", ".join(f"{name}: {value:.2g}" for name, value in zip(self.names, self.p_values, strict=True))
        return f"Calibration({len(self.ranks)} repeats, {self.draws} draws, p-values {p})"


def simulation_based_calibration(
    problem, sampler, *, repeats: int = 500, draws: int = 99, bins: int = 20, rng=None, progress: bool = True
) -> Calibration:
    """Test whether a sampler of posteriors is calibrated, by data simulated from known parameters.

    Parameters
    ----------
    problem : InverseProblem
        Whatever has ``prior.sample(n, rng)``, ``simulate(theta, rng)`` and, if you like, ``names``.
    sampler : callable
        ``sampler(data, draws, rng)`` returns `draws` independent posterior draws, shape (draws, d), for
        data of shape (data_dim,).
    repeats : int
        How many parameters and data sets.
    draws : int
        Posterior draws for each; draws + 1 must be a multiple of `bins`.
    bins : int
        Of the histograms.
    rng : int, numpy.random.Generator or None
        Each repeat has a generator of its own, from this.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If the bins do not divide the ranks evenly, or the sampler returns a wrong shape, NaN or infinity.

    Warns
    -----
    UserWarning
        If interrupted (Ctrl+C): the ranks so far are returned.

    Notes
    -----
    A histogram like a cup belongs to posteriors that are too narrow, like a cap to such as are too wide, and
    a slope to a bias.  Draws of a Markov chain must be thinned until they are nearly independent.
    The test is necessary, not sufficient: a sampler that ignores the data and returns the prior passes.
    Ties are broken at random.

    Examples
    --------
    >>> import mini_ot as mo
    >>> banana = mo.BananaProblem()
    >>> exact = lambda data, draws, rng: banana.exact(data).sample(draws, rng)
    >>> mo.simulation_based_calibration(banana, exact, repeats=100, draws=19, bins=10, rng=0).counts.shape
    (2, 10)

    References
    ----------
    Cook, Gelman and Rubin (2006); Talts, Betancourt, Simpson, Vehtari and Gelman (2018).
    """
    if not hasattr(getattr(problem, "prior", None), "sample") or not hasattr(problem, "simulate"):
        raise TypeError(f"problem must have prior.sample and simulate, got {_describe(problem)}")
    if not callable(sampler):
        raise TypeError(f"sampler must be a function of data, draws and rng, got {_describe(sampler)}")
    repeats, draws, bins = count(repeats, "repeats"), count(draws, "draws"), count(bins, "bins", at_least=2)
    if (draws + 1) % bins:
        raise ValueError(f"draws + 1 must be a multiple of bins = {bins}, got draws = {draws}")
    rng = generator(rng)
    theta = samples(problem.prior.sample(repeats, rng), "the prior's samples")
    data, ranks = problem.simulate(theta, rng), np.empty(theta.shape, dtype=np.int64)
    names = getattr(problem, "names", [f"parameter {j}" for j in range(1, theta.shape[1] + 1)])
    done = 0
    try:
        bar = progress_bar(rng.spawn(repeats), label="calibration", show=progress)
        for done, own in enumerate(bar):
            found = np.asarray(sampler(data[done], draws, own))
            if found.shape != (draws, theta.shape[1]):
                wanted = f"sampler must return an array of shape {(draws, theta.shape[1])}"
                raise ValueError(f"{wanted}, got {_describe(found)}")
            found = samples(found, "the sampler's draws")
            ties = (found == theta[done]).sum(axis=0)
            ranks[done] = (found < theta[done]).sum(axis=0) + own.integers(0, ties + 1)
        done = repeats
    except KeyboardInterrupt:
        if not done:
            raise
        warnings.warn(f"interrupted: these are {done} of {repeats} repeats", stacklevel=2)
    return Calibration(ranks[:done], draws, bins, names)
