"""Exercises of chapter 1: likelihood, leave-one-out, distances between clouds, the best bandwidth."""

import numpy as np

from .engine import Exercise

best_gaussian = Exercise(
    "1.1",
    "The Gaussian nearest to the truth",
    level="warm-up",
    minutes=15,
    text=r"""
    Let $\rho$ be a density on the line with mean $m$, variance $s^2 > 0$ and $\mathbb{E}_\rho|\log \rho| < \infty$.
    It need not be a Gaussian.

    1. For which Gaussian $\mathcal{N}(a, b^2)$ is $\mathrm{KL}(\rho \,\|\, \mathcal{N}(a, b^2))$ smallest?
    2. In the chapter, one Gaussian was fitted to the heights by their mean and standard deviation.
       What does part 1 say about that fit when there are more and more pupils?
    3. Two classes, two humps: why does the best Gaussian put much of its mass between the humps, where few
       pupils are?
    """,
    hints=(
        "Only one of the two terms of the KL divergence contains a and b.",
        """The mean of (x - a) squared under the truth is the variance plus (m - a) squared.
        Minimise over a first, then over b.""",
    ),
    answer=r"""
    1. By {prf:ref}`thm-ml-kl` we maximise $\mathbb{E}_\rho[\log \mathcal{N}(x; a, b^2)]$, which is

    $$
    -\tfrac12 \log(2 \pi) - \log b - \frac{\mathbb{E}_\rho (x - a)^2}{2 b^2}
    = -\tfrac12 \log(2 \pi) - \log b - \frac{s^2 + (m - a)^2}{2 b^2} .
    $$

    Whatever $b$ is, $a = m$ is best.
    Then the derivative in $b$, $-1/b + s^2 / b^3$, is positive for $b < s$ and negative for $b > s$, so $b = s$.
    The nearest Gaussian has the mean and the variance of the truth.

    2. Mean and variance of the sample converge to those of $\rho$.
    So the fit converges to the nearest Gaussian, and its KL divergence to the smallest that one Gaussian can reach; that is not zero, since $\rho$ is no Gaussian.

    3. The KL divergence averages over $\rho$ the nats that are lost.
    Where $\rho$ has mass and the model has almost none, the loss is huge; where the model has mass and $\rho$ has none, nothing is averaged.
    So the model must cover both humps, and a single bell that does so covers the space between them too.
    (In the other direction, $\mathrm{KL}(\mathcal{N} \,\|\, \rho)$, the best bell would rather sit on one hump.)
    """,
)

leave_one_out_exercise = Exercise(
    "1.2",
    "Leave one out",
    level="core",
    minutes=20,
    text=r"""
    Write the leave-one-out log-likelihood {eq}`eq-loo` for a sample on the line and the Gaussian kernel.
    Points far from all others make the sums tiny, but you need not protect them against underflow here.

    Then draw it over the bandwidth for `heights`, and compare its maximum with `mo.kde(heights).bandwidth`.
    """,
    hints=(
        """Make the table of all kernel values first, one row for each point.
        Which entries of it must not count?""",
        """Set the diagonal of the table to zero (np.fill_diagonal), sum over each row, divide by n - 1,
        and only then take the logarithm and the mean.""",
    ),
    answer="""
    The order matters: the logarithm is taken of each point's density, and the mean over the points comes last.
    """,
)


@leave_one_out_exercise.solution
def leave_one_out(x, h):
    """Return the mean leave-one-out log-likelihood of x, shape (n,), at bandwidth h."""
    n = len(x)
    bumps = np.exp(-(((x[:, None] - x) / h) ** 2) / 2) / (h * np.sqrt(2 * np.pi))
    np.fill_diagonal(bumps, 0.0)
    return np.log(bumps.sum(axis=1) / (n - 1)).mean()


@leave_one_out_exercise.cases
def _(rng):
    for n, h in ((5, 0.7), (12, 0.4), (40, 1.6)):
        yield rng.normal(size=n), h


def _bumps(x, h, own):
    bumps = np.exp(-(((x[:, None] - x) / h) ** 2) / 2) / (h * np.sqrt(2 * np.pi))
    return bumps if own else bumps * (1 - np.eye(len(x)))


