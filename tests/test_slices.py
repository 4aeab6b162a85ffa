"""The sliced energy gradient against all pairs, on the line and in space, and the flow that uses it."""

import pickle

import numpy as np
import pytest

import mini_ot as mo
from mini_ot import _slices, sliced


def brute(points, x, y, directions):
    """The slope of each one-dimensional witness from all pairs, times the direction, averaged."""
    total = np.zeros(points.shape)
    for one in directions:
        t, a, b = points @ one, x @ one, y @ one
        slope = np.sign(t[:, None] - b).mean(axis=1) - np.sign(t[:, None] - a).mean(axis=1)
        total += slope[:, None] * one
    return total / len(directions)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 9), (30, 7), (40, 40)])
def test_on_the_line_it_is_the_witness_of_all_pairs(n, m, rng):
    x, y = rng.standard_normal(n), rng.standard_normal(m) + 0.5
    exact = mo.witness(x, y, kernel=mo.Energy()).gradient(x)
    assert np.allclose(mo.sliced_energy_gradient(x, y, slices=1, rng=0), exact, atol=1e-14)


def test_ties_count_half(rng):
    """Ties within x, within y and between both: a point that meets another feels nothing of it."""
    x, y = rng.integers(4, size=30).astype(float), rng.integers(5, size=20).astype(float)
    ours = mo.sliced_energy_gradient(x, y, slices=1)
    assert np.allclose(ours, brute(x[:, None], x[:, None], y[:, None], np.ones((1, 1))), atol=1e-14)


@pytest.mark.parametrize("d", [2, 3, 7])
def test_sorting_is_all_pairs_on_every_direction(d, rng):
    x, y, new = (rng.standard_normal((n, d)) for n in (25, 40, 11))
    y[:5], x[7] = x[:5], x[8]
    new[:3] = x[:3]
    directions = sliced._spread_out(9, d, rng)
    assert np.allclose(_slices.sorted_slopes(x, x, y, directions), brute(x, x, y, directions), atol=1e-14)
    assert np.allclose(_slices.sorted_slopes(new, x, y, directions), brute(new, x, y, directions), atol=1e-14)


def test_one_far_point_does_not_hurt(rng):
    """Then nearly all projections agree in the upper 22 of 32 bits, and the last digits decide."""
    x, y = (rng.integers(-1000, 1000, size=n) / 250 for n in (300, 200))  # steps of 8 times the resolution
    y[0] = 1e6
    exact = brute(x[:, None], x[:, None], y[:, None], np.ones((1, 1)))
    assert np.allclose(mo.sliced_energy_gradient(x, y, slices=1), exact, atol=1e-14)


@pytest.mark.parametrize("order", ["up", "down", "random"])
def test_the_sort_sorts(order, rng):
    for high in (2**32, 2**10, 3):
        key = rng.integers(high, size=500)
        key = {"up": np.sort(key), "down": np.sort(key)[::-1], "random": key}[order]
        packed = (key.astype(np.int64) << 30) | np.arange(500)
        out = _slices._sort(packed.copy(), np.empty_like(packed))
        assert (np.diff(out >> 30) >= 0).all()
        assert np.array_equal(np.sort(out), np.sort(packed))


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1.0, 1e150])
def test_the_unit_does_not_matter(scale, rng):
    x, y = rng.standard_normal((20, 2)), rng.standard_normal((30, 2))
    one = mo.sliced_energy_gradient(x, y, slices=5, rng=0)
    assert np.allclose(mo.sliced_energy_gradient(scale * x, scale * y, slices=5, rng=0), one, atol=1e-12)
    assert np.allclose(mo.sliced_energy_gradient(x + 7, y + 7, slices=5, rng=0), one, atol=1e-12)


