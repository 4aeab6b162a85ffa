"""Exercises of chapter 11: the witness, its reach, bias, sorting, and steepest descent in an RKHS."""

import numpy as np

from .engine import Exercise

reach_exercise = Exercise(
    "11.1",
    "How far does a Gaussian see?",
    level="warm-up",
    minutes=15,
    text=r"""
    One particle at distance $r$ from one point of the target, nothing else: the Gaussian kernel of width $h$ pulls the particle with the force $|\nabla w|$.

    1. Write down the force as a function of $r$.
       At which distance is it largest?
    2. The step is $\eta = h^2 / 2$.
       How far does the particle move in its first step from $r = h$, and from $r = 10 h$?
    3. The energy kernel pulls with which force, and with which step would it move as far from $r = h$ as the Gaussian does?
    4. Somebody proposes to make up for weak forces by steps that grow until every particle moves by $h$.
       What goes wrong if one particle is far away, and the others have arrived?
    """,
    hints=(
        "The pull of the target is the gradient of the bump that sits on it.",
        """The force is r / h^2 times exp(-r^2 / (2 h^2)); set its derivative in r to zero. For the last question
        think of the theorem on steps that do not fold.""",
    ),
    answer=r"""
    1. $|\nabla w| = \frac{r}{h^2} e^{-r^2 / (2 h^2)}$.
    Its derivative in $r$ is $\frac1{h^2} \bigl(1 - \frac{r^2}{h^2}\bigr) e^{-r^2 / (2 h^2)}$, so it is largest at $r = h$, where it is $e^{-1/2} / h \approx 0.61 / h$.

    2. It moves by $\frac{h^2}{2} |\nabla w| = \frac{r}{2} e^{-r^2 / (2 h^2)}$: from $r = h$ by $0.30\, h$, from $r = 10 h$ by $5 h e^{-50} \approx 10^{-21} h$.

    3. With force one at any distance, so the step would be $0.30\, h$, a length.

    4. The step would have to be of the order $h^2 e^{r^2 / (2 h^2)}$, far above $h^2 / 2$.
    Then the map folds where the others are: a particle that is a little off its place is thrown over to the far side.
    So one may let the step grow only as long as *all* particles stay in order.
    """,
)

witness_exercise = Exercise(
    "11.2",
    "Find the error in a witness",
    level="core",
    minutes=20,
    text=r"""
    A fellow student wrote this witness {eq}`eq-11-witness` for the Gaussian kernel.
    The flow that uses it drives the two clouds apart, and with the sign turned round it still does not agree with `mo.witness`.

    ```python
    def witness(z, x, y, h):
        kx = np.exp(-((z[:, None] - x) ** 2).sum(axis=2) / h**2)
        ky = np.exp(-((z[:, None] - y) ** 2).sum(axis=2) / h**2)
        return ky.mean(axis=1) - kx.mean(axis=1)
    ```

    Find the errors, and write a right one.
    Where must the function be positive: where $x$ has too much mass, or where $y$ has?
    """,
    hints=(
        "Draw x and y as one point each and ask which of them should go up.",
        """There are two errors. One is a sign; for the other, compare the exponent with the definition of the
        Gaussian kernel.""",
    ),
    answer=r"""
    Two errors: the sign (the bumps of $x$ go up, those of $y$ down, so that $z \leftarrow z - \eta \nabla w(z)$ leaves the crowd), and the factor 2 in $2 h^2$.
    The second one is easily overlooked: the picture looks the same, with a bandwidth smaller by the factor $\sqrt 2$.
    """,
)


@witness_exercise.solution
def witness(z, x, y, h):
    """Return the witness of x (n, d) and y (m, d) at z (l, d), shape (l,)."""
    kx = np.exp(-((z[:, None] - x) ** 2).sum(axis=2) / (2 * h**2))
    ky = np.exp(-((z[:, None] - y) ** 2).sum(axis=2) / (2 * h**2))
    return kx.mean(axis=1) - ky.mean(axis=1)


