"""Exercises of chapter 13: what measures expect, copying, floors, pairs, and a cheat."""

from itertools import pairwise

import numpy as np

from .engine import Exercise

expected_exercise = Exercise(
    "13.1",
    "What the truth would score",
    level="warm-up",
    minutes=20,
    text=r"""
    A model returns $n$ samples of exactly the true law $\mu$, which has a density.

    1. Why is its copy ratio {eq}`eq-13-copy` about one?
       Is its expected value exactly one?
    2. What is the expected nearest-neighbour accuracy between its samples and $n$ other true ones?
       Is it exactly $\frac12$?
    3. Another model has density zero on a set of true mass $p$, and is right elsewhere up to a factor.
       With which probability does {eq}`eq-13-kl` with $m$ unseen samples come out infinite, and what is it otherwise?
    4. A third model is right except that a share $a$ of its samples lies far off, where $\mu$ has no mass.
       What is its KL, and what its squared sliced $W_2$, roughly, if the distance is $D$?
    """,
    hints=(
        """Pool all points. If both clouds have the same law, the labels say nothing about the places; how many of
        the other points carry the same label as yours?""",
        """Part 2: 2n - 1 others, of which n - 1 are of the own cloud. Part 3: all m samples must miss the set, and
        the model's density elsewhere is mu / (1 - p). Part 4: on the support of mu its density is (1 - a) mu.""",
    ),
    answer=r"""
    1. Samples of the model and fresh true samples then have the same law, so the two medians of {eq}`eq-13-copy` are the same random quantity, drawn twice.
    Numerator and denominator have the same expectation, and both are close to the median of $\delta$ when $n$ is large, so the ratio is about one.
    Not exactly: given the training samples numerator $A$ and denominator $B$ are independent with the same law, and $\mathbb{E}[A / B] = \mathbb{E}[A] \, \mathbb{E}[1 / B] \ge 1$ by Jensen's inequality, with equality only if they do not vary.

    2. Given the $2n$ places, all ways to put the two labels on them are equally likely.
    So the nearest neighbour of a point is one of $2n - 1$ others, of which $n - 1$ have its label: the expected accuracy is $\frac{n - 1}{2n - 1}$, a little less than $\frac12$.

    3. It is finite only if all samples miss the set, so infinite with probability $1 - (1 - p)^m$.
    Otherwise every term is $\log \mu - \log \frac{\mu}{1 - p} = \log(1 - p) < 0$: the model looks *better* than the truth.
    With $p = 0.001$ and $m = 1000$ that happens in more than a third of all tests.

    4. On the support of $\mu$ the model's density is $(1 - a) \mu$, so the KL is $-\log(1 - a) \approx a$, wherever the rest lies.
    To be mended, a share $a$ of the mass must travel about $D$; in a random direction of the plane the squared length of its projection is $D^2 / 2$ on average, so the squared sliced $W_2$ is about $a D^2 / 2$.
    """,
)

copy_exercise = Exercise(
    "13.2",
    "The copy ratio by hand",
    level="core",
    minutes=15,
    text=r"""
    Write the copy ratio {eq}`eq-13-copy` with tables of distances; your clouds are small.

    Then take a kernel density of 500 samples of the banana, and let its bandwidth fall to zero.
    At which bandwidth is the copy ratio one half?
    Is that where the likelihood is best?
    """,
    hints=(
        "One table has a row for each sample of the model and a column for each training sample.",
        """np.linalg.norm(x[:, None] - training, axis=2).min(axis=1) holds the distances of the model's samples; its
        median goes over that of the fresh ones.""",
    ),
    answer=r"""
    The ratio falls smoothly with the bandwidth, and nothing happens at any one value: copying is a matter of degree.
    The bandwidth with the best likelihood has a ratio near one.
    """,
)


def _nearest(x, y):
    return np.linalg.norm(x[:, None] - y, axis=2).min(axis=1)


@copy_exercise.solution
def ratio_of_copies(x, training, fresh):
    """Return the copy ratio of x (n, d), given training (m, d) and fresh (k, d)."""

    def median_to_training(cloud):
        table = np.linalg.norm(cloud[:, None] - training, axis=2)
        return np.median(table.min(axis=1))

    return median_to_training(x) / median_to_training(fresh)


