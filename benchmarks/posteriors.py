"""Three posteriors by three roads of transport, and whether each road is calibrated: chapter 15, in full.

The banana with one datum, an epidemic with the counts of 1978, a track from ranges.  First the moments:
errors are shares of the posterior standard deviation against a long Metropolis run, the worst over the
parameters, and the log evidence is held to quadrature.  Then simulation-based calibration with several seeds:
for each seed the smallest p-value times the number of parameters, and for all seeds together that of each.
"""

from . import _one_thread  # isort: skip
import argparse
import platform
import time
import warnings
from importlib.metadata import version

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

import mini_ot as mo
from mini_ot._progress import progress
from mini_ot.calibration import Calibration

DEGREES = (1, 2, 3, 4, 5)
SEEDS = range(5)
BANANA, EPIDEMIC, TRACKING = mo.BananaProblem(), mo.Epidemic(), mo.Tracking()
# Problem, its data, what the simulated data are turned into first, and the spread of the chains' starts.
CASES = {
    "banana, y = -0.5": (BANANA, np.array([-0.5]), np.asarray, 1.0),
    "banana, y = 0.3": (BANANA, np.array([0.3]), np.asarray, 1.0),
    "epidemic": (EPIDEMIC, EPIDEMIC.data, np.log1p, 0.5),
    "tracking": (TRACKING, TRACKING.simulate([[0.5, -0.8, 0.4, 1.0]], rng=0)[0], np.asarray, 1.0),
}


def quadrature(posterior, mean, cov, half=7.0):
    """Return mean, standard deviation and log evidence by the midpoint rule round a mean and covariance.

    The box reaches seven standard deviations each way, in coordinates in which the covariance is one.
    """
    dim, root = len(mean), np.linalg.cholesky(cov)
    cells = {2: 800, 3: 80, 4: 32}[dim]
    side = half * ((2 * np.arange(cells) + 1) / cells - 1)
    logs, points = [], []
    for first in side:  # in slices, which holds memory down
        rest = np.stack(np.meshgrid(*[side] * (dim - 1), indexing="ij"), axis=-1).reshape(-1, dim - 1)
        points.append(mean + np.c_[np.full(len(rest), first), rest] @ root.T)
        logs.append(posterior(points[-1]))
    logs, x = np.concatenate(logs), np.concatenate(points)
    total = logsumexp(logs)
    weights = np.exp(logs - total)
    center = weights @ x
    log_cell = dim * np.log(2 * half / cells) + np.log(root.diagonal()).sum()
    return center, np.sqrt(weights @ (x - center) ** 2), total + log_cell


def summaries(y, theta):
    """Return a function of data: a ridge regression of the parameters, quadratic in the data."""
    square = PolynomialFeatures(2, include_bias=False)
    return make_pipeline(StandardScaler(), square, StandardScaler(), Ridge()).fit(y, theta).predict


def amortised(problem, clean, n, degree, rng, low=-9.0, high=9.0):
    """Fit one conditional map to simulations from the prior, cut to a box; return a sampler for any data."""
    rng = np.random.default_rng(rng)
    theta = ndtri(rng.uniform(ndtr(low), ndtr(high), (n, problem.dim)))
    y = clean(problem.simulate(theta, rng=rng))
    of = summaries(y, theta) if y.shape[1] > 1 else np.asarray
    T = mo.conditional_map(theta, of(y), degree=degree, rng=rng, progress=False)
    return lambda data, count, rng: T.sample(of(clean(data[None]))[0], count, rng)


def rounds(problem, data, clean, n, degree, number, rng=0):
    """Yield draws of the posterior after each round; a round simulates from a box round those of the last."""
    low, high = np.full(problem.dim, -9.0), np.full(problem.dim, 9.0)
    rng = np.random.default_rng(rng)
    for _ in range(number):
        x = amortised(problem, clean, n, degree, rng, low, high)(data, 20_000, rng)
        yield x
        low = np.maximum(low, x.mean(axis=0) - 4 * x.std(axis=0))
        high = np.minimum(high, x.mean(axis=0) + 4 * x.std(axis=0))


