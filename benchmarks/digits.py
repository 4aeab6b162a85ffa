"""Generated 8x8 digits judged on unseen ones: the flows of chapter 14 beside scikit-learn's samplers.

``python -m benchmarks.digits`` prints tables; ``python -m benchmarks.digits book/data/digits.csv`` also
writes the record that the chapter reads.  One thread, some minutes.

Each of five splits of the 1,797 digits has 1,200 to learn from and 597 to judge by.  What a method may choose
is chosen within the 1,200, a fifth of them held out: components and steps of the energy flow and the sizes of
the mixtures by the 1-NN accuracy, the bandwidth of the kernel density by likelihood.  The settings of the
sliced and of the data-driven flow were found on another split (seed 0), which is not among these.

1-NN: accuracy of the nearest-neighbour two-sample test, 597 generated against 597 unseen digits, as drawn,
and after rounding to the 17 grey levels and dequantising afresh.  Power: share of 40 permutation tests (200
against 200 points, Gaussian kernel, half the median distance wide) that reject at level 0.05.
"""

from . import _one_thread  # isort: skip
import argparse
import time

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.svm import SVC

import mini_ot as mo
from mini_ot._progress import progress
from mini_ot.maps import Composition

from . import _record

SPLITS = range(1, 6)  # 0 was the pilot
N_TRAIN, N_FIT = 1200, 960
MEASURES = {
    "nn": "1-NN accuracy, as drawn",
    "nn_grey": "1-NN accuracy, rounded to grey levels",
    "copy": "copy ratio",
    "sliced_w2": "sliced W2",
    "recognised": "recognised by a classifier of real digits",
    "taught": "classifier of generated digits, over that of real ones",
    "power": "power of the two-sample test",
    "fit": "CPU seconds of the fit",
    "sampling": "CPU seconds per 1,000 samples",
}


def dequantise(pixels, rng):
    """Spread each grey level 0, ..., 16 over its share of the unit interval."""
    return (pixels + rng.random(pixels.shape)) / 17


def grey_levels(x):
    return np.clip(np.floor(17 * x), 0, 16)


class Components:
    """Principal components of images: an orthonormal change of coordinates, the widest first."""

    def __init__(self, x):
        self.mean = x.mean(axis=0)
        _, singular, self.axes = np.linalg.svd(x - self.mean, full_matrices=False)
        self.sd = singular / np.sqrt(len(x))

    def coordinates(self, x, k):
        return (x - self.mean) @ self.axes[:k].T

    def images(self, z, rng):
        """Return images with the coordinates `z`, and independent normal ones in the other directions."""
        k = z.shape[1]
        rest = self.sd[k:] * rng.standard_normal((len(z), len(self.sd) - k))
        return self.mean + np.hstack([z, rest]) @ self.axes


class ByClass:
    """A law for each class, of the first `k` coordinates of its digits."""

    def __init__(self, components, k, laws):
        self.components, self.k, self.laws = components, k, laws

    def sample(self, labels, rng):
        z = np.empty((len(labels), self.k))
        for c, law in enumerate(self.laws):
            z[labels == c] = law.sample(int((labels == c).sum()), rng)
        return self.components.images(z, rng)


class Pooled(ByClass):
    """One law for all digits, which does not know the labels."""

    def sample(self, labels, rng):
        return self.components.images(self.laws[0].sample(len(labels), rng), rng)


def by_class(k, fit):
    """Return the method that fits a law to each class: (x, labels, rng) -> model."""

    def method(x, labels, rng):
        components = Components(x)
        z = components.coordinates(x, k)
        return ByClass(components, k, [fit(z[labels == c], rng) for c in range(10)])

    return method


def pooled(k, fit):
    def method(x, labels, rng):
        components = Components(x)
        return Pooled(components, k, [fit(components.coordinates(x, k), rng)])

    return method


def flow(make, n=600):
    """Return a fit: a flow from `n` normal points, moved to the data's mean and covariance first."""

    def fit(y, rng):
        z = rng.standard_normal((n, y.shape[1]))
        first = mo.affine_map(z, y)
        return mo.MapModel(first.then(make(first(z), y, rng)))

    return fit


def energy(steps, n=600):
    return flow(lambda z, y, rng: mo.mmd_flow(z, y, kernel=mo.Energy(), steps=steps), n)