@copy_exercise.cases
def _(rng):
    for n, m, k, d in ((9, 12, 7, 2), (6, 8, 11, 3), (15, 10, 10, 2)):
        x, training, fresh = (rng.exponential(size=(size, d)) for size in (n, m, k))
        yield 0.7 * x, training, fresh


@copy_exercise.mistake(
    """You took means. A few samples in an empty corner then decide the ratio, and a model that copies nine samples
    of ten and throws the tenth far away looks honest; the median does not see that tenth."""
)
def _means(x, training, fresh):
    return _nearest(x, training).mean() / _nearest(fresh, training).mean()


@copy_exercise.mistake(
    """Your ratio is turned round: the model's distance belongs on top, so that copies give zero."""
)
def _turned(x, training, fresh):
    return 1 / ratio_of_copies(x, training, fresh)


@copy_exercise.mistake(
    """You look from the training samples to the model's, so you ask whether every training sample has a neighbour
    among the model's samples. Copying is asked from the other side: how near is a sample of the model to the
    nearest training sample?"""
)
def _other_way(x, training, fresh):
    return np.median(_nearest(training, x)) / np.median(_nearest(training, fresh))


@copy_exercise.mistake(
    """You measured distances to the fresh samples, which the model cannot have copied, since it never saw them."""
)
def _to_fresh(x, training, fresh):
    return np.median(_nearest(x, fresh)) / np.median(_nearest(fresh, training))


@copy_exercise.mistake(
    """Your distances are squared. Take the root, else half the distance counts as a quarter."""
)
def _squared(x, training, fresh):
    top, bottom = _nearest(x, training) ** 2, _nearest(fresh, training) ** 2
    return np.median(top) / np.median(bottom)


@copy_exercise.mistake(
    """You took the median of all distances to training samples, near and far. Copying shows in the distance to the
    nearest one only: take the smallest of each row first."""
)
def _all_distances(x, training, fresh):
    top = np.median(np.linalg.norm(x[:, None] - training, axis=2))
    return top / np.median(np.linalg.norm(fresh[:, None] - training, axis=2))


floor_exercise = Exercise(
    "13.3",
    "A floor by hand",
    level="core",
    minutes=20,
    text=r"""
    You have $2 r$ samples of the same law, each of them a cloud of $n$ points, in an array of shape $(2 r, n, d)$, and a distance
    between clouds.
    Return the mean and the 95 % quantile of the distance over the $r$ pairs (first and second, third and fourth, and so on).

    Then multiply $n$ by four, for the banana and `mo.sliced_w2`, and see by which factor the floor falls.
    And how many repeats does it take until the quantile does not change by more than a tenth from seed to seed?
    """,
    hints=(
        "Each cloud belongs to one pair only, so that the r distances are independent.",
        "[distance(a, b) for a, b in zip(clouds[::2], clouds[1::2])], then np.mean and np.quantile.",
    ),
    answer=r"""
    The floor falls by about two: the distance of an empirical law from its limit goes like $n^{-1/2}$ in one dimension, and the sliced distance is made of one-dimensional ones.
    The quantile is carried by the one or two largest of twenty values, so it takes a hundred repeats and more.
    """,
)


@floor_exercise.solution
def floor_of(clouds, distance):
    """Return mean and 95 % quantile of the distance over pairs of clouds (2r, n, d)."""
    values = [distance(a, b) for a, b in zip(clouds[::2], clouds[1::2], strict=True)]
    return np.mean(values), np.quantile(values, 0.95)


def _gap(x, y):
    return float(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)))


def _spread_gap(x, y):
    return float(np.abs(np.log(x.std(axis=0) / y.std(axis=0))).max())


@floor_exercise.cases
def _(rng):
    for r, n, d, distance in ((6, 5, 2, _gap), (9, 6, 1, _spread_gap), (4, 8, 3, _gap)):
        yield rng.normal(size=(2 * r, n, d)), distance


def _values(clouds, distance):
    return [distance(a, b) for a, b in zip(clouds[::2], clouds[1::2], strict=True)]


@floor_exercise.mistake(
    """You compare every cloud with the first one. If that one happens to be unusual, all your distances are large:
    they are not independent, and the floor depends on one cloud."""
)
def _with_the_first(clouds, distance):
    values = [distance(clouds[0], b) for b in clouds[1:]]
    return np.mean(values), np.quantile(values, 0.95)


