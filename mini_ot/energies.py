"""The four two-dimensional energies on which Rezende and Mohamed (2015) show their flows.  Chapter 5."""

import numpy as np

from ._validate import count, one_of, samples
from .targets import Target

_EDGE, _SOFT = 4.0, 0.4  # U2 to U4 are flat along z1: beyond |z1| = 4 they get a Gaussian shoulder
_ROOT_2PI = np.sqrt(2 * np.pi)
_FARTHEST = 5.2  # eight standard deviations beyond the ring of U1


class PaperEnergy(Target):
    """The density proportional to exp(-U) for an energy U of table 1 of Rezende and Mohamed (2015).

    1. ``((|z| - 2) / 0.4)^2 / 2 - log(exp(-((z1 - 2) / 0.6)^2 / 2) + exp(-((z1 + 2) / 0.6)^2 / 2))``:
       two arcs of a ring;
    2. ``((z2 - w1) / 0.4)^2 / 2``: a wave;
    3. ``-log(exp(-((z2 - w1) / 0.35)^2 / 2) + exp(-((z2 - w1 + w2) / 0.35)^2 / 2))``: a wave with an eye;
    4. ``-log(exp(-((z2 - w1) / 0.4)^2 / 2) + exp(-((z2 - w1 + w3) / 0.35)^2 / 2))``: a wave that splits;

    with ``w1 = sin(pi z1 / 2)``, ``w2 = 3 exp(-((z1 - 1) / 0.6)^2 / 2)`` and
    ``w3 = 3 / (1 + exp(-(z1 - 1) / 0.3))``.

    Parameters
    ----------
    k : int
        Which one, 1 to 4.

    Attributes
    ----------
    log_constant : float
        Log of the integral of exp(-U): in closed form for 2 to 4, by quadrature for 1.

    Notes
    -----
    The energies 2 to 4 do not grow with ``|z1|``, so that exp(-U) has no finite integral.
    Here ``((|z1| - 4) / 0.4)^2 / 2`` is added to them where ``|z1| > 4``; within the
    paper's picture nothing changes.

    Examples
    --------
    >>> import mini_ot as mo
    >>> wave = mo.PaperEnergy(2)
    >>> bool(abs(wave.log_density([[0.0, 0.0]])[0] + wave.log_constant) < 1e-12)
    True
    """

    def __init__(self, k: int):
        self.k = count(k, "k")
        one_of(k, "k", (1, 2, 3, 4))
        self.bounds = (
            ((-4.0, 4.0), (-4.0, 4.0)),
            ((-5.4, 5.4), (-3.0, 3.0)),
            ((-5.4, 5.4), (-4.0, 3.0)),
            ((-5.4, 5.4), (-6.0, 3.0)),
        )[self.k - 1]
        widths = {2: 0.4, 3: 0.35 + 0.35, 4: 0.4 + 0.35}
        if self.k == 1:
            self.log_constant = np.log(_ring_integral())
        else:  # along z2 the density is one bell or two, along z1 a plateau with two half bells
            self.log_constant = np.log(widths[self.k] * _ROOT_2PI * (2 * _EDGE + _SOFT * _ROOT_2PI))

    def __repr__(self) -> str:
        return f"PaperEnergy({self.k})"

    def energy(self, x) -> np.ndarray:
        """Return U, with the soft edge, at the points `x` of shape (n, 2), as shape (n,)."""
        return -self.log_density(x) - self.log_constant

    def score(self, x) -> np.ndarray:
        """Return the gradient of the log density at the points `x` of shape (n, 2), as shape (n, 2)."""
        x = samples(x, "x", dim=2).astype(np.float64)
        first, second = x.T
        out = np.empty_like(x)
        if self.k == 1:
            r = np.maximum(np.hypot(first, second), 1e-300)
            pull = (2 - r) / (0.16 * r)
            out[:, 0] = pull * first - (first - 2 * np.tanh(first / 0.18)) / 0.36
            out[:, 1] = pull * second
            return out
        gaps, widths, slopes = self._branches(first, second)
        shares = _shares(gaps, widths)
        pulls = [-share * gap / width**2 for share, gap, width in zip(shares, gaps, widths, strict=True)]
        out[:, 1] = sum(pulls)
        out[:, 0] = sum(pull * slope for pull, slope in zip(pulls, slopes, strict=True))
        out[:, 0] -= (first - np.clip(first, -_EDGE, _EDGE)) / _SOFT**2
        return out

    def _branches(self, first, second):
        """Return the gap in z2 to each branch of the wave, the branch's width, and the gap's slope in z1."""
        angle = np.pi / 2 * first
        gap, slope = second - np.sin(angle), -np.pi / 2 * np.cos(angle)
        if self.k == 2:
            return [gap], [0.4], [slope]
        if self.k == 3:
            move = 3 * np.exp(-0.5 * ((first - 1) / 0.6) ** 2)
            more = -move * (first - 1) / 0.36
        else:
            share = 0.5 + 0.5 * np.tanh((first - 1) / 0.6)
            move, more = 3 * share, 10 * share * (1 - share)
        return [gap, gap + move], [0.35 if self.k == 3 else 0.4, 0.35], [slope, slope + more]

    def _log_density(self, x):
        first, second = x.T
        if self.k == 1:
            ring = -0.5 * ((np.hypot(first, second) - 2) / 0.4) ** 2
            sides = [-0.5 * ((first - side) / 0.6) ** 2 for side in (-2, 2)]
            return ring + np.logaddexp(*sides) - self.log_constant
        gaps, widths, _ = self._branches(first, second)
        bells = [-0.5 * (gap / width) ** 2 for gap, width in zip(gaps, widths, strict=True)]
        beyond = np.maximum(np.abs(first) - _EDGE, 0.0)
        across = bells[0] if len(bells) == 1 else np.logaddexp(*bells)
        return across - 0.5 * (beyond / _SOFT) ** 2 - self.log_constant

    def _sample(self, n, rng):
        return _ring_sample(n, rng) if self.k == 1 else self._wave_sample(n, rng)

    def _wave_sample(self, n, rng):
        """Draw z1 from the plateau or its shoulders, then a branch by its mass, then z2."""
        first = rng.uniform(-_EDGE, _EDGE, n)
        shoulder = _SOFT * rng.standard_normal(n)
        beyond = rng.random(n) * (2 * _EDGE + _SOFT * _ROOT_2PI) > 2 * _EDGE
        first = np.where(beyond, shoulder + np.copysign(_EDGE, shoulder), first)
        gaps, widths, _ = self._branches(first, np.zeros(n))
        branch = rng.choice(len(widths), size=n, p=np.array(widths) / sum(widths))
        noise = np.array(widths)[branch] * rng.standard_normal(n)
        return np.c_[first, noise - np.array(gaps)[branch, np.arange(n)]]