@pytest.mark.jit
@pytest.mark.parametrize(("d", "slices", "error"), [(2, 400, 2e-3), (3, 4000, 0.05), (8, 8000, 0.1)])
def test_many_slices_give_the_energy_witness(d, slices, error, rng):
    """Check the constant in |x| = c_d E|<x, s>| too."""
    x, y = rng.standard_normal((200, d)), rng.standard_normal((300, d)) + 0.7
    exact = mo.witness(x, y, kernel=mo.Energy()).gradient(x)
    ours = mo.sliced_energy_gradient(x, y, slices=slices, rng=1)
    assert np.linalg.norm(ours - exact) < error * np.linalg.norm(exact)


def test_the_constant_and_the_directions(rng):
    assert np.isclose(sliced._factor(1), 1.0)
    assert np.isclose(sliced._factor(2), np.pi / 2)
    assert np.isclose(sliced._factor(3), 2.0)
    for d in (1, 2, 3, 10):
        directions = sliced._spread_out(25, d, rng)
        assert directions.shape == (25, d)
        assert np.allclose(np.linalg.norm(directions, axis=1), 1.0)
    frame = sliced._spread_out(3, 3, rng)
    assert np.allclose(frame @ frame.T, np.eye(3))


@pytest.mark.jit
def test_directions_in_space_are_uniform():
    many = np.concatenate([sliced._spread_out(3, 3, np.random.default_rng(k)) for k in range(4000)])
    # On the sphere of R^3 every coordinate is uniform on [-1, 1]; either sign of a direction is as good.
    for k in range(3):
        share = np.histogram(np.abs(many[:, k]), bins=5, range=(0, 1))[0] / len(many)
        assert np.abs(share - 0.2).max() < 0.015


# --- the flow -----------------------------------------------------------------------------------------------


def flow_by_hand(x, y, flow, momentum):
    """The same flow with the slopes of all pairs."""
    z, v = x, 0.0
    for k, step in enumerate(flow.history["step"]):
        v = momentum * v - step * sliced._factor(2) * brute(z, z, y, flow._directions[k % 8])
        z = z + v
    return z


@pytest.mark.parametrize("cells", [True, False])
def test_flow_is_the_formula(cells, rng):
    x, y = rng.standard_normal((12, 2)), rng.uniform(-3, 3, (15, 2))
    far = np.array([[0.0, 1e4]])  # makes cells too coarse, so that the projections are sorted
    flow = mo.sliced_mmd_flow(
        x, y if cells else np.r_[y, far], slices=3, steps=5, step=0.5, momentum=0.6, rng=0
    )
    assert (flow._targets[0] is not None) == cells
    z = flow_by_hand(x, y if cells else np.r_[y, far], flow, 0.6)
    assert np.allclose(flow.particles, z, atol=0.02 if cells else 0.01)
    assert np.array_equal(flow(x), flow.particles)
    assert np.array_equal(flow(x[3:5]), flow.particles[3:5])
    assert np.allclose(flow.trajectory[0], x, atol=1e-5 if cells else 1e-2)
    assert np.array_equal(flow.trajectory[-1], flow.particles)
    assert np.array_equal(pickle.loads(pickle.dumps(flow))(x), flow(x))


@pytest.mark.jit
def test_checkerboard_in_a_tenth_of_a_second():
    board = mo.Checkerboard()
    x, y = mo.StandardNormal().sample(4000, rng=0), board.sample(4000, rng=1)
    flow = mo.sliced_mmd_flow(x, y, rng=2)
    assert board.dark(flow.particles).mean() > 0.93
    assert board.dark(flow(mo.StandardNormal().sample(4000, rng=3))).mean() > 0.93


@pytest.mark.jit
@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_flow_has_no_unit(scale):
    for d in (1, 3, 10):
        x, y = mo.StandardNormal(d).sample(300, rng=0), mo.StandardNormal(d).sample(200, rng=1) + 3
        flow = mo.sliced_mmd_flow(scale * x, scale * y, rng=0)
        assert mo.energy_distance(flow.particles / scale, y) < 0.02