@witness_exercise.cases
def _(rng):
    for number, n, m, d, h in ((6, 4, 4, 2, 0.8), (3, 7, 5, 1, 1.5), (5, 6, 9, 3, 0.6)):
        yield (
            rng.normal(size=(number, d)),
            rng.normal(size=(n, d)),
            rng.normal(size=(m, d)) + 0.5,
            h,
        )


def _averages(z, x, y, h, total=np.mean):
    def k(a):
        return np.exp(-((z[:, None] - a) ** 2).sum(axis=2) / (2 * h**2))

    return total(k(x), axis=1), total(k(y), axis=1)


@witness_exercise.mistake(
    """Only the sign is wrong now: the witness is positive where x has more mass, so that points of x, which go
    downhill, leave the places where there are too many of them."""
)
def _sign(z, x, y, h):
    up, down = _averages(z, x, y, h)
    return down - up


@witness_exercise.mistake(
    """The sign is right, but the bandwidth is off by the square root of two: the Gaussian kernel has 2 h^2 in
    its denominator."""
)
def _no_two(z, x, y, h):
    up, down = _averages(z, x, y, h / np.sqrt(2))
    return up - down


@witness_exercise.mistake(
    """Both errors of the fellow student are still there: look at the sign, and at the exponent."""
)
def _both(z, x, y, h):
    up, down = _averages(z, x, y, h / np.sqrt(2))
    return down - up


@witness_exercise.mistake(
    """You summed over the points; every point carries the mass 1 / n (or 1 / m), so means are asked for. With
    sums the larger cloud would always win."""
)
def _sums(z, x, y, h):
    up, down = _averages(z, x, y, h, np.sum)
    return up - down


@witness_exercise.mistake(
    """You put h where h squared belongs: distances are squared, so h must be too, or the picture would depend on
    the unit of length."""
)
def _h_not_squared(z, x, y, h):
    up, down = _averages(z, x, y, np.sqrt(h))
    return up - down


@witness_exercise.mistake(
    """You forgot to square the distance in the exponent: that is the Laplace kernel's shape, with a kink at
    every point."""
)
def _not_squared(z, x, y, h):
    def k(a):
        return np.exp(-np.sqrt(((z[:, None] - a) ** 2).sum(axis=2)) / (2 * h**2))

    return k(x).mean(axis=1) - k(y).mean(axis=1)


@witness_exercise.mistake(
    """You divided the bumps by (2 pi h^2)^(d/2), which makes them densities. The kernel has height one at its
    centre; a factor changes the length of the witness, and with it the MMD and the size of the steps."""
)
def _densities(z, x, y, h):
    up, down = _averages(z, x, y, h)
    return (up - down) / (2 * np.pi * h**2) ** (z.shape[1] / 2)


bias_exercise = Exercise(
    "11.3",
    "Biased and unbiased",
    level="core",
    minutes=20,
    text=r"""
    Write the unbiased estimate of $\mathrm{MMD}^2$ for the inverse multiquadric kernel $k(x, x') = (1 + |x - x'|^2 / h^2)^{-1/2}$.

    Then shuffle: give all points of two samples of the banana random places in the two clouds, a hundred times.
    Which of the two estimates is zero on average?
    Does the *p-value* of the permutation test depend on which of the two one takes?
    """,
    hints=(
        "A cloud of n points has n (n - 1) ordered pairs of different points.",
        """Set the diagonals of the two square tables to zero, or subtract n times k(x, x) = 1 from their sums,
        and divide by n (n - 1) and m (m - 1); nothing is left out between the clouds.""",
    ),
    answer=r"""
    The unbiased one is zero on average.
    The p-value does not depend on it when both clouds have the same size: the biased estimate is then $\frac{n-1}{n}$ times the sum of the two averages within, plus the constant $2 / n$, minus the average between; since the sum of all three kinds of pairs is the same for all shuffles, each is an increasing function of the other.
    """,
)


