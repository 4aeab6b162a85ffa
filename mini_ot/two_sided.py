"""The two-sided flow: back-and-forth on samples with gradients of convex functions only.  Chapter 10.

The dual of the quadratic cost treats source and target alike, and so does this flow: where the best weight
of a convex feature is negative, it pushes the target instead of pulling the source, and neither can fold.
"""

import warnings

import numpy as np
from scipy.optimize import nnls

from ._features import packed, propose, push
from ._progress import progress
from ._validate import count, positive
from .data_driven import ElementaryMap, _prepare, predicted_fall, sampled_gram
from .maps import AffineMap, Composition, Map


class Inverse(Map):
    """The inverse of a map, as a map."""

    def __init__(self, of: Map):
        super().__init__(of.dim)
        self.of = of

    def _forward(self, x):
        return self.of._inverse(x)

    def _inverse(self, y):
        return self.of._forward(y)

    def _log_det(self, x):
        return -self.of._log_det(self.of._inverse(x))


class TwoSidedMap(Composition):
    """T = B^-1 o A, where A moves the source and B the target to a common law.

    Attributes
    ----------
    from_source, from_target : Map
        A and B, each of one step more than was asked for: A starts with the affine map, B with the identity.
    """

    def __init__(self, from_source: Composition, from_target: Composition, history=None):
        back = [Inverse(step) for step in reversed(from_target.steps)]
        super().__init__([*from_source.steps, *back], history)
        self.from_source, self.from_target = from_source, from_target

    def after(self, k: int) -> "TwoSidedMap":
        """Return the map as it was after `k` steps."""
        k = count(k, "k", at_least=0) + 1
        A, B = (Composition(m.steps[:k]) for m in (self.from_source, self.from_target))
        return TwoSidedMap(A, B, {name: values[: k - 1] for name, values in self.history.items()})

    def _log_det(self, x):
        return self.from_source._log_det(x) - self.from_target._log_det(self._forward(x))


def back_and_forth_samples(
    x,
    y,
    *,
    rng=None,
    steps: int = 50,
    features: int = 64,
    neighbours: int = 20,
    ridge: float = 1e-3,
    damping: float = 1e-3,
) -> TwoSidedMap:
    """Map the samples `x` to the samples `y` by moving both, with gradients of convex functions only.

    Each step draws convex features F_l (multiquadrics), moves the source by ``+ sum_l u_l grad F_l`` and the
    target by ``+ sum_l v_l grad F_l``, with weights u, v >= 0 that minimise::

        b . (u - v) + (u - v) . G (u - v) / 2 + damping * (u + v) . G (u + v) / 2 + ridge * (...)

    The first two terms are the dual's quadratic model for beta = u - v, as in :func:`data_driven_flow`; the
    third charges for pushing both clouds the same way, which achieves nothing.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Source and target samples.
    rng : int, numpy.random.Generator or None
    steps : int
        Elementary maps of each cloud.
    features : int
        Features in each step.
    neighbours : int
        Samples (of x and y together) within the width of the narrowest feature.
    ridge : float
        Relative ridge: more is smoother and slower.
    damping : float
        Price of common motion: without it the weights are large, cancel, and drive both clouds outwards.

    Returns
    -------
    TwoSidedMap
        A Map with inverse and log-determinant.  Its `history` has for each step ``fall``, the predicted fall
        of the dual, and ``spread``, the standard deviation of both clouds together after it.

    Raises
    ------
    ValueError
        If the clouds differ in dimension, hold NaN or infinity, lie in a hyperplane or in one point, or have
        fewer samples than `neighbours`.

    Warns
    -----
    UserWarning
        If interrupted (Ctrl+C): the map so far is returned.

    Notes
    -----
    No step can fold, at samples or between them: its derivative is I plus a positive matrix.  So the steps
    need no limit.  T itself is in general no gradient: :func:`certify_convex` measures by how much.
    A value or a density at a new point needs the inverse of every step of B, by Newton's method.

    Examples
    --------
    >>> import mini_ot as mo
    >>> x, y = mo.StandardNormal().sample(500, rng=0), mo.TwoMoons().sample(500, rng=1)
    >>> T = mo.back_and_forth_samples(x, y, rng=2, steps=10)
    >>> mo.energy_distance(T(x), y) < 0.1 * mo.energy_distance(x, y)
    True
    """
    (z, y, _), first, rng = _prepare(x, y, rng, neighbours, 0.0)
    steps, features = count(steps, "steps"), count(features, "features")
    ridge, damping = positive(ridge, "ridge"), positive(damping, "damping")
    pairs, history = [], {"fall": [], "spread": []}
    try:
        for _ in progress(range(steps), label="two-sided flow"):
            some, b = propose(z, y, size=features, neighbours=neighbours, kernel="multiquadric", rng=rng)
            gram = sampled_gram(some, z, y, rng)
            u, v = _signed_weights(gram, b, ridge, damping)
            z, y = z + push(z, *packed(some), u)[0], y + push(y, *packed(some), v)[0]
            history["fall"].append(predicted_fall(gram, b, u - v))
            history["spread"].append(float(np.sqrt(np.hstack([z, y]).var(axis=1).sum())))
            pairs.append([ElementaryMap(some.centres, some.bandwidth, some.kernel, w) for w in (u, v)])
    except KeyboardInterrupt:
        warnings.warn(f"interrupted: the flow has {len(pairs)} of {steps} steps", stacklevel=2)
    still = AffineMap(np.eye(first.dim), np.zeros(first.dim))
    A, B = Composition([first, *(a for a, _ in pairs)]), Composition([still, *(b for _, b in pairs)])
    return TwoSidedMap(A, B, history)


def _signed_weights(gram, b, ridge, damping):
    """Minimise the damped quadratic model over u, v >= 0, as non-negative least squares."""
    size = len(b)
    plus, minus = damping + 1.0, damping - 1.0
    H = np.kron([[plus, minus], [minus, plus]], gram)
    H += ridge * max(np.trace(gram) / size, 1e-300) * np.eye(2 * size)
    root = np.linalg.cholesky(H).T  # H = root^T root, so the model is |root w - goal|^2 / 2
    goal = np.linalg.solve(root.T, np.concatenate([-b, b]))
    w, _ = nnls(root, goal, maxiter=100 * size)
    return w[:size], w[size:]
