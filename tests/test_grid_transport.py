"""Back-and-forth on grids: closed forms, exact discrete transport by POT, and what the dual promises."""

import pickle
import re
import warnings

import numpy as np
import pytest
from scipy.linalg import sqrtm

import mini_ot as mo
from mini_ot import _ascent
from tests.test_package import run

UNIT = ((0, 1), (0, 1))
# Where a support is torn or a grid is coarse, the gap may stay open; the answer is checked all the same.
MAY_STALL = pytest.mark.filterwarnings("ignore:back_and_forth stopped:RuntimeWarning")


def centres(shape, bounds=UNIT):
    sides = [a + (b - a) * (np.arange(n) + 0.5) / n for n, (a, b) in zip(shape, bounds, strict=True)]
    return np.meshgrid(*sides, indexing="ij")


def points(shape, bounds=UNIT):
    return np.stack([x.ravel() for x in centres(shape, bounds)], axis=1)


def mass_one(density, bounds=UNIT):
    return density / density.mean() / np.prod([b - a for a, b in bounds])


def bump(shape, centre, width, bounds=UNIT):
    """cos^2 waves on a box of the given half-widths, zero outside, of mass one."""
    u, v = (
        abs(x - c) / w
        for x, c, w in zip(centres(shape, bounds), centre, np.broadcast_to(width, 2), strict=True)
    )
    inside = (u < 1) & (v < 1)
    return mass_one(np.where(inside, np.cos(np.pi * u / 2) ** 2 * np.cos(np.pi * v / 2) ** 2, 0.0), bounds)


def gaussian(shape, mean, cov, bounds=UNIT):
    d = points(shape, bounds) - mean
    return mass_one(np.exp(-0.5 * (d @ np.linalg.inv(cov) * d).sum(axis=1)).reshape(shape), bounds)


def disc(shape, centre, radius):
    x1, x2 = centres(shape)
    return mass_one(((x1 - centre[0]) ** 2 + (x2 - centre[1]) ** 2 < radius**2).astype(float))


def solve(mu, nu, **options):
    return mo.back_and_forth(mu, nu, **{"progress": False, **options})


def map_error(T, mu, truth, bounds=UNIT, power=2):
    """Root mean square over mu of |T(x) - truth(x)|, at the cell centres."""
    x = points(mu.shape, bounds)
    return np.sqrt((mu.ravel() * ((T.map(x) - truth(x)) ** 2).sum(axis=1)).sum() / mu.sum())


def exact_w2(mu, nu, bounds=UNIT):
    """W2 between the masses at the cell centres, by POT's network simplex."""
    import ot

    x, a, b = points(mu.shape, bounds), mu.ravel() / mu.sum(), nu.ravel() / nu.sum()
    cost = ot.dist(x[a > 0], x[b > 0])
    return np.sqrt(ot.emd2(a[a > 0], b[b > 0], cost, numItermax=10**7))


def value_of_potentials(T, mu, nu, bounds=UNIT):
    x1, x2 = centres(mu.shape, bounds)
    half = (x1**2 + x2**2) / 2
    return ((half - T.phi) * mu).sum() / mu.sum() + ((half - T.psi) * nu).sum() / nu.sum()


def assert_near(T, w2):
    """W2^2 to a thousandth, and to what whole cells of side h can tell: h^2 / 6 along each axis."""
    cells = sum(((b - a) / n) ** 2 / 6 for (a, b), n in zip(T.bounds, T.phi.shape, strict=True))
    assert abs(T.w2**2 - w2**2) < 1e-3 * w2**2 + cells


def second_differences(phi):
    yield phi[2:] - 2 * phi[1:-1] + phi[:-2]
    yield phi[:, 2:] - 2 * phi[:, 1:-1] + phi[:, :-2]
    yield phi[2:, 2:] - 2 * phi[1:-1, 1:-1] + phi[:-2, :-2]
    yield phi[2:, :-2] - 2 * phi[1:-1, 1:-1] + phi[:-2, 2:]


def check_contract(T, mu, nu, bounds=UNIT, tol=1e-3):
    """What holds for every result, converged or not; below half a cell the grid tells no gap."""
    cell = np.prod([(b - a) / n for (a, b), n in zip(bounds, mu.shape, strict=True)])
    assert not T.converged or T.dual_gap <= max(tol, cell / 2 / max(T.dual_value, cell / 2))
    assert T.phi.shape == T.psi.shape == mu.shape
    scale = max(abs(T.phi).max(), abs(T.psi).max())
    for potential in (T.phi, T.psi):
        assert min(way.min(initial=0) for way in second_differences(potential)) > -1e-12 * scale
    assert np.allclose(mo.legendre(T.phi, bounds=bounds), T.psi, rtol=0, atol=1e-12 * scale)
    assert np.isclose(T.dual_value, T.w2**2 / 2, rtol=1e-12)
    assert np.isclose(T.dual_value, value_of_potentials(T, mu, nu, bounds), rtol=1e-6, atol=1e-12 * scale)
    assert T.dual_gap >= 0 and np.isfinite(T.dual_gap)
    names = {"level", "value", "gap", "residual", "step"}
    assert names <= set(T.history)
    assert len({len(T.history[name]) for name in names}) == 1
    assert all(np.isfinite(T.history[name]).all() for name in names)
    assert (np.array(T.history["step"]) > 0).all()


