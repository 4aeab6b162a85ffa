"""Pairings, closed forms, barycentres and Sinkhorn, against POT, formulas and brute force."""

import pickle
import tracemalloc
import warnings

import numpy as np
import ot
import pytest
from scipy.special import logsumexp, rel_entr

import mini_ot as mo
from mini_ot import _jit, _sinkhorn
from mini_ot._softmin import softmin


def weights(rng, n, zeros=0):
    w = rng.uniform(0.2, 1.0, n)
    w[:zeros] = 0.0
    return w / w.sum()


def clouds(rng, n=40, m=55, d=2):
    return rng.standard_normal((n, d)), 0.5 * rng.standard_normal((m, d)) + 1.0


def covariance(rng, d, rank=None):
    root = rng.standard_normal((d, rank or d))
    return root @ root.T


# On the line.


@pytest.mark.parametrize(("n", "m", "zeros"), [(1, 1, 0), (7, 7, 0), (30, 41, 0), (30, 11, 4), (200, 3, 60)])
def test_w2_1d_is_pots(rng, n, m, zeros):
    x, y, a, b = rng.standard_normal(n), rng.standard_normal(m) ** 3, weights(rng, n, zeros), weights(rng, m)
    assert np.isclose(mo.w2_1d(x, y, x_weights=a, y_weights=b) ** 2, ot.emd2_1d(x, y, a, b), rtol=1e-12)
    assert np.isclose(mo.w2_1d(x, y, x_weights=a) ** 2, ot.emd2_1d(x, y, a), rtol=1e-12)
    assert np.isclose(mo.w2_1d(x, y) ** 2, ot.emd2_1d(x, y), rtol=1e-12)


def test_w2_1d_of_repeated_points_weights_and_equal_sizes(rng):
    x, y = rng.standard_normal(6), rng.standard_normal(9)
    repeats = rng.integers(0, 4, 6)
    a = repeats / repeats.sum()
    assert np.isclose(mo.w2_1d(x, y, x_weights=a), mo.w2_1d(np.repeat(x, repeats), y), rtol=1e-13)
    assert mo.w2_1d(x, x) == 0.0
    assert np.isclose(mo.w2_1d(x, y[:6, None]), mo.w2(x, y[:6]), rtol=1e-13)
    x = rng.standard_normal(100_000).astype(np.float32)  # weights whose running sum misses 1 by rounding
    assert np.isclose(mo.w2_1d(x, x + 1), 1.0, atol=1e-6)


def test_w2_1d_of_far_points_without_weight(rng):
    x, y, a = 3 * rng.standard_normal(50), rng.standard_normal(70), weights(rng, 50, 10)
    x[:10] = 1e12
    assert np.isclose(mo.w2_1d(x, y, x_weights=a), mo.w2_1d(x[10:], y, x_weights=a[10:]), rtol=1e-12)


def test_w2_1d_far_from_zero(rng):
    x, y = rng.standard_normal(20), rng.standard_normal(30)
    assert np.isclose(mo.w2_1d(x + 1e8, y + 1e8), mo.w2_1d(x, y), rtol=1e-6)


# Gaussians.


@pytest.mark.parametrize("d", [1, 2, 5])
def test_gaussian_w2_is_pots(rng, d):
    m, n = rng.standard_normal((2, d))
    a, b = covariance(rng, d), covariance(rng, d)
    assert np.isclose(
        mo.gaussian_w2(m, a, n, b), ot.gaussian.bures_wasserstein_distance(m, n, a, b), rtol=1e-6
    )
    assert np.isclose(mo.gaussian_w2(m, a, n, b), mo.gaussian_w2(n, b, m, a), rtol=1e-12)


