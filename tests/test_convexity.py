"""Certificates of convexity against linear programming, brute force and POT; repairs against known maps."""

import pickle
from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linprog

import mini_ot as mo
from mini_ot._cycles import shorten, shortest_paths
from mini_ot.convexity import largest_convex_step, optimality_gap


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


CORNERS = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])


def smooth_triangle(x):
    """Gradient of |x|^2 / 4 + 0.3 log sum_k exp(<corner_k, x> / 0.3), a convex function."""
    a = x @ CORNERS.T / 0.3
    weight = np.exp(a - a.max(axis=1, keepdims=True))
    return 0.5 * x + weight / weight.sum(axis=1, keepdims=True) @ CORNERS


def rms(a, b):
    return np.sqrt(((a - b) ** 2).sum(axis=1).mean())


def feasible(x, tx, slack=None):
    """Whether some phi satisfies all inequalities, by linear programming."""
    n = len(x)
    rows, bounds = [], []
    for i in range(n):
        for j in range(n):
            if i != j:
                row = np.zeros(n)
                row[i], row[j] = 1.0, -1.0
                rows.append(row)
                bounds.append(-(tx[i] @ (x[j] - x[i])) - (0.0 if slack is None else slack(i, j)))
    return linprog(np.zeros(n), A_ub=rows, b_ub=bounds, bounds=(None, None)).status == 0


def best_pairing(x, tx):
    """The smallest mean squared distance over all permutations, one after the other."""
    return min(((x - tx[list(p)]) ** 2).sum(axis=1).mean() for p in permutations(range(len(x))))


def cloud(rng, n=6, d=2):
    """Pairs that are about as often convex as not."""
    x = rng.standard_normal((n, d))
    return x, x @ np.diag(np.arange(1, d + 1)) + rng.uniform(0, 1.2) * rng.standard_normal((n, d))


def test_agrees_with_linear_programming_and_brute_force(rng):
    seen = []
    for _ in range(60):
        x, tx = cloud(rng, d=int(rng.integers(1, 4)))
        c = mo.certify_convex(x, tx)
        seen.append(c.is_monotone)
        assert c.is_monotone == feasible(x, tx)
        gap = ((x - tx) ** 2).sum(axis=1).mean() - best_pairing(x, tx)
        assert np.isclose(c.optimality_gap, gap, atol=1e-12)
        assert c.is_monotone == (gap < 1e-12)
    assert 15 < sum(seen) < 45


def test_potentials_and_cycles_prove_what_they_say(rng):
    for _ in range(40):
        x, tx = cloud(rng, n=30)
        x, tx = (x, tx) if rng.random() < 0.5 else (x, tx[mo.assignment(x, tx)])
        c = mo.certify_convex(x, tx)
        scale = np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean() * ((tx - tx.mean(0)) ** 2).sum(1).mean())
        if c.is_monotone:
            phi = c.potentials
            excess = phi[:, None] + (tx[:, None] * (x - x[:, None])).sum(axis=2) - phi  # (i, j)
            assert excess.max() <= 1e-9 * scale
            assert abs(phi.mean()) < 1e-12
            assert c.cycle is None
        else:
            after = np.roll(c.cycle, -1)
            assert len(set(c.cycle.tolist())) == len(c.cycle) >= 2
            weight = (tx[c.cycle] * (x[c.cycle] - x[after])).sum()
            assert weight < 0
            assert np.isclose(c.violation, -weight / scale)
            better = tx.copy()
            better[after] = tx[c.cycle]
            assert ((x - better) ** 2).sum() < ((x - tx) ** 2).sum()


def test_gap_is_that_of_pot():
    import ot

    x = np.random.default_rng(0).standard_normal((200, 2))
    tx = smooth_triangle(x @ turn(0.7))
    weight = ot.unif(200)
    exact = ((x - tx) ** 2).sum(axis=1).mean() - ot.emd2(weight, weight, ot.dist(x, tx))
    assert np.isclose(mo.certify_convex(x, tx).optimality_gap, exact, atol=1e-9)
    assert exact > 0.3
    assert np.isclose(optimality_gap(x + 1e6, tx - 1e6), exact, rtol=1e-6)  # shifts change nothing