@leave_one_out_exercise.mistake(
    """You kept the point itself: each point stands on top of its own bump, so the smallest bandwidth always
    wins. Leave the point i out of the sum at x_i."""
)
def _keeps_itself(x, h):
    return np.log(_bumps(x, h, True).mean(axis=1)).mean()


@leave_one_out_exercise.mistake(
    """You kept the point itself in the sum, although you divide by n - 1 as if it were gone."""
)
def _keeps_itself_but_divides_by_the_others(x, h):
    return np.log(_bumps(x, h, True).sum(axis=1) / (len(x) - 1)).mean()


@leave_one_out_exercise.mistake(
    """You divide by n, but only n - 1 bumps are left in each sum: the density of the others would have
    total mass (n - 1) / n."""
)
def _divides_by_n(x, h):
    return np.log(_bumps(x, h, False).sum(axis=1) / len(x)).mean()


@leave_one_out_exercise.mistake(
    """The factor 1 / h of the kernel is missing: a bump twice as wide must be half as high, or it is no
    density, and then wide bumps always win."""
)
def _no_height(x, h):
    return np.log(h * _bumps(x, h, False).sum(axis=1) / (len(x) - 1)).mean()


@leave_one_out_exercise.mistake(
    """The factor 1 / sqrt(2 pi) of the Gaussian is missing: the maximum stays where it is, but the value is no
    log-likelihood and cannot be compared with other models."""
)
def _no_normalisation(x, h):
    return np.log(
        np.sqrt(2 * np.pi) * _bumps(x, h, False).sum(axis=1) / (len(x) - 1)
    ).mean()


@leave_one_out_exercise.mistake(
    """You took the logarithm of the mean density, where the mean of the log densities is asked for: the
    likelihood of independent points is a product, and its logarithm a sum of logarithms."""
)
def _log_of_mean(x, h):
    return np.log((_bumps(x, h, False).sum(axis=1) / (len(x) - 1)).mean())


@leave_one_out_exercise.mistake(
    """You returned the sum over the points; the mean is asked for, so that samples of different size can be
    compared."""
)
def _sum_over_points(x, h):
    return np.log(_bumps(x, h, False).sum(axis=1) / (len(x) - 1)).sum()


@leave_one_out_exercise.mistake(
    """You used h as the variance of the bump; the bandwidth is its standard deviation, so distances are divided
    by h before they are squared."""
)
def _h_as_variance(x, h):
    return np.log(_bumps(x, np.sqrt(h), False).sum(axis=1) / (len(x) - 1)).mean()


energy_exercise = Exercise(
    "1.3",
    "An energy distance without bias",
    level="core",
    minutes=20,
    text=r"""
    The function `energy_by_hand` of the chapter averages over all pairs of points of one cloud, also over the
    pairs of a point with itself, whose distance is zero.
    So it underestimates $\mathbb{E}|x - x'|$ and overestimates the energy distance {eq}`eq-energy`.

    Write a version whose expectation is exactly the energy distance.

    Then average it over fifty pairs of samples of one distribution, and compare with `energy_by_hand`:
    which of the two is zero on average?
    """,
    hints=(
        "How many pairs of two different points does a cloud of n points have, counted in both orders?",
        """The zeros on the diagonal do no harm in a sum, only in the number by which you divide:
        it must be n (n - 1) within x, m (m - 1) within y, and n m between them.""",
    ),
    answer=r"""
    The double sum over $i \ne j$ has $n(n-1)$ terms, each with expectation $\mathbb{E}|x - x'|$.
    The price of having no bias: the estimate can be negative.
    """,
)


@energy_exercise.solution
def energy(x, y):
    """Return the unbiased energy distance of the clouds x (n, d) and y (m, d)."""

    def sum_of_distances(a, b):
        return np.sqrt(((a[:, None] - b) ** 2).sum(axis=2)).sum()

    n, m = len(x), len(y)
    between = sum_of_distances(x, y) / (n * m)
    within_x = sum_of_distances(x, x) / (n * (n - 1))
    within_y = sum_of_distances(y, y) / (m * (m - 1))
    return 2 * between - within_x - within_y


