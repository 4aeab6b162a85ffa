"""Kernels against their formulas, derivatives against differences, fast arithmetic against NumPy's."""

import os
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from numba import njit
from scipy.spatial.distance import cdist

import mini_ot as mo
from mini_ot import _grid, _jit, _pairs, _vector_math

H = 0.7
PROFILES = {  # of the distance, independent of the package
    mo.Gaussian(H): lambda r: np.exp(-(r**2) / (2 * H**2)),
    mo.Laplace(H): lambda r: np.exp(-r / H),
    mo.InverseMultiquadric(H): lambda r: 1 / np.sqrt(1 + r**2 / H**2),
    mo.Energy(): lambda r: -r,
    mo.Mixture([mo.Gaussian(H), mo.Energy()], [2.0, 0.5]): lambda r: (
        2 * np.exp(-(r**2) / (2 * H**2)) - 0.5 * r
    ),
}
KERNELS = list(PROFILES)
all_kernels = pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
all_dims = pytest.mark.parametrize("dim", [1, 2, 3, 10, 16])
JIT = not os.environ.get("NUMBA_DISABLE_JIT")
KINKED = mo.Laplace, mo.Energy


def clouds(rng, n=23, m=31, dim=2, dtype=np.float64):
    return rng.standard_normal((n, dim)).astype(dtype), (rng.standard_normal((m, dim)) + 0.3).astype(dtype)