def sliced(steps, n=600):
    return flow(lambda z, y, rng: mo.sliced_mmd_flow(z, y, steps=steps, rng=rng), n)


def by_data_driven(n=600, **settings):
    def fit(y, rng):
        z = rng.standard_normal((n, y.shape[1]))
        return mo.MapModel(mo.data_driven_flow(z, y, rng=rng, **settings))

    return fit


def gaussian(y, rng):
    return mo.MapModel(mo.affine_map(y), backwards=True)


class Mixture:
    """A Gaussian mixture of scikit-learn, with seeds drawn from `rng`; `n` components."""

    def __init__(self, y, rng, n):
        self.law = GaussianMixture(n, random_state=int(rng.integers(2**31))).fit(y)

    def sample(self, n, rng):
        self.law.random_state = int(rng.integers(2**31))
        return rng.permutation(self.law.sample(n)[0])


def mixture(n):
    return lambda y, rng: Mixture(y, rng, n)


class Kernel:
    """Training digits of the class that is asked for, with Gaussian noise of width `h`."""

    def __init__(self, x, labels, h):
        self.x, self.labels, self.h = x, labels, h

    def sample(self, labels, rng):
        at = [rng.choice(np.flatnonzero(self.labels == c)) for c in labels]
        return self.x[at] + self.h * rng.standard_normal((len(labels), self.x.shape[1]))


class Copies(Kernel):
    """Each training digit once: the labels must be those of the training digits, in any order."""

    def sample(self, labels, rng):
        at = np.empty(len(labels), dtype=int)
        for c in range(10):
            at[labels == c] = rng.permutation(np.flatnonzero(self.labels == c))
        return self.x[at]


def kernel(h):
    return lambda x, labels, rng: Kernel(x, labels, h)


def choose_flow(x, labels, rng, ks=(20, 30, 40, 50), steps=range(4, 41, 4)):
    """Return components and steps of the energy flow by class.

    For each k as many steps as bring the copy ratio on held-out digits down to 1; then the k with the lowest
    1-NN accuracy there.
    """
    test, held, found = x[N_FIT:], labels[N_FIT:], []
    for k in ks:
        model = by_class(k, energy(max(steps)))(x[:N_FIT], labels[:N_FIT], rng)
        for count in steps:
            cut = [mo.MapModel(Composition(law.T.steps[: count + 1])) for law in model.laws]
            clouds = [ByClass(model.components, k, cut).sample(held, rng) for _ in range(4)]
            ratio = np.mean([mo.copy_ratio(cloud, x[:N_FIT], test) for cloud in clouds])
            if ratio <= 1 or count == max(steps):
                accuracy = np.mean([mo.nearest_neighbour_accuracy(cloud, test) for cloud in clouds])
                found.append((accuracy, k, count))
                break
    return min(found)[1:]


def choose_rivals(x, labels, rng):
    """Return the bandwidth, and the size of one mixture and of one for each class."""
    bandwidths, test, held = np.geomspace(0.05, 0.2, 15), x[N_FIT:], labels[N_FIT:]
    score = [KernelDensity(bandwidth=h).fit(x[:N_FIT]).score(test) for h in bandwidths]

    def accuracy(method):
        model = method(x[:N_FIT], labels[:N_FIT], rng)
        return np.mean([mo.nearest_neighbour_accuracy(model.sample(held, rng), test) for _ in range(4)])

    one = min((5, 10, 20, 40), key=lambda n: accuracy(pooled(64, mixture(n))))
    few = min((1, 2, 3, 4, 5), key=lambda n: accuracy(by_class(64, mixture(n))))
    return float(bandwidths[np.argmax(score)]), one, few


def methods(x, labels, rng):
    """Return the methods of one split, by name; what they may choose is chosen from `x` and `labels`."""
    k, steps = choose_flow(x, labels, rng)
    h, one, few = choose_rivals(x, labels, rng)
    data = by_data_driven(steps=60, features=64, neighbours=10)
    return {
        "energy flow, by class": (by_class(k, energy(steps)), f"{k} components, {steps} steps"),
        "sliced flow, by class": (by_class(30, sliced(60)), "30 components, 60 steps"),
        "data-driven flow, by class": (by_class(30, data), "30 components, 60 steps"),
        "energy flow, pooled": (pooled(k, energy(steps, 1200)), f"{k} components, {steps} steps"),
        "data-driven flow, pooled": (pooled(30, data), "30 components, 60 steps"),
        "affine map, by class": (by_class(k, gaussian), f"{k} components"),
        "mixture, by class": (by_class(64, mixture(few)), f"{few} Gaussians each"),
        "mixture, pooled": (pooled(64, mixture(one)), f"{one} Gaussians"),
        "Gaussian, pooled": (pooled(64, gaussian), ""),
        "kernel density": (kernel(h), f"width {h:.3f}"),
        "training digits": (lambda x, labels, rng: Copies(x, labels, 0.0), ""),
    }


