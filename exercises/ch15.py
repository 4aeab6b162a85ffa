"""Exercises of chapter 15: a Gaussian posterior, importance weights, Metropolis steps, ranks and their test."""

import numpy as np

from .engine import Exercise

gaussian_exercise = Exercise(
    "15.1",
    "The posterior as an affine map from the prior",
    level="warm-up",
    minutes=25,
    text=r"""
    Let $\theta \sim \mathcal{N}(0, I)$ in $\mathbb{R}^d$, and $y = A \theta + \sigma e$ with a known matrix $A$ ($m \times d$) and
    $e \sim \mathcal{N}(0, I)$ independent of $\theta$.

    1. Show that the posterior is Gaussian, and give its precision matrix and its mean.
    2. Write an affine map that takes the prior to the posterior.
       Which part of it depends on the data?
    3. What does the map do along a direction $v$ with $A v = 0$?
    4. Why is one conditional map of degree 1, fitted to simulations, enough for all data here?
    """,
    hints=(
        "Write the logarithm of prior times likelihood and complete the square in theta.",
        """The precision is P = I + A^T A / sigma^2 and the mean P^(-1) A^T y / sigma^2. A Gaussian with covariance
        P^(-1) is a root of that matrix times a standard normal vector, plus the mean.""",
    ),
    answer=r"""
    1. $\log \pi(\theta) = -\frac12 |\theta|^2 - \frac{1}{2 \sigma^2} |y - A \theta|^2 + \text{const} = -\frac12 (\theta - m)^\top P (\theta - m) + \text{const}$
    with $P = I + A^\top A / \sigma^2$ and $m = P^{-1} A^\top y / \sigma^2$.

    2. $T(z) = m + P^{-1/2} z$.
    The shift $m$ depends on the data, and linearly; the matrix does not.

    3. $P v = v$, so $T$ leaves the direction as it is: the data say nothing about it, and the posterior is the prior.
    Since $\langle v, m \rangle = \langle P^{-1} v, A^\top y \rangle / \sigma^2 = \langle A v, y \rangle / \sigma^2 = 0$, it is not shifted either.

    4. $z = P^{1/2} (\theta - m(y))$ is standard normal given $y$, and linear in $\theta$ and $y$ together.
    A triangular root in place of the symmetric one makes it a triangular map of degree 1.
    """,
)

share_exercise = Exercise(
    "15.2",
    "What the weights leave",
    level="core",
    minutes=20,
    text=r"""
    A proposal has given $n$ points with log weights $\omega_i = \log \pi(\theta_i) - \log q(\theta_i)$.
    Return the estimate of the log evidence, $\log \frac1n \sum_i e^{\omega_i}$, and the effective share
    $(\sum_i w_i)^2 / (n \sum_i w_i^2)$ with $w_i = e^{\omega_i}$.
    The log weights may be near $-2000$ or $+2000$, where $e^{\omega}$ is zero or infinity for a computer.
    """,
    hints=(
        "Adding a constant to all log weights changes the share not at all, and the log evidence by this constant.",
        """Subtract the largest log weight before np.exp, and add it again to the logarithm of the mean. The share
        needs no further care.""",
    ),
    answer=r"""
    With $a = \max \omega$ the largest weight becomes one, so the sum neither overflows nor vanishes.
    """,
)


@share_exercise.solution
def evidence_and_share(log_weights):
    """Return (log evidence, effective share in (0, 1]) for log weights (n,)."""
    top = log_weights.max()
    w = np.exp(log_weights - top)
    return np.log(w.mean()) + top, w.sum() ** 2 / (len(w) * (w**2).sum())


@share_exercise.cases
def _(rng):
    for n, level in ((5, 0.0), (40, -2000.0), (30, 2000.0)):
        yield (level + rng.normal(size=n),)


def _stable(log_weights):
    top = log_weights.max()
    return top, np.exp(log_weights - top)


@share_exercise.mistake(
    """exp of the log weights is zero or infinity before you take the mean. Subtract the largest log weight first, and
    add it again at the end."""
)
def _overflows(log_weights):
    with np.errstate(all="ignore"):
        w = np.exp(log_weights)
        return np.log(w.mean()), w.sum() ** 2 / (len(w) * (w**2).sum())


@share_exercise.mistake(
    """You subtracted the largest log weight, and did not add it again: the share does not mind, the evidence does."""
)
def _not_added(log_weights):
    _, w = _stable(log_weights)
    return np.log(w.mean()), w.sum() ** 2 / (len(w) * (w**2).sum())