# Closed forms.


@MAY_STALL
@pytest.mark.parametrize("shift", [(4, 0), (-3, 4), (0, 0)])
def test_translation_by_cells_on_a_small_grid(shift):
    n = 20
    mu = bump((n, n), (0.5, 0.45), 0.25)
    nu = np.roll(mu, shift, axis=(0, 1))
    T = solve(mu, nu)
    check_contract(T, mu, nu)
    assert_near(T, np.hypot(*shift) / n)
    assert map_error(T, mu, lambda x: x + np.array(shift) / n) < 1 / n


@pytest.mark.jit
@pytest.mark.parametrize("shape", [(64, 64), (96, 64), (50, 81)])
def test_translation_of_a_bump(shape):
    shift = np.array([0.23, -0.171])  # not by whole cells
    mu, nu = bump(shape, (0.35, 0.6), (0.2, 0.25)), bump(shape, (0.35, 0.6) + shift, (0.2, 0.25))
    T = solve(mu, nu)
    check_contract(T, mu, nu)
    assert T.converged
    assert_near(T, np.hypot(*shift))
    assert map_error(T, mu, lambda x: x + shift) < 5e-3
    center = np.array([[0.35, 0.6], [0.3, 0.5]])
    assert np.allclose(T.map(center), center + shift, atol=3e-3)
    assert np.allclose(T.map.inverse(center + shift), center, atol=3e-3)


@pytest.mark.jit
@pytest.mark.parametrize("factor", [(1.8, 1.8), (0.5, 0.5), (2.2, 0.6)])
def test_dilation_of_a_bump(factor):
    n = 128
    factor, centre, to = np.array(factor), np.array([0.45, 0.5]), np.array([0.5, 0.55])
    mu, nu = bump((n, n), centre, 0.18), bump((n, n), to, 0.18 * factor)
    variance = 0.18**2 * (1 / 3 - 2 / np.pi**2)  # of a density proportional to cos^2 on [-w, w]
    expected = ((to - centre) ** 2).sum() + ((factor - 1) ** 2 * variance).sum()
    T = solve(mu, nu)
    check_contract(T, mu, nu)
    assert T.converged
    assert_near(T, np.sqrt(expected))
    assert map_error(T, mu, lambda x: to + factor * (x - centre)) < 8e-3


ISOTROPIC = ((0.35, 0.4), 0.08**2 * np.eye(2)), ((0.6, 0.55), 0.05**2 * np.eye(2))
TURN = np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
ANISOTROPIC = (
    ((0.4, 0.45), TURN @ np.diag([0.09, 0.045]) ** 2 @ TURN.T),
    ((0.58, 0.55), TURN.T @ np.diag([0.05, 0.085]) ** 2 @ TURN),
)


def bures(source, target):
    """W2^2 and the affine map between two Gaussians."""
    (m1, s1), (m2, s2) = ((np.array(m), s) for m, s in (source, target))
    root = np.real(sqrtm(s1))
    middle = np.real(sqrtm(root @ s2 @ root))
    matrix = np.linalg.inv(root) @ middle @ np.linalg.inv(root)
    return ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * middle), lambda x: m2 + (x - m1) @ matrix.T


