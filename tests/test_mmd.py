"""The MMD against closed forms, the permutation test against its own promise, the flow against calculus."""

import pickle
import warnings

import numpy as np
import pytest

import mini_ot as mo

KERNELS = [
    mo.Gaussian(0.7),
    mo.Laplace(0.9),
    mo.InverseMultiquadric(0.5),
    mo.Energy(),
    mo.Mixture([mo.Gaussian(0.3), mo.InverseMultiquadric(2.0)], weights=[1.0, 3.0]),
]
SMOOTH = [KERNELS[0], KERNELS[2], KERNELS[4]]


def kernel_id(kernel):
    return type(kernel).__name__


def clouds(rng, n=14, m=19, d=2, shift=0.5):
    return rng.standard_normal((n, d)), rng.standard_normal((m, d)) + shift


def brute_mmd2(x, y, kernel, unbiased):
    n, m, own = len(x), len(y), int(unbiased)
    xx, yy = kernel(x, x), kernel(y, y)
    if unbiased:
        np.fill_diagonal(xx, 0.0)
        np.fill_diagonal(yy, 0.0)
    return xx.sum() / (n * (n - own)) + yy.sum() / (m * (m - own)) - 2 * kernel(x, y).mean()


@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
@pytest.mark.parametrize("unbiased", [True, False])
def test_mmd2_is_that_of_the_full_tables(kernel, unbiased, rng):
    x, y = clouds(rng)
    assert np.isclose(mo.mmd2(x, y, kernel=kernel, unbiased=unbiased), brute_mmd2(x, y, kernel, unbiased))


@pytest.mark.parametrize("unbiased", [True, False])
def test_mmd2_of_the_energy_kernel_is_the_energy_distance(unbiased, rng):
    x, y = clouds(rng, d=3)
    ours = mo.mmd2(x, y, kernel=mo.Energy(), unbiased=unbiased)
    assert np.isclose(ours, mo.energy_distance(x, y, unbiased=unbiased), rtol=1e-12)


@pytest.mark.jit
def test_mmd2_of_two_gaussian_laws():
    """E k(x, y) = (h^2 / v)^(d/2) exp(-|a - b|^2 / 2v) for N(a, s^2 I), N(b, t^2 I); v = h^2 + s^2 + t^2."""
    h, s, t, gap, d = 0.8, 1.0, 0.6, 0.7, 2

    def mean(variance, distance):
        v = h**2 + variance
        return (h**2 / v) ** (d / 2) * np.exp(-(distance**2) / (2 * v))

    truth = mean(2 * s**2, 0) + mean(2 * t**2, 0) - 2 * mean(s**2 + t**2, gap)
    values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = s * rng.standard_normal((200, d)), t * rng.standard_normal((300, d)) + [gap, 0]
        values.append(mo.mmd2(x, y, kernel=mo.Gaussian(h)))
    assert abs(np.mean(values) - truth) < 4 * np.std(values) / np.sqrt(len(values))
    assert np.std(values) / np.sqrt(len(values)) < 0.05 * truth


def test_biased_mmd2_is_never_negative_and_zero_for_equal_clouds(rng):
    x, _ = clouds(rng)
    for kernel in KERNELS:
        assert abs(mo.mmd2(x, x[::-1], kernel=kernel, unbiased=False)) < 1e-14
        assert mo.mmd2(x, x + 1e-3, kernel=kernel, unbiased=False) > 0
        assert mo.mmd2(x, x + 1e-3, kernel=kernel) < 0