@share_exercise.mistake(
    """That is the sum of the weights. The evidence is their mean, so that more points do not make it larger."""
)
def _summed(log_weights):
    top, w = _stable(log_weights)
    return np.log(w.sum()) + top, w.sum() ** 2 / (len(w) * (w**2).sum())


@share_exercise.mistake(
    """That is the effective number of samples; divide it by n for the share."""
)
def _number(log_weights):
    top, w = _stable(log_weights)
    return np.log(w.mean()) + top, w.sum() ** 2 / (w**2).sum()


@share_exercise.mistake(
    """One over the sum of the squares is right for weights that sum to one. Normalise yours first."""
)
def _not_normalised(log_weights):
    top, w = _stable(log_weights)
    return np.log(w.mean()) + top, 1 / (len(w) * (w**2).sum())


@share_exercise.mistake(
    """The mean of the log weights is a lower bound of the log evidence, by Jensen's inequality, not its estimate.
    Average the weights, then take the logarithm."""
)
def _bound(log_weights):
    _, w = _stable(log_weights)
    return log_weights.mean(), w.sum() ** 2 / (len(w) * (w**2).sum())


chain_exercise = Exercise(
    "15.3",
    "The chain stays where it was",
    level="core",
    minutes=25,
    text=r"""
    Write a random-walk Metropolis chain whose random numbers are given: from $\theta$, propose $\theta + s_k$ with the step $s_k$, and take it if
    $\log u_k < \log \pi(\theta + s_k) - \log \pi(\theta)$.
    Return all states, one for each step, without the start.
    Here $\pi$ is the banana's posterior, as a function `log_pi` of one point.
    """,
    hints=(
        "What is the state of the chain after a proposal that was refused?",
        """A refused proposal repeats the old state in the list. Keep the log density of the current state beside it, and
        change both together.""",
    ),
    answer=r"""
    The repeated states are the weights of the chain: a point from which most proposals are refused has much mass, and it counts as often as the chain stays.
    """,
)


@chain_exercise.solution
def chain(log_pi, start, steps, u):
    """Return the states (n, d) for a start (d,), steps (n, d) and uniforms u (n,)."""
    theta, states = start, []
    for step, uniform in zip(steps, u, strict=True):
        new = theta + step
        if np.log(uniform) < log_pi(new) - log_pi(theta):
            theta = new
        states.append(theta)
    return np.array(states)


def _log_pi(theta):
    return -(theta[0] ** 2) / 2 - 2 * (theta[1] - theta[0] ** 2) ** 2


@chain_exercise.cases
def _(rng):
    for n in (40, 60):
        yield _log_pi, rng.normal(size=2), rng.normal(size=(n, 2)), rng.random(n)


def _walk(log_pi, start, steps, u, take):
    theta, states = start, []
    for step, uniform in zip(steps, u, strict=True):
        new = theta + step
        theta = new if take(uniform, log_pi(new), log_pi(theta)) else theta
        states.append(theta)
    return np.array(states)


@chain_exercise.mistake(
    """Your chain leaves out the refused steps. It must count the old state once more, otherwise points with much
    mass, which are hard to leave, count too little."""
)
def _skips(log_pi, start, steps, u):
    theta, states = start, []
    for step, uniform in zip(steps, u, strict=True):
        if np.log(uniform) < log_pi(theta + step) - log_pi(theta):
            theta = theta + step
            states.append(theta)
    return np.array(states)


@chain_exercise.mistake(
    """You compare u itself with the difference of the logarithms. Compare log u with it, or u with its exponential:
    as it stands, no step downhill is ever taken."""
)
def _no_log(log_pi, start, steps, u):
    return _walk(log_pi, start, steps, u, lambda u, new, old: u < new - old)


@chain_exercise.mistake(
    """The ratio is turned round: your chain prefers points with little mass, and runs away."""
)
def _turned(log_pi, start, steps, u):
    return _walk(log_pi, start, steps, u, lambda u, new, old: np.log(u) < old - new)


@chain_exercise.mistake(
    """You go uphill only. That finds the mode; a chain must also go downhill, with the probability pi(new) / pi(old)."""
)
def _uphill(log_pi, start, steps, u):
    return _walk(log_pi, start, steps, u, lambda u, new, old: new > old and u > 0)


@chain_exercise.mistake(
    """You compare with the density at the start, in every step. Compare with that at the current state."""
)
def _from_start(log_pi, start, steps, u):
    first = log_pi(start)
    return _walk(log_pi, start, steps, u, lambda u, new, _: np.log(u) < new - first)