def weighed(T, posterior, even):
    """Return by the weights of the points T(even) the log evidence, the moments and the effective share."""
    x = T(even)
    logs = posterior(x) + T.log_det(even) - mo.StandardNormal(T.dim).log_density(even)
    weights = np.exp(logs - logsumexp(logs))
    mean = weights @ x
    log_evidence = logsumexp(logs) - np.log(len(x))
    return log_evidence, (mean, np.sqrt(weights @ (x - mean) ** 2)), 1 / (len(x) * weights @ weights)


class Report:
    """Prints one row for each method, with what it cost since the last row."""

    def __init__(self, mean, sd, log_evidence):
        self.mean, self.sd, self.log_evidence = mean, sd, log_evidence
        print(
            f"  {'':<32}{'mean':>9}{'sd':>9}{'log evidence':>14}"
            f"{'densities':>12}{'scores':>10}{'simulations':>13}{'CPU s':>8}"
        )
        self.began = time.process_time()

    def row(self, name, moments, log_evidence=None, posterior=None, simulations=0):
        seconds = time.process_time() - self.began
        of_mean = np.abs((moments[0] - self.mean) / self.sd).max()
        of_sd = np.abs(moments[1] / self.sd - 1).max()
        excess = "" if log_evidence is None else f"{log_evidence - self.log_evidence:+.4f}"
        asked = (posterior.evaluations, posterior.score_evaluations) if posterior else (0, 0)
        print(
            f"  {name:<32}{of_mean:>9.2%}{of_sd:>9.2%}{excess:>14}"
            f"{asked[0]:>12,}{asked[1]:>10,}{simulations:>13,}{seconds:>8.2f}",
            flush=True,
        )
        self.began = time.process_time()


def moments(x):
    return x.mean(axis=0), x.std(axis=0)


def short_chain(posterior, start):
    options = {"steps": 400, "warm_up": 400, "thin": 10, "rng": 4, "progress": False}
    return mo.metropolis(posterior, start[:50], **options)


def compare(name: str) -> None:
    """Print the table of one problem."""
    problem, data, clean, width = CASES[name]
    start, posterior = width * problem.prior.sample(256, rng=0), problem.posterior(data)
    chains = mo.metropolis(posterior, start, steps=20_000, rng=1, progress=False)
    mean, sd = moments(chains.draws)
    exact = quadrature(problem.posterior(data), mean, np.cov(chains.draws.T))
    print(f"\n{name}: {chains}")
    print(f"log evidence by quadrature {exact[2]:.5f}")
    report, even = Report(mean, sd, exact[2]), mo.StandardNormal(problem.dim).spread(2**15, rng=2)
    report.row("quadrature", exact[:2])
    for degree in DEGREES:
        asked = problem.posterior(data)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            T = mo.inference_map(asked, problem.dim, degree=degree, score=asked.score, rng=0, progress=False)
        note = " (warns)" if said else ""
        report.row(f"inference map, degree {degree}{note}", moments(T(even)), T.log_evidence, asked)
    asked = problem.posterior(data)
    rough = short_chain(asked, start).draws
    report.row("50 short chains", moments(rough), posterior=asked)
    flow = mo.data_driven_flow(mo.StandardNormal(problem.dim).sample(2000, rng=5), rough, steps=60, rng=6)
    report.row("data-driven flow through them", moments(flow(even)), posterior=asked)
    log_evidence, corrected, share = weighed(flow, asked, mo.StandardNormal(problem.dim).spread(2**13, rng=3))
    report.row(f"  weighted, effective share {share:.2f}", corrected, log_evidence, asked)
    if problem is BANANA:
        for n, degree in ((5000, 5), (20_000, 5), (20_000, 2)):
            x = amortised(problem, clean, n, degree, 3)(data, 20_000, 7)
            report.row(f"conditional map, degree {degree}", moments(x), simulations=n)
        return
    for n, degree in ((5000, 2), (20_000, 3)):
        for k, x in enumerate(rounds(problem, data, clean, n, degree, 4), 1):
            report.row(f"conditional, degree {degree}, round {k}", moments(x), simulations=n * k)


