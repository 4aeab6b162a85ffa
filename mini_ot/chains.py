"""Random-walk Metropolis in many chains at once, and how far their draws can be trusted.  Chapter 15.

The reference to which maps to a posterior are held: slow, but right in the long run, and it says itself
when it has not run for long enough.
"""

import warnings
from contextlib import suppress
from functools import cached_property

import numpy as np
from scipy import fft

from ._log_density import Frame
from ._progress import progress as progress_bar
from ._validate import count, generator, samples

_UPDATES = 32  # times that the proposal is tuned in the warm-up
_FEW, _MANY = 0.15, 0.5  # acceptance outside of which the length of the steps is changed, too


class Chains:
    """Draws of several Markov chains: what :func:`mini_ot.metropolis` returns.

    Attributes
    ----------
    samples : ndarray, shape (steps // thin, c, d)
        The draws kept, by step and chain.
    draws : ndarray, shape (steps // thin * c, d)
        All of them together.
    acceptance : float
        Share of the proposals after the warm-up that were accepted.
    evaluations : int
        Points at which the density was asked, warm-up included.
    r_hat : ndarray, shape (d,)
        See :func:`mini_ot.chains.split_r_hat`: above 1.01, the chains have not yet mixed.
    effective_samples : ndarray, shape (d,)
        Independent draws that would know the mean as well.  Like `r_hat`, NaN for fewer than four draws a
        chain.
    stopped : str
        Why it ended.
    """

    def __init__(self, draws, acceptance, evaluations, stopped):
        self.samples, self.acceptance, self.evaluations, self.stopped = (
            draws,
            acceptance,
            evaluations,
            stopped,
        )
        self.draws = draws.reshape(-1, draws.shape[2])

    @cached_property
    def r_hat(self) -> np.ndarray:
        return split_r_hat(self.samples)

    @cached_property
    def effective_samples(self) -> np.ndarray:
        return effective_samples(self.samples)

    def __repr__(self) -> str:
        kept, chains, dim = self.samples.shape
        return (
            f"Chains({chains} chains of {kept} draws in dimension {dim}, acceptance {self.acceptance:.2f}, "
            f"R-hat up to {self.r_hat.max():.4f}, {self.effective_samples.min():.0f} effective draws or more)"
        )


def _halves(draws):
    """Return each chain's two halves as chains of their own, shape (n // 2, 2 c, d)."""
    n = len(draws) // 2
    return np.concatenate([draws[:n], draws[len(draws) - n :]], axis=1)


def _variances(halves):
    """Return the mean variance within chains, and the estimate of the variance from within and between."""
    n = len(halves)
    within = halves.var(axis=0, ddof=1).mean(axis=0)
    return within, (n - 1) / n * within + halves.mean(axis=0).var(axis=0, ddof=1)


def split_r_hat(draws) -> np.ndarray:
    """Return the split R-hat of draws (n, c, d): root of the whole variance over that within half chains.

    It is 1 where all halves of all chains agree, and infinite where no chain has moved.  Without the rank
    normalisation of the reference, so the variance must exist.

    References
    ----------
    Gelman and Rubin (1992); Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021).
    """
    if len(draws) < 4:
        return np.full(draws.shape[2], np.nan)
    within, whole = _variances(_halves(draws))
    moved = within > 0
    return np.sqrt(np.where(moved, whole, np.inf) / np.where(moved, within, 1.0))


