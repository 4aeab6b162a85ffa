"""The theorems of chapter 12: features against kernels, each side computed without the other."""

import numpy as np
import pytest
from scipy.fft import dctn, idctn

import mini_ot as mo


def clouds(d, n=80):
    rng = np.random.default_rng(4)
    if d == 1:
        return rng.standard_normal((n, 1)), np.r_[rng.normal(-2, 0.5, (n, 1)), rng.normal(1.5, 0.4, (n, 1))]
    return rng.standard_normal((n, d)), mo.RingOfGaussians().sample(n + 10, rng=5)


def centre_grid(points, h, spacing=0.5, margin=6.0):
    """Return centres round the points, and the area of a cell; lengths in units of h."""
    low, high = points.min(axis=0) - margin * h, points.max(axis=0) + margin * h
    axes = [np.arange(a, b, spacing * h) for a, b in zip(low, high, strict=True)]
    centres = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, points.shape[1])
    return centres, (spacing * h) ** points.shape[1]


def averaged(h, d):
    """Return the kernel of all Gaussian features of width h, and its value at zero distance."""
    return mo.Gaussian(np.sqrt(2) * h), h**4 * (np.pi * h**2) ** (d / 2)


def both_ways(x, y, h, steps, *, spacing=0.5, kernel=None):
    """Run the data-driven flow with all centres, and the MMD flow; return the largest relative difference."""
    centres, cell = centre_grid(np.concatenate([x, y]), h, spacing)
    right, top = averaged(h, x.shape[1])
    kernel = kernel or right
    step, z, v, apart = 0.5 * h**2, x, x, []
    for _ in range(steps):
        T = mo.elementary_map(
            z, y, centres, bandwidth=h, weights="steepest", quadrature=cell, step=step / top
        )
        z, v = T(z), v - step * mo.witness(v, y, kernel=kernel).gradient(v)
        apart.append(np.abs(z - v).max() / np.abs(v).max())
    return z, v, max(apart)


# --- steepest weights ------------------------------------------------------------------------------------


@pytest.mark.jit
@pytest.mark.parametrize(("d", "h"), [(1, 0.4), (2, 0.5)])
def test_with_all_centres_both_flows_agree_at_every_step(d, h):
    x, y = clouds(d)
    z, v, apart = both_ways(x, y, h, 100)
    assert np.abs(v - x).max() > 0.5  # they do move
    assert apart <= 1e-10
    flow = mo.mmd_flow(x, y, kernel=averaged(h, d)[0], step=0.5 * h**2, steps=100)
    assert len(flow.trajectory) == 101
    assert np.abs(flow.trajectory[-1] - z).max() <= 1e-10


def test_with_all_centres_a_step_in_one_dimension_is_that_of_the_mmd():
    x, y = clouds(1, n=12)
    assert both_ways(x, y, 0.6, 3)[2] <= 1e-12


@pytest.mark.jit
def test_a_kernel_as_wide_as_the_features_is_the_wrong_one():
    x, y = clouds(2)
    assert both_ways(x, y, 0.5, 5, kernel=mo.Gaussian(0.5))[2] > 1e-2


@pytest.mark.jit
def test_a_coarse_quadrature_is_off_by_as_much_as_poissons_formula_says():
    x, y = clouds(2)
    for spacing in (0.6, 0.8, 1.0, 1.25):
        apart, predicted = both_ways(x, y, 0.5, 5, spacing=spacing)[2], 2 * np.exp(-((np.pi / spacing) ** 2))
        assert predicted / 30 < apart < 3 * predicted


@pytest.mark.parametrize("kernel", ["gaussian", "bump", "multiquadric"])
def test_any_features_and_any_quadrature_have_a_kernel(kernel, rng):
    """The move is minus the slope of the witness of sum_l q_l F_l F_l, here by central differences."""
    x, y, centres = rng.normal(size=(9, 2)), rng.normal(size=(7, 2)) + 0.5, rng.normal(size=(6, 2))
    h, q, eps = rng.uniform(0.6, 1.2, 6), rng.uniform(0.5, 2.0, 6), 1e-5

    def features(p):
        s = ((p[:, None] - centres) ** 2).sum(axis=2)
        if kernel == "gaussian":
            return h**2 * np.exp(-s / (2 * h**2))
        if kernel == "bump":
            return h**2 * np.maximum(1 - s / (8 * h**2), 0) ** 4
        return h * np.sqrt(s + h**2)

    def witness(p):
        return ((features(p) * q) @ features(x).T).mean(axis=1) - ((features(p) * q) @ features(y).T).mean(
            axis=1
        )

    T = mo.elementary_map(
        x, y, centres, bandwidth=h, weights="steepest", quadrature=q, step=0.3, kernel=kernel
    )
    for points in (x, rng.normal(size=(5, 2))):  # also points that only follow
        slope = [(witness(points + e) - witness(points - e)) / (2 * eps) for e in eps * np.eye(2)]
        assert np.allclose(T(points) - points, -0.3 * np.stack(slope, axis=1), rtol=1e-6, atol=1e-9)


