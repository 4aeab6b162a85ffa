"""Kernel densities against SciPy, scikit-learn and brute force."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import gaussian_kde
from sklearn.neighbors import KernelDensity

import mini_ot as mo
from mini_ot.density import log_kernel_sums


def test_against_scipy_in_one_dimension(rng):
    x, t = rng.standard_normal(200), np.linspace(-4, 4, 31)
    theirs = gaussian_kde(x, bw_method="scott")
    assert np.allclose(mo.kde(x, bandwidth="scott").log_density(t), theirs.logpdf(t), rtol=0, atol=1e-12)
    theirs = gaussian_kde(x, bw_method="silverman")
    assert np.allclose(mo.kde(x, bandwidth="silverman").log_density(t), theirs.logpdf(t), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [3, 511, 512, 513, 1100])  # around the size of a tile
def test_against_scikit_learn_and_brute_force(rng, n):
    x, t = rng.standard_normal((n, 3)), 2 * rng.standard_normal((20, 3))
    ours = mo.kde(x, bandwidth=0.4).log_density(t)
    # scikit-learn's tree is right to a few digits only, so the sum written out decides beyond them.
    theirs = KernelDensity(bandwidth=0.4, rtol=1e-6).fit(x).score_samples(t)
    assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    gap2 = ((t[:, None] - x) ** 2).sum(axis=2) / 0.4**2
    constant = np.log(n) + 3 * np.log(0.4 * np.sqrt(2 * np.pi))
    assert np.allclose(ours, logsumexp(-0.5 * gap2, axis=1) - constant, rtol=0, atol=1e-11)


def test_far_away_is_tiny_but_right(rng):
    """Where exp underflows the log density still follows the nearest sample."""
    density = mo.kde(np.array([0.0, 1.0]), bandwidth=0.01)
    t = 100.0
    expected = np.log(0.5) - 0.5 * ((t - 1) / 0.01) ** 2 - np.log(0.01 * np.sqrt(2 * np.pi))
    assert np.isclose(density.log_density([t])[0], expected, rtol=1e-12)


@pytest.mark.parametrize("n", [40, 600])  # within a tile and beyond
def test_leaving_out_groups_is_brute_force(rng, n):
    x, group = rng.standard_normal((n, 2)), rng.integers(5, size=n)
    ours = log_kernel_sums(x, x, np.zeros(n), group, group)
    pair = np.exp(-0.5 * ((x[:, None] - x) ** 2).sum(axis=2)) * (group[:, None] != group)
    assert np.allclose(ours, np.log(pair.sum(axis=1)), rtol=1e-12)


def test_nothing_left_is_minus_infinity():
    one = np.zeros((1, 1))
    assert log_kernel_sums(one, one, np.zeros(1), np.zeros(1, int), np.zeros(1, int))[0] == -np.inf


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.jit
def test_likelihood_bandwidth_is_the_best(rng, dim):
    """No other factor on a fine grid has a larger leave-one-out likelihood."""
    x = rng.standard_normal((150, dim)) * np.arange(1, dim + 1)
    gap2 = (((x[:, None] - x) / x.std(axis=0, ddof=1)) ** 2).sum(axis=2)
    np.fill_diagonal(gap2, np.inf)

    def loo(factor):
        return np.log(np.exp(-0.5 * gap2 / factor**2).sum(axis=1)).mean() - dim * np.log(factor)

    chosen = (mo.kde(x).bandwidth / x.std(axis=0, ddof=1))[0]
    best = max(loo(f) for f in np.linspace(0.1, 1.5, 400))
    assert loo(chosen) > best - 1e-4


@pytest.mark.jit
def test_likelihood_beats_the_rule_on_two_modes():
    two = mo.GaussianMixture([[-2.0], [2.0]], [[[0.04]], [[0.04]]])
    x, fresh = two.sample(400, rng=0), two.sample(4000, rng=1)
    held_out = {b: mo.kde(x, bandwidth=b).log_density(fresh).mean() for b in ("likelihood", "silverman")}
    assert held_out["likelihood"] > held_out["silverman"] + 0.3


def test_cdf_quantile_and_mass(rng):
    density = mo.kde(rng.standard_normal(50))
    t = np.linspace(-8, 8, 2001)
    pdf = np.exp(density.log_density(t))
    assert abs(np.trapezoid(pdf, t) - 1) < 1e-9
    assert np.allclose(np.gradient(density.cdf(t), t), pdf, atol=1e-3)
    p = np.array([0.01, 0.5, 0.975])
    assert np.allclose(density.cdf(density.quantile(p)), p, atol=1e-9)


def test_samples_follow_the_density(rng):
    x = rng.standard_normal((5, 2))
    density = mo.kde(x, bandwidth=[0.5, 1.0])
    draw = density.sample(40_000, rng=0)
    assert np.allclose(draw.mean(axis=0), x.mean(axis=0), atol=0.03)
    assert np.allclose(draw.var(axis=0), x.var(axis=0) + [0.25, 1.0], rtol=0.03)
    assert (draw == density.sample(40_000, rng=0)).all()


def test_moved(rng):
    density = mo.kde(rng.standard_normal((6, 2)))
    t = rng.standard_normal((4, 2))
    assert np.allclose(density.moved([1.0, -2.0]).log_density(t + [1.0, -2.0]), density.log_density(t))
    assert (density.moved(0.5).weights == density.weights).all()


def test_ties_are_reported():
    with pytest.warns(UserWarning, match="repeated values"):
        mo.kde(np.repeat([1.0, 2.0, 3.0], 20))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mo.kde([1.0]), ValueError, r"x must be .* n >= 2, got 1 sample"),
        (lambda: mo.kde([]), ValueError, "got 0 samples"),
        (lambda: mo.kde([1.0, np.inf]), ValueError, r"x must be finite, got \[inf\] in row 1"),
        (lambda: mo.kde("words"), TypeError, "x must be"),
        (lambda: mo.kde([1j, 2]), TypeError, "real numbers"),
        (lambda: mo.kde([1.0, 1.0, 1.0]), ValueError, "must vary in every column"),
        (lambda: mo.kde(np.zeros((2, 2, 2))), ValueError, r"got an array of shape \(2, 2, 2\)"),
        (lambda: mo.kde([1.0, 2.0], bandwidth=0), ValueError, "bandwidth must be positive and finite, got 0"),
        (lambda: mo.kde([1.0, 2.0], bandwidth=-1.0), ValueError, "bandwidth must be positive"),
        (lambda: mo.kde([1.0, 2.0], bandwidth=np.nan), ValueError, "bandwidth must be positive"),
        (lambda: mo.kde([1.0, 2.0], bandwidth=True), TypeError, "bandwidth must be a positive number"),
        (lambda: mo.kde([1.0, 2.0], bandwidth="best"), ValueError, "bandwidth must be 'likelihood'"),
        (lambda: mo.kde([1.0, 2.0], bandwidth=[1.0, 2.0]), ValueError, "one positive number or 1 of them"),
        (lambda: mo.kde([1.0, 2.0]).log_density([[1, 2]]), ValueError, r"shape \(n, 1\)"),
        (lambda: mo.kde([[1.0, 2.0], [2.0, 1.0]]).cdf([0.0]), ValueError, "one-dimensional density"),
        (lambda: mo.kde([1.0, 2.0]).quantile([1.0]), ValueError, "strictly between 0 and 1"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
