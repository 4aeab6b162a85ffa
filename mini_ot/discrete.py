"""Optimal transport between two clouds, and what has a closed form: pairings, one dimension, Gaussians.

Chapter 6 tells the story; chapter 1 needs only the distance.
"""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from ._progress import progress
from ._validate import count, generator, samples, two_clouds
from .maps import _root

_MOST_POINTS = 20_000
_EVEN = 1e-6  # how far from 1 weights may sum, and how far from symmetric a covariance may be


def assignment(x, y) -> np.ndarray:
    """Pair two clouds so that the sum of squared distances is smallest.

    Parameters
    ----------
    x, y : array_like, shape (n, d)
        Equally many points.  In one dimension sorting does it; else the table of n by n distances is
        built, which takes 8 n^2 bytes, and the time grows like n^3.

    Returns
    -------
    ndarray of int, shape (n,)
        Point x[i] goes to y[permutation[i]].

    Raises
    ------
    ValueError
        If the clouds differ in number or dimension, hold NaN or infinity, or have more than 20,000 points.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.assignment([[0.0], [1.0]], [[1.1], [0.2]]).tolist()
    [1, 0]

    References
    ----------
    Peyre and Cuturi (2019), section 3.5, solved by SciPy's modified Jonker-Volgenant algorithm (Crouse 2016).
    """
    x, y = two_clouds(x, y, same_size=True)
    if x.shape[1] == 1:
        permutation = np.empty(len(x), dtype=np.intp)
        permutation[np.argsort(x[:, 0], kind="stable")] = np.argsort(y[:, 0], kind="stable")
        return permutation
    if len(x) > _MOST_POINTS:
        raise ValueError(
            f"x must have at most {_MOST_POINTS} points, got {len(x)}: "
            f"the table of distances would take {8e-9 * len(x) ** 2:.0f} GB; use a subset, or sliced_w2"
        )
    return linear_sum_assignment(cdist(x, y, "sqeuclidean"))[1]


def w2(x, y) -> float:
    """Return the Wasserstein distance W2 between two clouds of equally many points.

    The square root of the smallest mean squared distance over all pairings.  Parameters and errors as in
    :func:`assignment`.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.w2([[0.0, 0.0]], [[3.0, 4.0]])
    5.0
    """
    x, y = two_clouds(x, y, same_size=True)
    return float(np.sqrt(((x - y[assignment(x, y)]) ** 2).sum(axis=1).mean()))


def w2_1d(x, y, *, x_weights=None, y_weights=None) -> float:
    """Return W2 between two clouds on the line, which may differ in number and carry weights.

    The square root of the integral over p in (0, 1) of the squared distance between the two quantiles at p.
    Time O((n + m) log(n + m)), exact.

    Parameters
    ----------
    x, y : array_like, shapes (n,) and (m,), or with one column
    x_weights, y_weights : array_like, shapes (n,) and (m,), optional
        Not negative, with sum 1; equal weights unless given.

    Raises
    ------
    ValueError
        If a cloud holds NaN or infinity or has more than one column, or weights are negative or do not sum
        to 1.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.w2_1d([0.0, 2.0], [1.0])
    1.0
    >>> mo.w2_1d([0.0, 4.0], [0.0, 4.0], x_weights=[0.75, 0.25], y_weights=[0.5, 0.5])
    2.0

    References
    ----------
    Peyre and Cuturi (2019), remark 2.30.
    """
    x, y = (samples(p, name, dim=1)[:, 0].astype(np.float64) for p, name in ((x, "x"), (y, "y")))
    a, b = as_weights(x_weights, len(x), "x_weights"), as_weights(y_weights, len(y), "y_weights")
    order_x, order_y = np.argsort(x), np.argsort(y)
    jumps_x, jumps_y = a[order_x].cumsum()[:-1], b[order_y].cumsum()[:-1]
    levels = np.r_[0.0, np.sort(np.r_[jumps_x, jumps_y]).clip(0.0, 1.0), 1.0]
    middle = (levels[1:] + levels[:-1]) / 2  # neither quantile jumps between two levels
    quantile_x = x[order_x][np.searchsorted(jumps_x, middle)]
    quantile_y = y[order_y][np.searchsorted(jumps_y, middle)]
    return float(np.sqrt(np.diff(levels) @ (quantile_x - quantile_y) ** 2))


def gaussian_w2(mean_x, cov_x, mean_y, cov_y) -> float:
    """Return W2 between two Gaussians; the covariances' part is the Bures distance.

    Its square is ``|mean_x - mean_y|^2 + tr(cov_x + cov_y - 2 (cov_x^(1/2) cov_y cov_x^(1/2))^(1/2))``.
    Singular covariances are welcome.  The map that does it is :func:`mini_ot.affine_map`.

    Parameters
    ----------
    mean_x, mean_y : array_like, shape (d,)
    cov_x, cov_y : array_like, shape (d, d)
        Symmetric, without negative eigenvalues.

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, or a matrix is no covariance.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.gaussian_w2([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], [3.0, 4.0], [[1.0, 0.0], [0.0, 1.0]])
    5.0

    Notes
    -----
    The trace equals the smallest ``|cov_x^(1/2) - U cov_y^(1/2)|^2`` over orthogonal matrices U.  In this
    form nothing cancels, so that the distance of two close Gaussians is right to the last digits as well.

    References
    ----------
    Olkin and Pukelsheim (1982); Peyre and Cuturi (2019), remark 2.31.
    """
    mean_x = samples(np.atleast_2d(mean_x), "mean_x").astype(np.float64)
    mean_y = samples(np.atleast_2d(mean_y), "mean_y", dim=mean_x.shape[1]).astype(np.float64)
    root_x, root_y = (
        _root(_covariance(cov, name, mean_x.shape[1])) for cov, name in ((cov_x, "cov_x"), (cov_y, "cov_y"))
    )
    left, _, right = np.linalg.svd(root_y @ root_x)
    return float(
        np.hypot(np.linalg.norm(mean_x - mean_y), np.linalg.norm(root_x - (left @ right).T @ root_y))
    )