@pytest.mark.parametrize("d", [1, 2, 5])
def test_gradients_of_convex_functions_certify(d, rng):
    x = rng.standard_normal((60, d))
    for tx in (x, x**3, np.sign(x) + x, x @ np.diag(np.arange(d)), np.ones_like(x), x / (1 + x**2) ** 0.5):
        c = mo.certify_convex(x, tx)
        assert c.is_monotone
        assert c.optimality_gap < 1e-12
        assert c.violation < 1e-12
        # What holds for T as the gradient of phi holds for its inverse and the Legendre transform.
        assert mo.certify_convex(tx, x).is_monotone


@pytest.mark.jit
def test_potential_is_close_to_the_true_function(rng):
    x = rng.standard_normal((400, 2))
    c = mo.certify_convex(x, smooth_triangle(x))
    true = 0.25 * (x**2).sum(axis=1) + 0.3 * np.log(np.exp(x @ CORNERS.T / 0.3).sum(axis=1))
    error = c.potentials - true
    assert np.std(error) < 0.06 * np.std(true)  # the sum of what the planes leave open
    line = np.linspace(0, 1, 200)  # the trapezoid rule: second order
    error = mo.certify_convex(line, line**3).potentials - line**4 / 4
    assert np.ptp(error) < 2e-5


@pytest.mark.parametrize("k", [3, 4, 5, 8, 13])
def test_rotations_fail_by_cycles_of_their_length(k):
    """Of a regular k-gon the rotation by a is monotone exactly up to a = pi / k."""
    corner = 2 * np.pi * np.arange(k) / k
    x = np.c_[np.cos(corner), np.sin(corner)]
    assert mo.certify_convex(x, x @ turn(0.999 * np.pi / k).T).is_monotone
    c = mo.certify_convex(x, x @ turn(1.001 * np.pi / k).T)
    assert len(c.cycle) == k
    # The cycle runs the way that the rotation goes.
    assert all((c.cycle + 1) % k == np.roll(c.cycle, -1)) or all((c.cycle - 1) % k == np.roll(c.cycle, -1))


def test_right_angles_fail_in_pairs(rng):
    x = rng.standard_normal((50, 2))
    assert len(mo.certify_convex(x, x @ turn(2.0).T).cycle) == 2
    assert mo.certify_convex(x, -x).cycle is not None


def test_cycles_run_from_parent_to_child():
    corner = 2 * np.pi * np.arange(7) / 7
    x = np.c_[np.cos(corner), np.sin(corner)]
    t = x @ turn(0.5).T
    for a, b in ((x, t), (t, x)):  # the map and its inverse
        cycle = shortest_paths(a, b, (a * b).sum(axis=1), 0, 1e-9)[1]
        assert (b[cycle] * (a[cycle] - a[np.roll(cycle, -1)])).sum() < 0


def test_shortened_cycles_are_cycles_that_violate_more():
    corner = 2 * np.pi * np.arange(12) / 12
    x = np.c_[np.cos(corner), np.sin(corner)]
    t = x @ turn(1.9).T
    x, t = x - x.mean(0), t - t.mean(0)

    def mean(cycle):
        return (t[cycle] * (x[cycle] - x[np.roll(cycle, -1)])).sum() / len(cycle)

    for start in (np.arange(12), np.arange(12)[::-1]):
        if mean(start) < 0:
            short = shorten(start, x, t)
            assert mean(short) <= mean(start)
            assert set(short) <= set(start)


def test_interpolant(rng):
    x = rng.standard_normal((80, 2))
    tx = smooth_triangle(x)
    c = mo.certify_convex(x, tx)
    f = c.interpolant
    assert np.allclose(f(x), c.potentials)
    assert np.allclose(f.gradient(x), tx)
    z = rng.standard_normal((30, 2))
    planes = c.potentials + ((z[:, None] - x) * tx).sum(axis=2)
    assert np.allclose(f(z), planes.max(axis=1))
    assert np.allclose(f.gradient(z), tx[planes.argmax(axis=1)])
    a, b = z[:15], z[15:]
    assert (f((a + b) / 2) <= (f(a) + f(b)) / 2 + 1e-12).all()
    assert rms(f.gradient(z), smooth_triangle(z)) < rms(tx.mean(axis=0) + 0 * z, smooth_triangle(z)) / 3


