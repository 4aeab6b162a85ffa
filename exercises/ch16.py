"""Exercises of chapter 16: blind slices, a slope with an interval, the lottery of seeds, a hypothesis of your own."""

import numpy as np

from .engine import Exercise

slices_exercise = Exercise(
    "16.1",
    "How fast slices go blind",
    level="core",
    minutes=30,
    text=r"""
    Let $\mu$ and $\nu$ be laws on $\mathbb{R}^d$ with finite second moments that differ in one plane only: in some orthonormal coordinates
    $\mu = \mu_2 \otimes \mathcal{N}(0, I_{d-2})$ and $\nu = \nu_2 \otimes \mathcal{N}(0, I_{d-2})$.
    Let $\theta$ be uniform on the sphere, and let $p$ be its projection to the plane, and

    $$
    SW_2^2(\mu, \nu) = \mathbb{E}_\theta \, W_2^2(\theta_\# \mu, \theta_\# \nu) .
    $$

    Here $\theta_\#$ stands for the law of the projection $\theta \cdot x$.

    1. What is $\mathbb{E} |p|^2$?
    2. Show that $SW_2^2(\mu, \nu) \le \frac{2}{d} W_2^2(\mu_2, \nu_2)$.
    3. Show that no power of $d$ can be gained in general: take $\nu_2$ to be $\mu_2$ moved by $m$.
    4. Two samples of $n$ points of the *same* law have in each direction a squared distance of about $c / n$, up to logarithms, in all dimensions.
       From which $d$ on do the slices see nothing of the difference in part 3?
    5. Why does it come sooner for the ring against its affine map?
    """,
    hints=(
        """Couple the two laws cleverly before you project: what both have in common can be given to both in the same
        way, at no cost.""",
        """Take an optimal pair (x, y) of the plane, and one normal vector g of the rest for both. The two projected
        points then differ by p . (x - y), and the mean of p p' is I / d.""",
    ),
    answer=r"""
    1. The squares of the $d$ coordinates of $\theta$ have the same mean and add up to one, so $\mathbb{E} |p|^2 = 2 / d$; in the same way $\mathbb{E} \, p p^\top = I_2 / d$.

    2. Let $(x, y)$ be an optimal pair of $\mu_2$ and $\nu_2$, and $g \sim \mathcal{N}(0, I_{d-2})$ independent of it.
    Then $(x, g)$ and $(y, g)$ have the laws $\mu$ and $\nu$, and their projections differ by $p \cdot (x - y)$.
    So $W_2^2(\theta_\# \mu, \theta_\# \nu) \le \mathbb{E} (p \cdot (x - y))^2 $ for every $\theta$, and the mean over $\theta$ of the right side is $\frac1d \mathbb{E} |x - y|^2 = \frac1d W_2^2(\mu_2, \nu_2)$, which is even half of what was asked.
    Hence $SW_2 = O(d^{-1/2})$.

    3. The projected laws are the same but for the shift $p \cdot m$, so their squared distance is $(p \cdot m)^2$ exactly, with the mean $|m|^2 / d$, and $|m|^2 = W_2^2(\mu_2, \nu_2)$.

    4. When $|m|^2 / d < c / n$, that is $d > n |m|^2 / c$: for this difference, proportional to the number of samples.

    5. The affine map has the right mean and covariance, so no direction shows a difference in the first two moments.
    In the direction $\theta$ one sees $p \cdot x$ plus a normal part of variance $1 - |p|^2$, and the smoothing by that part hides what is left.
    The first cumulant in which the projections can differ is the third, of the order $|p|^3$, that is $d^{-3/2}$ in place of $d^{-1/2}$.
    In a ring of five equal lumps the third moments vanish by symmetry, so there it is the fourth, of the order $d^{-2}$.
    (These orders are formal: cumulants that are close do not bound $W_2$ without further conditions.)
    """,
)

