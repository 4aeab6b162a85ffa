"""The maximum mean discrepancy (MMD) of two clouds, a test that uses it, and the flows that descend it.

Chapter 11.  ``MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)`` is the squared distance of two mean
embeddings; its gradient at a particle is that of the witness ``w = E_x k(x, .) - E_y k(y, .)``.
"""

import warnings
from numbers import Integral
from typing import NamedTuple

import numpy as np

from ._pairs import double_sum
from ._particles import MMDFlow, MMDStep, Witness
from ._progress import progress
from ._steps import Descent, mean_within, noise_levels, spread
from ._validate import count, generator, positive, samples, two_clouds
from .kernels import Gaussian, _Kernel

_TABLE = 2_000_000  # kernel values held at once


def mmd2(x, y, *, kernel, unbiased: bool = True) -> float:
    """Return the squared maximum mean discrepancy of two clouds.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Samples; at least two each for the unbiased estimate.
    kernel : Gaussian, Laplace, InverseMultiquadric, Energy or Mixture
    unbiased : bool
        Leave out the pairs of a point with itself: mean zero when the laws agree, so it can be negative.
        Else keep them: the squared distance of the two embedded clouds, never negative.

    Returns
    -------
    float

    Examples
    --------
    >>> import mini_ot as mo
    >>> round(mo.mmd2([[0.0], [0.0]], [[1.0], [1.0]], kernel=mo.Energy()), 12)
    2.0

    References
    ----------
    Gretton, Borgwardt, Rasch, Scholkopf and Smola (2012), lemma 6.
    """
    x, y = two_clouds(x, y, at_least=2 if unbiased else 1)
    kernel = _checked(kernel)
    within = mean_within(x, kernel, unbiased) + mean_within(y, kernel, unbiased)
    return float(within - 2 * double_sum(kernel, x, y) / (len(x) * len(y)))


def _checked(kernel):
    if not isinstance(kernel, _Kernel):
        raise TypeError(f"kernel must be one of mini_ot's kernels, mo.Gaussian(1.0) say, got {kernel!r}")
    return kernel


def witness(x, y, *, kernel) -> Witness:
    """Return the witness ``w(z) = mean_i k(x_i, z) - mean_j k(y_j, z)`` of the difference of two clouds.

    Of all functions of norm one in the kernel's space, a multiple of w has the largest difference of means
    between x and y, and that difference is the MMD.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
    kernel : Gaussian, Laplace, InverseMultiquadric, Energy or Mixture

    Returns
    -------
    Witness
        Call it on points; it has ``.gradient(points)`` and ``.hessian(points)``.

    Examples
    --------
    >>> import mini_ot as mo
    >>> w = mo.witness([[0.0]], [[1.0]], kernel=mo.Energy())
    >>> w([[0.0], [1.0]]).round(12).tolist()
    [1.0, -1.0]
    """
    return Witness(*two_clouds(x, y), _checked(kernel))


class TwoSampleTest(NamedTuple):
    """Outcome of :func:`mini_ot.two_sample_test`: p-value, unbiased MMD^2, and its values when shuffled."""

    p_value: float
    mmd2: float
    null: np.ndarray


