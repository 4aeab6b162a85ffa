"""Kernel sums and the leaderboard's sweep on Dask's workers, beside one process without Dask.

``python -m benchmarks.cluster [--points 50000] [--chunk N] [--workers 2] [--work WORK ...] [--save FILE]``

Each line is a fresh process, or a fresh client with fresh workers, after a warm-up: seconds on the clock, CPU
seconds of all processes together, and the peak of resident memory with and without Dask.  Points in the
plane, float32.  The sizes for which this is meant take minutes: ``--points 1000000`` is 10^12 pairs a line.
"""

import argparse
import csv
import datetime
import multiprocessing
import os
import platform
import time
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

import mini_ot as mo

KERNEL = mo.Gaussian(0.5)
COLUMNS = ["work", "way", "clock (s)", "CPU (s)", "client (MB)", "each worker (MB)", "result"]


def one_process(work, x, y, chunk):
    return {
        "kernel mean": lambda: KERNEL.mean(x, y),
        "gradient": lambda: KERNEL.gradient(x, y),
        "gradient on a grid": lambda: KERNEL.gradient(x, y, method="grid"),
        "MMD^2": lambda: mo.mmd2(x, y, kernel=KERNEL),
    }[work]()


def in_blocks(work, x, y, chunk):
    options = {"kernel": KERNEL, "chunk": chunk}
    return {
        "kernel mean": lambda: mo.chunked.kernel_mean(x, y, **options).compute(),
        "gradient": lambda: mo.chunked.kernel_gradient(x, y, **options).compute(),
        "MMD^2": lambda: mo.chunked.mmd2(x, y, **options),
    }[work]()


def peak() -> float:
    """Return the most memory that this process ever held, in MB; since its own start, which rusage is not."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


def clouds(n):
    x, y = np.random.default_rng(0).standard_normal((2, n, 2)).astype(np.float32)
    return x, y + np.float32(0.5)


def timed(call, cpu=time.process_time):
    c, w = cpu(), time.perf_counter()
    result = call()
    return time.perf_counter() - w, cpu() - c, result


def line(pipe, way, work, n, chunk, workers):
    """Run one line of the table in a process of its own, and send what was seen."""
    x, y = clouds(n)
    if not workers:
        way(work, x[:100], y[:100], chunk)
        wall, cpu, result = timed(lambda: way(work, x, y, chunk))
        memory = ()
    else:
        from distributed import Client

        with local_cluster(workers) as machines, Client(machines) as client:
            way(work, x[:100], y[:100], 50)  # every worker compiles, or loads what is compiled
            wall, cpu, result = timed(lambda: way(work, x, y, chunk), lambda: cpu_of_all(client))
            memory = client.run(peak).values()
    pipe.send((wall, cpu, peak(), max(memory, default=None), float(np.abs(result).mean())))


def local_cluster(workers):
    from distributed import LocalCluster

    env = {"MINI_OT_NUM_THREADS": "1"}
    return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", env=env)


def cpu_of_all(client):
    return time.process_time() + sum(client.run(time.process_time).values())


def in_fresh_process(*arguments):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=line, args=(theirs, *arguments))
    process.start()
    theirs.close()
    seen = ours.recv()  # EOFError if it died
    process.join()
    return seen


WORKS = ("kernel mean", "gradient", "MMD^2")


def sums(works, n, chunk, workers, save):
    rows = []

    def add(work, way, *case):
        rows.append([work, way, *in_fresh_process(*case)])
        show(rows[-1])
        save(rows)

    for work in works:
        ways = {"one process": (one_process, 0), f"Dask, {workers} workers": (in_blocks, workers)}
        for name, (way, processes) in ways.items():
            add(work, name, way, work, n, chunk, processes)
        one, dask = rows[-2:]
        print(f"  {'':<12} Dask's share of CPU: {dask[3] / one[3]:.2f} x of one process", flush=True)
        if work == "gradient":
            add(work, "one process, on a grid", one_process, work + " on a grid", n, 1, 0)


def keep(path, n, rows):
    """Write the lines so far to the file, behind those that it holds of fewer points."""
    size = f"{n:,}"
    with path.open(newline="", encoding="utf-8") if path.exists() else nullcontext([]) as file:
        old = [row for row in list(csv.reader(file))[1:] if row[0] != size]
    for work, way, wall, cpu, client, worker, _ in rows:
        each = "" if worker is None else f"{worker:.0f}"
        old.append([size, work, way, f"{wall:.2f}", f"{cpu:.2f}", f"{client:.0f}", each])
    old.sort(key=lambda row: int(row[0].replace(",", "")))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([["points", *COLUMNS[:-1]], *old])


def some_methods():
    return {
        "kernel density": lambda y, rng: mo.kde(y),
        "triangular map": lambda y, rng: mo.MapModel(mo.triangular_map(y, rng=rng), backwards=True),
        "data-driven flow": data_driven,
    }


def data_driven(y, rng):
    return mo.MapModel(mo.data_driven_flow(rng.standard_normal(y.shape), y, rng=rng))


def sweep(workers):
    """Time the leaderboard's loop on one worker and on several, and see that the records agree."""
    from distributed import Client

    targets = {"banana": mo.Banana(), "moons": mo.TwoMoons()}
    print(f"\nLeaderboard: 3 methods, 2 targets, 3 repeats, 1,000 samples{'clock (s)':>26}{'CPU (s)':>10}")
    found = []
    for some in (1, workers):
        with local_cluster(some) as machines, Client(machines) as client, client.get_executor() as pool:
            options = {"rng": 0, "executor": pool, "progress": False}
            mo.leaderboard(some_methods(), targets, n=100, repeats=some, **options)  # compiles
            wall, cpu, records = timed(
                lambda options=options: mo.leaderboard(some_methods(), targets, repeats=3, **options),
                lambda client=client: cpu_of_all(client),
            )
        print(f"  {f'workers: {some}':<76}{wall:>9.2f}{cpu:>10.2f}", flush=True)
        found.append([{k: v for k, v in record.items() if k != "seconds"} for record in records])
    print(f"  the same records: {found[0] == found[1]}; errors: {sum('error' in r for r in found[0])}")


def show(row):
    work, way, wall, cpu, client, worker, result = row
    each = "" if worker is None else f"{worker:.0f}"
    print(
        f"  {work:<12} {way:<24}{wall:>10.2f}{cpu:>10.2f}{client:>12.0f}{each:>16}  {result:.9g}", flush=True
    )


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--chunk", type=int, help="default: a quarter of the points, at most 50,000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument(
        "--save", type=Path, help="file for the table of sums; lines of other sizes stay there"
    )
    parser.add_argument("--sums-only", action="store_true", help="leave out the leaderboard's sweep")
    asked = parser.parse_args()
    n, chunk = asked.points, asked.chunk or min(50_000, -(-asked.points // 4))
    used = ", ".join(f"{p} {version(p)}" for p in ("dask", "distributed", "numpy", "numba"))
    print(f"\nSums over {n} x {n} pairs in blocks of at most {chunk} x {chunk}")
    print(f"Python {platform.python_version()}, {used}; {cores()} cores; {datetime.date.today()}")
    print(f"One table of all kernel values, float64: {n * n * 8 / 1e9:,.0f} GB")
    print("  " + "{:<12} {:<24}{:>10}{:>10}{:>12}{:>16}  {}".format(*COLUMNS))
    save = partial(keep, asked.save, n) if asked.save else lambda rows: None
    sums(asked.work, n, chunk, asked.workers, save)
    if not asked.sums_only:
        sweep(asked.workers)
