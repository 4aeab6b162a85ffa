"""Planar and radial flows after Rezende and Mohamed (2015), with gradients worked out by hand.  Chapter 5."""

from collections.abc import Callable

import numpy as np

from ._flow_fit import Flow, fit_samples, watched
from ._layers import PLANAR, corrected, softplus, solve_planar
from ._log_density import Frame
from ._validate import count, generator, one_of, positive, vector
from .maps import AffineMap, Composition, Map
from .normalizing import RadialMap

_JUDGED = 1000  # points on which the evidence bound is estimated now and then
_ANNEALED = 0.3  # share of the steps over which the target is heated


class PlanarMap(Map):
    """z -> z + u_hat tanh(w . z + b): a push along u_hat that turns round across a plane.

    It is one-to-one with a smooth inverse if and only if w . u_hat > -1, so `u` is corrected as in the paper:
    ``u_hat = u + (log(1 + exp(w . u)) - 1 - w . u) w / |w|^2``.

    Parameters
    ----------
    u, w : array_like, shape (d,)
        w must not be zero.
    b : float

    Attributes
    ----------
    u_hat : ndarray, shape (d,)

    Raises
    ------
    ValueError
        If shapes disagree, numbers are not finite, or w is zero.

    Notes
    -----
    With t = tanh(w . z + b) the determinant is 1 + w . u_hat (1 - t^2).
    The inverse needs one root of an increasing function of one number, found by Newton's method in a
    bracket.  Where w . u_hat is nearly -1 the map nearly folds, and digits of the inverse are lost.
    The correction is not neutral: u = 0 gives w . u_hat = log(2) - 1.
    1 + w . u_hat is kept above 1e-8.

    Examples
    --------
    >>> import mini_ot as mo, numpy as np
    >>> T = mo.PlanarMap([1.0, 0.5], [2.0, 0.0], 0.1)
    >>> x = mo.StandardNormal().sample(5, rng=0)
    >>> bool(np.allclose(T.inverse(T(x)), x))
    True

    References
    ----------
    Rezende and Mohamed (2015), section 4.1 and appendix A.
    """

    def __init__(self, u, w, b):
        self.w = vector(w, "w")
        super().__init__(len(self.w))
        self.u, self.b = vector(u, "u", self.dim), float(vector(b, "b", 1)[0])
        if not self.w.any():
            raise ValueError("w must not be zero: the map would have no direction")
        self._s, self.u_hat = corrected(self.u, self.w)

    def _tanh(self, x):
        return np.tanh(x @ self.w + self.b)

    def _forward(self, x):
        return x + self._tanh(x)[:, None] * self.u_hat

    def _inverse(self, y):
        inside = y @ self.w + self.b
        solve_planar(inside, self._s)
        return y - np.tanh(inside)[:, None] * self.u_hat

    def _log_det(self, x):
        t2 = self._tanh(x) ** 2
        return np.log(t2 + self._s * (1 - t2))


def _composition(flow, first, history, stopped):
    """Return a trained flow as maps; its own affine map follows `first` and becomes one with it."""
    d = flow.dim
    scale = np.exp(flow.theta[d : 2 * d])
    maps = [AffineMap(scale[:, None] * first.matrix, flow.theta[:d] + scale * first.shift)]
    for row in flow.rows():
        if flow.kind == PLANAR:
            maps.append(PlanarMap(row[:d], row[d : 2 * d], row[2 * d]))
        else:
            alpha = np.exp(row[d])
            maps.append(RadialMap(row[:d], alpha, max(softplus(row[d + 1]), 1e-8 * alpha) - alpha))
    return Composition(maps, history, stopped)


def planar_flow(
    x,
    *,
    layers: int = 32,
    rng=None,
    steps: int = 10_000,
    batch: int = 256,
    learning_rate: float = 0.01,
    held_out: float = 0.2,
    progress: bool = True,
) -> Composition:
    """Map the samples `x` to the standard normal by planar layers, fitted by maximum likelihood.

    The samples are whitened; then Adam raises the mean log-likelihood of random batches, its rate falling
    linearly to zero.

    Parameters
    ----------
    x : array_like, shape (n, d)
    layers : int
        How many planar maps.
    rng : int, numpy.random.Generator or None
    steps, batch : int
        Steps of Adam, and samples drawn (with replacement) for each.
    learning_rate : float
        Adam's rate at the first step.
    held_out : float
        Share of the samples kept out of the fit: the flow returned is the one that was best on them.
        0 returns the last one.
    progress : bool
        Show a bar when it takes long.

    Returns
    -------
    Composition
        An affine map and `layers` of :class:`mini_ot.PlanarMap`.  Its `history` has ``step``, and
        ``training`` and ``held_out``: mean log-likelihoods in nats and the data's own units.

    Raises
    ------
    ValueError
        If the samples hold NaN or infinity, are too few, or lie in a hyperplane.

    Warns
    -----
    RuntimeWarning
        If the training diverges: the last good map is returned, and `stopped` says why.
    UserWarning
        If interrupted (Ctrl+C): the map so far is returned.

    Examples
    --------
    >>> import mini_ot as mo
    >>> T = mo.planar_flow(mo.TwoMoons().sample(500, rng=0), layers=4, steps=200, rng=1)
    >>> len(T.steps), T.stopped
    (5, 'all 200 steps done')

    References
    ----------
    Rezende and Mohamed (2015).
    """
    trained = fit_samples("planar", x, layers, rng, steps, batch, learning_rate, held_out, progress)
    return _composition(*trained)


