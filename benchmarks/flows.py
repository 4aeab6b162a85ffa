"""Generative models trained on the same 10,000 samples, measured at the same CPU seconds of one thread.

``python -m benchmarks.flows`` is a small version of some minutes: checkerboard and banana, one seed, 5
seconds of training.  The whole leaderboard:

    python -m benchmarks.flows --targets all --seeds 5 --seconds 3 10 20 60 --out flows.jsonl
    python -m benchmarks.flows --table flows.jsonl
    python -m benchmarks.flows --csv book/data/leaderboard.csv flows.jsonl

With --out every result is appended as a line of JSON, and what stands there already is not run again.
--csv makes the record that the book shows of one or more such files, of several machines or environments.
Imports, compilation and measuring are off the clock.
"""

import benchmarks._one_thread  # noqa: F401  isort: skip

import argparse
import csv
import json
import platform
import time
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path

import numpy as np

import mini_ot as mo
from benchmarks import _peers
from benchmarks._quality import floors, quality

N = 10_000
WARM = 0.1  # budget of a first run that counts nowhere: it imports and compiles
TARGETS = {
    t.__name__.lower(): t
    for t in (mo.Checkerboard, mo.Banana, mo.RingOfGaussians, mo.TwoMoons, mo.Pinwheel, mo.Spirals)
}


class Pushed:
    """The model that a map makes of the standard normal; where a map gives no density, neither does this."""

    def __init__(self, T, *, density: bool = True):
        self.T, self.density, self.reference = T, density, mo.StandardNormal()

    def sample(self, n, rng):
        return self.T(self.reference.sample(n, rng=rng))

    def log_density(self, points):
        if not self.density:
            return None
        return mo.pushforward_log_density(self.T, self.reference.log_density, points)


class Sampled:
    """The law of fresh normal points moved by a function that gives no density."""

    def __init__(self, function):
        self.function = function

    def sample(self, n, rng):
        return self.function(mo.StandardNormal().sample(n, rng=rng))

    def log_density(self, points):
        return None


class Particles:
    """The arrived particles of a flow: no generator of new points, so look at the copy ratio."""

    def __init__(self, flow):
        self.points = flow.particles

    def sample(self, n, rng):
        return rng.choice(self.points, size=n, replace=n > len(self.points))

    def log_density(self, points):
        return None


def sliced(x, y, seed, **settings):
    return mo.sliced_mmd_flow(x, y, rng=seed, **settings)


def settings(budget: float) -> dict:
    """Return the settings of the data-driven flow that take so many seconds on one core of 2023."""
    return {"steps": max(1, int(13 * budget)), "features": 256, "ridge": 3e-4, "neighbours": 100}


def reference(x, seed):
    """The normal law is known, so its points may be spread evenly in place of being drawn."""
    return mo.StandardNormal(x.shape[1]).spread(len(x), rng=seed)


def data_driven(x, y, budget, seed):
    """The flow from noise to data: only the density needs the inverse of its maps."""
    return Pushed(mo.data_driven_flow(reference(x, seed), y, rng=seed, **settings(budget)))


def data_driven_backwards(x, y, budget, seed):
    """The flow from data to noise: a smoother density, but samples need the inverse of its maps."""
    smoother = {**settings(budget), "neighbours": 400, "ridge": 1e-3}
    return mo.MapModel(mo.data_driven_flow(y, reference(x, seed), rng=seed, **smoother), backwards=True)


def fitted_backwards(name):
    """Return the method that fits the map of this name, from data to noise, by their likelihood."""
    return lambda x, y, seed: mo.MapModel(getattr(mo, name)(y, rng=seed, progress=False), backwards=True)


def mmd_flow(x, y, seed):
    """A Gaussian kernel that narrows, on a quarter of the points: its sums grow with their square."""
    few = len(y) // 4
    widths = np.geomspace(1.0, 0.1, 8) * np.sqrt(y.var(axis=0).sum())
    flow = mo.mmd_flow(x[:few], y[:few], kernel=[mo.Gaussian(h) for h in widths], steps=200, rng=seed)
    return Pushed(flow, density=False)


def entropic(x, y, seed):
    """The barycentric map of an entropic plan of 2,000 points of each cloud."""
    plan = mo.sinkhorn(x[:2000], y[:2000], epsilon=0.01)
    return Sampled(lambda points: plan.map(points))


