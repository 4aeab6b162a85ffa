"""The flow of the energy kernel, from one-dimensional pictures of both clouds.  Chapter 11.

The energy kernel -|x - y| is a constant times the mean of -|<x - y, s>| over all directions s, and on a line
the slope of its witness takes a sort only.  The loops stand in ``_slices.py`` and ``_cells.py``.
"""

import warnings

import numpy as np
from scipy.special import gammaln

from ._cells import counted_slopes, middle_ranks
from ._progress import progress
from ._slices import sorted_slopes
from ._validate import count, generator, positive, two_clouds
from .maps import Map

_SETS = 8  # sets of directions that take turns, so that the targets are counted once only


def sliced_energy_gradient(x, y, *, slices: int = 100, rng=None) -> np.ndarray:
    """Return the gradient of the energy kernel's witness at the points `x`, estimated from random slices.

    This is the gradient of MMD^2 / 2 in the points x_i, times their number.  With enough slices it becomes
    ``mo.witness(x, y, kernel=mo.Energy()).gradient(x)``, which takes all pairs; this takes
    ``slices * (n + m) log(n + m)``.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
    slices : int
        Directions: spread evenly in the plane, else at random in groups of d orthogonal ones.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    ndarray, shape (n, d)
        The relative error falls like (d / slices)^(1/2), in the plane faster.

    Notes
    -----
    Each one-dimensional slope is exact, with projections compared to 2^-32 of the extent of both clouds.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.sliced_energy_gradient([[0.0]], [[1.0], [2.0]]).tolist()
    [[-1.0]]

    References
    ----------
    Hertrich, Wald, Altekruger and Hagemann (2024).
    """
    x, y = two_clouds(x, y)
    dtype, d = x.dtype, x.shape[1]
    directions = _spread_out(count(slices, "slices"), d, generator(rng))
    x, y = x.astype(np.float64), y.astype(np.float64)
    return (_factor(d) * sorted_slopes(x, x, y, directions)).astype(dtype)


def _factor(d):
    """Return c with |x| = c E|<x, s>| for s uniform on the unit sphere of R^d."""
    return np.sqrt(np.pi) * np.exp(gammaln((d + 1) / 2) - gammaln(d / 2))


