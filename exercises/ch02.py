"""Exercises of chapter 2: conditional weights, scores of forecasts, calibration."""

import numpy as np

from .engine import Exercise

moments = Exercise(
    "2.1",
    "What the estimate believes",
    level="warm-up",
    minutes=15,
    text=r"""
    Take the conditional estimate {eq}`eq-conditional` with the Gaussian kernel, and fix the covariates $y$.

    1. Show that its mean is $\hat m(y) = \sum_j w_j(y) z_j$, the regression estimate of Nadaraya and Watson.
    2. Find its variance.
    3. The bandwidth $g$ of the outcome grows.
       Which of the two changes, and what does that do to the PIT histogram?
    """,
    hints=(
        "The estimate is a mixture: choose $j$ with probability $w_j$, then draw from the bump at $z_j$.",
        "The variance of a mixture is the mean of the variances plus the variance of the means.",
    ),
    answer=r"""
    1. The bump $K_g(\cdot - z_j)$ has mean $z_j$, and the mean of a mixture is the weighted mean of the means: $\sum_j w_j(y) z_j$.

    2. Each bump has variance $g^2$, so

    $$
    \mathrm{Var} = g^2 + \sum_j w_j(y) \left( z_j - \hat m(y) \right)^2 .
    $$

    3. The mean does not contain $g$; the variance grows by exactly what $g^2$ grows.
       If the weighted spread of the $z_j$ was right already, the forecast is too wide by $g^2$, the outcomes fall near its centre too often, and the PIT histogram gets a hump in the middle.
    """,
)

weights = Exercise(
    "2.2",
    "Days like today",
    level="core",
    minutes=20,
    text=r"""
    Write the weights $w_j(y)$ of {eq}`eq-conditional` for Gaussian kernels with one bandwidth for each covariate.

    Then find the five days of the year with the largest weight for an evening of your choice, and judge for yourself whether they were alike.
    """,
    hints=(
        """Divide the differences by the bandwidths before anything else.
        What must the weights of all past days add up to?""",
        """One number for each past day: the sum over covariates of ((y_star - y) / h) squared. Exponential of
        minus half of it, and then divide by the sum over the days.""",
    ),
    answer="""
    When all past days are far away, every exponential underflows and the division gives NaN.
    Subtracting the smallest exponent first, as `mo.conditional_kde` does, changes no weight and avoids that.
    """,
)


@weights.solution
def similar_days(y_star, y, h):
    """Return the weights (n,) of days y (n, p) at y_star (p,), bandwidths h (p,)."""
    squared = (((y_star - y) / h) ** 2).sum(axis=1)
    weight = np.exp(-(squared - squared.min()) / 2)
    return weight / weight.sum()


@weights.cases
def _(rng):
    for n, p in ((4, 2), (7, 7), (30, 3)):
        yield rng.normal(size=p), rng.normal(size=(n, p)), rng.uniform(0.6, 2.5, size=p)


def _kernel(y_star, y, h, power=2.0, half=0.5):
    return np.exp(-half * (np.abs((y_star - y) / h) ** power).sum(axis=1))


@weights.mistake(
    """The weights do not add up to one: divide by their sum, or the estimate is no density."""
)
def _not_normalised(y_star, y, h):
    return _kernel(y_star, y, h)


@weights.mistake(
    """You divided by n instead of by the sum of the kernels: that is the density of the covariates, not the
    share of each day in it."""
)
def _mean_instead_of_share(y_star, y, h):
    return _kernel(y_star, y, h) / len(y)


@weights.mistake(
    """The one half in the exponent of the Gaussian is missing: your bandwidths are smaller than they say, by a
    factor of the square root of two."""
)
def _no_half(y_star, y, h):
    w = _kernel(y_star, y, h, half=1.0)
    return w / w.sum()


@weights.mistake(
    """You divided squared differences by h; the bandwidth is a standard deviation, so divide by it before you
    square."""
)
def _h_not_squared(y_star, y, h):
    return _not_squared(y_star, y, h)


def _not_squared(y_star, y, h):
    w = np.exp(-0.5 * ((y_star - y) ** 2 / h).sum(axis=1))
    return w / w.sum()


@weights.mistake(
    """You added the covariates' kernels; the product kernel multiplies them, so that a day must be alike in
    every covariate to count."""
)
def _sum_of_kernels(y_star, y, h):
    w = np.exp(-0.5 * ((y_star - y) / h) ** 2).sum(axis=1)
    return w / w.sum()