def test_smooth_and_strongly_convex_form(rng):
    """The conditions of Taylor, Hendrickx and Glineur by linear programming, against changed pairs."""
    L, mu, seen = 3.0, 0.5, []
    for _ in range(40):
        x = rng.standard_normal((5, 2))
        tx = 1.5 * x + 0.5 * rng.standard_normal((5, 2))

        def slack(i, j, x=x, tx=tx):  # f_j >= f_i + <T_i, x_j - x_i> + this, their theorem 4
            g, z = tx[i] - tx[j], x[i] - x[j]
            return (g @ g / L + mu * z @ z - 2 * mu / L * g @ z) / (2 * (1 - mu / L))

        seen.append(mo.certify_convex(L * x - tx, tx - mu * x).is_monotone)
        assert seen[-1] == feasible(x, tx, slack)
    assert 5 < sum(seen) < 35


def test_degenerate_clouds():
    assert mo.certify_convex([[1.0, 2.0]], [[3.0, 4.0]]).potentials.tolist() == [0.0]
    one = np.full((5, 2), 0.1)
    assert mo.certify_convex(one, np.random.default_rng(0).standard_normal((5, 2))).is_monotone  # a kink
    assert mo.certify_convex(np.random.default_rng(0).standard_normal((5, 2)), one).is_monotone  # a plane
    x = np.repeat(np.random.default_rng(1).standard_normal((20, 2)), 2, axis=0)
    assert mo.certify_convex(x, x**3).is_monotone
    line = np.outer(np.linspace(-1, 1, 30), [1.0, 2.0])
    assert mo.certify_convex(line, 3 * line).is_monotone
    assert mo.certify_convex(line, -line).cycle is not None
    far = np.random.default_rng(2).standard_normal((50, 2))
    assert mo.certify_convex(far + 1e7, far**3 - 1e7).is_monotone
    assert mo.certify_convex(1e-9 * far, 1e-9 * far**3).is_monotone
    assert mo.certify_convex(1e9 * far, far @ turn(0.5).T).cycle is not None


def test_single_precision_and_tolerance(rng):
    x = rng.standard_normal((100, 2)).astype(np.float32)
    tx = (1.7 * x + np.float32(0.3)).astype(np.float32)
    assert mo.certify_convex(x, tx).is_monotone
    assert mo.certify_convex(x, tx).tolerance == 1e-6
    x = rng.standard_normal((100, 1))
    noisy = x + 1e-3 * rng.standard_normal((100, 1))
    assert not mo.certify_convex(x, noisy).is_monotone
    assert mo.certify_convex(x, noisy, tolerance=1e-2).is_monotone


def test_certificate_speaks_and_pickles(rng):
    x = rng.standard_normal((40, 2))
    good, bad = mo.certify_convex(x, x), mo.certify_convex(x, -x)
    assert "convex" in repr(good)
    assert "not convex, a cycle of 2 points" in repr(bad)
    with pytest.raises(ValueError, match="must be certified"):
        bad.interpolant  # noqa: B018
    assert (pickle.loads(pickle.dumps(good)).potentials == good.potentials).all()
    again = mo.certify_convex(x, x)
    assert (again.potentials == good.potentials).all()


@pytest.mark.jit
def test_two_thousand_points_and_any_number_of_threads(monkeypatch):
    import mini_ot._jit as jit_module

    x = np.random.default_rng(0).standard_normal((2000, 2))
    c = mo.certify_convex(x, smooth_triangle(x))
    assert c.is_monotone
    assert not mo.certify_convex(x, smooth_triangle(x @ turn(0.1))).is_monotone
    monkeypatch.setattr(jit_module, "num_threads", lambda: 3)
    assert (mo.certify_convex(x, smooth_triangle(x)).potentials == c.potentials).all()


# ---- the step rule ----


def test_largest_step_in_one_dimension_is_the_closed_form(rng):
    """On the line monotone is cyclically monotone: beta >= -min (z_j - z_i) / (g_j - g_i) over neighbours."""
    z = np.sort(rng.standard_normal(40))
    g = np.tanh(3 * z)
    assert np.isclose(largest_convex_step(z, g, -50.0), -(np.diff(z) / np.diff(g)).min())


