"""Is a map a gradient of a convex function on samples?  The certificate, beside exact assignments.

All but the certificate answer by the optimality gap alone, without potentials or a violating cycle.
"""

import argparse

import numpy as np
import ot
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import mini_ot as mo
from benchmarks._side_by_side import header, side_by_side

CORNERS = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])


def gradient(x):
    """Gradient of |x|^2 / 4 plus a soft maximum of three planes: convex."""
    a = x @ CORNERS.T / 0.3
    w = np.exp(a - a.max(axis=1, keepdims=True))
    return 0.5 * x + w / w.sum(axis=1, keepdims=True) @ CORNERS


def textbook(x, tx):
    """Bellman and Ford on the table of weights, all points in each round."""
    w = (tx * x).sum(axis=1)[:, None] - tx @ x.T
    u = np.zeros(len(x))
    for _ in range(len(x) + 1):
        best = np.array([(u + w[:, j]).min() for j in range(len(x))])
        if (best >= u - 1e-9).all():
            return True
        u = np.minimum(u, best)
    return False


def verdicts(n: int, angle: float, name: str) -> None:
    x = np.random.default_rng(0).standard_normal((n, 2))
    tx = gradient(x @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T)
    weight, way = ot.unif(n), ((x - tx) ** 2).sum(axis=1).mean()

    def scipy_gap():
        cost = cdist(x, tx, "sqeuclidean")
        rows, columns = linear_sum_assignment(cost)
        return way - cost[rows, columns].mean() < 1e-9

    ways = {
        "mini_ot certificate (potentials or a cycle)": lambda: mo.certify_convex(x, tx).is_monotone,
        "POT emd2, gap only": lambda: way - ot.emd2(weight, weight, ot.dist(x, tx)) < 1e-9,
        "SciPy assignment, gap only": scipy_gap,
    }
    if n <= 500:
        ways["Bellman-Ford on the table, NumPy"] = lambda: textbook(x, tx)
    side_by_side(f"{name}, {n} points in the plane", ways, repeats=3, show=lambda convex: str(bool(convex)))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    header("Convexity from samples", "mini-ot", "numpy", "scipy", "numba", "POT")
    for n in (500, 2000):
        verdicts(n, 0.0, "a convex gradient")
        verdicts(n, 0.1, "the same after a turn by 0.1")