@weights.mistake(
    """You used the distance without squaring it: that is Laplace's kernel, with a corner at each day and long
    tails."""
)
def _laplace(y_star, y, h):
    w = _kernel(y_star, y, h, power=1.0, half=1.0)
    return w / w.sum()


crps_exercise = Exercise(
    "2.3",
    "The score of an ensemble",
    level="core",
    minutes=20,
    text=r"""
    Weather services often give an *ensemble*: $m$ equally likely values $x_1, \dots, x_m$ instead of a density.
    Write the CRPS {eq}`eq-crps` of that discrete forecast, whose distribution function is a staircase.

    Then draw 20 values from a forecast of the chapter, score them, and compare with `mo.crps` of the density itself.
    """,
    hints=(
        """The second form of the CRPS needs only two averages.
        Over which pairs does the second run, when the forecast is the staircase itself?""",
        """The mean of |x_i - z| over i, minus half the mean of |x_i - x_j| over all m times m pairs, those
        of a value with itself included.""",
    ),
    answer=r"""
    Both $X$ and $X'$ are drawn from the staircase, so the pairs $i = j$ count.
    With $m (m - 1)$ instead of $m^2$ in the denominator one gets the *fair* score: an unbiased estimate of the CRPS of the law from which the ensemble was drawn.
    """,
)


@crps_exercise.solution
def ensemble_crps(x, z):
    """Return the CRPS of the ensemble x (m,) for the outcome z, a number."""
    spread = np.abs(x[:, None] - x).mean()
    return np.abs(x - z).mean() - spread / 2


@crps_exercise.cases
def _(rng):
    for m in (2, 5, 20):
        yield rng.normal(size=m), float(rng.normal())


def _parts(x, z):
    return np.abs(x - z).mean(), np.abs(x[:, None] - x).sum(), len(x)


@crps_exercise.mistake(
    """You subtracted the whole mean distance within the ensemble; the formula has half of it. With the whole, a
    wide ensemble would be rewarded for being wide."""
)
def _no_half_spread(x, z):
    far, pairs, m = _parts(x, z)
    return far - pairs / m**2


@crps_exercise.mistake(
    """You averaged over the pairs of different members. That is the fair score of the law behind the ensemble;
    asked for is the score of the ensemble itself, in which a value also pairs with itself."""
)
def _fair(x, z):
    far, pairs, m = _parts(x, z)
    return far - pairs / (m * (m - 1)) / 2


@crps_exercise.mistake(
    """You scored the error of the ensemble's mean. That is a score of one number; it ignores the spread, and
    does not reward an honest one."""
)
def _error_of_mean(x, z):
    return abs(x.mean() - z)


@crps_exercise.mistake(
    """The spread is missing: the mean distance to the outcome alone is smallest for a forecast that puts all
    members on the median, so it is not proper."""
)
def _no_spread(x, z):
    return np.abs(x - z).mean()


@crps_exercise.mistake(
    """You added the spread; it is subtracted, since a spread that is honest must not be punished."""
)
def _wrong_sign(x, z):
    far, pairs, m = _parts(x, z)
    return far + pairs / m**2 / 2


@crps_exercise.mistake(
    """You squared the distances; the CRPS is made of distances, in degrees, not degrees squared."""
)
def _squared(x, z):
    return ((x - z) ** 2).mean() - ((x[:, None] - x) ** 2).mean() / 2


pit_exercise = Exercise(
    "2.4",
    "Is this forecaster honest?",
    level="core",
    minutes=20,
    text=r"""
    A forecaster gives a Gaussian for each day, with means $m_i$ and standard deviations $s_i$.
    Write the counts of her PIT histogram: how many of the values $F_i(z_i)$ fall in each of `bins` equal bins of $[0, 1]$.

    Then invent a forecaster whose standard deviations are twice too large, and look at the histogram.
    """,
    hints=(
        "The distribution function of a Gaussian at $z$ depends only on how many standard deviations $z$ is off.",
        """scipy.stats.norm.cdf of (z - mean) / sd, then np.histogram with range=(0, 1); it returns counts and
        edges.""",
    ),
    answer="""
    With standard deviations that are too large the values crowd around one half: a hump.
    With ones that are too small they crowd at both ends.
    """,
)


@pit_exercise.solution
def pit_counts(mean, sd, z, bins):
    """Return the counts (bins,) of PIT values in equal bins of [0, 1]."""
    from scipy.stats import norm

    counts, _ = np.histogram(norm.cdf((z - mean) / sd), bins=bins, range=(0, 1))
    return counts


