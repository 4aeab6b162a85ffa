"""The data-driven flow: optimal transport learnt from samples, one small gradient at a time.  Chapter 10.

The dual of the quadratic cost, near the identity: for phi = |z|^2 / 2 + F with a small F,
D(F) = E_z F - E_y F + E |grad F|^2 / 2.  Each step looks for F among features round a few centres, moves
z to z + grad F(z), and starts again from the moved points.
"""

import warnings

import numpy as np

from ._features import RADIUS, Features, full_matrices, packed, propose, push
from ._progress import progress
from ._validate import count, fraction, generator, positive, samples, split, two_clouds
from .maps import Composition, SmoothMap, affine_map

_FOR_GRAM = 2000  # samples of each cloud that are enough for the matrix G
_LARGEST_BEND = 0.5  # of the derivative of a step at any sample, so that none folds and Newton inverts it


class ElementaryMap(SmoothMap):
    """z -> z + sum_l beta_l grad F_l(z), for radial features F_l round centres.

    Attributes
    ----------
    centres : ndarray, shape (L, d)
    bandwidth : ndarray, shape (L,)
        Width of each feature; a bump ends at sqrt(8) times that.
    kernel : tuple of str, length L
    beta : ndarray, shape (L,)
    """

    def __init__(self, centres, bandwidth, kernel, beta):
        super().__init__(centres.shape[1])
        self.centres, self.bandwidth, self.kernel, self.beta = centres, bandwidth, tuple(kernel), beta

    def _push(self, z, bend=False):
        return push(np.ascontiguousarray(z.T), *packed(self), self.beta, bend=bend)

    def _forward(self, x):
        return x + self._push(x)[0].T

    def _jacobian(self, x):
        return np.eye(self.dim) + full_matrices(self._push(x, bend=True)[1], self.dim)


def _newton(gram, b, ridge):
    """Minimise b . beta + beta . G beta / 2, with a ridge relative to the mean of G's diagonal."""
    size = len(b)
    return -np.linalg.solve(gram + ridge * max(np.trace(gram) / size, 1e-300) * np.eye(size), b)


def sampled_gram(features, z, y, rng):
    """Return G from as many samples of each cloud as are enough for it."""
    return features.gram(*(p[:, rng.permutation(p.shape[1])[:_FOR_GRAM]] for p in (z, y)))


def predicted_fall(gram, b, beta):
    """Return by how much the quadratic model of the dual falls with weights beta."""
    return float(-b @ beta - 0.5 * beta @ gram @ beta)