@bias_exercise.solution
def mmd2_unbiased(x, y, h):
    """Return the unbiased squared MMD of the clouds x (n, d) and y (m, d)."""

    def total(a, b):
        return (1 / np.sqrt(1 + ((a[:, None] - b) ** 2).sum(axis=2) / h**2)).sum()

    n, m = len(x), len(y)
    within_x = (total(x, x) - n) / (n * (n - 1))
    within_y = (total(y, y) - m) / (m * (m - 1))
    return within_x + within_y - 2 * total(x, y) / (n * m)


@bias_exercise.cases
def _(rng):
    for n, m, d, h in ((4, 6, 2, 1.0), (9, 5, 1, 0.4), (7, 7, 3, 2.0)):
        yield rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5, h


def _sums_of_pairs(x, y, h):
    def total(a, b):
        return (1 / np.sqrt(1 + ((a[:, None] - b) ** 2).sum(axis=2) / h**2)).sum()

    return total(x, x), total(y, y), total(x, y), len(x), len(y)


@bias_exercise.mistake(
    """This is the biased estimate: each point is compared with itself, and k(x, x) = 1 is the largest value that
    there is. Leave these pairs out of the sums and out of their number."""
)
def _biased(x, y, h):
    xx, yy, xy, n, m = _sums_of_pairs(x, y, h)
    return xx / n**2 + yy / m**2 - 2 * xy / (n * m)


@bias_exercise.mistake(
    """You left the diagonal out of the sums, but divide by n^2 and m^2 as if it were there."""
)
def _divides_by_all(x, y, h):
    xx, yy, xy, n, m = _sums_of_pairs(x, y, h)
    return (xx - n) / n**2 + (yy - m) / m**2 - 2 * xy / (n * m)


@bias_exercise.mistake(
    """You divide by n (n - 1), but the n pairs of a point with itself are still in the sum."""
)
def _keeps_the_diagonal(x, y, h):
    xx, yy, xy, n, m = _sums_of_pairs(x, y, h)
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


@bias_exercise.mistake(
    """The factor 2 before the average between the clouds is missing: for equal distributions the three terms
    would not cancel."""
)
def _no_factor(x, y, h):
    xx, yy, xy, n, m = _sums_of_pairs(x, y, h)
    return (xx - n) / (n * (n - 1)) + (yy - m) / (m * (m - 1)) - xy / (n * m)


@bias_exercise.mistake(
    """The sign is turned round. A kernel is large where points are near: pairs within count positive, pairs
    between the clouds negative (for the energy distance it is the other way, as distances are large where
    points are far)."""
)
def _turned(x, y, h):
    xx, yy, xy, n, m = _sums_of_pairs(x, y, h)
    return 2 * xy / (n * m) - (xx - n) / (n * (n - 1)) - (yy - m) / (m * (m - 1))


@bias_exercise.mistake(
    """You took the square root. The unbiased estimate of the square can be negative, and its root is neither
    defined then nor unbiased."""
)
def _root(x, y, h):
    return np.sqrt(np.abs(mmd2_unbiased(x, y, h)))


sorting_exercise = Exercise(
    "11.4",
    "Slopes by sorting",
    level="core",
    minutes=25,
    text=r"""
    Write the slopes {eq}`eq-11-ranks` of the energy kernel's witness at all points $x_i$ of a cloud on the line, in $(n + m) \log (n + m)$ time: by `np.argsort`, `np.sort` and `np.searchsorted`, without a table of all pairs.
    No two points are equal.

    Check it against `mo.witness(x, y, kernel=mo.Energy()).gradient(x)`.
    For 20,000 points, how much faster is it?
    """,
    hints=(
        "The smallest of n points has no point to its left and n - 1 to its right. And the point of rank r?",
        """If r of the x are to the left of x_i, then n - 1 - r are to its right, so its share is
        (2 r - n + 1) / n. np.searchsorted counts the y to its left. np.argsort tells which point has rank r,
        not which rank point i has: the ranks must be put back into the order of x.""",
    ),
    answer="""
    Assigning `rank[np.argsort(x)] = np.arange(n)` turns the order into ranks; `np.argsort(np.argsort(x))` does so too, by sorting twice.
    """,
)


