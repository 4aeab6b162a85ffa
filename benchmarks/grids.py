"""Optimal transport between densities on grids, beside entropic solvers, on cases with a closed form.

    python -m benchmarks.grids                            # some minutes: 128^2 and 256^2, then the scaling
    python -m benchmarks.grids --sides 128 --scaling      # the small grid only, no scaling
    python -m benchmarks.grids --sides --scaling 4096     # one row of the scaling only

One thread, unless the variable MINI_OT_NUM_THREADS asks for more of ours.
Every method is run at several settings, and the last column holds what it reached: the relative error of
W2^2, and the error of the map in L2(mu).
The entropic methods are debiased; their map is that of the debiased potentials.
Compilation is off the clock.

OTT runs with kernels, as in the logarithms it takes about 30 times longer; where epsilon is much below 5e-4
kernels underflow, in OTT and in NumPy.  geomloss calls its working code for images, which needs pykeops.
POT has no solver for two densities on a grid, so its exact one gets pooled cells.  Sinkhorn is at its best
on Gaussians, where debiasing takes nearly all of its error away.
"""

# The C code of the method's authors (github.com/Math-Jacobs/bfm, w2.c), measured once on 2026-11-25 against
# commit c93de45, by turns in one process, one thread of a busy Xeon with two cores; gcc 12, FFTW 3.3.10.
# CPU ms an iteration; of ours with levels=1, step="published".  w2.c cuts every cell into 2 x 2 pieces or
# more, we only those that the map stretches: so also ours with at least 2 x 2, and with as many as w2.c.
#
#                                 w2.c -O2   -O3 and -ffast-math   ours   2 x 2   as many
# isotropic Gaussians    256^2          53                    30      8      12        19
#                        512^2         230                   134     38      54        90
#                       1024^2        1002                   587    182     247       429
# Caffarelli's example   256^2          33                    19      7       7         9
#                        512^2         144                    86     32      34        42
#                       1024^2         660                   404    168     164       214
#
# CPU s to a relative error of 1e-3 in W2^2; w2.c does not stop by itself, it was stopped there, while the
# last column is the error that ours had reached by its own test, with tol=1e-3.
#
# isotropic Gaussians    256^2         5.6                   3.2   0.10    2e-5
#                        512^2        24.6                  14.1   0.30    7e-6
#                       1024^2         106                    61   0.70    2e-5
# anisotropic Gaussians  256^2         9.2                   5.3   0.10    3e-5
#                        512^2        36.7                  21.3   0.21    6e-6
# separable waves        256^2        0.18                  0.11   0.05    6e-4
#                        512^2        0.68                  0.34   0.21    2e-4
#
# Caffarelli's example at 1024^2: their Python port (51 iterations, 22.4 s) reaches the value 2.594842e-2,
# w2.c (51 iterations, 33 and 21 s) 2.58963e-2, ours with tol=1e-4 2.594832e-2 in 6.5 s, and with tol=1e-5
# 2.594853e-2 in 12.4 s.

import os

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # read when the libraries below are loaded
os.environ.setdefault("MINI_OT_NUM_THREADS", "1")
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import argparse  # noqa: E402
import resource  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from functools import partial  # noqa: E402
from importlib.metadata import PackageNotFoundError, version  # noqa: E402

import numpy as np  # noqa: E402

import mini_ot as mo  # noqa: E402
from benchmarks import _grid_peers as peers  # noqa: E402
from benchmarks._grid_peers import centres  # noqa: E402
from benchmarks._side_by_side import header, side_by_side  # noqa: E402

WANTED = 1e-3  # relative error of W2^2 in the table of times


# Cases: n -> (mu, nu), W2^2, and the optimal map at points (..., 2)


def bell(mean, cov):
    """Return the Gaussian as a function of points; scaled later."""
    precision = np.linalg.inv(cov)
    return lambda x: np.exp(-np.einsum("...i,ij,...j", x - mean, precision, x - mean) / 2)


def hill(mean, radius):
    """Return a bump with compact support, so that nothing is cut off and around it is vacuum."""
    return lambda x: np.maximum(1 - ((x - mean) ** 2).sum(axis=-1) / radius**2, 0) ** 2


def turned(large, small, angle):
    """Return a covariance from its two standard deviations and its direction."""
    c, s = np.cos(angle), np.sin(angle)
    axes = np.array([[c, -s], [s, c]])
    return axes @ np.diag([large**2, small**2]) @ axes.T