@floor_exercise.mistake(
    """You compare each cloud with the next, so every cloud is used twice and neighbouring distances are not
    independent. Make r pairs."""
)
def _chained(clouds, distance):
    values = [distance(a, b) for a, b in pairwise(clouds)]
    return np.mean(values), np.quantile(values, 0.95)


@floor_exercise.mistake(
    """The mean plus 1.645 standard deviations is the 95 % quantile of a normal law. Distances are not normal: they
    are positive, and their upper tail is longer."""
)
def _normal_quantile(clouds, distance):
    values = _values(clouds, distance)
    return np.mean(values), np.mean(values) + 1.645 * np.std(values)


@floor_exercise.mistake(
    """This is the 5 % quantile, below which true samples hardly ever lie. The question for a model is whether its
    distance is so large that true samples hardly ever show it."""
)
def _lower(clouds, distance):
    values = _values(clouds, distance)
    return np.mean(values), np.quantile(values, 0.05)


@floor_exercise.mistake(
    """You returned the largest value in place of the 95 % quantile; it grows with the number of repeats."""
)
def _largest(clouds, distance):
    values = _values(clouds, distance)
    return np.mean(values), np.max(values)


@floor_exercise.mistake(
    """Your first number is the median; the floor's first number is the mean."""
)
def _median_floor(clouds, distance):
    values = _values(clouds, distance)
    return np.median(values), np.quantile(values, 0.95)


sign_exercise = Exercise(
    "13.4",
    "Wins by pairs",
    level="core",
    minutes=25,
    text=r"""
    Two methods were scored on the same seeds, smaller is better.
    Return the number of seeds on which the first one wins, and the two-sided p-value of the *sign test*: seeds on which both
    score the same are dropped, and if $w$ of the other $m$ are won, then

    $$
    p = \min\Bigl(1, \; 2 \sum_{k \ge \max(w, m - w)} \binom{m}{k} 2^{-m} \Bigr) .
    $$

    Then take from the record the seeds of `"kde"` and `"scikit-learn KDE"` on each target.
    How many targets would be significant at five per cent, if five seeds could be?
    """,
    hints=(
        """Compare the two arrays entry by entry, and count before you compute. math.comb gives the binomial
        coefficients.""",
        """m is the number of seeds with a != b and w that of a < b; sum math.comb(m, k) / 2**m from max(w, m - w) to
        m, double it, and cut it off at one.""",
    ),
    answer=r"""
    Doubling counts the tail on the other side; where $w = m / 2$ the middle term would be counted twice, hence the $\min$.
    With $m = 5$ the smallest possible value is $2 / 32 = 0.0625$, so no target alone can be significant.
    """,
)


@sign_exercise.solution
def sign_test(a, b):
    """Return (wins of a, two-sided p-value) for scores a, b, shape (n,)."""
    from math import comb

    wins, m = int((a < b).sum()), int((a != b).sum())
    tail = sum(comb(m, k) for k in range(max(wins, m - wins), m + 1))
    return wins, min(1.0, 2 * tail / 2**m)


@sign_exercise.cases
def _(rng):
    for n, shift, ties in ((5, 0.6, 1), (12, 0.5, 3), (20, -0.4, 2), (8, 0.0, 0)):
        a = rng.normal(size=n)
        b = a + rng.normal(size=n) + shift
        b[:ties] = a[:ties]
        yield a, b
    # As many wins as losses, where doubling gives more than one.
    yield np.array([0.0, 1.0, 2.0, 5.0]), np.array([1.0, 0.0, 3.0, 4.0])


def _p(wins, m):
    from math import comb

    tail = sum(comb(m, k) for k in range(max(wins, m - wins), m + 1))
    return min(1.0, 2 * tail / 2**m)


@sign_exercise.mistake(
    """Your p-value is one-sided: it asks only whether the method that came out ahead could be ahead by luck. You did
    not know before which one that would be, so both tails count."""
)
def _one_sided(a, b):
    from math import comb

    wins, m = int((a < b).sum()), int((a != b).sum())
    tail = sum(comb(m, k) for k in range(max(wins, m - wins), m + 1))
    return wins, tail / 2**m