@energy_exercise.cases
def _(rng):
    for n, m, d in ((4, 6, 2), (9, 5, 1), (7, 8, 3)):
        yield rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5


def _mean_distances(x, y, own=1, power=1.0):
    def total(a, b):
        return (((a[:, None] - b) ** 2).sum(axis=2) ** (power / 2)).sum()

    n, m = len(x), len(y)
    return (
        total(x, y) / (n * m),
        total(x, x) / (n * (n - own)),
        total(y, y) / (m * (m - own)),
    )


@energy_exercise.mistake(
    """This is still the biased estimate: the n zeros on the diagonal are counted as pairs. Divide by the number
    of pairs of different points."""
)
def _biased(x, y):
    between, within_x, within_y = _mean_distances(x, y, own=0)
    return 2 * between - within_x - within_y


@energy_exercise.mistake(
    """The factor 2 is missing before the mean distance between the clouds: for equal distributions the three
    terms would not cancel."""
)
def _no_factor(x, y):
    between, within_x, within_y = _mean_distances(x, y)
    return between - within_x - within_y


@energy_exercise.mistake(
    """You averaged squared distances. With squares everything cancels but twice the squared distance of the two
    means, so clouds of different shape and equal mean would look the same."""
)
def _squared(x, y):
    between, within_x, within_y = _mean_distances(x, y, power=2.0)
    return 2 * between - within_x - within_y


@energy_exercise.mistake(
    """You summed absolute differences of the coordinates; the energy distance uses the Euclidean length of the
    difference, which does not change when both clouds are rotated."""
)
def _city_block(x, y):
    def total(a, b):
        return np.abs(a[:, None] - b).sum()

    n, m = len(x), len(y)
    return (
        2 * total(x, y) / (n * m)
        - total(x, x) / (n * (n - 1))
        - total(y, y) / (m * (m - 1))
    )


@energy_exercise.mistake(
    """You left out the pairs of a point with itself between x and y too. There x_i and y_i are different points:
    all n m pairs count."""
)
def _leaves_out_between(x, y):
    between, within_x, within_y = _mean_distances(x, y)
    n, m = len(x), len(y)
    k = min(n, m)
    same = np.sqrt(((x[:k] - y[:k]) ** 2).sum(axis=1)).sum()
    return 2 * (between * n * m - same) / (n * m - k) - within_x - within_y


@energy_exercise.mistake(
    """The sign is turned round: the distance between the clouds counts positive, the distances within them
    negative."""
)
def _sign(x, y):
    between, within_x, within_y = _mean_distances(x, y)
    return within_x + within_y - 2 * between


w2_exercise = Exercise(
    "1.4",
    "Transport on the line",
    level="warm-up",
    minutes=15,
    text=r"""
    On the line the best pairing of two clouds of the same size {eq}`eq-w2` joins the smallest point with the
    smallest, the second with the second, and so on.

    Write $W_2$ for two clouds on the line.
    It gives the same number as `mo.w2` for the same points laid into the plane, `np.c_[x, 0 * x]`.
    How much longer does that general method take for 1,000 points?
    """,
    hints=(
        "What puts points in order?",
        "Sort both clouds, take the mean of the squared differences, and then the square root.",
    ),
    answer=r"""
    Why sorting is right: if $a < b$ are paired crosswise with $c < d$, then
    $(a - d)^2 + (b - c)^2 - (a - c)^2 - (b - d)^2 = 2 (b - a)(d - c) > 0$.
    So uncrossing two pairs always makes the sum smaller, until nothing is crossed.
    """,
)


@w2_exercise.solution
def w2_on_the_line(x, y):
    """Return the Wasserstein distance W2 of x and y, both of shape (n,)."""
    return np.sqrt(((np.sort(x) - np.sort(y)) ** 2).mean())


@w2_exercise.cases
def _(rng):
    for n in (3, 8, 30):
        yield rng.normal(size=n), 2 * rng.normal(size=n) + 1