def root(A):
    values, vectors = np.linalg.eigh(A)
    return vectors * np.sqrt(values) @ vectors.T


def gaussians(mean_x, cov_x, mean_y, cov_y):
    mean_x, mean_y = np.array(mean_x), np.array(mean_y)
    half = root(cov_x)
    middle = root(half @ cov_y @ half)
    A = np.linalg.inv(half) @ middle @ np.linalg.inv(half)
    w2_squared = ((mean_x - mean_y) ** 2).sum() + np.trace(cov_x + cov_y - 2 * middle)
    return bell(mean_x, cov_x), bell(mean_y, cov_y), w2_squared, lambda x: mean_y + (x - mean_x) @ A


def translation(shift=(0.3, 0.15), mean=(0.3, 0.4), radius=0.25):
    shift, mean = np.array(shift), np.array(mean)
    return hill(mean, radius), hill(mean + shift, radius), (shift**2).sum(), lambda x: x + shift


def dilation(factor=1.7, mean=(0.5, 0.48), radius=0.25):
    mean = np.array(mean)
    w2_squared = (factor - 1) ** 2 * radius**2 / 4  # a quarter of radius^2 is the mean of |x - mean|^2
    return hill(mean, radius), hill(mean, factor * radius), w2_squared, lambda x: mean + factor * (x - mean)


def split(factor=1.2, shift=5 / 32, mean=(0.5, 0.48), radius=0.25):
    """Return a bump that grows while its halves move apart: the map jumps, and nu has a gap.

    The edges of the gap are also edges of cells where there are a multiple of 32.
    """
    mean = np.array(mean)
    whole = hill(mean, factor * radius)

    def jump(x):
        return shift * np.sign(x[..., :1] - mean[0]) * np.array([1, 0])

    def halves(x):
        return whole(x - jump(x)) * (abs(x[..., 0] - mean[0]) > shift)

    from_middle = 32 * radius / (35 * np.pi)  # the mean of |x_1 - mean_1|
    w2_squared = dilation(factor, mean, radius)[2] + shift**2 + 2 * (factor - 1) * shift * from_middle
    return hill(mean, radius), halves, w2_squared, lambda x: mean + factor * (x - mean) + jump(x)


def separable(a=0.6, b=0.5):
    """Waves onto the uniform density: each coordinate is moved by its own distribution function."""
    p, q = 2 * np.pi, 3 * np.pi

    def waves(x):
        return (1 + a * np.cos(p * x[..., 0])) * (1 + b * np.cos(q * x[..., 1]))

    def shifted(x):
        moves = [a / p * np.sin(p * x[..., 0]), b / q * np.sin(q * x[..., 1])]
        return x + np.stack(moves, axis=-1)

    return waves, lambda x: np.ones(x.shape[:-1]), ((a / p) ** 2 + (b / q) ** 2) / 2, shifted


CASES = {
    "translation": translation(),
    "dilation": dilation(),
    "isotropic Gaussians": gaussians((0.35, 0.4), 0.08**2 * np.eye(2), (0.6, 0.55), 0.05**2 * np.eye(2)),
    "anisotropic Gaussians": gaussians(
        (0.4, 0.4), turned(0.09, 0.05, 0.5), (0.6, 0.55), turned(0.08, 0.04, -0.7)
    ),
    "a bump split in two": split(),
    "separable waves": separable(),
}


def densities(case: str, n: int):
    mu, nu = (density(centres(n)) for density in CASES[case][:2])
    return mu / mu.mean(), nu / nu.mean()


# Methods: (mu, nu, setting) -> (W2^2, a function that returns the map at the centres of an (m, m) grid).


def ours(mu, nu, tol):
    found = mo.back_and_forth(mu, nu, tol=tol, progress=False)
    return found.w2**2, lambda: found.map(centres(len(mu)).reshape(-1, 2)).reshape(*mu.shape, 2)


METHODS = {  # name: (method, the packages that it needs, its settings from quick to accurate, what they are)
    "mini_ot": (ours, (), (1e-2, 1e-3, 1e-4), "tol"),
    "NumPy Sinkhorn": (peers.numpy_sinkhorn, (), (1e-2, 3e-3, 1e-3, 5e-4), "epsilon"),
    "OTT": (peers.ott, ("ott-jax",), (1e-2, 3e-3, 1e-3, 5e-4), "epsilon"),
    "geomloss": (peers.geomloss, ("geomloss", "pykeops"), (0.7, 0.8, 0.9), "scaling"),
    "POT exact": (peers.pot, ("POT",), (32,), "cells a side"),
}


def installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def compare(case: str, n: int, names, repeats: int) -> dict:
    """Time all methods at all settings; return the fewest CPU seconds to the wanted error by method."""
    mu, nu = densities(case, n)
    *_, exact, true_map = CASES[case]
    errors = []

    def error(result):
        value, found_map = result
        T = found_map()
        m = len(T)
        weight = mu.reshape(m, n // m, m, -1).mean(axis=(1, 3))
        square = ((T - true_map(centres(m))) ** 2).sum(axis=-1)
        errors.append(abs(value / exact - 1))
        return f"{errors[-1]:.1e}   {np.sqrt((weight * square)[weight > 0].mean()):.1e}"

    runs = [(name, setting) for name in names for setting in METHODS[name][2]]
    ways = {f"{name}, {METHODS[name][3]} {s:g}": partial(METHODS[name][0], mu, nu, s) for name, s in runs}
    seconds = side_by_side(f"{case}, {n} x {n}", ways, repeats=repeats, show=error)
    best = {}
    for (name, _), spent, reached in zip(runs, seconds.values(), errors, strict=True):
        if reached <= WANTED:
            best[name] = min(spent, best.get(name, np.inf))
    return best


def spent(call, *args, **settings) -> float:
    start = time.process_time()
    call(*args, **settings)
    return time.process_time() - start


def iteration(mu, nu) -> float:
    """Return the CPU seconds of one plain iteration by the published rule."""
    plain = partial(mo.back_and_forth, mu, nu, levels=1, step="published", tol=1e-12, progress=False)
    few, more = 2, 2 + max(2, 4096 // len(mu))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that they stop early is meant
        plain(max_steps=1)
        seconds = {steps: spent(plain, max_steps=steps) for steps in (more, few)}
    return (seconds[more] - seconds[few]) / (more - few)


def scaling(sides, case: str = "isotropic Gaussians") -> None:
    """Print, from small grids to large ones, the cost of an iteration and of a solution, and the memory."""
    heads = ("ms an iteration", "ns/cell", "NumPy Sinkhorn's", "CPU s to 1e-3", "error", "peak GB")
    print(f"\n{case + ', mini_ot alone':<34}" + "".join(f"{head:>18}" for head in heads))
    for n in sorted(sides):  # the peak is that of the process, so the largest comes last
        mu, nu = densities(case, n)
        each, other = iteration(mu, nu), spent(peers.sinkhorn_step, mu, nu, peers.kernel(n, 1e-3))
        start = time.process_time()
        value, _ = ours(mu, nu, WANTED)
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        row = f"{1e3 * each:.1f} {1e9 * each / n**2:.0f} {1e3 * other:.1f} {seconds:.3f}"
        row += f" {abs(value / CASES[case][2] - 1):.1e} {peak:.2f}"
        print(f"{f'{n} x {n}':<34}" + "".join(f"{cell:>18}" for cell in row.split()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sides", nargs="*", type=int, default=[128, 256], help="grids to compare on")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument(
        "--scaling", nargs="*", type=int, default=[256, 512, 1024, 2048], help="grids to time ours on"
    )
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    names = [name for name, (_, needs, _, _) in METHODS.items() if all(map(installed, needs))]
    present = [package for name in names for package in METHODS[name][1]]
    header("Transport between densities on a grid", "numpy", "numba", "scipy", *present)
    for name in [name for name in METHODS if name not in names]:
        print(f"  {name}: not installed: pip install -e '.[bench]'")
    table = {}
    for n in asked.sides:
        if n % 32:
            parser.error(f"sides must be multiples of 32, for POT's pooled cells, got {n}")
        for case in asked.cases:
            table[case, n] = compare(case, n, names, asked.repeats)
    if table:
        print(
            f"\nCPU s to a relative error of {WANTED:g} in W2^2\n{'':<32}"
            + "".join(f"{name:>16}" for name in names)
        )
    for (case, n), best in table.items():
        print(
            f"{f'{case}, {n} x {n}':<32}"
            + "".join(f"{best[m]:>16.3f}" if m in best else f"{'-':>16}" for m in names)
        )
    if asked.scaling:
        scaling(asked.scaling)


if __name__ == "__main__":
    main()