def _spread_out(slices, d, rng):
    """Return unit vectors (slices, d), uniform on the sphere, and spread out more evenly than by chance."""
    if d == 1:
        return np.ones((slices, 1))
    if d == 2:
        angle = np.pi * (np.arange(slices) + rng.random()) / slices
        return np.c_[np.cos(angle), np.sin(angle)]
    frames = np.linalg.qr(rng.standard_normal((-(-slices // d), d, d)))[0]
    return frames.transpose(0, 2, 1).reshape(-1, d)[:slices]


class SlicedFlow(Map):
    """What :func:`mini_ot.sliced_mmd_flow` returns: a map of new points, without inverse or log-determinant.

    Attributes
    ----------
    particles : ndarray, shape (n, d)
        Where the flow's own particles arrived.
    trajectory : ndarray, shape (steps + 1, n, d)
        Where they were, from the start to the end, to the precision of float32.
    """

    # Clouds are kept as (d, n), relative to the middle of x and y and in units of their reach.
    def __init__(self, x, y, middle, unit, directions, cells, momentum):
        super().__init__(len(middle), {"step": [], "gradient": []})
        self._middle, self._unit, self._directions, self._momentum = middle, unit, directions, momentum
        self._clouds, self._y = [self._inside(x)], self._inside(y)
        self._targets = [middle_ranks(self._y, one, 1.0, cells) if cells else None for one in directions]

    def _inside(self, points):
        return np.ascontiguousarray((points - self._middle).T / self._unit, dtype=np.float32)

    def _outside(self, cloud):
        return cloud.T * self._unit + self._middle

    def _slope(self, k, points, cloud):
        directions, targets = self._directions[k % _SETS], self._targets[k % _SETS]
        if targets is not None:
            return _factor(self.dim) * counted_slopes(points, cloud, targets, directions, 1.0)
        own = points is cloud
        cloud = cloud.T.astype(np.float64)
        points = cloud if own else points.T.astype(np.float64)
        return _factor(self.dim) * sorted_slopes(points, cloud, self._y.T.astype(np.float64), directions).T

    def _run(self, sizes):
        z, velocity = self._clouds[0], 0.0
        for k, size in enumerate(progress(sizes, label="sliced MMD flow")):
            slope = self._slope(k, z, z)
            velocity = self._momentum * velocity - size / self._unit * slope
            z = (z + velocity).astype(np.float32)
            self._clouds.append(z)
            self.history["step"].append(float(size))
            self.history["gradient"].append(float(np.sqrt((slope**2).sum(axis=0).mean())))

    @property
    def particles(self) -> np.ndarray:
        return self._outside(self._clouds[-1])

    @property
    def trajectory(self) -> np.ndarray:
        return np.stack([self._outside(cloud) for cloud in self._clouds])

    def _forward(self, x):
        z, velocity = self._inside(x), 0.0
        for k, size in enumerate(self.history["step"]):
            velocity = self._momentum * velocity - size / self._unit * self._slope(k, z, self._clouds[k])
            z = (z + velocity).astype(np.float32)
        return self._outside(z)

    def _inverse(self, y):
        raise NotImplementedError(
            "a sliced flow has no inverse: its steps jump at every particle, and with momentum a place does "
            "not tell where a point came from; mmd_flow with a smooth kernel has one"
        )

    def _log_det(self, x):
        raise NotImplementedError(
            "a sliced flow has no log-determinant: the slope on each line is a step function of the place, "
            "its derivative zero between particles, infinite at them; mmd_flow with a smooth kernel has one"
        )


def sliced_mmd_flow(
    x, y, *, slices="auto", steps: int = 100, step="auto", momentum: float = 0.9, rng=None
) -> SlicedFlow:
    """Move the cloud `x` onto the cloud `y` by sliced descent of the energy kernel's MMD^2 with momentum.

    ``v <- momentum * v - size * grad w(z); z <- z + v`` with the gradient of the energy kernel's witness from
    ``slices`` directions.  A share u of the way, the size is ``step * min(1, u / 0.4) * (1 - u)``: at first
    it grows, lest momentum throws points far out, and then it falls to zero.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Start and target.
    slices : int or "auto"
        Directions in a step, of which eight sets take turns; "auto" takes 16 in the plane, 8 d in space.
    steps : int
    step : float or "auto"
        A length; "auto" takes the root mean square distance of y from its mean, twice that in the plane.
    momentum : float
        From 0 (none) to less than 1.
    rng : int, numpy.random.Generator or None
        For the directions.

    Returns
    -------
    SlicedFlow
        A Map of new points, which follow the stored clouds from rest.  It has ``.particles``, ``.trajectory``
        and a ``.history`` of ``step`` and ``gradient`` (root mean square).  With momentum a step is no map of
        the place alone, and slopes jump: ``inverse`` and ``log_det`` raise ``NotImplementedError``.
        Interrupted, it is the flow so far, with a warning.

    Notes
    -----
    On each line, points in one of some thousand cells count as equal, which is several times faster than
    sorting and makes no visible difference; where far outliers would crowd all others into a few cells, the
    projections are sorted.  The flow holds steps * n * d numbers in float32.

    The energy kernel's MMD^2 of two clouds of the same size is zero only if they are equal: after many steps
    the particles copy the data.  New points copy them less.

    References
    ----------
    Hertrich, Wald, Altekruger and Hagemann (2024).
    """
    x, y = (cloud.astype(np.float64) for cloud in two_clouds(x, y))
    d, steps, rng = x.shape[1], count(steps, "steps"), generator(rng)
    automatic = isinstance(slices, str) and slices == "auto"
    slices = {1: 1, 2: 16}.get(d, 8 * d) if automatic else count(slices, "slices")
    width = float(np.sqrt(y.var(axis=0).sum())) or float(
        np.sqrt(((x - y.mean(axis=0)) ** 2).sum(axis=1).mean())
    )
    size = (
        ((width if d > 2 else 2 * width) or 1.0)
        if isinstance(step, str) and step == "auto"
        else positive(step, "step")
    )
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be at least 0 and less than 1, got {momentum!r}")
    pool = np.concatenate([x, y])
    middle = (pool.max(axis=0) + pool.min(axis=0)) / 2
    unit = max(1.1 * np.sqrt(d) * np.abs(pool - middle).max(), 1e-280)
    cells = 2 ** int(np.clip(np.log2(len(pool) / 2), 12, 16))
    typical = np.median(np.abs(pool - np.median(pool, axis=0)).max(axis=1))
    if 2 * unit / cells > 0.01 * typical:
        cells = 0  # too coarse: sort instead
    directions = _spread_out(_SETS * slices, d, rng)
    directions = [np.ascontiguousarray(directions[s::_SETS]) for s in range(_SETS)]
    way = np.arange(steps) / steps
    flow = SlicedFlow(x, y, middle, unit, directions, cells, float(momentum))
    try:
        flow._run(size * np.minimum(1.0, (way + 1 / steps) / 0.4) * (1 - way))
    except KeyboardInterrupt:
        message = f"interrupted: this is the flow of {len(flow.history['step'])} of {steps} steps"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return flow
