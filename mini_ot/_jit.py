"""Compiled loops: one decorator, one way to use several cores, one fast exponential.

Decided here once for the whole package:

* Kernels are compiled with a cache, so a second Python process does not compile again.
* Kernels are serial and release the interpreter lock; :func:`by_rows` runs them on blocks of rows in
  Python threads.  Numba's own ``parallel=True`` costs a second of compilation per kernel, stalls for
  milliseconds under OpenMP on a busy machine, and aborts under ``workqueue`` when two threads call it.
* A row's result never depends on which block it is in, so the answer is the same for any thread count.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import pairwise

import numba as nb
import numpy as np
from numba.core import types
from numba.extending import lower_builtin, type_callable

_PAIRS_WORTH_A_THREAD = (
    500_000  # below about half a millisecond of work a second thread costs more than it gives
)


def jit(function=None, **options):
    """Compile `function` with Numba: cached where a cache can be written, without the global lock."""
    if function is None:
        return lambda f: jit(f, **options)
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return nb.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": neither the package nor the home folder is writable
        return nb.njit(**options)(function)


def wide_vectors() -> None:
    """Let the calling compiled function use 512-bit vectors where there are any, up to twice as fast.

    LLVM halves them by default, for the sake of chips that slow down under them; elsewhere this is ignored.
    """


@type_callable(wide_vectors)
def _wide_vectors_type(context):
    return lambda: types.none


@lower_builtin(wide_vectors)
def _wide_vectors_code(context, builder, signature, args):
    with suppress(TypeError):  # llvmlite's own `add` refuses strings; were this to fail, only speed is lost
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
    return context.get_dummy_value()


@cache
def num_threads() -> int:
    """Cores to use: the variable MINI_OT_NUM_THREADS, else those this process may run on."""
    asked = os.environ.get("MINI_OT_NUM_THREADS", "")
    if asked:
        if not asked.isdigit() or int(asked) < 1:
            raise ValueError(f"MINI_OT_NUM_THREADS must be a positive whole number, got {asked!r}")
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="mini_ot")


def by_rows(kernel, rows: int, pairs: int, *args) -> None:
    """Run ``kernel(start, stop, *args)`` over all rows, in threads where `pairs` says that it pays."""
    threads = min(num_threads(), rows, 1 + pairs // _PAIRS_WORTH_A_THREAD)
    if threads < 2:
        kernel(0, rows, *args)
        return
    # Four blocks a thread even out rows of unequal cost and a busy neighbour.
    cuts = np.linspace(0, rows, min(rows, 4 * threads) + 1).astype(int)
    list(_pool(threads).map(lambda block: kernel(*block, *args), pairwise(cuts)))


@jit(fastmath={"contract"})
def fast_exp(t):
    """exp(t) for t <= 0 in vectorisable arithmetic; relative error below 1e-14, 0 below t = -708.

    ``math.exp`` is a library call that LLVM cannot vectorise in Numba's wheels, six times slower here.
    Write t = k log 2 + r with |r| <= log(2) / 2, sum the Taylor series of exp(r), put k in the exponent bits.
    """
    u = max(t, -708.0)
    shifted = u * 1.4426950408889634 + 6755399441055744.0  # adding 1.5 * 2^52 rounds to a whole number ...
    k = shifted - 6755399441055744.0
    r = (u - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = ((p * r + 0.5) * r + 1.0) * r + 1.0
    bits = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52)  # ... and leaves it in the low bits
    return p * np.int64(bits).view(np.float64) if t > -708.0 else 0.0


@jit(fastmath=True)
def fast_sum(values):
    """Sum finite numbers, in the order that suits vector units (the same order every time)."""
    wide_vectors()
    total = 0.0
    for j in range(len(values)):  # indexed: LLVM does not vectorise `for value in values`
        total += values[j]
    return total


@jit
def fast_max(values):
    """Return the largest of some numbers, minus infinity allowed (four chains, as one waits for itself)."""
    wide_vectors()
    a = b = c = d = -np.inf
    whole = len(values) // 4 * 4
    for j in range(0, whole, 4):
        a = max(a, values[j])
        b = max(b, values[j + 1])
        c = max(c, values[j + 2])
        d = max(d, values[j + 3])
    for j in range(whole, len(values)):
        a = max(a, values[j])
    return max(max(a, b), max(c, d))


def warmup() -> None:
    """Compile and cache the package's kernels (a few seconds once, so that the first chapter starts fast)."""
    from . import (
        conditional,
        convexity,
        data_driven,
        density,
        dirichlet,
        energies,
        entropic,
        grid_transport,
        kernel_dual,
        kernels,
        metrics,
        mmd,
        normalizing,
        planar,
        posteriors,
        sliced,
        triangular,
        two_sided,
    )

    x = np.random.default_rng(0).standard_normal((60, 2))
    density.kde(x).log_density(x)
    conditional.conditional_kde(x[:, 0], x[:, 1:]).log_density(x[:, 0], x[:, 1:])
    metrics.energy_distance(x, x[::-1])
    triangular.conditional_map(x[:, 0], x[:, 1], degree=1, rng=0).sample(0.0, 2, rng=0)
    for flow in (normalizing.normalizing_flow, normalizing.dual_ascent_flow):
        flow(x, rng=0, steps=1, candidates=1)
    planar.planar_flow(x, layers=2, steps=2, rng=0).inverse(x)
    wave = energies.PaperEnergy(2)
    planar.variational_flow(wave.log_density, 2, layer="radial", layers=2, steps=2, rng=0)
    gaussian = kernels.Gaussian(1.0)
    gaussian(x, x), gaussian.gradient(x, x), gaussian.hessian(x, x)
    T = data_driven.data_driven_flow(x, x[::-1] ** 3, rng=0, steps=2, features=4)
    T.log_det(x)
    convexity.certify_convex(x, x**3)
    convexity.convex_combination_map(x, x**3).log_det(x)
    mmd.two_sample_test(x, x**3, kernel=gaussian, permutations=2, rng=0)
    for kernel in (gaussian, kernels.Energy()):
        mmd.mmd_flow(x, x**3, kernel=kernel, steps=2)
    entropic.sinkhorn(x, x + 1, epsilon=1.0)
    posteriors.Epidemic().infected(np.zeros((1, 3)))
    for scheme in ("monotone", "newton"):
        dirichlet.monge_ampere(lambda p: 1 + p[:, 0], lambda p: (p**2).sum(axis=1), n=4, scheme=scheme)
    bump = np.exp(-(np.linspace(-2, 2, 16) ** 2))
    grid_transport.back_and_forth(bump[:, None] * bump, bump[:, None] * bump[::-1] ** 2, normalise=True)
    sliced.sliced_energy_gradient(x, x**3, slices=2, rng=0)
    sliced.sliced_mmd_flow(x, x**3, steps=2, rng=0)(x)
    kernel_dual.kernel_dual_ascent(x, x**3, steps=2)
    two_sided.back_and_forth_samples(x, x**3, rng=0, steps=2, features=4)
