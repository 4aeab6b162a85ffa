"""Maps from a normal to a posterior, beside a long Metropolis chain and quadrature.

Three posteriors: a linear model (Gaussian, everything known), the banana (its density times a constant), and
the biochemical oxygen demand, after Marzouk, Moselhy, Parno and Spantini (2016).
Errors are shares of the posterior standard deviation, for the mean as for the deviation itself; an error of
the map is against the exact answer or quadrature.  Both methods call the same vectorised density.
"""

import argparse
import platform
import time
from typing import NamedTuple

import numpy as np
from scipy.special import erf, logsumexp

import mini_ot as mo

LOG_2PI = np.log(2 * np.pi)
DEGREES = (1, 2, 3, 5)
ENOUGH = 1e-3  # an error of which no less is asked when the costs of both are compared


class Problem(NamedTuple):
    name: str
    exact: str
    dim: int
    log_density: object
    score: object
    mean: np.ndarray
    sd: np.ndarray
    log_evidence: float


class Counted:
    """A function of points that counts how many it was given."""

    def __init__(self, function):
        self.function, self.points = function, 0

    def __call__(self, x):
        self.points += len(x)
        return self.function(x)


def linear_model() -> Problem:
    """Data y = G x + noise in three dimensions, prior N(0, I)."""
    rng = np.random.default_rng(0)
    G, y, noise = rng.standard_normal((5, 3)), rng.standard_normal(5), 0.5
    cov = np.linalg.inv(np.eye(3) + G.T @ G / noise**2)
    mean = cov @ G.T @ y / noise**2
    of_data = noise**2 * np.eye(5) + G @ G.T
    evidence = -0.5 * (y @ np.linalg.solve(of_data, y) + np.linalg.slogdet(of_data)[1] + 5 * LOG_2PI)

    def log_density(x):
        square = ((y - x @ G.T) ** 2).sum(axis=1) / noise**2 + (x**2).sum(axis=1)
        return -0.5 * (square + 10 * np.log(noise) + 8 * LOG_2PI)

    def score(x):
        return (y - x @ G.T) @ G / noise**2 - x

    return Problem("linear model", "known", 3, log_density, score, mean, np.sqrt(np.diag(cov)), evidence)


def banana() -> Problem:
    """mo.Banana times e^-3: E x2 = E x1^2 = 1, and x2 has variance 2 + 1 / 4."""
    target = mo.Banana()

    def score(x):
        gap = (x[:, 1] - x[:, 0] ** 2) / 0.25
        return np.c_[2 * x[:, 0] * gap - x[:, 0], -gap]

    mean, sd = np.array([0.0, 1.0]), np.sqrt([1.0, 2.25])
    return Problem("banana", "known", 2, lambda x: target.log_density(x) - 3.0, score, mean, sd, -3.0)


TIMES = np.arange(1, 6)
DATA = np.array([0.18, 0.32, 0.42, 0.49, 0.54])
NOISE = 1e-3  # variance


def demand(x):
    """Return A, B and A (1 - exp(-B t)) of parameters x (n, 2), the last of shape (n, 5)."""
    a = 0.4 + 0.4 * (1 + erf(x[:, :1] / np.sqrt(2)))
    b = 0.01 + 0.15 * (1 + erf(x[:, 1:] / np.sqrt(2)))
    return a, b, -a * np.expm1(-b * TIMES)


def demand_log_density(x):
    square = ((DATA - demand(x)[2]) ** 2).sum(axis=1) / NOISE + (x**2).sum(axis=1)
    return -0.5 * (square + 5 * np.log(NOISE) + 7 * LOG_2PI)


def demand_score(x):
    a, b, curve = demand(x)
    pull = (DATA - curve) / NOISE
    bell = np.exp(-0.5 * x**2) * np.sqrt(2 / np.pi)  # derivative of erf(x / sqrt 2)
    by_a, by_b = -np.expm1(-b * TIMES), a * TIMES * np.exp(-b * TIMES)
    return np.c_[(pull * by_a).sum(axis=1) * 0.4, (pull * by_b).sum(axis=1) * 0.15] * bell - x


def quadrature(log_density, cells: int = 1200, half: float = 7.0):
    """Return mean, standard deviation and log evidence by the midpoint rule on [-half, half]^2."""
    s = half * ((2 * np.arange(cells) + 1) / cells - 1)
    x = np.stack(np.meshgrid(s, s, indexing="ij"), axis=-1).reshape(-1, 2)
    logs = np.concatenate([log_density(part) for part in np.array_split(x, 40)])
    total = logsumexp(logs)
    weight = np.exp(logs - total)
    mean = weight @ x
    return mean, np.sqrt(weight @ (x - mean) ** 2), total + 2 * np.log(2 * half / cells)


def oxygen() -> Problem:
    return Problem(
        "oxygen demand", "quadrature", 2, demand_log_density, demand_score, *quadrature(demand_log_density)
    )