def test_gaussian_w2_in_closed_form(rng):
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    r, s = np.array([0.0, 1.0, 3.0]), np.array([2.0, 0.5, 3.0])  # singular, and commuting
    a, b = ((turn * w**2) @ turn.T for w in (r, s))
    assert np.isclose(
        mo.gaussian_w2(np.zeros(3), a, np.ones(3), b), np.sqrt(3 + ((r - s) ** 2).sum()), rtol=1e-12
    )
    assert mo.gaussian_w2([1.0], [[0.0]], [4.0], [[16.0]]) == 5.0
    assert mo.gaussian_w2(1.0, 0.0, 4.0, 16.0) == 5.0
    # the formula with traces would leave 1e-8 of rounding here
    near = mo.gaussian_w2(np.zeros(3), a, np.zeros(3), (turn * (r * (1 + 1e-9)) ** 2) @ turn.T)
    assert np.isclose(near, 1e-9 * np.sqrt((r**2).sum()), rtol=1e-4)


def test_gaussian_w2_is_what_the_affine_map_costs(rng):
    x = rng.standard_normal((4000, 3)) @ covariance(rng, 3)
    y = rng.standard_normal((500, 3)) @ covariance(rng, 3) + 1
    moved = mo.affine_map(x, y)(x) - x
    moments = x.mean(axis=0), np.cov(x.T), y.mean(axis=0), np.cov(y.T)
    cost = (moved.mean(axis=0) ** 2).sum() + np.trace(np.cov(moved.T))
    assert np.isclose(mo.gaussian_w2(*moments) ** 2, cost, rtol=1e-10)


# Clouds of equally many points.


def test_displacement_is_the_shortest_way(rng):
    x, y = clouds(rng, 30, 30)
    w = mo.w2(x, y)
    assert np.array_equal(mo.displacement(x, y, 0), x)
    assert np.array_equal(mo.displacement(x, y, 1), y[mo.assignment(x, y)])
    film = mo.displacement(x, y, [0.0, 0.25, 0.7])
    assert film.shape == (3, 30, 2) and np.array_equal(film[1], mo.displacement(x, y, 0.25))
    for t, z in zip([0.0, 0.25, 0.7], film, strict=True):
        assert np.isclose(mo.w2(x, z), t * w, atol=1e-12) and np.isclose(mo.w2(z, y), (1 - t) * w, atol=1e-12)
    assert mo.displacement(x.astype(np.float32), y.astype(np.float32), 0.5).dtype == np.float32


def spread(z, many, w):
    return sum(weight * mo.w2(z, cloud) ** 2 for weight, cloud in zip(w, many, strict=True))


def test_barycentre_of_two_clouds_is_the_displacement(rng):
    x, y = clouds(rng, 40, 40)
    for t in (0.0, 0.3, 0.8, 1.0):
        z, straight = mo.barycentre([x, y], [1 - t, t]), mo.displacement(x, y, t)
        assert np.allclose(z[np.lexsort(z.T)], straight[np.lexsort(straight.T)], atol=1e-12)
    assert np.isclose(spread(z, [x, y], [0.0, 1.0]), 0.0)


def test_barycentre_is_pots_from_the_same_start(rng):
    many, w = [rng.standard_normal((25, 2)) * (k + 1) + k for k in range(3)], [0.2, 0.5, 0.3]
    even = np.full(25, 1 / 25)
    theirs = ot.lp.free_support_barycenter(
        many, [even] * 3, many[1], b=even, weights=np.array(w), numItermax=200, stopThr=1e-15
    )
    ours = mo.barycentre(many, w)
    assert np.allclose(ours, theirs, atol=1e-10)
    assert np.allclose(ours, sum(v * c[mo.assignment(ours, c)] for v, c in zip(w, many, strict=True)))
    assert spread(ours, many, w) < min(spread(c, many, w) for c in many)
    again = mo.barycentre(many, w, rng=1)
    assert np.array_equal(again, mo.barycentre(many, w, rng=1)) and not np.array_equal(again, ours)
    assert spread(again, many, w) < 1.3 * spread(ours, many, w)


def test_barycentre_on_the_line_averages_quantiles(rng):
    many, w = rng.standard_normal((4, 30, 1)) ** 3, weights(rng, 4)
    expected = np.tensordot(w, np.sort(many, axis=1), axes=1)
    assert np.allclose(np.sort(mo.barycentre(many, w), axis=0), expected)
    assert np.allclose(np.sort(mo.barycentre(many, w, rng=0), axis=0), expected)


