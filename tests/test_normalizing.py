"""Normalizing flows against closed forms, finite differences and their promise: likelihood never falls."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.stats import chi2

import mini_ot as mo
from mini_ot import _near_identity, normalizing
from mini_ot._near_identity import KinkMap
from mini_ot.maps import AffineMap

FLOWS = [mo.normalizing_flow, mo.dual_ascent_flow]
both = pytest.mark.parametrize("flow", FLOWS, ids=["radial", "kinks"])


def log_likelihood(T, x):
    return mo.pullback_log_density(T, mo.StandardNormal(x.shape[1]).log_density, x).mean()


def white(x):
    """Return the cloud with mean zero and covariance I, divided by n."""
    x = x - x.mean(axis=0)
    return np.linalg.solve(np.linalg.cholesky(x.T @ x / len(x)), x.T).T


def kinked(dim, rng):
    frame = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return KinkMap(frame, rng.standard_normal(dim), 0.1 + rng.random(dim), rng.uniform(-0.9, 0.9, dim))


def made(kind, dim, rng):
    if kind == "kinks":
        return kinked(dim, rng)
    return mo.RadialMap(rng.standard_normal(dim), 0.7, {"push": 5.0, "pull": -0.69}[kind])


@pytest.mark.parametrize("kind", ["push", "pull", "kinks"])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_elementary_maps_against_finite_differences_and_their_inverses(kind, dim, rng):
    T, x, h = made(kind, dim, rng), 3 * rng.standard_normal((50, dim)), 1e-5
    jacobian = np.stack([(T(x + h * e) - T(x - h * e)) / (2 * h) for e in np.eye(dim)], axis=2)
    assert np.allclose(T.log_det(x), np.linalg.slogdet(jacobian)[1], atol=1e-6)
    assert np.allclose(T.inverse(T(x)), x, rtol=0, atol=1e-12)
    assert np.allclose(T(T.inverse(x)), x, rtol=0, atol=1e-12)
    assert (pickle.loads(pickle.dumps(T))(x) == T(x)).all()


def test_radial_map_at_its_centre_and_far_away():
    T = mo.RadialMap([1.0, -2.0], 0.5, -0.499)
    assert np.allclose(T([[1.0, -2.0]]), [[1.0, -2.0]])
    assert np.allclose(T.inverse([[1.0, -2.0]]), [[1.0, -2.0]])
    assert np.allclose(T.log_det([[1.0, -2.0]]), 2 * np.log(0.002))
    far = np.array([[1e8, 0.0]])
    assert np.allclose(T.inverse(T(far)), far, rtol=1e-15)
    assert np.allclose(np.linalg.norm(far - T(far)), 0.499, atol=1e-6)  # beta, as r -> infinity


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([0.0, 0.0], 1.0, -1.0), ValueError, "beta must be finite and larger than -alpha = -1.0, got -1.0"),
        (([0.0, 0.0], 1.0, -2.0), ValueError, "larger than -alpha"),
        (([0.0, 0.0], 1.0, np.nan), ValueError, "beta must be finite"),
        (([0.0, 0.0], 1.0, np.inf), ValueError, "beta must be finite"),
        (([0.0, 0.0], 1.0, "big"), TypeError, "beta must be a real number"),
        (([0.0, 0.0], 0.0, 1.0), ValueError, "alpha must be positive"),
        (([[0.0, 0.0], [1.0, 1.0]], 1.0, 1.0), ValueError, "centre must be a vector"),
        (([0.0, np.nan], 1.0, 1.0), ValueError, "centre must be finite"),
    ],
)
def test_radial_map_refuses(arguments, error, words):
    with pytest.raises(error, match=words):
        mo.RadialMap(*arguments)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_newton_coefficients_of_a_radial_map_are_derivatives_of_the_likelihood(dim, rng):
    z, centre, alpha, h = white(rng.gamma(2.0, size=(200, dim))), rng.standard_normal(dim), 0.6, 1e-3

    def value(beta):
        return log_likelihood(mo.RadialMap(centre, alpha, beta), z)

    first, second = _near_identity.radial_scores(
        np.ascontiguousarray(z.T), centre[None], np.array([alpha]), False
    )[0]
    assert np.isclose(first, (value(h) - value(-h)) / (2 * h), rtol=1e-4)
    assert np.isclose(-second, (value(h) - 2 * value(0.0) + value(-h)) / h**2, rtol=1e-3)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("kind", ["radial", "kinks"])
def test_newton_coefficients_foresee_the_best_affine_move(kind, dim, rng):
    """Against the Hessian in beta, A and b together, by finite differences, reduced to beta."""
    z, centre, alpha, h = white(rng.gamma(2.0, size=(100, dim))), rng.standard_normal(dim), 0.6, 1e-3
    zt = np.ascontiguousarray(z.T)
    if kind == "radial":
        T = mo.RadialMap(centre, alpha, 1.0)
        move, scores = T(z) - z, _near_identity.radial_scores(zt, centre[None], np.array([alpha]), True)[0]
    else:
        T = KinkMap(np.eye(dim), centre, np.full(dim, alpha), np.r_[1.0 - 1e-12, np.zeros(dim - 1)])
        move = T(z) - z
        width = np.full((dim, 1), alpha)
        scores = _near_identity.kink_scores(zt, centre[:, None], width, True)[0, 0]
    bend = np.stack([(T(z + h * e) - T(z - h * e)) / (2 * h) - e for e in np.eye(dim)], axis=2)
    # All symmetric matrices for the ball; a kink's own affine part is that of its axis.
    pairs = [(i, j) for i in range(dim) for j in range(i + 1)] if kind == "radial" else [(0, 0)]
    axes = range(dim) if kind == "radial" else [0]

    def value(t):
        shift, matrix = np.zeros(dim), np.zeros((dim, dim))
        shift[list(axes)] = t[1 + len(pairs) :]
        for entry, (i, j) in zip(t[1:], pairs, strict=False):
            matrix[i, j] = matrix[j, i] = entry
        moved = z + t[0] * move + z @ matrix + shift
        stretch = np.linalg.slogdet(np.eye(dim) + t[0] * bend + matrix)[1]
        return (stretch - 0.5 * (moved**2).sum(axis=1)).mean()

    unit = h * np.eye(1 + len(pairs) + len(axes))
    gradient = np.array([value(e) - value(-e) for e in unit]) / (2 * h)
    hessian = [[value(a + b) - value(a - b) - value(b - a) + value(-a - b) for a in unit] for b in unit]
    hessian = np.array(hessian) / (4 * h**2)
    assert np.allclose(gradient[1:], 0, atol=1e-5)
    assert np.isclose(scores[0], gradient[0], rtol=1e-3, atol=1e-5)
    reduced = hessian[0, 0] - hessian[0, 1:] @ np.linalg.solve(hessian[1:, 1:], hessian[1:, 0])
    assert np.isclose(-scores[1], reduced, rtol=1e-3)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("distance", [0.0, 1.0])
def test_a_ball_of_the_adaptive_radius_holds_the_wanted_share(dim, distance):
    """Against the exact probability of a ball under N(0, I), for small shares, where the rule is exact."""
    from scipy.stats import ncx2

    centre = np.zeros((1, dim))
    centre[0, 0] = distance
    radius = _near_identity.ball_radius(centre, 1e-4)[0]
    held = ncx2.cdf(radius**2, dim, distance**2) if distance else chi2.cdf(radius**2, dim)
    assert np.isclose(held, 1e-4, rtol=0.2)


def test_the_adaptive_radius_is_bounded():
    assert _near_identity.ball_radius(np.array([[100.0, 0.0]]), 0.01) <= 3


@both
@pytest.mark.jit
@pytest.mark.parametrize("target", [mo.Banana(), mo.RingOfGaussians()], ids=["banana", "ring"])
def test_the_training_likelihood_never_falls(flow, target):
    """Said by the history, and true of the map that is returned."""
    x, fresh = target.sample(2000, rng=0), target.sample(4000, rng=1)
    T = flow(x, rng=2, steps=60, held_out=0, progress=False)
    training = T.history["training"]
    assert np.diff(training).min() >= 0
    assert len(training) == 61
    assert T.stopped == "all 60 steps done"
    assert T.history["held_out"] == []
    assert np.isclose(log_likelihood(T, x), training[-1], atol=1e-10)
    assert np.isclose(log_likelihood(T.steps[0], x), training[0], atol=1e-10)
    assert log_likelihood(T, fresh) > log_likelihood(mo.affine_map(x), fresh) + 0.3


@both
@pytest.mark.parametrize("dim", [1, 3])
def test_few_steps_in_other_dimensions(flow, dim, rng):
    x = rng.gamma(2.0, size=(120, dim))
    T = flow(x, rng=2, steps=4, candidates=2, held_out=0, progress=False)
    assert np.diff(T.history["training"]).min() >= 0
    assert T.history["training"][-1] > T.history["training"][0] + 0.02
    assert np.isclose(log_likelihood(T, x), T.history["training"][-1], atol=1e-10)
    assert np.allclose(T.inverse(T(x)), x, atol=1e-10)
    gauss = -0.5 * np.linalg.slogdet(np.atleast_2d(np.cov(x.T, bias=True)))[1]
    assert np.isclose(T.history["training"][0], gauss - 0.5 * dim * (1 + np.log(2 * np.pi)), atol=1e-12)
    assert np.allclose(np.cov(T(x).T, bias=True), np.eye(dim))


@both
def test_as_the_papers_have_it(flow):
    x = mo.Banana().sample(300, rng=0)
    T = flow(x, rng=2, steps=6, candidates=1, whiten=False, held_out=0, progress=False)
    assert np.diff(T.history["training"]).min() >= 0
    assert len(T.steps) == len(T.history["training"])
    assert np.isclose(log_likelihood(T, x), T.history["training"][-1], atol=1e-10)


@both
@pytest.mark.jit
def test_within_a_twentieth_of_a_nat_on_the_banana(flow):
    """Of the truth, on fresh samples, and what the inverse draws has the target's moments."""
    target = mo.Banana()
    x, fresh = target.sample(10_000, rng=0), target.sample(10_000, rng=1)
    T = flow(x, rng=2, steps=150, progress=False)
    assert target.log_density(fresh).mean() - log_likelihood(T, fresh) < 0.05
    drawn = T.inverse(mo.StandardNormal(2).sample(20_000, rng=3))
    assert np.allclose(drawn.mean(axis=0), [0, 1], atol=0.06)
    assert np.allclose(np.cov(drawn.T), [[1, 0], [0, 2.25]], atol=0.35)  # the far tail is drawn too short


