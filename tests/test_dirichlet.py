"""The Dirichlet problem of the Monge-Ampere equation against closed forms and brute force."""

import warnings

import numpy as np
import pytest
from scipy.optimize import linprog

import mini_ot as mo
from mini_ot import _superbases, dirichlet


def r2(points, centre=0.0):
    return ((points - centre) ** 2).sum(axis=1)


def ring(points):
    return np.maximum(np.sqrt(r2(points, 0.5)) - 0.2, 0.0) ** 2 / 2


def ring_determinant(points):
    return np.maximum(1 - 0.2 / np.maximum(np.sqrt(r2(points, 0.5)), 1e-9), 0.0)


def bowl(points):
    return np.exp(r2(points) / 2)


def bowl_determinant(points):
    return (1 + r2(points)) * bowl(points) ** 2


PROBLEMS = {  # determinant and solution: smooth, once differentiable, gradient infinite at a corner
    "exp": (bowl_determinant, bowl),
    "C1": (ring_determinant, ring),
    "sqrt": (lambda p: 2 / (2 - r2(p)) ** 2, lambda p: -np.sqrt(2 - r2(p))),
}


def nodes(x):
    return np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)


def on_nodes(function, x):
    return function(nodes(x).reshape(-1, 2)).reshape(len(x), len(x))


def error(name, n, **options):
    f, exact = PROBLEMS[name]
    s = mo.monge_ampere(f, exact, n=n, **options)
    assert s.is_convex
    assert s.converged
    return abs(s.u - on_nodes(exact, s.x)).max()


def constant(value):
    return lambda points: np.full(len(points), value)