# --- random centres --------------------------------------------------------------------------------------

SIDE, WIDTH = 5.5, 0.7  # centres from the square [-SIDE, SIDE]^2


def trials(x, y, size, steps, *, eta, fresh, repeats):
    """Return the root mean square distance to the exact MMD flow of `repeats` flows with random centres."""
    v, (kernel, top) = x, averaged(WIDTH, 2)
    for _ in range(steps):
        v = v - eta * top * mo.witness(v, y, kernel=kernel).gradient(v)
    squares = []
    for seed in range(repeats):
        rng, z = np.random.default_rng(seed), x
        c = rng.uniform(-SIDE, SIDE, (size, 2))
        for _ in range(steps):
            c = rng.uniform(-SIDE, SIDE, (size, 2)) if fresh else c
            q = (2 * SIDE) ** 2 / size
            z = mo.elementary_map(z, y, c, bandwidth=WIDTH, weights="steepest", quadrature=q, step=eta)(z)
        squares.append(((z - v) ** 2).sum(axis=1).mean())
    return np.sqrt(np.mean(squares))


def slope(u, v):
    return np.polyfit(np.log(u), np.log(v), 1)[0]


@pytest.mark.jit
@pytest.mark.parametrize("fresh", [True, False])
def test_the_distance_falls_like_one_over_the_root_of_the_number_of_random_centres(fresh):
    x, y = clouds(2, n=50)
    eta, sizes = 0.5 * WIDTH**2 / averaged(WIDTH, 2)[1], np.array([100, 300, 1000, 3000, 10_000])
    apart = [trials(x, y, size, 10, eta=eta, fresh=fresh, repeats=10) for size in sizes]
    assert -0.6 < slope(sizes, apart) < -0.4


@pytest.mark.jit
def test_fresh_centres_average_out_over_small_steps_and_fixed_ones_do_not():
    x, y = clouds(2, n=30)
    eta, steps = 0.5 * WIDTH**2 / averaged(WIDTH, 2)[1], np.array([20, 80, 320])
    fresh, fixed = (
        [trials(x, y, 30, k, eta=eta * 20 / k, fresh=fresh, repeats=12) for k in steps]
        for fresh in (True, False)
    )
    assert -0.6 < slope(steps, fresh) < -0.4
    assert abs(slope(steps, fixed)) < 0.05


def test_centres_from_any_density_need_their_weights(rng):
    """With q = 1 / (L pi(c)) the mean move is that of the MMD flow, and without it is not."""
    x, y, h = rng.normal(size=(8, 1)), rng.normal(size=(9, 1)) + 0.8, 0.8
    kernel, top = averaged(h, 1)
    exact = -top * mo.witness(x, y, kernel=kernel).gradient(x)[:, 0]
    c = 2 * rng.standard_normal((20_000, 1))
    density = np.exp(-(c[:, 0] ** 2) / 8) / np.sqrt(8 * np.pi)

    def moves(q):  # one column of moves per centre
        F, Fy = (h**2 * np.exp(-((p - c.T) ** 2) / (2 * h**2)) for p in (x, y))
        return -q * (F.mean(axis=0) - Fy.mean(axis=0)) * F * (c.T - x) / h**2

    right = moves(1 / density)
    error = right.std(axis=1) / np.sqrt(len(c))
    assert (np.abs(right.mean(axis=1) - exact) < 4.5 * error).all()
    assert (np.abs(moves(np.ones(len(c))).mean(axis=1) - exact) > 10 * error).any()


# --- Newton weights --------------------------------------------------------------------------------------


def mixed_derivatives(p, s):
    """Return d/dp_a d/dp'_b exp(-|p - p'|^2 / 2 s^2) for all pairs of points, shape (N d, N d)."""
    gap = p[:, None] - p
    k = np.exp(-(gap**2).sum(axis=2) / (2 * s**2))[:, :, None, None]
    block = (np.eye(p.shape[1]) - gap[..., :, None] * gap[..., None, :] / s**2) * k / s**2
    return block.swapaxes(1, 2).reshape(p.size, p.size)


