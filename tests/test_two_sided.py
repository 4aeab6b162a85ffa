"""Back-and-forth on samples: both sides against brute force, exact transport, and what theory promises."""

import pickle

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

import mini_ot as mo
from mini_ot import _jit, kernel_dual, two_sided
from mini_ot.maps import Composition

TARGETS = [mo.Banana(), mo.Checkerboard(), mo.TwoMoons()]


def clouds(target, n=200, m=None, seed=0):
    rng = np.random.default_rng(seed)
    return mo.StandardNormal().sample(n, rng), target.sample(n if m is None else m, rng)


# The two-sided flow.


def test_weights_minimise_the_damped_model(rng):
    root = rng.standard_normal((6, 6))
    gram, b, ridge, damping = root @ root.T, rng.standard_normal(6), 0.01, 0.1

    def model(w):
        u, v = np.split(w, 2)
        d, s = u - v, u + v
        size = 0.5 * ridge * np.trace(gram) / 6 * (w @ w)
        return b @ d + 0.5 * d @ gram @ d + 0.5 * damping * s @ gram @ s + size

    u, v = two_sided._signed_weights(gram, b, ridge, damping)
    assert (u >= 0).all() and (v >= 0).all()
    best = minimize(model, np.ones(12), bounds=[(0, None)] * 12, options={"ftol": 1e-15, "gtol": 1e-10})
    assert np.isclose(model(np.r_[u, v]), best.fun, rtol=1e-6)
    assert model(np.r_[u, v]) < 0


def test_without_damping_the_difference_is_the_newton_step(rng):
    root = rng.standard_normal((5, 5))
    gram, b = root @ root.T + np.eye(5), rng.standard_normal(5)
    u, v = two_sided._signed_weights(gram, b, 1e-12, 1e-12)
    assert np.allclose(u - v, -np.linalg.solve(gram, b), atol=1e-6)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: type(t).__name__)
@pytest.mark.jit
def test_images_of_new_samples_are_nearly_as_good_as_truth(target):
    x, y = clouds(target, 1000)
    T = mo.back_and_forth_samples(x, y, rng=1, steps=30)
    fresh, truth = clouds(target, 1000, seed=2)
    assert mo.energy_distance(T(fresh), truth) < 0.02 * mo.energy_distance(fresh, truth) + 20 / 1000


def test_each_step_is_the_gradient_of_a_strictly_convex_function(rng):
    T = mo.back_and_forth_samples(*clouds(mo.Banana()), rng=1, steps=5, features=16)
    anywhere = 20 * rng.standard_normal((500, 2))  # not only at samples
    for side in (T.from_source, T.from_target):
        assert len(side.steps) == 6
        for step in side.steps[1:]:
            assert (step.beta >= 0).all()
            jacobian = step._jacobian(anywhere)
            assert np.allclose(jacobian, jacobian.transpose(0, 2, 1))
            assert np.linalg.eigvalsh(jacobian).min() >= 1 - 1e-12
    assert any((step.beta > 0).any() for step in T.from_source.steps[1:])
    assert any((step.beta > 0).any() for step in T.from_target.steps[1:])


@pytest.mark.jit
def test_both_clouds_meet():
    x, y = clouds(mo.TwoMoons())
    T = mo.back_and_forth_samples(x, y, rng=1, steps=15, features=32)
    a, b = T.from_source(x), T.from_target(y)
    scale = np.sqrt(b.var(axis=0).sum() / y.var(axis=0).sum())
    assert mo.energy_distance(a, b, unbiased=False) < 0.05 * scale * mo.energy_distance(x, y)
    assert np.allclose(T.from_target(T(x)), a, rtol=1e-7)


def test_a_common_map_cancels():
    """Scaling and moving both clouds moves the map along: the flow sees no units."""
    x, y = clouds(mo.Banana())
    T = mo.back_and_forth_samples(x, y, rng=1, steps=5, features=16)
    S = mo.back_and_forth_samples(100 * x + 7, 100 * y + 7, rng=1, steps=5, features=16)
    assert np.allclose(S(100 * x + 7), 100 * T(x) + 7, rtol=1e-4, atol=1e-3)


def test_the_map_after_fewer_steps_is_that_of_a_shorter_run():
    x, y = clouds(mo.TwoMoons())
    T = mo.back_and_forth_samples(x, y, rng=1, steps=6, features=16)
    S = mo.back_and_forth_samples(x, y, rng=1, steps=2, features=16)
    assert np.allclose(T.after(2)(x), S(x))
    assert T.after(2).history == S.history
    assert np.allclose(T.after(0)(x), mo.affine_map(x, y)(x))
    assert np.allclose(T.after(6).log_det(x), T.log_det(x))