def refit(problem, degree, points, said, start="laplace"):
    """Return a sampler that fits an inference map for each data set, and counts those with trouble."""

    def sampler(data, draws, rng):
        asked = problem.posterior(data)
        options = {"degree": degree, "score": asked.score, "points": points, "progress": False}
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                T = mo.inference_map(asked, problem.dim, start=start, rng=rng, **options)
            except ValueError:  # no mode where Laplace looks for it: start from the prior
                prior = np.zeros(problem.dim), np.eye(problem.dim)
                T = mo.inference_map(asked, problem.dim, start=prior, rng=rng, **options)
                said.append("no mode")
        said.extend(heard)
        return T.sample(draws, rng=rng)

    return sampler


def exactly(shift=0.0, blur=0.0):
    """Return a sampler of the banana's exact posterior for a datum that is off, or with blurred draws."""
    return lambda data, n, rng: BANANA.exact(data + shift).sample(n, rng) + blur * rng.standard_normal((n, 2))


def samplers(said: list) -> dict:
    """Return name: (problem, repeats for each seed, sampler)."""
    return {
        "banana, exact": (BANANA, 500, exactly()),
        "banana, the prior": (BANANA, 500, lambda data, n, rng: BANANA.prior.sample(n, rng)),
        "banana, datum off by 0.5": (BANANA, 500, exactly(shift=0.5)),
        "banana, draws blurred by 0.7": (BANANA, 500, exactly(blur=0.7)),
        "banana, conditional, degree 5": (BANANA, 5000, amortised(BANANA, np.asarray, 20_000, 5, 3)),
        "banana, conditional, degree 2": (BANANA, 500, amortised(BANANA, np.asarray, 20_000, 2, 3)),
        "banana, inference, degree 1": (BANANA, 100, refit(BANANA, 1, 1000, said)),
        "banana, inference, degree 3": (BANANA, 100, refit(BANANA, 3, 1000, said)),
        "banana, inference, degree 5": (BANANA, 100, refit(BANANA, 5, 1000, said)),
        "tracking, inference, degree 1": (TRACKING, 300, refit(TRACKING, 1, 300, said)),
        "tracking, inference, degree 2": (TRACKING, 300, refit(TRACKING, 2, 300, said)),
        "tracking, conditional, degree 2": (TRACKING, 300, amortised(TRACKING, np.asarray, 20_000, 2, 3)),
        "epidemic, inference, degree 3": (EPIDEMIC, 50, refit(EPIDEMIC, 3, 500, said)),
        "epidemic, conditional, degree 3": (EPIDEMIC, 500, amortised(EPIDEMIC, np.log1p, 20_000, 3, 3)),
    }


def adjusted(calibration) -> float:
    """Return the smallest p-value times how many there are (Bonferroni)."""
    return min(1.0, len(calibration.p_values) * float(calibration.p_values.min()))


def calibrate() -> None:
    """Print the tables of simulation-based calibration."""
    print("\nsimulation-based calibration, 99 draws, 20 bins; trouble: fits that warn or find no mode")
    print(f"  {'':<33}{'repeats':>9}  {'p by seed':<42}{'p of all, by parameter':<36}trouble  CPU s")
    said: list = []
    for name, (problem, repeats, sampler) in samplers(said).items():
        said.clear()
        began, found = time.process_time(), []
        for seed in progress(SEEDS, label=name):
            found.append(
                mo.simulation_based_calibration(problem, sampler, repeats=repeats, rng=seed, progress=False)
            )
        pooled = Calibration(np.concatenate([c.ranks for c in found]), 99, 20, found[0].names)
        by_seed = " ".join(f"{adjusted(c):.2g}" for c in found)
        by_parameter = " ".join(f"{p:.2g}" for p in pooled.p_values)
        seconds = time.process_time() - began
        print(
            f"  {name:<33}{f'{len(SEEDS)} x {repeats}':>9}  {by_seed:<42}{by_parameter:<36}"
            f"{len(said):>7}{seconds:>7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    made = ", ".join(f"{p} {version(p)}" for p in ("mini_ot", "numpy", "scipy", "numba", "scikit-learn"))
    print(f"Python {platform.python_version()}, {made}; one thread ({', '.join(_one_thread.ONE_THREAD)})")
    mo.inference_map(mo.Banana().log_density, 2, degree=2, rng=0, progress=False)  # compiles
    EPIDEMIC.infected(EPIDEMIC.prior.sample(2, rng=0))
    for case in CASES:
        compare(case)
    calibrate()