def sobolev_velocity(z, y, h, share, nu):
    """Return (lambda + mean of mixed derivatives)^-1 grad w at z, the mean over z or over both clouds."""
    p, s = z if nu == "z" else np.concatenate([z, y]), np.sqrt(2) * h
    each = (
        np.ones(len(z)) / len(z) if nu == "z" else np.repeat([0.5 / len(z), 0.5 / len(y)], [len(z), len(y)])
    )
    right = mo.witness(z, y, kernel=mo.Gaussian(s)).gradient(p).ravel()
    ridge = share * z.shape[1] / s**2  # a share of the trace of the mixed derivatives
    table = mixed_derivatives(p, s) * np.repeat(each, z.shape[1]) + ridge * np.eye(p.size)
    return np.linalg.solve(table, right).reshape(p.shape)[: len(z)]


def test_mixed_derivatives_by_finite_differences(rng):
    p, s, eps = rng.normal(size=(3, 2)), 0.8, 1e-4
    table, k = mixed_derivatives(p, s).reshape(3, 2, 3, 2), mo.Gaussian(s)
    for a in range(2):
        for b in range(2):
            e, f = eps * np.eye(2)[a], eps * np.eye(2)[b]
            numeric = (k(p + e, p + f) - k(p + e, p - f) - k(p - e, p + f) + k(p - e, p - f)) / (4 * eps**2)
            assert np.allclose(table[:, a, :, b], numeric, atol=1e-6)


@pytest.mark.jit
@pytest.mark.parametrize(("d", "h"), [(1, 0.5), (2, 0.6)])
def test_newton_weights_are_the_preconditioned_mmd_flow(d, h):
    """One side has features and never a kernel, the other a kernel and never a feature."""
    x, y = clouds(d, n=60)
    centres, _ = centre_grid(np.concatenate([x, y]), h)
    z, v, share = x, x, 0.01
    for _ in range(10):
        T = mo.elementary_map(z, y, centres, bandwidth=h, ridge=share * len(centres), step=0.5)
        z, v = T(z), v - 0.5 * sobolev_velocity(v, y, h, share, "both")
        assert np.abs(z - v).max() <= 1e-9 * np.abs(v).max()
    assert mo.energy_distance(v, y, unbiased=False) < 0.1 * mo.energy_distance(x, y, unbiased=False)


def test_push_through_for_a_few_features(rng):
    """The same with any features, averaged over the particles alone."""
    x, y, c, h, ridge = (
        rng.normal(size=(7, 2)),
        rng.normal(size=(6, 2)) + 1,
        rng.normal(size=(5, 2)),
        0.9,
        0.05,
    )
    F, Fy = (h**2 * np.exp(-((p[:, None] - c) ** 2).sum(axis=2) / (2 * h**2)) for p in (x, y))
    J = (F[:, :, None] * (c - x[:, None]) / h**2).transpose(1, 0, 2).reshape(5, -1)
    b = F.mean(axis=0) - Fy.mean(axis=0)
    beta = -np.linalg.solve(J @ J.T / 7 + ridge * np.eye(5), b)
    moved = mo.elementary_map(x, y, c, bandwidth=h, weights=beta)(x)
    velocity = np.linalg.solve(J.T @ J / 7 + ridge * np.eye(14), J.T @ b).reshape(x.shape)
    assert np.allclose(moved, x - velocity, rtol=1e-10, atol=1e-12)


def test_the_preconditioned_velocity_goes_down_when_averaged_over_the_particles(rng):
    for seed in range(5):
        x, y = np.random.default_rng(seed).normal(size=(2, 15, 2)) * np.array([1, 1.5])[:, None, None]
        up = mo.witness(x, y, kernel=mo.Gaussian(np.sqrt(2) * 0.6)).gradient(x)
        assert (up * sobolev_velocity(x, y, 0.6, 0.01, "z")).sum() > 0


@pytest.mark.jit
def test_newton_needs_far_fewer_steps():
    x, y = clouds(2)
    kernel, h = averaged(0.5, 2)[0], 0.5
    z = x
    for _ in range(15):
        z = z - 0.5 * sobolev_velocity(z, y, h, 0.01, "both")
    steepest = mo.mmd_flow(x, y, kernel=kernel, step=h**2, steps=150)
    assert mo.mmd2(z, y, kernel=kernel, unbiased=False) < steepest.history["mmd2"][-1]