@sign_exercise.mistake(
    """You count ties among the seeds. A tie says nothing about which method is better; drop it, from m too."""
)
def _ties_stay(a, b):
    wins = int((a < b).sum())
    return wins, _p(wins, len(a))


@sign_exercise.mistake("""You count ties as wins of the first method.""")
def _ties_win(a, b):
    wins = int((a <= b).sum())
    return wins, _p(wins, len(a))


@sign_exercise.mistake(
    """You sorted both arrays before comparing, or compared their order statistics: that takes the pairs apart. The
    test lives on both methods having seen the same samples."""
)
def _sorted_apart(a, b):
    return sign_test(np.sort(a), np.sort(b))


@sign_exercise.mistake(
    """You count the seeds on which the first method has the larger score, but smaller is better. (The p-value is the
    same, so only the count gives it away.)"""
)
def _larger(a, b):
    return sign_test(b, a)


@sign_exercise.mistake(
    """Your tail leaves out the count that was seen. A p-value is the chance of something at least as lopsided, the
    observed count included."""
)
def _strict_tail(a, b):
    from math import comb

    wins, m = int((a < b).sum()), int((a != b).sum())
    tail = sum(comb(m, k) for k in range(max(wins, m - wins) + 1, m + 1))
    return wins, min(1.0, 2 * tail / 2**m)


@sign_exercise.mistake(
    """Doubling the tail can give more than one, where wins and losses are nearly even; a probability ends at one."""
)
def _over_one(a, b):
    from math import comb

    wins, m = int((a < b).sum()), int((a != b).sum())
    tail = sum(comb(m, k) for k in range(max(wins, m - wins), m + 1))
    return wins, 2 * tail / 2**m


cheat_exercise = Exercise(
    "13.5",
    "Cheat, and catch the cheat",
    level="challenge",
    minutes=40,
    text=r"""
    Design a model, any object with `sample` and perhaps `log_density`, that is of no use and yet wins in one measure of this
    chapter.
    Run it in `mo.leaderboard` beside the honest methods.
    Then name the measure that catches it.
    At least:

    1. a model with the sliced $W_2$ of the truth *and* a copy ratio of one;
    2. a "density" whose {eq}`eq-13-kl` is far below zero, better than the truth can be; how would you notice without
       knowing $\mu$?
    3. a model that takes no time by its own report, by fitting when it is asked for samples;
    4. a fair one: what would you have to add to the leaderboard so that none of your cheats gets through?
    """,
    hints=(
        """For 1: the copy ratio is a median; what may the other half do? And noise of just the right size moves
        every copy away from its original. For 2: who says that a density integrates to one?""",
        """For 1 return for each sample either an exact copy or a point that you pushed away, or add noise of the size
        of the usual distance to a neighbour; then the nearest-neighbour accuracy and the likelihood look
        elsewhere. For 2 add a constant to log_density, and integrate over a box to catch it.""",
    ),
    answer=r"""
    1. Copies of 49 % of the training samples, and the other 51 % jittered by noise: the median looks at the jittered half only.
    The share of distances that are exactly zero catches it, or the whole distribution of $\delta$ beside that of fresh samples, for example by a two-sample test, in place of one median.
    Noise on *all* copies is harder: with noise of the size of the usual distance to a neighbour it is a kernel density with a small bandwidth, and no longer of no use.
    Its likelihood on unseen samples says what it is worth.

    2. $\log \hat\mu + 1$ lowers {eq}`eq-13-kl` by one.
    For a model with samples the density can be held against them: the mean of $1 / (\hat\mu V)$ over the samples that fall in a box of volume $V$, times the share of all samples that do, is at most one if $\hat\mu$ is their density, and it is one where $\hat\mu$ is positive in the whole box.
    In the plane, integrate over a grid.
    This is why models whose density comes by the change of variables are worth having: they integrate to one by construction, as far as the map is one-to-one (see {doc}`03_maps_and_likelihood`).

    3. Time everything, from the samples in to the samples out, or report samples per second too, as the record does.

    4. Unseen samples that the authors of methods do not hold, several measures of different kinds, the floors, the checks of copying, normalisation and time, more than one target, and settings fixed before the test is looked at.
    Even so, only what is measured is kept honest.
    """,
)
