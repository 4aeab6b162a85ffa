"""Kernel densities and distances between clouds, beside SciPy, scikit-learn and POT.

CPU seconds add up all threads; a ratio above 1 says by how much the peer is slower than mini_ot.
"""

import argparse

import numpy as np
import ot
from scipy.spatial.distance import cdist
from scipy.stats import gaussian_kde
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

import mini_ot as mo
from benchmarks._side_by_side import header, side_by_side


def densities(n: int) -> None:
    banana = mo.Banana()
    x, fresh = banana.sample(n, rng=0), banana.sample(n, rng=1)
    scipy_density = gaussian_kde(x.T)
    tree = KernelDensity(bandwidth=0.15).fit(x)
    exact = KernelDensity(bandwidth=0.15, rtol=1e-8).fit(x)
    ours, truth = mo.kde(x, bandwidth=0.15), banana.log_density(fresh).mean()
    side_by_side(
        f"score {n} points by {n} samples, bandwidth given (mean log density)",
        {
            "mini_ot": lambda: ours.log_density(fresh).mean(),
            "scipy gaussian_kde (full covariance)": lambda: scipy_density.logpdf(fresh.T).mean(),
            "scikit-learn KernelDensity": lambda: tree.score_samples(fresh).mean(),
            "scikit-learn KernelDensity, rtol 1e-8": lambda: exact.score_samples(fresh).mean(),
        },
        repeats=3,
    )

    def scikit_search():
        grid = {"bandwidth": np.geomspace(0.05, 0.5, 12)}
        search = GridSearchCV(KernelDensity(), grid, cv=[(np.arange(n // 2), np.arange(n // 2, n))])
        return search.fit(x).score_samples(fresh).mean()

    side_by_side(
        f"choose a bandwidth for {n} samples and score {n} fresh ones (truth: {truth:.4f})",
        {
            "mini_ot, leave-one-out likelihood": lambda: mo.kde(x).log_density(fresh).mean(),
            "scikit-learn, 12 bandwidths, one hold-out": scikit_search,
        },
        repeats=1,
    )


def distances(n: int) -> None:
    x, y = mo.Banana().sample(n, rng=0), mo.Banana().sample(n, rng=1)

    def full_tables():
        return 2 * cdist(x, y).mean() - cdist(x, x).sum() / (n * (n - 1)) - cdist(y, y).sum() / (n * (n - 1))

    side_by_side(
        f"energy distance, {n} against {n}",
        {
            "mini_ot (no n x n table)": lambda: mo.energy_distance(x, y),
            "scipy cdist, three n x n tables": full_tables,
        },
        repeats=3,
    )
    side_by_side(
        f"sliced W2, {n} against {n}, 100 slices (directions differ)",
        {
            "mini_ot": lambda: mo.sliced_w2(x, y),
            "POT sliced_wasserstein_distance": lambda: ot.sliced_wasserstein_distance(
                x, y, n_projections=100, seed=0
            ),
        },
        repeats=3,
    )
    few = min(n, 1000)
    weight = ot.unif(few)
    side_by_side(
        f"exact W2, {few} against {few}",
        {
            "mini_ot (SciPy's assignment)": lambda: mo.w2(x[:few], y[:few]),
            "POT emd2": lambda: np.sqrt(ot.emd2(weight, weight, ot.dist(x[:few], y[:few]))),
        },
        repeats=3,
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    header(
        "Densities and distances in two dimensions",
        "mini-ot",
        "numpy",
        "numba",
        "scipy",
        "scikit-learn",
        "POT",
    )
    densities(10_000)
    distances(10_000)