# --- the bridge to the grid ------------------------------------------------------------------------------


def poisson(f):
    """Solve -Laplace u = f on the unit interval or square with no flux, by cosines; mean zero."""
    n = len(f)
    one = 2 * n**2 * (1 - np.cos(np.pi * np.arange(n) / n))
    eigenvalue = one if f.ndim == 1 else one[:, None] + one
    eigenvalue.flat[0] = np.inf
    return idctn(dctn(f) / eigenvalue)


def corners(p, n):
    """Yield rows, columns and shares of the four cell centres round each point."""
    low = np.floor(p * n - 0.5).astype(int)
    s = p * n - 0.5 - low
    for a in (0, 1):
        for b in (0, 1):
            yield low[:, 0] + a, low[:, 1] + b, np.abs(1 - a - s[:, 0]) * np.abs(1 - b - s[:, 1])


def coulomb(p, z, terms=100):
    """Green's function of -Laplace on the unit square with no flux, by one series of cosines."""
    apart = np.abs(p[:, None] - z)
    swap = (apart[..., 1] > apart[..., 0])[..., None]  # the exact direction is the one that is farther apart
    p, z = (np.where(swap, q[..., ::-1], q) for q in np.broadcast_arrays(p[:, None], z))
    a, b = p[..., 0], z[..., 0]
    total = (a**2 + b**2) / 2 - np.maximum(a, b) + 1 / 3
    for m in np.pi * np.arange(1, terms + 1):
        far = [np.exp(-m * r) for r in (np.abs(a - b), 2 - np.abs(a - b), a + b, 2 - a - b)]
        along = sum(far) / (2 * m * (1 - np.exp(-2 * m)))
        total = total + 2 * np.cos(m * p[..., 1]) * np.cos(m * z[..., 1]) * along
    return total


def test_greens_function_against_the_double_series():
    """Its cosine coefficients are 1 / |k|^2 pi^2: here by the double series, summed with a smooth cut-off."""
    p, z = np.array([[0.2, 0.3], [0.7, 0.4]]), np.array([[0.6, 0.5], [0.35, 0.85]])
    k = np.arange(400)
    size = np.pi**2 * (k[:, None] ** 2 + k**2)
    size[0, 0] = np.inf
    factor = (
        np.outer(np.where(k, 2, 1), np.where(k, 2, 1))
        * np.exp(-1e-4 * np.where(size < np.inf, size, 0))
        / size
    )
    for i in range(2):
        for j in range(2):
            c = [np.cos(np.pi * k * p[i, a]) * np.cos(np.pi * k * z[j, a]) for a in (0, 1)]
            assert np.isclose(coulomb(p, z)[i, j], c[0] @ factor @ c[1], atol=2e-4)


def test_the_grid_gradient_is_the_coulomb_witness_to_second_order():
    rng = np.random.default_rng(0)
    z, y = 0.35 + 0.08 * rng.standard_normal((40, 2)), 0.65 + 0.06 * rng.standard_normal((50, 2))
    probes = rng.uniform(0.05, 0.95, (400, 2))
    gap = np.sqrt(((probes[:, None] - np.concatenate([z, y])) ** 2).sum(axis=2)).min(axis=1)
    probes = probes[gap > 0.08]
    witness = coulomb(probes, z).mean(axis=1) - coulomb(probes, y).mean(axis=1)
    sizes, errors = np.array([32, 64, 128, 256]), []
    for n in sizes:
        f = np.zeros((n, n))
        for points, sign in ((z, 1), (y, -1)):
            for i, j, share in corners(points, n):
                np.add.at(f, (i, j), sign * share * n**2 / len(points))
        u = poisson(f)
        read = sum(u[i, j] * share for i, j, share in corners(probes, n))
        errors.append(np.sqrt(((read - witness) ** 2).mean()) / witness.std())
    assert 1.75 < -slope(sizes, errors) < 2.25
    assert errors[-1] < 1e-4


def test_on_the_line_the_grid_gradient_is_half_the_energy_witness(rng):
    n = 300
    z, y = rng.integers(0, n, 30), rng.integers(0, n, 50)
    t = (np.arange(n) + 0.5) / n
    u = poisson(n * (np.bincount(z, minlength=n) / 30 - np.bincount(y, minlength=n) / 50))
    w = mo.witness(t[z][:, None], t[y][:, None], kernel=mo.Energy())(t[:, None]) / 2
    assert np.ptp(u - w) < 1e-12
    assert np.ptp(w) > 1e-3
