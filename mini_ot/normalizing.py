"""Normalizing flows: many elementary maps, each of which raises the likelihood.  Chapter 4.

Both flows go down the gradient of KL(. | N(0, I)) among simple moves: Tabak and Turner's push points from or
to one centre, Tabak and Vanden-Eijnden's bend every axis of a turned frame.
"""

import warnings
from numbers import Real

import numpy as np

from ._near_identity import KinkMap, best_kinks, best_push
from ._progress import progress as bar
from ._validate import count, generator, positive, samples, split, vector
from .maps import Composition, Map, whitening

_SHORTEST = 2.0**-6  # share of a step below which it is given up
_IDLE = 20  # proposals in a row that raise nothing, after which a flow has converged
_MUCH = 12.0  # nats above the affine map from which on it is watched whether the inverse still works


class RadialMap(Map):
    """z -> z + beta (z - c) / (alpha + r) with r = ``|z - c|``: a push away from a centre, or towards it.

    Parameters
    ----------
    centre : array_like, shape (d,)
    alpha : float
        Radius within which most of the stretching takes place, positive.
    beta : float
        Strength, larger than -alpha; negative pulls towards the centre.  Far points move by beta.

    Raises
    ------
    ValueError
        If beta <= -alpha: the map would fold the space at the centre.

    Notes
    -----
    With f = 1 / (alpha + r) the log-determinant is (d - 1) log(1 + beta f) + log(1 + beta alpha f^2).
    The distance r before the map is the positive root of a quadratic, so that the inverse is exact.

    Examples
    --------
    >>> import mini_ot as mo
    >>> T = mo.RadialMap([0.0, 0.0], alpha=1.0, beta=2.0)
    >>> T([[1.0, 0.0]]).tolist(), T.inverse([[2.0, 0.0]]).tolist()
    ([[2.0, 0.0]], [[1.0, 0.0]])

    References
    ----------
    Tabak and Turner (2013); Rezende and Mohamed (2015), section 4.1.
    """

    def __init__(self, centre, alpha, beta):
        self.centre = vector(centre, "centre")
        super().__init__(len(self.centre))
        self.alpha = positive(alpha, "alpha")
        if isinstance(beta, bool) or not isinstance(beta, Real):
            raise TypeError(f"beta must be a real number, got {type(beta).__name__} {beta!r}")
        if not -self.alpha < beta < np.inf:
            raise ValueError(f"beta must be finite and larger than -alpha = {-self.alpha}, got {beta}")
        self.beta = float(beta)

    def _gap(self, x):
        gap = x - self.centre
        return gap, np.sqrt(np.einsum("ij,ij->i", gap, gap))[:, None]

    def _forward(self, x):
        gap, r = self._gap(x)
        return x + self.beta * gap / (self.alpha + r)

    def _inverse(self, y):
        gap, s = self._gap(y)
        half = (self.alpha + self.beta - s) / 2
        root = np.sqrt(half**2 + self.alpha * s)
        # r / s, with r the root of r^2 + 2 half r - alpha s; the form without cancellation for either sign.
        ratio = np.where(half > 0, self.alpha / (half + root), (root - half) / np.where(half > 0, 1.0, s))
        return self.centre + ratio * gap

    def _log_det(self, x):
        f = 1 / (self.alpha + self._gap(x)[1][:, 0])
        return (self.dim - 1) * np.log1p(self.beta * f) + np.log1p(self.beta * self.alpha * f**2)


def normalizing_flow(
    x,
    *,
    rng=None,
    steps: int = 600,
    neighbours: int = 50,
    candidates: int = 16,
    whiten: bool = True,
    held_out: float = 0.2,
    patience: int = 200,
    progress: bool = True,
) -> Composition:
    """Turn the law of `x` into N(0, I) by radial maps, each of which raises the likelihood.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Samples, n > d.
    rng : int, numpy.random.Generator or None
    steps : int
        Most radial maps after the first, affine one.
    neighbours : int
        Samples within the narrowest radius: fewer fit finer.
    candidates : int
        Centres and radii that are tried at random in each step, and then three times near the best so far.
    whiten : bool
        Make mean and covariance right again after each step, not only at the start.
    held_out : float
        Share of the samples kept out of the fit: the flow ends where their likelihood was largest.
        0 uses all samples and runs all steps.
    patience : int
        Steps without a new best on the held-out samples after which the flow stops.
    progress : bool
        Show a bar when it takes long.

    Returns
    -------
    Composition
        From the data to N(0, I): ``mo.pullback_log_density(T, mo.StandardNormal(d).log_density, x)`` is the
        model's log density, ``T.inverse`` of normal samples draws from it.  Its ``history`` has ``training``
        and ``held_out``, mean log-likelihoods in nats after the first map and after each step, and its
        ``stopped`` says why it ended.

    Raises
    ------
    ValueError
        If `x` holds NaN or infinity, lies in a hyperplane, or has fewer samples than `neighbours`.

    Warns
    -----
    RuntimeWarning
        If the likelihood grows without bound, as on repeated samples: the last good map is returned.
    UserWarning
        If interrupted (Ctrl+C): the flow so far is returned.

    Notes
    -----
    The paper's: centres half from the moved samples, half from N(0, I); a radius round each that holds a
    given number of samples; the strength beta by Newton's method at 0.
    Ours: of many centres, with radii for `neighbours` to n / 5 samples, the one of largest gain by the
    quadratic model; the affine map after each step, whose effect the model foresees; steps that are halved
    until the training likelihood, computed anew, does not fall.
    ``candidates=1, whiten=False`` is close to the paper.

    Examples
    --------
    >>> import mini_ot as mo
    >>> T = mo.normalizing_flow(mo.Banana().sample(1000, rng=0), rng=1, steps=50, progress=False)
    >>> T.history["training"][-1] > T.history["training"][0] + 0.4
    True

    References
    ----------
    Tabak and Turner (2013).
    """
    neighbours, candidates = count(neighbours, "neighbours"), count(candidates, "candidates")

    def propose(z, rng):
        centre, alpha, beta = best_push(z, rng, neighbours, candidates, whiten)
        return lambda share: RadialMap(centre, alpha, share * beta)

    return _flow(x, propose, neighbours, rng, steps, whiten, held_out, patience, progress)


