"""Exercises of chapter 10: beta by hand, widths, the fall of the dual, Newton weights, steps that do not fold."""

import numpy as np

from .engine import Exercise

beta_exercise = Exercise(
    "10.1",
    "Derive beta, and try it where the answer is known",
    level="warm-up",
    minutes=20,
    text=r"""
    1. Derive {eq}`eq-10-beta` from {eq}`eq-10-model`.
       Somebody uses $2 F$ in place of $F$: what becomes of $\beta$, of the step $\beta \nabla F$, and of the predicted fall?
    2. Let $F(z) = \langle a, z \rangle$ with a unit vector $a$.
       Which map is the step?
       For which $a$ is the predicted fall largest, and where does the mean of $z$ go?
    3. Let both clouds have mean zero, and let $F(z) = \frac12 |z|^2$.
       Which map is the step, with $g$ averaged over $y$?
       Compare it with the scaling that gives $z$ the mean square of $y$, when $\mathbb{E}_z |z|^2 = (1 + \varepsilon)^2 \, \mathbb{E}_y |y|^2$ with a small $\varepsilon$.
    """,
    hints=(
        "The gradient of a linear feature is the same everywhere, so its mean square needs no samples.",
        """In part 3 the gradient of F is z itself, so T(z) = (1 + beta) z; expand both this factor and the right one in
        epsilon.""",
    ),
    answer=r"""
    1. The derivative of $\beta b + \frac12 \beta^2 g$ is $b + \beta g$, zero at $\beta = -b / g$; there the value is $-\frac{b^2}{g} + \frac{b^2}{2 g} = -\frac{b^2}{2 g}$.
    With $2 F$, $b$ doubles and $g$ becomes four times as large: $\beta$ is halved, and the step and the predicted fall stay as they are.
    The scale of a feature does not matter.

    2. $\nabla F = a$ and $g = 1$, so the step is the translation by $-b \, a$ with $b = \langle a, m_z - m_y \rangle$, $m$ the means.
    The fall $b^2 / 2$ is largest for $a$ along $m_z - m_y$, and then the step is $z \mapsto z + m_y - m_z$: the mean goes exactly where it should.
    (For linear $F$ the expansion is exact, since $L = 0$.)

    3. $b = \frac12 (\mathbb{E}_z |z|^2 - \mathbb{E}_y |y|^2)$ and $g = \mathbb{E}_y |y|^2$, so $\beta = -\frac12 \bigl( (1 + \varepsilon)^2 - 1 \bigr) = -\varepsilon - \frac12 \varepsilon^2$.
    The right factor is $1 / (1 + \varepsilon) = 1 - \varepsilon + \varepsilon^2 - \dots$, and the step has $1 - \varepsilon - \frac12 \varepsilon^2$.
    They agree to first order; the rest is left to the next step, which starts with an error of order $\varepsilon^2$.
    """,
)

width_exercise = Exercise(
    "10.2",
    "As wide as the neighbours are far",
    level="warm-up",
    minutes=15,
    text=r"""
    For each point of a cloud, return the distance to its $p$-th nearest *other* point.
    A table of all distances will do.

    Then draw the widths over the first coordinate for a sample of the banana, with $p = 5$ and $p = 50$.
    Where are they large?
    """,
    hints=(
        "Which entry of the table is the smallest in each row, and is it a neighbour?",
        """np.sort along one axis puts the distance of a point to itself, zero, into column 0; the nearest other point is
        in column 1.""",
    ),
    answer=r"""
    Widths are large in the thin tails, where a narrow feature would hold no other point.
    If points repeat, the distance can be zero, and a feature of width zero is none: the package never goes below a thousandth of the cloud's spread.
    """,
)


@width_exercise.solution
def widths(points, p):
    """Return the distances of the points (n, d) to their p-th nearest others, (n,)."""
    square = ((points[:, None] - points) ** 2).sum(axis=2)
    return np.sqrt(np.sort(square, axis=1)[:, p])


@width_exercise.cases
def _(rng):
    for n, d, p in ((8, 2, 1), (12, 1, 4), (20, 3, 7)):
        yield rng.normal(size=(n, d)), p


def _sorted_distances(points):
    return np.sort(np.sqrt(((points[:, None] - points) ** 2).sum(axis=2)), axis=1)


@width_exercise.mistake(
    """You counted the point itself as its first neighbour: its distance, zero, stands first in the sorted row, so your
    p-th is one too near. For p = 1 all widths would be zero."""
)
def _counts_itself(points, p):
    return _sorted_distances(points)[:, p - 1]