@pytest.mark.jit
@pytest.mark.parametrize("n", [64, 128, 256])
@pytest.mark.parametrize("pair", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
def test_gaussians(pair, n):
    mu, nu = (gaussian((n, n), *moments) for moments in pair)
    expected, truth = bures(*pair)
    T = solve(mu, nu)
    check_contract(T, mu, nu)
    assert T.converged
    assert_near(T, np.sqrt(expected))
    assert n < 256 or abs(T.w2**2 / expected - 1) < 3e-4
    assert map_error(T, mu, truth) < {64: 3e-3, 128: 2e-3, 256: 1.5e-3}[n]


@pytest.mark.jit
def test_gaussians_in_a_box_of_other_units():
    """A box that is no square, and a grid whose cells are no squares."""
    bounds, shape = ((-3.0, 5.0), (10.0, 14.0)), (120, 72)
    pair = (
        ((-0.2, 11.6), np.array([[0.5, 0.1], [0.1, 0.12]])),
        ((1.9, 12.3), np.array([[0.3, -0.05], [-0.05, 0.1]])),
    )
    mu, nu = (gaussian(shape, *moments, bounds) for moments in pair)
    expected, truth = bures(*pair)
    T = solve(mu, nu, bounds=bounds)
    check_contract(T, mu, nu, bounds)
    assert T.converged
    assert np.allclose(T.bounds, bounds)
    assert_near(T, np.sqrt(expected))
    assert map_error(T, mu, truth, bounds) < 0.04
    for t in (0.0, 0.5, 1.0):
        mean = (points(shape, bounds) * T.interpolate(t).reshape(-1, 1)).sum(axis=0) / T.interpolate(t).sum()
        assert np.allclose(mean, (1 - t) * np.array(pair[0][0]) + t * np.array(pair[1][0]), atol=0.02)


def quantile_map(density, target, n):
    """Monotone map on the line between two densities on [0, 1], by their sums on a fine grid; its W2^2."""
    fine = np.linspace(0, 1, 40_001)
    sums = [np.cumsum((f(fine)[1:] + f(fine)[:-1]) / 2) for f in (density, target)]
    first, second = (np.concatenate([[0.0], s / s[-1]]) for s in sums)

    def along(x):
        return np.interp(np.interp(x, fine, first), second, fine)

    return along, np.trapezoid((along(fine) - fine) ** 2 * density(fine), fine) / np.trapezoid(
        density(fine), fine
    )


def wave(size, frequency):
    return lambda x: 1 + size * np.cos(frequency * np.pi * x)


@pytest.mark.jit
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("second", [(wave(0, 1), wave(0, 1)), (wave(-0.7, 1), wave(0.5, 2))])
def test_products_move_by_quantile_maps(second, swap):
    n = 96
    first = (wave(0.6, 2), wave(0.5, 3))
    x = (np.arange(n) + 0.5) / n
    pair = [mass_one(np.outer(f(x), g(x))) for f, g in (first, second)]
    sides = (second, first) if swap else (first, second)
    maps = [quantile_map(a, b, n) for a, b in zip(*sides, strict=True)]
    mu, nu = pair[::-1] if swap else pair
    T = solve(mu, nu)
    check_contract(T, mu, nu)
    assert T.converged
    expected = sum(cost for _, cost in maps)
    assert_near(T, np.sqrt(expected))
    assert map_error(T, mu, lambda p: np.c_[maps[0][0](p[:, 0]), maps[1][0](p[:, 1])]) < 4e-3


@MAY_STALL
@pytest.mark.jit
@pytest.mark.parametrize("swap", [False, True])
def test_one_bump_splits_into_two_with_nothing_between(swap):
    """Discontinuous one way, from a disconnected support the other; a product, so the answer is known."""
    n = 128
    one = bump((n, n), (0.5, 0.5), (0.15, 0.2))
    two = bump((n, n), (0.25, 0.5), (0.12, 0.2)) + bump((n, n), (0.75, 0.5), (0.12, 0.2))

    def hump(x, c, w):
        return np.where(np.abs(x - c) < w, np.cos(np.pi * (x - c) / (2 * w)) ** 2, 0.0)

    there, cost = quantile_map(
        lambda x: hump(x, 0.5, 0.15), lambda x: hump(x, 0.25, 0.12) + hump(x, 0.75, 0.12), n
    )
    mu, nu = (two / 2, one) if swap else (one, two / 2)
    T = solve(mu, nu)
    check_contract(T, mu, nu)
    assert_near(T, np.sqrt(cost))
    if not swap:
        away = np.abs(points((n, n))[:, 0] - 0.5) > 0.03
        x = points((n, n))[away & (mu.ravel() > 0.05 * mu.max())]
        assert np.abs(T.map(x) - np.c_[there(x[:, 0]), x[:, 1]]).mean() < 0.01


@MAY_STALL
@pytest.mark.jit
def test_a_disc_torn_into_halves():
    """As in Caffarelli's counterexample the map jumps; each half moves by whole cells, so W2 is the move."""
    n, move = 96, 12
    mu = disc((n, n), (0.5, 0.5), 0.25)
    nu = np.zeros_like(mu)
    nu[: n // 2 - move] = mu[move : n // 2]
    nu[n // 2 + move :] = mu[n // 2 : n - move]
    assert np.isclose(nu.sum(), mu.sum())
    T = solve(mu, nu)
    check_contract(T, mu, nu)
    assert_near(T, move / n)
    x = points((n, n))[(mu.ravel() > 0) & (np.abs(points((n, n))[:, 0] - 0.5) > 0.04)]
    truth = x + np.c_[move / n * np.sign(x[:, 0] - 0.5), np.zeros(len(x))]
    assert np.abs(T.map(x) - truth).mean() < 0.01
    back = solve(nu, mu)
    assert_near(back, move / n)


# Exact discrete transport.


def rough_pair(kind, seed, n=16):
    """Random densities whose mass has to go several cells."""
    rng = np.random.default_rng(seed)
    x1, x2 = centres((n, n))
    left = np.exp(-((x1 - 0.3) ** 2 + (x2 - 0.35) ** 2) / 0.03)
    right = np.exp(-((x1 - 0.7) ** 2 + (x2 - 0.6) ** 2) / 0.02)
    mu, nu = rng.uniform(0.2, 1.8, (n, n)) * left, rng.uniform(0.2, 1.8, (n, n)) * right
    if kind == "vacuum":
        mu, nu = mu * (rng.uniform(size=(n, n)) < 0.4), nu * (rng.uniform(size=(n, n)) < 0.4)
    if kind == "across":
        nu = nu[::-1] + 0.3 * nu
    return mass_one(mu), mass_one(nu)


@MAY_STALL
@pytest.mark.jit
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["full", "vacuum", "across"])
def test_against_exact_discrete_transport(kind, seed):
    """The dual value is a lower bound of the exact one, and may fall short by about h^2 / 3.

    Between fixed points a move by part of a cell is made of whole ones: their variance is h^2 / 6 on average
    along each axis.  The back-and-forth steps move mass by parts of cells and do not see this cost.
    """
    mu, nu = rough_pair(kind, seed)
    T = solve(mu, nu)
    check_contract(T, mu, nu)
    exact = exact_w2(mu, nu)
    assert T.w2 <= exact * (1 + 1e-9)
    assert T.w2**2 >= exact**2 * (1 - 5e-3) - 1 / 3 / 16**2


@MAY_STALL
@pytest.mark.jit
def test_gap_covers_the_distance_to_the_exact_value():
    mu, nu = bump((24, 24), (0.35, 0.4), 0.3), bump((24, 24), (0.6, 0.6), (0.2, 0.35))
    exact = exact_w2(mu, nu) ** 2
    for steps in (1, 3, 10):
        T = solve(mu, nu, levels=1, max_steps=steps, tol=1e-8)
        assert T.w2**2 * (1 + T.dual_gap) >= exact * (1 - 1e-9) - 1 / 3 / 24**2


# Symmetry and units.


@pytest.mark.jit
def test_swapping_source_and_target_swaps_the_potentials():
    mu, nu = (gaussian((64, 64), *moments) for moments in ANISOTROPIC)
    there, back = solve(mu, nu, tol=3e-4), solve(nu, mu, tol=3e-4)
    assert np.isclose(there.w2, back.w2, rtol=1e-3)
    for a, b, weight in ((there.phi, back.psi, mu), (there.psi, back.phi, nu)):
        difference = (a - b) - ((a - b) * weight).mean() / weight.mean()
        assert np.sqrt((difference**2 * weight).mean() / weight.mean()) < 2e-4
    x = points((64, 64))[mu.ravel() > 0.2 * mu.max()][::7]
    assert np.abs(there.map(x) - back.map.inverse(x)).mean() < 4e-3


@pytest.mark.jit
def test_flips_and_turns_of_the_picture():
    mu, nu = (gaussian((48, 48), *moments) for moments in ANISOTROPIC)
    w2 = solve(mu, nu).w2
    for change in (lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.T):
        assert np.isclose(solve(change(mu), change(nu)).w2, w2, rtol=1e-3)


@pytest.mark.jit
def test_bounds_shift_and_scale_everything():
    low, size = np.array([-2.0, 7.0]), 3.0
    bounds = tuple((a, a + size) for a in low)
    mu, nu = (gaussian((48, 48), *moments) for moments in ISOTROPIC)
    unit, other = solve(mu, nu), solve(mu / size**2, nu / size**2, bounds=bounds)
    assert np.isclose(other.w2, size * unit.w2, rtol=2e-4)
    x = points((48, 48))[mu.ravel() > 0.05 * mu.max()]
    assert np.abs(other.map(low + size * x) - (low + size * unit.map(x))).mean() < 0.005 * size
    middle, scaled = unit.interpolate(0.5), other.interpolate(0.5)
    assert np.isclose(scaled.mean() * size**2, middle.mean(), rtol=1e-9)


def test_the_unit_of_mass_is_free():
    """Equal masses of any size: the same transport, bit by bit for a power of two."""
    mu, nu = bump((12, 12), (0.4, 0.4), 0.3), bump((12, 12), (0.6, 0.5), 0.25)
    first, second = (solve(unit * mu, unit * nu, tol=0.03) for unit in (1, 1024))
    assert first.w2 == second.w2 and (first.phi == second.phi).all()


# The map off the grid.


@pytest.fixture(scope="module")
def solved():
    """A smooth positive pair, no products, on a small grid, and its transport."""
    x1, x2 = centres((32, 32))
    mu = mass_one(1 + 0.4 * np.cos(2 * np.pi * x1) * np.cos(np.pi * x2) + 0.3 * x2)
    nu = mass_one(np.exp(-((x1 + 1.5 * x2 - 1.4) ** 2)))
    return solve(mu, nu), mu, nu


@pytest.fixture
def inside():
    return np.random.default_rng(5).uniform(0.06, 0.94, (60, 2))


@pytest.mark.jit
def test_the_map_is_a_map(solved, inside):
    T = solved[0].map
    assert isinstance(T, mo.Map) and T.dim == 2
    assert T(inside).shape == T.inverse(inside).shape == (60, 2) and T.log_det(inside).shape == (60,)
    small = inside.astype(np.float32)
    assert T(small).dtype == T.inverse(small).dtype == T.log_det(small).dtype == np.float32
    assert np.allclose(T(small), T(inside), atol=1e-5)
    assert np.allclose(T(inside)[7:8], T(inside[7:8]), atol=1e-12)
    before = inside.copy()
    T(inside), T.inverse(inside), T.log_det(inside)
    assert (before == inside).all()
    assert np.isfinite(T.log_det(inside)).all()


@pytest.mark.jit
def test_map_round_trip(solved, inside):
    T = solved[0].map
    assert np.allclose(T.inverse(T(inside)), inside, atol=1e-7)
    assert np.allclose(T(T.inverse(inside)), inside, atol=1e-7)


@pytest.mark.jit
def test_log_det_is_that_of_finite_differences(solved, inside):
    T, h = solved[0].map, 1e-6
    jacobian = np.stack([(T(inside + h * e) - T(inside - h * e)) / (2 * h) for e in np.eye(2)], axis=2)
    assert np.allclose(jacobian[:, 0, 1], jacobian[:, 1, 0], atol=1e-4)  # a gradient
    agree = np.isclose(T.log_det(inside), np.linalg.slogdet(jacobian)[1], atol=1e-4)
    assert agree.mean() > 0.95  # a kink may lie within h


@pytest.mark.jit
def test_map_between_cell_centres_follows_the_quantile_maps(inside):
    first, second = (wave(0.4, 2), wave(0.3, 1)), (wave(-0.3, 1), wave(0.3, 2))
    x = (np.arange(32) + 0.5) / 32
    T = solve(*(mass_one(np.outer(f(x), g(x))) for f, g in (first, second))).map
    f, g = (quantile_map(a, b, 32)[0] for a, b in zip(first, second, strict=True))
    truth = np.c_[f(inside[:, 0]), g(inside[:, 1])]
    assert np.abs(T(inside) - truth).max() < 0.02
    assert np.abs(T.inverse(truth) - inside).max() < 0.03


@pytest.mark.jit
def test_map_moves_samples_of_mu_to_samples_of_nu(rng):
    n = 64
    pair = ANISOTROPIC
    mu, nu = (gaussian((n, n), *moments) for moments in pair)
    T = solve(mu, nu).map
    x = rng.multivariate_normal(*pair[0], size=2000)
    y = T(x)
    assert np.allclose(y.mean(axis=0), bures(*pair)[1](x).mean(axis=0), atol=3e-3)
    assert np.allclose(np.cov(y.T), np.cov(bures(*pair)[1](x).T), atol=3e-4)


@pytest.mark.jit
def test_points_outside_the_box_get_a_clear_answer(solved):
    for call in (solved[0].map, solved[0].map.inverse, solved[0].map.log_det):
        with pytest.raises(ValueError, match=r"[xy] must lie (in|within).*got"):
            call([[0.5, 0.5], [1.2, 0.5]])
    with pytest.raises(ValueError, match=r"x must be an array of shape \(n, 2\)"):
        solved[0].map([[0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match="x must be finite"):
        solved[0].map([[np.nan, 0.5]])


@pytest.mark.jit
def test_edges_of_the_box_stay_edges(solved):
    """As both densities fill the box."""
    T = solved[0].map
    line = np.linspace(0, 1, 9)
    for axis, side in [(0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0)]:
        edge = np.insert(line[:, None], axis, side, axis=1)
        for out in (T(edge), T.inverse(edge)):
            assert np.abs(out[:, axis] - side).max() < 1e-3
            assert (out > -1e-6).all() and (out < 1 + 1e-6).all()


# What comes with it.


@pytest.mark.jit
def test_interpolation_starts_at_mu_ends_at_nu_and_keeps_mass_and_mean(solved):
    T, mu, nu = solved
    x = points(mu.shape)

    def mean(density):
        return (x * density.reshape(-1, 1)).sum(axis=0) / density.sum()

    for t in (0, 0.25, 0.5, 1):
        density = T.interpolate(t)
        assert density.shape == mu.shape and (density >= 0).all()
        assert np.isclose(density.mean(), 1, rtol=1e-9)
        assert np.allclose(mean(density), (1 - t) * mean(mu) + t * mean(nu), atol=2e-3)
    assert np.allclose(T.interpolate(0), mu, atol=1e-9)
    assert np.abs(T.interpolate(1) - nu).mean() < 0.05


@pytest.mark.jit
def test_interpolation_of_gaussians_is_gaussian():
    n = 96
    pair = ISOTROPIC
    mu, nu = (gaussian((n, n), *moments) for moments in pair)
    middle = solve(mu, nu).interpolate(0.5)
    expected = gaussian((n, n), np.mean([pair[0][0], pair[1][0]], axis=0), 0.065**2 * np.eye(2))
    assert np.abs(middle - expected).mean() < 0.1
    x = points((n, n))
    at = (x * middle.reshape(-1, 1)).sum(axis=0) / middle.sum()
    assert np.allclose(at, [0.475, 0.475], atol=1e-3)
    spread = ((x - at) ** 2 * middle.reshape(-1, 1)).sum(axis=0) / middle.sum()
    assert np.allclose(np.sqrt(spread), 0.065, atol=1e-3)


@pytest.mark.jit
def test_residual_of_the_monge_ampere_equation():
    """Small for the optimal map once the potential is smoothed; cell by cell it is noise."""
    n = 128
    mu, nu = (gaussian((n, n), *moments) for moments in ISOTROPIC)
    T = solve(mu, nu)
    assert T.residual().shape == (n, n)
    assert np.abs(T.residual()).mean() < 0.03  # against 1 = the mean of mu
    assert np.abs(T.residual(smoothing=1.0)).mean() > np.abs(T.residual()).mean()
    x = (np.arange(n) + 0.5) / n
    mu = mass_one(np.outer(wave(0.6, 2)(x), wave(0.5, 3)(x)))
    smooth = solve(mu, np.ones((n, n)))
    assert np.abs(smooth.residual(smoothing=4.0)).mean() < 0.08


@pytest.mark.jit
def test_gap_falls_with_the_tolerance():
    mu, nu = (gaussian((64, 64), *moments) for moments in ISOTROPIC)
    gaps, errors = [], []
    for tol in (3e-1, 3e-2, 3e-3, 1e-7):
        T = solve(mu, nu, tol=tol)
        assert T.converged and T.dual_gap <= max(tol, 1 / 64**2 / 2 / T.dual_value)  # or half a cell
        gaps.append(T.dual_gap)
        errors.append(map_error(T, mu, bures(*ISOTROPIC)[1]))
    assert gaps[0] > gaps[1] > gaps[2]
    assert errors[0] > errors[1] > errors[3]


@pytest.mark.jit
@pytest.mark.parametrize(
    "options", [{"levels": 1}, {"levels": 3}, {"step": "published"}, {"levels": 1, "step": "published"}]
)
def test_other_ways_lead_to_the_same_place(options):
    x = (np.arange(64) + 0.5) / 64
    mu = mass_one(np.outer(wave(0.5, 2)(x), wave(0.5, 1)(x)))
    nu = mass_one(np.outer(wave(0.4, 3)(x), wave(-0.5, 1)(x)))
    T, other = solve(mu, nu), solve(mu, nu, **options)
    check_contract(other, mu, nu)
    assert other.converged
    assert np.isclose(other.w2, T.w2, rtol=1e-3)
    assert np.abs(other.map(points((64, 64))) - T.map(points((64, 64)))).mean() < 3e-3
    levels = np.array(other.history["level"])
    assert (np.diff(levels) >= 0).all() and levels[-1] == 64
    if "levels" in options:
        assert len(set(levels)) <= options["levels"]


def test_values_rise_and_the_best_is_kept():
    mu, nu = bump((16, 16), (0.3, 0.4), 0.25), bump((16, 16), (0.65, 0.6), 0.3)
    T = solve(mu, nu, levels=1, tol=0.05)
    assert T.dual_value >= max(T.history["value"]) * (1 - 1e-9)
    assert T.history["value"][-1] > T.history["value"][0]
    assert T.history["residual"][-1] < T.history["residual"][0]


@MAY_STALL
@pytest.mark.jit
def test_the_published_rule_keeps_its_best_too():
    """Between rough densities its values fall now and then."""
    rng, falls = np.random.default_rng(0), 0
    for _ in range(6):
        mu, nu = (mass_one(rng.uniform(0.1, 1.0, (12, 12))) for _ in range(2))
        T = solve(mu, nu, levels=1, step="published", tol=1e-9, max_steps=40)
        values = T.history["value"]
        falls += values[-1] < max(values) - 1e-9
        assert T.dual_value >= max(values) - 1e-12
    assert falls


def test_stopping_early_warns_and_returns_the_best():
    mu, nu = bump((16, 16), (0.25, 0.3), 0.2), bump((16, 16), (0.65, 0.6), 0.33)
    with pytest.warns(RuntimeWarning) as caught:
        T = solve(mu, nu, tol=1e-12, max_steps=2)
    message = str(caught[0].message)
    assert "gap" in message and re.search(r"\b2 steps|max_steps=2\b", message)
    numbers = [float(word) for word in re.findall(r"\d[\d.]*(?:e[+-]?\d+)?\b", message)]
    assert np.isclose(numbers, T.dual_gap, rtol=0.1).any()
    assert caught[0].filename == __file__  # it points at the caller
    assert not T.converged and T.dual_gap > 1e-12
    check_contract(T, mu, nu)
    level = np.array(T.history["level"])
    values = np.array(T.history["value"])[level == level[-1]]
    assert T.dual_value >= values.max() * (1 - 1e-9)


@pytest.mark.parametrize(("n", "calls"), [(12, 3), (12, 4), (36, 2)])
@pytest.mark.jit
def test_an_interrupt_returns_the_best_so_far(n, calls, monkeypatch):
    """Also on a coarse grid, from which the potentials go on to the finest."""
    seen, gradient = [], _ascent.DualProblem.flat_gradient

    def interrupted(self, side):
        seen.append(side)
        if len(seen) == calls + 1:
            raise KeyboardInterrupt
        return gradient(self, side)

    mu, nu = bump((n, n), (0.25, 0.3), 0.2), bump((n, n), (0.65, 0.6), 0.33)
    monkeypatch.setattr(_ascent.DualProblem, "flat_gradient", interrupted)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        T = solve(mu, nu, tol=1e-12)
    assert not T.converged and T.dual_value > 0
    check_contract(T, mu, nu)


def test_no_warning_when_it_converges():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mu = bump((16, 16), (0.5, 0.5), 0.4) + 0.1
        assert solve(mu, mu[::-1]).converged


def test_equal_densities_stay():
    rng = np.random.default_rng(0)
    for mu in (rng.uniform(0.5, 1.5, (12, 12)), bump((12, 12), (0.4, 0.5), 0.3), np.ones((12, 12))):
        T = solve(mu, mu)
        assert T.converged
        assert T.w2 < 1e-3
        x = points((12, 12))
        assert np.allclose(T.map(x)[mu.ravel() > 0], x[mu.ravel() > 0], atol=1e-6)
        assert np.allclose(T.interpolate(0.5), mu / mu.mean(), atol=1e-6)


def test_the_same_again():
    mu, nu = bump((12, 12), (0.3, 0.4), 0.25) + 0.2, bump((12, 12), (0.65, 0.6), 0.3) + 0.2
    mu, nu = mu / mu.mean(), nu / nu.mean()
    before = mu.copy(), nu.copy()
    first, second = (solve(mu, nu, tol=0.02) for _ in range(2))
    assert (first.phi == second.phi).all() and (first.psi == second.psi).all() and first.w2 == second.w2
    assert first.history == second.history
    assert (mu == before[0]).all() and (nu == before[1]).all()
    again = pickle.loads(pickle.dumps(first))
    x = np.array([[0.3, 0.4], [0.25, 0.5]])
    assert (again.phi == first.phi).all() and again.w2 == first.w2
    assert (again.map(x) == first.map(x)).all()
    assert (pickle.loads(pickle.dumps(first.map))(x) == first.map(x)).all()
    assert (again.interpolate(0.3) == first.interpolate(0.3)).all()
    for listed in (solve(a(mu), a(nu), tol=0.02) for a in (np.ndarray.tolist, np.asfortranarray)):
        assert (listed.phi == first.phi).all()
    single = solve(mu.astype(np.float32), nu.astype(np.float32), tol=0.02)
    assert single.phi.dtype == np.float64
    assert np.isclose(single.w2, first.w2, rtol=1e-4)
    assert "GridTransport" in repr(first)


@pytest.mark.jit
def test_any_number_of_threads_gives_the_same_bits():
    code = """
import hashlib, numpy as np, mini_ot as mo
n = 320
x = (np.arange(n) + 0.5) / n
mu = np.exp(-((x - 0.4)[:, None] ** 2 + (x - 0.45) ** 2) / 0.02)
nu = np.exp(-((x - 0.6)[:, None] ** 2 + 2 * (x - 0.5) ** 2) / 0.03)
T = mo.back_and_forth(mu / mu.mean(), nu / nu.mean(), tol=1e-2, progress=False)
print(hashlib.sha256(T.phi.tobytes() + T.psi.tobytes()).hexdigest(), T.w2, T.dual_gap)
"""
    seen = set()
    for threads in ("1", "3"):
        done = run(code, MINI_OT_NUM_THREADS=threads)
        assert done.returncode == 0, done.stderr
        seen.add(done.stdout)
    assert len(seen) == 1


# What it is made of: a wrong piece would only make it slow, so each is checked alone.


def laplacian(rho, h):
    """Matrix of -div(rho grad w) on cells, no flux through the edge, face by face."""
    index = np.arange(rho.size).reshape(rho.shape)
    matrix = np.zeros((rho.size, rho.size))
    for axis in (0, 1):
        here, there = (np.delete(index, end, axis=axis).ravel() for end in (-1, 0))
        flow = (rho.ravel()[here] + rho.ravel()[there]) / 2 / h[axis] ** 2
        for a, b in ((here, there), (there, here)):
            np.add.at(matrix, (a, a), flow)
            np.add.at(matrix, (a, b), -flow)
    return matrix


def test_gradients_solve_their_equations_on_cells_that_are_no_squares(rng):
    shape, size = (9, 6), np.array([2.0, 0.7])
    mu, nu = (mass_one(rng.uniform(0.2, 2.0, shape)) for _ in range(2))
    problem = _ascent.DualProblem(mu, nu, size)
    r = rng.standard_normal(shape)
    r -= r.mean()
    w = problem.inverse_laplacian(r)
    assert np.allclose(laplacian(np.ones(shape), size / shape) @ w.ravel(), r.ravel(), atol=1e-3)
    for side, density in ((0, mu), (1, nu)):
        w, norm, _ = problem.weighted_gradient(side, r, 1e-4, 100)
        weight = density + 1e-3  # kept off zero
        assert np.allclose(laplacian(weight, size / shape) @ w.ravel(), r.ravel(), atol=5e-3)
        assert np.isclose(norm, (w * r).mean())


def test_coarse_grids_keep_the_mass_and_its_place(rng):
    """Sums up to the edges of coarse cells, also where these cut fine ones in two."""
    mu = mass_one(rng.exponential(size=(15, 8)))
    coarse = _ascent.DualProblem(mu, mu, np.ones(2)).coarser().mu
    assert coarse.shape == (8, 4)

    def share(density, axis):
        along = density.sum(axis=1 - axis).cumsum()
        return np.r_[0.0, along / along[-1]]

    for axis, (n, k) in enumerate(zip(mu.shape, coarse.shape, strict=True)):
        expected = np.interp(np.arange(k + 1) / k, np.arange(n + 1) / n, share(mu, axis))
        assert np.allclose(share(coarse, axis), expected)
    assert np.isclose(coarse.mean(), 1)


@pytest.mark.parametrize(("coarse", "fine"), [(8, 16), (8, 15), (5, 9)])
def test_potentials_of_coarse_grids_are_interpolated(coarse, fine):
    rough = (np.arange(coarse) + 0.5) / coarse
    assert np.allclose(
        _ascent._interpolation(coarse, fine) @ (3 * rough - 1), 3 * (np.arange(fine) + 0.5) / fine - 1
    )


# Bad input.


def test_masses_that_differ():
    mu, nu = bump((12, 12), (0.4, 0.4), 0.3), 1.1 * bump((12, 12), (0.6, 0.6), 0.3)
    with pytest.raises(
        ValueError, match=r"mu and nu must have the same (total )?mass, got .*normalise=True"
    ) as caught:
        solve(mu, nu)
    assert "144" in str(caught.value) and "158.4" in str(caught.value)  # both sums are said
    T = solve(mu, nu, normalise=True, tol=0.03)
    assert np.isclose(T.w2, solve(mu, nu / 1.1 * (1 + 1e-12), tol=0.03).w2, rtol=1e-3)  # rounding may differ


BASE = np.ones((8, 8))


def with_entry(value):
    array = np.ones((8, 8))
    array[2, 3] = value
    return array


one_cell = np.zeros((8, 8))
one_cell[2, 3] = 64.0


@pytest.mark.parametrize("name", ["mu", "nu"])
@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (with_entry(-0.5), ValueError, r"negative|>= 0"),
        (with_entry(np.nan), ValueError, "finite"),
        (with_entry(np.inf), ValueError, "finite"),
        (np.zeros((8, 8)), ValueError, "mass"),
        (one_cell, ValueError, "cell|pixel|entr"),
        (np.ones((8, 9)), ValueError, "shape"),
        (np.ones(8), ValueError, "shape"),
        (np.ones((2, 8, 8)), ValueError, "shape"),
        (BASE * 1j, TypeError, "real"),
        ("picture", TypeError, "real|numbers|array"),
        (None, (TypeError, ValueError), "array"),
    ],
)
def test_bad_densities(name, bad, kind, words):
    densities = {"mu": BASE, "nu": BASE, name: bad}
    with pytest.raises(kind, match=rf"{name}.*must.*(?:{words}).*|(?:{words}).*{name}") as caught:
        solve(densities["mu"], densities["nu"], normalise=True)
    assert "got" in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (3, 3), (8, 2)])
