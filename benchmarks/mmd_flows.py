"""The sliced energy gradient and the particle flow that uses it, beside PyTorch, POT and NumPy.

CPU seconds add up all threads (run it with MINI_OT_NUM_THREADS=1 OMP_NUM_THREADS=1 for one core); a ratio
above 1 says by how much the peer is slower than mini_ot.  Peers that are not installed are left out.
"""

import argparse
import math
import time

import numpy as np
from scipy.spatial import cKDTree

import mini_ot as mo
from benchmarks._side_by_side import header, side_by_side
from mini_ot.sliced import _spread_out

try:
    import torch
except ImportError:
    torch = None
try:
    import ot
except ImportError:
    ot = None


def torch_gradient(x, y, directions):
    """The sliced energy gradient by sorting in PyTorch: the algorithm of Hertrich et al. (2024), own code."""
    n, m, d = len(x), len(y), x.shape[1]
    a, b = directions @ x.T, (directions @ y.T).sort(dim=1).values
    order = a.argsort(dim=1)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(n).expand_as(order).contiguous())
    slope = (2 * torch.searchsorted(b, a) - m) / m - (2 * rank + 1 - n) / n
    factor = math.sqrt(math.pi) * math.gamma((d + 1) / 2) / math.gamma(d / 2)
    return factor * slope.T.to(x.dtype) @ directions / len(directions)


def numpy_gradient(x, y, directions):
    n, m = len(x), len(y)
    total = np.zeros_like(x)
    for one in directions:
        a, b = x @ one, np.sort(y @ one)
        slope = np.empty(n)
        slope[np.argsort(a)] = 1 - (2 * np.arange(n) + 1) / n
        total += (slope + 2 * np.searchsorted(b, a) / m - 1)[:, None] * one
    return np.pi / 2 * total / len(directions)


def gradients(n: int, slices: int = 100) -> None:
    x, y = mo.StandardNormal().sample(n, rng=0), mo.Checkerboard().sample(n, rng=1)
    directions = _spread_out(slices, 2, np.random.default_rng(0))
    ways = {
        "mini_ot": lambda: mo.sliced_energy_gradient(x, y, slices=slices, rng=0),
        "numpy, one sort a slice": lambda: numpy_gradient(x, y, directions),
    }
    if torch:
        torch.set_num_threads(1)
        for name, kind in (("float32", torch.float32), ("float64", torch.float64)):
            u, v, s = (torch.tensor(a, dtype=kind) for a in (x, y, directions))
            ways[f"torch {name}, sorts of all slices at once"] = lambda u=u, v=v, s=s: torch_gradient(u, v, s)
    if ot:  # another number, but the same sorts
        ways["POT sliced_wasserstein_distance (no gradient)"] = lambda: ot.sliced_wasserstein_distance(
            x, y, n_projections=slices, seed=0
        )
    side_by_side(
        f"sliced energy gradient, {n} against {n}, {slices} slices (root mean square of the result)",
        ways,
        repeats=3,
        show=lambda g: f"{float((np.asarray(g) ** 2).mean() ** 0.5):.6g}",
    )


def torch_flow(x, y, steps, slices, rng):
    """The published flow: step 1, momentum 0.7, fresh random directions in every step."""
    z, v = torch.tensor(x, dtype=torch.float32), 0.0
    target = torch.tensor(y, dtype=torch.float32)
    for _ in range(steps):
        s = torch.tensor(rng.standard_normal((slices, 2)), dtype=torch.float32)
        v = 0.7 * v - torch_gradient(z, target, s / s.norm(dim=1, keepdim=True))
        z = z + v
    return z.numpy().astype(float)


def flows(n: int = 10_000) -> None:
    """Show the share of particles in dark cells, and how near they sit to the data (1: like fresh points)."""
    board = mo.Checkerboard()
    x, y, fresh = mo.StandardNormal().sample(n, rng=0), board.sample(n, rng=1), board.sample(n, rng=2)
    start, tree = mo.StandardNormal().sample(n, rng=3), cKDTree(y)

    def quality(z):
        copy = np.median(tree.query(z)[0]) / np.median(tree.query(fresh)[0])
        return f"{board.dark(z).mean():9.3f}{mo.energy_distance(z, y):12.5f}{copy:8.2f}"

    print(f"checkerboard, {n} particles{'':<18}CPU s     dark  energy dist.  copies")
    mo.sliced_mmd_flow(x, y, steps=2, rng=0)(start)
    for steps in (50, 100, 200, 400):
        before = time.process_time()
        flow = mo.sliced_mmd_flow(x, y, steps=steps, rng=0)
        after = time.process_time()
        print(f"  {f'mini_ot, {steps} steps of 16 slices':<40}{after - before:8.3f}{quality(flow.particles)}")
        before = time.process_time()
        new = flow(start)
        print(f"  {'    the same, new points':<40}{time.process_time() - before:8.3f}{quality(new)}")
    if torch:
        for steps in (30, 120):
            before = time.process_time()
            z = torch_flow(x, y, steps, 50, np.random.default_rng(0))
            spent = time.process_time() - before
            print(f"  {f'torch, {steps} steps of 50 slices':<40}{spent:8.3f}{quality(z)}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    peers = [name for name, module in (("torch", torch), ("POT", ot)) if module]
    header("Sliced energy gradients and flows in two dimensions", "numpy", "numba", *peers)
    gradients(10_000)
    gradients(100_000)
    flows()