def test_largest_step_is_the_end_of_what_is_certified(rng):
    z = rng.standard_normal((60, 2))
    r2 = (z**2).sum(axis=1, keepdims=True)
    g = z / np.sqrt(r2 + 0.1) @ turn(0.4).T  # turned, so that longer cycles count
    for asked in (-5.0, 5.0):
        beta = largest_convex_step(z, g, asked)
        assert 0 < beta / asked < 1
        assert mo.certify_convex(z, z + 0.9999 * beta * g).is_monotone
        assert not mo.certify_convex(z, z + 1.001 * beta * g).is_monotone
    assert largest_convex_step(z, z / np.sqrt(r2 + 0.1), 7.0) == 7.0  # F convex: any beta will do
    assert largest_convex_step(z, g, -1e-3) == -1e-3
    assert largest_convex_step(z, g, 0.0) == 0.0
    assert largest_convex_step(np.zeros((3, 2)), np.ones((3, 2)), -1.0) == -1.0  # one point cannot fold


# ---- the sum of convex functions ----


def test_convex_combination_map_keeps_the_contract(rng):
    """As in test_maps.py: round trip, log-determinant, potential, pickling."""
    for d in (1, 2, 3):
        x = rng.standard_normal((120, d))
        T = mo.convex_combination_map(x, np.sign(x) + 0.5 * x, planes=30)
        z = 2 * rng.standard_normal((12, d))
        assert (T.beta >= 0).all()
        assert np.linalg.eigvalsh(T.matrix).min() > 0
        assert np.allclose(T.inverse(T(z)), z, atol=1e-9)
        assert np.allclose(T(T.inverse(z)), z, atol=1e-9)
        h = 1e-5
        for i, at in enumerate(z[:4]):
            shift = h * np.eye(d)
            jacobian = (T(at + shift) - T(at - shift)).T / (2 * h)
            assert np.allclose(jacobian, jacobian.T, atol=1e-5)
            assert np.isclose(T.log_det(z)[i], np.linalg.slogdet(jacobian)[1], atol=1e-5)
            slope = (T.potential(at + shift) - T.potential(at - shift)) / (2 * h)
            assert np.allclose(slope, T(at[None])[0], atol=1e-5)
        assert mo.certify_convex(z, T(z)).is_monotone
        assert (pickle.loads(pickle.dumps(T))(z) == T(z)).all()
        assert T(z.astype(np.float32)).dtype == np.float32


@pytest.mark.jit
def test_convex_combination_map_recovers_known_maps(rng):
    x, fresh = rng.standard_normal((400, 2)), rng.standard_normal((400, 2))
    A = np.array([[2.0, 0.8], [0.8, 1.0]])
    T = mo.convex_combination_map(x, x @ A + 3, planes=40)
    assert rms(T(fresh), fresh @ A + 3) < 0.02
    T = mo.convex_combination_map(x, smooth_triangle(x))
    error = rms(T(fresh), smooth_triangle(fresh))
    assert error < 0.12
    interpolant = mo.certify_convex(x, smooth_triangle(x)).interpolant
    assert error < rms(interpolant.gradient(fresh), smooth_triangle(fresh))


def test_convex_combination_map_of_pairs_that_are_not_convex(rng):
    x = rng.standard_normal((200, 2))
    T = mo.convex_combination_map(x, x @ turn(1.0).T)
    assert mo.certify_convex(x, T(x)).is_monotone
    line = np.outer(rng.standard_normal(60), [1.0, 2.0])
    T = mo.convex_combination_map(line, 2 * line)
    assert rms(T(line), 2 * line) < 0.05
    assert np.allclose(T.inverse(T(line)), line)


# ---- the repair of composed flows ----


def test_straightening_gaussians_finds_the_gaussian_optimal_map(rng):
    x, y = rng.standard_normal((300, 2)), rng.standard_normal((300, 2)) @ [[2.0, 1.9], [0.0, 0.3]]
    best = mo.affine_map(x, y)
    white, colour = mo.affine_map(x), mo.affine_map(y)
    start = colour.inverse(white(x) @ turn(1.5).T)  # right mean and covariance, wrong map
    assert np.allclose(np.cov(start.T), np.cov(y.T))
    T = mo.straighten(x, start, y, solver=mo.affine_map, legs=3, rounds=8)
    assert rms(start, best(x)) > 1
    assert rms(T(x), best(x)) < 1e-4
    gap, cost = T.history["gap"], T.history["cost"]
    assert len(gap) == len(cost) == 9
    assert gap[0] > 0.5
    assert gap[-1] < 1e-12
    assert (np.diff(cost) < 1e-9).all()  # exact legs: the way never gets longer
    assert len(T.steps) == 3