@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_witness_and_its_derivatives(kernel, rng):
    x, y = clouds(rng)
    w, at, h = mo.witness(x, y, kernel=kernel), rng.standard_normal((4, 2)), 1e-5
    assert np.allclose(w(at), kernel(at, x).mean(axis=1) - kernel(at, y).mean(axis=1), atol=1e-14)
    for k in range(2):
        shift = h * np.eye(2)[k]
        assert np.allclose(w.gradient(at)[:, k], (w(at + shift) - w(at - shift)) / (2 * h), atol=1e-8)
        slope = (w.gradient(at + shift) - w.gradient(at - shift)) / (2 * h)
        assert np.allclose(w.hessian(at)[:, k], slope, atol=1e-6)
    assert w(x).mean() - w(y).mean() == pytest.approx(mo.mmd2(x, y, kernel=kernel, unbiased=False))


@pytest.mark.parametrize("kernel", SMOOTH, ids=kernel_id)
def test_witness_gradient_is_that_of_half_the_mmd2(kernel, rng):
    """What makes the flow a steepest descent: d(MMD^2 / 2) / dx_i = grad w(x_i) / n."""
    x, y = clouds(rng)
    gradient, h = mo.witness(x, y, kernel=kernel).gradient(x), 1e-5
    for i, k in ((0, 0), (3, 1), (13, 0)):
        shift = np.zeros_like(x)
        shift[i, k] = h
        up, down = (mo.mmd2(x + s * shift, y, kernel=kernel, unbiased=False) for s in (1, -1))
        assert np.isclose((up - down) / (4 * h), gradient[i, k] / len(x), atol=1e-9)


# --- the test ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_every_permutation_has_the_mmd2_of_its_clouds(kernel, rng, monkeypatch):
    monkeypatch.setattr("mini_ot.mmd._TABLE", 40)  # strips of three rows
    x, y = clouds(rng, n=5, m=8)
    outcome, pool = mo.two_sample_test(x, y, kernel=kernel, permutations=4, rng=3), np.concatenate([x, y])
    assert np.isclose(outcome.mmd2, mo.mmd2(x, y, kernel=kernel))
    shuffles = np.random.default_rng(3)
    for value in outcome.null:
        mixed = shuffles.permutation(13)
        assert np.isclose(value, mo.mmd2(pool[mixed[:5]], pool[mixed[5:]], kernel=kernel))
    assert outcome.p_value == (1 + (outcome.null >= outcome.mmd2).sum()) / 5


@pytest.mark.jit
def test_level_and_power():
    """Under one law the p-value is uniform on {1/20, ..., 1}; for two laws it is small."""
    p, kernel = [], mo.Gaussian(1.0)
    for seed in range(400):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((15, 2)), rng.standard_normal((25, 2))
        p.append(mo.two_sample_test(x, y, kernel=kernel, permutations=19, rng=rng).p_value)
    for level in (0.05, 0.25, 0.5):
        sd = np.sqrt(level * (1 - level) / len(p))
        assert abs(np.mean(np.array(p) <= level + 1e-9) - level) < 3.5 * sd
    x, y = mo.Banana().sample(300, rng=0), mo.Banana().sample(300, rng=1) + [0.4, 0.0]
    assert mo.two_sample_test(x, y, kernel=kernel, rng=2).p_value < 0.02


def test_equal_points_give_p_one():
    """All shuffles are ties, in whatever order the sums are rounded."""
    x = np.full((7, 2), 0.1)
    assert mo.two_sample_test(x, x[:5], kernel=mo.Gaussian(1.0), permutations=19, rng=0).p_value == 1.0
    x = np.repeat([[0.1, 0.3], [0.7, 0.2]], 4, axis=0)
    outcome = mo.two_sample_test(x[:4], x[4:], kernel=mo.Laplace(0.3), permutations=199, rng=0)
    at_least = sum(value > outcome.mmd2 - 1e-9 for value in outcome.null)
    assert outcome.p_value == (1 + at_least) / 200


def test_the_test_is_seeded(rng):
    x, y = clouds(rng)
    one, two = (mo.two_sample_test(x, y, kernel=mo.Energy(), permutations=9, rng=5) for _ in range(2))
    assert (one.null == two.null).all()


# --- the flow ---------------------------------------------------------------------------------------------


