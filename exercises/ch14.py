"""Exercises of chapter 14: images."""

import numpy as np
from scipy.spatial import KDTree

import mini_ot as mo

from .engine import Exercise

bits_exercise = Exercise(
    "14.1",
    "Bits per pixel",
    level="warm-up",
    minutes=15,
    text=r"""
    A model gives the dequantised images $x = (p + u) / 17$ the density $q$, and its mean log density on unseen images is $\ell$ nats.
    On the way from $p + u$ to $x$ every coordinate is divided by 17.

    1. By {prf:ref}`thm-14-dequantise`, which lower bound does $\ell$ give on the mean log probability of the whole numbers $p$?
       Divide by $-64 \log 2$: that is the usual *bits per pixel*, an upper bound.
    2. How many bits does the uniform density on the unit cube need?
    3. A colleague forgot the 17 and reports the bits of the density of $x$ itself.
       By how much is the report wrong, and in which direction?
       Can the bits of the colleague be negative?
    """,
    hints=(
        "The theorem speaks of the density of p + u. Which density does p + u have if x has the density q?",
        "Densities change by the determinant: that of p + u is q(x) divided by 17 to the power 64.",
    ),
    answer=r"""
    1. The map $x = (p + u) / 17$ has log-determinant $-64 \log 17$, so $p + u$ has the log density $\log q(x) - 64 \log 17$, and
       $\mathbb{E} \log Q(p) \ge \ell - 64 \log 17$.
       In bits per pixel, at most $(64 \log 17 - \ell) / (64 \log 2)$.
    2. For the uniform density $\ell = 0$: $\log_2 17 \approx 4.09$ bits, the number of bits that 17 equally likely levels need.
    3. The colleague reports $\log_2 17 \approx 4.09$ bits per pixel too few.
       Yes, negative: a density may be larger than one, and that of $x$ must be, where images are likely.
       A negative number of bits for whole numbers is impossible, since $Q(p) \le 1$, so a negative report shows the mistake.
    """,
)

components_exercise = Exercise(
    "14.2",
    "Principal components by hand",
    level="core",
    minutes=20,
    text=r"""
    Write the projection of images onto the first $k$ principal components of the training images, as images: the point nearest to each row of `images` on the affine subspace through the training mean.

    How many components does it take before you can read all ten digits of one row?
    """,
    hints=(
        "There is one mean, that of the training images, for both sets.",
        """np.linalg.svd of the centred training images gives the axes as rows of its third result, the widest
        first. Coordinates are inner products with these rows; go back by the same rows, and add the mean.""",
    ),
    answer="""
    The rows of `axes` are orthonormal, so `axes.T @ axes` projects onto the plane that they span, and the mean carries it to where the digits are.
    In the chapter's figure five components blur the two and the eight, and with twenty the ten digits look nearly as they were; where between them the line is, is a matter of taste.
    """,
)


@components_exercise.solution
def project(train, images, k):
    """Return images (n, d) projected onto the first k components of `train`."""
    mean = train.mean(axis=0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:k]
    return mean + (images - mean) @ axes.T @ axes


@components_exercise.cases
def _(rng):
    for n, d, k in ((30, 5, 2), (40, 4, 1), (50, 6, 3)):
        mix = rng.normal(size=(d, d)) * np.geomspace(3, 0.3, d)
        yield (
            rng.normal(size=(n, d)) @ mix.T + 2,
            rng.normal(size=(7, d)) @ mix.T + 2.5,
            k,
        )


def _axes(train):
    return np.linalg.svd(train - train.mean(axis=0), full_matrices=False)[2]


@components_exercise.mistake(
    """The mean is missing at the end: what you return is centred at zero, and an image of a digit is not."""
)
def _no_mean(train, images, k):
    axes = _axes(train)[:k]
    return (images - train.mean(axis=0)) @ axes.T @ axes


@components_exercise.mistake(
    """You centred the new images by their own mean. The coordinates belong to the training images: the same
    point must get the same coordinates in whichever batch it comes."""
)
def _own_mean(train, images, k):
    axes, mean = _axes(train)[:k], images.mean(axis=0)
    return mean + (images - mean) @ axes.T @ axes


@components_exercise.mistake(
    """You did not centre the training images before the decomposition: the first axis then points at the mean
    instead of along the widest direction."""
)
def _not_centred(train, images, k):
    axes, mean = np.linalg.svd(train, full_matrices=False)[2][:k], train.mean(axis=0)
    return mean + (images - mean) @ axes.T @ axes


@components_exercise.mistake(
    """You took the narrowest directions: np.linalg.eigh sorts eigenvalues upwards, so the widest axes are its
    last columns."""
)
def _narrowest(train, images, k):
    axes, mean = _axes(train)[-k:], train.mean(axis=0)
    return mean + (images - mean) @ axes.T @ axes


@components_exercise.mistake(
    """You took the first k columns of the matrix whose rows are the axes. np.linalg.svd returns the axes as
    rows of its third result."""
)
def _columns(train, images, k):
    axes, mean = _axes(train)[:, :k].T, train.mean(axis=0)
    return mean + (images - mean) @ axes.T @ axes