def test_barycentre_says_when_pairs_still_change(rng):
    many = rng.standard_normal((3, 60, 2))
    with pytest.warns(RuntimeWarning, match="still change after 1 steps"):
        mo.barycentre(many, [0.3, 0.4, 0.3], steps=1)


# Sinkhorn.


def entropic(plan, cost, a, b, epsilon):
    return (plan * cost).sum() + epsilon * rel_entr(plan, np.outer(a, b)).sum()


def rounded(plan, a, b):
    """Altschuler, Weed and Rigollet's rounding, on the table."""
    plan = plan * np.minimum(1, np.divide(b, plan.sum(0), out=np.ones_like(b), where=plan.sum(0) > 0))
    r, s = np.maximum(a - plan.sum(1), 0), np.maximum(b - plan.sum(0), 0)
    return plan + np.outer(r, s) / max(s.sum(), 1e-300)


@pytest.mark.parametrize(("epsilon", "d", "zeros"), [(5.0, 2, 0), (0.5, 1, 3), (0.1, 2, 5), (0.5, 4, 2)])
def test_sinkhorn_is_pots(rng, epsilon, d, zeros):
    x, y = clouds(rng, d=d)
    a, b = weights(rng, 40), weights(rng, 55, zeros)
    a[3] = 0.0
    a, cost = a / a.sum(), ot.dist(x, y)
    with warnings.catch_warnings(), np.errstate(divide="ignore"):  # POT takes the logarithm of the zeros
        theirs = ot.sinkhorn(a, b, cost, epsilon, method="sinkhorn_log", numItermax=20_000, stopThr=1e-14)
    ours = mo.sinkhorn(x, y, epsilon=epsilon, x_weights=a, y_weights=b, tol=1e-11)
    plan, best = ours.plan(), entropic(theirs, cost, a, b, epsilon)
    assert np.abs(plan - theirs).max() < 1e-10
    assert ours.converged and 0 <= ours.dual_gap <= 1e-11
    assert np.isclose(ours.dual_value, best, rtol=1e-10)
    assert np.isclose(ours.cost, (plan * cost).sum(), rtol=1e-10)
    assert np.allclose(plan.sum(axis=1), a, atol=1e-14) and np.isclose(plan.sum(), 1.0)
    assert not plan[3].any() and not plan[:, :zeros].any()
    some = a > 0
    assert np.allclose(ours.map(x)[some], (plan @ y)[some] / a[some, None], atol=1e-9)