def test_tiny_grids(shape):
    with pytest.raises(ValueError, match=r"mu must be .*got"):
        solve(np.ones(shape), np.ones(shape))


@MAY_STALL
def test_the_smallest_grid_works():
    mu = np.ones((4, 4)) + np.eye(4)
    nu = np.ones((4, 4)) + np.eye(4)[::-1]
    T = solve(mu, nu, max_steps=30)
    assert 0 <= T.w2 <= exact_w2(mu, nu) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"tol": 0}, ValueError, "tol must be positive"),
        ({"tol": -1.0}, ValueError, "tol must be positive"),
        ({"tol": "small"}, TypeError, "tol must be a positive number"),
        ({"max_steps": 0}, ValueError, "max_steps must be at least 1"),
        ({"max_steps": 2.5}, TypeError, "max_steps must be a whole number"),
        ({"levels": 0}, ValueError, "levels must be"),
        ({"levels": "many"}, (TypeError, ValueError), "levels must be .*got"),
        ({"levels": 1.5}, TypeError, "levels must be"),
        ({"step": "armijo"}, ValueError, "step must be .*published.*got"),
        ({"bounds": ((0, 1), (1, 1))}, ValueError, "bounds must be .*got"),
        ({"bounds": ((0, 1),)}, ValueError, "bounds must be .*got"),
        ({"bounds": "unit"}, TypeError, "bounds must be .*got"),
    ],
)
def test_bad_options(options, kind, words):
    with pytest.raises(kind, match=words):
        solve(BASE, BASE, **options)


@pytest.mark.jit
@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda T: T.interpolate(-0.1), ValueError, "t must .*got"),
        (lambda T: T.interpolate(1.5), ValueError, "t must .*got"),
        (lambda T: T.interpolate(np.nan), ValueError, "t must .*got"),
        (lambda T: T.interpolate("half"), TypeError, "t must .*got"),
        (lambda T: T.residual(smoothing=-1.0), ValueError, "smoothing must .*got"),
        (lambda T: T.residual(smoothing="much"), TypeError, "smoothing must .*got"),
    ],
)
def test_bad_questions(solved, call, kind, words):
    with pytest.raises(kind, match=words):
        call(solved[0])