slope_exercise = Exercise(
    "16.2",
    "A slope with an interval",
    level="warm-up",
    minutes=20,
    text=r"""
    Hypothesis 7 speaks of a slope, and five seeds give five of them.
    Given dimensions of shape $(k,)$ and seconds of shape $(k, s)$, one column for each seed, fit the slope of the logarithm of the seconds
    against that of the dimension in each column by least squares.
    Return their mean $\bar a$ and the 95 % interval $\bar a \pm t_{0.975} \, \hat\sigma / \sqrt{s}$, where $\hat\sigma$ is the standard deviation of the slopes
    that estimates without bias and $t_{0.975}$ is the quantile of Student's law with $s - 1$ degrees of freedom.

    Then apply it to both flows on the bananas, from $d = 10$ on.
    Does the interval contain 2?
    What is it that this interval does not know of?
    """,
    hints=(
        "np.polyfit takes a table as its second argument and fits each column by itself.",
        """slopes = np.polyfit(np.log(dims), np.log(seconds), 1)[0]; the rest is slopes.std(ddof=1) and
        scipy.stats.t.ppf(0.975, s - 1).""",
    ),
    answer=r"""
    The interval knows how much seeds differ on this machine, on that day, between $d = 10$ and $50$.
    It does not know that the curve in the logarithmic picture may be bent: a fixed cost per fit, or an early stop by the held-out score, makes the slope smaller at the left end, so the power law itself is the doubtful part.
    Three dimensions cannot show a bend and a slope at once; run $d = 100$.
    """,
)


@slope_exercise.solution
def slope_interval(dims, seconds):
    """Return (slope, low, high) for dims (k,) and seconds (k, s)."""
    from scipy import stats

    slopes = np.polyfit(np.log(dims), np.log(seconds), 1)[0]
    centre, s = slopes.mean(), len(slopes)
    half = stats.t.ppf(0.975, s - 1) * slopes.std(ddof=1) / np.sqrt(s)
    return centre, centre - half, centre + half


@slope_exercise.cases
def _(rng):
    for dims, s, power in (((10, 20, 50), 5, 2.0), ((2, 5, 10, 20), 4, 1.0)):
        dims = np.array(dims, dtype=float)
        noise = np.exp(0.2 * rng.normal(size=(len(dims), s)) + 0.3 * rng.normal(size=s))
        yield dims, 0.01 * dims[:, None] ** power * noise


def _around(slopes, half):
    return slopes.mean(), slopes.mean() - half, slopes.mean() + half


def _slopes(dims, seconds):
    return np.polyfit(np.log(dims), np.log(seconds), 1)[0]


def _t(s, level=0.975):
    from scipy import stats

    return stats.t.ppf(level, s - 1)


@slope_exercise.mistake(
    """You used 1.96, the normal quantile. With five seeds the standard deviation is itself a guess, and Student's
    quantile, 2.78, pays for that."""
)
def _normal(dims, seconds):
    a = _slopes(dims, seconds)
    return _around(a, 1.959963984540054 * a.std(ddof=1) / np.sqrt(len(a)))


@slope_exercise.mistake(
    """This is where the next seed's slope may fall, not how well the mean is known: divide the standard deviation by
    the root of the number of seeds."""
)
def _no_root(dims, seconds):
    a = _slopes(dims, seconds)
    return _around(a, _t(len(a)) * a.std(ddof=1))


@slope_exercise.mistake(
    """Your standard deviation divides by s; with few seeds that is too small. Say ddof=1."""
)
def _biased(dims, seconds):
    a = _slopes(dims, seconds)
    return _around(a, _t(len(a)) * a.std() / np.sqrt(len(a)))


@slope_exercise.mistake(
    """Your interval leaves five per cent out on either side, so it is one of 90 %: the quantile is that of 0.975."""
)
def _one_side(dims, seconds):
    a = _slopes(dims, seconds)
    return _around(a, _t(len(a), 0.95) * a.std(ddof=1) / np.sqrt(len(a)))


@slope_exercise.mistake(
    """You took the logarithm of the seconds, but not of the dimension: that fits an exponential, not a power."""
)
def _half_logs(dims, seconds):
    a = np.polyfit(dims, np.log(seconds), 1)[0]
    return _around(a, _t(len(a)) * a.std(ddof=1) / np.sqrt(len(a)))


@slope_exercise.mistake(
    """You fitted a straight line through the seconds themselves. A power law is straight only in logarithms of
    both."""
)
def _no_logs(dims, seconds):
    a = np.polyfit(dims, seconds, 1)[0]
    return _around(a, _t(len(a)) * a.std(ddof=1) / np.sqrt(len(a)))