def effective_samples(draws) -> np.ndarray:
    """Return how many independent draws know the mean as well as draws (n, c, d) do, for each coordinate.

    The number of draws over ``1 + 2 sum rho_t``, with autocorrelations rho_t from all half chains and their
    differences, summed by pairs until a pair is negative, and made to fall (Geyer's initial sequence).
    NaN for fewer than four draws a chain.

    References
    ----------
    Geyer (1992); Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021), section 3.2.
    """
    if len(draws) < 4:
        return np.full(draws.shape[2], np.nan)
    halves = _halves(draws)
    n, chains, dim = halves.shape
    total, (within, whole) = n * chains, _variances(halves)
    size, result = fft.next_fast_len(2 * n, real=True), np.ones(dim)
    for j in np.flatnonzero(within > 0):
        power = np.zeros(size // 2 + 1)
        for part in np.array_split(halves[:, :, j], -(-total // 10**6), axis=1):  # holds memory down
            if part.shape[1]:
                power += (np.abs(fft.rfft(part - part.mean(axis=0), size, axis=0)) ** 2).sum(axis=1)
        covariance = fft.irfft(power, size)[:n] / total
        rho = 1 - (within[j] - covariance * n / (n - 1)) / whole[j]
        rho[0] = 1.0
        pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
        negative = np.flatnonzero(pairs < 0)
        pairs = np.minimum.accumulate(pairs[: negative[0] if len(negative) else None])
        result[j] = total / max(2 * pairs.sum() - 1, 1 / np.log10(total))
    return result


class _Walk:
    """The chains' states, and the proposal that the warm-up tunes."""

    def __init__(self, log_density, start, rng):
        self.x, self.rng, self.factor = start, rng, 1.0
        (self.chains, self.dim), self.frame = start.shape, Frame(log_density, None, start.shape[1])
        self.logs, self.evaluations = self.frame.values(start), len(start)
        if self.logs.min() == -np.inf:
            bad = start[self.logs.argmin()].tolist()
            raise ValueError(f"start must have log_density above -inf in every chain, got -inf at {bad}")
        spread = start.std(axis=0)
        self.root = np.diag(np.where(spread > 0, spread, 1.0))

    def step(self) -> float:
        """Move all chains once; return the share that moved."""
        length = 2.38 / np.sqrt(self.dim) * np.sqrt(self.factor)
        new = self.x + length * (self.rng.standard_normal(self.x.shape) @ self.root.T)
        logs = self.frame.values(new)
        self.evaluations += self.chains
        take = -self.rng.standard_exponential(self.chains) < logs - self.logs
        self.x, self.logs = np.where(take[:, None], new, self.x), np.where(take, logs, self.logs)
        return take.mean()

    def warm_up(self, steps):
        """Walk, and give the proposal the chains' covariance; yield after each step.

        What came before 1/16, 1/8, 1/4 and 1/2 of the steps is forgotten.
        """
        forget = {steps // 16, steps // 8, steps // 4, steps // 2}
        every, taken, seen = max(1, steps // _UPDATES), 0.0, []
        for k in range(1, steps + 1):
            taken += self.step() / every
            seen.append(self.x)
            if k % every == 0:
                self._tune(np.concatenate(seen), taken)
                taken = 0.0
            if k in forget:
                seen = []
            yield k

    def _tune(self, seen, acceptance):
        with suppress(np.linalg.LinAlgError):  # chains that have not yet moved span no space
            self.root = np.linalg.cholesky(np.atleast_2d(np.cov(seen.T)))
        if not _FEW < acceptance < _MANY:
            self.factor *= 4.0 if acceptance >= _MANY else 0.25


def metropolis(
    log_density,
    start,
    *,
    steps: int = 5000,
    warm_up: int = 1000,
    thin: int = 1,
    rng=None,
    progress: bool = True,
) -> Chains:
    """Draw from a density known up to its constant, by random-walk Metropolis in many chains at once.

    Each chain proposes a Gaussian step and takes it with probability ``min(1, pi(new) / pi(old))``.  The
    steps have ``2.38^2 / d`` times the covariance of all chains' states in the second half of the warm-up.
    Each time that this accepted under 15 % or over half of them, the warm-up divides or multiplies the
    covariance by four; after it the steps are fixed, as the theory needs.

    Parameters
    ----------
    log_density : callable
        Log of the density pi, up to a constant: points (c, d) to (c,); -inf where there is no mass.  It is
        called with all chains at once.
    start : array_like, shape (c, d)
        Where the c >= 4 chains start, all with mass; best spread more widely than the density.
    steps : int
        Steps of each chain after the warm-up.
    warm_up : int
        Steps before, which are not kept.
    thin : int
        Every so many steps a draw is kept.
    rng : int, numpy.random.Generator or None
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Chains
        Look at its `r_hat` and `effective_samples` before you believe its `draws`.

    Raises
    ------
    ValueError
        If `log_density` returns NaN, +inf or a wrong shape, or is -inf at the start of a chain.

    Warns
    -----
    UserWarning
        If interrupted (Ctrl+C): the draws so far are returned.

    Notes
    -----
    Chains that start in one mode may never find another, and then all agree: R-hat sees it only where chains
    start in both.

    Examples
    --------
    >>> import mini_ot as mo
    >>> start = mo.StandardNormal().sample(100, rng=0)
    >>> chains = mo.metropolis(mo.Banana().log_density, start, steps=2000, rng=1)
    >>> bool(chains.r_hat.max() < 1.05)
    True

    References
    ----------
    Metropolis, Rosenbluth, Rosenbluth, Teller and Teller (1953); Gelman, Roberts and Gilks (1996).
    """
    start = samples(start, "start", at_least=4).astype(np.float64)
    steps, thin = count(steps, "steps"), count(thin, "thin")
    warm_up, rng = count(warm_up, "warm_up", at_least=0), generator(rng)
    if thin > steps:
        raise ValueError(f"thin must be at most steps = {steps}, got {thin}")
    walk = _Walk(log_density, start, rng)
    kept, taken, k, n, stopped = np.empty((steps // thin, *start.shape)), 0.0, 0, 0, f"all {steps} steps done"
    try:
        with progress_bar(total=warm_up + steps, label="Metropolis", show=progress) as bar:
            for _ in walk.warm_up(warm_up):
                bar.update()
            for k in range(1, steps + 1):
                taken += walk.step()
                if k % thin == 0:
                    kept[n], n = walk.x, n + 1
                bar.update()
    except KeyboardInterrupt:
        stopped = f"interrupted in step {k} after the warm-up" if k else "interrupted in the warm-up"
        warnings.warn(f"{stopped}: these are the {n} draws of each chain so far", stacklevel=2)
    return Chains(kept[:n], taken / max(k, 1), walk.evaluations, stopped)
