"""Back-and-forth on samples beside the one-sided flow, and the kernel dual ascent beside exact assignment.

The experiment of chapter 10 with more points, targets and steps: ``python -m benchmarks.two_sided``, with
MINI_OT_NUM_THREADS=1 OMP_NUM_THREADS=1 for one core (CPU seconds add up all threads).  Entries are medians
over five seeds; for new samples the least and the largest stand in brackets.
"""

import argparse
import time

import numpy as np

import mini_ot as mo
from mini_ot.maps import Composition

SEEDS = 5
STEPS = (1, 2, 4, 8, 16, 32)
TARGETS = {
    "banana": mo.Banana(),
    "checkerboard": mo.Checkerboard(),
    "moons": mo.TwoMoons(),
}
KERNELS = {"energy": mo.Energy(), "Laplace 1": mo.Laplace(1.0), "Gaussian 0.5": mo.Gaussian(0.5)}
SAME = {"steps": STEPS[-1], "features": 64, "neighbours": 20}
FLOWS = {
    "one-sided": lambda x, y, s: mo.data_driven_flow(x, y, rng=s, **SAME),
    "one-sided, multiquadrics": lambda x, y, s: mo.data_driven_flow(
        x, y, rng=s, kernel="multiquadric", **SAME
    ),
    "two-sided": lambda x, y, s: mo.back_and_forth_samples(x, y, rng=s, **SAME),
    "two-sided, not damped": lambda x, y, s: mo.back_and_forth_samples(x, y, rng=s, damping=1e-9, **SAME),
    "two-sided, then one-sided": None,
}


def four_then_one_sided(x, y, seed):
    """Four two-sided steps, and the rest one-sided from where they led."""
    begin = mo.back_and_forth_samples(x, y, rng=seed, **{**SAME, "steps": 4})
    rest = mo.data_driven_flow(begin(x), y, rng=seed, **{**SAME, "steps": STEPS[-1] - 4})
    return begin, rest


def after(T, k):
    if isinstance(T, tuple):
        return T[0].after(k) if k <= 4 else T[0].then(Composition(T[1].steps[: k - 3]))
    return T.after(k) if hasattr(T, "after") else Composition(T.steps[: k + 1])


def one_run(flow, target, seed, n):
    """Return the fit after each of STEPS, the distance of new samples at the end, and two times."""
    rng = np.random.default_rng(seed)
    x, y, fresh, truth = (law.sample(n, rng) for _ in range(2) for law in (mo.StandardNormal(), target))
    start = time.process_time()
    T = (flow or four_then_one_sided)(x, y, seed)
    fitting = time.process_time() - start
    fit = [mo.energy_distance(after(T, k)(x), y, unbiased=False) for k in STEPS]
    start = time.process_time()
    new = after(T, STEPS[-1])(fresh)
    return [*fit, mo.energy_distance(new, truth), fitting / STEPS[-1], time.process_time() - start]


def flows(n: int) -> None:
    print(f"\nenergy distance x 10^4 of the training images after so many steps, n = {n}")
    print(f"{'':<40}{''.join(f'{k:>8}' for k in STEPS)}{'new, at the end':>26}{'ms/step':>9}{'s to map':>9}")
    for name, law in TARGETS.items():
        for label, flow in FLOWS.items():
            runs = np.array([one_run(flow, law, seed, n) for seed in range(SEEDS)])
            *fit, new, step, mapping = np.median(runs, axis=0)
            low, high = runs[:, -3].min() * 1e4, runs[:, -3].max() * 1e4
            last = f"{1e4 * new:.1f} [{low:.1f}, {high:.1f}]"
            numbers = "".join(f"{1e4 * value:>8.2f}" for value in fit)
            print(f"{name:<14}{label:<26}{numbers}{last:>26}{1e3 * step:>9.1f}{mapping:>9.3f}", flush=True)


def duals(n: int, iterations=(1, 5, 10, 20, 40, 80)) -> None:
    print(f"\nrelative gap of the dual to the exact optimum after so many iterations, n = {n}")
    print(f"{'':<28}{''.join(f'{k:>10}' for k in iterations)}{'ms/iteration':>14}{'exact, s':>10}")
    for name, law in TARGETS.items():
        gaps, seconds = ({k: [] for k in [*KERNELS, "exact"]} for _ in range(2))
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            x, y = mo.StandardNormal().sample(n, rng), law.sample(n, rng)
            start = time.process_time()
            best = mo.w2(x, y) ** 2 / 2
            seconds["exact"].append(time.process_time() - start)
            for label, kernel in KERNELS.items():
                start = time.process_time()
                dual = mo.kernel_dual_ascent(x, y, kernel=kernel, steps=iterations[-1]).history["dual"]
                seconds[label].append((time.process_time() - start) / (len(dual) - 1))
                gaps[label].append([1 - dual[min(k, len(dual) - 1)] / best for k in iterations])
        for label in KERNELS:
            numbers = "".join(f"{gap:>10.1e}" for gap in np.median(gaps[label], axis=0))
            times = f"{1e3 * np.median(seconds[label]):>14.1f}{np.median(seconds['exact']):>10.2f}"
            print(f"{name:<14}{label:<14}{numbers}{times}", flush=True)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    one_run(FLOWS["two-sided"], mo.Banana(), 0, 200)  # compiles
    flows(2_000)
    duals(1_000)
