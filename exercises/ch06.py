"""Exercises of chapter 6: Bures distance, c-transforms, quantiles, a broken Sinkhorn, sorting."""

import numpy as np

from .engine import Exercise

bures_exercise = Exercise(
    "6.1",
    "The distance of two Gaussians",
    level="warm-up",
    minutes=20,
    text=r"""
    Write $W_2$ between $\mathcal{N}(m_1, \Sigma_1)$ and $\mathcal{N}(m_2, \Sigma_2)$ by the formula
    {eq}`eq-06-bures`.
    The root in it is the root of a *matrix*: the symmetric positive semidefinite $R$ with $R R = \Sigma$, not the
    roots of the entries.

    Then look at two special cases: what is left of the formula if $\Sigma_1 = \Sigma_2$?
    And if both covariances are diagonal?
    """,
    hints=(
        """A symmetric matrix is Q diag(w) Q^T with its eigenvectors in Q; its root has the same eigenvectors and
        the roots of the eigenvalues.""",
        """Write a helper root(S) with np.linalg.eigh. With r = root(S1), the square is |m1 - m2|^2 plus the trace
        of S1 + S2 - 2 root(r S2 r). The distance is the root of that.""",
    ),
    answer=r"""
    With equal covariances only $|m_1 - m_2|$ is left: the whole cloud is shifted.
    With diagonal ones it is $|m_1 - m_2|^2 + \sum_k (\sigma_{1k} - \sigma_{2k})^2$, the standard deviations being
    compared one by one, as on the line.
    """,
)


@bures_exercise.solution
def gaussian_distance(m1, S1, m2, S2):
    """Return W2 of N(m1, S1) and N(m2, S2); means (d,), covariances (d, d)."""

    def root(S):
        w, Q = np.linalg.eigh(S)
        return (Q * np.sqrt(np.maximum(w, 0))) @ Q.T

    r = root(S1)
    bures = np.trace(S1 + S2 - 2 * root(r @ S2 @ r))
    return np.sqrt(((m1 - m2) ** 2).sum() + bures)


@bures_exercise.cases
def _(rng):
    for d in (2, 3, 5):
        # Positive entries and far means: roots of the entries give a number, a wrong one.
        a, b = rng.uniform(0.1, 1.0, size=(2, d, d))
        S1, S2 = a @ a.T + 0.1 * np.eye(d), b @ b.T + 0.5 * np.eye(d)
        yield rng.normal(size=d), S1, rng.normal(size=d) + 4.0, S2


def _squared(m1, S1, m2, S2, shift=1.0, cross=2.0, root=None):
    def matrix_root(S):
        w, Q = np.linalg.eigh(S)
        return (Q * np.sqrt(np.maximum(w, 0))) @ Q.T

    root = root or matrix_root
    r = root(S1)
    return shift * ((m1 - m2) ** 2).sum() + np.trace(S1 + S2 - cross * root(r @ S2 @ r))


@bures_exercise.mistake(
    """This is the squared distance: the formula gives W2^2, and its root is asked for."""
)
def _no_root(m1, S1, m2, S2):
    return _squared(m1, S1, m2, S2)


@bures_exercise.mistake(
    """You took the roots of the entries. The root of a matrix is another matrix R with R @ R equal to it; take the
    roots of its eigenvalues."""
)
def _entrywise(m1, S1, m2, S2):
    return np.sqrt(_squared(m1, S1, m2, S2, root=np.sqrt))


@bures_exercise.mistake(
    """The means are missing: you compared the shapes only, as if both clouds were centred."""
)
def _no_means(m1, S1, m2, S2):
    return np.sqrt(_squared(m1, S1, m2, S2, shift=0.0))


@bures_exercise.mistake(
    """The cross term counts twice, like 2 ab in (a - b)^2: then equal Gaussians have distance zero."""
)
def _one_cross_term(m1, S1, m2, S2):
    return np.sqrt(_squared(m1, S1, m2, S2, cross=1.0))


@bures_exercise.mistake(
    """You took the root of S1 times the root of S2 as the cross term. That is right only if the two matrices
    commute; in general it is the root of r S2 r with r the root of S1."""
)
def _commuting(m1, S1, m2, S2):
    def root(S):
        w, Q = np.linalg.eigh(S)
        return (Q * np.sqrt(w)) @ Q.T

    bures = np.trace(S1 + S2 - 2 * root(S1) @ root(S2))
    return np.sqrt(((m1 - m2) ** 2).sum() + bures)


