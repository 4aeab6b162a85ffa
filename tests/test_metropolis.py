"""Metropolis chains: their moments, and what they say of themselves, against closed forms."""

import numpy as np
import pytest
from scipy.signal import lfilter

import mini_ot as mo
from mini_ot.chains import effective_samples, split_r_hat


def autoregression(rho, n=4000, chains=20, seed=0):
    noise = np.random.default_rng(seed).standard_normal((n + 500, chains, 1))
    return lfilter([np.sqrt(1 - rho**2)], [1, -rho], noise, axis=0)[500:]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_effective_samples_of_an_autoregression(rho):
    draws = autoregression(rho)
    exact = draws.size * (1 - rho) / (1 + rho)
    assert effective_samples(draws)[0] == pytest.approx(exact, rel=0.1)
    assert split_r_hat(draws)[0] == pytest.approx(1, abs=0.005)


def test_effective_samples_of_each_column_and_a_cap():
    both = np.concatenate([autoregression(0.9), autoregression(0.0, seed=1)], axis=2)
    apart = [effective_samples(both[:, :, [j]])[0] for j in (0, 1)]
    assert effective_samples(both) == pytest.approx(apart)
    alternating = autoregression(-0.99)
    assert 0 < effective_samples(alternating)[0] <= alternating.size * np.log10(alternating.size) + 1e-6


def test_r_hat_by_hand():
    # Halves (0, 2), (1, 3), (1, 3), (0, 2): within 2, means 1, 2, 2, 1 with variance 1/3.
    draws = np.array([[0, 1], [2, 3], [1, 0], [3, 2.0]])[:, :, None]
    assert split_r_hat(draws)[0] == pytest.approx(np.sqrt((0.5 * 2 + 1 / 3) / 2))


def test_r_hat_sees_drift_within_each_chain():
    draws = autoregression(0.0)
    drifting = draws + np.linspace(0, 2, len(draws))[:, None, None]
    assert split_r_hat(drifting)[0] > 1.1


def test_chains_that_never_moved():
    still = np.ones((100, 4, 2))
    assert (split_r_hat(still) == np.inf).all()
    assert (effective_samples(still) == 1).all()


def test_a_gaussian_from_a_start_that_is_far_too_wide_and_off():
    target = mo.GaussianMixture([[1.0, -2.0]], [[[1.0, 0.019], [0.019, 4e-4]]])  # correlation 0.95
    start = 50 * mo.StandardNormal().sample(40, rng=0)
    chains = mo.metropolis(target.log_density, start, steps=4000, warm_up=2000, rng=1)
    assert chains.r_hat.max() < 1.02
    assert 0.15 < chains.acceptance < 0.5
    sd, error = np.sqrt([1.0, 4e-4]), 5 / np.sqrt(chains.effective_samples)
    assert (np.abs(chains.draws.mean(axis=0) - [1, -2]) < error * sd).all()
    assert (np.abs(chains.draws.std(axis=0) / sd - 1) < error).all()
    assert np.corrcoef(chains.draws.T)[0, 1] == pytest.approx(0.95, abs=0.01)


def test_a_start_at_one_point():
    chains = mo.metropolis(mo.StandardNormal(3).log_density, np.full((8, 3), 3.0), steps=3000, rng=0)
    assert chains.draws.mean(axis=0) == pytest.approx([0, 0, 0], abs=0.15)
    assert chains.draws.std(axis=0) == pytest.approx([1, 1, 1], abs=0.1)


def test_a_banana():
    problem = mo.BananaProblem()
    exact, posterior = problem.exact([0.5]), problem.posterior([0.5])
    chains = mo.metropolis(posterior, problem.prior.sample(100, rng=0), steps=4000, rng=1)
    sd = np.sqrt(exact.covariance.diagonal())
    assert (np.abs(chains.draws.mean(axis=0) - exact.mean) < 0.04 * sd).all()
    assert (np.abs(chains.draws.std(axis=0) / sd - 1) < 0.03).all()
    assert chains.evaluations == posterior.evaluations == 100 * 5001


def test_r_hat_sees_chains_stuck_in_two_modes():
    ends = np.stack([np.full(5, -10.0), np.full(5, 10.0)])
    two = mo.GaussianMixture(ends, np.stack([0.1 * np.eye(5)] * 2))
    both = mo.metropolis(two.log_density, np.repeat(ends, 10, axis=0), steps=1000, rng=0)
    assert both.r_hat.min() > 5
    assert both.effective_samples.max() < 60
    one = mo.metropolis(two.log_density, np.repeat(ends[:1], 20, axis=0), steps=2000, rng=0)
    assert one.r_hat.max() < 1.05  # and is blind where all start in one


def test_no_draw_falls_where_there_is_no_mass():
    def half_normal(x):
        return np.where(x[:, 0] > 0, -0.5 * x[:, 0] ** 2, -np.inf)

    chains = mo.metropolis(half_normal, np.linspace(0.1, 2, 50)[:, None], steps=4000, rng=0)
    assert chains.draws.min() > 0
    assert chains.draws.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.02)


def test_shapes_thinning_and_the_seed():
    start = mo.StandardNormal().sample(6, rng=0)
    whole = mo.metropolis(mo.Banana().log_density, start, steps=100, warm_up=50, rng=3)
    thin = mo.metropolis(mo.Banana().log_density, start, steps=100, warm_up=50, thin=7, rng=3)
    assert whole.samples.shape == (100, 6, 2)
    assert whole.draws.shape == (600, 2)
    assert np.array_equal(thin.samples, whole.samples[6::7][:14])
    assert whole.evaluations == 6 * 151


@pytest.mark.parametrize(
    ("density", "options", "message"),
    [
        (lambda x: np.full(len(x), np.nan), {}, "log_density must be finite"),
        (lambda x: np.where(x[:, 0] > 1, np.nan, 0.0), {}, "log_density must be finite"),
        (lambda x: np.full(len(x), np.inf), {}, "log_density must be finite"),
        (lambda x: np.where(x[:, 0] > 0, 0.0, -np.inf), {}, "start must have log_density above -inf"),
        (lambda x: x, {}, "log_density must return"),
        (lambda x: -(x**2).sum(axis=1), {"thin": 11}, "thin must be at most"),
        (lambda x: -(x**2).sum(axis=1), {"steps": 0}, "steps"),
        (lambda x: -(x**2).sum(axis=1), {"warm_up": -1}, "warm_up"),
    ],
)
def test_bad_input(density, options, message):
    start = np.linspace(-0.9, 0.9, 10).reshape(5, 2)
    with pytest.raises(ValueError, match=message):
        mo.metropolis(density, start, **{"steps": 10, "rng": 0, **options})


def test_too_few_chains_and_no_function():
    with pytest.raises(ValueError, match="start"):
        mo.metropolis(mo.StandardNormal().log_density, np.zeros((3, 2)))
    with pytest.raises(TypeError, match="log_density"):
        mo.metropolis(3.0, np.zeros((5, 2)))


@pytest.mark.parametrize(("calls", "kept"), [(40, 19), (5, 0)])
def test_an_interrupt_returns_the_draws_so_far(calls, kept):
    left = iter(range(calls))

    def density(x):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return -0.5 * (x**2).sum(axis=1)

    with pytest.warns(UserWarning, match="interrupted"):
        chains = mo.metropolis(density, np.eye(5), steps=100, warm_up=20, rng=0)
    assert chains.samples.shape == (kept, 5, 5)