def test_sinkhorn_of_two_points_in_closed_form():
    corner = [[0.0], [1.0]]
    for epsilon in (10.0, 1.0, 0.1, 0.01):
        plan = mo.sinkhorn(corner, corner, epsilon=epsilon)
        stay = 0.5 / (1 + np.exp(-1 / epsilon))
        assert np.allclose(plan.plan(), [[stay, 0.5 - stay], [0.5 - stay, stay]], atol=1e-9)
        assert np.isclose(plan.cost, 1 - 2 * stay, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_the_gap_is_honest(rng, steps):
    for epsilon in (3.0, 0.1, 1e-3):
        x, y = clouds(rng)
        a, b = weights(rng, 40, 2), weights(rng, 55, 3)
        cost = ot.dist(x, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            early = mo.sinkhorn(
                x, y, epsilon=epsilon, x_weights=a, y_weights=b, max_steps=steps, scaling=0, tol=1e-12
            )
        plan, bound = early.plan(), early.dual_value * (1 + early.dual_gap) * (1 + 1e-6) + 1e-8
        feasible = rounded(plan, a, b)
        assert np.allclose(feasible.sum(0), b) and np.allclose(feasible.sum(1), a)
        value = entropic(feasible, cost, a, b, epsilon)
        assert early.dual_value <= value <= bound  # so the best value is there as well
        if epsilon < 0.5:  # and the bound is no idle one
            assert early.dual_gap < 2 * (value / early.dual_value - 1)
        assert early.history["dual"][-1] <= value


def test_the_gap_is_not_of_another_problem(rng):
    """What POT finds to many digits lies between the dual value and the bound."""
    x, y = clouds(rng)
    best = mo.sinkhorn(x, y, epsilon=0.2, tol=1e-12).dual_value
    for tol in (1e-1, 1e-3, 1e-5):
        plan = mo.sinkhorn(x, y, epsilon=0.2, tol=tol)
        assert plan.dual_value <= best * (1 + 1e-13) <= plan.dual_value * (1 + plan.dual_gap)
        assert plan.dual_gap <= tol


def test_small_epsilon_gives_the_pairing_large_epsilon_the_product(rng):
    x, y = clouds(rng, 30, 30)
    sharp = mo.sinkhorn(x, y, epsilon=1e-4, tol=1e-3)
    assert np.array_equal(sharp.plan().argmax(axis=1), mo.assignment(x, y))
    assert np.isclose(sharp.cost, mo.w2(x, y) ** 2, rtol=1e-3)
    assert np.allclose(mo.sinkhorn(x, y, epsilon=1e6).plan(), 1 / 900, rtol=1e-4)
    assert np.isclose(mo.sinkhorn(x, y, epsilon=1e6).cost, ot.dist(x, y).mean(), rtol=1e-4)


@pytest.mark.jit
def test_tiny_epsilon_with_unequal_sizes_goes_to_pots_exact_cost(rng):
    x, y = clouds(rng, 30, 45)
    a, b = weights(rng, 30), weights(rng, 45)
    exact = ot.emd2(a, b, ot.dist(x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        plan = mo.sinkhorn(x, y, epsilon=1e-4, x_weights=a, y_weights=b, tol=1e-4)
    assert exact <= plan.dual_value * (1 + plan.dual_gap) + 1e-12
    assert np.isclose(plan.dual_value, exact, rtol=1e-3)


@pytest.mark.jit
def test_equivariance_and_extrapolation_change_nothing(rng, monkeypatch):
    x, y = clouds(rng)
    plain = mo.sinkhorn(x, y, epsilon=0.1, tol=1e-9)
    moved = mo.sinkhorn(10 * x + 1e6, 10 * y + 1e6, epsilon=10.0, tol=1e-9)
    assert np.allclose(moved.plan(), plain.plan(), atol=1e-9)
    assert np.isclose(moved.dual_value, 100 * plain.dual_value, rtol=1e-7)
    assert np.allclose(moved.map(10 * x + 1e6), 10 * plain.map(x) + 1e6, atol=1e-5)
    back = mo.sinkhorn(y, x, epsilon=0.1, tol=1e-9)
    assert np.allclose(back.plan().T, plain.plan(), atol=1e-9)
    for scaling in (0, 0.1, 0.9):
        assert np.allclose(
            mo.sinkhorn(x, y, epsilon=0.1, tol=1e-9, scaling=scaling).plan(), plain.plan(), atol=1e-9
        )
    monkeypatch.setattr(_sinkhorn.Extrapolation, "step", lambda self, f, g, g_next, epsilon: g_next)
    slow = mo.sinkhorn(x, y, epsilon=0.1, tol=1e-9)
    assert np.allclose(slow.plan(), plain.plan(), atol=1e-9)
    assert plain.steps < slow.steps / 2


def test_epsilon_scaling_and_history(rng):
    x, y = clouds(rng)
    plan = mo.sinkhorn(x, y, epsilon=0.01)
    epsilons = np.array(plan.history["epsilon"])
    assert len(epsilons) == plan.steps == len(plan.history["dual"]) == len(plan.history["error"])
    assert epsilons[-1] == 0.01 and (np.diff(epsilons) <= 0).all()
    both = np.concatenate([x, y])
    assert np.isclose(epsilons[0], (np.ptp(both, axis=0) ** 2).sum())
    assert np.isclose(plan.history["dual"][-1], plan.dual_value)
    cold = mo.sinkhorn(x, y, epsilon=0.01, scaling=0)
    assert set(cold.history["epsilon"]) == {0.01} and plan.steps < cold.steps


def test_points_that_coincide(rng):
    spot = np.ones((1, 2))
    for x, y, cost in [(spot, spot, 0.0), (spot, 3 * spot, 8.0), (np.ones((3, 2)), np.ones((5, 2)), 0.0)]:
        plan = mo.sinkhorn(x, y, epsilon=0.1)
        assert plan.converged and plan.steps < 12
        assert np.isclose(plan.cost, cost, atol=1e-12) and np.isclose(plan.dual_value, cost, atol=1e-12)
        assert np.allclose(plan.map(x), y[0])
        assert np.allclose(plan.plan(), 1 / (len(x) * len(y)))
    x, y = clouds(rng, 12, 9)
    twice = mo.sinkhorn(np.repeat(x, 2, axis=0), y, epsilon=0.3, tol=1e-10)
    once = mo.sinkhorn(x, y, epsilon=0.3, tol=1e-10)
    assert np.allclose(twice.plan().reshape(12, 2, 9).sum(axis=1), once.plan(), atol=1e-9)


def test_map_off_the_samples_is_the_same_formula(rng):
    x, y = clouds(rng)
    a, b = weights(rng, 40), weights(rng, 55, 4)
    plan = mo.sinkhorn(x, y, epsilon=0.3, x_weights=a, y_weights=b, tol=1e-10)
    new = 3 * rng.standard_normal((17, 2))
    with np.errstate(divide="ignore"):
        share = np.log(b) + (plan.g - ot.dist(new, y)) / 0.3
    share = np.exp(share - logsumexp(share, axis=1, keepdims=True))
    assert np.allclose(plan.map(new), share @ y, atol=1e-10)
    far = plan.map([[1e3, 0.0]])  # beyond everything: the nearest point of y in that direction
    assert np.allclose(far, y[4:][y[4:, 0].argmax()], atol=1e-6)


def test_float32_comes_back_as_float32(rng):
    x, y = (c.astype(np.float32) for c in clouds(rng))
    plan, double = mo.sinkhorn(x, y, epsilon=0.1), mo.sinkhorn(x.astype(float), y.astype(float), epsilon=0.1)
    assert plan.map(x).dtype == np.float32 and plan.f.dtype == np.float64
    assert plan.dual_value == double.dual_value
    assert mo.barycentre([x, x[::-1]], [0.5, 0.5]).dtype == np.float32


def test_no_convergence_says_gap_and_steps(rng):
    x, y = clouds(rng)
    with pytest.warns(RuntimeWarning, match=r"dual gap is .* after 3 steps, not below 1e-06: pass more"):
        plan = mo.sinkhorn(x, y, epsilon=1e-3, max_steps=3)
    assert not plan.converged and plan.dual_gap > 1e-6 and np.isfinite(plan.f).all()


def test_the_last_extrapolation_is_checked_too(rng, monkeypatch):
    x, y = clouds(rng)
    step = _sinkhorn.Extrapolation.step

    def wild(self, f, g, g_next, epsilon):
        g = step(self, f, g, g_next, epsilon)
        return g if len(self.moves) < 2 else g + 1e6 * np.arange(len(g))

    plain = mo.sinkhorn(x, y, epsilon=0.1).dual_value
    monkeypatch.setattr(_sinkhorn.Extrapolation, "step", wild)
    for steps in (5, 6, 7, 8):
        with pytest.warns(RuntimeWarning, match="dual gap"):
            plan = mo.sinkhorn(x, y, epsilon=0.1, scaling=0, max_steps=steps)
        assert 0 < plan.dual_value < plain


def test_moves_that_do_not_change_are_not_extrapolated(rng):
    x, y = clouds(rng)
    even = np.full(40, 1 / 40), np.full(55, 1 / 55)
    ahead, g = _sinkhorn.Extrapolation(_sinkhorn.Problem(x, y, *even)), np.arange(55.0)
    for _ in range(4):  # a singular matrix, else
        assert np.array_equal(ahead.step(np.zeros(40), g, g + 1, 1.0), g + 1)


def test_interrupted_returns_what_there_is(rng, monkeypatch):
    x, y = clouds(rng)
    calls = iter(range(100))

    def impatient(*args):
        if next(calls) == 7:
            raise KeyboardInterrupt
        return softmin(*args)

    monkeypatch.setattr(_sinkhorn, "softmin", impatient)
    with pytest.warns(RuntimeWarning, match="after 3 steps"):
        plan = mo.sinkhorn(x, y, epsilon=1e-3, progress=False)
    assert np.isclose(plan.plan().sum(), 1.0)


def test_plans_can_be_pickled_and_printed(rng):
    plan = mo.sinkhorn(*clouds(rng), epsilon=0.5)
    again = pickle.loads(pickle.dumps(plan))
    assert np.array_equal(again.plan(), plan.plan())
    assert repr(plan).startswith("EntropicPlan(n=40, m=55, epsilon=0.5, steps=")


@pytest.mark.parametrize("d", [1, 2, 3, 7])
def test_softmin_is_scipys_whatever_the_guess(rng, d):
    x, y, w = rng.standard_normal((9, d)), rng.standard_normal((30, d)), rng.standard_normal(30)
    w[::4] = -np.inf
    for epsilon in (1e3, 1.0, 1e-3, 1e-6):
        exact = -epsilon * logsumexp(w - ot.dist(x, y) / epsilon, axis=1)
        for guess in (
            None,
            exact,
            exact + epsilon,
            0 * exact,
            exact + 1e3 * epsilon,
            exact - 1e3 * epsilon,
            exact - 1e9,
        ):
            assert np.allclose(
                softmin(x, y, w, epsilon, guess), exact, rtol=1e-11, atol=1e-14 + 1e-11 * epsilon
            )
    assert (softmin(x, y, np.full(30, -np.inf), 1.0, exact) == np.inf).all()


@pytest.mark.jit
def test_memory_is_linear(rng):
    x, y = clouds(rng, 4000, 3000)
    mo.sinkhorn(x[:9], y[:9], epsilon=1.0).map(x[:9])
    tracemalloc.start()
    plan = mo.sinkhorn(x, y, epsilon=1.0)
    plan.map(x), plan.cost
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # the table of costs would take 96 MB


def test_same_bits_for_any_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr(_jit, "_PAIRS_WORTH_A_THREAD", 100)
    x, y = clouds(rng)
    seen = set()
    for threads in (1, 2, 3):
        monkeypatch.setattr(_jit, "num_threads", lambda threads=threads: threads)
        seen.add(mo.sinkhorn(x, y, epsilon=0.3).f.tobytes())
    assert len(seen) == 1


# The divergence.


def pots_value(x, y, epsilon):
    a, b, cost = ot.unif(len(x)), ot.unif(len(y)), ot.dist(x, y)
    plan = ot.sinkhorn(a, b, cost, epsilon, method="sinkhorn_log", numItermax=5000, stopThr=1e-12)
    return entropic(plan, cost, a, b, epsilon)


def test_divergence_from_pots_plans(rng):
    x, y = clouds(rng, 25, 35)
    for epsilon in (0.5, 5.0):
        theirs = pots_value(x, y, epsilon) - (pots_value(x, x, epsilon) + pots_value(y, y, epsilon)) / 2
        assert np.isclose(mo.sinkhorn_divergence(x, y, epsilon=epsilon), theirs, rtol=1e-5)


def test_divergence_between_its_limits(rng):
    x, y = clouds(rng, 30, 30)
    assert mo.sinkhorn_divergence(x, x, epsilon=0.1) == 0.0
    assert np.isclose(mo.sinkhorn_divergence(x, x + [3.0, 4.0], epsilon=0.5), 25.0, rtol=1e-5)
    means = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    assert np.isclose(mo.sinkhorn_divergence(x, y, epsilon=1e5), means, rtol=1e-3)
    assert np.isclose(mo.sinkhorn_divergence(x, y, epsilon=1e-3), mo.w2(x, y) ** 2, rtol=2e-2)


def test_one_cloud_with_itself_takes_few_steps(rng):
    x = rng.standard_normal((60, 2))
    assert mo.sinkhorn(x, x, epsilon=1e-2, tol=1e-9).steps < 40
    plan = mo.sinkhorn(x[:30], x[:30], epsilon=0.3, tol=1e-9)
    assert np.isclose(plan.dual_value, pots_value(x[:30], x[:30], 0.3), rtol=1e-6)


# Bad input.

LINE = np.zeros((4, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mo.w2_1d(np.zeros((3, 2)), LINE), "x must be an array of shape"),
        (lambda: mo.w2_1d(LINE, [0.0, np.nan]), "y must be finite"),
        (lambda: mo.w2_1d(LINE, LINE, x_weights=[0.5, 0.5]), "x_weights must hold 4 numbers, got 2"),
        (
            lambda: mo.w2_1d(LINE, LINE, y_weights=[1, 1, 1, 1]),
            "y_weights must .* sum to 1, .* sum of 4: pass",
        ),
        (lambda: mo.w2_1d(LINE, LINE, y_weights=[2, -1, 0, 0]), "y_weights must not be negative .* -1"),
        (lambda: mo.gaussian_w2([0, 0], np.eye(3), [0, 0], np.eye(2)), "cov_x must be"),
        (lambda: mo.gaussian_w2([0, 0], np.eye(2), [0], np.eye(2)), "mean_y must be"),
        (lambda: mo.gaussian_w2([0, 0], [[1, 2], [0, 1]], [0, 0], np.eye(2)), "cov_x must be a symmetric"),
        (lambda: mo.gaussian_w2([0, 0], np.eye(2), [0, 0], [[1, 2], [2, 1]]), "cov_y must have no negative"),
        (lambda: mo.gaussian_w2([0, np.inf], np.eye(2), [0, 0], np.eye(2)), "mean_x must be finite"),
        (lambda: mo.displacement(LINE, LINE, 1.5), r"t must lie in \[0, 1\]"),
        (lambda: mo.displacement(LINE, LINE, np.nan), r"t must lie in \[0, 1\]"),
        (lambda: mo.displacement(LINE, LINE[:3], 0.5), "same number of samples"),
        (lambda: mo.barycentre([], []), "clouds must hold"),
        (lambda: mo.barycentre([LINE, LINE[:3]], [0.5, 0.5]), "same number of samples"),
        (lambda: mo.barycentre([LINE, LINE], [0.5, 0.6]), "weights must .* sum to 1"),
        (lambda: mo.barycentre([LINE, LINE], [1.0]), "weights must hold 2 numbers"),
        (lambda: mo.barycentre([LINE, LINE], [0.5, 0.5], steps=0), "steps must be at least 1"),
        (lambda: mo.sinkhorn(LINE, np.zeros((4, 2)), epsilon=1.0), "same number of columns"),
        (lambda: mo.sinkhorn(LINE, LINE, epsilon=0.0), "epsilon must be positive"),
        (lambda: mo.sinkhorn(LINE, LINE + 1, epsilon=1e-12), "epsilon must be at least 1e-09 of the squared"),
        (lambda: mo.sinkhorn(LINE, LINE, epsilon=1.0, tol=-1.0), "tol must be positive"),
        (lambda: mo.sinkhorn(LINE, LINE, epsilon=1.0, scaling=1.0), r"scaling must be in \[0, 1\)"),
        (lambda: mo.sinkhorn(LINE, LINE, epsilon=1.0, max_steps=0), "max_steps must be at least 1"),
        (lambda: mo.sinkhorn(LINE, LINE, epsilon=1.0, x_weights=[0, 0, 0, 0]), "x_weights must"),
        (lambda: mo.sinkhorn(LINE, LINE, epsilon=1.0).map([[0.0, 1.0]]), "x must be an array of shape"),
        (lambda: mo.sinkhorn_divergence(LINE, np.full((2, 1), np.nan), epsilon=1.0), "y must be finite"),
    ],
)
def test_bad_input_gets_a_clear_answer(call, message):
    with pytest.raises(ValueError, match=message):
        call()