transform_exercise = Exercise(
    "6.2",
    "c-transforms by hand",
    level="core",
    minutes=25,
    text=r"""
    On the line, and with half the squared distance as in {doc}`08_back_and_forth`, the {term}`c-transform` is
    $\phi^c(x) = \inf_y \, \frac12 (x - y)^2 - \phi(y)$.

    1. Compute $\phi^c$ for $\phi(y) = s y + t$; for $\phi(y) = \frac{\lambda}{2} y^2$, and say for which $\lambda$
       it is finite; for $\phi(y) = -|y|$; and for $\phi(y) = |y|$.
    2. Where the infimum is attained at one point, $x$ is sent there: $T(x) = x - (\phi^c)'(x)$.
       Which map belongs to each of the four?
    3. Show $\phi^{cc} \ge \phi$ and $\phi^{ccc} = \phi^c$ for every $\phi$ with finite $\phi^c$ and $\phi^{cc}$.
       For which of the four is $\phi^{cc} = \phi$, and what does it have to do with convexity?
    """,
    hints=(
        """For smooth phi the minimum is where y - x = phi'(y). For the last two, treat y > 0 and y < 0 separately
        and use that phi is even.""",
        """For part 3 read the constraint phi^c(x) + phi(y) <= c(x, y) both ways: whoever keeps it given phi^c is at
        most phi^cc. A larger function has a smaller transform.""",
    ),
    answer=r"""
    1. *Affine*: the minimum is at $y = x + s$, and $\phi^c(x) = -s x - \frac12 s^2 - t$.
    *Quadratic*: $\frac12 (1 - \lambda) y^2 - x y + \frac12 x^2$ has a minimum for every $x$ exactly if $\lambda < 1$; it is at
    $y = x / (1 - \lambda)$, and $\phi^c(x) = -\frac{\lambda}{2 (1 - \lambda)} x^2$.
    $-|y|$: minimise $\frac12 (x - y)^2 + |y|$: $y = 0$ for $|x| \le 1$, else $y = x - \operatorname{sign} x$, so $\phi^c$ is
    $\frac12 x^2$ for $|x| \le 1$ and $|x| - \frac12$ beyond.
    $|y|$: for $x > 0$ the minimum is at $y = x + 1$, and $\phi^c(x) = -|x| - \frac12$.

    2. The shift $x + s$; the scaling $x / (1 - \lambda)$; the map that takes $[-1, 1]$ to $0$ and draws everything else nearer by one;
    and $x + \operatorname{sign} x$, which tears the line apart at $0$.

    3. By definition $\phi(y) \le \frac12 (x - y)^2 - \phi^c(x)$ for all $x$; the infimum over $x$ is $\phi^{cc}(y)$, so $\phi \le \phi^{cc}$.
    Apply this to $\phi^c$ in place of $\phi$: $\phi^{c} \le \phi^{ccc}$.
    And as a larger function has a smaller transform, $\phi \le \phi^{cc}$ gives $\phi^c \ge \phi^{ccc}$.
    Now $\phi^c(x) = \frac12 x^2 - \sup_y \bigl( x y - (\frac12 y^2 - \phi(y)) \bigr)$ is half a square less a Legendre transform.
    So $\phi^{cc} = \phi$ exactly if $\frac12 y^2 - \phi(y)$ is its own double Legendre transform, that is convex (and lower semicontinuous).
    This holds for the first three (for $\lambda < 1$), and not for $|y|$: there $\phi^{cc}$ is $\frac12 (y^2 + 1)$ for $|y| \le 1$ and $|y|$ beyond, so that $\frac12 y^2 - \phi^{cc}$ is the convex hull of $\frac12 y^2 - |y|$.
    """,
)