def elementary_map(
    z,
    y,
    centres,
    *,
    bandwidth,
    weights="newton",
    step: float = 1.0,
    ridge: float = 1e-3,
    kernel="gaussian",
    quadrature=None,
) -> ElementaryMap:
    """Make one step of the data-driven flow with given features.

    With ``b_l = mean_i F_l(z_i) - mean_j F_l(y_j)`` the weights are ``-step * q_l * b_l`` (steepest descent,
    q a quadrature over the centres) or ``-step * (G + ridge * tr(G) / L)^-1 b`` (Newton), where
    ``G_lm`` is the mean of ``grad F_l . grad F_m`` over both clouds.

    Parameters
    ----------
    z, y : array_like, shapes (n, d) and (m, d)
        The points that move, and those to be matched.
    centres : array_like, shape (L, d)
    bandwidth : float or array_like, shape (L,)
        Width h of the features.
    weights : {"newton", "steepest"} or array_like, shape (L,)
        How beta is chosen, or beta itself.
    step, ridge : float
    kernel : {"gaussian", "bump", "multiquadric"}
        F = h^2 exp(-r^2 / 2 h^2); h^2 (1 - r^2 / 8 h^2)_+^4, much the same with an end;
        h sqrt(r^2 + h^2), convex.
    quadrature : array_like, shape (L,), optional
        Weights q of the centres for steepest descent; 1 / L by default.

    Returns
    -------
    ElementaryMap
        It does not check that the step is one-to-one; its inverse and log-determinant raise where it folds.

    Raises
    ------
    ValueError
        If shapes disagree, numbers are not finite, or a width is not positive.

    Examples
    --------
    >>> import mini_ot as mo
    >>> z, y = mo.StandardNormal().sample(500, rng=0), mo.Banana().sample(500, rng=1)
    >>> T = mo.elementary_map(z, y, y[:20], bandwidth=1.0)
    >>> mo.energy_distance(T(z), y) < mo.energy_distance(z, y)
    True

    References
    ----------
    Trigila and Tabak (2016), section 3.
    """
    z, y = (p.astype(np.float64) for p in two_clouds(z, y))
    centres = samples(centres, "centres", dim=z.shape[1]).astype(np.float64)
    size = len(centres)
    h = _vector(bandwidth, size, "bandwidth")
    if not (h > 0).all():
        raise ValueError(f"bandwidth must be positive, got {h.min()}")
    if kernel not in RADIUS:
        raise ValueError(f"kernel must be one of {', '.join(RADIUS)}, got {kernel!r}")
    features = Features(centres, h, [kernel] * size)
    if not isinstance(weights, str):
        return ElementaryMap(centres, h, features.kernel, _vector(weights, size, "weights"))
    zt, yt = np.ascontiguousarray(z.T), np.ascontiguousarray(y.T)
    b, _ = features.discrepancy(zt, yt)
    if weights == "steepest":
        beta = -b * (1 / size if quadrature is None else _vector(quadrature, size, "quadrature"))
    elif weights == "newton":
        beta = _newton(features.gram(zt, yt), b, ridge)
    else:
        raise ValueError(f"weights must be 'newton', 'steepest' or {size} numbers, got {weights!r}")
    return ElementaryMap(centres, h, features.kernel, positive(step, "step") * beta)


def _vector(value, size, name):
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > 1 or (array.ndim == 1 and len(array) != size) or not np.isfinite(array).all():
        raise ValueError(f"{name} must be one finite number or {size} of them, got shape {array.shape}")
    return np.broadcast_to(array, (size,)).copy()