TRUTH = "true samples"
WITHOUT_BUDGET = {  # name: (the package that it needs, the method)
    "mini_ot affine_map": ("mini-ot", lambda x, y, seed: Pushed(mo.affine_map(x, y))),
    "mini_ot kde": ("mini-ot", lambda x, y, seed: mo.kde(y)),
    "mini_ot triangular_map": ("mini-ot", fitted_backwards("triangular_map")),
    "mini_ot dual_ascent_flow": ("mini-ot", fitted_backwards("dual_ascent_flow")),
    "mini_ot normalizing_flow": ("mini-ot", fitted_backwards("normalizing_flow")),
    "mini_ot planar_flow": ("mini-ot", fitted_backwards("planar_flow")),
    "mini_ot radial_flow": ("mini-ot", fitted_backwards("radial_flow")),
    "mini_ot entropic map, 2,000 points": ("mini-ot", entropic),
    "mini_ot back-and-forth on samples": (
        "mini-ot",
        lambda x, y, seed: Pushed(mo.back_and_forth_samples(x, y, rng=seed)),
    ),
    "mini_ot MMD flow, 2,500 points": ("mini-ot", mmd_flow),
    "mini_ot sliced flow": ("mini-ot", lambda x, y, seed: Pushed(sliced(x, y, seed), density=False)),
    "mini_ot sliced flow, longer": (
        "mini-ot",
        lambda x, y, seed: Pushed(sliced(x, y, seed, steps=400, slices=32), density=False),
    ),
    "mini_ot sliced flow, particles": (
        "mini-ot",
        lambda x, y, seed: Particles(sliced(x, y, seed, steps=400, slices=32)),
    ),
    "scikit-learn KDE": ("scikit-learn", _peers.sklearn_kde),
    "POT emd, 2,000 points": ("POT", _peers.pot_emd),
}
WITH_BUDGET = {
    "mini_ot data-driven flow": ("mini-ot", data_driven),
    "mini_ot data-driven, backwards": ("mini-ot", data_driven_backwards),
    "zuko NSF": ("zuko", _peers.zuko_nsf),
    "normflows NSF": ("normflows", _peers.normflows_nsf),
    "normflows RealNVP": ("normflows", _peers.normflows_realnvp),
    "flow_matching": ("flow-matching", _peers.flow_matching),
}
METHODS = WITHOUT_BUDGET | WITH_BUDGET
PACKAGES = ("mini-ot", "numpy", "numba", "torch", "zuko", "normflows", "flow-matching", "POT", "scikit-learn")


def installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [text.split(":")[1].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def fitted(name: str, x, y, budgets, seed: int):
    """Yield (budget, CPU seconds, model) of a method; what needs no budget has budget 0."""
    _, method = METHODS[name]
    if name in WITH_BUDGET:
        ways = {budget: partial(method, x, y, budget, seed) for budget in [WARM, *budgets]}
    else:
        ways = {WARM: partial(method, x[:2500], y[:2500], seed), 0: partial(method, x, y, seed)}
    for budget, way in ways.items():
        start = time.process_time()
        model = way()
        seconds = time.process_time() - start
        if budget != WARM:
            yield budget, seconds, model


def records_of(target_name: str, name: str, seed: int, budgets):
    """Train and measure one method; yield a record for each budget."""
    target = TARGETS[target_name]()
    x = mo.StandardNormal().sample(N, rng=np.random.default_rng([seed, 0]))
    y, test, fresh = (target.sample(N, rng=np.random.default_rng([seed, k])) for k in (1, 2, 3))
    record = {"target": target_name, "method": name, "seed": seed, "processor": processor()}
    if name == TRUTH:
        yield record | {"budget": 0} | floors(target, y, N, np.random.default_rng([seed, 4]))
        return
    record["version"] = version(METHODS[name][0])
    record["packages"] = {p: version(p) for p in PACKAGES if installed(p)}
    for budget, seconds, model in fitted(name, x, y, budgets, seed):
        try:
            measured = quality(model, target, y, test, fresh, np.random.default_rng([seed, 5]))
        except ValueError as error:  # samples that are not finite
            measured = {"error": str(error)}
        yield record | {"budget": budget, "seconds": seconds} | measured


def run(arguments) -> list[dict]:
    """Run what was asked for and is not in the file yet; return all records."""
    out = Path(arguments.out) if arguments.out else None
    records = read(out) if out and out.exists() else []
    done = {(r["target"], r["seed"], r["method"], r["budget"]) for r in records}
    present = [name for name in arguments.methods if installed(METHODS[name][0])]
    for name in set(arguments.methods) - set(present):
        print(f"not installed, so not compared: {name} (pip install {METHODS[name][0]})")
    for case in product(arguments.targets, range(arguments.seeds), [TRUTH, *present]):
        target, seed, name = case
        budgets = arguments.seconds if name in WITH_BUDGET else [0]
        budgets = [b for b in sorted(budgets) if (*case, b) not in done]
        if not budgets or (name == TRUTH and seed > 0):
            continue
        for record in records_of(target, name, seed, budgets):
            records.append(record)
            print(f"{target}, seed {seed}, {name}, {record.get('seconds', 0):.1f} s", flush=True)
            if out:
                with out.open("a") as file:
                    file.write(json.dumps(record) + "\n")
    return records


def read(path: Path) -> list[dict]:
    """Return the records of a file of results."""
    return [json.loads(line) for line in path.read_text().splitlines()]


COLUMNS = {  # measure: (heading, format)
    "seconds": ("CPU s", "{:.1f}"),
    "nll": ("NLL", "{:.4f}"),
    "kl": ("KL", "{:.4f}"),
    "dark": ("dark", "{:.3f}"),
    "tv16": ("TV 16", "{:.4f}"),
    "tv": ("TV 256", "{:.4f}"),
    "sw2": ("SW2", "{:.4f}"),
    "ed": ("ED", "{:.5f}"),
    "w2": ("W2", "{:.3f}"),
    "copy": ("copy", "{:.2f}"),
    "per_second": ("samples/s", "{:,.0f}"),
}


def show(records: list[dict]) -> None:
    """Print a table for each target: the floors (mean and 95 % quantile), then medians over the seeds."""
    order = [TRUTH, *METHODS]
    groups = defaultdict(list)
    for r in sorted(records, key=lambda r: (order.index(r["method"]), r["budget"])):
        groups[r["target"], r["method"], r["budget"]].append(r)
    for target in dict.fromkeys(r["target"] for r in records):
        here = {(name, budget): group for (t, name, budget), group in groups.items() if t == target}
        columns = [c for c in COLUMNS if any(r.get(c) is not None for g in here.values() for r in g)]
        print(f"\n{target}\n{'':<32}{'seeds':>5}" + "".join(f"{COLUMNS[c][0]:>11}" for c in columns))
        for (name, _), group in here.items():
            if name == TRUTH:
                for label, k in ((f"{name}: mean", 0), ("  95 % quantile", 1)):
                    print(line(label, "", columns, {c: group[0][c][k] for c in columns if c in group[0]}))
                continue
            known = {c: [r[c] for r in group if r.get(c) is not None] for c in columns}
            print(line(name, len(group), columns, {c: np.median(v) for c, v in known.items() if v}))
    print(LEGEND)


LEGEND = """
NLL: negative log-likelihood of 10,000 unseen samples; KL: that minus the true law's on the same samples.
dark: share of samples in dark cells.
TV: total variation over the 16 cells of the board, and over 256 squares, of 100,000 samples.
SW2 and ED (energy distance): 10,000 samples against 10,000 fresh true ones; W2: exact, of 2,000.
copy: median distance to the nearest training sample, relative to that of fresh true samples (1 is right).
samples/s: per CPU second, 10,000 at once."""


def line(name, seeds, columns, values) -> str:
    cells = (COLUMNS[c][1].format(values[c]) if c in values else "-" for c in columns)
    return f"{name:<32}{seeds:>5}" + "".join(f"{cell:>11}" for cell in cells)


RECORDED = ("seconds", "kl", "sw2", "ed", "w2", "copy", "per_second")
EACH_SEED = ("kl", "sw2")  # whose values are kept one by one, so that two methods can be paired
FLOORS = ("floor mean", "floor 95 %")


def write_csv(path: Path, results: list[Path], also: str = "") -> None:
    """Make the record of the book from files of results: medians over the seeds, least and largest values.

    One row for each target, method, budget and measure, in the order of the targets and methods above; the
    noise floors are rows of the methods "floor mean" and "floor 95 %".  Comments (#) on top say what was run.
    `also` names versions that the records do not hold.
    """
    groups, first_floor = _grouped([r for file in results for r in read(file)])
    seeds = sorted({seed for group in groups.values() for seed in group})
    with path.open("w", encoding="utf-8", newline="") as file:
        newest = max(result.stat().st_mtime for result in results)
        for text in _what_was_run(groups, seeds, datetime.fromtimestamp(newest, UTC).date(), also):
            file.write(f"# {text}\n")
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["target", "method", "budget", "measure", "seeds", "median", "min", "max", *seeds])
        for target in TARGETS:
            for k, name in enumerate(FLOORS):
                floor = first_floor.get(target, {})
                for measure in (m for m in RECORDED if m in floor):
                    empty = [""] * (2 + len(seeds))
                    rows.writerow([target, name, 0, measure, "", f"{floor[measure][k]:.4g}", *empty])
            for (_, method, budget), group in ((key, g) for key, g in groups.items() if key[0] == target):
                for measure in RECORDED:
                    known = {s: r[measure] for s, r in group.items() if r.get(measure) is not None}
                    if known:
                        values = list(known.values())
                        single = [known.get(s, "") if measure in EACH_SEED else "" for s in seeds]
                        numbers = [np.median(values), min(values), max(values), *single]
                        texts = [v if v == "" else f"{v:.4g}" for v in numbers]
                        rows.writerow([target, method, f"{budget:g}", measure, len(values), *texts])


