"""Legendre transforms against brute force and hulls, pushforwards against moments and closed forms."""

import numpy as np
import pytest
from scipy.fft import dctn
from scipy.spatial import ConvexHull

import mini_ot as mo
from tests.test_package import run

UNIT = ((0, 1), (0, 1))
BOUNDS = [UNIT, ((-2.0, 1.5), (3.0, 3.5)), ((1e3, 1e3 + 1), (-1e-2, 1e-2))]


def centres(shape, bounds=UNIT):
    """Coordinates of the cell centres, each of the given shape."""
    sides = [a + (b - a) * (np.arange(n) + 0.5) / n for n, (a, b) in zip(shape, bounds, strict=True)]
    return np.meshgrid(*sides, indexing="ij")


def brute_force(phi, bounds=UNIT):
    x1, x2 = centres(phi.shape, bounds)
    return (np.multiply.outer(x1, x1) + np.multiply.outer(x2, x2) - phi).max(axis=(2, 3))


def lower_hull(phi, bounds=UNIT):
    """Largest convex function below the points, from the facets of their convex hull that face down."""
    x1, x2 = centres(phi.shape, bounds)
    points = np.c_[x1.ravel(), x2.ravel(), phi.ravel()]
    facets = ConvexHull(points).equations  # normal . point + offset = 0, normals outward
    facets = facets[facets[:, 2] < -1e-9]
    planes = -(points[:, :2] @ facets[:, :2].T + facets[:, 3]) / facets[:, 2]
    return planes.max(axis=1).reshape(phi.shape)