@pytest.mark.jit
def test_same_bits_for_any_number_of_threads(monkeypatch):
    from mini_ot import _jit

    x, y = mo.StandardNormal().sample(3000, rng=0), mo.Banana().sample(5000, rng=1)
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(_jit, "num_threads", lambda threads=threads: threads)
        gradient = mo.sliced_energy_gradient(x, y, slices=50, rng=0)
        results.append((gradient, mo.sliced_mmd_flow(x, y, steps=5, rng=0).particles))
    for gradient, particles in results[1:]:
        assert np.array_equal(gradient, results[0][0])
        assert np.array_equal(particles, results[0][1])


def test_degenerate_clouds(rng):
    x = rng.standard_normal((6, 2))
    one = np.ones((1, 2))
    assert (mo.sliced_energy_gradient(np.ones((3, 2)), one) == 0).all()
    assert np.isfinite(mo.sliced_mmd_flow(np.ones((3, 2)), one, steps=3).particles).all()
    assert np.isfinite(mo.sliced_mmd_flow(x, one, slices=4, steps=20, rng=0).particles).all()
    line = np.c_[x[:, 0], 0 * x[:, 0]]
    assert np.allclose(
        mo.sliced_mmd_flow(line, line + [1, 0], slices=2, steps=3, rng=0).particles.shape, (6, 2)
    )


def test_interrupted_flow_is_returned(rng, monkeypatch):
    x, y = rng.standard_normal((9, 2)), rng.standard_normal((8, 2))
    whole = sliced.SlicedFlow._slope

    def tired(self, k, points, cloud):
        if k == 3 and points is cloud:
            raise KeyboardInterrupt
        return whole(self, k, points, cloud)

    monkeypatch.setattr(sliced.SlicedFlow, "_slope", tired)
    with pytest.warns(RuntimeWarning, match="flow of 3 of 7 steps"):
        flow = mo.sliced_mmd_flow(x, y, steps=7, rng=0)
    monkeypatch.undo()
    assert flow.trajectory.shape == (4, 9, 2)
    assert np.array_equal(flow(x), flow.particles)


def test_what_it_cannot_do_is_said(rng):
    x = rng.standard_normal((5, 2))
    flow = mo.sliced_mmd_flow(x, x + 1, slices=2, steps=2, rng=0)
    with pytest.raises(NotImplementedError, match="no inverse: its steps jump"):
        flow.inverse(x)
    with pytest.raises(NotImplementedError, match="step function of the place"):
        flow.log_det(x)


def test_float32_and_seeds(rng):
    x, y = rng.standard_normal((9, 2)), rng.standard_normal((8, 2))
    assert mo.sliced_energy_gradient(x.astype(np.float32), y.astype(np.float32), rng=0).dtype == np.float32
    assert mo.sliced_mmd_flow(x, y, steps=2, rng=0)(x.astype(np.float32)).dtype == np.float32
    one, two = (mo.sliced_mmd_flow(x, y, steps=2, rng=4).particles for _ in range(2))
    assert np.array_equal(one, two)


X = np.zeros((4, 2))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mo.sliced_energy_gradient(X, np.zeros((4, 3))), ValueError, "same number of columns"),
        (lambda: mo.sliced_energy_gradient(X, X, slices=0), ValueError, "slices must be at least 1"),
        (lambda: mo.sliced_energy_gradient(X, [[np.nan, 1.0]]), ValueError, "y must be finite"),
        (lambda: mo.sliced_mmd_flow(X, X, steps=1.5), TypeError, "steps must be a whole number"),
        (lambda: mo.sliced_mmd_flow(X, X, step=0.0), ValueError, "step must be positive"),
        (lambda: mo.sliced_mmd_flow(X, X, momentum=1.0), ValueError, "momentum must be"),
        (lambda: mo.sliced_mmd_flow(X, X, rng="x"), TypeError, "rng must be"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
