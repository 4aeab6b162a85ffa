"""Optimal transport between clouds beside POT: Sinkhorn to the same dual gap, and the closed forms.

POT's iterations are stopped where their gap is the same as ours: so many plain steps are counted first.
``python -m benchmarks.discrete 1000 2000`` picks the numbers of points.
"""

import argparse
import warnings

import numpy as np
import ot

import mini_ot as mo
from benchmarks._side_by_side import header, side_by_side
from mini_ot import _sinkhorn

TOL = 1e-4


def clouds(n: int):
    return mo.StandardNormal().sample(n, rng=0), 2 * mo.TwoMoons().sample(n, rng=1)


def plain(x, y, epsilon: float) -> mo.EntropicPlan:
    """Run the textbook's iteration to the gap: no extrapolation, the small epsilon from the start."""
    step = _sinkhorn.Extrapolation.step
    _sinkhorn.Extrapolation.step = lambda self, f, g, g_next, epsilon: g_next
    try:
        return mo.sinkhorn(x, y, epsilon=epsilon, tol=TOL, scaling=0, max_steps=100_000)
    finally:
        _sinkhorn.Extrapolation.step = step


def gap(x, y, epsilon: float, result) -> float:
    """Return the dual gap of our plan or, by our rounding, of POT's scaling vectors."""
    if isinstance(result, mo.EntropicPlan):
        return result.dual_gap
    even = ot.unif(len(x))
    problem = _sinkhorn.Problem(x, y, even, even)
    g = epsilon * ((result["log_v"] if "log_v" in result else np.log(result["v"])) - problem.log_b)
    f = problem.f_from(g, epsilon, None)
    return problem.gap(f, g, problem.g_from(f, epsilon, None), epsilon)


def sinkhorn(n: int, epsilon: float) -> None:
    x, y = clouds(n)
    even, steps = ot.unif(n), plain(x, y, epsilon).steps
    some = steps if n <= 2000 else 4  # POT would take minutes

    def pot(method):
        options = {"method": method, "numItermax": some, "stopThr": 0.0, "warn": False, "log": True}
        return lambda: ot.sinkhorn(even, even, ot.dist(x, y), epsilon, **options)[1]

    ours, label = mo.sinkhorn(x, y, epsilon=epsilon, tol=TOL), f"{some} of {steps} steps"
    ways = {
        f"mini_ot, {ours.steps} steps": lambda: mo.sinkhorn(x, y, epsilon=epsilon, tol=TOL),
        f"mini_ot, plain, {steps} steps": lambda: plain(x, y, epsilon),
        f"POT sinkhorn_log, {label}": pot("sinkhorn_log"),
        f"POT sinkhorn (no logarithms), {label}": pot("sinkhorn"),
    }
    title = f"Sinkhorn, n = m = {n}, epsilon {epsilon:g}; the result is the dual gap"
    side_by_side(title, ways, repeats=1, show=lambda result: f"{gap(x, y, epsilon, result):.1e}")


def closed_forms() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 100_000))
    ways = {"mini_ot w2_1d": lambda: mo.w2_1d(x, y) ** 2, "POT emd2_1d": lambda: ot.emd2_1d(x, y)}
    side_by_side("W2^2 on the line, 100,000 points", ways)
    a, b = (np.cov(rng.standard_normal((50, 200))) for _ in range(2))
    m = np.zeros(50)
    ways = {
        "mini_ot gaussian_w2": lambda: mo.gaussian_w2(m, a, m, b),
        "POT bures_wasserstein_distance": lambda: ot.gaussian.bures_wasserstein_distance(m, m, a, b),
    }
    side_by_side("W2 between Gaussians, dimension 50", ways, repeats=20)
    many, w, even = (
        rng.standard_normal((3, 300, 2)) + [[[0, 0]], [[2, 0]], [[0, 2]]],
        [0.3, 0.4, 0.3],
        ot.unif(300),
    )

    def pot():
        return ot.lp.free_support_barycenter(
            list(many), [even] * 3, many[1], b=even, weights=np.array(w), numItermax=100, stopThr=1e-12
        )

    ways = {"mini_ot barycentre": lambda: mo.barycentre(many, w), "POT free_support_barycenter": pot}
    show = lambda z: f"{sum(v * mo.w2(z, c) ** 2 for v, c in zip(w, many, strict=True)):.6g}"  # noqa: E731
    side_by_side("Barycentre of three clouds of 300 points; the sum of squared distances", ways, show=show)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("points", nargs="*", type=int, default=[1000, 2000, 5000], help="how many")
    sizes = parser.parse_args().points
    header("Optimal transport between clouds", "mini-ot", "numpy", "scipy", "numba", "POT")
    warnings.simplefilter("ignore", RuntimeWarning)
    closed_forms()
    for n in sizes:
        sinkhorn(n, 0.5)
        if n <= 2000:
            sinkhorn(n, 0.1)
