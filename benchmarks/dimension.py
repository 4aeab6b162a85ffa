"""How transport from samples scales with the dimension: the experiment of chapter 16, in full.

``python -m benchmarks.dimension`` prints tables; ``python -m benchmarks.dimension book/data/dimension.csv``
also writes the record that the chapter reads, case by case.  One thread, a quarter of an hour.

Every target is made of planes: a known law in each pair of coordinates, and then one rotation, which is the
same for all methods and unknown to them.  So the answer is known in every dimension, the density too.

Hypotheses, written after a pilot with seed 0 and before the sweep over seeds 1 to 5.  "Left" is the distance
in the planes over that of the affine map; all statements are about medians over the seeds.

1. Ring, one plane of d / 2: both flows lose it; left is below 0.1 at d = 2 and above 0.8 at d = 50.
2. Bananas, all planes: the flows keep more; left is lower than for the ring at d = 10, 20 and 50, and lower
   for the sliced than for the data-driven flow at d = 20 and 50.
3. Sliced W2 goes blind: at d = 50 it puts the affine map inside the 95 % floor on the ring.
4. The nearest neighbours contradict: on the bananas at d = 50 their accuracy is nearer 1/2 for the affine
   map than for both flows, although the planes say the opposite.
5. Density: on the bananas the data-driven flow beats the affine map at every d, on the ring at no d >= 10.
6. It is not for want of samples: told the planes, the data-driven flow has less than 0.1 left at every d.
7. The seconds of both flows grow like d^2 from d = 10 on: slopes between 1.5 and 2.5.
"""

from . import _one_thread  # isort: skip
import argparse
import time

import numpy as np

import mini_ot as mo
from mini_ot._progress import progress

from . import _record

DIMENSIONS = (2, 5, 10, 20, 50)
SEEDS = range(1, 6)  # 0 was the pilot
N = 2000  # training samples; as many are generated, and as many unseen ones judge
FLOW = {"steps": 100, "features": 64, "held_out": 0.2}
MEASURES = ("seconds", "sampling", "planes", "sliced_w2", "neighbour", "copy", "surprise", "excess")


class InPlanes:
    """Independent laws in some planes of R^d and one more in the directions that are left, all turned.

    Parameters
    ----------
    planes : list of laws of dimension 2
    dim : int
    rest : list of at most one law, optional
        Of the d - 2 len(planes) directions that are left; normal by default.
    """

    def __init__(self, planes, dim, rest=None):
        self.dim, self.planes, self.left = dim, list(planes), dim - 2 * len(planes)
        rest = [mo.StandardNormal(self.left)] if rest is None and self.left else rest or []
        self.laws = [*self.planes, *rest]
        self.rotation = np.linalg.qr(np.random.default_rng(dim).standard_normal((dim, dim)))[0]

    def sample(self, n, rng=None):
        rng = np.random.default_rng(rng)
        return np.hstack([law.sample(n, rng) for law in self.laws]) @ self.rotation.T

    def split(self, x):
        """Return the coordinates of `x` in each of the planes."""
        z = x @ self.rotation
        return [z[:, 2 * k : 2 * k + 2] for k in range(len(self.planes))]

    def rest(self, x):
        """Return the coordinates of `x` in the directions that are left."""
        return x @ self.rotation[:, self.dim - self.left :]

    def log_density(self, x):
        parts = [*self.split(x), self.rest(x)]
        return sum(law.log_density(part) for law, part in zip(self.laws, parts, strict=False))