line_exercise = Exercise(
    "6.3",
    "Clouds of different sizes on the line",
    level="core",
    minutes=25,
    text=r"""
    Write $W_2$ between two clouds on the line with $n$ and $m$ points, every point of the same weight in its
    cloud.
    The quantile function of a cloud is a staircase: with the points sorted, it is $x_{(i)}$ for levels $s$
    in $\bigl(\frac{i-1}{n}, \frac{i}{n}\bigr)$.
    So the integral {eq}`eq-06-quantiles` is a finite sum over the pieces on which both staircases are constant.
    (Do not use `mo.w2_1d`, and do not repeat points.)

    Then compare with `mo.w2_1d` for a thousand points against seven.
    """,
    hints=(
        "The levels at which one of the staircases jumps are 1/n, 2/n, ... and 1/m, 2/m, ...: cut [0, 1] there.",
        """With all cuts in order, edges = [0, ...], take the middle s of each piece: it belongs to the sorted point
        number int(s * n) of x and int(s * m) of y. Weight its squared difference by the length of the piece.""",
    ),
    answer=r"""
    There are at most $n + m - 1$ pieces, since both staircases end their last step at $1$: as many ways as a best plan
    needs.
    A point is split where a step of the other staircase ends within its own.
    """,
)


@line_exercise.solution
def distance_on_the_line(x, y):
    """Return W2 of the clouds x, shape (n,), and y, shape (m,)."""
    n, m = len(x), len(y)
    edges = np.union1d(np.arange(n + 1) / n, np.arange(m + 1) / m)
    middle = (edges[1:] + edges[:-1]) / 2
    a = np.sort(x)[(middle * n).astype(int)]
    b = np.sort(y)[(middle * m).astype(int)]
    return np.sqrt((np.diff(edges) * (a - b) ** 2).sum())


@line_exercise.cases
def _(rng):
    for n, m in ((5, 3), (4, 7), (12, 8)):
        yield rng.normal(size=n), 2 * rng.normal(size=m) + 1


def _pieces(x, y, order=np.sort):
    n, m = len(x), len(y)
    edges = np.union1d(np.arange(n + 1) / n, np.arange(m + 1) / m)
    middle = (edges[1:] + edges[:-1]) / 2
    a, b = order(x)[(middle * n).astype(int)], order(y)[(middle * m).astype(int)]
    return np.diff(edges), np.abs(a - b)


@line_exercise.mistake(
    """You paired the smallest points with the smallest until one cloud ran out. The left-over points carry mass
    too, and every point must be cut to its share."""
)
def _truncated(x, y):
    k = min(len(x), len(y))
    return np.sqrt(((np.sort(x)[:k] - np.sort(y)[:k]) ** 2).mean())


@line_exercise.mistake(
    """You averaged over the pieces as if they were equally long. A piece counts by its length, the mass that it
    carries."""
)
def _equal_pieces(x, y):
    return np.sqrt((_pieces(x, y)[1] ** 2).mean())


@line_exercise.mistake(
    """The points are not sorted: in the order in which they happen to come they define no quantiles."""
)
def _unsorted(x, y):
    mass, way = _pieces(x, y, order=np.asarray)
    return np.sqrt((mass * way**2).sum())


@line_exercise.mistake("""This is the squared distance: W2 is its root.""")
def _square(x, y):
    mass, way = _pieces(x, y)
    return (mass * way**2).sum()


@line_exercise.mistake(
    """You averaged the distances and not their squares: that is W1, another distance (with the same plan, on the
    line)."""
)
def _first_power(x, y):
    mass, way = _pieces(x, y)
    return (mass * way).sum()


@line_exercise.mistake(
    """np.quantile draws straight lines between the points. That is the quantile function of another
    distribution; the one of a cloud is a staircase."""
)
def _interpolated(x, y):
    k = max(len(x), len(y))
    level = (np.arange(k) + 0.5) / k
    return np.sqrt(((np.quantile(x, level) - np.quantile(y, level)) ** 2).mean())


sinkhorn_exercise = Exercise(
    "6.4",
    "A Sinkhorn that lies",
    level="core",
    minutes=30,
    text=r"""
    Here is a program for Sinkhorn's iteration with weights $a$ and $b$, as one finds it in a hurry:

    ~~~python
    def sinkhorn_plan(cost, a, b, epsilon, steps):
        g = np.zeros(len(b))
        for step in range(steps):
            f = -epsilon * np.log((b * np.exp((g - cost) / epsilon)).sum(axis=1))
            g = -epsilon * np.log((a * np.exp((f - cost) / epsilon)).sum(axis=0))
        return np.outer(a, b) * np.exp((f[:, None] + g - cost) / epsilon)
    ~~~

    For two clouds of equally many points and a large $\varepsilon$ it runs without complaint.
    Still it has two faults: its plan has the wrong sums, and a small $\varepsilon$ makes it return NaN.
    Find both and mend them.
    Keep the order: $g$ starts from zero, $f$ comes first, and each update uses the newest values.
    """,
    hints=(
        """After the update of g the columns of the plan must sum to b: check that, and look which index of f and a
        the sum over rows must follow. The other fault is met in the chapter.""",
        """In the second update a and f belong to the rows: a[:, None] and f[:, None]. And for each row let
        e = np.log(b) + (g - cost) / epsilon; subtract its largest entry before the exponential and add it after the
        logarithm.""",
    ),
    answer=r"""
    NumPy lines up the last axis, so `f - cost` subtracts from column $j$ the potential $f_j$ of another point.
    It is an error only if the numbers of points differ; where they are equal nothing warns you, except the sums of the plan.
    Test programs with arrays of different lengths.
    """,
)


