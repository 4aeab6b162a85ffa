"""Optimal transport between clouds of equally many points, by pairing them.

Chapter 6 tells the story; chapter 1 needs only the distance.
"""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from ._progress import progress
from ._validate import count, generator, samples, two_clouds
from .closed_form import as_weights

_MOST_POINTS = 20_000


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
    [[4.25], [3.5]]

    References
    ----------
    Agueh and Carlier (2011); Cuturi and Doucet (2014), algorithm 2 with fixed weights of the points.
    """
    clouds = [samples(cloud, f"clouds[{k}]") for k, cloud in enumerate(clouds)]
    if not clouds:
        raise ValueError("clouds must hold at least one cloud, got none")
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
        moved = sum(weight * cloud[pair] for weight, cloud, pair in zip(w, clouds, pairs, strict=True))
        z, before = moved.astype(np.result_type(*clouds)), pairs
    warnings.warn(f"the pairs still change after {steps} steps: pass more", RuntimeWarning, stacklevel=2)
    return z