def quadratic(ratio, angle):
    """Return the function with determinant one, and curvatures of that ratio along directions so turned."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([ratio**0.5, ratio**-0.5]) @ turn.T
    return lambda p: np.einsum("ki,ij,kj->k", p, matrix, p) / 2 + p[:, 0] - 3


@pytest.mark.parametrize("scheme", ["monotone", "newton"])
def test_smooth_solutions_to_second_order(scheme):
    coarse, fine = (error("exp", n, scheme=scheme) for n in (16, 32))
    assert fine < 9e-5
    assert np.log2(coarse / fine) > 1.95


@pytest.mark.jit
@pytest.mark.parametrize(
    ("name", "n", "wide", "largest", "order"),
    [
        ("exp", 128, False, 5.6e-6, 1.98),
        ("exp", 128, True, 5.6e-6, 1.98),
        ("sqrt", 128, False, 2.9e-5, 1.45),
        ("C1", 128, True, 4e-5, 1.2),
    ],
)
def test_the_standard_tests(name, n, wide, largest, order):
    coarse, fine = (error(name, m, wide=wide) for m in (n // 2, n))
    assert fine < largest
    assert np.log2(coarse / fine) > order


@pytest.mark.jit
def test_few_steps_on_fine_grids():
    assert mo.monge_ampere(*PROBLEMS["exp"], n=256).steps[-1] <= 3
    assert mo.monge_ampere(*PROBLEMS["sqrt"], n=256).steps[-1] <= 6


@pytest.mark.parametrize("wide", [False, True])
def test_quadratics_are_exact_at_any_angle(wide):
    for angle in np.linspace(0, np.pi, 9)[:-1]:
        exact = quadratic(5.8, angle)
        s = mo.monge_ampere(constant(1.0), exact, n=8, wide=wide)
        assert abs(s.u - on_nodes(exact, s.x)).max() < 1e-6
        assert s.steps[-1] < 8


def test_the_grid_resolves_so_much_and_wide_more():
    exact = quadratic(12.0, np.pi / 8)  # midway between an axis and a diagonal
    off = []
    for wide in (False, True):
        s = mo.monge_ampere(constant(1.0), exact, n=16, wide=wide)
        off.append(abs(s.u - on_nodes(exact, s.x)).max())
    assert off[0] > 1e-3
    assert off[1] < off[0] / 5


@pytest.mark.jit
def test_a_wrong_root_is_reported_as_not_convex():
    f, exact = PROBLEMS["exp"]
    with pytest.warns(RuntimeWarning, match=r"not convex: its second difference along \(.*\) is -2"):
        wrong = mo.monge_ampere(f, exact, n=128, scheme="newton", start="cold")
    assert wrong.converged
    assert wrong.residual < 1e-5
    assert not wrong.is_convex
    assert wrong.least_curvature < -1
    assert abs(wrong.u - on_nodes(exact, wrong.x)).max() > 1e-4
    assert error("exp", 128, start="cold") < 5.6e-6


def test_convexity_is_looked_for_along_diagonals():
    with pytest.warns(RuntimeWarning, match=r"not convex: its second difference along \(1, -?1\)"):
        s = mo.monge_ampere(constant(1.0), constant(0.0), n=8, scheme="newton")
    assert s.converged
    assert np.diff(s.u, 2, axis=0).min() >= 0 <= np.diff(s.u, 2, axis=1).min()  # fine along the axes
    assert mo.monge_ampere(constant(1.0), constant(0.0), n=8).is_convex


def test_boundary_values_that_no_convex_function_has():
    with pytest.warns(RuntimeWarning, match=r"along \(1, 0\).*0\.0\)"):
        s = mo.monge_ampere(constant(1.0), lambda p: np.sin(6 * p[:, 0]), n=16)
    assert s.converged
    assert not s.is_convex


def above_envelope(boundary, wide, n=8):
    """Solve with f = 0, and subtract the largest convex function below the boundary values, node by node."""
    s = mo.monge_ampere(constant(0.0), boundary, n=n, wide=wide)
    points = nodes(s.x).reshape(-1, 2)
    edge = points[((points == 0) | (points == 1)).any(axis=1)]
    means = np.vstack((edge.T, np.ones(len(edge))))
    inner = nodes(s.x)[1:-1, 1:-1].reshape(-1, 2)
    lowest = [linprog(boundary(edge), A_eq=means, b_eq=[*p, 1.0]).fun for p in inner]
    return s.u[1:-1, 1:-1].ravel() - lowest


@pytest.mark.parametrize("wide", [False, True])
def test_zero_determinant_gives_the_convex_envelope(wide):
    gap = above_envelope(lambda p: r2(p, 0.5) ** 2 + np.maximum(p[:, 0] - p[:, 1], 0), wide)
    assert abs(gap).max() < 1e-6


def test_a_crease_between_the_directions_needs_wide():
    narrow, wide = (above_envelope(lambda p: abs(p[:, 0] - 2 * p[:, 1] + 0.5), w) for w in (False, True))
    assert min(narrow.min(), wide.min()) > -1e-6  # fewer conditions: never below the envelope
    assert narrow.max() > 0.1
    assert wide.max() < 1e-6


def test_another_form_of_the_residual():
    """F(D^2 u + t I) = f by the published formula for F, and no other t."""
    rng = np.random.default_rng(0)
    for wide in (False, True):
        u, root = rng.standard_normal((10, 10)) / 81, rng.uniform(0, 2, (8, 8))
        root[2:4] = 0.0
        planes = np.empty((9 if wide else 5, 8, 8))
        _superbases.shortfall(0, 8, u, root, planes)
        for i, j in np.ndindex(8, 8):
            x, y = (
                np.array(np.meshgrid(range(10), range(10), indexing="ij"))
                - 1
                - np.array([i, j])[:, None, None]
            )
            bowl = (x**2 + y**2) / 2 / 81
            for shift, sign in ((0.0, 0), (1e-3, 1), (-1e-3, -1)):
                got = published(u + (planes[-1, i, j] + shift) * bowl, i + 1, j + 1, wide)
                if sign:
                    assert (got - root[i, j] ** 2) * sign > 0
                else:
                    assert np.isclose(got, root[i, j] ** 2, atol=1e-10)


def published(u, i, j, wide):
    """MA-LBR at one node as in its paper; the smallest difference where one is negative."""
    n, values = len(u) - 1, []
    bases = [((1, 0), (0, 1), (1, 1)), ((1, 0), (0, 1), (1, -1))]
    if wide:
        bases += [((1, 0), (1, 1), (2, 1)), ((0, 1), (1, 1), (1, 2))]
        bases += [((1, 0), (1, -1), (2, -1)), ((0, 1), (1, -1), (1, -2))]
    for base in bases:
        if not all(0 <= i + s * a <= n and 0 <= j + s * b <= n for a, b in base for s in (1, -1)):
            continue
        d = [(u[i + a, j + b] + u[i - a, j - b] - 2 * u[i, j]) * n**2 for a, b in base]
        a, b, c = sorted(d, reverse=True)
        inner = (a * b + b * c + c * a) / 2 - (a * a + b * b + c * c) / 4
        values.append(c if c < 0 else b * c if a >= b + c else inner)
    return min(values)


@pytest.mark.parametrize("wide", [False, True])
def test_no_matrix_gives_a_larger_residual(wide):
    """The residual is the largest 2 sqrt(f det A) - <A, D^2 u>, trace A = 1."""
    rng, k = np.random.default_rng(1), 8 if wide else 4
    u, root = rng.standard_normal((7, 7)) / 36, rng.uniform(0, 2, (5, 5))
    planes = np.empty((k + 1, 5, 5))
    _superbases.shortfall(0, 5, u, root, planes)
    matrices = np.einsum("ka,kb->kab", _superbases.DIRECTIONS[:k], _superbases.DIRECTIONS[:k])
    d = np.array(
        [(u[3 + a, 3 + b] + u[3 - a, 3 - b] - 2 * u[3, 3]) * 36 for a, b in _superbases.DIRECTIONS[:k]]
    )

    def value(weights):
        A = np.tensordot(weights, matrices, 1)
        assert np.isclose(np.trace(A), 1)
        return 2 * root[2, 2] * np.sqrt(max(np.linalg.det(A), 0.0)) - weights @ d

    best = planes[:-1, 2, 2]
    assert (best >= 0).all()
    assert np.isclose(value(best), planes[-1, 2, 2])
    for base in _superbases.SUPERBASES[: 6 if wide else 2]:
        for share in rng.dirichlet(np.ones(3), size=300):
            weights = np.zeros(k)
            weights[base] = share / _superbases.LENGTHS[base]
            assert value(weights) <= planes[-1, 2, 2] + 1e-12


@pytest.mark.parametrize(
    ("kernel", "k"), [(_superbases.shortfall, 4), (_superbases.shortfall, 8), (_superbases.determinant, 4)]
)
def test_the_derivative_against_differences(kernel, k):
    rng, m = np.random.default_rng(2), 8
    u = on_nodes(bowl, np.linspace(0, 1, m + 2)) + 0.002 * rng.standard_normal((m + 2, m + 2))
    v, root = np.zeros((m + 2, m + 2)), rng.uniform(0, 2, (m, m))
    v[1:-1, 1:-1] = rng.standard_normal((m, m))
    planes, up, down, out = *(np.empty((k + 1, m, m)) for _ in range(3)), np.empty((m, m))
    for where, at in ((planes, u), (up, u + 1e-7 * v), (down, u - 1e-7 * v)):
        kernel(0, m, at, root, where)
    _superbases.apply_weights(0, m, v, planes, out)
    assert np.allclose((down[-1] - up[-1]) / 2e-7, out, atol=1e-5 * abs(out).max())
    assert np.allclose(_superbases.sparse_matrix(planes) @ v[1:-1, 1:-1].ravel(), out.ravel())


def test_the_residual_bounds_the_error():
    f, exact = PROBLEMS["exp"]
    best = mo.monge_ampere(f, exact, n=16, tol=1e-12).u
    for tol in (1e-1, 1e-2, 1e-4):
        s = mo.monge_ampere(f, exact, n=16, tol=tol)
        assert 0 < abs(s.u - best).max() <= s.residual / 4


@pytest.mark.parametrize("wide", [False, True])
def test_symmetries_of_the_square(wide):
    def f(p):
        return 1 + 4 * p[:, 0] * p[:, 1] ** 2 + (p[:, 1] > 0.6)

    def boundary(p):
        return quadratic(4.0, 0.3)(p) + p[:, 0] ** 4

    u = mo.monge_ampere(f, boundary, n=12, wide=wide, tol=1e-10).u
    turns = {
        "transposed": (lambda p: p[:, ::-1], lambda u: u.T),
        "mirrored": (lambda p: np.column_stack((1 - p[:, 0], p[:, 1])), lambda u: u[::-1]),
        "turned": (lambda p: np.column_stack((p[:, 1], 1 - p[:, 0])), lambda u: np.rot90(u)),
    }
    for name, (move, same) in turns.items():
        g, b = (lambda p, h=h, move=move: h(move(p)) for h in (f, boundary))
        turned = mo.monge_ampere(g, b, n=12, wide=wide, tol=1e-10).u
        assert np.allclose(turned, same(u), atol=1e-8), name


def test_units_do_not_matter():
    f, exact = PROBLEMS["exp"]
    u = mo.monge_ampere(f, exact, n=12).u
    for scheme in ("monotone", "newton"):
        for unit in (1e-60, 1e60):
            s = mo.monge_ampere(
                lambda p, c=unit: c**2 * f(p), lambda p, c=unit: c * exact(p), n=12, scheme=scheme
            )
            assert np.allclose(s.u / unit, u, atol=1e-3)
            assert s.is_convex
            assert s.converged
    zero = mo.monge_ampere(constant(0.0), constant(7.0), n=8)
    assert np.allclose(zero.u, 7.0, atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # far from zero, rounding is all that is left of a small bowl
        mo.monge_ampere(f, lambda p: 1e9 + exact(p), n=16)


@pytest.mark.parametrize("n", [4, 5, 19, 50])
def test_any_number_of_intervals(n):
    s = mo.monge_ampere(*PROBLEMS["exp"], n=n)
    assert s.u.shape == (n + 1, n + 1)
    assert abs(s.u - on_nodes(bowl, s.x)).max() < 0.1 / n**2
    assert s.history["n"][-1] == n
    for level, steps in zip(sorted(set(s.history["n"])), s.steps, strict=True):
        assert s.history["n"].count(level) == steps + 1
    assert s.history["residual"][-1] == s.residual


def test_both_starts_and_both_linear_solvers_agree(monkeypatch):
    nested, cold = (
        mo.monge_ampere(*PROBLEMS["C1"], n=20, start=start, wide=True) for start in ("nested", "cold")
    )
    assert np.allclose(nested.u, cold.u, atol=1e-7)
    assert len(cold.steps) == 1 < len(nested.steps)
    monkeypatch.setattr(dirichlet, "_KRYLOV", 1)
    assert np.allclose(mo.monge_ampere(*PROBLEMS["C1"], n=20, wide=True).u, nested.u, atol=1e-7)


def test_the_gradient():
    s = mo.monge_ampere(*PROBLEMS["exp"], n=20)
    exact = nodes(s.x) * on_nodes(bowl, s.x)[..., None]
    assert s.gradient().shape == (21, 21, 2)
    assert abs(s.gradient() - exact).max() < 0.05
    assert abs(s.gradient() - exact)[1:-1, 1:-1].max() < 0.01


@pytest.mark.parametrize("step", _superbases.DIRECTIONS.tolist())
def test_a_dent_is_found_along_any_direction(step):
    """A function that is concave along one step only, and convex along all others."""
    across = np.array([-step[1], step[0]]) / np.hypot(*step)
    along = np.array(step) / np.hypot(*step)
    x = np.linspace(0, 1, 11)
    u = on_nodes(lambda p: 40 * (p @ across) ** 2 - 0.5 * (p @ along) ** 2, x)
    least, at, direction = _superbases.least_curvature(u, 8)
    assert np.isclose(least, -1.0)
    assert direction == tuple(step)
    u = on_nodes(bowl, x)
    u[4, 7] += 0.02
    least, at, _ = _superbases.least_curvature(u, 8)
    assert np.allclose(at, (0.4, 0.7))


@pytest.mark.filterwarnings("ignore:the solution is not convex")
def test_what_does_not_converge():
    for steps in (1, 4, 5):  # the fifth is not better than the fourth
        with pytest.warns(RuntimeWarning, match=rf"not converged: residual \d.* after {steps} steps"):
            s = mo.monge_ampere(
                lambda p: 1e-3 + 100.0 * (p[:, 0] > 0.5), constant(0.0), n=16, max_steps=steps
            )
        assert not s.converged
        assert s.steps == (steps,)
        assert s.residual == min(s.history["residual"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a coarse grid without mass: all curvatures zero, no Newton step
        warnings.filterwarnings("ignore", message="(the solution is not convex|not converged)")
        spike = mo.monge_ampere(
            lambda p: 1e3 * (abs(p - 0.5).max(axis=1) < 1e-3), constant(0.0), n=18, scheme="newton"
        )
    assert np.isfinite(spike.u).all()
    assert repr(s).startswith("GridSolution(n=16, ")


def test_bad_input():
    f, exact = PROBLEMS["exp"]
    cases = [
        (TypeError, "f must be a function of points", (1.0, exact), {}),
        (TypeError, "boundary must be a function of points", (f, np.zeros((9, 9))), {}),
        (
            ValueError,
            r"f must be non-negative and finite, got -1\.0 at \[.*49 of 49",
            (constant(-1.0), exact),
            {},
        ),
        (ValueError, "f must be non-negative and finite, got nan", (constant(np.nan), exact), {}),
        (ValueError, "f must be non-negative and finite, got inf", (constant(np.inf), exact), {}),
        (ValueError, "boundary must be finite, got nan", (f, constant(np.nan)), {}),
        (ValueError, r"f must return 49 numbers, got an array of shape \(\)", (lambda p: 1.0, exact), {}),
        (ValueError, "f must return 49 numbers, got an array of shape", (lambda p: p, exact), {}),
        (ValueError, "boundary must return 32 numbers", (f, lambda p: ["a"] * len(p)), {}),
        (ValueError, "boundary must return 32 numbers", (f, lambda p: 1j * p[:, 0]), {}),
        (ValueError, "n must be at least 4, got 3", (f, exact), {"n": 3}),
        (TypeError, "n must be a whole number", (f, exact), {"n": 8.0}),
        (
            ValueError,
            "scheme must be one of 'monotone', 'newton', got 'euler'",
            (f, exact),
            {"scheme": "euler"},
        ),
        (ValueError, "start must be one of", (f, exact), {"start": None}),
        (ValueError, "wide must be False", (f, exact), {"scheme": "newton", "wide": True}),
        (ValueError, "tol must be positive", (f, exact), {"tol": 0.0}),
        (ValueError, "max_steps must be at least 1", (f, exact), {"max_steps": 0}),
    ]
    for kind, message, functions, options in cases:
        with pytest.raises(kind, match=message):
            mo.monge_ampere(*functions, **{"n": 8, **options})