@width_exercise.mistake(
    """One too far: column 0 is the point itself, and column p, not p + 1, holds its p-th neighbour."""
)
def _one_too_far(points, p):
    return _sorted_distances(points)[:, p + 1]


@width_exercise.mistake(
    """The square root is missing: a width is a length, in the unit of the data."""
)
def _squared(points, p):
    return _sorted_distances(points)[:, p] ** 2


@width_exercise.mistake(
    """You averaged over the p nearest neighbours; the distance to the p-th alone is asked for."""
)
def _mean_of_nearest(points, p):
    return _sorted_distances(points)[:, 1 : p + 1].mean(axis=1)


@width_exercise.mistake(
    """You counted from the far end: that is the distance to the p-th farthest point."""
)
def _farthest(points, p):
    return _sorted_distances(points)[:, -p]


@width_exercise.mistake(
    """You added the absolute differences of the coordinates. The features are round, so the Euclidean distance is
    asked for."""
)
def _city_block(points, p):
    return np.sort(np.abs(points[:, None] - points).sum(axis=2), axis=1)[:, p]


fall_exercise = Exercise(
    "10.3",
    "The fall of the dual, before the step is made",
    level="core",
    minutes=20,
    text=r"""
    For the multiquadric $F(z) = h \sqrt{|z - c|^2 + h^2}$ write the best $\beta$ and the predicted fall of the dual {eq}`eq-10-beta`, with $g$ averaged over $y$ as in {eq}`eq-10-model`.

    Then put $z = y + (3, 0)$ for a normal cloud $y$ and look for the width with the largest fall, at the centre $c = (3, 0)$ and at $c = (10, 0)$.
    """,
    hints=(
        "What is the gradient of F, and how long is it?",
        """The gradient is h (z - c) / sqrt(|z - c|^2 + h^2); its mean square over y goes into both answers, and the fall
        is the quadratic model at the best beta with its sign turned.""",
    ),
    answer=r"""
    The model is $\beta b + \frac12 \beta^2 g$; at $\beta = -b / g$ the linear term gives $-b^2 / g$, and the quadratic one takes half of it back.
    A far centre likes wide features: there the multiquadric is nearly linear over both clouds, and a linear feature moves the mean exactly (exercise 10.1).
    """,
)


@fall_exercise.solution
def best_step(z, y, c, h):
    """Return (beta, fall) for the clouds z (n, d), y (m, d), centre c (d,), width h."""
    root_z = np.sqrt(((z - c) ** 2).sum(axis=1) + h**2)
    root_y = np.sqrt(((y - c) ** 2).sum(axis=1) + h**2)
    b = h * (root_z.mean() - root_y.mean())
    g = (h**2 * ((y - c) ** 2).sum(axis=1) / root_y**2).mean()
    return -b / g, b**2 / (2 * g)


@fall_exercise.cases
def _(rng):
    for n, m, d, h in ((6, 5, 2, 0.8), (4, 9, 1, 1.5), (8, 7, 3, 0.6)):
        z, y = rng.normal(size=(n, d)) + 1.0, rng.normal(size=(m, d))
        yield z, y, rng.normal(size=d), h


def _parts(z, y, c, h):
    """Values and squared slopes of the multiquadric on both clouds."""
    out = []
    for p in (z, y):
        square = ((p - c) ** 2).sum(axis=1)
        root = np.sqrt(square + h**2)
        out += [h * root, (h / root) ** 2 * square]
    return out


@fall_exercise.mistake(
    """The sign of beta is turned round: where z has too large an average of F, the step must go down along F, so beta
    is minus b over g."""
)
def _sign(z, y, c, h):
    Fz, _, Fy, sy = _parts(z, y, c, h)
    b, g = Fz.mean() - Fy.mean(), sy.mean()
    return b / g, b**2 / (2 * g)


@fall_exercise.mistake(
    """The one half is missing from the fall: the linear term alone would fall by b^2 / g, but the quadratic term takes
    half of that back."""
)
def _no_half(z, y, c, h):
    Fz, _, Fy, sy = _parts(z, y, c, h)
    b, g = Fz.mean() - Fy.mean(), sy.mean()
    return -b / g, b**2 / g


@fall_exercise.mistake(
    """You averaged the squared gradient over z. It comes from the Legendre transform, which is evaluated at the points
    of y."""
)
def _wrong_cloud(z, y, c, h):
    Fz, sz, Fy, _ = _parts(z, y, c, h)
    b, g = Fz.mean() - Fy.mean(), sz.mean()
    return -b / g, b**2 / (2 * g)