@sorting_exercise.solution
def slopes(x, y):
    """Return the slope of the energy kernel's witness at each x (n,), for y (m,)."""
    n, m = len(x), len(y)
    rank = np.empty(n)
    rank[np.argsort(x)] = np.arange(n)
    below = np.searchsorted(np.sort(y), x)
    return (2 * below - m) / m - (2 * rank - n + 1) / n


@sorting_exercise.cases
def _(rng):
    for n, m in ((5, 8), (9, 4), (12, 12)):
        yield rng.normal(size=n), 1.5 * rng.normal(size=m) + 0.3


def _ranks_and_counts(x, y):
    return np.argsort(np.argsort(x)), np.searchsorted(np.sort(y), x), len(x), len(y)


@sorting_exercise.mistake(
    """The sign is turned round: points of y to the left of x_i pull it to the left, so w rises to the right,
    and the flow goes down."""
)
def _sorted_sign(x, y):
    rank, below, n, m = _ranks_and_counts(x, y)
    return (2 * rank - n + 1) / n - (2 * below - m) / m


@sorting_exercise.mistake(
    """Your ranks start at one: then a point counts itself among those to its left. The smallest of the x has
    none to its left."""
)
def _from_one(x, y):
    rank, below, n, m = _ranks_and_counts(x, y)
    return (2 * below - m) / m - (2 * rank - n + 3) / n


@sorting_exercise.mistake(
    """np.argsort gives the order, that is, which point has rank r; you used it as the rank of point i. Sort the
    order once more, or assign rank[order] = 0, 1, 2, ..."""
)
def _order_for_rank(x, y):
    _, below, n, m = _ranks_and_counts(x, y)
    return (2 * below - m) / m - (2 * np.argsort(x) - n + 1) / n


@sorting_exercise.mistake(
    """The values are right, but in the order of the sorted x: each slope belongs to a point, so undo the sorting
    at the end."""
)
def _sorted_out(x, y):
    return slopes(np.sort(x), y)


@sorting_exercise.mistake(
    """You counted only the points to the left. Those to the right push the other way: left minus right, so that
    a point in the middle of its own cloud feels nothing of it."""
)
def _left_only(x, y):
    rank, below, n, m = _ranks_and_counts(x, y)
    return below / m - rank / n


@sorting_exercise.mistake(
    """You forgot the repulsion among the points of x: with the pull of y alone, all of them would fall onto the
    median of y."""
)
def _pull_only(x, y):
    _, below, _, m = _ranks_and_counts(x, y)
    return (2 * below - m) / m


@sorting_exercise.mistake(
    """You searched in y as it came: np.searchsorted needs a sorted array, and does not complain."""
)
def _unsorted_targets(x, y):
    rank, _, n, m = _ranks_and_counts(x, y)
    return (2 * np.searchsorted(y, x) - m) / m - (2 * rank - n + 1) / n


