"""Optimal transport in closed form: on the line, and between Gaussians.  Chapter 6."""

import numpy as np

from ._validate import samples
from .maps import _root

_SLACK = 1e-6  # how far from 1 weights may sum, and how far from symmetric a covariance may be


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
    if x_weights is None and y_weights is None and len(x) == len(y):
        return float(np.sqrt(((np.sort(x) - np.sort(y)) ** 2).mean()))
    x, a, y, b = x[a > 0], a[a > 0], y[b > 0], b[b > 0]  # or rounding gives them weight after all
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


def as_weights(weights, n, name):
    """Check the weights of `n` points, equal ones unless given; their sum becomes 1 to the last digit."""
    if weights is None:
        return np.full(n, 1 / n)
    w = samples(weights, name, dim=1)[:, 0].astype(np.float64)
    if len(w) != n:
        raise ValueError(f"{name} must hold {n} numbers, got {len(w)}")
    if not ((w >= 0).all() and abs(w.sum() - 1) <= _SLACK):
        raise ValueError(
            f"{name} must not be negative and must sum to 1, got a smallest weight of {w.min():g} and a sum "
            f"of {w.sum():g}: pass weights / weights.sum()"
        )
    return w / w.sum()


def _covariance(cov, name, dim):
    cov = samples(np.atleast_2d(cov), name, dim=dim).astype(np.float64)
    size = np.abs(cov).max()
    if cov.shape != (dim, dim) or np.abs(cov - cov.T).max() > _SLACK * size:
        raise ValueError(f"{name} must be a symmetric matrix of shape ({dim}, {dim}), got {cov.tolist()}")
    if (low := np.linalg.eigvalsh(cov)[0]) < -_SLACK * size:
        raise ValueError(f"{name} must have no negative eigenvalue, got {low:g}")
    return (cov + cov.T) / 2