@fall_exercise.mistake(
    """You averaged the squared gradient over both clouds, as the package does; here the average over y alone is
    asked for."""
)
def _both_clouds(z, y, c, h):
    Fz, sz, Fy, sy = _parts(z, y, c, h)
    b, g = Fz.mean() - Fy.mean(), (sz.mean() + sy.mean()) / 2
    return -b / g, b**2 / (2 * g)


@fall_exercise.mistake(
    """You squared the mean of the lengths; the mean of the squares is asked for, and it is larger."""
)
def _square_of_mean(z, y, c, h):
    Fz, _, Fy, sy = _parts(z, y, c, h)
    b, g = Fz.mean() - Fy.mean(), np.sqrt(sy).mean() ** 2
    return -b / g, b**2 / (2 * g)


@fall_exercise.mistake(
    """The fall is right, but beta is off by the factor h: you left the h before the root out of F and of its gradient.
    The step would be the same with this F, but the weight belongs to the feature as it was given."""
)
def _no_factor(z, y, c, h):
    Fz, _, Fy, sy = _parts(z, y, c, h)
    b, g = Fz.mean() - Fy.mean(), sy.mean()
    return -h * b / g, b**2 / (2 * g)


newton_exercise = Exercise(
    "10.4",
    "Newton weights with a ridge that knows the scale",
    level="core",
    minutes=20,
    text=r"""
    Write the Newton weights {eq}`eq-10-newton` from $b$ and a table of the gradients of all features at some points; $G$ is the mean over these points.

    Then multiply all features by 1000 and see that the step $\sum_l \beta_l \nabla F_l$ stays the same.
    Would it with an absolute ridge?
    """,
    hints=(
        """G is a table of inner products: sum over the coordinates, average over the points.
        What makes the ridge independent of the unit of length?""",
        """np.einsum("nld,nmd->lm", slopes, slopes) / n is G; add ridge times the mean of its diagonal to the diagonal,
        and solve a linear system.""",
    ),
    answer=r"""
    If the features are multiplied by $s$, then $b$ by $s$, $G$ and its trace by $s^2$, hence $\beta$ by $1 / s$, and the step stays.
    An absolute ridge is negligible for large $s$ and everything for small $s$: it would depend on whether the data are in metres or in millimetres.
    """,
)


@newton_exercise.solution
def newton(b, slopes, ridge):
    """Return the weights (L,) from b (L,), gradients (n, L, d) and relative ridge."""
    G = np.einsum("nld,nmd->lm", slopes, slopes) / len(slopes)
    size = len(b)
    return -np.linalg.solve(G + ridge * np.trace(G) / size * np.eye(size), b)


@newton_exercise.cases
def _(rng):
    for n, size, d, ridge in ((10, 3, 2, 0.1), (20, 5, 3, 0.01), (8, 2, 2, 0.3)):
        yield rng.normal(size=size), 2 * rng.normal(size=(n, size, d)), ridge


def _gram(slopes):
    return np.einsum("nld,nmd->lm", slopes, slopes) / len(slopes)


def _relative(G, ridge):
    return ridge * np.trace(G) / len(G) * np.eye(len(G))


@newton_exercise.mistake(
    """The minus sign is missing: these weights climb the dual as steeply as the right ones descend."""
)
def _no_minus(b, slopes, ridge):
    G = _gram(slopes)
    return np.linalg.solve(G + _relative(G, ridge), b)


@newton_exercise.mistake(
    """Your ridge is absolute: it does not know how large G is, so the weights depend on the unit of length. Multiply
    it by the mean of the diagonal of G."""
)
def _absolute(b, slopes, ridge):
    G = _gram(slopes)
    return -np.linalg.solve(G + ridge * np.eye(len(b)), b)


@newton_exercise.mistake(
    """You took the reciprocal of each entry of G. The inverse of a matrix is something else: solve the linear
    system."""
)
def _elementwise(b, slopes, ridge):
    G = _gram(slopes)
    return -(1 / (G + _relative(G, ridge))) @ b


@newton_exercise.mistake(
    """You used only the diagonal of G: then every feature takes its own best step, and features that overlap do the
    same work twice."""
)
def _diagonal(b, slopes, ridge):
    G = _gram(slopes)
    return -b / np.diag(G + _relative(G, ridge))


@newton_exercise.mistake(
    """The trace is not divided by the number of features: your ridge grows with every feature that is added. The mean
    of the diagonal is asked for."""
)
def _whole_trace(b, slopes, ridge):
    G = _gram(slopes)
    return -np.linalg.solve(G + ridge * np.trace(G) * np.eye(len(b)), b)


@newton_exercise.mistake(
    """You added the ridge to all entries of G; it belongs on the diagonal alone, where it keeps the eigenvalues away
    from zero."""
)
def _everywhere(b, slopes, ridge):
    G = _gram(slopes)
    return -np.linalg.solve(G + ridge * np.trace(G) / len(b), b)


