"""The Monge-Ampere equation in the unit square: error, observed order, steps and seconds.

The three tests are those of Benamou, Froese and Oberman (2010).  No peer runs beside: no library that can be
installed from a package index was found to solve this problem.
"""

import argparse
import os
import platform
import time
import warnings

import numba
import numpy as np
import scipy

import mini_ot as mo

SIZES = (32, 64, 128, 256, 512)
SCHEMES = {
    "monotone": {},
    "monotone, wide": {"wide": True},
    "newton, nested": {"scheme": "newton"},
    "newton, cold": {"scheme": "newton", "start": "cold"},
}
PATIENCE = 5.0  # CPU seconds: after a grid that took longer, the next one is left out


def squared(points, centre=0.0):
    return ((points - centre) ** 2).sum(axis=1)


PROBLEMS = {
    "exp(|x|^2 / 2), smooth": (
        lambda p: (1 + squared(p)) * np.exp(squared(p)),
        lambda p: np.exp(squared(p) / 2),
    ),
    "(|x - c| - 0.2)_+^2 / 2, once differentiable": (
        lambda p: np.maximum(1 - 0.2 / np.maximum(np.sqrt(squared(p, 0.5)), 1e-9), 0),
        lambda p: np.maximum(np.sqrt(squared(p, 0.5)) - 0.2, 0) ** 2 / 2,
    ),
    "-sqrt(2 - |x|^2), gradient infinite at a corner": (
        lambda p: 2 / (2 - squared(p)) ** 2,
        lambda p: -np.sqrt(2 - squared(p)),
    ),
}


def table(f, exact, **options) -> None:
    """Print a row for every grid that does not take too long."""
    before, seconds = np.nan, 0.0
    for n in SIZES:
        if seconds > PATIENCE:
            return
        start = time.process_time()
        s = mo.monge_ampere(f, exact, n=n, progress=False, **options)
        seconds = time.process_time() - start
        points = np.stack(np.meshgrid(s.x, s.x, indexing="ij"), axis=-1).reshape(-1, 2)
        error = abs(s.u.ravel() - exact(points)).max()
        notes = " ".join(["" if s.is_convex else "not convex", "" if s.converged else "not converged"])
        steps = " ".join(map(str, s.steps))
        print(
            f"{n:6}{error:11.2e}{np.log2(before / error):7.2f}  {steps:<20}{seconds:8.2f}  {notes}",
            flush=True,
        )
        before = error


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # said in the table
    print("The Dirichlet problem of the Monge-Ampere equation")
    print(f"Python {platform.python_version()}, mini-ot {mo.__version__}, numpy {np.__version__}, ", end="")
    print(f"scipy {scipy.__version__}, numba {numba.__version__}; ", end="")
    print("threads:", os.environ.get("MINI_OT_NUM_THREADS", "all (MINI_OT_NUM_THREADS=1 for one)"))
    for options in SCHEMES.values():  # compile
        mo.monge_ampere(*PROBLEMS["exp(|x|^2 / 2), smooth"], n=8, **options)
    for name, (f, exact) in PROBLEMS.items():
        for scheme, options in SCHEMES.items():
            print(f"\n{name}: {scheme}")
            print(f"{'n':>6}{'max error':>11}{'order':>7}  {'steps on each grid':<20}{'CPU s':>8}")
            table(f, exact, **options)