def differences(f, x, step=1e-5):
    """Central differences of f along every column of x, in the last axis."""
    return np.stack([(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(x.shape[1])], axis=-1)


def close(ours, truth, tolerance):
    assert ours.shape == truth.shape
    assert np.abs(ours - truth).max() <= tolerance * np.abs(truth).max()


@all_kernels
@all_dims
def test_values_are_the_formula(kernel, dim, rng):
    x, y = clouds(rng, dim=dim)
    truth = PROFILES[kernel](cdist(x, y))
    close(kernel(x, y), truth, 1e-13)
    close(kernel.mean(x, y), truth.mean(axis=1), 1e-13)
    assert np.isclose(kernel.at_zero, PROFILES[kernel](0.0))


@all_kernels
@all_dims
def test_gradient_and_hessian_are_differences(kernel, dim, rng):
    x, y = clouds(rng, 5, 7, dim)
    close(kernel.gradient(x, y), differences(lambda z: PROFILES[kernel](cdist(z, y)).mean(axis=1), x), 1e-8)
    truth = differences(lambda z: kernel.gradient(z, y), x)
    assert np.allclose(kernel.hessian(x, y), truth, rtol=0, atol=1e-8 * max(np.abs(truth).max(), 1))


@all_kernels
@pytest.mark.parametrize("operation", ["__call__", "mean", "gradient", "hessian"])
@pytest.mark.parametrize("dim", [1, 2, 3, 16])
def test_float32_stays_float32_and_is_accurate(kernel, operation, dim, rng):
    x, y = clouds(rng, 40, 1500 if JIT else 50, dim, np.float32)
    ours = getattr(kernel, operation)(x, y)
    assert ours.dtype == np.float32
    truth = getattr(kernel, operation)(x.astype(float), y.astype(float))
    if operation == "hessian" and isinstance(kernel, KINKED) and dim == 1:
        # Terms of size 1 / r cancel, and leave their rounding.
        assert np.abs(ours - truth).max() < 1e-6 * np.abs(1 / cdist(x, y)).mean(axis=1).max()
    else:
        close(ours, truth, 4e-6 if operation == "hessian" else 1e-6)
    assert getattr(kernel, operation)(x, y.astype(float)).dtype == np.float64
    assert getattr(kernel, operation)(x.astype(int), y).dtype == np.float64


@all_kernels
def test_coinciding_points_give_numbers(kernel, rng):
    x = np.repeat(rng.standard_normal((4, 2)), 2, axis=0)
    for operation in (kernel.mean, kernel.gradient, kernel.hessian):
        assert np.isfinite(operation(x, x)).all()
    assert not kernel.gradient(x[:1], x[:2]).any()
    if isinstance(kernel, KINKED):
        assert not kernel.hessian(x[:1], x[:2]).any()


@all_kernels
@pytest.mark.parametrize("dim", [1, 2, 16])
def test_double_sum_is_that_of_the_table(kernel, dim, rng):
    x, y = clouds(rng, 40, 50, dim)
    table = kernel(x, x)
    assert np.isclose(_pairs.double_sum(kernel, x), table.sum() - 40 * kernel.at_zero, rtol=1e-12)
    assert np.isclose(_pairs.double_sum(kernel, x, y), kernel(x, y).sum(), rtol=1e-12)
    assert np.isclose(_pairs.double_sum(kernel, x, y.astype(np.float32)), kernel(x, y).sum(), rtol=1e-6)
    assert abs(_pairs.double_sum(kernel, x[:1])) < 1e-12


@pytest.mark.jit
@all_kernels
def test_sums_over_many_tiles(kernel, rng):
    """Just below, at and above whole tiles; and rows of several blocks."""
    for m in (_pairs.TILE - 1, _pairs.TILE, 2 * _pairs.TILE + 1):
        for dim in (2, 16):
            x, y = clouds(rng, _pairs.BLOCK + 3, m, dim)
            close(kernel.mean(x, y), kernel(x, y).mean(axis=1), 1e-12)
            parts = [kernel.gradient(x, y[half::2]) * len(y[half::2]) / m for half in (0, 1)]
            close(kernel.gradient(x, y), sum(parts), 1e-12)
    z = clouds(rng, 1, 2 * _pairs.TILE + 5)[1]
    assert np.isclose(_pairs.double_sum(kernel, z), kernel(z, z).sum() - len(z) * kernel.at_zero, rtol=1e-12)


@all_kernels
def test_shifting_and_scaling(kernel, rng):
    """Far from the origin nothing is lost, as differences of the points themselves are taken."""
    x, y = (np.round(z * 64) / 64 for z in clouds(rng))  # so that the shift is exact
    close(kernel.gradient(x + 2**20, y + 2**20), kernel.gradient(x, y), 1e-14)
    x, y = (np.round(z * 64).astype(np.float32) / 64 for z in (x, y))
    close(kernel.gradient(x + 256, y + 256), kernel.gradient(x, y), 1e-6)


@pytest.mark.parametrize("name", ["Gaussian", "Laplace", "InverseMultiquadric"])
@pytest.mark.parametrize("h", [1e-30, 1e-9, 3.0, 1e20])
def test_any_bandwidth(name, h, rng):
    x, y = clouds(rng, 5, 6)
    unit = getattr(mo, name)(1.0)
    close(getattr(mo, name)(h).mean(h * x, h * y), unit.mean(x, y), 1e-10)
    close(getattr(mo, name)(h).gradient(h * x, h * y) * h, unit.gradient(x, y), 1e-10)
    assert np.isfinite(getattr(mo, name)(h).gradient(x, y)).all()


@pytest.mark.jit
def test_same_bits_for_any_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr(_jit, "_PAIRS_WORTH_A_THREAD", 100)
    for kernel in KERNELS:
        for dim in (2, 16):
            x, y = clouds(rng, 467, 153, dim)
            seen = set()
            for threads in (1, 2, 3, 8):
                monkeypatch.setattr(_jit, "num_threads", lambda threads=threads: threads)
                results = kernel.mean(x, y), kernel.gradient(x, y), kernel.hessian(x[:9], y)
                both = _pairs.double_sum(kernel, x), _pairs.double_sum(kernel, x, y)
                grid = mo.Gaussian(1.0).gradient(x[:, :2], y[:, :2], method="grid")
                seen.add((*(r.tobytes() for r in results), *both, grid.tobytes()))
            assert len(seen) == 1


@pytest.mark.jit
@pytest.mark.parametrize(("real", "tolerance"), [(np.float64, 3e-14), (np.float32, 3e-7)])
def test_exp2_and_rsqrt(real, tolerance):
    """Against NumPy, down to where exp2 stops at the smallest normal number."""
    exponent = np.linspace(0, -np.finfo(real).minexp - 1, 3001).astype(real)

    @njit
    def both(q, t, a, b):
        out = np.empty((2, len(q)), q.dtype)
        for j in range(len(q)):
            out[0, j], out[1, j] = _vector_math.exp2(q[j], a, b), _vector_math.rsqrt(t[j])
        return out

    t = np.logspace(-30, 30, 3001).astype(real)
    ours = both(exponent, t, real(-1), real(-1)).astype(float)
    assert np.abs(ours[0] / 2.0 ** -exponent.astype(float) - 1).max() < tolerance
    assert np.abs(ours[1] * np.sqrt(t.astype(float)) - 1).max() < tolerance
    extreme = np.array([np.inf, 1e30], real)
    ours = both(extreme, np.array([0.0, np.inf], real), real(-1), real(-1))
    assert (ours[0] <= 4 * np.finfo(real).tiny).all()
    assert ours[1, 0] == 0
    assert np.isfinite(ours[1, 1])


@pytest.mark.jit
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_reordering_leaves_the_exponential_its_rounding(dim, rng):
    """A compiler allowed to cancel (u + M) - M would turn exp2 into a staircase, up to 41 % off.

    Only the sums may be reordered, so one pair and many pairs must both be right, at odd lengths too.
    """
    for m in (1, 7, 64, 1001):
        x, y = clouds(rng, 50, m, dim)
        gap = x[:, None] - y
        weight = np.exp(-(gap**2).sum(axis=2) / (2 * H**2))
        close(mo.Gaussian(H).mean(x, y), weight.mean(axis=1), 1e-13)
        close(mo.Gaussian(H).gradient(x, y), -(weight[..., None] * gap).mean(axis=1) / H**2, 1e-13)


@pytest.mark.jit
@pytest.mark.parametrize("dim", [2, 16])
def test_memory_is_linear(dim, rng):
    """A table of 20,000 by 20,000 would take 3.2 GB."""
    x, y = clouds(rng, 20_000, 20_000, dim)
    kernel = mo.Gaussian(1.0)
    kernel.gradient(x[:10], y[:10])
    tracemalloc.start()
    kernel.gradient(x[:500], y)
    _pairs.double_sum(kernel, x[:500], y)
    assert tracemalloc.get_traced_memory()[1] < 10 * (x.nbytes + y.nbytes) + 5e6
    tracemalloc.stop()


@pytest.mark.jit
def test_grid_bound_for_single_pairs(rng):
    """The error of a mean is at most that of the worst pair: 1e-5, and 1e-5 / h in a gradient."""
    h, worst = 0.37, np.zeros(2)
    kernel = mo.Gaussian(h)
    for _ in range(100):
        y = rng.random((1, 2)) * h
        x = y + h * rng.standard_normal((500, 2)) * rng.choice([0.3, 1.5, 4.0])
        value = np.abs(kernel.mean(x, y, method="grid") - kernel.mean(x, y)).max()
        slope = np.abs(kernel.gradient(x, y, method="grid") - kernel.gradient(x, y)).max()
        worst = np.maximum(worst, [value, slope * h])
    assert (worst < 1e-5).all()
    assert (worst > 1e-6).all()  # else the bound could be stated sharper


def test_grid_against_exact(rng):
    x, y = clouds(rng, 100, 200)
    kernel = mo.Mixture([mo.Gaussian(0.5), mo.Gaussian(1.5)])
    x[0] = [500.0, 0.0]  # off the grid
    assert np.abs(kernel.mean(x, y, method="grid") - kernel.mean(x, y)).max() < 1e-5
    assert np.abs(kernel.gradient(x, y, method="grid") - kernel.gradient(x, y)).max() < 1e-5 / 0.5
    assert kernel.gradient(x.astype("f"), y.astype("f"), method="grid").dtype == np.float32


def test_grid_says_when_it_cannot_serve(rng):
    x, y = clouds(rng, 5, 6)
    with pytest.raises(ValueError, match=r"'grid' is for Gaussian kernels in the plane, got Laplace\(1\)"):
        mo.Laplace(1.0).mean(x, y, method="grid")
    with pytest.raises(ValueError, match="in 3-D"):
        mo.Gaussian(1.0).gradient(*clouds(rng, dim=3), method="grid")
    with pytest.raises(ValueError, match="method must be 'exact' or 'grid', got 'fft'"):
        mo.Gaussian(1.0).mean(x, y, method="fft")
    with pytest.warns(UserWarning, match="more than 4194304 nodes: using method 'exact'"):
        ours = mo.Gaussian(1e-4).mean(y, y, method="grid")
    assert (ours == mo.Gaussian(1e-4).mean(y, y)).all()
    assert _grid.too_big(1e-300, y)


@all_kernels
def test_kernels_are_values(kernel):
    again = pickle.loads(pickle.dumps(kernel))
    assert again == kernel
    assert hash(again) == hash(kernel)
    assert eval(repr(kernel), vars(mo) | {n: getattr(mo, n) for n in mo._WHERE["kernels"]}) == kernel
    assert sum(kernel == other for other in KERNELS) == 1


def test_equality_sees_kind_and_bandwidth():
    assert mo.Gaussian(1) == mo.Gaussian(1.0)
    assert mo.Gaussian(1.0) != mo.Gaussian(2.0)
    assert mo.Gaussian(1.0) != mo.Laplace(1.0)
    assert mo.Mixture([mo.Energy()]).bandwidth == (1.0,)
    nested = mo.Mixture([mo.Mixture([mo.Gaussian(1.0), mo.Energy()]), mo.Laplace(2.0)])
    assert [w for w, _ in nested.parts] == [0.25, 0.25, 0.5]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: mo.Gaussian(0.0), ValueError, "bandwidth must be positive"),
        (lambda: mo.Laplace(-1), ValueError, "bandwidth must be positive"),
        (lambda: mo.Gaussian(np.nan), ValueError, "bandwidth must be positive"),
        (lambda: mo.Gaussian(1e-40), ValueError, "between 1e-30 and 1e30"),
        (lambda: mo.InverseMultiquadric("wide"), TypeError, "bandwidth must be a positive number"),
        (lambda: mo.Mixture([]), TypeError, "sequence of mini_ot's kernels"),
        (lambda: mo.Mixture(mo.Energy()), TypeError, "sequence of mini_ot's kernels"),
        (lambda: mo.Mixture([mo.Gaussian]), TypeError, "sequence of mini_ot's kernels"),
        (lambda: mo.Mixture([mo.Energy()], [1.0, 2.0]), ValueError, "as many as kernels, got 2 and 1"),
        (lambda: mo.Mixture([mo.Energy()], [-1.0]), ValueError, "each weight must be positive"),
    ],
)
def test_bad_kernels(make, error, message):
    with pytest.raises(error, match=message):
        make()


@all_kernels
@pytest.mark.parametrize("operation", ["__call__", "mean", "gradient", "hessian"])
def test_bad_points(kernel, operation):
    f, x = getattr(kernel, operation), np.zeros((3, 2))
    with pytest.raises(ValueError, match="same number of columns, got 2 and 3"):
        f(x, np.zeros((3, 3)))
    with pytest.raises(ValueError, match="y must be finite"):
        f(x, np.array([[0.0, np.nan]]))
    with pytest.raises(ValueError, match="got 0 samples"):
        f(x, np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"bandwidths of 0, got .*; rescale them"):
        f(np.full((1, 2), 1e30, np.float32), x.astype(np.float32))


def test_no_warning_is_needed_to_import():
    code = "import warnings; warnings.simplefilter('error'); import mini_ot as mo; mo.Gaussian(1.0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
