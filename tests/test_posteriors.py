"""Problems of inference: simulators and likelihoods against SciPy, evidence and moments by sums."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal, nbinom, norm

import mini_ot as mo

PROBLEMS = [mo.BananaProblem(), mo.Epidemic(), mo.Tracking()]


def sir(beta, gamma, days=14, population=763):
    def slope(t, y):
        flow = beta * y[0] * y[1] / population
        return [-flow, flow - gamma * y[1]]

    solved = solve_ivp(
        slope, (0, days), [population - 1, 1], t_eval=range(1, days + 1), rtol=1e-10, atol=1e-12
    )
    return solved.y[1]


def test_the_epidemic_solves_its_equations():
    flu = mo.Epidemic()
    theta = 2 * mo.StandardNormal(3).sample(30, rng=0)
    exact = np.array([sir(*p[:2]) for p in flu.parameters(theta)])
    assert flu.infected(theta) == pytest.approx(exact, rel=2e-3)
    near = theta[:5] / 2
    exact = np.array([sir(*p[:2]) for p in flu.parameters(near)])
    assert flu.infected(near) == pytest.approx(exact, rel=2e-5)


def test_an_epidemic_is_the_same_alone_or_among_many():
    flu, theta = mo.Epidemic(), mo.StandardNormal(3).sample(200, rng=0)
    together = flu.infected(theta)
    assert np.array_equal(together, np.concatenate([flu.infected(row[None]) for row in theta]))


def test_the_epidemics_likelihood_is_negative_binomial():
    flu = mo.Epidemic()
    theta = mo.StandardNormal(3).sample(20, rng=1)
    mean, shape = flu.infected(theta), flu.parameters(theta)[:, 2:]
    exact = nbinom.logpmf(flu.data, 1 / shape, 1 / (1 + shape * mean)).sum(axis=1)
    assert flu.log_likelihood(theta, flu.data) == pytest.approx(exact, rel=1e-9)


def test_the_epidemics_counts_have_the_moments_of_its_likelihood():
    flu, theta = mo.Epidemic(), np.tile([0.3, 0.1, 0.5], (40_000, 1))
    counts = flu.simulate(theta, rng=0)
    mean, shape = flu.infected(theta[:1])[0], flu.parameters(theta[:1])[0, 2]
    assert counts.mean(axis=0) == pytest.approx(mean, rel=0.02)
    assert counts.var(axis=0) == pytest.approx(mean + shape * mean**2, rel=0.06)


def test_the_epidemics_prior_and_data():
    flu = mo.Epidemic()
    assert flu.parameters(np.zeros((1, 3)))[0] == pytest.approx([1.5, 0.5, 0.1])
    assert np.log(flu.parameters(np.eye(3)) / [1.5, 0.5, 0.1]) == pytest.approx(np.diag([0.5, 0.5, 0.7]))
    assert flu.data.tolist() == [3, 8, 26, 76, 225, 298, 258, 233, 189, 128, 68, 29, 14, 4]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
def test_no_parameters_are_so_far_out_that_the_likelihood_fails(problem):
    d = problem.dim
    theta = np.concatenate([s * np.eye(d) for s in (-1e4, -40, -9, 9, 40, 1e4)] + [np.full((1, d), 9.0)])
    data = problem.simulate(np.zeros((1, d)), rng=0)[0]
    assert np.isfinite(problem.log_likelihood(theta, data)).all()
    assert np.isfinite(problem.simulate(theta, rng=0)).all()


@pytest.mark.parametrize("y", [-2.0, 0.0, 3.0, 30.0])
def test_the_bananas_exact_posterior(y):
    problem = mo.BananaProblem(0.7)
    exact = problem.exact([y])

    side = 9 * ((2 * np.arange(2000) + 1) / 2000 - 1)  # midpoints
    t1, t2 = side[:, None], side
    density = norm.pdf(t1) * norm.pdf(t2) * norm.pdf(y, t2 + t1**2 - 1, 0.7)
    total = density.sum()
    assert exact.log_evidence == pytest.approx(np.log(total * (18 / 2000) ** 2), abs=1e-6)
    assert exact.mean == pytest.approx([0, (density * t2).sum() / total], abs=1e-6)
    x = exact.sample(100_000, rng=0)
    assert x.mean(axis=0) == pytest.approx(exact.mean, abs=0.03)
    assert np.cov(x.T) == pytest.approx(exact.covariance, abs=0.03 * exact.covariance.max())


def test_tracking_is_gaussian_noise_on_distances():
    problem = mo.Tracking(beacons=[[3.0, 4.0], [0.0, 0.0]], times=[0.0, 10.0], noise=0.1)
    theta = np.array([[0.0, 0.0, 3.0, 4.0]])  # at (3, 4) after ten minutes
    ranges = [5.0, 0.0, 0.0, 5.0]
    assert problem.simulate(np.repeat(theta, 40_000, axis=0), rng=0).mean(axis=0) == pytest.approx(
        ranges, abs=0.003
    )
    data = np.array([5.1, 0.1, -0.2, 4.9])
    exact = multivariate_normal(ranges, 0.01 * np.eye(4)).logpdf(data)
    assert problem.log_likelihood(theta, data)[0] == pytest.approx(exact)


def test_beacons_on_a_line_cannot_tell_a_track_from_its_mirror_image():
    line = mo.Tracking(beacons=[[-1.5, 0.0], [1.5, 0.0]])
    theta = line.prior.sample(10, rng=0)
    data, mirror = line.simulate(theta, rng=1)[0], theta * [1, -1, 1, -1]
    posterior = line.posterior(data)
    assert posterior(theta) == pytest.approx(posterior(mirror))
    apart = [mo.Tracking().log_likelihood(where, np.ones(12)) for where in (theta, mirror)]
    assert np.abs(apart[0] - apart[1]).min() > 0.01  # the third beacon can


@pytest.mark.parametrize("problem", [PROBLEMS[0], PROBLEMS[2]], ids=["banana", "tracking"])
def test_scores(problem):
    theta = problem.prior.sample(5, rng=0)
    posterior = problem.posterior(problem.simulate(theta, rng=1)[0])
    for row, slope in zip(theta, posterior.score(theta), strict=True):
        assert slope == pytest.approx(
            approx_fprime(row, lambda t: posterior(t[None])[0], 1e-7), rel=1e-4, abs=1e-3
        )
    assert posterior.score_evaluations == 5


def test_a_posterior_counts_and_a_problem_without_a_score_has_none():
    flu = mo.Epidemic()
    posterior = flu.posterior(flu.data)
    theta = flu.prior.sample(7, rng=0)
    both = posterior(theta), posterior.log_density(theta[:3])
    assert posterior.evaluations == 10
    assert np.array_equal(both[0][:3], both[1])
    assert both[0] == pytest.approx(flu.prior.log_density(theta) + flu.log_likelihood(theta, flu.data))
    assert posterior.score is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mo.BananaProblem(0.0), "noise"),
        (lambda: mo.Tracking(beacons=[[1.0, 2.0, 3.0]]), "beacons"),
        (lambda: mo.Tracking(noise=-1.0), "noise"),
        (lambda: mo.Epidemic(days=0), "days"),
        (lambda: mo.Epidemic().posterior(np.full(14, 0.5)), "data must be counts"),
        (lambda: mo.Epidemic().posterior(np.full(14, -1.0)), "data must be counts"),
        (lambda: mo.Epidemic().posterior([1.0]), "data"),
        (lambda: mo.BananaProblem().simulate([[1.0, np.nan]]), "theta"),
        (lambda: mo.Tracking().log_likelihood([[1.0, 2.0]], np.ones(12)), "theta"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