class Chains(NamedTuple):
    mean: np.ndarray
    sd: np.ndarray
    r_hat: float
    evaluations: int
    seconds: float
    cost: float  # evaluations at which the root mean square error of the worst moment is 1


def metropolis(p, chains: int = 256, steps: int = 40_000, rng=0) -> Chains:
    """Random-walk Metropolis with Gaussian moves in many chains; their covariance is tuned in the warm-up."""
    rng, d, start = np.random.default_rng(rng), p.dim, time.process_time()
    x, root = rng.standard_normal((chains, d)), 0.5 * np.eye(d)
    logs = p.log_density(x)

    def walk(n):
        nonlocal x, logs
        sums = np.zeros((2, chains, d))
        for _ in range(n):
            new = x + rng.standard_normal(x.shape) @ root.T
            news = p.log_density(new)
            take = np.log(rng.random(chains)) < news - logs
            x, logs = np.where(take[:, None], new, x), np.where(take, news, logs)
            sums += x, x**2
        return sums / n

    for _ in range(10):
        walk(steps // 50)
        root = 2.38 / np.sqrt(d) * np.linalg.cholesky(np.cov(x.T))
    halves = np.concatenate([walk(steps // 2), walk(steps // 2)], axis=1)  # moments of half chains
    mean, square = halves.mean(axis=1)
    sd = np.sqrt(square - mean**2)
    within, between = (halves[1] - halves[0] ** 2).mean(axis=0), halves[0].var(axis=0, ddof=1)
    # Half chains differ by the errors that they make, here in shares of the standard deviation.
    spread = (halves[1] - 2 * halves[0] * mean + mean**2) / sd**2
    cost = (steps // 2) * max((between / sd**2).max(), (spread.var(axis=0, ddof=1) / 4).max())
    evaluations = chains * steps * 6 // 5
    seconds = time.process_time() - start
    return Chains(mean, sd, np.sqrt(1 + between / within).max(), evaluations, seconds, cost)


def moments(T):
    """Return mean and standard deviation of a map's law, by points that need no density."""
    x = T(mo.StandardNormal(T.dim).spread(2**16, rng=5))
    return x.mean(axis=0), x.std(axis=0)


def error(mean, sd, p) -> tuple[float, float]:
    return np.abs((mean - p.mean) / p.sd).max(), np.abs(sd / p.sd - 1).max()


def numbers(values) -> str:
    return " ".join(f"{v:7.4f}" for v in values)


def compare(p: Problem) -> None:
    print(f"\n{p.name}, dimension {p.dim}")
    c = metropolis(p)
    wide = 8 * p.dim
    print(f"{'':<26}{'mean':<{wide}} {'standard deviation':<{wide}}  errors, %")
    print(f"{p.exact:<25} {numbers(p.mean)}  {numbers(p.sd)}   log evidence {p.log_evidence:.5f}")
    worst = " ".join(f"{100 * e:.2f}" for e in error(c.mean, c.sd, p))
    print(
        f"{'Metropolis':<25} {numbers(c.mean)}  {numbers(c.sd)}   {worst}   R-hat {c.r_hat:.4f}, "
        f"{c.evaluations / 1e6:.1f} million densities, {c.seconds:.1f} CPU s"
    )
    rows = []
    for degree in DEGREES:
        for score in (p.score, None):
            density, slope = Counted(p.log_density), score and Counted(score)
            start = time.process_time()
            T = mo.inference_map(density, p.dim, degree=degree, score=slope, rng=0, progress=False)
            mean, sd = moments(T)
            seconds = time.process_time() - start
            both = error(mean, sd, p)
            if score:
                worst, apart = (
                    " ".join(f"{100 * e:.2f}" for e in pair) for pair in (both, error(mean, sd, c))
                )
                print(
                    f"{f'map of degree {degree}':<25} {numbers(mean)}  {numbers(sd)}   {worst}   "
                    f"from Metropolis {apart}"
                )
            same = c.cost / max(*both, ENOUGH) ** 2
            rows.append(
                f"{degree:>6}{'given' if score else 'none':>8}{T.log_evidence - p.log_evidence:>+12.5f}"
                f"{T.lower_bound - p.log_evidence:>+12.5f}{T.variance_diagnostic:>10.1e}"
                f"{T.effective_samples:>9.3f}{density.points:>11,}{slope.points if slope else 0:>9,}"
                f"{seconds:>8.2f}{same:>16,.0f}{same * c.seconds / c.evaluations:>9.2f}"
            )
    print(
        "degree   score  evidence -     bound -  variance  effect.  densities   scores   CPU s"
        "      Metropolis   CPU s"
    )
    print(*rows, sep="\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    print(f"mini_ot {mo.__version__}, numpy {np.__version__}, Python {platform.python_version()}")
    print("Metropolis, last columns: what it needs for the error of the map, or for 0.1 %, warm-up aside")
    mo.inference_map(mo.Banana().log_density, 2, degree=2, rng=0)  # compile
    for make in (linear_model, banana, oxygen):
        compare(make())