@both
@pytest.mark.jit
@pytest.mark.parametrize("whiten", [True, False])
def test_it_ends_where_the_held_out_likelihood_was_largest(flow, whiten):
    x = mo.StandardNormal(2).sample(400, rng=0)
    T = flow(x, rng=1, steps=400, patience=15, whiten=whiten, progress=False)
    assert T.stopped == "held-out likelihood has not risen for 15 steps"
    held_out = T.history["held_out"]
    assert len(held_out) == len(T.history["training"])
    assert held_out[-1] < max(held_out)
    assert len(T.steps) == 1 + (2 if whiten else 1) * int(np.argmax(held_out))


@both
def test_the_same_seed_gives_the_same_map(flow):
    x = mo.TwoMoons().sample(200, rng=0)
    one, two, other = (flow(x, rng=seed, steps=3, candidates=2, progress=False) for seed in (1, 1, 2))
    assert (one(x) == two(x)).all()
    assert not np.allclose(one(x), other(x))


@both
def test_float32_and_an_untouched_input(flow):
    x = mo.TwoMoons().sample(200, rng=0).astype(np.float32)
    before = x.copy()
    T = flow(x, rng=1, steps=2, candidates=2, progress=False)
    assert (x == before).all()
    assert T(x).dtype == np.float32