@newton_exercise.mistake(
    """You summed over the points; G is a mean, as b is. With sums the step shrinks when there are more points."""
)
def _summed(b, slopes, ridge):
    G = _gram(slopes) * len(slopes)
    return -np.linalg.solve(G + _relative(G, ridge), b)


@newton_exercise.mistake(
    """The ridge is missing: with features that overlap G is nearly singular, and the weights are noise."""
)
def _no_ridge(b, slopes, ridge):
    return -np.linalg.solve(_gram(slopes), b)


fold_exercise = Exercise(
    "10.5",
    "The largest step that does not fold",
    level="challenge",
    minutes=25,
    text=r"""
    A step moves $z$ to $z + t \, \nabla F(z)$, and the Hessians $D^2 F$ are known at $n$ points.
    Return the largest $t \in [0, 1]$ for which no eigenvalue of $t \, D^2 F$ is larger than `limit` in modulus, at none of the points.

    Then show on paper: with the Frobenius norm, the root of the sum of all squared entries, in place of the largest modulus one gets a step that is also safe, but can be shorter, by at most a factor $\sqrt d$.
    """,
    hints=(
        "At which point, and in which direction, does the derivative differ most from the identity?",
        """np.linalg.eigvalsh gives the eigenvalues at all points at once; the largest modulus of all of them decides, and
        t is at most 1.""",
    ),
    answer=r"""
    The eigenvalues of $t D^2 F$ are $t$ times those of $D^2 F$, so the condition is $t \max |\lambda| \le$ `limit`.

    For a symmetric matrix the squared Frobenius norm is the sum of the squared eigenvalues.
    It is at least the largest of them and at most $d$ times the largest, so $\max |\lambda| \le \|D^2 F\|_F \le \sqrt d \, \max |\lambda|$.
    The package uses it because it needs no eigenvalues.
    """,
)


@fold_exercise.solution
def largest_step(hessians, limit):
    """Return the largest t in [0, 1] for the Hessians (n, d, d) and the limit."""
    worst = np.abs(np.linalg.eigvalsh(hessians)).max()
    return min(1.0, limit / worst)


@fold_exercise.cases
def _(rng):
    # One case is bent most by a negative, one by a positive eigenvalue, and one needs no limit.
    for n, d, shift, scale in ((6, 2, -1.0, 1.0), (5, 3, 1.5, 1.0), (4, 2, 0.0, 0.02)):
        a = rng.normal(size=(n, d, d))
        yield scale * (0.5 * (a + a.transpose(0, 2, 1)) + shift * np.eye(d)), 0.5


def _eigenvalues(hessians):
    return np.linalg.eigvalsh(hessians)


@fold_exercise.mistake(
    """You used the eigenvalue of smallest modulus: the direction that bends least is the last to fold, and the others
    have folded long before."""
)
def _smallest_modulus(hessians, limit):
    return min(1.0, limit / np.abs(_eigenvalues(hessians)).min())


@fold_exercise.mistake(
    """You forgot the absolute value and took the largest eigenvalue: a strongly negative one, which folds, is not
    seen."""
)
def _no_modulus(hessians, limit):
    return min(1.0, limit / _eigenvalues(hessians).max())


@fold_exercise.mistake(
    """You looked at the most negative eigenvalue only. That prevents folding, but the task limits stretching as well:
    no eigenvalue may be larger than the limit in modulus."""
)
def _negative_only(hessians, limit):
    return min(1.0, limit / max(-_eigenvalues(hessians).min(), 1e-300))


@fold_exercise.mistake(
    """A step longer than asked for: where the limit is not reached, t stays 1."""
)
def _not_capped(hessians, limit):
    return limit / np.abs(_eigenvalues(hessians)).max()


@fold_exercise.mistake(
    """You used the Frobenius norm. That is safe, and the second part of the task is about it, but it is not the
    largest t."""
)
def _frobenius(hessians, limit):
    return min(1.0, limit / np.sqrt((hessians**2).sum(axis=(1, 2))).max())


@fold_exercise.mistake(
    """You averaged over the points: the step must be safe at each of them, so the worst one decides."""
)
def _averaged(hessians, limit):
    return min(1.0, limit / np.abs(_eigenvalues(hessians)).max(axis=1).mean())


@fold_exercise.mistake(
    """You took the largest entry of the matrices. An eigenvalue can be larger than every entry, as for a matrix of
    ones."""
)
def _largest_entry(hessians, limit):
    return min(1.0, limit / np.abs(hessians).max())
