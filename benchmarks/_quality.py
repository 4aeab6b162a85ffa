"""How good is a generative model?  The measures of the leaderboard, each with its noise floor."""

import time
from collections.abc import Callable

import numpy as np

import mini_ot as mo

FEW = 2_000  # points of the exact W2, whose cost grows like their cube
MANY = 100_000  # samples counted in the squares of the checkerboard


def board_errors(points) -> tuple[float, float, float]:
    """Return what a checkerboard's samples get wrong: the mass in dark cells and two total variations.

    The total variation is half of sum_c |share of the samples in c - true probability of c|, over the 16
    cells of the board, and over 256 squares of side 1/2; all that lies off the board is one more cell.
    """
    dark = mo.Checkerboard.dark(points).mean()
    return float(dark), *(_total_variation(points, side) for side in (2.0, 0.5))


def _total_variation(points, side):
    edges = np.arange(-4, 4 + side / 2, side)
    share = np.histogram2d(*points.T, bins=(edges, edges))[0] / len(points)
    centre = (edges[1:] + edges[:-1]) / 2
    grid = np.stack(np.meshgrid(centre, centre, indexing="ij"), axis=-1).reshape(-1, 2)
    truth = mo.Checkerboard.dark(grid).reshape(share.shape) * side**2 / 32
    return float((abs(share - truth).sum() + 1 - share.sum()) / 2)


def quality(model, target, training, test, fresh, rng) -> dict[str, float | None]:
    """Measure a model with ``.sample(n, rng)`` and ``.log_density(points)``, which may return None.

    `test` is for the likelihood, `fresh` for the distances; neither was seen in training.
    """
    model.sample(1000, rng)  # the first call may prepare or compile something
    start = time.process_time()
    points = model.sample(len(fresh), rng)
    seconds = time.process_time() - start
    log_density = model.log_density(test)
    out = {
        "nll": None if log_density is None else -float(np.mean(log_density)),
        "kl": None if log_density is None else float(np.mean(target.log_density(test) - log_density)),
        "sw2": mo.sliced_w2(points, fresh),
        "ed": mo.energy_distance(points, fresh),
        "w2": mo.w2(points[:FEW], fresh[:FEW]),
        "copy": mo.copy_ratio(points, training, fresh),
        "per_second": len(points) / max(seconds, 1e-6),
    }
    if isinstance(target, mo.Checkerboard):
        out["dark"], out["tv16"], out["tv"] = board_errors(model.sample(MANY, rng))
    return out


def floors(target, training, n: int, rng) -> dict[str, list[float]]:
    """Return the mean and the 95 % quantile of every measure between true samples; the NLL's too."""
    cases: dict[str, tuple[int, Callable]] = {
        "nll": (n, lambda a, b: -target.log_density(a).mean()),
        "sw2": (n, mo.sliced_w2),
        "ed": (n, mo.energy_distance),
        "w2": (min(n, FEW), mo.w2),
        "copy": (n, lambda a, b: mo.copy_ratio(a, training, b)),
    }
    if isinstance(target, mo.Checkerboard):
        cases["tv16"] = MANY, lambda a, b: board_errors(a)[1]
        cases["tv"] = MANY, lambda a, b: board_errors(a)[2]
    return {
        name: list(mo.noise_floor(target, size, measure, rng=rng)) for name, (size, measure) in cases.items()
    }