def two_sample_test(x, y, *, kernel, permutations: int = 200, rng=None) -> TwoSampleTest:
    """Test whether two clouds come from one law: shuffle who belongs to which, and compare the MMD^2.

    If both clouds are drawn independently from one law, the p-value is at most a with probability at most a,
    for any law, kernel and sizes, as long as the kernel was not chosen by looking at these samples.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        At least two points each.
    kernel : Gaussian, Laplace, InverseMultiquadric, Energy or Mixture
    permutations : int
        How often to shuffle; the smallest possible p-value is 1 / (1 + permutations).
    rng : int, numpy.random.Generator or None

    Returns
    -------
    TwoSampleTest
        Named tuple ``(p_value, mmd2, null)`` with ``p_value = (1 + #{null >= mmd2}) / (1 + permutations)``.

    Notes
    -----
    Each kernel value is computed once and serves all permutations; the table exists in strips of 16 MB.

    References
    ----------
    Gretton, Borgwardt, Rasch, Scholkopf and Smola (2012); Phipson and Smyth (2010) for the p-value.
    """
    x, y = two_clouds(x, y, at_least=2)
    kernel, rng = _checked(kernel), generator(rng)
    n, m, columns = len(x), len(y), 1 + count(permutations, "permutations")
    pool = np.concatenate([x, y]).astype(np.float64)
    in_x = np.zeros((n + m, columns))  # who counts as x: the truth in column 0, a shuffle in each other
    in_x[:n, 0] = 1.0
    for b in range(1, columns):
        in_x[rng.permutation(n + m)[:n], b] = 1.0
    within_x, row_sums = np.zeros(columns), np.empty(n + m)
    height = max(1, _TABLE // (n + m))
    for low in progress(range(0, n + m, height), label="two-sample test"):
        rows = slice(low, low + height)
        table = kernel(pool[rows], pool)
        row_sums[rows] = table.sum(axis=1)
        within_x += ((table @ in_x) * in_x[rows]).sum(axis=0)
    between = row_sums @ in_x - within_x
    within_y = row_sums.sum() - within_x - 2 * between
    within = (within_x / n - kernel.at_zero) / (n - 1) + (within_y / m - kernel.at_zero) / (m - 1)
    value = within - 2 * between / (n * m)
    # Where points repeat, many shuffles give the same clouds: rounding must not tell them apart.
    tie = 1e-12 * np.abs(row_sums).max() / (n + m)
    beyond = (value[1:] >= value[0] - tie).sum()
    return TwoSampleTest(float((1 + beyond) / columns), float(value[0]), value[1:])


def mmd_flow(
    x, y, *, kernel, step="auto", steps: int = 200, noise=0.0, tolerance: float = 0.0, rng=None
) -> MMDFlow:
    """Move the cloud `x` onto the cloud `y` by steepest descent of their MMD^2.

    Each step is ``z <- z - step * grad w(z)``, w the witness of the current z and y.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Start and target.
    kernel : kernel, or sequence of kernels
        A sequence is spread evenly over the steps: wide to narrow bandwidths, or the kernels that
        :func:`adaptive_kernels` finds.
    step : float or "auto"
        Size of a step.  One that makes the MMD^2 rise is halved, and so are those after it.  "auto" also lets
        the size grow while the MMD^2 falls as predicted, and keeps the steps of a smooth kernel from folding
        at up to 256 of the particles.
    steps : int
    noise : float or sequence of float
        Evaluate each gradient at z + noise * u, u ~ N(0, I); the particles do not keep the noise.  A number
        falls linearly to zero over the steps, a sequence is spread over them.  No step with noise is halved.
    tolerance : float
        Stop when ten steps with one kernel and no noise lower the MMD^2 by less than this fraction.
    rng : int, numpy.random.Generator or None
        For the noise.

    Returns
    -------
    MMDFlow
        A Map: new points follow the stored clouds by the gradients without noise.  It has ``.particles``,
        ``.trajectory`` (steps + 1, n, d), and a ``.history`` of ``mmd2`` (biased, at the start and after each
        step, in that step's kernel) and ``step``.  Interrupted, it is the flow so far, with a warning.

    Raises
    ------
    TypeError, ValueError
        For bad arguments, and when a flow with noise diverges.

    Notes
    -----
    A step of a Gaussian kernel of width h is one-to-one on the whole space if it is at most h^2 / 2, and such
    steps lower the MMD^2.  Those of the energy and Laplace kernels jump by step / n at every particle: their
    inverse exists only up to such gaps, and the flow can stall where many particles meet one point of y.  It
    holds steps * n * d numbers.

    References
    ----------
    Arbel, Korba, Salim and Gretton (2019).
    """
    x, y = (cloud.astype(np.float64) for cloud in two_clouds(x, y))
    steps, rng = count(steps, "steps"), generator(rng)
    schedule = list(kernel) if np.iterable(kernel) else [kernel]
    schedule = spread([_checked(k) for k in schedule], steps, "kernel")
    noise = noise_levels(noise, steps)
    descent, z, taken, history = Descent(x, y, step), x, [], {"mmd2": [], "step": []}
    try:
        for k, kernel in enumerate(progress(schedule, label="MMD flow")):
            if kernel != descent.kernel:
                descent.use(kernel, z)
                since = k
            if k == 0:
                history["mmd2"].append(descent.value)
            outcome = descent.step(z, noise[k] * rng.standard_normal(z.shape) if noise[k] else None)
            if outcome is None:
                break  # no step of any size goes down any more
            taken.append(outcome[0])
            z = outcome[1]
            history["mmd2"].append(descent.value)
            history["step"].append(descent.size)
            if k >= since + 10 and not any(noise[k - 9 : k + 1]):
                earlier = history["mmd2"][-11]
                if earlier - descent.value < tolerance * earlier:
                    break
    except KeyboardInterrupt:
        warnings.warn(
            f"interrupted: this is the flow of {len(taken)} of {steps} steps", RuntimeWarning, stacklevel=2
        )
    return MMDFlow(taken or [MMDStep(x, y, schedule[0], 0.0)], z, history)


def adaptive_kernels(y, *, levels=20, kernels=None, by: str = "mmd", rng=None) -> list:
    """For each level of noise, pick the kernel that best tells the noised data from the data.

    A flow that runs down the levels, ``mmd_flow(x, y, kernel=[k for _, k in adaptive_kernels(y)])``, looks at
    far clouds through wide kernels and at near ones through narrow kernels, and the data choose how wide.

    Parameters
    ----------
    y : array_like, shape (m, d)
        Data, at least 4 points; 1,000 random ones of them are used.
    levels : int or sequence of float
        Standard deviations of the noise; a number asks for so many, from twice the width of the data to a
        tenth of the width, evenly on a logarithmic scale.  For a flow they should reach as far as its start
        is from the data.
    kernels : sequence of kernels, optional
        To choose from; by default 30 Gaussians from a hundredth to three times the width of the data.
    by : {"mmd", "power"}
        Largest unbiased MMD^2 (for kernels with equal k(x, x)), or largest ratio of it to its standard error,
        which decides the power of a two-sample test.  For a flow the ratio picks kernels that are too narrow.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    list of (float, kernel)
        Largest noise first.

    References
    ----------
    Galashov, de Bortoli and Gretton (2025), who learn features by a network instead; the ratio: Sutherland,
    Tung, Strathmann, De, Ramdas, Smola and Gretton (2017).
    """
    y, rng = samples(y, "y", at_least=4).astype(np.float64), generator(rng)
    y = y[rng.permutation(len(y))[:1000]]
    half, width = len(y) // 2, float(y.std(axis=0).max())
    if not width > 0:
        raise ValueError("y must hold different points, got one point many times")
    if by not in ("mmd", "power"):
        raise ValueError(f"by must be 'mmd' or 'power', got {by!r}")
    if isinstance(levels, Integral):
        levels = width * np.geomspace(2.0, 0.1, count(levels, "levels"))
    levels = sorted((positive(float(level), "levels") for level in levels), reverse=True)
    if kernels is None:
        kernels = [Gaussian(h) for h in width * np.geomspace(0.01, 3.0, 30)]
    kernels = [_checked(kernel) for kernel in kernels]
    if not kernels or not levels:
        raise ValueError("kernels and levels must hold at least one each, got none")
    noise, clean, found = rng.standard_normal((half, y.shape[1])), y[half : 2 * half], []
    for level in progress(levels, label="adaptive kernels"):
        score = [_difference(y[:half] + level * noise, clean, kernel, by) for kernel in kernels]
        found.append((level, kernels[int(np.argmax(score))]))
    return found


def _difference(x, y, kernel, by):
    """Return the unbiased MMD^2 of two clouds of the same size, or its ratio to its standard error."""
    value = mmd2(x, y, kernel=kernel)
    if by == "mmd":
        return value
    w = Witness(x, y, kernel)
    return value / (2 * (w(x) - w(y)).std() / np.sqrt(len(x)) + 1e-8)