def data_driven_flow(
    x,
    y,
    *,
    rng=None,
    steps: int = 150,
    features: int = 128,
    weights: str = "newton",
    kernel: str = "auto",
    neighbours: int = 50,
    step: float = 1.0,
    ridge: float = 1e-3,
    held_out: float = 0.0,
    patience: int = 30,
) -> Composition:
    """Map the samples `x` to the samples `y` by many small gradients, each fitted to the dual.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Source and target samples.
    rng : int, numpy.random.Generator or None
    steps : int
        Elementary maps after the first, affine one.
    features : int
        Features in each step; more make a step smoother and dearer.
    weights : {"newton", "steepest"}
        Newton weights, or steepest descent with the exact step for the quadratic model.
    kernel : {"auto", "gaussian", "bump", "multiquadric"}
        "auto" mixes bumps with convex multiquadrics, by predicted fall of the dual.
    neighbours : int
        Samples (of x and y together) within the width of the narrowest feature: fewer fit finer.
    step : float
        Share of the minimiser of the quadratic model that is taken, in (0, 1].
    ridge : float
        Relative ridge of the Newton weights: more is smoother and slower.
    held_out : float
        Share of both clouds kept out of the fit, to stop early: the flow ends where the dual's fall, summed
        over the held-out samples, was largest.  0 runs all steps.
    patience : int
        Steps without a new best on the held-out samples after which the flow stops.

    Returns
    -------
    Composition
        A Map with inverse and log-determinant.  Its `history` has for each step ``fall``, the predicted fall
        of the dual, ``held_out``, the same summed over the held-out samples, and ``share``, the part of the
        step that the limit on its derivative let through.

    Raises
    ------
    ValueError
        If the clouds differ in dimension, hold NaN or infinity, lie in a hyperplane or in one point, or have
        fewer samples than `neighbours`.

    Warns
    -----
    UserWarning
        If interrupted (Ctrl+C): the flow so far is returned.

    Notes
    -----
    No step's derivative differs from the identity by more than a half at any sample, so that steps are
    one-to-one there; between samples this is not proved, and inverse and log_det say so where it fails.
    A composition of gradients is in general no gradient: :func:`certify_convex` measures by how much.

    For a density on `y` there are two ways: ``data_driven_flow(reference, y)`` draws the sharper samples, and
    ``data_driven_flow(y, reference)``, used backwards, gives the smoother density.

    Examples
    --------
    >>> import mini_ot as mo
    >>> x, y = mo.StandardNormal().sample(1000, rng=0), mo.TwoMoons().sample(1000, rng=1)
    >>> T = mo.data_driven_flow(x, y, rng=2, steps=50)
    >>> fresh = T(mo.StandardNormal().sample(1000, rng=3))
    >>> mo.energy_distance(fresh, y) < 0.1 * mo.energy_distance(x, y)
    True

    References
    ----------
    Trigila and Tabak (2016), sections 2 to 4.
    """
    (z, y, test), first, rng = _prepare(x, y, rng, neighbours, held_out)
    steps, features = count(steps, "steps"), count(features, "features")
    step, ridge = positive(step, "step"), positive(ridge, "ridge")
    if weights not in ("newton", "steepest"):
        raise ValueError(f"weights must be 'newton' or 'steepest', got {weights!r}")
    if kernel != "auto" and kernel not in RADIUS:
        raise ValueError(f"kernel must be 'auto' or one of {', '.join(RADIUS)}, got {kernel!r}")
    maps, history = [first], {"fall": [], "held_out": [], "share": []}
    summed, best, best_at = 0.0, 0.0, 0
    try:
        for k in progress(range(steps), label="flow"):
            some, b = propose(z, y, size=features, neighbours=neighbours, kernel=kernel, rng=rng)
            gram = sampled_gram(some, z, y, rng)
            if weights == "newton":
                beta = _newton(gram, b, ridge)
            else:  # the best step along -b for the quadratic model
                beta = -b * (b @ b) / max(b @ gram @ b, 1e-300)
            z, share, T = _limited_step(z, y, some, step * beta)
            maps.append(T)
            beta = T.beta
            history["share"].append(share)
            history["fall"].append(predicted_fall(gram, b, beta))
            if test is None:
                continue
            b, _ = some.discrepancy(*test)
            summed += predicted_fall(gram, b, beta)
            history["held_out"].append(summed)
            test = (test[0] + push(test[0], *packed(some), beta)[0], test[1])
            if summed > best:
                best, best_at = summed, k + 1
            elif k + 1 - best_at >= patience:
                break
    except KeyboardInterrupt:
        warnings.warn(f"interrupted: the flow has {len(maps) - 1} of {steps} steps", stacklevel=2)
    if test is not None:
        maps = maps[: best_at + 1]
    return Composition(maps, history)


def _prepare(x, y, rng, neighbours, held_out):
    """Check the samples, match their moments by the affine map, and set some aside."""
    x, y = two_clouds(x, y, at_least=count(neighbours, "neighbours"))
    x, y, rng = x.astype(np.float64), y.astype(np.float64), generator(rng)
    held_out = fraction(held_out, "held_out")
    first = affine_map(x, y)
    clouds, test = (first(x), y), None
    if held_out:
        clouds, test = zip(*(split(p, held_out, rng) for p in clouds), strict=True)
        test = tuple(np.ascontiguousarray(p.T) for p in test)
    return (*(np.ascontiguousarray(p.T) for p in clouds), test), first, rng


def _limited_step(z, y, features, beta):
    """Move z, by so much that the derivative stays within the limit at every sample of both clouds."""
    move, bend = push(z, *packed(features), beta, bend=True)
    worst = max(_largest(bend), _largest(push(y, *packed(features), beta, bend=True)[1]))
    share = min(1.0, _LARGEST_BEND / max(worst, 1e-300))
    T = ElementaryMap(features.centres, features.bandwidth, features.kernel, share * beta)
    return z + share * move, share, T


def _largest(bend):
    """Return the largest Frobenius norm, no less than any eigenvalue, of packed symmetric matrices."""
    d = int(np.sqrt(2 * len(bend)))
    off_diagonal = np.array([1.0 if k == m else 2.0 for k in range(d) for m in range(k + 1)])
    return np.sqrt((off_diagonal @ bend**2).max())