@chain_exercise.mistake(
    """Every step is taken: that is a random walk, which knows nothing of the density."""
)
def _all(log_pi, start, steps, u):
    return start + np.cumsum(steps, axis=0)


rank_exercise = Exercise(
    "15.4",
    "Ranks, and a test that they are uniform",
    level="challenge",
    minutes=30,
    text=r"""
    In $R$ repeats the true parameters `theta` ($R \times d$) are to be compared with $L$ posterior draws each (`draws`, $R \times L \times d$).
    Return the ranks, $0, \dots, L$, that is how many draws are *below* the truth, for each repeat and parameter; and for each
    parameter the chi-square statistic $\sum_b (c_b - E)^2 / E$ of the counts $c_b$ of the $L + 1$ possible ranks, with the count $E$
    that uniform ranks lead one to expect.

    Which distribution has the statistic for a calibrated sampler, with how many degrees of freedom?
    """,
    hints=(
        "There are L draws. How many different ranks are possible?",
        """Sum (draws < theta[:, None]) over axis 1. np.bincount(ranks, minlength=L + 1) counts, and E is R / (L + 1).""",
    ),
    answer=r"""
    For many repeats it is nearly chi-square with $L$ degrees of freedom: $L + 1$ counts, of which the last is known from the others.
    Where $R / (L + 1)$ is below five or so, put neighbouring ranks together.
    """,
)


@rank_exercise.solution
def rank_test(theta, draws):
    """Return ranks (R, d) and chi-square statistics (d,)."""
    repeats, count, _ = draws.shape
    ranks = (draws < theta[:, None]).sum(axis=1)
    expected = repeats / (count + 1)
    c = np.stack([np.bincount(r, minlength=count + 1) for r in ranks.T])
    return ranks, ((c - expected) ** 2 / expected).sum(axis=1)


@rank_exercise.cases
def _(rng):
    for repeats, count, d in ((60, 7, 2), (50, 4, 3)):
        yield rng.normal(size=(repeats, d)), rng.normal(size=(repeats, count, d))


def _statistic(ranks, size, expected=None):
    c = np.stack([np.bincount(r, minlength=size)[:size] for r in ranks.T])
    expected = len(ranks) / size if expected is None else expected
    return ((c - expected) ** 2 / expected).sum(axis=1)


def _ranks(theta, draws):
    return (draws < theta[:, None]).sum(axis=1)


@rank_exercise.mistake(
    """You count the draws above the truth. Uniform ranks stay uniform, but a slope then means the opposite bias."""
)
def _above(theta, draws):
    ranks = (draws > theta[:, None]).sum(axis=1)
    return ranks, _statistic(ranks, draws.shape[1] + 1)


@rank_exercise.mistake(
    """L draws leave L + 1 places for the truth: before the first, between two of them, after the last. You expect
    R / L in each."""
)
def _one_less(theta, draws):
    repeats, count, _ = draws.shape
    ranks = _ranks(theta, draws)
    return ranks, _statistic(ranks, count + 1, repeats / count)


@rank_exercise.mistake(
    """You divide by the counts that came out. Pearson's statistic divides by the count that is expected."""
)
def _by_observed(theta, draws):
    size, ranks = draws.shape[1] + 1, _ranks(theta, draws)
    c = np.stack([np.bincount(r, minlength=size) for r in ranks.T])
    return ranks, ((c - len(theta) / size) ** 2 / np.maximum(c, 1)).sum(axis=1)


@rank_exercise.mistake(
    """You compare the truth with one draw after the other along the repeats: the ranks of a repeat come from its own
    L draws, axis 1."""
)
def _wrong_axis(theta, draws):
    ranks = (draws.swapaxes(0, 1) < theta).sum(axis=1)
    return ranks, _statistic(ranks, draws.shape[1] + 1)


@rank_exercise.mistake(
    """You put the mean of the draws into the ranks: whether the truth is above the mean is one bit, 0 or 1. The rank
    asks all draws."""
)
def _of_mean(theta, draws):
    ranks = (draws.mean(axis=1) < theta).astype(int)
    return ranks, _statistic(ranks, draws.shape[1] + 1)


@rank_exercise.mistake(
    """The squared differences are not divided by the expected count, so your statistic grows with the repeats even
    for a perfect sampler."""
)
def _not_divided(theta, draws):
    repeats, count, _ = draws.shape
    ranks = _ranks(theta, draws)
    return ranks, _statistic(ranks, count + 1) * repeats / (count + 1)
