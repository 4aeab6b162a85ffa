"""Conditional densities against brute force, finite differences and a known conditional law."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import norm

import mini_ot as mo
from mini_ot.conditional import _conditional_terms


def brute(z, y, h_z, h_y, z_star, y_star):
    weight = np.exp(-0.5 * (((y_star - y) / h_y) ** 2).sum(axis=1))
    return np.log((weight * norm.pdf((z_star - z) / h_z) / h_z).sum() / weight.sum())


def test_is_the_ratio_of_kernel_estimates(rng):
    z, y = rng.standard_normal(30), rng.standard_normal((30, 2))
    model = mo.conditional_kde(z, y, bandwidth=(0.3, [0.5, 0.8]))
    z_star, y_star = rng.standard_normal(5), rng.standard_normal((5, 2))
    expected = [brute(z, y, 0.3, np.array([0.5, 0.8]), a, b) for a, b in zip(z_star, y_star, strict=True)]
    assert np.allclose(model.log_density(z_star, y_star), expected, rtol=1e-10)
    given = [model.given(b).log_density([a])[0] for a, b in zip(z_star, y_star, strict=True)]
    assert np.allclose(given, expected, rtol=1e-10)
    assert np.isclose(model.given(y_star[0]).weights.sum(), 1)


def test_far_covariates_give_the_nearest_sample():
    model = mo.conditional_kde([0.0, 5.0], [0.0, 1.0], bandwidth=(1.0, 0.01))
    assert np.isclose(model.given([50.0]).quantile([0.5])[0], 5.0)
    assert np.isfinite(model.log_density([5.0], [50.0])).all()


def test_gradient_of_the_likelihood(rng):
    n = 25
    data, group = rng.standard_normal((n, 3)), rng.integers(6, size=n)

    def loss(log_h, want_gradient=False):
        value, gradient = np.empty(n), np.empty((n, 3))
        st = np.ascontiguousarray((data / np.exp(log_h)).T)
        _conditional_terms(0, n, value, gradient, st[:1], st[1:], group)
        return gradient.mean(axis=0) if want_gradient else value.mean() - log_h[0]

    at = np.array([-0.3, 0.2, 0.5])
    assert np.allclose(approx_fprime(at, loss, 1e-6), loss(at, True), atol=1e-5)


@pytest.mark.jit
def test_likelihood_bandwidth_ignores_what_does_not_matter():
    rng = np.random.default_rng(1)
    y = rng.standard_normal((400, 2))
    model = mo.conditional_kde(y[:, 0] + 0.5 * rng.standard_normal(400), y)
    assert model.bandwidth_y[1] > 5 > 1 > model.bandwidth_y[0]


@pytest.mark.jit
def test_close_to_the_true_conditional_density():
    x, fresh = mo.Banana().sample(1500, rng=0), mo.Banana().sample(1500, rng=1)
    model = mo.conditional_kde(x[:, 1], x[:, 0])
    ours = model.log_density(fresh[:, 1], fresh[:, 0]).mean()
    truth = norm.logpdf(fresh[:, 1], fresh[:, 0] ** 2, 0.5).mean()
    marginal = mo.kde(x[:, 1]).log_density(fresh[:, 1]).mean()
    assert truth - 0.15 < ours < truth + 0.01
    assert ours > marginal + 0.5
    assert np.isclose(model.score, ours, atol=0.1)


@pytest.mark.jit
def test_groups_stop_copying():
    """Rows that come in near copies: without groups the bandwidths shrink onto the copies."""
    rng = np.random.default_rng(0)
    y, z = rng.standard_normal(100), rng.standard_normal(100)
    day = np.repeat(np.arange(100), 3)
    y3, z3 = y[day] + 0.01 * rng.standard_normal(300), z[day] + 0.01 * rng.standard_normal(300)
    alone, grouped = mo.conditional_kde(z3, y3), mo.conditional_kde(z3, y3, groups=day)
    fresh_y, fresh_z = rng.standard_normal(200), rng.standard_normal(200)
    assert grouped.log_density(fresh_z, fresh_y).mean() > alone.log_density(fresh_z, fresh_y).mean() + 1
    assert alone.score > grouped.score + 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mo.conditional_kde([1.0, 2], [1.0]), "y must be .* n >= 2"),
        (lambda: mo.conditional_kde([1.0, 2], [1.0, 2, 3]), "same number of rows, got 2 and 3"),
        (
            lambda: mo.conditional_kde([1.0, 2], [1.0, 1.0]),
            "y must vary in every column, got a constant column 0",
        ),
        (lambda: mo.conditional_kde([1.0, np.nan], [1.0, 2.0]), "z must be finite"),
        (lambda: mo.conditional_kde([1.0, 2], [1.0, 2], bandwidth="best"), "bandwidth must be 'likelihood'"),
        (lambda: mo.conditional_kde([1.0, 2], [1.0, 2], bandwidth=1.0), "bandwidth must be a pair"),
        (lambda: mo.conditional_kde([1.0, 2], [1.0, 2], bandwidth=(0.0, 1.0)), "bandwidth must be positive"),
        (lambda: mo.conditional_kde([1.0, 2], [1.0, 2], groups=[1]), r"groups must have shape \(2,\)"),
        (lambda: mo.conditional_kde([1.0, 2], [1.0, 2], groups=[1, 1]), "at least two different labels"),
        (lambda: mo.conditional_kde([1.0, 2], [1.0, 2]).given([1.0, 2.0]), "y must be a vector of 1 finite"),
        (lambda: mo.conditional_kde([1.0, 2], [1.0, 2]).given([np.nan]), "y must be finite"),
        (
            lambda: mo.conditional_kde([1.0, 2], [1.0, 2]).log_density([1.0], [1.0, 2.0]),
            "same number of rows",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