def _grouped(records):
    """Return {(target, method, budget): {seed: record}} in the order of the table, and the floors."""
    groups, first_floor = defaultdict(dict), {}
    for r in sorted(records, key=lambda r: (list(TARGETS).index(r["target"]), r["budget"], r["seed"])):
        if r["method"] == TRUTH:
            first_floor.setdefault(r["target"], r)
            continue
        group = groups[r["target"], r["method"], r["budget"]]
        if r["seed"] in group:
            raise ValueError(f"two records of {r['target']}, {r['method']}, {r['budget']}, seed {r['seed']}")
        group[r["seed"]] = r
    order = list(METHODS)
    return dict(sorted(groups.items(), key=lambda item: order.index(item[0][1]))), first_floor


def _what_was_run(groups, seeds, date, also):
    """Yield the comments on top of the record."""
    records = [r for group in groups.values() for r in group.values()]
    least = min(len(group) for group in groups.values())
    packages = {(p, v) for r in records for p, v in r.get("packages", {}).items()}
    packages |= {(METHODS[r["method"]][0], r["version"]) for r in records}
    yield "Generative models of six two-dimensional targets; made by: python -m benchmarks.flows --csv"
    yield f"{N} training samples, as many unseen ones judge, the same for all methods with the same seed"
    yield f"seeds {seeds[0]} to {seeds[-1]}; the last columns hold their values; at least {least} in a group"
    yield f"CPU seconds of one thread of {', '.join(sorted({r['processor'] for r in records}))}; ended {date}"
    texts = sorted({f"{p} {v}" for p, v in packages} | {t.strip() for t in also.split(",") if t.strip()})
    yield "versions: " + ", ".join(texts)
    yield "budget: CPU seconds given to methods that can use any time, 0 for the others"
    yield "kl in nats; sw2: sliced W2, ed: energy distance, w2: W2 of 2,000 points, to fresh true samples"
    yield "copy: distance to training samples, relative to fresh true ones; per_second: samples a CPU second"
    for key, group in groups.items():
        for seed, r in group.items():
            if "error" in r:
                yield f"failed: {', '.join(map(str, key))}, seed {seed}: {r['error']}".replace("\n", " ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="+", default=["checkerboard", "banana"], choices=[*TARGETS, "all"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=1, help="how many; they are 0, 1, ...")
    parser.add_argument("--seconds", nargs="+", type=float, default=[5], help="CPU seconds of training")
    parser.add_argument("--out", help="file of results to append to, one JSON a line")
    parser.add_argument("--table", help="only print the tables of this file")
    parser.add_argument(
        "--csv", nargs="+", metavar="PATH", help="only make this CSV file of files of results"
    )
    parser.add_argument("--also", default="", help='versions for its head: "torch 2.9.0, numpy 2.4.6"')
    arguments = parser.parse_args()
    if arguments.csv:
        if len(arguments.csv) < 2:
            parser.error("--csv needs the file to write and at least one file of results")
        write_csv(Path(arguments.csv[0]), [Path(p) for p in arguments.csv[1:]], arguments.also)
        return
    if "all" in arguments.targets:
        arguments.targets = list(TARGETS)
    records = read(Path(arguments.table)) if arguments.table else run(arguments)
    print(f"\nGenerative models of {N:,} samples, one thread of {processor()}")
    print(", ".join(f"{p} {version(p)}" for p in PACKAGES if installed(p)))
    show(records)


if __name__ == "__main__":
    main()