def radial_flow(
    x,
    *,
    layers: int = 32,
    rng=None,
    steps: int = 10_000,
    batch: int = 256,
    learning_rate: float = 0.01,
    held_out: float = 0.2,
    progress: bool = True,
) -> Composition:
    """Do as :func:`mini_ot.planar_flow` with radial layers.

    A layer is the map of Tabak and Turner, :class:`mini_ot.RadialMap`; here all are trained together, there
    one after the other.
    Parameters, result and errors are the same.

    Examples
    --------
    >>> import mini_ot as mo
    >>> T = mo.radial_flow(mo.TwoMoons().sample(500, rng=0), layers=4, steps=200, rng=1)
    >>> T.steps[1]
    RadialMap(dim=2, steps=1)
    """
    trained = fit_samples("radial", x, layers, rng, steps, batch, learning_rate, held_out, progress)
    return _composition(*trained)


def variational_flow(
    log_density: Callable,
    dim: int,
    *,
    layer: str = "planar",
    layers: int = 32,
    score: Callable | None = None,
    steps: int = 10_000,
    batch: int = 256,
    learning_rate: float = 0.01,
    anneal: bool = True,
    rng=None,
    progress: bool = True,
) -> Composition:
    """Map the standard normal to an unnormalised density, by raising the evidence lower bound.

    The bound E[log pi(T(z)) + log det DT(z)] + dim log(2 pi e) / 2 is the log of pi's integral minus the
    Kullback-Leibler divergence of the flow from pi.  Each step takes fresh points z.

    Parameters
    ----------
    log_density : callable
        Log of pi: points (n, dim) to (n,), finite everywhere the flow may go.
    dim : int
    layer : {"planar", "radial"}
    layers : int
    score : callable, optional
        Gradient of `log_density`: points (n, dim) to (n, dim).  Central differences by default, which call
        `log_density` on 2 dim batches a step.
    steps, batch : int
        Steps of Adam, and points for each.
    learning_rate : float
        Adam's rate at the first step; it falls linearly to zero.
    anneal : bool
        Raise the power of pi from 0.01 to 1 over the first 30 % of the steps, so that all modes are found.
    rng : int, numpy.random.Generator or None
    progress : bool

    Returns
    -------
    Composition
        A diagonal affine map and `layers` of :class:`mini_ot.PlanarMap` or :class:`mini_ot.RadialMap`.
        Its `history` has ``step`` and ``elbo``: every hundred steps the bound on 1000 fresh points, of pi
        itself also while it is annealed.

    Raises
    ------
    TypeError, ValueError
        If `log_density` or `score` return something of the wrong shape or not finite (-inf included: a target
        that vanishes somewhere needs a soft edge); the message names the point.

    Warns
    -----
    RuntimeWarning
        If the training diverges: the last good map is returned, and `stopped` says why.
    UserWarning
        If interrupted (Ctrl+C): the map so far is returned.

    Notes
    -----
    The divergence is the reverse one, KL(flow, pi): a flow that misses a mode pays little for it.
    There are local optima, most of all with few layers: run several seeds and keep the largest bound.
    The start is N(0, I) and parameters move by about `learning_rate` a step: scale pi to about that size.

    Examples
    --------
    >>> import mini_ot as mo
    >>> wave = mo.PaperEnergy(2)
    >>> T = mo.variational_flow(wave.log_density, 2, score=wave.score, layers=8, steps=500, rng=0)
    >>> T.history["elbo"][-1] > T.history["elbo"][0]
    True

    References
    ----------
    Rezende and Mohamed (2015), section 6.1.
    """
    dim, layers, steps = count(dim, "dim"), count(layers, "layers"), count(steps, "steps")
    batch, rng = count(batch, "batch"), generator(rng)
    learning_rate = positive(learning_rate, "learning_rate")
    one_of(layer, "layer", ("planar", "radial"))
    target = Frame(log_density, score, dim, edges=False)
    flow = Flow(layer, layers, dim, batch, rng)
    history, entropy = {"step": [], "elbo": []}, 0.5 * dim * np.log(2 * np.pi * np.e)

    def judge(k):
        images, log_det = flow.push_freely(rng.standard_normal((dim, _JUDGED)))
        values = target.values(images.T)
        history["step"].append(k)
        history["elbo"].append(float(values.mean() + log_det.mean() + entropy))
        return history["elbo"][-1]

    def step(k):
        z = rng.standard_normal((dim, batch))
        slope = target.slopes(flow.push(z)[0].T)
        power = min(1.0, 0.01 + (k - 1) / (_ANNEALED * steps)) if anneal else 1.0
        rate = learning_rate * (1 - (k - 1) / steps)
        flow.descend(z, np.ascontiguousarray(slope.T) * (-power / batch), k, rate)

    stopped = watched(flow, steps, judge, step, progress)
    return _composition(flow, AffineMap(np.eye(dim), np.zeros(dim)), history, stopped)
