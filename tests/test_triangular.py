"""Triangular maps from samples, against maps that are known in closed form."""

import pickle

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtri
from scipy.stats import gumbel_r, multivariate_normal

import mini_ot as mo
from mini_ot import _triangular_fit
from mini_ot._monotone import Component

COV = np.array([[2.0, 0.9, -0.4], [0.9, 1.0, 0.3], [-0.4, 0.3, 1.5]])
MEAN = np.array([1.0, -2.0, 0.5])


def _gaussian(n, seed):
    return np.random.default_rng(seed).multivariate_normal(MEAN, COV, size=n)


def _log_likelihood(T, x):
    return mo.pullback_log_density(T, mo.StandardNormal(T.dim).log_density, x).mean()


def _wild(size, degree, seed=0, **outside):
    """Return a component far from the identity, points inside and outside its box, and coefficients."""
    rng = np.random.default_rng(seed)
    component = Component(-2.0 * np.ones(size), 2.3 * np.ones(size), degree, **outside)
    points = 1.5 * rng.standard_normal((40, size))
    points[:4, -1] = [0.0, 0.04, -0.04, -2.3]
    return component, points, component.identity() + 0.4 * rng.standard_normal(component.count)


@pytest.fixture(scope="module")
def banana():
    return mo.triangular_map(mo.Banana().sample(4000, rng=0), rng=1)


# One component