def _shares(gaps, widths):
    """Return by how much each branch counts in the log density's gradient: shares that add up to one."""
    if len(gaps) == 1:
        return [1.0]
    share = 0.5 + 0.5 * np.tanh(0.25 * ((gaps[1] / widths[1]) ** 2 - (gaps[0] / widths[0]) ** 2))
    return [share, 1 - share]


def _ring_integral() -> float:
    """Integrate exp(-U1) in polar coordinates: Gauss-Legendre in the radius, evenly in the angle."""
    node, weight = np.polynomial.legendre.leggauss(200)
    r, angle = _FARTHEST * (node + 1) / 2, 2 * np.pi * np.arange(512) / 512
    sides = sum(np.exp(-0.5 * ((r[:, None] * np.cos(angle) - side) / 0.6) ** 2) for side in (-2, 2))
    ring = _FARTHEST / 2 * weight * r * np.exp(-0.5 * ((r - 2) / 0.4) ** 2)
    return float(ring @ sides.mean(axis=1) * 2 * np.pi)


def _ring_sample(n, rng):
    """Draw from U1 by rejection: radius from the ring's bell, angle evenly, accepted by what is left."""
    kept, found = [], 0
    while found < n:
        size = 12 * (n - found) + 100
        r, angle = 2 + 0.4 * rng.standard_normal(size), rng.uniform(0, 2 * np.pi, size)
        first = r * np.cos(angle)
        sides = sum(np.exp(-0.5 * ((first - side) / 0.6) ** 2) for side in (-2, 2))
        good = (r > 0) & (r < _FARTHEST) & (rng.random(size) * _FARTHEST * (1 + 1e-6) < r * sides)
        kept.append(np.c_[first, r * np.sin(angle)][good])
        found += good.sum()
    return np.concatenate(kept)[:n]