def dual_ascent_flow(
    x,
    *,
    rng=None,
    steps: int = 400,
    candidates: int = 8,
    whiten: bool = True,
    held_out: float = 0.2,
    patience: int = 200,
    progress: bool = True,
) -> Composition:
    """Turn the law of `x` into N(0, I) by kinks on the axes of turned frames: dual ascent of the likelihood.

    Parameters
    ----------
    x, rng, steps, whiten, held_out, patience, progress
        As in :func:`mini_ot.normalizing_flow`, which says what is returned, raised and warned of, too.
    candidates : int
        Frames that are tried at random in each step, and then near the best so far.

    Returns
    -------
    Composition

    Notes
    -----
    The paper's: a random rotation, and on each axis a smooth kink
    ``(1 - sigma) u + phi + gamma (w^2 + (u - c)^2)^(1/2)``, fitted by ascent of the likelihood.
    Ours: of several rotations, and kinks on their axes, the best by the quadratic model's gain, none narrower
    than holds 50 samples or one in a hundred; gamma by Newton's method, with sigma and phi left to the affine
    map after each step; halving as in the other flow.
    ``candidates=1`` leaves rotation and kinks to chance, as in the paper.

    References
    ----------
    Tabak and Vanden-Eijnden (2010).
    """
    candidates = count(candidates, "candidates")

    def propose(z, rng):
        rotation, centre, width, gamma = best_kinks(z, rng, candidates, whiten)
        return lambda share: KinkMap(rotation, centre, width, share * gamma)

    return _flow(x, propose, 2, rng, steps, whiten, held_out, patience, progress)


def _flow(x, propose, at_least, rng, steps, whiten, held_out, patience, show):
    """Add elementary maps, and affine ones between them, as long as the likelihood rises."""
    x, rng = samples(x, "x", at_least=max(2, at_least)).astype(np.float64), generator(rng)
    steps, patience = count(steps, "steps"), count(patience, "patience")
    z, test = split(x, held_out, rng)
    maps, cut = [whitening(z)], len(test)
    state = [_moved(points, 0.0, maps) for points in (z, test)]
    history = {"training": [_likelihood(*state[0])], "held_out": [_likelihood(*state[1])] if cut else []}
    best_at, idle, stopped = 0, 0, f"all {steps} steps done"
    try:
        for k in bar(range(1, steps + 1), label="normalizing flow", show=show):
            step, new, value = _ascent(propose(state[0][0], rng), state[0], history["training"][-1], whiten)
            idle = 0 if step else idle + 1
            if idle == _IDLE:
                stopped = f"converged: {_IDLE} proposals in a row raised nothing"
                break
            if not step:
                continue
            if value - history["training"][0] > _MUCH and not _inverts(maps + step):
                stopped = f"diverged at step {k}: the likelihood has no bound, as on repeated or few samples"
                warnings.warn(f"{stopped}; the last good map is returned", RuntimeWarning, stacklevel=3)
                break
            state = [new, _moved(*state[1], step)]
            maps = maps + step
            if cut:
                history["held_out"].append(_likelihood(*state[1]))
            history["training"].append(value)
            if not cut:
                continue
            if history["held_out"][-1] > history["held_out"][best_at]:
                best_at = len(history["held_out"]) - 1
            elif len(history["held_out"]) - 1 - best_at >= patience:
                stopped = f"held-out likelihood has not risen for {patience} steps"
                break
    except KeyboardInterrupt:
        stopped = "interrupted"
        warnings.warn(
            f"interrupted: the flow has {len(history['training']) - 1} of {steps} steps", stacklevel=3
        )
    kept = best_at if cut else len(history["training"]) - 1
    return Composition(maps[: 1 + (2 if whiten else 1) * kept], history, stopped)


def _ascent(elementary, now, value, whiten):
    """Return the longest of some ever shorter steps that raises the likelihood, where it leads, its value."""
    share = 1.0
    while share >= _SHORTEST:
        step = [elementary(share)]
        new = _moved(*now, step)
        if whiten and np.isfinite(new[0]).all():
            step.append(whitening(new[0]))
            new = _moved(*new, step[1:])
        if (raised := _likelihood(*new)) >= value:
            return step, new, raised
        share /= 2
    return [], now, value


def _inverts(maps):
    """Tell whether normal points come back from where the inverse takes them."""
    T, z = Composition(maps), np.random.default_rng(0).standard_normal((200, maps[0].dim))
    with np.errstate(all="ignore"):
        return np.abs(T._forward(T._inverse(z)) - z).max() < 1e-6


def _moved(points, log_det, maps):
    for T in maps:
        log_det = log_det + T._log_det(points).mean() if len(points) else 0.0
        points = T._forward(points)
    return points, log_det


def _likelihood(z, log_det):
    return float(log_det - 0.5 * (np.vdot(z, z) / len(z) + z.shape[1] * np.log(2 * np.pi)))