@pytest.mark.parametrize(("size", "degree"), [(1, 1), (1, 4), (2, 3), (3, 2)])
def test_gradients_are_those_of_finite_differences(size, degree):
    component, x, coefficients = _wild(size, degree)
    out, gradient = component.gradients(x, coefficients)
    assert np.allclose(out, component.evaluate(x, coefficients), rtol=1e-14)
    for i, shift in enumerate(1e-5 * np.eye(component.count)):
        ahead, behind = (np.array(component.evaluate(x, coefficients + s)) for s in (shift, -shift))
        assert np.allclose(gradient[:, :, i], (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-7)


def test_a_component_is_its_formula():
    """A polynomial plus the integral of a slope that is softplus of a polynomial at knots, by SciPy."""
    component, x, coefficients = _wild(2, 3)
    square = np.zeros((4, 4))
    here = len(component.terms)
    assert here == 4
    for (i, m), b in zip(component.pairs, coefficients[here:], strict=True):
        square[i, m] = b
    knots = np.arange(-20, 24) / 10

    for point, value, slope in zip(x[:12], *component.evaluate(x[:12], coefficients), strict=True):
        u = (2 * point[0] - 0.3) / 4.3
        if abs(u) > 1:
            continue
        heights = np.polynomial.legendre.legval(
            u, np.polynomial.legendre.legval((2 * knots - 0.3) / 4.3, square.T)
        )
        line = np.log1p(np.exp(heights)) + 1e-4
        integral = quad(lambda t, line=line: np.interp(t, knots, line), 0, point[1], points=knots, limit=200)[
            0
        ]
        assert np.isclose(slope, np.interp(point[1], knots, line), rtol=1e-12)
        assert np.isclose(value, np.polynomial.legendre.legval(u, coefficients[:here]) + integral, rtol=1e-9)


@pytest.mark.parametrize(("size", "degree"), [(1, 4), (2, 3)])
def test_solve_inverts_and_tails_are_linear(size, degree):
    component, x, coefficients = _wild(size, degree)
    value, slope = component.evaluate(x, coefficients)
    assert (slope > 0).all()
    assert np.allclose(component.solve(x, value, coefficients), x[:, -1], atol=1e-11)
    for far in (-1, 1):
        tail = np.zeros((3, size))
        tail[:, -1] = far * np.array([3.0, 5.0, 7.0])
        value, slope = component.evaluate(tail, coefficients)
        assert np.allclose(np.diff(value), 2 * far * slope[:2])
        assert np.allclose(slope, slope[0])


def _ended(size, degree):
    """The same, but following a steep affine function from 0.3 outside its box on."""
    affine = np.append(np.arange(1.0, size), 3.0)
    return _wild(size, degree, ends=np.outer([-2.3, 2.6], np.ones(size)), affine=affine)


def test_far_out_a_component_follows_the_affine_function():
    component, x, coefficients = _ended(3, 3)
    free = _wild(3, 3)[0]
    inside = (x > -2.3).all(axis=1) & (x < 2.6).all(axis=1)
    assert 0 < inside.sum() < len(x)
    for ours, its in zip(
        component.evaluate(x[inside], coefficients), free.evaluate(x[inside], coefficients), strict=True
    ):
        assert np.array_equal(ours, its)
    # Along x_<k the function moves as affine = (1, 2, 3) does: by a third and two thirds of the way.
    for last in (-2.0, 0.4, 2.2):
        edge, far = np.array([[2.6, -2.3, last], [12.6, -8.3, last - 10 / 3 + 12 / 3]])[:, None]
        assert np.allclose(component.evaluate(far, coefficients), component.evaluate(edge, coefficients))
    # Along x_k the slope is continuous and ends no lower than 3.
    for ends in (np.linspace(2.3, 4, 1701), -np.linspace(2.0, 4, 2001)):
        line = np.c_[np.full((len(ends), 2), 0.5), ends]
        value, slope = component.evaluate(line, coefficients)
        assert np.abs(np.diff(slope)).max() < 0.05
        assert slope[-1] == max(3.0, slope[0])
        assert np.allclose(np.diff(value), (slope[1:] + slope[:-1]) / 2 * np.diff(ends), atol=1e-9)
    low = free.evaluate(line, coefficients)[1][-1]
    assert low < 3.0  # or the test could not fail


@pytest.mark.parametrize(("size", "degree"), [(1, 4), (2, 3), (3, 2)])
def test_far_out_gradients_and_inverse_are_right(size, degree):
    component, x, coefficients = _ended(size, degree)
    x = np.vstack([x, 2 * x])
    x[4:8, -1] = [-2.35, 2.65, -2.5, 9.0]  # on the rise of the slope, and far
    out, gradient = component.gradients(x, coefficients)
    assert np.allclose(out, component.evaluate(x, coefficients), rtol=1e-14)
    for i, shift in enumerate(1e-5 * np.eye(component.count)):
        ahead, behind = (np.array(component.evaluate(x, coefficients + s)) for s in (shift, -shift))
        assert np.allclose(gradient[:, :, i], (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-6)
    assert np.allclose(component.solve(x, out[0], coefficients), x[:, -1], atol=1e-10)
    h = 1e-6
    ahead, behind = x.copy(), x.copy()
    ahead[:, -1] += h
    behind[:, -1] -= h
    rise = component.evaluate(ahead, coefficients)[0] - component.evaluate(behind, coefficients)[0]
    assert np.allclose(rise / (2 * h), out[1], atol=1e-4)


def test_raising_the_degree_keeps_the_function():
    low, x, coefficients = _wild(3, 2)
    high = Component(low.low, low.high, 4)
    same = high.evaluate(x, low.raised(coefficients, high))
    assert np.allclose(low.evaluate(x, coefficients), same, rtol=1e-12)


# The map


@pytest.mark.jit
def test_gaussian_gives_the_cholesky_map():
    """The increasing triangular map of a Gaussian is L^-1 (x - mean) with covariance L L'."""
    x = _gaussian(4000, 0)
    T = mo.triangular_map(x, rng=1)
    assert T.degrees == (1, 1, 1)
    root = np.linalg.cholesky(np.cov(x.T, bias=True))  # the maximum of the likelihood, exactly
    assert np.allclose(T(x), np.linalg.solve(root, (x - x.mean(axis=0)).T).T, atol=1e-3)
    assert np.allclose(T.log_det(x), -np.log(np.diag(root)).sum(), atol=1e-3)
    assert T.stopped == "held-out likelihood has not risen for 4 degrees"


def test_one_degree_gives_the_cholesky_map_of_few_samples():
    x = _gaussian(60, 0)
    root = np.linalg.cholesky(np.cov(x.T, bias=True))
    T = mo.triangular_map(x, degree=1)
    assert np.allclose(T(x), np.linalg.solve(root, (x - x.mean(axis=0)).T).T, atol=2e-3)


@pytest.mark.jit
def test_banana_gives_its_own_map(banana):
    assert banana.degrees == (1, 2)
    assert banana.degree == 2
    x = mo.Banana().sample(500, rng=2)
    exact = np.c_[x[:, 0], 2 * (x[:, 1] - x[:, 0] ** 2)]
    inside = np.abs(x[:, 0]) < 2.5
    assert np.abs(banana(x) - exact)[inside].max() < 0.4  # the data leave 4,000^-1/2 of doubt, more far out
    assert np.sqrt(((banana(x) - exact)[inside] ** 2).mean()) < 0.06


@pytest.mark.jit
def test_banana_is_learnt_to_a_few_thousandths_of_a_nat():
    x, test = mo.Banana().sample(10_000, rng=0), mo.Banana().sample(10_000, rng=1)
    T = mo.triangular_map(x, rng=2)
    assert mo.Banana().log_density(test).mean() - _log_likelihood(T, test) < 0.003


@pytest.mark.jit
def test_one_dimension_gives_the_normal_quantile_of_the_distribution_function():
    law = gumbel_r()
    x = law.rvs(size=4000, random_state=0)
    T = mo.triangular_map(x, degree=4, rng=0)
    at = law.ppf([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])[:, None]
    assert mo.triangular_map(x, rng=0).degree > 1
    assert np.abs(T(at)[:, 0] - ndtri(law.cdf(at[:, 0]))).max() < 0.1


@pytest.mark.jit
def test_history_is_in_nats_of_the_data_and_never_below_affine():
    x = 10 + 3 * mo.TwoMoons().sample(1500, rng=0)
    T = mo.triangular_map(x, rng=1)
    degree, training, held_out = T.history["degree"], T.history["training"], T.history["held_out"]
    assert degree == list(range(1, len(degree) + 1))
    assert len(training) == len(held_out) == len(degree)
    normal = multivariate_normal(x.mean(axis=0), np.cov(x.T, bias=True))
    assert abs(training[0] - normal.logpdf(x).mean()) < 0.05  # of a share of the samples
    assert T.degree > 2
    assert held_out[degree.index(T.degree)] > held_out[0] + 0.5
    assert _log_likelihood(T, x) > normal.logpdf(x).mean() + 0.5
    one = mo.triangular_map(x[:, 0], rng=1).history["training"]
    assert (np.diff(one) > -1e-4).all()
    fixed = mo.triangular_map(x, degree=3, rng=1)
    assert fixed.degrees == (3, 3)
    assert fixed.history["degree"] == [3]
    assert fixed.stopped == "converged"


@pytest.mark.jit
def test_the_likelihood_is_at_a_maximum(banana):
    """No coefficient can be moved for the better by more than the prior asks, on the samples fitted."""
    x = mo.Banana().sample(4000, rng=0)
    best = _log_likelihood(banana, x)
    for k, coefficients in enumerate(banana.coefficients):
        for shift in 0.05 * np.vstack([np.eye(len(coefficients)), -np.eye(len(coefficients))]):
            moved = list(banana.coefficients)
            moved[k] = coefficients + shift
            other = mo.TriangularMap(banana.components, moved, banana.mean, banana.scale)
            assert _log_likelihood(other, x) < best


@pytest.mark.jit
def test_the_first_components_do_not_see_the_later_columns(banana):
    x = mo.Banana().sample(20, rng=3)
    assert np.array_equal(banana(x)[:, 0], banana(np.c_[x[:, 0], -x[:, 1]])[:, 0])


@pytest.mark.jit
def test_round_trip_far_out(banana):
    y = np.array([[6.0, 6], [-6, 6], [6, -6], [-6, -6], [0, 9], [9, 0]])
    assert np.allclose(banana(banana.inverse(y)), y, atol=1e-8)
    x = np.array([[7.0, -20], [-7, 70], [0, 60]])
    assert np.allclose(banana.inverse(banana(x)), x, atol=1e-8)


@pytest.mark.jit
@pytest.mark.parametrize(("planes", "degree"), [(5, 2), (5, "auto")])
def test_the_inverse_does_not_run_away(planes, degree):
    """Bananas in turned planes: quadratic terms of many columns, each with a skew."""
    d = 2 * planes
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((d, d)))[0]
    x, fresh = (
        np.hstack([mo.Banana().sample(1000, rng=[seed, k]) for k in range(planes)]) @ turn for seed in (0, 1)
    )
    T, white = mo.triangular_map(x, degree=degree, rng=1), mo.affine_map(x)
    z = mo.StandardNormal(d).sample(4000, rng=2)
    made = T.inverse(z)
    assert np.abs(T(made) - z).max() < 1e-9
    out = np.abs((made - x.mean(axis=0)) / x.std(axis=0)).max(axis=1)
    assert out.max() < 100
    assert (out > 10).mean() < 0.05
    assert mo.energy_distance(made, fresh) < mo.energy_distance(white.inverse(z), fresh)


@pytest.mark.jit
def test_a_gaussian_is_followed_for_ever():
    x = _gaussian(1000, 0)
    T, root = mo.triangular_map(x, degree=1), np.linalg.cholesky(np.cov(x.T, bias=True))
    far = x.mean(axis=0) + 1e4 * np.random.default_rng(1).standard_normal((20, 3))
    exact = np.linalg.solve(root, (far - x.mean(axis=0)).T).T
    assert np.abs(T(far) / exact - 1).max() < 0.02
    assert np.allclose(T.inverse(T(far)), far)


@pytest.mark.jit
def test_columns_of_very_different_size(banana):
    x = mo.Banana().sample(4000, rng=0)
    T = mo.triangular_map(x * [1e-6, 1e6], rng=1)
    assert np.allclose(T(x * [1e-6, 1e6]), banana(x), atol=1e-6)


@pytest.mark.jit
def test_seed_decides(banana):
    again = mo.triangular_map(mo.Banana().sample(4000, rng=0), rng=np.random.default_rng(1))
    assert all(map(np.array_equal, again.coefficients, banana.coefficients))
    other = mo.triangular_map(mo.Banana().sample(4000, rng=0), rng=2)
    assert other.history["held_out"] != banana.history["held_out"]
    assert other.degrees == banana.degrees


# Conditional maps


@pytest.mark.jit
def test_conditional_law_of_a_gaussian():
    """The law of z = (x_1, x_3) given y = x_2, against the formula by Schur's complement."""
    x = _gaussian(6000, 1)
    C = mo.conditional_map(x[:, [0, 2]], x[:, 1], rng=0)
    assert C.degrees == (1, 1)
    m, S = x.mean(axis=0), np.cov(x.T, bias=True)  # the maximum of the likelihood, exactly
    gain = S[[0, 2], 1] / S[1, 1]
    mean, cov = m[[0, 2]] + gain * (0.5 - m[1]), S[np.ix_([0, 2], [0, 2])] - np.outer(gain, S[1, [0, 2]])
    z = C.sample([0.5], 20_000, rng=1)  # 2.5 standard deviations away from the mean of y
    assert np.allclose(z.mean(axis=0), mean, atol=0.05)
    assert np.allclose(np.cov(z.T), cov, atol=0.05)
    test = _gaussian(500, 2)
    exact = multivariate_normal(m, S).logpdf(test) - multivariate_normal(m[1], S[1, 1]).logpdf(test[:, 1])
    assert np.allclose(C.log_density(test[:, [0, 2]], test[:, 1]), exact, atol=1e-2)


@pytest.mark.jit
def test_conditional_law_of_the_banana():
    x = mo.Banana().sample(4000, rng=0)
    C = mo.conditional_map(x[:, 1], x[:, 0], rng=1)
    assert C.degree == 2
    for y in (-1.5, 0.0, 2.0):
        law = C.given(y)
        z = law.sample(4000, rng=2)
        assert z.shape == (4000, 1)
        assert abs(z.mean() - y**2) < 0.12
        assert abs(z.std() - 0.5) < 0.04
        grid = np.linspace(-8, 14, 4001)
        density = np.exp(law.log_density(grid))
        assert abs(density.sum() * (grid[1] - grid[0]) - 1) < 1e-6
        assert np.allclose(law.log_density(grid), C.log_density(grid, np.full(4001, y)))
        assert np.allclose(law.map(law.map.inverse(grid)), grid[:, None], atol=1e-8)
    assert np.array_equal(C.sample(2.0, 4000, rng=2), z)
    assert law.bounds[0][0] < 0 < 5 < law.bounds[0][1]


@pytest.mark.jit
def test_the_joint_map_is_the_marginal_and_the_conditional_one(banana):
    """Components are fitted apart, so the second is that of the conditional map, whatever the first."""
    x = mo.Banana().sample(4000, rng=0) * [2, 1]
    C = mo.conditional_map(x[:, 1], x[:, 0], rng=1)
    assert np.allclose(C.coefficients[0], banana.coefficients[1])
    first = mo.triangular_map(x[:, 0], rng=1)
    joint = _log_likelihood(first, x[:, 0]) + C.log_density(x[:, 1], x[:, 0]).mean()
    assert np.isclose(joint, _log_likelihood(banana, x / [2, 1]) - np.log(2))
    assert abs(C.history["training"][1] - C.log_density(x[:, 1], x[:, 0]).mean()) < 0.02
    assert np.allclose(pickle.loads(pickle.dumps(C)).given(1.0).sample(3, rng=0), C.sample(1.0, 3, rng=0))


# Bad input and bad luck


def _ramp(n, d=2):
    return np.random.default_rng(0).standard_normal((n, d))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: mo.triangular_map(_ramp(30), degree=6),
            ValueError,
            "degree 6 has 28 coefficients in .* got 24",
        ),
        (lambda: mo.triangular_map([[0.0, 1], [1, 0], [2, 2]]), ValueError, "x must hold more samples"),
        (
            lambda: mo.triangular_map(np.c_[_ramp(50), np.ones(50)]),
            ValueError,
            "x must vary .* constant column 2",
        ),
        (lambda: mo.triangular_map(_ramp(50)[:, [0, 0]]), ValueError, "singular covariance"),
        (lambda: mo.triangular_map([[0.0, np.nan]] * 9), ValueError, "x must be finite"),
        (lambda: mo.triangular_map(np.zeros((3, 2, 2))), ValueError, "x must be an array of shape"),
        (lambda: mo.triangular_map(_ramp(50), degree=0), ValueError, "degree must be at least 1, got 0"),
        (lambda: mo.triangular_map(_ramp(50), degree=2.5), TypeError, "degree must be a whole number"),
        (lambda: mo.triangular_map(_ramp(50), degree="best"), ValueError, "degree must be one of 'auto'"),
        (lambda: mo.triangular_map(_ramp(50), held_out=0), ValueError, "held_out must be above 0 to choose"),
        (lambda: mo.triangular_map(_ramp(50), held_out=1.0), ValueError, "held_out must be .* got 1"),
        (lambda: mo.triangular_map(_ramp(50), held_out="a"), TypeError, "held_out must be .* got str 'a'"),
        (lambda: mo.triangular_map(_ramp(50), rng=-1), TypeError, "rng must be"),
        (lambda: mo.conditional_map(_ramp(50), _ramp(49)), ValueError, "same number of rows, got 50 and 49"),
        (lambda: mo.conditional_map(np.ones(50), _ramp(50)), ValueError, "z must vary in every column"),
        (lambda: mo.conditional_map(_ramp(50), np.ones(50)), ValueError, "y must vary in every column"),
        (
            lambda: mo.conditional_map(_ramp(50)[:, 0], _ramp(50)),
            ValueError,
            "y and z together must spread out",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_bad_input_to_a_conditional_map():
    x = _ramp(200, 3)
    C = mo.conditional_map(x[:, :2], x[:, 2], degree=1, rng=0)
    with pytest.raises(ValueError, match="y must be a vector of 1 finite"):
        C.given([1.0, 2.0])
    with pytest.raises(ValueError, match="y must be finite"):
        C.sample(np.nan, 3)
    with pytest.raises(ValueError, match=r"z must be an array of shape \(n, 2\)"):
        C.log_density(x, x[:, 2])
    with pytest.raises(ValueError, match="same number of rows, got 3 and 4"):
        C.log_density(x[:3, :2], x[:4, 2])


@pytest.mark.jit
def test_an_inverse_that_overflows_is_an_error(banana):
    with pytest.raises(ValueError, match=r"y must have a finite preimage, got \[0.0, 1e\+308\]: column 1"):
        banana.inverse([[0.0, 0.0], [0.0, 1e308]])


@pytest.mark.jit
def test_samples_of_a_curve_have_no_density():
    """The likelihood alone has no bound at x_2 = x_1^2; with the prior the map stays finite."""
    first = np.random.default_rng(0).standard_normal(400)
    x = np.c_[first, first**2]
    T = mo.triangular_map(x, degree=2, rng=0)
    assert T.stopped == "converged"
    assert np.isfinite(T(x)).all()
    assert np.allclose(T.inverse(T(x)), x, atol=1e-8)


def test_few_samples_stop_the_search():
    T = mo.triangular_map(mo.TwoMoons().sample(60, rng=0), rng=0)
    assert "too many coefficients for 48 samples" in T.stopped


@pytest.mark.parametrize("after", [0, *(pytest.param(k, marks=pytest.mark.jit) for k in (2, 9, 30))])
def test_interrupt_returns_the_map_so_far(monkeypatch, after):
    x, model, calls = mo.Banana().sample(400, rng=0), _triangular_fit._quadratic_model, []

    def interrupted(*args):
        calls.append(0)
        if len(calls) > after:
            raise KeyboardInterrupt
        return model(*args)

    monkeypatch.setattr(_triangular_fit, "_quadratic_model", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        T = mo.triangular_map(x, rng=0)
    assert T.stopped == "interrupted"
    assert np.allclose(T.inverse(T(x)), x, atol=1e-8)
    assert (
        _log_likelihood(T, x)
        > multivariate_normal(x.mean(axis=0), np.diag(x.var(axis=0))).logpdf(x).mean() - 0.01
    )