@sinkhorn_exercise.solution
def sinkhorn_plan(cost, a, b, epsilon, steps):
    """Return the plan, shape (n, m), after so many rounds of both updates."""

    def log_sum_exp(e, axis):
        top = e.max(axis=axis, keepdims=True)
        return np.log(np.exp(e - top).sum(axis=axis)) + top.squeeze(axis)

    log_a, log_b = np.log(a)[:, None], np.log(b)
    g = np.zeros_like(b)
    for _ in range(steps):
        f = -epsilon * log_sum_exp(log_b + (g - cost) / epsilon, 1)
        g = -epsilon * log_sum_exp(log_a + (f[:, None] - cost) / epsilon, 0)
    return np.exp(log_a + log_b + (f[:, None] + g - cost) / epsilon)


@sinkhorn_exercise.cases
def _(rng):
    # Square tables, where the fault of the axes does not stop the program; the last one underflows.
    for n, epsilon, steps in ((4, 2.0, 3), (6, 0.5, 7), (5, 1e-3, 4)):
        x, y = rng.normal(size=(2, n, 2))
        a, b = rng.uniform(0.5, 1.5, size=(2, n))
        cost = ((x[:, None] - y - 2.0) ** 2).sum(axis=2)
        yield cost, a / a.sum(), b / b.sum(), epsilon, steps


def _log_sum_exp(e, axis):
    top = e.max(axis=axis, keepdims=True)
    return np.log(np.exp(e - top).sum(axis=axis)) + top.squeeze(axis)


def _plain(e, axis):
    with np.errstate(all="ignore"):
        return np.log(np.exp(e).sum(axis=axis))


def _variant(
    cost, a, b, epsilon, steps, lse=_log_sum_exp, rows=True, old=False, **other
):
    """Run the iteration with what a mistake changes in it."""
    log_a, log_b = other.get("log_a", np.log(a)), other.get("log_b", np.log(b))
    factor, plan_weight = other.get("factor", epsilon), other.get("plan_weight", 1.0)
    f, g = np.zeros(len(a)), np.zeros(len(b))
    with np.errstate(all="ignore"):
        for _ in range(steps):
            new = -factor * lse(log_b + (g - cost) / epsilon, 1)
            used = f if old else new
            if rows:
                exponent = log_a[:, None] + (used[:, None] - cost) / epsilon
            else:
                exponent = log_a + (used - cost) / epsilon
            f, g = new, -factor * lse(exponent, 0)
        weight = np.outer(a, b) ** plan_weight
        return weight * np.exp((f[:, None] + g - cost) / epsilon)


@sinkhorn_exercise.mistake(
    """This is the program as printed. Its first fault: in the update of g, a and f are lined up with the columns;
    they belong to the rows."""
)
def _as_printed(cost, a, b, epsilon, steps):
    return _variant(cost, a, b, epsilon, steps, lse=_plain, rows=False)


@sinkhorn_exercise.mistake(
    """A small epsilon works now, but the sums of the plan are still wrong: in the update of g the potential f_i
    must go with row i, and NumPy lines it up with the columns."""
)
def _only_range(cost, a, b, epsilon, steps):
    return _variant(cost, a, b, epsilon, steps, rows=False)


@sinkhorn_exercise.mistake(
    """The sums are right for a large epsilon, but for a small one all exponentials of a row are zero in floating
    point, and the logarithm of zero is taken. Take out the largest exponent first."""
)
def _only_axes(cost, a, b, epsilon, steps):
    return _variant(cost, a, b, epsilon, steps, lse=_plain)