def displacement(x, y, t) -> np.ndarray:
    """Move each point of `x` along the straight line to its partner in `y`: the shortest way in W2.

    Parameters
    ----------
    x, y : array_like, shape (n, d)
        As in :func:`mini_ot.assignment`, which finds the partners.
    t : float or array_like of shape (k,)
        Times in [0, 1].

    Returns
    -------
    ndarray, shape (n, d) or (k, n, d)
        ``(1 - t) x + t y[assignment(x, y)]``; the cloud at time t has the distance t W2(x, y) from `x`.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.displacement([[0.0], [1.0]], [[2.0], [1.0]], 0.5).tolist()
    [[0.5], [1.5]]

    References
    ----------
    McCann (1997); Peyre and Cuturi (2019), section 7.1.
    """
    x, y = two_clouds(x, y, same_size=True)
    times = np.asarray(t, dtype=np.float64)
    if times.ndim > 1 or not ((times >= 0) & (times <= 1)).all():
        raise ValueError(f"t must lie in [0, 1], one number or a vector of them, got {t!r}")
    times = times[..., None, None]
    return ((1 - times) * x + times * y[assignment(x, y)]).astype(np.result_type(x, y))


def barycentre(clouds, weights, *, steps: int = 100, rng=None) -> np.ndarray:
    """Return a cloud that is nearest to several ones: a minimum of ``sum_k weights_k W2(z, cloud_k)^2``.

    Each step pairs z with every cloud and moves each point of z to the weighted mean of its partners, which
    never raises the sum.  It ends when the pairs stay, at a local minimum; for two clouds, unless `rng` is
    given, that is :func:`mini_ot.displacement`.

    Parameters
    ----------
    clouds : sequence of array_like, each of shape (n, d)
    weights : array_like, one number for each cloud
        Not negative, with sum 1.
    steps : int
        Steps at most, each of one assignment for every cloud.
    rng : int or Generator, optional
        Without it z starts at the cloud with the largest weight, else at n points drawn from all clouds.

    Returns
    -------
    ndarray, shape (n, d)

    Raises
    ------
    ValueError
        If the clouds differ in number or dimension, or weights are negative or do not sum to 1.

    Warns
    -----
    RuntimeWarning
        If the pairs still change after `steps`.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mo.barycentre([[[0.0], [1.0]], [[4.0], [3.0]], [[8.0], [8.0]]], [0.25, 0.5, 0.25]).tolist()
    [[3.5], [4.25]]

    References
    ----------
    Agueh and Carlier (2011); Cuturi and Doucet (2014), algorithm 2 with fixed weights of the points.
    """
    clouds = [samples(cloud, f"clouds[{k}]") for k, cloud in enumerate(clouds)]
    w = as_weights(weights, len(clouds), "weights")
    for cloud in clouds:
        two_clouds(clouds[0], cloud, same_size=True)
    z = clouds[w.argmax()]
    if rng is not None:
        rng, pool = generator(rng), np.stack(clouds)
        z = pool[rng.choice(len(w), len(z), p=w), rng.permutation(len(z))]
    before = None
    for _ in progress(range(count(steps, "steps")), label="barycentre"):
        pairs = [assignment(z, cloud) for cloud in clouds]
        if before is not None and np.array_equal(pairs, before):
            return z
        z = sum(weight * cloud[pair] for weight, cloud, pair in zip(w, clouds, pairs, strict=True))
        before = pairs
    warnings.warn(f"the pairs still change after {steps} steps: pass more", RuntimeWarning, stacklevel=2)
    return z


def as_weights(weights, n, name):
    """Check the weights of `n` points, equal ones unless given; their sum becomes 1 to the last digit."""
    if weights is None:
        return np.full(n, 1 / n)
    w = samples(weights, name, dim=1)[:, 0].astype(np.float64)
    if len(w) != n:
        raise ValueError(f"{name} must hold {n} numbers, got {len(w)}")
    if not ((w >= 0).all() and abs(w.sum() - 1) <= _EVEN):
        raise ValueError(
            f"{name} must not be negative and must sum to 1, got a smallest weight of {w.min():g} and a sum "
            f"of {w.sum():g}: pass weights / weights.sum()"
        )
    return w / w.sum()


def _covariance(cov, name, dim):
    cov = samples(np.atleast_2d(cov), name, dim=dim).astype(np.float64)
    size = np.abs(cov).max()
    if cov.shape != (dim, dim) or np.abs(cov - cov.T).max() > _EVEN * size:
        raise ValueError(f"{name} must be a symmetric matrix of shape ({dim}, {dim}), got {cov.tolist()}")
    if (low := np.linalg.eigvalsh(cov)[0]) < -_EVEN * size:
        raise ValueError(f"{name} must have no negative eigenvalue, got {low:g}")
    return (cov + cov.T) / 2