descent_exercise = Exercise(
    "11.5",
    "Steepest descent in an RKHS",
    level="challenge",
    minutes=30,
    text=r"""
    Move the points of $\rho$ by the gradient of a small potential, $z \mapsto z + \nabla f(z)$ with $f \in \mathcal{H}$.
    In optimal transport, the potential is sought that makes $D(f) = \mathbb{E}_\rho f - \mathbb{E}_\mu f$ plus terms of second order smallest.
    Take the assumptions of {prf:ref}`thm-11-mmd`, and let $k$ be bounded with bounded continuous derivatives up to second order in each argument.

    1. Show that among all $f \in \mathcal{H}$ the sum $D(f) + \frac{1}{2 \eta} \|f\|^2$ is smallest at exactly one: $f = -\eta w$.
       So $-w$ is the direction of steepest descent of $D$ in $\mathcal{H}$, and the step is that of the MMD flow {eq}`eq-11-flow`.
    2. Show that for any $f \in \mathcal{H}$ the squared MMD changes under $z \mapsto z + \varepsilon \nabla f(z)$ at the rate

       $$
       \frac{d}{d\varepsilon} \, \tfrac12 \mathrm{MMD}^2 \Big|_{\varepsilon = 0} = \mathbb{E}_\rho [ \nabla w \cdot \nabla f ] ,
       $$

       so that with $f = -\eta w$ it never rises to first order.
       When does it stand still although $\rho \ne \mu$?
    3. Replace the norm of $\mathcal{H}$ in part 1 by $\|f\|^2 = \mathbb{E}_\mu |\nabla f|^2$, for $f$ in the span of finitely many features $f_1, \dots, f_L$ with linearly independent gradients in $L^2(\mu)$.
       Which $f$ is steepest now?
    """,
    hints=(
        "By the reproducing property, D is an inner product with one element of the space. Complete the square.",
        """D(f) = <f, w>. For part 2, the embedding of the moved distribution at a point z' is the mean of
        k(z + eps grad f(z), z'); differentiate half the squared norm of the difference of embeddings. For part 3
        write f as a sum with coefficients beta and minimise a quadratic function.""",
    ),
    answer=r"""
    1. By the proof of {prf:ref}`thm-11-mmd`, $D(f) = \langle f, w \rangle$.
    Completing the square,

    $$
    \langle f, w \rangle + \frac{1}{2 \eta} \|f\|^2 = \frac{1}{2 \eta} \| f + \eta w \|^2 - \frac{\eta}{2} \|w\|^2 ,
    $$

    which is smallest at $f = -\eta w$ and nowhere else.
    Its step is $z + \nabla f(z) = z - \eta \nabla w(z)$.

    2. Let $\rho_\varepsilon$ be the moved distribution and $w_\varepsilon = m_{\rho_\varepsilon} - m_\mu$.
    Then $\frac12 \mathrm{MMD}^2 = \frac12 \mathbb{E} k(z_\varepsilon, z'_\varepsilon) - \mathbb{E} k(z_\varepsilon, y) + \text{const}$ with $z_\varepsilon = z + \varepsilon \nabla f(z)$ and independent $z, z' \sim \rho$.
    Every $f \in \mathcal{H}$ has a bounded gradient, since $|\partial_i f(z)| \le \|f\| \, \|\partial_i k(z, \cdot)\|$ and $\|\partial_i k(z, \cdot)\|^2 = \partial_i \partial'_i k(z, z)$ is bounded.
    So the integrands are differentiable in $\varepsilon$ with bounded derivatives, and we may differentiate under the expectation.
    By symmetry of $k$ the two arguments of the first term contribute equally, so the derivative at zero is

    $$
    \mathbb{E} [ \nabla_1 k(z, z') \cdot \nabla f(z) ] - \mathbb{E} [ \nabla_1 k(z, y) \cdot \nabla f(z) ]
    = \mathbb{E}_\rho [ \nabla w \cdot \nabla f ] .
    $$

    With $f = -\eta w$ it is $-\eta\, \mathbb{E}_\rho |\nabla w|^2 \le 0$.
    It is zero if $\nabla w = 0$ wherever $\rho$ has mass: $w$ need be constant only near each piece of $\rho$.
    That happens, up to rounding, for a narrow kernel and clouds far apart.

    3. With $f = \sum_l \beta_l f_l$, $b_l = \mathbb{E}_\rho f_l - \mathbb{E}_\mu f_l$ and $G_{lm} = \mathbb{E}_\mu [ \nabla f_l \cdot \nabla f_m ]$, which is positive definite by assumption, we minimise $b \cdot \beta + \frac{1}{2 \eta} \beta^\top G \beta$.
    The minimum is at $\beta = -\eta\, G^{-1} b$.
    For $\eta = 1$ that is Newton's step for the dual problem of transport; see {doc}`10_data_driven_flow`.
    """,
)
