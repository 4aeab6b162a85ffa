"""Likelihood of unseen samples under maps learnt from samples: triangular maps and flows on six targets.

    python -m benchmarks.likelihoods --targets banana --methods triangular_map kde --seeds 3

Every method gets the same 10,000 samples and is judged on 10,000 others, on one thread.  The number is its
negative log-likelihood minus the true law's, in nats per sample, on the same samples (a Kullback-Leibler
divergence, but for chance): zero is perfect.  Imports, compilation and judging are off the clock.
"""

import argparse
import time
from collections import defaultdict

from benchmarks.flows import TARGETS, N, data_driven_backwards, processor  # sets one thread

import numpy as np  # isort: skip
import mini_ot as mo  # isort: skip

WARM_SAMPLES = 500  # of the run that compiles


def backwards(T):
    """Return the model of data that a map takes to the standard normal."""
    return mo.MapModel(T, backwards=True)


def kept(model):
    return f"{len(model.T.steps)} maps: {model.T.stopped or 'all steps'}"


def flow(name, **settings):
    """Return the method that fits the flow of this name in the package, data to noise."""
    return lambda x, seed: backwards(getattr(mo, name)(x, rng=seed, progress=False, **settings))


# name: (method of (samples, seed), what it chose)
METHODS = {
    "affine_map": (lambda x, seed: backwards(mo.affine_map(x)), lambda model: ""),
    "kde": (lambda x, seed: mo.kde(x), lambda model: f"bandwidths {np.round(model.bandwidth, 3)}"),
    "triangular_map": (flow("triangular_map"), lambda model: f"degrees {model.T.degrees}"),
    "normalizing_flow": (flow("normalizing_flow"), kept),
    "dual_ascent_flow": (flow("dual_ascent_flow"), kept),
    "planar_flow": (flow("planar_flow"), kept),
    "radial_flow": (flow("radial_flow"), kept),
    "data_driven_flow, backwards": (lambda x, seed: data_driven_backwards(x, x, 3, seed), kept),
}


def excess(target, model, points) -> float:
    """Return by how much the model's negative log-likelihood exceeds the truth's."""
    return float((target.log_density(points) - model.log_density(points)).mean())


def measure(target, name, seed) -> tuple[float, float, str]:
    """Return the excess over the truth, the CPU seconds of the fit and what it chose."""
    fit, chosen = METHODS[name]
    x, test = (target.sample(N, rng=np.random.default_rng([seed, k])) for k in (1, 2))
    start = time.process_time()
    model = fit(x, seed)
    seconds = time.process_time() - start
    return excess(target, model, test), seconds, chosen(model)


def warm(name) -> None:
    """Compile a method on a few samples."""
    x = mo.Banana().sample(WARM_SAMPLES, rng=0)
    METHODS[name][0](x, 0).log_density(x)


def show(results) -> None:
    """Print the table of excesses and of seconds, medians over seeds."""
    targets = list(dict.fromkeys(target for target, _ in results))
    for heading, k, form in (("nats above the truth", 0, ".4f"), ("CPU seconds", 1, ".2f")):
        print(f"\n{heading:<28}" + "".join(f"{target:>18}" for target in targets))
        for name in dict.fromkeys(name for _, name in results):
            cells = (np.median([r[k] for r in results[target, name]]) for target in targets)
            print(f"{name:<28}" + "".join(f"{cell:>18{form}}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="+", default=sorted(TARGETS), choices=TARGETS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=1, help="how many; they are 0, 1, ...")
    arguments = parser.parse_args()
    for name in arguments.methods:
        warm(name)
    print(f"{N:,} samples to learn, {N:,} to judge, one thread of {processor()}")
    results = defaultdict(list)
    for target in arguments.targets:
        for name in arguments.methods:
            for seed in range(arguments.seeds):
                result = measure(TARGETS[target](), name, seed)
                results[target, name].append(result)
                print("{:<16} {:<28} {:8.4f} nats {:7.2f} s  {}".format(target, name, *result), flush=True)
    show(results)


if __name__ == "__main__":
    main()