lottery_exercise = Exercise(
    "16.3",
    "What the best of five is worth",
    level="core",
    minutes=25,
    text=r"""
    A method was run with $n$ seeds, smaller scores are better.
    Somebody reports the best of $m$ of these seeds.
    Return the *expected* value of that report when all choices of $m$ different seeds are equally likely, exactly, without drawing any.

    Then apply it to `lottery`, with $m = 1, 2, 5, 10$.
    By how much can one "improve" the method without touching it?
    """,
    hints=(
        """Sort the scores. The i-th smallest is the best of a choice if it is chosen and none of the smaller ones is:
        how many choices are that?""",
        """With i = 0, ..., n - 1 in increasing order, the other m - 1 seeds come from the n - 1 - i that are larger:
        math.comb(n - 1 - i, m - 1) choices of math.comb(n, m).""",
    ),
    answer=r"""
    With $m = 1$ it is the mean, and with $m = n$ the minimum.
    In between it falls with every seed that one allows oneself; that is the price list of this kind of progress.
    Report $m$, or better, report all scores.
    """,
)


@lottery_exercise.solution
def best_of(scores, m):
    """Return the expected smallest of m different ones of the scores (n,)."""
    from math import comb

    n = len(scores)
    chances = [comb(n - 1 - i, m - 1) / comb(n, m) for i in range(n)]
    return np.sort(scores) @ chances


@lottery_exercise.cases
def _(rng):
    for n, m in ((6, 2), (9, 3), (12, 5), (7, 7), (8, 1)):
        yield rng.exponential(size=n), m


@lottery_exercise.mistake(
    """You let the same seed be drawn twice. A seed that is run again gives the same score, so nobody counts it as two:
    choose m different ones."""
)
def _replaced(scores, m):
    n = len(scores)
    tail = (np.arange(n, -1, -1) / n) ** m
    return np.sort(scores) @ (tail[:-1] - tail[1:])


@lottery_exercise.mistake(
    """You returned the best of all seeds. That is the report of somebody who ran all n; with m it is not so low."""
)
def _best_of_all(scores, m):
    return np.min(scores)


@lottery_exercise.mistake(
    """You took the first m seeds. They are one choice of many, and its value depends on the order of the list."""
)
def _first(scores, m):
    return np.min(scores[:m])


@lottery_exercise.mistake(
    """You weigh the scores from the wrong end: this is the expected worst of m. Smaller scores are better here."""
)
def _worst(scores, m):
    return -best_of(-np.asarray(scores), m)


@lottery_exercise.mistake(
    """You returned a mean over all scores, as if nobody had chosen. The best of m is smaller as soon as m is 2."""
)
def _mean(scores, m):
    return np.mean(scores)


@lottery_exercise.mistake(
    """You took the quantile 1 / (m + 1). That would be about right for scores that are spread evenly; the expected
    minimum of given scores can be counted exactly."""
)
def _quantile(scores, m):
    return np.quantile(scores, 1 / (m + 1))


own_exercise = Exercise(
    "16.4",
    "One hypothesis, another target",
    level="challenge",
    minutes=120,
    text=r"""
    Repeat hypothesis 1 with another law in the plane, for example `mo.Checkerboard()` or `mo.TwoMoons()`, in the small setting of this chapter ($d = 2, 5, 10$,
    1,000 samples).

    1. Run one pilot, with a seed that you then never use again.
    2. Write down at most three hypotheses with numbers in them, and for each what would refute it, into a file; commit it or send it to somebody.
    3. Write the verdicts as code *before* you have the results, and try them on made-up numbers: is there an outcome for which they say "refuted"?
    4. Run five seeds, let the code speak, and draw all seeds as dots.
    5. Say in three sentences what you have learnt, and what a sceptic would run next.
    """,
    hints=(
        """Whether a target is hard in many dimensions depends on how much of it an affine map already has. Look at the
        distance of the affine map before you guess what is left of it.""",
        """three_ways(d) needs two more arguments, the law and the seed. If the affine map is near the floor to begin
        with, the ratio is noise over noise: put the floor of `left` into the hypothesis.""",
    ),
    answer=r"""
    There is no one answer; here is what a good one has.

    *Numbers*: "left of the data-driven flow is above 0.5 at $d = 10$ in the median of five seeds" can fail; "the data-driven flow has trouble with many dimensions" cannot.

    *The denominator*: with a law that is nearly normal in each direction, such as a fine checkerboard, the energy distance of the affine map is small, and the floor of left is large, so "left above 0.8" may hold for a perfect method as well.
    State the floor beside each number.

    *Dry verdicts*: run on tables of zeros, of ones and of NaN, the code must say held, refuted and neither; many a verdict in a first draft says "held" to a table of NaN, since `not (nan > 0.8)` is true.

    *Dots*: with five seeds a median that lies 0.02 beyond the line has not decided much, and the honest sentence says so; the verdict stands all the same, as it was written.

    *The sceptic* would ask for another rotation, for twice the samples, and for features or slices that grow with $d$.
    """,
)