def potentials(shape, bounds, rng):
    """Functions of every kind: noise, convex, concave, kinked, several wells, flat, a plane, one spike."""
    x1, x2 = centres(shape, bounds)
    size1, size2 = (b - a for a, b in bounds)
    u, v = (x1 - bounds[0][0]) / size1, (x2 - bounds[1][0]) / size2
    scale = size1**2 + size2**2
    middle = (u - 0.5) ** 2 + (v - 0.4) ** 2
    yield "noise", scale * rng.standard_normal(shape)
    yield "convex", 0.7 * x1**2 + 0.3 * x2**2 + 0.2 * x1 * x2
    yield "concave", -scale * middle
    yield "kinks", scale * (np.abs(u - 0.3) + np.maximum(v - 0.6, 0.2 - v))
    yield "wells", scale * 0.05 * np.cos(9 * u) * np.cos(7 * v)
    yield "flat", np.full(shape, 3.0)
    plane = x1 * x1[0, 0] + x2 * x2[-1, -1]
    yield "plane", plane
    yield "ripples", plane + 1e-7 * scale * rng.standard_normal(shape)  # the hull must see them
    yield "small ripples", plane + 3e-12 * scale * rng.standard_normal(shape)
    spike = np.full(shape, 2.0 * scale)
    spike[shape[0] // 3, shape[1] // 2] = -scale
    yield "spike", spike


# The Legendre transform.


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("shape", [(16, 16), (7, 23), (23, 7), (9, 4), (4, 9), (4, 4)])
def test_is_the_largest_of_all_planes(shape, bounds, rng):
    for name, phi in potentials(shape, bounds, rng):
        out, expected = mo.legendre(phi, bounds=bounds), brute_force(phi, bounds)
        assert out.shape == shape and out.dtype == np.float64
        rounding = 1e-13 * max(1.0, np.abs(expected).max(), np.abs(phi).max())
        assert np.abs(out - expected).max() <= rounding, name


def test_default_bounds_are_the_unit_square(rng):
    phi = rng.standard_normal((9, 11))
    assert (mo.legendre(phi) == mo.legendre(phi, bounds=UNIT)).all()


@pytest.mark.jit
def test_long_and_large_grids(rng):
    """Sizes beyond one block, by the maximum along each axis in turn."""
    for shape in [(67, 300), (300, 67), (257, 255)]:
        x1, x2 = (np.arange(n)[:, None] + 0.5 for n in shape)
        x1, x2 = x1 / shape[0], x2 / shape[1]
        for phi in (rng.standard_normal(shape), 0.3 * np.cos(20 * x1) * np.sin(17 * x2.T)):
            inner = np.array([(x2 * x2.T - row).max(axis=1) for row in phi])
            expected = np.array([(x1 * x1.T + column).max(axis=1) for column in inner.T]).T
            assert np.abs(mo.legendre(phi) - expected).max() < 1e-13 * max(1, np.abs(phi).max())


def test_half_the_square_is_its_own_conjugate():
    for shape, bounds in [((20, 31), UNIT), ((12, 9), BOUNDS[1])]:
        x1, x2 = centres(shape, bounds)
        half = (x1**2 + x2**2) / 2
        assert np.allclose(mo.legendre(half, bounds=bounds), half, rtol=1e-14, atol=1e-14)


def test_shifts_of_the_function_and_of_its_slope(rng):
    """(phi + c)* = phi* - c; (phi - k h x1)* is phi* moved by k cells, where the maximum allows it."""
    phi = rng.standard_normal((14, 17))
    assert np.allclose(mo.legendre(phi + 2.5), mo.legendre(phi) - 2.5, atol=1e-13)
    x1, x2 = centres(phi.shape)
    tilted = mo.legendre(phi - 3 / 14 * x1 - 2 / 17 * x2)
    assert np.allclose(tilted[:-3, :-2], mo.legendre(phi)[3:, 2:], atol=1e-13)


@pytest.mark.parametrize("bounds", BOUNDS[:2])
def test_order_fenchel_young_and_three_transforms(bounds, rng):
    shape = (13, 10)
    x1, x2 = centres(shape, bounds)
    products = np.multiply.outer(x1, x1) + np.multiply.outer(x2, x2)
    for name, phi in potentials(shape, bounds, rng):
        star = mo.legendre(phi, bounds=bounds)
        slack = phi + star[:, :, None, None] - products
        rounding = 1e-13 * np.abs(products).max() + 1e-13 * np.abs(phi).max()
        assert slack.min() >= -rounding, name
        assert np.abs(slack.min(axis=(2, 3))).max() <= rounding, name  # each y has an x with equality
        twice = mo.legendre(star, bounds=bounds)
        assert (twice <= phi + rounding).all(), name
        assert np.allclose(mo.legendre(twice, bounds=bounds), star, rtol=0, atol=2 * rounding), name
        bigger = phi + rng.uniform(0, 1, shape)
        assert (mo.legendre(bigger, bounds=bounds) <= star + rounding).all(), name


def test_result_is_convex(rng):
    star = mo.legendre(rng.standard_normal((21, 18)))
    ways = [np.diff(star, 2, axis=0), np.diff(star, 2, axis=1)]
    ways += [star[2:, 2:] - 2 * star[1:-1, 1:-1] + star[:-2, :-2]]
    ways += [star[2:, :-2] - 2 * star[1:-1, 1:-1] + star[:-2, 2:]]
    assert min(way.min() for way in ways) > -1e-13


def test_biconjugate_is_the_lower_hull_up_to_the_grid_of_slopes(rng):
    """Slopes are grid points too, so at most the distance to the nearest one is lost."""
    n = 24
    x1, x2 = centres((n, n))
    wells = np.minimum(
        (x1 - 0.2) ** 2 + 0.7 * (x2 - 0.3) ** 2, (x1 - 0.8) ** 2 + 1.1 * (x2 - 0.6) ** 2 + 0.03
    )
    phi = 0.4 * wells + 0.002 * rng.uniform(size=(n, n)) + 0.5 * x1 + 0.5 * x2
    twice, hull = mo.legendre(mo.legendre(phi)), lower_hull(phi)
    assert (phi - hull).max() > 0.01  # the hull does something
    assert (twice <= hull + 1e-12).all()
    assert (twice >= hull - 1 / n).all()


def test_biconjugate_is_the_lower_hull_where_its_slopes_are_on_the_grid(rng):
    """The largest of a few planes with slopes on the grid, some points of it lifted at random."""
    n1, n2 = 15, 12
    x1, x2 = centres((n1, n2))
    convex = np.full((n1, n2), -np.inf)
    for i, j in [(1, 2), (12, 3), (7, 10), (13, 9), (5, 5)]:
        slope = x1[i, j], x2[i, j]
        convex = np.maximum(convex, slope[0] * (x1 - x1[i, j]) + slope[1] * (x2 - x2[i, j]) + 0.01 * (i + j))
    assert np.allclose(mo.legendre(mo.legendre(convex)), convex, rtol=0, atol=1e-13)
    raised = convex + np.where(rng.uniform(size=(n1, n2)) < 0.5, rng.uniform(size=(n1, n2)), 0.0)
    hull = lower_hull(raised)
    twice = mo.legendre(mo.legendre(raised))
    assert (twice >= convex - 1e-13).all() and (twice <= hull + 1e-12).all()
    on = np.abs(hull - convex) < 1e-12
    assert on.mean() > 0.5
    assert np.allclose(twice[on], hull[on], rtol=0, atol=1e-12)


def test_input_of_legendre_is_left_alone_and_lists_and_integers_do(rng):
    phi = rng.standard_normal((6, 5))
    before = phi.copy()
    star = mo.legendre(phi)
    assert (phi == before).all()
    assert (mo.legendre(phi.tolist()) == star).all()
    assert (mo.legendre(np.asfortranarray(phi)) == star).all()
    wide = np.zeros((12, 10))
    wide[::2, ::2] = phi
    assert (mo.legendre(wide[::2, ::2]) == star).all()
    whole = rng.integers(-3, 3, (5, 4))
    assert np.allclose(mo.legendre(whole), brute_force(whole))
    assert np.allclose(mo.legendre(phi.astype(np.float32)), star, atol=1e-5)


# The pushforward.


def bump(shape, centre, width, bounds=UNIT):
    """A smooth bump with compact support of the given half-widths, of mass one."""
    x1, x2 = centres(shape, bounds)
    d1, d2 = np.broadcast_to(width, 2)
    u, v = np.abs(x1 - centre[0]) / d1, np.abs(x2 - centre[1]) / d2
    density = np.where((u < 1) & (v < 1), np.cos(np.pi * u / 2) ** 2 * np.cos(np.pi * v / 2) ** 2, 0.0)
    return density / density.mean() / np.prod([b - a for a, b in bounds])


def half_square(shape, bounds=UNIT):
    x1, x2 = centres(shape, bounds)
    return (x1**2 + x2**2) / 2


def test_identity_leaves_a_density_where_it_is(rng):
    for shape, bounds in [((12, 12), UNIT), ((9, 14), BOUNDS[1])]:
        mu = bump(shape, [(a + b) / 2 for a, b in bounds], [(b - a) / 3 for a, b in bounds], bounds)
        assert np.allclose(
            mo.push_grid(mu, half_square(shape, bounds), bounds=bounds), mu, atol=1e-10 * mu.max()
        )
        mu = rng.uniform(size=shape)  # up to the edge
        assert np.allclose(mo.push_grid(mu, half_square(shape, bounds), bounds=bounds), mu, atol=1e-10)


@pytest.mark.parametrize("cells", [(3, 0), (0, -2), (-4, 5)])
def test_translation_by_whole_cells(cells):
    n1, n2 = 24, 30
    x1, x2 = centres((n1, n2))
    mu = bump((n1, n2), (0.5, 0.5), 0.25)
    phi = half_square((n1, n2)) + cells[0] / n1 * x1 + cells[1] / n2 * x2
    assert np.allclose(mo.push_grid(mu, phi), np.roll(mu, cells, axis=(0, 1)), atol=1e-9)


def test_translation_by_parts_of_a_cell_keeps_the_mean(rng):
    n = 20
    x1, x2 = centres((n, n))
    mu = bump((n, n), (0.5, 0.5), 0.3) * rng.uniform(size=(n, n))
    out = mo.push_grid(mu, half_square((n, n)) + 0.013 * x1 - 0.031 * x2)
    assert (out >= 0).all()
    for x, shift in ((x1, 0.013), (x2, -0.031)):
        assert np.isclose((x * out).sum(), (x * mu).sum() + shift * mu.sum(), rtol=1e-10)


@pytest.mark.parametrize("size", [1e-4, 1e-2, 0.3, pytest.param(30.0, marks=pytest.mark.jit)])
@pytest.mark.parametrize("shape", [(10, 10), (5, 16), (16, 5)])
def test_random_potentials_lose_no_mass(shape, size, rng):
    """Gradients that fold, stretch hundredfold and leave the box: mass stays, positive and inside."""
    phi = half_square(shape) + size * rng.standard_normal(shape) / np.prod(shape) ** 0.5
    mu = rng.exponential(size=shape) * (rng.uniform(size=shape) < 0.7)
    before = mu.copy(), phi.copy()
    out = mo.push_grid(mu, phi)
    assert out.shape == shape and (out >= 0).all()
    assert np.isclose(out.sum(), mu.sum(), rtol=1e-12)
    assert (mu == before[0]).all() and (phi == before[1]).all()


def test_what_leaves_the_box_stays_at_its_edge():
    n = 16
    x1, x2 = centres((n, n))
    mu = bump((n, n), (0.5, 0.5), 0.3)
    for shift, side in ((5.0, -1), (-5.0, 0)):
        out = mo.push_grid(mu, half_square((n, n)) + shift * x1)
        assert np.isclose(out[side].sum(), mu.sum(), rtol=1e-12)
        assert np.allclose(out[side], mu.sum(axis=0), atol=1e-9)  # the other coordinate does not move
    out = mo.push_grid(mu, half_square((n, n)) + 9 * x1 - 9 * x2)
    assert np.isclose(out[-1, 0], mu.sum(), rtol=1e-12)


def test_mass_and_zero_are_respected(rng):
    phi = half_square((10, 10)) + 1e-3 * rng.standard_normal((10, 10))
    mu, nu = rng.uniform(size=(2, 10, 10))
    assert (mo.push_grid(np.zeros((10, 10)), phi) == 0).all()
    assert np.allclose(mo.push_grid(7 * mu, phi), 7 * mo.push_grid(mu, phi), rtol=1e-12)
    wide = 3.0 * (phi - 1.5 * sum(centres((10, 10))) + 1.5)  # each cell falls to several
    for unit in (1e-12, 1e12):
        out = mo.push_grid(unit * mu, wide)
        assert np.allclose(out, unit * mo.push_grid(mu, wide), rtol=1e-9, atol=1e-12 * out.max())
    assert np.allclose(mo.push_grid(mu + nu, phi), mo.push_grid(mu, phi) + mo.push_grid(nu, phi), rtol=1e-12)


def modes(density):
    """Means of the density times cos(k pi x1) cos(l pi x2) for k, l < 5."""
    return dctn(density)[:5, :5] / density.size / 4


@pytest.mark.parametrize(
    "stretch",
    [(3.0, 3.0, 0.0), (0.5, 0.5, 0.0), (3.5, 0.7, 0.0), (1.0, 2.6, 0.0), (1.4, 2.2, 0.9), (0.8, 0.6, -0.5)],
)
def test_linear_maps_of_a_bump(stretch):
    """Mean and covariance become what they should, to the size of a cell, with no holes at any stretch."""
    n1, n2 = 60, 64
    x1, x2 = centres((n1, n2))
    matrix, c = np.array([[stretch[0], stretch[2]], [stretch[2], stretch[1]]]), np.array([0.48, 0.53])
    mu = bump((n1, n2), c, 0.12)
    d1, d2 = x1 - c[0], x2 - c[1]
    out = mo.push_grid(
        mu, c[0] * x1 + c[1] * x2 + (np.stack([d1, d2]) * np.tensordot(matrix, [d1, d2], 1)).sum(0) / 2
    )
    assert np.isclose(out.sum(), mu.sum(), rtol=1e-12)
    x = np.stack([x1.ravel(), x2.ravel()])
    (m, m_out), (cov, cov_out) = zip(*(moments(x, a) for a in (mu, out)), strict=True)
    assert np.allclose(m_out, c + matrix @ (m - c), atol=1e-9)
    more = (
        cov_out - matrix @ cov @ matrix
    )  # splatting blurs by less than a cell, cutting by less than a piece
    assert (
        -1e-9
        < np.linalg.eigvalsh(more)[0]
        <= np.linalg.eigvalsh(more)[1]
        < (1 + matrix.max() ** 2) / 4 / n1**2
    )
    if stretch[2] == 0:
        expected = bump((n1, n2), c, 0.12 * np.diag(matrix))
        assert np.abs(modes(out - expected)).max() < 0.01
        inside = expected > 0.1 * expected.max()
        assert (out[inside] > 0.4 * expected[inside]).all()


def moments(x, density):
    weight = density.ravel() / density.sum()
    mean = x @ weight
    return mean, (weight * (x - mean[:, None])) @ (x - mean[:, None]).T


def test_edges_are_mirrors(rng):
    """On a box mirrored to four the same map moves the mirrored density, and each quarter gets its own."""
    shape = (8, 11)
    u, v = centres(shape)
    phi = half_square(shape) + 0.02 * np.cos(np.pi * u) * np.cos(2 * np.pi * v) - 0.01 * u * v
    mu = rng.uniform(size=shape)
    four = [np.block([[a[::-1, ::-1], a[::-1]], [a[:, ::-1], a]]) for a in (mu, phi)]
    out = mo.push_grid(*four, bounds=((-1, 1), (-1, 1)))
    assert np.allclose(out[8:, 11:], mo.push_grid(mu, phi), atol=1e-9)


@pytest.mark.jit
def test_error_of_the_pushforward_falls_with_the_grid():
    """To second order in slow waves; cell by cell, splats that lie a cell and a half apart ripple."""
    errors = []
    for n in (32, 64, 128, 256):
        x1, x2 = centres((n, n))
        mu = bump((n, n), (0.4, 0.5), 0.2)
        phi = 0.5 * x1 + 0.5 * x2 + 1.6 * (x1 - 0.4) ** 2 / 2 + 0.6 * (x2 - 0.5) ** 2 / 2
        out = mo.push_grid(mu, phi)
        errors.append(np.abs(modes(out - bump((n, n), (0.5, 0.5), (0.32, 0.12)))).max())
    assert errors[0] < 0.05
    assert errors[3] < errors[0] / 30  # second order


def test_a_kink_tears_mass_apart_without_filling_the_gap():
    """Where phi has the kink 0.25 |x1 - 1/2| both halves move apart, and at most four columns smear."""
    n = 32
    x1, _ = centres((n, n))
    mu = bump((n, n), (0.5, 0.5), 0.2)
    out = mo.push_grid(mu, half_square((n, n)) + 0.25 * np.abs(x1 - 0.5))
    left, right = mu.copy(), mu.copy()
    left[n // 2 :], right[: n // 2] = 0.0, 0.0
    expected = np.roll(left, -n // 4, axis=0) + np.roll(right, n // 4, axis=0)
    assert np.isclose(out.sum(), mu.sum(), rtol=1e-12)
    assert np.abs(out - expected).sum() <= 2 * mu[n // 2 - 2 : n // 2 + 2].sum() + 1e-9
    far = np.abs(x1 - 0.5) > 0.25 + 2.5 / n
    assert np.allclose(out[far], expected[far], atol=1e-9)


def test_bounds_rescale_map_and_potential(rng):
    """In other units of each axis the same map moves the same cells."""
    bounds = ((-1.0, 2.0), (5.0, 5.5))
    shape = (14, 12)
    u, v = centres(shape)
    mu = rng.uniform(size=shape)
    f, g = 0.9 * u**2 / 2 + 0.02 * np.cos(5 * u), 1.1 * v**2 / 2 - 0.1 * v
    x1, x2 = centres(shape, bounds)
    phi = -1.0 * x1 + 5.0 * x2 + 9.0 * f + 0.25 * g
    assert np.allclose(mo.push_grid(mu, phi, bounds=bounds), mo.push_grid(mu, f + g), atol=1e-9)


def test_push_takes_lists_and_single_precision(rng):
    mu, phi = rng.uniform(size=(6, 7)), half_square((6, 7)) + 0.01 * rng.standard_normal((6, 7))
    out = mo.push_grid(mu, phi)
    assert np.array_equal(mo.push_grid(mu.tolist(), phi.tolist()), out)
    assert np.allclose(mo.push_grid(mu.astype(np.float32), phi), out, atol=1e-5)
    assert np.array_equal(mo.push_grid(np.asfortranarray(mu), np.asfortranarray(phi)), out)


# Both.


@pytest.mark.jit
def test_any_number_of_threads_gives_the_same_bits():
    code = """
import hashlib, numpy as np, mini_ot as mo
rng = np.random.default_rng(0)
n = 1100
x = (np.arange(n) + 0.5) / n
phi = (x[:, None] ** 2 + x**2) / 2 + 0.02 * np.cos(9 * x)[:, None] * np.cos(7 * x)
star = mo.legendre(phi + 1e-3 * rng.standard_normal((n, n)))
out = mo.push_grid(rng.uniform(size=(n, n)), phi)
print(*[hashlib.sha256(a.tobytes()).hexdigest() for a in (star, out)])
"""
    seen = set()
    for threads in ("1", "3"):
        done = run(code, MINI_OT_NUM_THREADS=threads)
        assert done.returncode == 0, done.stderr
        seen.add(done.stdout)
    assert len(seen) == 1


GOOD = np.ones((4, 5))
BAD_BOUNDS = [
    (((0, 1),), "ValueError"),
    (((0, 1), (1, 1)), "ValueError"),
    (((1, 0), (0, 1)), "ValueError"),
    (((0, np.nan), (0, 1)), "ValueError"),
    (((0, np.inf), (0, 1)), "ValueError"),
    (((0, 1), (0, 1), (0, 1)), "ValueError"),
    ("unit", "TypeError"),
    (3, "either"),
]


def bad(value, where):
    array = np.ones((4, 5))
    array[where] = value
    return array


@pytest.mark.parametrize(
    ("phi", "kind"),
    [
        (np.ones(5), ValueError),
        (np.ones((3, 3, 3)), ValueError),
        (np.ones((0, 4)), ValueError),
        (np.ones((3, 8)), ValueError),  # a gradient needs a few cells
        (np.ones((8, 1)), ValueError),
        (bad(np.nan, (1, 2)), ValueError),
        (bad(np.inf, (0, 0)), ValueError),
        (bad(-np.inf, (3, 4)), ValueError),
        (GOOD * 1j, TypeError),
        ("text", TypeError),
        (None, ValueError),
        ([[1.0, 2.0], [3.0]], TypeError),
    ],
)
def test_bad_potentials(phi, kind):
    mu = np.ones(np.shape(phi)) if kind is ValueError else GOOD
    for call in (lambda: mo.legendre(phi), lambda: mo.push_grid(mu, phi)):
        with pytest.raises(kind, match=r"(phi|mu) must be .*got"):
            call()


@pytest.mark.parametrize(
    ("mu", "kind"),
    [
        (np.ones(5), ValueError),
        (bad(np.nan, (1, 2)), ValueError),
        (bad(-0.1, (1, 2)), ValueError),
        (np.ones((5, 4)), ValueError),
        (GOOD * 1j, TypeError),
        (None, ValueError),
    ],
)
def test_bad_densities_to_push(mu, kind):
    with pytest.raises(kind, match=r"mu .*must .*got"):
        mo.push_grid(mu, GOOD)


@pytest.mark.parametrize(("bounds", "kind"), BAD_BOUNDS)
def test_bad_bounds(bounds, kind):
    kinds = {"ValueError": ValueError, "TypeError": TypeError, "either": (TypeError, ValueError)}[kind]
    for call in (lambda: mo.legendre(GOOD, bounds=bounds), lambda: mo.push_grid(GOOD, GOOD, bounds=bounds)):
        with pytest.raises(kinds, match=r"bounds must be .*got"):
            call()