def power(x, test, rng, repeats=40, n=200):
    """Return the share of tests that tell `n` of the points from `n` unseen digits, at level 0.05."""
    gaussian_kernel = mo.Gaussian(np.median(pdist(test[:400])) / 2)
    hits = 0
    for _ in range(repeats):
        a, b = x[rng.permutation(len(x))[:n]], test[rng.permutation(len(test))[:n]]
        found = mo.two_sample_test(a, b, kernel=gaussian_kernel, permutations=100, rng=rng)
        hits += found.p_value <= 0.05
    return hits / repeats


def classifier(images, labels):
    return SVC(C=10, gamma="scale").fit(images / 16, labels)


def one_split(seed):
    """Yield the record of each method on one split."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(pixels))
    old, new = order[:N_TRAIN], order[N_TRAIN:]
    rng = np.random.default_rng([seed, 1])
    x, test = dequantise(pixels[old], rng), dequantise(pixels[new], rng)
    real = classifier(pixels[old], labels[old])
    real_accuracy = real.score(pixels[new] / 16, labels[new])
    for name, (method, setting) in methods(x, labels[old], rng).items():
        rng = np.random.default_rng([seed, 2])
        start = time.process_time()
        model = method(x, labels[old], rng)
        fit = time.process_time() - start
        wanted = rng.permutation(labels[old])
        start = time.process_time()
        drawn = model.sample(wanted, rng)
        sampling = (time.process_time() - start) / len(wanted) * 1000
        row = {"split": seed, "method": name, "setting": setting, "fit": fit, "sampling": sampling}
        grey, some = grey_levels(drawn), slice(0, len(test))
        row["nn"] = mo.nearest_neighbour_accuracy(drawn[some], test)
        row["nn_grey"] = mo.nearest_neighbour_accuracy(dequantise(grey, rng)[some], test)
        row["copy"] = mo.copy_ratio(drawn, x, test)
        row["sliced_w2"] = mo.sliced_w2(drawn[some], test, slices=200)
        row["power"] = power(drawn, test, rng)
        if not isinstance(model, Pooled):
            row["recognised"] = real.score(grey / 16, wanted)
            taught = classifier(grey, wanted).score(pixels[new] / 16, labels[new])
            row["taught"] = taught / real_accuracy
        yield row


def write(rows, path):
    """Store the record."""
    packages = ("mini_ot", "numpy", "scipy", "numba", "scikit-learn")
    columns = ["split", "method", "setting", *MEASURES]
    _record.write(path, "digits.py", "one thread", packages, columns, rows, 4)


def show(rows):
    """Print the median over the splits, with the range, for each measure."""
    names = dict.fromkeys(row["method"] for row in rows)
    for measure, title in MEASURES.items():
        print(f"\n{title}")
        for name in names:
            found = [row[measure] for row in rows if row["method"] == name and measure in row]
            if found:
                print(f"  {name:<28}{np.median(found):9.3g}   ({min(found):.3g} to {max(found):.3g})")
    print("\nsettings")
    for name in names:
        print(f"  {name:<28}" + "; ".join(row["setting"] for row in rows if row["method"] == name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("record", nargs="?", help="a file for the record, written after each split")
    path = parser.parse_args().record
    print(f"held to one thread by {', '.join(_one_thread.ONE_THREAD)}")
    warm = np.random.default_rng(0).standard_normal((60, 5))
    for fit in (energy(2, 60), sliced(2, 60), by_data_driven(60, steps=2, features=8, neighbours=5)):
        fit(warm, np.random.default_rng(0)).sample(10, 0)  # compiles
    records = []
    for seed in progress(SPLITS, label="splits"):
        records += one_split(seed)
        if path:
            write(records, path)
    show(records)