@components_exercise.mistake(
    """You divided by the standard deviations and did not multiply again: that is whitening, and it is no
    projection."""
)
def _whitened(train, images, k):
    mean = train.mean(axis=0)
    _, singular, axes = np.linalg.svd(train - mean, full_matrices=False)
    sd = singular[:k] / np.sqrt(len(train))
    return mean + (images - mean) @ axes[:k].T / sd @ axes[:k]


copies_exercise = Exercise(
    "14.3",
    "Copies, class by class",
    level="core",
    minutes=25,
    text=r"""
    A model may copy one class and invent another; the pooled copy ratio mixes them.
    Write the copy ratio of each class $0, \dots, C - 1$ by itself: generated, training and fresh digits of that class only.
    All classes occur in all three sets.

    Try it on the kernel density and on the energy flow of the chapter.
    Which classes does the kernel density copy most?
    """,
    hints=(
        "For one class, pick the rows with that label from each of the three sets, and use what the chapter used.",
        """The ratio of two medians: of the distances from the generated digits to the nearest training digit,
        over those from the fresh digits to the nearest training digit. scipy.spatial.KDTree finds them.""",
    ),
    answer="""
    `mo.copy_ratio` does one class, so the whole is a list of ten calls.
    On the split of the chapter the kernel density copies the eights most, with a ratio of about 0.67, and the sixes least, with 0.94; its one width is too narrow for some classes and nearly right for others.
    The energy flow has ratios from 0.97 to 1.10.
    """,
)


@copies_exercise.solution
def copy_ratios(x, x_label, train, train_label, fresh, fresh_label):
    """Return the copy ratio of each class; labels are 0, ..., C - 1."""
    ratios = []
    for c in range(int(train_label.max()) + 1):
        clouds = x[x_label == c], train[train_label == c], fresh[fresh_label == c]
        ratios.append(mo.copy_ratio(*clouds))
    return np.array(ratios)


@copies_exercise.cases
def _(rng):
    for classes, d in ((2, 2), (3, 4)):
        train_label, fresh_label, x_label = (
            rng.permutation(np.repeat(np.arange(classes), n)) for n in (12, 9, 8)
        )
        centre = 0.8 * rng.normal(size=(classes, d))
        scale = np.linspace(0.5, 1.5, classes)[:, None]
        yield (
            centre[x_label] + 0.8 * rng.gamma(1.0, size=(len(x_label), d)),
            x_label,
            centre[train_label]
            + scale[train_label] * rng.normal(size=(len(train_label), d)),
            train_label,
            centre[fresh_label]
            + scale[fresh_label] * rng.normal(size=(len(fresh_label), d)),
            fresh_label,
        )


def _by_class(x, x_label, train, train_label, fresh, fresh_label):
    for c in range(int(train_label.max()) + 1):
        near = KDTree(train[train_label == c]).query
        yield near(x[x_label == c])[0], near(fresh[fresh_label == c])[0]


@copies_exercise.mistake(
    """You searched the nearest neighbour among all training digits. A generated three may then be near an
    eight: restrict the training digits to the class as well."""
)
def _all_training(x, x_label, train, train_label, fresh, fresh_label):
    near = KDTree(train).query
    return np.array(
        [
            np.median(near(x[x_label == c])[0])
            / np.median(near(fresh[fresh_label == c])[0])
            for c in range(int(train_label.max()) + 1)
        ]
    )


@copies_exercise.mistake(
    """You divided by the usual distance of all classes together. Classes differ in how much they vary: a zero
    has near neighbours, an eight has not. Fresh digits of the same class are the yardstick."""
)
def _pooled_yardstick(*sets):
    pairs = list(_by_class(*sets))
    usual = np.median(np.concatenate([fresh for _, fresh in pairs]))
    return np.array([np.median(own) / usual for own, _ in pairs])


@copies_exercise.mistake(
    """You averaged the distances. A few stray images then hide that most of the others are copies: take
    medians."""
)
def _means(*sets):
    return np.array([own.mean() / fresh.mean() for own, fresh in _by_class(*sets)])


@copies_exercise.mistake(
    """Your ratio is upside down: a copy must give 0, so the generated digits belong above."""
)
def _upside_down(*sets):
    return np.array(
        [np.median(fresh) / np.median(own) for own, fresh in _by_class(*sets)]
    )


@copies_exercise.mistake(
    """You compared squared distances, so every ratio is squared."""
)
def _squared(*sets):
    return np.array(
        [np.median(own**2) / np.median(fresh**2) for own, fresh in _by_class(*sets)]
    )


@copies_exercise.mistake(
    """You took the median of the ratios of single pairs of digits. The generated and the fresh digits are not
    paired; divide one median by the other."""
)
def _paired(*sets):
    return np.array(
        [
            np.median(own[: len(fresh)] / fresh[: len(own)])
            for own, fresh in _by_class(*sets)
        ]
    )