@sinkhorn_exercise.mistake(
    """The weights are missing in the updates: each sum runs over the points of the other cloud with their
    weights."""
)
def _no_weights(cost, a, b, epsilon, steps):
    zero = np.zeros(len(a))
    return _variant(cost, a, b, epsilon, steps, log_a=zero, log_b=zero)


@sinkhorn_exercise.mistake(
    """The weights are exchanged: the update of f sums over the points of y, so it needs b, and that of g needs
    a."""
)
def _exchanged(cost, a, b, epsilon, steps):
    return _variant(cost, a, b, epsilon, steps, log_a=np.log(b), log_b=np.log(a))


@sinkhorn_exercise.mistake(
    """The logarithm must be multiplied by epsilon: f and g are costs, and the exponent holds f / epsilon."""
)
def _no_epsilon(cost, a, b, epsilon, steps):
    return _variant(cost, a, b, epsilon, steps, factor=1.0)


@sinkhorn_exercise.mistake(
    """Your update of g uses the f of the round before. Each update must answer the newest values of the other
    potential, else no marginal is right after it."""
)
def _old_values(cost, a, b, epsilon, steps):
    return _variant(cost, a, b, epsilon, steps, old=True)


@sinkhorn_exercise.mistake(
    """The potentials are right, but the plan lacks the factor a_i b_j: as it stands its entries do not add up to
    one."""
)
def _bare_plan(cost, a, b, epsilon, steps):
    return _variant(cost, a, b, epsilon, steps, plan_weight=0.0)


sorting_exercise = Exercise(
    "6.5",
    "Sorted pairing is optimal",
    level="challenge",
    minutes=30,
    text=r"""
    Let $h$ be convex on the line, and let it cost $h(x - y)$ to bring $x$ to $y$.

    1. Let $x_1 \le x_2$ and $y_1 \le y_2$.
       Show $h(x_1 - y_1) + h(x_2 - y_2) \le h(x_1 - y_2) + h(x_2 - y_1)$.
    2. Conclude that for $x_1 \le \dots \le x_n$ and $y_1 \le \dots \le y_n$ no pairing costs less than the sorted one.
    3. For $h(z) = z^2$ compute what one swap saves, and show that the sorted pairing is the only best one if all points of each
       cloud differ.
       Is it the only one for $h(z) = |z|$?
    4. Now let a way be the cheaper per mile the longer it is, $h(z) = \sqrt{|z|}$, and find two points $x$ and two points $y$ for which the
       sorted pairing is *not* the best.
    """,
    hints=(
        """The four differences: the two of the sorted pairs lie between the two of the crossed pairs, and both pairs
        have the same sum.""",
        """For part 2 take a best pairing; if it is not sorted, two neighbours in the order of x have images in the
        wrong order. How many swaps can there be? For part 4 let the clouds overlap in one point.""",
    ),
    answer=r"""
    1. Put $p = x_1 - y_2$ and $q = x_2 - y_1$.
    Then $p \le x_1 - y_1 \le q$ and $p \le x_2 - y_2 \le q$, and $(x_1 - y_1) + (x_2 - y_2) = p + q$.
    If $p = q$ all four are equal.
    Else write $x_1 - y_1 = (1 - s) p + s q$ with $0 \le s \le 1$; then $x_2 - y_2 = s p + (1 - s) q$.
    Convexity gives $h(x_1 - y_1) \le (1 - s) h(p) + s h(q)$ and $h(x_2 - y_2) \le s h(p) + (1 - s) h(q)$; add them.

    2. There are finitely many pairings, so a best one exists; among the best take one with the fewest inversions, pairs $i < j$ whose images are in the wrong order.
    If it had any, some neighbours $i, i + 1$ would be inverted.
    Swapping their images costs nothing more by part 1, and has one inversion less: a contradiction.
    Without inversions it is the sorted pairing (up to equal points, whose exchange costs nothing).

    3. $(x_1 - y_2)^2 + (x_2 - y_1)^2 - (x_1 - y_1)^2 - (x_2 - y_2)^2 = 2 (x_2 - x_1)(y_2 - y_1)$, which is positive for different points, so each swap in part 2 gains.
    For $|z|$ it is not the only one: if both $x$ lie to the left of both $y$, both pairings cost the same.

    4. $x = 0, 1$ and $y = 1, 2$: the sorted pairing costs $1 + 1 = 2$, the other $\sqrt 2 + 0$.
    What is already there stays, and one long way is made.
    """,
)
