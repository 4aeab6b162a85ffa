"""Problems of Bayesian inference and Metropolis chains against independent answers."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.stats import multivariate_normal, nbinom, norm

import mini_ot as mo
from mini_ot.chains import effective_samples, split_r_hat

PROBLEMS = [mo.BananaProblem, mo.Epidemic, mo.Tracking]


def gaussian_sum(theta):
    return -0.5 * (theta**2).sum(axis=1)


def chains(log_density=gaussian_sum, dim=2, **options):
    start = np.random.default_rng(1).standard_normal((8, dim))
    return mo.metropolis(log_density, start, **{"rng": 0, "progress": False, "steps": 300, **options})


def ar1(n, c, rho, rng):
    noise = rng.standard_normal((n, c))
    out = np.empty((n, c))
    out[0] = noise[0]
    for t in range(1, n):
        out[t] = rho * out[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    return out[:, :, None]


# --- problems -------------------------------------------------------


@pytest.mark.parametrize("make", PROBLEMS)
def test_shapes_and_seeds(make):
    problem = make()
    theta = problem.prior.sample(6, rng=0)
    assert theta.shape == problem.parameters(theta).shape == (6, problem.dim)
    data = problem.simulate(theta, rng=1)
    assert data.shape == (6, problem.data_dim)
    assert len(problem.names) == len(set(problem.names)) == problem.dim
    assert np.array_equal(data, problem.simulate(theta, rng=1))
    assert np.array_equal(data, problem.simulate(theta, rng=np.random.default_rng(1)))
    assert not np.array_equal(data, problem.simulate(theta, rng=2))
    assert problem.simulate(theta[:1], rng=1).shape == (1, problem.data_dim)
    posterior = problem.posterior(data[0])
    expected = norm.logpdf(theta).sum(axis=1) + problem.log_likelihood(theta, data[0])
    assert posterior.evaluations == 0
    assert np.allclose(posterior(theta), expected)
    assert np.allclose(posterior.log_density(theta[:2]), expected[:2])
    assert posterior.evaluations == 8
    assert posterior.dim == problem.dim
    assert np.allclose(
        problem.log_likelihood(theta.astype("f4"), data[0]), expected - norm.logpdf(theta).sum(1), rtol=1e-4
    )
    assert np.allclose(
        problem.log_likelihood(theta.tolist(), data[0].tolist()), problem.log_likelihood(theta, data[0])
    )


@pytest.mark.parametrize("make", PROBLEMS)
def test_problems_pickle(make):
    problem = make()
    theta = problem.prior.sample(3, rng=0)
    data = problem.simulate(theta, rng=0)[0]
    copy = pickle.loads(pickle.dumps(problem))
    assert np.array_equal(copy.log_likelihood(theta, data), problem.log_likelihood(theta, data))
    posterior = pickle.loads(pickle.dumps(problem.posterior(data)))
    assert np.array_equal(posterior(theta), problem.posterior(data)(theta))


@pytest.mark.parametrize("make", PROBLEMS)
def test_wrong_theta_and_data_are_named(make):
    problem = make()
    theta = problem.prior.sample(3, rng=0)
    data = problem.simulate(theta, rng=0)[0]
    for bad in (theta[:, :-1], np.full_like(theta, np.nan), "text", np.empty((0, problem.dim)), theta[0, 0]):
        for call in (
            problem.parameters,
            problem.simulate,
            lambda t: problem.log_likelihood(t, data),
            problem.posterior(data),
        ):
            with pytest.raises((TypeError, ValueError), match="theta"):
                call(bad)
    for bad in (
        data[:-1],
        np.full_like(data, np.nan),
        np.full_like(data, np.inf),
        "text",
        np.stack([data, data]),
    ):
        for call in (problem.posterior, lambda y: problem.log_likelihood(theta, y)):
            with pytest.raises((TypeError, ValueError), match="data"):
                call(bad)
    with pytest.raises((TypeError, ValueError), match="rng"):
        problem.simulate(theta, rng="seed")


@pytest.mark.parametrize("make", PROBLEMS)
def test_far_out_parameters_never_give_nan(make):
    problem = make()
    data = problem.simulate(np.zeros((1, problem.dim)), rng=0)[0]
    rng = np.random.default_rng(0)
    for scale in (10, 100, 1000):
        theta = scale * rng.standard_normal((50, problem.dim))
        values = problem.log_likelihood(theta, data)
        assert not np.isnan(values).any() and (values < np.inf).all()
        assert not np.isnan(problem.simulate(theta, rng=1)).any()


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: mo.BananaProblem(noise=0), "noise"),
        (lambda: mo.BananaProblem(noise=-1), "noise"),
        (lambda: mo.BananaProblem(noise=np.nan), "noise"),
        (lambda: mo.BananaProblem(noise="a"), "noise"),
        (lambda: mo.Tracking(noise=0), "noise"),
        (lambda: mo.Tracking(beacons=[[1.0, 2.0, 3.0]]), "beacons"),
        (lambda: mo.Tracking(beacons=[]), "beacons"),
        (lambda: mo.Tracking(beacons=[[np.nan, 1]]), "beacons"),
        (lambda: mo.Tracking(times=[np.inf]), "times"),
        (lambda: mo.Tracking(times=[]), "times"),
        (lambda: mo.Epidemic(days=0), "days"),
        (lambda: mo.Epidemic(days=2.5), "days"),
        (lambda: mo.Epidemic(population=0), "population"),
        (lambda: mo.Epidemic(population="many"), "population"),
    ],
)
def test_wrong_constructions_are_named(make, name):
    with pytest.raises((TypeError, ValueError), match=name):
        make()


# --- the banana -----------------------------------------------------


@pytest.mark.parametrize("noise, y", [(0.5, 0.3), (0.1, 2.0), (2.0, -3.0)])
def test_banana_evidence_and_moments_by_quadrature(noise, y):
    """t2 is integrated out by hand: y | t1 ~ N(t1^2 - 1, 1 + noise^2)."""
    problem = mo.BananaProblem(noise=noise)
    exact = problem.exact(np.array([y]))

    def weight(t, power=0):
        return t**power * norm.pdf(t) * norm.pdf(y, t * t - 1, np.sqrt(1 + noise**2))

    knots = [-np.sqrt(max(y + 1, 0.01)), 0, np.sqrt(max(y + 1, 0.01))]
    evidence = quad(weight, -9, 9, points=knots, epsabs=1e-13)[0]
    gain = 1 / (1 + noise**2)
    average = [quad(weight, -9, 9, args=(p,), points=knots, epsabs=1e-13)[0] / evidence for p in range(5)]
    mean2 = gain * (y + 1 - average[2])
    var2 = gain * noise**2 + gain**2 * (average[4] - average[2] ** 2)
    assert np.isclose(exact.log_evidence, np.log(evidence), atol=1e-6)
    assert np.allclose(exact.mean, [0, mean2], atol=1e-6)
    cross = gain * ((y + 1) * average[1] - average[3])
    assert np.allclose(exact.covariance, [[average[2], cross], [cross, var2]], atol=1e-6)


def test_banana_posterior_integrates_to_the_evidence():
    problem = mo.BananaProblem()
    nodes = np.linspace(-7, 7, 561)
    theta = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    log_density = problem.posterior([0.8]).log_density(theta)
    total = np.exp(log_density).sum() * (nodes[1] - nodes[0]) ** 2
    assert np.isclose(np.log(total), problem.exact([0.8]).log_evidence, atol=1e-6)


def test_banana_exact_samples_have_the_exact_moments():
    exact = mo.BananaProblem(noise=0.3).exact([1.5])
    x = exact.sample(40_000, rng=3)
    error = np.sqrt(np.diag(exact.covariance) / len(x))
    assert x.shape == (40_000, 2)
    assert (np.abs(x.mean(axis=0) - exact.mean) < 4.5 * error).all()
    assert np.allclose(np.cov(x.T), exact.covariance, atol=0.03)
    assert np.array_equal(exact.sample(5, rng=1), exact.sample(5, rng=1))
    copy = pickle.loads(pickle.dumps(exact))
    assert np.array_equal(copy.sample(5, rng=1), exact.sample(5, rng=1))
    with pytest.raises((TypeError, ValueError), match="n "):
        exact.sample(-1)


def test_banana_data_have_the_model_s_law(rng):
    theta = np.tile([[1.2, -0.4]], (20_000, 1))
    y = mo.BananaProblem(noise=0.5).simulate(theta, rng=rng)
    assert abs(y.mean() - (-0.4 + 1.44 - 1)) < 4.5 * 0.5 / np.sqrt(20_000)
    assert abs(y.std() - 0.5) < 0.012


# --- the epidemic ---------------------------------------------------


def sir(beta, gamma, days, population):
    def slope(_, state):
        s, i = state
        new = beta * s * i / population
        return [-new, new - gamma * i]

    days = np.arange(1, days + 1)
    found = solve_ivp(
        slope, (0, days[-1]), [population - 1, 1], t_eval=days, rtol=1e-10, atol=1e-10, method="DOP853"
    )
    return found.y[1]


def test_epidemic_against_scipy_s_solver_and_negative_binomial(rng):
    flu = mo.Epidemic()
    theta = rng.standard_normal((20, 3))
    beta, gamma, spread = flu.parameters(theta).T
    assert np.allclose(beta, 1.5 * np.exp(0.5 * theta[:, 0]))
    assert np.allclose(gamma, 0.5 * np.exp(0.5 * theta[:, 1]))
    assert np.allclose(spread, 0.1 * np.exp(0.7 * theta[:, 2]))
    infected = flu.infected(theta)
    expected = np.array([sir(b, g, 14, 763) for b, g in zip(beta, gamma, strict=True)])
    assert infected.shape == (20, 14)
    assert np.allclose(infected, expected, rtol=1e-4, atol=1e-4)
    size = 1 / spread[:, None]
    law = nbinom(size, size / (size + expected))
    assert np.allclose(flu.log_likelihood(theta, flu.data), law.logpmf(flu.data).sum(axis=1), rtol=1e-4)


def test_infected_stay_between_nobody_and_everybody():
    flu = mo.Epidemic(days=60, population=1000)
    infected = flu.infected(3 * np.random.default_rng(0).standard_normal((500, 3)))
    assert (infected >= 0).all() and (infected <= 1000).all()


def test_an_epidemic_obeys_the_final_size_equation():
    """S(end) = S(0) exp(-R0 (N - S(end)) / N): here the sum of recovered, gamma times the area under I."""
    flu = mo.Epidemic(days=4000, population=763)
    beta, gamma, _ = flu.parameters(np.zeros((1, 3)))[0]
    days = np.concatenate([[1.0], flu.infected(np.zeros((1, 3)))[0]])
    removed = gamma * (days.sum() - 0.5 * days[0])  # trapezoids; I vanishes at the end
    left = 763 - removed
    assert np.isclose(left, 762 * np.exp(-beta / gamma * removed / 763), rtol=0.02)


@pytest.mark.jit
def test_epidemic_counts_have_the_model_s_mean_and_variance():
    flu = mo.Epidemic()
    theta = np.tile([[0.2, -0.3, 0.5]], (20_000, 1))
    counts = flu.simulate(theta, rng=0)
    mean = flu.infected(theta[:1])[0]
    spread = flu.parameters(theta[:1])[0, 2]
    variance = mean + spread * mean**2
    assert np.array_equal(counts, np.round(counts)) and (counts >= 0).all()
    assert (np.abs(counts.mean(axis=0) - mean) < 4.5 * np.sqrt(variance / 20_000)).all()
    assert np.allclose(counts.var(axis=0), variance, rtol=0.1)


def test_epidemic_data_and_counts_that_cannot_be():
    flu = mo.Epidemic()
    assert flu.data.shape == (14,) and flu.data.min() >= 1 and flu.data.max() < 763
    for bad in (-1.0, 2.5):
        data = flu.data.astype(float).copy()
        data[3] = bad
        with pytest.raises(ValueError, match="data"):
            flu.posterior(data)


# --- tracking -------------------------------------------------------


def far_away():
    """Ranges to beacons 10^6 km away are linear in the track: a Gaussian posterior in closed form."""
    angles = np.array([0.1, 1.9, 4.0])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    times = np.array([0.0, 4.0, 9.0])
    problem = mo.Tracking(beacons=1e6 * directions, times=times, noise=0.3)
    rows = [np.concatenate([-u, -0.1 * t * u]) for t in times for u in directions]
    return problem, np.array(rows)


def test_far_beacons_give_the_gaussian_posterior(rng):
    problem, design = far_away()
    data = problem.simulate([[0.5, -1.0, 0.3, 0.7]], rng=0)[0]
    theta = rng.standard_normal((30, 4))
    law = multivariate_normal(np.zeros(9), design @ design.T + 0.09 * np.eye(9))
    precision = design.T @ design / 0.09 + np.eye(4)
    mean = np.linalg.solve(precision, design.T @ (data - 1e6)) / 0.09
    expected = multivariate_normal(mean, np.linalg.inv(precision)).logpdf(theta) + law.logpdf(data - 1e6)
    assert np.allclose(problem.posterior(data)(theta), expected, atol=1e-3)


def test_ranges_are_distances_plus_noise():
    problem = mo.Tracking(noise=1e-9)
    theta = np.array([[0.5, -0.8, 0.4, 1.0]])
    where = [np.array([0.5, -0.8]) + t * np.array([0.04, 0.1]) for t in (0, 3, 6, 9)]
    expected = [np.linalg.norm(w - b) for w in where for b in [(-1.5, -1), (1.5, -1), (0, 1.5)]]
    assert np.allclose(problem.simulate(theta, rng=0)[0], expected, atol=1e-7)
    assert np.allclose(problem.track(theta)[0], where)
    wide = mo.Tracking(noise=0.4).simulate(np.tile(theta, (5000, 1)), rng=0)
    assert np.allclose(wide.mean(axis=0), expected, atol=0.03) and np.allclose(
        wide.std(axis=0), 0.4, rtol=0.06
    )


def test_beacons_on_a_line_cannot_tell_a_track_from_its_mirror_image():
    problem = mo.Tracking(beacons=[[-1.0, 0.0], [2.0, 0.0]])
    theta = np.array([[0.3, 0.9, -0.5, 0.2]])
    data = problem.simulate(theta, rng=0)[0]
    mirror = theta * [1, -1, 1, -1]
    assert np.allclose(problem.posterior(data)(theta), problem.posterior(data)(mirror))


@pytest.mark.parametrize("make", [mo.BananaProblem, mo.Tracking])
def test_scores_are_the_derivatives(make):
    problem = make()
    theta = 0.7 * problem.prior.sample(4, rng=0)
    posterior = problem.posterior(problem.simulate(theta, rng=0)[0])
    step = 1e-5
    for k, unit in enumerate(np.eye(problem.dim)):
        slope = (posterior(theta + step * unit) - posterior(theta - step * unit)) / (2 * step)
        assert np.allclose(posterior.score(theta)[:, k], slope, rtol=1e-5, atol=1e-5)


# --- Metropolis -----------------------------------------------------


def test_chains_have_the_promised_shapes_and_counts():
    asked = []

    def counted(theta):
        asked.append(len(theta))
        return gaussian_sum(theta)

    found = chains(counted, steps=300, warm_up=100, thin=3)
    assert found.samples.shape == (100, 8, 2)
    assert found.draws.shape == (800, 2)
    assert np.array_equal(np.sort(found.draws, axis=0), np.sort(found.samples.reshape(-1, 2), axis=0))
    assert found.r_hat.shape == found.effective_samples.shape == (2,)
    assert 0 < found.acceptance < 1
    assert found.evaluations == sum(asked)
    pickle.loads(pickle.dumps(found))


def test_chains_repeat_with_the_seed_alone():
    once = chains(rng=5).samples
    assert np.array_equal(once, chains(rng=np.random.default_rng(5)).samples)
    assert not np.array_equal(once, chains(rng=6).samples)
    assert chains(rng=None).samples.shape == once.shape


def test_chains_find_a_skewed_gaussian():
    covariance = np.array([[1.0, 9.0], [9.0, 100.0]])
    law = multivariate_normal([3.0, -50.0], covariance)
    start = law.rvs(16, random_state=0)
    found = mo.metropolis(law.logpdf, start, steps=3000, warm_up=1000, rng=0, progress=False)
    error = np.sqrt(np.diag(covariance) / found.effective_samples)
    assert (np.abs(found.draws.mean(axis=0) - [3, -50]) < 4.5 * error).all()
    assert np.allclose(np.cov(found.draws.T), covariance, rtol=0.12)
    assert (found.r_hat < 1.02).all()
    assert 0.2 < found.acceptance < 0.5  # 0.35 is best in the plane, were the proposal well tuned


def test_chains_in_one_dimension_stay_in_the_support():
    start = np.linspace(0.5, 2, 8)[:, None]
    found = mo.metropolis(
        lambda t: np.where(t[:, 0] > 0, -t[:, 0], -np.inf), start, steps=4000, rng=0, progress=False
    )
    assert (found.draws > 0).all()
    assert abs(found.draws.mean() - 1) < 4.5 / np.sqrt(found.effective_samples[0])
    assert abs((found.draws > 2).mean() - np.exp(-2)) < 0.03


def test_chains_that_never_meet_have_a_large_r_hat():
    draws = np.random.default_rng(0).standard_normal((200, 8, 1)) + 40 * np.arange(8)[:, None]
    assert split_r_hat(draws)[0] > 10
    assert 0 < effective_samples(draws)[0] < 100


def test_chains_that_never_move_are_no_nan():
    found = chains(lambda t: -1e12 * ((t - np.round(t, 1)) ** 2).sum(axis=1), steps=100, warm_up=0)
    assert (found.r_hat > 1.5).all()
    assert (found.effective_samples > 0).all() and np.isfinite(found.effective_samples).all()


def test_an_interrupt_returns_the_chains_so_far():
    calls = 0

    def interrupted(theta):
        nonlocal calls
        calls += 1
        if calls > 250:
            raise KeyboardInterrupt
        return gaussian_sum(theta)

    with pytest.warns(UserWarning):
        found = chains(interrupted, steps=1000, warm_up=100)
    assert 100 < len(found.samples) < 160
    whole = chains(steps=1000, warm_up=100)
    assert np.array_equal(found.samples, whole.samples[: len(found.samples)])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_log_density_that_is_no_number_is_refused(bad):
    def broken(theta):
        values = gaussian_sum(theta)
        values[theta[:, 0] > 0.5] = bad
        return values

    with pytest.raises(ValueError, match="log_density"):
        chains(broken)


@pytest.mark.parametrize(
    "options, name",
    [
        ({"log_density": lambda t: np.zeros((len(t), 1))}, "log_density"),
        ({"log_density": lambda t: np.zeros(3)}, "log_density"),
        ({"log_density": lambda t: 0.0}, "log_density"),
        ({"log_density": "text"}, "log_density"),
        ({"log_density": lambda t: np.where(t[:, 0] < 0, -np.inf, 0.0)}, "start"),
        ({"steps": 0}, "steps"),
        ({"steps": -5}, "steps"),
        ({"steps": 10.5}, "steps"),
        ({"warm_up": -1}, "warm_up"),
        ({"thin": 0}, "thin"),
        ({"thin": 301}, "thin"),
        ({"rng": "seed"}, "rng"),
        ({"start": np.zeros((3, 2))}, "start"),
        ({"start": np.zeros((4, 2, 2))}, "start"),
        ({"start": np.full((8, 2), np.nan)}, "start"),
        ({"start": "text"}, "start"),
    ],
)
def test_wrong_chains_are_named(options, name):
    options = {
        "log_density": gaussian_sum,
        "start": np.random.default_rng(0).standard_normal((8, 2)),
    } | options
    with pytest.raises((TypeError, ValueError), match=name):
        mo.metropolis(
            options.pop("log_density"), options.pop("start"), **{"steps": 300, "progress": False} | options
        )


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_samples_of_an_autoregression(rho, rng):
    found = effective_samples(ar1(5000, 8, rho, rng))
    assert np.isclose(found[0], 40_000 * (1 - rho) / (1 + rho), rtol=0.12)


def test_alternating_chains_are_worth_more_than_independent_ones(rng):
    assert effective_samples(ar1(2000, 4, -0.5, rng))[0] > 8000


def test_split_r_hat_is_its_formula(rng):
    draws = ar1(200, 4, 0.5, rng) + 0.3 * np.arange(4)[:, None]
    halves = np.concatenate([draws[:100, :, 0], draws[100:, :, 0]], axis=1)
    within = halves.var(axis=0, ddof=1).mean()
    between = 100 * halves.mean(axis=0).var(ddof=1)
    assert np.isclose(split_r_hat(draws)[0], np.sqrt(99 / 100 + between / within / 100), rtol=1e-9)
    drift = rng.standard_normal((200, 4, 1)) + np.linspace(0, 8, 200)[:, None, None]
    assert split_r_hat(drift)[0] > 1.5  # every chain drifts alike: only halves show it


@pytest.mark.jit
def test_metropolis_agrees_with_the_exact_banana():
    problem = mo.BananaProblem()
    exact = problem.exact([0.8])
    posterior = problem.posterior([0.8])
    found = mo.metropolis(posterior, problem.prior.sample(50, rng=0), steps=4000, rng=1, progress=False)
    error = np.sqrt(np.diag(exact.covariance) / found.effective_samples)
    assert (np.abs(found.draws.mean(axis=0) - exact.mean) < 4.5 * error).all()
    assert np.allclose(np.cov(found.draws.T), exact.covariance, atol=0.05)
    assert found.evaluations == posterior.evaluations


def test_no_warnings_in_ordinary_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chains(steps=200)
        mo.Epidemic().posterior(mo.Epidemic().data)(np.zeros((2, 3)))