@pytest.mark.jit
def test_straightening_a_turned_convex_gradient(rng):
    x = rng.standard_normal((300, 2))
    start = smooth_triangle(x @ turn(0.5).T)

    def solver(a, b):
        return mo.convex_combination_map(a, b[mo.assignment(a, b)], planes=100)

    T = mo.straighten(x, start, solver=solver, legs=2, rounds=2)
    assert rms(start, smooth_triangle(x)) > 1
    assert rms(T(x), smooth_triangle(x)) < 0.5
    assert T.history["gap"][-1] < 0.1 * T.history["gap"][0]
    again = mo.straighten(x, T, solver=solver, legs=2, rounds=1)  # a Map will do too
    assert np.isclose(again.history["cost"][0], T.history["cost"][-1])


@pytest.mark.jit
def test_straightening_by_the_data_driven_flow(rng):
    """The default solver brings a turned map near the known gradient."""
    x, y = rng.standard_normal((500, 2)), smooth_triangle(rng.standard_normal((500, 2)))
    start = smooth_triangle(x @ turn(0.5).T)
    T = mo.straighten(x, start, y, rounds=2)
    assert T.history["gap"][-1] < 0.05 * T.history["gap"][0]
    assert rms(T(x), smooth_triangle(x)) < 0.4 * rms(start, smooth_triangle(x))
    assert np.allclose(T.inverse(T(x[:20])), x[:20], atol=1e-6)


def test_interrupted_straightening_returns_the_rounds_so_far(rng):
    x, calls = rng.standard_normal((50, 2)), []

    def solver(a, b):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return mo.affine_map(a, b)

    with pytest.warns(RuntimeWarning, match="1 of 5 rounds"):
        T = mo.straighten(x, x @ turn(1.0).T, solver=solver, legs=3, rounds=5)
    assert len(T.history["gap"]) == 2
    calls[:] = [1] * 3
    with pytest.raises(KeyboardInterrupt):
        mo.straighten(x, x @ turn(1.0).T, solver=solver, legs=3, rounds=5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mo.certify_convex([[0.0, 1.0]], [[0.0]]), ValueError, "tx must have the shape of x"),
        (lambda: mo.certify_convex([0.0, np.nan], [0.0, 1.0]), ValueError, "x must be finite"),
        (lambda: mo.certify_convex([0.0, 1.0], [0.0, np.inf]), ValueError, "tx must be finite"),
        (lambda: mo.certify_convex([0.0], [0.0], tolerance=0.0), ValueError, "tolerance must be positive"),
        (lambda: mo.certify_convex("ab", [0.0]), TypeError, "x must be"),
        (lambda: mo.certify_convex([0.0], [0.0]).interpolant([[0.0, 1.0]]), ValueError, "points must be"),
        (lambda: largest_convex_step([0.0, 1.0], [0.0, 1.0], np.nan), ValueError, "beta must be finite"),
        (lambda: largest_convex_step([0.0, 1.0], [0.0], -1.0), ValueError, "gradient must have"),
        (lambda: mo.convex_combination_map(np.zeros((9, 2)), np.ones((9, 2))), ValueError, "one point"),
        (lambda: mo.convex_combination_map(np.eye(9), np.zeros((9, 9))), ValueError, "tx must not be one"),
        (lambda: mo.convex_combination_map([0.0, 1.0], [0.0, 1.0]), ValueError, "n >= 4"),
        (lambda: mo.convex_combination_map(np.eye(9), np.eye(9), planes=0), ValueError, "planes must be"),
        (lambda: mo.straighten(np.eye(3), np.eye(2)), ValueError, "tx must be an array"),
        (lambda: mo.straighten(np.eye(3), np.eye(3)[:2]), ValueError, "as many samples as x"),
        (lambda: mo.straighten(np.eye(3), np.eye(3), legs=0), ValueError, "legs must be at least 1"),
        (lambda: mo.straighten(np.eye(3), np.eye(3), solver=3), TypeError, "solver must be"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