def targets(dim: int) -> dict:
    """Return the three laws in dimension `dim`."""
    wide = [mo.GaussianMixture([[0, 0]], [np.diag([s, 1 / s])]) for s in np.geomspace(1.5, 4, dim // 2)]
    return {
        "normal": InPlanes(wide, dim),
        "one ring": InPlanes([mo.RingOfGaussians(5, radius=2.0, sd=0.35)], dim),
        "bananas": InPlanes([mo.Banana()] * (dim // 2), dim),
    }


class Pushed:
    """Samples by a map of the normal law; a density, if any, by a second map back to it."""

    def __init__(self, forward, back=None):
        self.forward, self.nu = forward, mo.StandardNormal(forward.dim)
        if back is not None:
            self.log_density = lambda x: mo.pullback_log_density(back, self.nu.log_density, x)

    def sample(self, n, rng=None):
        return self.forward(self.nu.sample(n, rng))


class Pulled(Pushed):
    """Samples by the inverse of a map to the normal law, and the density that goes with it."""

    def __init__(self, back):
        super().__init__(back, back)

    def sample(self, n, rng=None):
        return self.forward.inverse(self.nu.sample(n, rng))


def affine(y, rng, law):
    return Pulled(mo.affine_map(y))


def kernel_density(y, rng, law):
    return mo.kde(y)


def triangular(y, rng, law):
    return Pulled(mo.triangular_map(y, rng=rng, progress=False))


def data_driven(y, rng, law):
    """Forward for the samples, backward for the density, as chapter 10 found best."""
    x = mo.StandardNormal(y.shape[1]).sample(len(y), rng)
    return Pushed(mo.data_driven_flow(x, y, rng=rng, **FLOW), mo.data_driven_flow(y, x, rng=rng, **FLOW))


def told(y, rng, law):
    """The same in each plane, by one who knows the planes, and the affine map in what is left."""
    parts = [data_driven(part, rng, None) for part in law.split(y)]
    rest = [affine(law.rest(y), rng, None)] if law.left else []
    return InPlanes(parts, law.dim, rest)


def sliced(y, rng, law):
    return Pushed(mo.sliced_mmd_flow(mo.StandardNormal(y.shape[1]).sample(len(y), rng), y, rng=rng))


METHODS = {
    "affine": affine,
    "kernel density": kernel_density,
    "triangular": triangular,
    "data-driven": data_driven,
    "sliced": sliced,
    "told the planes": told,
}


def judge(x, law, y, test, other) -> dict:
    """Hold samples `x` to the unseen `test`; `y` trained the model, and `other` are unseen too."""
    planes = zip(law.split(x), law.split(test), strict=True)
    return {
        "planes": float(np.mean([mo.energy_distance(*pair) for pair in planes])),
        "sliced_w2": mo.sliced_w2(x, test, slices=200),
        "neighbour": mo.nearest_neighbour_accuracy(x, test),
        "copy": mo.copy_ratio(x, y, other),
        "surprise": float((law.log_density(test).mean() - law.log_density(x).mean()) / law.dim),
    }


def one_case(target: str, method: str, dim: int, seed: int, n: int = N) -> dict:
    """Fit one method once and judge it; "truth" draws from the target itself and so gives the floors."""
    law, rng, excess = targets(dim)[target], np.random.default_rng([dim, seed]), None
    y, test, other = (law.sample(n, rng) for _ in range(3))
    began = time.process_time()
    model = law if method == "truth" else METHODS[method](y, rng, law)
    fitted = time.process_time()
    x = model.sample(n, rng)
    times = {"seconds": fitted - began, "sampling": time.process_time() - fitted}
    if hasattr(model, "log_density"):
        excess = float((law.log_density(test) - model.log_density(test)).mean() / dim)
    case = {"target": target, "method": method, "dim": dim, "seed": seed}
    return {**case, **times, **judge(x, law, y, test, other), "excess": excess}


def cases(dimensions=DIMENSIONS, seeds=SEEDS):
    """Yield the arguments of :func:`one_case`, seed by seed."""
    for seed in seeds:
        for dim in dimensions:
            for target in targets(2):
                for method in ("truth", *METHODS):
                    yield target, method, dim, seed


def write(rows: list[dict], path: str) -> None:
    """Store the record."""
    packages = ("mini_ot", "numpy", "scipy", "numba")
    _record.write(path, "dimension.py", f"one thread, n = {N}", packages, rows[0], rows, 6)


def median(rows, measure, target, method, dim):
    """Return the median over the seeds, None where a method has no such number."""
    key = (target, method, dim)
    found = [row[measure] for row in rows if (row["target"], row["method"], row["dim"]) == key]
    return None if None in found or not found else float(np.median(found))


def show(rows: list[dict]) -> None:
    """Print the medians over the seeds."""
    dims = sorted({row["dim"] for row in rows})
    for measure in MEASURES:
        print(f"\n{measure:<28}" + "".join(f"{f'd = {d}':>10}" for d in dims))
        for target in targets(2):
            for method in ("truth", *METHODS):
                found = [median(rows, measure, target, method, d) for d in dims]
                numbers = "".join(f"{'' if value is None else f'{value:.4g}':>10}" for value in found)
                print(f"{target:<10}{method:<18}{numbers}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("record", nargs="?", help="CSV file to write")
    record = parser.parse_args().record
    print(f"held to one thread by {', '.join(_one_thread.ONE_THREAD)}")
    for name in METHODS:
        one_case("bananas", name, 3, 0, n=200)  # compiles
    records = []
    for case in progress(list(cases()), label="cases"):
        try:
            records.append(one_case(*case))
        except (ValueError, ArithmeticError) as error:  # a gap in the record; the first case is of the truth
            print(*case, f"{type(error).__name__}: {error}")
            records.append(dict.fromkeys(records[0]) | dict(zip(records[0], case, strict=False)))
        if record:
            write(records, record)
    show(records)