@both
def test_interrupted_returns_the_flow_so_far(flow, monkeypatch):
    calls, kept = [], normalizing._ascent

    def third_time_interrupted(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return kept(*args)

    monkeypatch.setattr(normalizing, "_ascent", third_time_interrupted)
    x = mo.Banana().sample(200, rng=0)
    with pytest.warns(UserWarning, match="interrupted: the flow has 3 of 9 steps") as caught:
        T = flow(x, rng=1, steps=9, candidates=2, held_out=0, progress=False)
    assert caught[0].filename == __file__
    assert T.stopped == "interrupted"
    assert np.isclose(log_likelihood(T, x), T.history["training"][-1], atol=1e-10)


@both
def test_a_step_that_lowers_the_likelihood_is_never_taken(flow, monkeypatch):
    """Proposals that are far too strong: shortened, or dropped."""
    kept = _near_identity.newton_strength

    def reckless(scores, low, high):
        beta, gain = kept(scores, low, high)
        return -0.9 * np.abs(low) * np.sign(beta), gain

    monkeypatch.setattr(_near_identity, "newton_strength", reckless)
    x = mo.StandardNormal(2).sample(200, rng=0)
    T = flow(x, rng=1, steps=40, candidates=2, held_out=0, progress=False)
    assert T.stopped == "converged: 20 proposals in a row raised nothing"
    assert len(T.history["training"]) == 1
    assert np.isclose(log_likelihood(T, x), T.history["training"][0], atol=1e-10)


def test_a_step_is_halved_until_the_likelihood_rises():
    """The best stretch is by 1 / 0.9; of 2, 3/2, 5/4, 9/8, ... the first to do no harm is 9/8."""
    z = 0.9 * white(np.arange(100.0)[:, None])
    value = normalizing._likelihood(z, 0.0)

    def stretch(share):
        return AffineMap([[1 + share]], [0.0])

    step, new, raised = normalizing._ascent(stretch, (z, 0.0), value, False)
    assert step[0].matrix == 1.125
    assert raised == normalizing._likelihood(*new)


@both
def test_the_held_out_samples_are_drawn_at_random(flow):
    x = np.sort(np.random.default_rng(0).gamma(2.0, size=(400, 1)), axis=0)
    T = flow(x, rng=0, steps=1, candidates=1, progress=False)
    assert abs(T.history["held_out"][0] - T.history["training"][0]) < 0.3


@both
@pytest.mark.parametrize(
    ("x", "options", "error", "words"),
    [
        (
            np.ones((100, 2)) * np.arange(100)[:, None],
            {},
            ValueError,
            "x must spread out in all 2 directions",
        ),
        (np.c_[np.arange(100.0), np.ones(100)], {}, ValueError, "x must vary in every column"),
        (np.zeros((1, 2)), {}, ValueError, r"x must be an array of shape \(n, d\) with n >= "),
        (np.full((100, 2), np.nan), {}, ValueError, "x must be finite"),
        (np.zeros((3, 3, 3)), {}, ValueError, r"x must be an array of shape \(n, d\)"),
        (None, {"steps": 0}, ValueError, "steps must be at least 1"),
        (None, {"steps": 1.5}, TypeError, "steps must be a whole number"),
        (None, {"candidates": 0}, ValueError, "candidates must be at least 1"),
        (None, {"patience": 0}, ValueError, "patience must be at least 1"),
        (None, {"held_out": 1.0}, ValueError, "held_out must be a share from 0 to below 1, got 1.0"),
        (None, {"held_out": "some"}, TypeError, "held_out must be a share"),
        (None, {"rng": "seed"}, TypeError, "rng must be"),
    ],
)
def test_bad_input(flow, x, options, error, words):
    x = mo.Banana().sample(100, rng=0) if x is None else x
    with pytest.raises(error, match=words), warnings.catch_warnings():
        warnings.simplefilter("error")
        flow(x, **{"progress": False, **options})


def test_too_few_samples_for_the_neighbours():
    with pytest.raises(ValueError, match="with n >= 50, got 30 samples"):
        mo.normalizing_flow(mo.Banana().sample(30, rng=0))
    with pytest.raises(ValueError, match="neighbours must be at least 1"):
        mo.normalizing_flow(mo.Banana().sample(30, rng=0), neighbours=0)
