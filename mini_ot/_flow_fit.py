"""The parameters of a planar or radial flow under training, and the loop that watches over it."""

import warnings

import numpy as np

from . import _progress
from ._layers import PLANAR, RADIAL, adam, backward, forward, row_length
from ._validate import count, generator, positive, samples, split
from .maps import whitening

_NEUTRAL = np.log(np.e - 1)  # softplus of it is one: a layer whose w . u is that is the identity along w
EVERY = 100  # steps between two entries of the history
_JUDGED = 4096  # training samples that are enough to judge by
_START = 0.1  # size of the first random moves
_BLOCK = 4096  # points pushed at once outside the training steps
_FARTHEST = 1e10  # images beyond it count as divergence
_COLLAPSE = 1e3  # nats below the start that count as divergence


class Flow:
    """The parameters of a flow under training, with room for one batch."""

    def __init__(self, layer, layers, dim, batch, rng):
        self.kind = {"planar": PLANAR, "radial": RADIAL}[layer]
        self.dim, self.layers = dim, layers
        self.theta = np.zeros(2 * dim + layers * row_length(self.kind, dim))
        self._start(rng)
        self.grad, self.mean, self.square = (np.zeros_like(self.theta) for _ in range(3))
        self.room = self._room(batch)

    def rows(self):
        return self.theta[2 * self.dim :].reshape(self.layers, -1)

    def _start(self, rng):
        """Start near the identity, with planes and centres spread over the normal law."""
        rows, d = self.rows(), self.dim
        if self.kind == PLANAR:
            w = rng.standard_normal((self.layers, d))
            w /= np.linalg.norm(w, axis=1, keepdims=True)
            rows[:, d : 2 * d], rows[:, 2 * d] = w, rng.standard_normal(self.layers)
            rows[:, :d] = _NEUTRAL * w + _START * rng.standard_normal((self.layers, d))
        else:
            rows[:, :d] = rng.standard_normal((self.layers, d))
            rows[:, d + 1] = _NEUTRAL + _START * rng.standard_normal(self.layers)

    def _room(self, n):
        """Room for all layers' points, their tanh or radius, and the log-determinant of `n` points."""
        return np.empty((self.layers + 1, self.dim, n)), np.empty((self.layers, n)), np.empty(n)

    def push(self, x):
        """Push a batch (d, n); return its images and log-determinants, which the next push overwrites."""
        return self._push(x, self.room)

    def push_freely(self, x):
        """Push any number of points (d, n); return their images and log-determinants."""
        return self._push(np.ascontiguousarray(x), self._room(x.shape[1]))

    def _push(self, x, room):
        forward(self.kind, self.theta, x, *room)
        if not (np.abs(room[0][-1]) < _FARTHEST).all():
            raise Diverged("points went out of all bounds")
        return room[0][-1], room[2]

    def descend(self, x, g, step, rate):
        """Take a step of Adam, given the loss's gradient `g` at the images of the batch that was pushed."""
        backward(self.kind, self.theta, x, *self.room[:2], g, self.grad)
        adam(self.theta, self.grad, self.mean, self.square, step, rate)

    def log_likelihood(self, x):
        """Return the mean log-likelihood of samples (d, n) under the standard normal pulled back."""
        total = 0.0
        for i in range(0, x.shape[1], _BLOCK):
            images, log_det = self.push_freely(x[:, i : i + _BLOCK])
            total += log_det.sum() - 0.5 * (images**2).sum()
        return total / x.shape[1] - 0.5 * self.dim * np.log(2 * np.pi)


class Diverged(Exception):
    """Training left the finite numbers or fell far below its start; the message says which."""


def watched(flow, steps, judge, step, progress, level=3):
    """Run ``step(k)`` for k = 1 .. steps and ``judge(k)`` after every hundred; return why it ended.

    `judge` returns the objective.  On divergence the parameters that were judged last come back.
    `level` is how far up the user's own line is, for warnings.
    """
    good, first, k = flow.theta.copy(), None, 0
    try:
        for k in _progress.progress(range(steps + 1), label="flow", show=progress):
            if k > 0:
                step(k)
            if k % EVERY and k < steps:
                continue
            value = judge(k)
            first = value if first is None else first
            if not np.isfinite(value) or not np.isfinite(flow.theta).all():
                raise Diverged("numbers are no longer finite")
            if value < first - _COLLAPSE - abs(first):
                raise Diverged(f"the objective fell from {first:.3g} to {value:.3g}")
            good = flow.theta.copy()
    except Diverged as reason:
        flow.theta[:] = good
        stopped = f"diverged at step {k}: {reason}"
        warnings.warn(f"{stopped}; the last good map is returned", RuntimeWarning, stacklevel=level)
        return stopped
    except KeyboardInterrupt:
        warnings.warn(f"interrupted in step {k} of {steps}: the map so far is returned", stacklevel=level)
        return "interrupted"
    return f"all {steps} steps done"


def fit_samples(layer, x, layers, rng, steps, batch, learning_rate, held_out, progress):
    """Fit a flow to samples by maximum likelihood; return it, the whitening, the history, why it ended."""
    x, rng = samples(x, "x", at_least=2).astype(np.float64), generator(rng)
    layers, steps, batch = count(layers, "layers"), count(steps, "steps"), count(batch, "batch")
    learning_rate = positive(learning_rate, "learning_rate")
    train, test = split(x, held_out, rng)
    white = whitening(train)
    offset = white.log_det(x[:1])[0]
    train, test = (np.ascontiguousarray(white(part).T) if len(part) else None for part in (train, test))
    some = np.ascontiguousarray(train[:, :_JUDGED])
    flow = Flow(layer, layers, x.shape[1], batch, rng)
    history = {"step": [], "training": [], "held_out": []}
    best, best_value = flow.theta.copy(), -np.inf

    def judge(k):
        nonlocal best, best_value
        value = flow.log_likelihood(some)
        judged = value if test is None else flow.log_likelihood(test)
        if not np.isfinite(value + judged):
            return np.nan
        history["step"].append(k)
        history["training"].append(value + offset)
        if test is not None:
            history["held_out"].append(judged + offset)
            if judged > best_value:
                best, best_value = flow.theta.copy(), judged
        return value

    def step(k):
        points = np.take(train, rng.integers(train.shape[1], size=batch), axis=1)
        images, _ = flow.push(points)
        flow.descend(points, images / batch, k, learning_rate * (1 - (k - 1) / steps))

    stopped = watched(flow, steps, judge, step, progress, level=4)
    if test is not None:
        flow.theta[:] = best
    return flow, white, history, stopped