def test_contract_of_a_map(rng):
    T = mo.back_and_forth_samples(*clouds(mo.Banana()), rng=1, steps=4, features=16)
    x = rng.standard_normal((10, 2))
    assert np.allclose(T.inverse(T(x)), x, atol=1e-8)
    assert np.allclose(T(T.inverse(x)), x, atol=1e-8)
    assert np.allclose(T.log_det(x), Composition.__dict__["_log_det"](T, x))
    again = pickle.loads(pickle.dumps(T))
    assert (again(x) == T(x)).all()
    assert T(x.astype(np.float32)).dtype == np.float32


def test_interrupted_returns_the_map_so_far(monkeypatch):
    real, calls = two_sided.propose, []

    def interrupt(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(two_sided, "propose", interrupt)
    with pytest.warns(UserWarning, match="2 of 9 steps"):
        T = mo.back_and_forth_samples(*clouds(mo.Banana()), rng=1, steps=9, features=8)
    assert len(T.from_source.steps) == len(T.from_target.steps) == 3


@pytest.mark.jit
def test_same_bits_for_any_number_of_threads(monkeypatch):
    x, y = clouds(mo.TwoMoons(), 400, 300)
    flows, duals = set(), set()
    for threads in (1, 2, 3):
        monkeypatch.setattr(_jit, "num_threads", lambda threads=threads: threads)
        flows.add(mo.back_and_forth_samples(x, y, rng=2, steps=3, features=16)(x).tobytes())
        duals.add(mo.kernel_dual_ascent(x, y, steps=3).target_potential.tobytes())
    assert len(flows) == len(duals) == 1


GOOD = np.random.default_rng(0).standard_normal((60, 2))


@pytest.mark.parametrize(
    ("x", "y", "options", "words"),
    [
        (np.where(GOOD > 1, np.nan, GOOD), GOOD, {}, "x must be finite"),
        (GOOD, GOOD[:, :1], {}, "same number of columns"),
        (GOOD[:15], GOOD, {}, "n >= 20"),
        (GOOD, np.zeros((60, 2)), {}, "y must spread out"),
        (GOOD[:, [0, 0]], GOOD, {}, "x must spread out"),
        (GOOD, GOOD, {"damping": 0.0}, "damping must be positive"),
        (GOOD, GOOD, {"ridge": -1.0}, "ridge must be positive"),
        (GOOD, GOOD, {"steps": 0}, "steps must be at least 1"),
    ],
)
def test_bad_input(x, y, options, words):
    with pytest.raises(ValueError, match=words):
        mo.back_and_forth_samples(x, y, rng=0, **{"steps": 2, **options})


def test_repeated_samples_do_no_harm():
    x, y = GOOD, np.repeat(GOOD[:6] + 1, 10, axis=0)
    T = mo.back_and_forth_samples(x, y, rng=2, steps=4, features=8)
    assert np.isfinite(T(x)).all()
    assert np.isfinite(T.log_det(x)).all()


# The kernel dual ascent.


def optimum(x, y):
    """Half of the squared W2 by POT, for any two sizes."""
    import ot

    return ot.emd2([], [], cdist(x, y, "sqeuclidean") / 2)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_c_transform_against_the_table(rng, d):
    x, y, phi = rng.standard_normal((40, d)), rng.standard_normal((30, d)), rng.standard_normal(30)
    table = cdist(x, y, "sqeuclidean") / 2 - phi
    value, nearest = kernel_dual._c_transform(*(np.ascontiguousarray(p.T) for p in (x, y)), phi)
    assert np.allclose(value, table.min(axis=1))
    assert (nearest == table.argmin(axis=1)).all()


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("kernel", [None, mo.Laplace(1.0), mo.Gaussian(1.0)], ids=repr)
@pytest.mark.jit
def test_dual_rises_to_the_optimum_and_never_above(target, kernel):
    x, y = clouds(target, 150, 100)
    dual = mo.kernel_dual_ascent(x, y, kernel=kernel)
    best, values = optimum(x, y), np.array(dual.history["dual"])
    assert (np.diff(values) >= 0).all()
    assert values[-1] - values[0] > 0.3 * best
    assert dual.value <= best * (1 + 1e-12)
    assert dual.value > best * (0.99 if kernel is None else 0.9)
    assert np.isclose(dual.value, values[-1])


@pytest.mark.parametrize("first", [1e-5, 1e3])
@pytest.mark.jit
def test_the_rule_mends_a_bad_first_step(monkeypatch, first):
    x, y = clouds(mo.TwoMoons(), 100)
    monkeypatch.setattr(kernel_dual, "_FIRST", first)
    assert mo.kernel_dual_ascent(x, y, steps=80).value > 0.97 * optimum(x, y)


def test_potentials_are_feasible():
    x, y = clouds(mo.Checkerboard(), 120, 80)
    dual = mo.kernel_dual_ascent(x, y, steps=10)
    slack = cdist(x, y, "sqeuclidean") / 2 - dual.source_potential[:, None] - dual.target_potential
    assert slack.min() > -1e-12
    assert np.allclose(slack[range(120), dual.nearest], 0, atol=1e-12)
    assert np.isclose(dual.value, dual.source_potential.mean() + dual.target_potential.mean())


def test_first_direction_is_the_witness_of_mmd():
    """The potential moves along the witness between y and the places where x is sent."""
    x, y = clouds(mo.Banana(), 60, 50)
    kernel = mo.Laplace(0.7)
    sent = y[cdist(x, y).argmin(axis=1)]  # the start: phi = 0
    ascent = kernel_dual._Ascent(y, x, kernel)
    ascent.start()
    ascent.climb(0)
    w = mo.witness(y, sent, kernel=kernel)(y)
    assert np.isclose(np.corrcoef(w, ascent.potential[0])[0, 1], 1)
    assert w @ ascent.potential[0] > 0


def test_interpolant_is_convex_with_the_map_as_gradient(rng):
    x, y = clouds(mo.TwoMoons(), 100)
    dual = mo.kernel_dual_ascent(x, y, steps=20)
    p, q = rng.standard_normal((2, 200, 2))
    f = dual.interpolant
    assert (f((p + q) / 2) <= (f(p) + f(q)) / 2 + 1e-12).all()
    assert (f(q) >= f(p) + (dual(p) * (q - p)).sum(axis=1) - 1e-12).all()
    assert (dual(x) == y[dual.nearest]).all()
    assert np.allclose(f(x), (x**2).sum(axis=1) / 2 - dual.source_potential)


def test_simple_targets():
    x, y = clouds(mo.Banana(), 50)
    one_point = mo.kernel_dual_ascent(x, [[1.0, 2.0]])
    assert np.isclose(one_point.value, ((x - [1, 2]) ** 2).sum(axis=1).mean() / 2)
    same = mo.kernel_dual_ascent(x, x)
    assert abs(same.value) < 1e-12
    shifted = mo.kernel_dual_ascent(x, x + [30.0, 0.0], steps=200)
    assert np.isclose(shifted.value, 450, rtol=1e-2)
    assert mo.kernel_dual_ascent(np.ones((5, 2)), np.ones((4, 2))).value == 0.0
    line = mo.kernel_dual_ascent(x[:, :1], y[:, :1])
    assert 0.98 < line.value / (mo.w2(x[:, :1], y[:, :1]) ** 2 / 2) <= 1 + 1e-12


def test_interrupted_ascent(monkeypatch):
    real, calls = kernel_dual._c_transform, []

    def interrupt(*args):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(kernel_dual, "_c_transform", interrupt)
    x, y = clouds(mo.Banana(), 50)
    with pytest.warns(UserWarning, match="interrupted"):
        dual = mo.kernel_dual_ascent(x, y, steps=30)
    assert 0 < dual.value <= mo.w2(x, y) ** 2 / 2


def test_bad_input_of_the_ascent():
    with pytest.raises(TypeError, match="kernel must be one of mini_ot's kernels"):
        mo.kernel_dual_ascent(GOOD, GOOD, kernel="energy")
    with pytest.raises(ValueError, match="x must be finite"):
        mo.kernel_dual_ascent([[np.inf, 0.0]], GOOD)
    with pytest.raises(ValueError, match="same number of columns"):
        mo.kernel_dual_ascent(GOOD, GOOD[:, 0])
    with pytest.raises(ValueError, match="steps must be at least 1"):
        mo.kernel_dual_ascent(GOOD, GOOD, steps=0)
    with pytest.raises(ValueError, match="points must be"):
        mo.kernel_dual_ascent(GOOD, GOOD, steps=1)([[0.0]])