@pit_exercise.cases
def _(rng):
    for n, bins in ((40, 4), (200, 5), (300, 10)):
        mean, sd = rng.normal(size=n), rng.uniform(0.3, 3, size=n)
        yield mean, sd, mean + 0.8 * sd * rng.normal(size=n) + 0.2, bins


def _histogram(values, bins, limits=(0, 1), density=False):
    return np.histogram(values, bins=bins, range=limits, density=density)[0]


def _normal_cdf(u):
    from scipy.stats import norm

    return norm.cdf(u)


@pit_exercise.mistake(
    """Your histogram is mirrored: you took the probability of more than what came, 1 - F(z), or the difference
    the wrong way round."""
)
def _mirrored(mean, sd, z, bins):
    return _histogram(_normal_cdf((mean - z) / sd), bins)


@pit_exercise.mistake(
    """You did not divide by the standard deviations: a forecaster who says how sure she is must be judged by
    it."""
)
def _not_standardised(mean, sd, z, bins):
    return _histogram(_normal_cdf(z - mean), bins)


@pit_exercise.mistake(
    """You divided by the variances; the Gaussian's scale is its standard deviation."""
)
def _by_variance(mean, sd, z, bins):
    return _histogram(_normal_cdf((z - mean) / sd**2), bins)


@pit_exercise.mistake(
    """You counted the standardised errors, not their distribution function: the PIT lies between 0 and 1 and is
    uniform for an honest forecaster."""
)
def _no_cdf(mean, sd, z, bins):
    return _histogram((z - mean) / sd, bins)


@pit_exercise.mistake(
    """You let the bins run from the smallest to the largest value; they must divide the whole of [0, 1], or two
    forecasters cannot be compared."""
)
def _own_range(mean, sd, z, bins):
    return _histogram(_normal_cdf((z - mean) / sd), bins, limits=None)


@pit_exercise.mistake("""You returned a density; counts are asked for.""")
def _density(mean, sd, z, bins):
    return _histogram(_normal_cdf((z - mean) / sd), bins, density=True)


improper = Exercise(
    "2.5",
    "A score that pays for lying",
    level="challenge",
    minutes=30,
    text=r"""
    A friend proposes the *linear score*: the forecaster earns $\hat\rho(z)$, the density itself at what happened, without the logarithm.

    1. Let the outcome be 1 with probability $\pi > \tfrac12$ and 0 otherwise, and let the forecaster say a probability $p$ for 1.
       Which $p$ maximises the expected linear score?
    2. Show that the expected Brier score is smallest for $p = \pi$ and for no other $p$.
    3. For densities: let the outcome have a continuous bounded density $\rho$ on the line.
       Show that some other forecast earns more than $\rho$ itself, on average.
    4. Make it proper: for which function $c(\hat\rho)$ is $2 \hat\rho(z) - c(\hat\rho)$ strictly proper?
    """,
    hints=(
        "In part 1 the expected score is a straight line in $p$. In part 3, look for narrower and narrower bumps.",
        r"""For part 4 complete a square: which $c$ turns the expectation into a constant minus
        $\int (\hat\rho - \rho)^2$?""",
    ),
    answer=r"""
    1. The expected score is $\pi p + (1 - \pi)(1 - p)$, a line in $p$ with slope $2 \pi - 1 > 0$.
       So $p = 1$ is best: the forecaster is paid for claiming certainty, whatever she believes.

    2. $\pi (p - 1)^2 + (1 - \pi) p^2 = (p - \pi)^2 + \pi (1 - \pi)$, smallest exactly at $p = \pi$.

    3. The expected score of a forecast is $\int \hat\rho \, \rho$, an average of $\rho$.
       For $\hat\rho = \rho$ it is $\int \rho^2 < \sup \rho$: a continuous density on the line takes small values too, and gives them some weight.
       A narrow bump at a point where $\rho$ comes near its supremum averages only values near $\sup \rho$, so it earns more.

    4. With $c(\hat\rho) = \int \hat\rho^2$,

    $$
    \mathbb{E} \left[ 2 \hat\rho(Z) - \int \hat\rho^2 \right] = 2 \int \hat\rho \, \rho - \int \hat\rho^2
    = \int \rho^2 - \int (\hat\rho - \rho)^2 ,
    $$

    for densities that are square integrable.
    It is largest exactly for $\hat\rho = \rho$.
    This *quadratic score* is the Brier score's sister for densities, and choosing a bandwidth by it is least-squares cross-validation.
    """,
)