nearest_exercise = Exercise(
    "14.4",
    "What dropped components cost",
    level="core",
    minutes=25,
    text=r"""
    Prove {prf:ref}`thm-14-pca`.

    1. Let $P$ be the projection onto an affine subspace $A$.
       Show that $W_2^2(\mu, \nu) \ge \mathbb{E}_\mu |x - P x|^2$ for every law $\nu$ on $A$, with equality for $\nu = P_\# \mu$.
    2. Show that among the affine subspaces of dimension $k$ the right-hand side is smallest for the one through the mean along the first $k$ principal components, and compute it.
    3. The chapter redraws the dropped coordinates as normal numbers.
       Show that this law $\mu'$ has $W_2^2(\mu, \mu') \le 2 (\lambda_{k+1} + \dots + \lambda_d)$.
       Is it better than leaving them at the mean?
    """,
    hints=(
        "Whatever pair (x, y) a plan makes, y lies on A, and no point of A is nearer to x than P x.",
        """In part 2 the mean squared distance is the trace of the covariance along the directions orthogonal to A,
        plus the squared distance of the mean from A. In part 3 write down one plan and compute its cost.""",
    ),
    answer=r"""
    1. For any plan between $\mu$ and $\nu$, $y \in A$ almost surely, so $|x - y| \ge |x - P x|$; take expectations and the smallest plan.
       For $\nu = P_\# \mu$ the plan $(x, P x)$ attains it.

    2. Let $A = a + V$, and let $Q$ project onto the orthogonal complement of $V$, with orthonormal basis $e_1, \dots, e_{d-k}$.
       Then $x - P x = Q (x - a)$ and
       $\mathbb{E} |Q (x - a)|^2 = \operatorname{tr}(Q \Sigma Q) + |Q (m - a)|^2$ with mean $m$ and covariance $\Sigma$.
       The second term is zero if $A$ goes through $m$.
       The first is $\sum_i \langle e_i, \Sigma e_i \rangle$, a sum over $d - k$ orthonormal vectors.
       In the eigenbasis $v_1, \dots, v_d$ it is $\sum_j \lambda_j t_j$ with $t_j = \sum_i \langle e_i, v_j \rangle^2 \in [0, 1]$ and $\sum_j t_j = d - k$, which is smallest when the weight sits on the smallest eigenvalues: $\lambda_{k+1} + \dots + \lambda_d$.

    3. Keep the first $k$ coordinates as they are and draw the others independently of $x$: a plan between $\mu$ and $\mu'$ (its second marginal is $\mu'$, since in $\mu'$ the redrawn coordinates are independent of the kept ones).
       Its cost is $\sum_{i > k} \mathbb{E} (x_i - x_i')^2 = 2 \sum_{i>k} \lambda_i$ for centred coordinates of equal variance.
       The bound is twice as large, the truth may be smaller than with the mean: if the dropped coordinates really are independent and normal, it is zero.
       For a distance alone one cannot say in general; a two-sample test decides.
    """,
)

fake_exercise = Exercise(
    "14.5",
    "Fool the judges",
    level="challenge",
    minutes=40,
    text=r"""
    Each check of the chapter has a blind spot.
    Write a sampler that has learnt nothing and passes.

    1. Make 597 images, from the training digits only, with a 1-NN accuracy below 0.65 as drawn, whose copy ratio gives them away.
    2. The copy ratio is a ratio of *medians*.
       Make 597 images of which four in ten are exact copies, with a copy ratio between 0.8 and 1.3 and a 1-NN accuracy below 0.65.
    3. Which measure of the nearest distances sees the second fake?
       Try it on the energy flow as well, so that you know that it does not cry wolf.
    """,
    hints=(
        "Part 1: how much noise does the two-sample test forgive? Part 2: what do the other six in ten have to be?",
        """Part 2: mix copies with samples of an honest model, the energy flow or a mixture, that has a copy ratio
        a little too large. Part 3: compare low quantiles of the nearest distances, or the whole distributions by
        a rank test, instead of the medians.""",
    ),
    answer=r"""
    1. Training digits with a little noise, `train[rng.permutation(1200)[:597]] + 0.03 * rng.standard_normal((597, 64))`: on the split of the chapter the 1-NN accuracy is about 0.50, better than that of any honest model, and the copy ratio 0.24.

    2. Take 239 training digits and 358 images of the affine maps by class, whose own copy ratio is about 1.27: together they have 1.04, and a 1-NN accuracy of about 0.58.
       The median of the mixture of distances lies where the honest part has its lower quantiles, so the ratio even comes nearer to 1.

    3. The tenth percentile in place of the median: it is zero for the fake, while fresh digits have none at distance zero; for the energy flow the ratio of the tenth percentiles is 0.94.
       {cite:t}`meehan_nonparametric_2020` compare the two samples of distances by the rank test of Mann and Whitney, within cells of the space, so that copying in one region is not outweighed elsewhere.
       A rank test over all of it hardly sees this fake (one-sided p between 0.05 and 0.1 in three tries): the copies are too near, the others too far, and the ranks even out.
    """,
)
