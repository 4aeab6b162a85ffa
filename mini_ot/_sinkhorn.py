"""Sinkhorn's iteration (chapter 6): the problem with its dual gap, and the extrapolation of its steps."""

import warnings

import numpy as np
from scipy.special import rel_entr, xlogy

from ._progress import progress as progress_bar
from ._softmin import softmin

_WARM = 0.1  # mass that a marginal may miss when a larger epsilon hands over to the next
_MEMORY = 20  # steps that the extrapolation looks back


def iterate(problem, epsilon, tol, scaling, max_steps, progress):
    """Return f, g, the gap and the history, at a gap below tol or after so many steps."""
    now = epsilon if scaling == 0 else max(problem.size, epsilon)
    f, g, check_below = None, np.zeros(len(problem.b)), np.inf
    history = {"epsilon": [], "dual": [], "error": []}
    ahead = Extrapolation(problem)
    try:
        for _ in progress_bar(range(max_steps), label="Sinkhorn", show=progress):
            f = problem.f_from(g, now, f)
            g_next = problem.g_from(f, now, g)
            error = problem.missing(g, g_next, now).sum()
            for key, value in zip(history, (now, problem.dual(f, g), error), strict=True):
                history[key].append(float(value))
            if now == epsilon and error <= check_below:
                gap = problem.gap(f, g, g_next, epsilon)
                if gap <= tol:
                    return f, g, gap, history
                check_below = 0.9 * error * tol / gap
            if now > epsilon and error < _WARM:
                now, g, ahead = max(now * scaling, epsilon), g_next, Extrapolation(problem)
            else:
                g = ahead.step(f, g, g_next, now)
    except KeyboardInterrupt:  # the potentials so far will do, with their gap
        pass
    f = problem.f_from(g, epsilon, f)
    if ahead.back is not None and problem.dual(f, g) < ahead.best:  # the last extrapolation went too far
        f = problem.f_from(g := ahead.back, epsilon, f)
    gap = problem.gap(f, g, problem.g_from(f, epsilon, g), epsilon)
    if gap > tol:
        warnings.warn(
            f"the dual gap is {gap:.1e} of the dual value after {len(history['error'])} steps, not below "
            f"{tol:g}: pass more max_steps, or a larger epsilon or tol",
            RuntimeWarning,
            stacklevel=3,
        )
    return f, g, gap, history


class Problem:
    """Two weighted clouds, moved so that their common mean is zero."""

    def __init__(self, x, y, a, b):
        self.centre = (x.mean(axis=0) + y.mean(axis=0)) / 2
        self.x, self.y, self.a, self.b = x - self.centre, y - self.centre, a, b
        with np.errstate(divide="ignore"):
            self.log_a, self.log_b = np.log(a), np.log(b)
        both = np.concatenate([self.x, self.y])
        self.size = float(((both.max(axis=0) - both.min(axis=0)) ** 2).sum())
        self.same = np.array_equal(x, y) and np.array_equal(a, b)

    def f_from(self, g, epsilon, guess):
        """The best f for this g: ``f_i = -epsilon log sum_j b_j exp((g_j - C_ij) / epsilon)``."""
        return softmin(self.x, self.y, self.log_b + g / epsilon, epsilon, guess)

    def g_from(self, f, epsilon, guess):
        return softmin(self.y, self.x, self.log_a + f / epsilon, epsilon, guess)

    def dual(self, f, g):
        return float(self.a @ f + self.b @ g)

    def missing(self, g, g_next, epsilon):
        """What the second marginal lacks at each point, if f fits g and g_next fits f."""
        return self.b * -np.expm1(np.minimum((g - g_next) / epsilon, 0.0))

    def gap(self, f, g, g_next, epsilon):
        """Return how far the plan, rounded to the right marginals, is above the dual value, relative to it.

        f fits g, and g_next fits f.  Columns that hold too much are scaled down, and what rows r and columns
        s then lack is added as r s' / theta, theta their sum (Altschuler, Weed and Rigollet 2017).  The sum
        that is minimised is convex, so its values at the scaled plan and at r s' bound it.
        """
        low = np.minimum(g, g_next)
        r = self.a * -np.expm1(np.minimum((f - self.f_from(low, epsilon, f)) / epsilon, 0.0))
        s, value = self.missing(g, g_next, epsilon), self.dual(f, g)
        lost, theta = r.sum(), s.sum()
        if not (lost > 0 and theta > 0):
            return 0.0
        kept = (self.a - r) @ f + (self.b - s) @ low - epsilon * xlogy(1 - theta, 1 - theta)
        r, s = r / lost, s / theta
        spread = r @ (self.x**2).sum(axis=1) + s @ (self.y**2).sum(axis=1) - 2 * (r @ self.x) @ (s @ self.y)
        added = theta * (spread + epsilon * (rel_entr(r, self.a).sum() + rel_entr(s, self.b).sum()))
        return max(float(kept + added - value), 0.0) / (max(value, 0.0) + 1e-8 * (self.size + epsilon))


class Extrapolation:
    """Anderson acceleration of g -> g_next at one epsilon."""

    def __init__(self, problem):
        self.problem, self.moves, self.ends = problem, [], []
        self.best, self.back, self.root = -np.inf, None, np.sqrt(problem.b)

    def step(self, f, g, g_next, epsilon):
        """Return the g to go on with: the combination of past steps that would leave the smallest move."""
        if self.problem.same:  # then f and g agree at the end, and their mean contracts eightfold
            return (f + g_next) / 2
        value = self.problem.dual(f, g)
        if self.back is not None and value < self.best - 1e-13 * self.problem.size:
            back, self.back, self.moves, self.ends = self.back, None, [], []
            return back
        self.best, self.back = value, g_next
        self.moves = [*self.moves[-_MEMORY:], (g_next - g) / epsilon * self.root]
        self.ends = [*self.ends[-_MEMORY:], g_next]
        changes = np.diff(self.moves, axis=0)
        gram = changes @ changes.T
        if not np.trace(gram) > 1e-100:  # the first step, or moves that rounding no longer tells apart
            return g_next
        gram += 1e-12 * np.trace(gram) * np.eye(len(gram))
        return g_next - np.linalg.solve(gram, changes @ self.moves[-1]) @ np.diff(self.ends, axis=0)
