"""Gaussian kernel sums over all pairs, beside JAX, PyTorch and SciPy; and the grid that replaces them.

``python -m benchmarks.kernel_sums [n ...] [--dim 64]``, by default 1,000 and 10,000 points in the plane, on
one thread.  Drift: the gradient of the kernel mean at n points for n sources.  MMD^2: between two clouds.
Every peer works in blocks of rows, whose size and way of computing |x - y|^2 were chosen for its best time.
Beside each result stands its largest error over that of float64, relative to the largest drift.
"""

import os

import benchmarks._one_thread  # noqa: F401  isort: skip

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import argparse

import numpy as np
from scipy.spatial.distance import cdist

import mini_ot as mo
from benchmarks._side_by_side import header, side_by_side

try:
    import jax

    jax.config.update("jax_enable_x64", True)
except ImportError:
    jax = None
try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None


def blocks(n: int, size: int):
    return (slice(low, low + size) for low in range(0, n, size))


def rows_at_once(y) -> int:
    """Tables of half a megabyte were best for SciPy and PyTorch, but at least 8 rows."""
    return max(8, 64_000 // len(y))


def scipy_weights(x, y, h):
    for rows in blocks(len(x), rows_at_once(y)):
        table = cdist(x[rows], y, "sqeuclidean")
        table *= -1 / (2 * h * h)
        yield rows, np.exp(table, out=table)


def torch_weights(x, y, h):
    square = (y * y).sum(1)
    for rows in blocks(len(x), rows_at_once(y)):
        table = torch.addmm(square, x[rows], y.T, alpha=-2)
        table += (x[rows] * x[rows]).sum(1, keepdim=True)
        yield rows, table.mul_(-1 / (2 * h * h)).exp_()


def block_drift(weights, empty_like):
    def drift(x, y, h):
        out = empty_like(x)
        for rows, w in weights(x, y, h):
            out[rows] = (w @ y - w.sum(1)[:, None] * x[rows]) / (h * h * len(y))
        return out

    return drift


def block_mmd2(weights):
    def mean(x, y, h):
        return sum(float(w.sum()) for _, w in weights(x, y, h)) / (len(x) * len(y))

    return lambda x, y, h: mean(x, x, h) + mean(y, y, h) - 2 * mean(x, y, h)


def jax_functions(n: int, dim: int):
    """Drift and MMD^2 by XLA, compiled as a whole; the rows of a block must divide n."""
    from jax import numpy as jnp

    rows_at_once = 40 if dim < 10 else 200

    def weights(rows, y, h):
        squares = (rows * rows).sum(1)[:, None] + (y * y).sum(1) - 2 * rows @ y.T
        return jnp.exp(squares / (-2 * h * h))

    def drift(x, y, h):
        def block(rows):
            w = weights(rows, y, h)
            return (w @ y - w.sum(1)[:, None] * rows) / (h * h * n)

        return jax.lax.map(block, x.reshape(-1, rows_at_once, dim)).reshape(x.shape)

    def mean(x, y, h):
        parts = x.reshape(-1, rows_at_once, dim)
        return jax.lax.map(lambda rows: weights(rows, y, h).mean(), parts).mean()

    def mmd2(x, y, h):
        return mean(x, x, h) + mean(y, y, h) - 2 * mean(x, y, h)

    return jax.jit(drift, static_argnums=2), jax.jit(mmd2, static_argnums=2)


def exact_sums(n: int, dim: int, real, repeats: int) -> None:
    h = 0.5 if dim == 2 else np.sqrt(dim)
    x, y = np.random.default_rng(0).standard_normal((2, n, dim)).astype(real)
    kernel, some = mo.Gaussian(h), slice(0, 200)
    truth = kernel.gradient(x[some].astype(float), y.astype(float))
    drifts = {"mini_ot": lambda: kernel.gradient(x, y)}
    mmds = {"mini_ot": lambda: mo.mmd2(x, y, kernel=kernel, unbiased=False)}
    if jax:
        drift, mmd2 = jax_functions(n, dim)
        u, v = jax.numpy.asarray(x), jax.numpy.asarray(y)
        drifts["JAX"] = lambda: np.asarray(drift(u, v, h))
        mmds["JAX"] = lambda: float(mmd2(u, v, h))
    if torch:
        p, q = torch.from_numpy(x), torch.from_numpy(y)
        torch_drift, torch_mmd2 = block_drift(torch_weights, torch.empty_like), block_mmd2(torch_weights)
        drifts["PyTorch"] = lambda: torch_drift(p, q, h).numpy()
        mmds["PyTorch"] = lambda: torch_mmd2(p, q, h)
    if real is np.float64:
        scipy_drift, scipy_mmd2 = block_drift(scipy_weights, np.empty_like), block_mmd2(scipy_weights)
        drifts["SciPy cdist and NumPy"] = lambda: scipy_drift(x, y, h)
        mmds["SciPy cdist and NumPy"] = lambda: scipy_mmd2(x, y, h)

    def error(drift):
        return f"error {np.abs(drift[some] - truth).max() / np.abs(truth).max():.0e}"

    name = f"{n} x {n} points in {dim}-D, {np.dtype(real)}"
    side_by_side(f"drift, {name}", drifts, repeats=repeats, show=error)
    side_by_side(f"MMD^2, {name}", mmds, repeats=repeats, show=lambda value: f"{value:.9f}")


def grid_sums(n: int, h: float) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, n, 2))
    kernel, some = mo.Gaussian(h), slice(0, 500)
    truth = kernel.gradient(x[some], y)

    def error(drift):
        return f"error {np.abs(drift[some] - truth).max() / np.abs(truth).max():.0e}"

    ways = {m: lambda m=m: kernel.gradient(x, y, method=m) for m in ("grid", "exact")}
    side_by_side(f"drift on a grid, {n} x {n} points, bandwidth {h:g}", ways, repeats=1, show=error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("n", nargs="*", type=int, default=[1000, 10_000], help="numbers of points")
    parser.add_argument("--dim", type=int, default=2)
    asked = parser.parse_args()
    installed = [name for name, module in (("jax", jax), ("torch", torch)) if module]
    header("Sums over pairs", "numpy", "numba", "scipy", *installed)
    for name, module in (("JAX", jax), ("PyTorch", torch)):
        if module is None:
            print(f"  {name}: not installed: pip install -e '.[bench]'")
    for n in asked.n:
        if n % 200:
            parser.error(f"n must be a multiple of 200, for JAX's blocks, got {n}")
        for real in (np.float64, np.float32):
            exact_sums(n, asked.dim, real, repeats=1 if n > 20_000 else 5)
    if asked.dim == 2:
        for h in (0.5, 0.1):
            grid_sums(max(*asked.n, 50_000), h)