@w2_exercise.mistake(
    """You paired the points in the order in which they came. That order is an accident of the sample; the best
    pairing joins the smallest with the smallest."""
)
def _unsorted(x, y):
    return np.sqrt(((x - y) ** 2).mean())


@w2_exercise.mistake(
    "You sorted only one of the two clouds: both must be in order to be paired by rank."
)
def _one_sorted(x, y):
    return np.sqrt(((np.sort(x) - y) ** 2).mean())


@w2_exercise.mistake(
    "You sorted only one of the two clouds, the second: both must be in order."
)
def _other_sorted(x, y):
    return np.sqrt(((x - np.sort(y)) ** 2).mean())


@w2_exercise.mistake(
    """The square root is missing: this is the squared distance, which does not scale like a length when both
    clouds are stretched."""
)
def _no_root(x, y):
    return ((np.sort(x) - np.sort(y)) ** 2).mean()


@w2_exercise.mistake(
    """You summed over the points; each point carries the mass 1 / n, so the mean is asked for. Else the distance
    would grow with the number of points."""
)
def _sum(x, y):
    return np.sqrt(((np.sort(x) - np.sort(y)) ** 2).sum())


@w2_exercise.mistake(
    """This is W1, the mean of the absolute differences. W2 squares the differences, so that long ways count
    more."""
)
def _w1(x, y):
    return np.abs(np.sort(x) - np.sort(y)).mean()


@w2_exercise.mistake(
    """You paired the smallest with the largest: one of the two clouds is sorted downwards. That is the worst of
    all pairings."""
)
def _reversed(x, y):
    return np.sqrt(((np.sort(x) - np.sort(y)[::-1]) ** 2).mean())


best_bandwidth = Exercise(
    "1.5",
    "The best bandwidth, and its price in dimension d",
    level="challenge",
    minutes=30,
    text=r"""
    1. Find the bandwidth that makes the leading terms in {prf:ref}`thm-mise` smallest, and the error at it.
    2. Let $\rho = \mathcal{N}(0, \sigma^2)$ and $K$ the standard Gaussian.
       Derive Silverman's rule $h = (4/3)^{1/5} \sigma n^{-1/5}$.
       You may use $\int (\rho'')^2 \, dx = 3 / (8 \sqrt{\pi} \sigma^5)$ and $\int K^2 \, du = 1 / (2 \sqrt{\pi})$.
    3. In $d$ dimensions, with one bandwidth for all directions, the variance term becomes a constant times
       $1 / (n h^d)$, and the bias term stays a constant times $h^4$.
       At which rate does the smallest error fall with $n$?
       Going from $d = 1$ to $d = 8$: by which factor must $n$ grow to halve the error?
    """,
    hints=(
        "Write the leading terms as A / (n h) + B h^4 / 4 and set the derivative in h to zero.",
        """At the best h both terms are of the same order; in d dimensions this says h^(d + 4) is of order 1 / n.
        Put that back into h^4.""",
    ),
    answer=r"""
    1. With $A = \int K^2$ and $B = \int (\rho'')^2$ the derivative of $A / (n h) + B h^4 / 4$ is $-A / (n h^2) + B h^3$.
    It vanishes at $h = (A / (n B))^{1/5}$, and there the error is $\tfrac54 A^{4/5} B^{1/5} n^{-4/5}$.

    2. $A / B = \frac{1}{2 \sqrt\pi} \cdot \frac{8 \sqrt\pi \sigma^5}{3} = \frac{4 \sigma^5}{3}$, hence $h = (4/3)^{1/5} \sigma n^{-1/5}$.

    3. Setting the derivative of $a / (n h^d) + b h^4$ to zero gives $h^{d+4} = a d / (4 b n)$, so the error is of order $h^4 \sim n^{-4/(d+4)}$.
    To halve it, $n$ must grow by the factor $2^{(d+4)/4}$: $2^{5/4} \approx 2.4$ for $d = 1$, and $2^3 = 8$ for $d = 8$.
    Halving the error three times over takes 13 times the points on the line, and 512 times in eight dimensions.
    """,
)
