"""Normalizing flows: many elementary maps, each of which raises the likelihood.  Chapter 4."""

from numbers import Real

import numpy as np

from ._validate import positive, samples
from .maps import Map


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
        self.centre = samples(np.atleast_2d(centre), "centre").astype(np.float64)[0]
        super().__init__(len(self.centre))
        self.alpha = positive(alpha, "alpha")
        if isinstance(beta, bool) or not isinstance(beta, Real):
            raise TypeError(f"beta must be a real number, got {type(beta).__name__} {beta!r}")
        if not -self.alpha < beta < np.inf:
            raise ValueError(f"beta must be finite and larger than -alpha = {-self.alpha}, got {beta}")
        self.beta = float(beta)

    def _gap(self, x):
        gap = x - self.centre
        return gap, np.sqrt((gap**2).sum(axis=1, keepdims=True))

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