def test_a_step_is_the_formula(rng):
    x, y = clouds(rng)
    flow = mo.mmd_flow(x, y, kernel=mo.Gaussian(0.7), step=0.2, steps=3)
    z = x
    for k in range(3):
        assert np.allclose(flow.trajectory[k], z, atol=1e-13)
        weight = np.exp(-((z[:, None] - np.r_[z, y]) ** 2).sum(axis=2) / (2 * 0.7**2)) / 0.7**2
        pull = -(z[:, None] - np.r_[z, y]) * weight[:, :, None]
        z = z - 0.2 * (pull[:, :14].mean(axis=1) - pull[:, 14:].mean(axis=1))
    assert np.allclose(flow.particles, z, atol=1e-13)
    assert np.allclose(flow(x), flow.particles, atol=1e-13)
    assert flow.trajectory.shape == (4, 14, 2)
    assert flow.history["step"] == [0.2] * 3
    for value, cloud in zip(flow.history["mmd2"], flow.trajectory, strict=True):
        assert np.isclose(value, mo.mmd2(cloud, y, kernel=mo.Gaussian(0.7), unbiased=False), atol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
@pytest.mark.parametrize("step", ["auto", 0.05, 50.0])
def test_mmd2_never_rises(kernel, step, rng):
    x, y = clouds(rng, shift=1.0)
    values = np.array(mo.mmd_flow(x, y, kernel=kernel, step=step, steps=12).history["mmd2"])
    assert (np.diff(values) <= 1e-13).all()
    assert values[-1] < 0.95 * values[0]


def test_small_steps_keep_the_promise_of_the_docstring(rng):
    """Steps of h^2 / 2 go down and are one-to-one on the whole space, from whatever clouds."""
    for h in (0.1, 1.0, 5.0):
        x, y = rng.standard_normal((8, 2)) * rng.choice([0.01, 1.0, 3.0]), np.zeros((1, 2))
        flow = mo.mmd_flow(x, y, kernel=mo.Gaussian(h), step=h**2 / 2, steps=4)
        assert flow.history["step"] == [h**2 / 2] * len(flow.steps)
        new = np.r_[x, h * rng.standard_normal((20, 2))]
        assert np.isfinite(flow.log_det(new)).all()
        assert np.allclose(flow.inverse(flow(new)), new, atol=1e-9 * max(1, h))


@pytest.mark.jit
@pytest.mark.parametrize("kernel", SMOOTH, ids=kernel_id)
def test_automatic_flow_arrives_and_is_a_map(kernel):
    x, y = mo.StandardNormal().sample(400, rng=0), mo.RingOfGaussians().sample(400, rng=1)
    flow = mo.mmd_flow(x, y, kernel=kernel, steps=80)
    assert flow.history["mmd2"][-1] < 1e-3 * flow.history["mmd2"][0]
    new = mo.StandardNormal().sample(100, rng=2)
    assert np.allclose(flow.inverse(flow(new)), new, atol=1e-8)
    assert mo.energy_distance(flow(new), y) < 0.05


@pytest.mark.jit
@pytest.mark.parametrize("kernel", SMOOTH, ids=kernel_id)
def test_automatic_steps_fold_no_particle(kernel):
    x, y = 0.2 * mo.StandardNormal().sample(120, rng=0), mo.RingOfGaussians().sample(90, rng=1)
    flow = mo.mmd_flow(x, y, kernel=kernel, steps=60)
    for step in flow.steps:
        assert np.linalg.eigvalsh(step._jacobian(step.particles)).min() > 0.5 - 1e-9


def test_inverse_of_a_step_that_nearly_folds():
    """One particle pushes: up to 1 / 0.446 the step is one-to-one, and plain Newton jumps to and fro."""
    step = mo.mmd_flow(
        np.zeros((1, 2)), np.full((1, 2), 50.0), kernel=mo.Gaussian(1.0), step=0.1, steps=1
    ).steps[0]
    step.step = 2.2
    at = np.c_[np.linspace(-4, 4, 81), np.linspace(0.0, 0.4, 81)]
    assert np.allclose(step.inverse(step(at)), at, atol=1e-7)


@pytest.mark.jit
def test_far_supports_stop_a_gaussian_and_not_the_energy_kernel():
    x, y = mo.StandardNormal().sample(200, rng=0) + [12.0, 0.0], mo.RingOfGaussians().sample(200, rng=1)
    stuck = mo.mmd_flow(x, y, kernel=mo.Gaussian(0.5), steps=100)
    free = mo.mmd_flow(x, y, kernel=mo.Energy(), steps=100)
    assert mo.energy_distance(stuck.particles, y) > 10
    assert mo.energy_distance(free.particles, y) < 0.01


def test_schedule_of_kernels(rng):
    x, y = clouds(rng)
    wide, narrow = mo.Gaussian(3.0), mo.Gaussian(0.5)
    flow = mo.mmd_flow(x, y, kernel=[wide, narrow], step=0.1, steps=6)
    assert [step.kernel for step in flow.steps] == [wide] * 3 + [narrow] * 3
    second = mo.mmd_flow(flow.trajectory[3], y, kernel=narrow, step=0.1, steps=3)
    assert np.array_equal(flow.particles, second.particles)
    assert flow.history["mmd2"][4:] == second.history["mmd2"][1:]
    before, after = mo.mmd_flow(x, y, kernel=[wide, narrow], steps=6).history["step"][2:4]
    assert after <= 1.2001 * before * (0.5 / 3.0) ** 2  # the step changes with the square of the width


def test_noise_moves_the_gradient_and_not_the_particles(rng):
    x, y = clouds(rng)
    kernel = mo.Gaussian(0.7)
    flow = mo.mmd_flow(x, y, kernel=kernel, step=0.2, steps=4, noise=[0.3, 0.0], rng=1)
    noise = np.random.default_rng(1)
    z = x
    for sd in (0.3, 0.3, 0.0, 0.0):
        jitter = sd * noise.standard_normal(z.shape) if sd else 0.0
        z = z - 0.2 * mo.witness(z, y, kernel=kernel).gradient(z + jitter)
    assert np.allclose(flow.particles, z, atol=1e-14)
    assert not np.allclose(
        flow(x), flow.particles, atol=1e-4
    )  # new points follow the gradients without noise
    again = mo.mmd_flow(x, y, kernel=kernel, step=0.2, steps=4, noise=[0.3, 0.0], rng=1)
    assert np.array_equal(flow.particles, again.particles)


def test_tolerance_stops_early(rng):
    x, y = clouds(rng)
    flow = mo.mmd_flow(x, y, kernel=mo.Gaussian(1.0), step=1e-4, steps=40, tolerance=0.5)
    assert len(flow.steps) == 11
    assert len(flow.history["mmd2"]) == 12


def test_a_flow_that_is_there_stays_there(rng):
    x, _ = clouds(rng)
    for kernel in KERNELS:
        flow = mo.mmd_flow(x, x[::-1], kernel=kernel, steps=3)
        assert np.allclose(flow.particles, x, atol=1e-7)
        assert np.allclose(flow(x), x, atol=1e-7)


def test_interrupted_flow_is_returned(rng, monkeypatch):
    x, y = clouds(rng)
    calls, gradient = [], mo.Gaussian.gradient

    def tired(self, *args):
        calls.append(1)
        if len(calls) > 6:  # two calls a step
            raise KeyboardInterrupt
        return gradient(self, *args)

    monkeypatch.setattr(mo.Gaussian, "gradient", tired)
    with pytest.warns(RuntimeWarning, match="flow of 3 of 9 steps"):
        flow = mo.mmd_flow(x, y, kernel=mo.Gaussian(1.0), step=0.1, steps=9)
    with pytest.warns(RuntimeWarning, match="flow of 0 of 9 steps"):
        nothing = mo.mmd_flow(x, y, kernel=mo.Gaussian(1.0), step=0.1, steps=9)
    monkeypatch.undo()
    assert len(flow.steps) == 3 and np.allclose(flow(x), flow.particles)
    assert np.array_equal(nothing(x), x)


def test_folds_are_told(rng):
    x, y = np.zeros((1, 2)), np.ones((1, 2))
    step = mo.mmd_flow(x, y, kernel=mo.Gaussian(1.0), step=0.5, steps=1).steps[0]
    step.step = 30.0
    with pytest.raises(ValueError, match="folds"):
        step.log_det(y)
    energy = mo.mmd_flow(*clouds(rng), kernel=mo.Energy(), step=0.5, steps=1)
    hidden = energy.particles.copy()
    with pytest.raises(ValueError, match="y must be an image of this map"):
        energy.inverse(hidden)  # the particles sit where their own repulsion jumps


def test_divergence_is_told(rng):
    x, y = clouds(rng)
    with pytest.raises(ValueError, match="the flow diverges"):
        mo.mmd_flow(x, y, kernel=mo.Energy(), step=1e4, steps=5, noise=1.0, rng=0)


def test_one_point_and_repeated_points(rng):
    x = rng.standard_normal((6, 2))
    for kernel in KERNELS:
        flow = mo.mmd_flow(x, np.ones((1, 2)), kernel=kernel, steps=150)
        assert np.isfinite(flow.particles).all()
        assert flow.history["mmd2"][-1] < 0.7 * flow.history["mmd2"][0]
        flow = mo.mmd_flow(np.zeros((3, 2)), np.repeat(x, 2, axis=0), kernel=kernel, steps=5)
        assert np.isfinite(flow.particles).all()


def test_flow_pickles_and_takes_float32(rng):
    x, y = clouds(rng)
    flow = mo.mmd_flow(x.astype(np.float32), y.astype(np.float32), kernel=mo.Gaussian(1.0), steps=3)
    assert np.array_equal(pickle.loads(pickle.dumps(flow))(x), flow(x))
    assert flow(x.astype(np.float32)).dtype == np.float32


@pytest.mark.jit
def test_same_bits_for_any_number_of_threads(monkeypatch):
    from mini_ot import _jit

    x, y = mo.StandardNormal().sample(1500, rng=0), mo.Banana().sample(1500, rng=1)
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(_jit, "num_threads", lambda threads=threads: threads)
        flow = mo.mmd_flow(x, y, kernel=mo.Gaussian(1.0), steps=3, noise=0.1, rng=0)
        results.append((flow.particles, flow.history["mmd2"]))
    for particles, values in results[1:]:
        assert np.array_equal(particles, results[0][0])
        assert values == results[0][1]


# --- adaptive kernels ---------------------------------------------------------------------------------------


@pytest.mark.jit
def test_adaptive_kernels_narrow_with_the_noise():
    y = mo.RingOfGaussians().sample(800, rng=0)
    found = mo.adaptive_kernels(y, levels=10, rng=1)
    levels = [level for level, _ in found]
    widths = [kernel.bandwidth for _, kernel in found]
    assert levels == sorted(levels, reverse=True)
    assert np.mean(widths[:3]) > 2 * np.mean(widths[-3:])
    again = mo.adaptive_kernels(y, levels=10, rng=1)
    assert found == again
    power = [kernel.bandwidth for _, kernel in mo.adaptive_kernels(y, levels=10, by="power", rng=1)]
    assert np.mean(power[:3]) < 0.5 * np.mean(widths[:3])  # sure of the difference, with no idea where to go


def test_adaptive_kernels_choose_from_what_is_given(rng):
    y = rng.standard_normal((60, 2))
    for by in ("mmd", "power"):
        kernels = [mo.Gaussian(1e-6), mo.Gaussian(1.0)]
        found = mo.adaptive_kernels(y, levels=[0.5, 3.0], kernels=kernels, by=by, rng=0)
        assert [level for level, _ in found] == [3.0, 0.5]
        assert found[0][1] == mo.Gaussian(1.0)


@pytest.mark.jit
def test_adaptive_kernels_find_the_best_width_between_gaussians():
    """MMD^2 of N(0, I) and N(0, (1 + s^2) I) is a closed form in the width; so is its largest value."""
    y = mo.StandardNormal().sample(1000, rng=0)
    widths, level = np.geomspace(0.3, 10, 12), 4.0
    t = 1 + level**2
    truth = [h**2 / (h**2 + 2) + h**2 / (h**2 + 2 * t) - 2 * h**2 / (h**2 + 1 + t) for h in widths]
    ((_, found),) = mo.adaptive_kernels(y, levels=[level], kernels=[mo.Gaussian(h) for h in widths], rng=1)
    assert abs(np.argmax(truth) - np.flatnonzero(widths == found.bandwidth)[0]) <= 1


# --- bad input ----------------------------------------------------------------------------------------------

X, G = np.zeros((4, 2)), mo.Gaussian(1.0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mo.mmd2(X, np.zeros((4, 3)), kernel=G), ValueError, "same number of columns"),
        (lambda: mo.mmd2([[np.nan, 0]], X, kernel=G), ValueError, "n >= 2"),
        (lambda: mo.mmd2([[np.nan, 0], [0, 0]], X, kernel=G), ValueError, "x must be finite"),
        (lambda: mo.mmd2(X, X, kernel="gaussian"), TypeError, "kernel must be one of"),
        (lambda: mo.witness(X, X, kernel=None), TypeError, "kernel must be one of"),
        (lambda: mo.two_sample_test(X, X[:1], kernel=G), ValueError, "n >= 2"),
        (lambda: mo.two_sample_test(X, X, kernel=G, permutations=0), ValueError, "permutations must be"),
        (lambda: mo.two_sample_test(X, X, kernel=G, rng="a"), TypeError, "rng must be"),
        (lambda: mo.mmd_flow(X, X, kernel=3), TypeError, "kernel must be one of"),
        (lambda: mo.mmd_flow(X, X, kernel=[]), ValueError, "kernel must hold at least 1"),
        (lambda: mo.mmd_flow(X, X, kernel=[G, G, G], steps=2), ValueError, "at most 2"),
        (lambda: mo.mmd_flow(X, X, kernel=G, step=-1.0), ValueError, "step must be positive"),
        (lambda: mo.mmd_flow(X, X, kernel=G, step="fast"), TypeError, "step must be"),
        (lambda: mo.mmd_flow(X, X, kernel=G, steps=0), ValueError, "steps must be at least 1"),
        (lambda: mo.mmd_flow(X, X, kernel=G, noise=-1.0), ValueError, "noise must be"),
        (lambda: mo.mmd_flow(X, X, kernel=G, noise=np.nan), ValueError, "noise must be"),
        (lambda: mo.mmd_flow(X, X * np.inf, kernel=G), ValueError, "y must be finite"),
        (lambda: mo.adaptive_kernels(X), ValueError, "y must hold different points"),
        (lambda: mo.adaptive_kernels(np.eye(4), by="eye"), ValueError, "by must be"),
        (lambda: mo.adaptive_kernels(X[:3]), ValueError, "n >= 4"),
        (lambda: mo.adaptive_kernels(np.eye(4), levels=[0.0]), ValueError, "levels must be positive"),
        (lambda: mo.adaptive_kernels(np.eye(4), kernels=[]), ValueError, "kernels and levels must"),
    ],
)
def test_bad_input(call, error, words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # X * inf
        with pytest.raises(error, match=words):
            call()
