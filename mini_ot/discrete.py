"""Optimal transport between two clouds of equally many points.

Chapter 6 tells the story; chapter 1 needs only the distance.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from ._validate import two_clouds

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
