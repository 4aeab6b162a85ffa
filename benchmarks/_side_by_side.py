"""Time several ways of doing the same thing, alternately in one process, and print medians and ratios."""

import platform
import statistics
import time
from importlib.metadata import version


def header(title: str, *packages: str) -> None:
    """Say what is run on what."""
    print(f"\n{title}")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in packages))
    print(f"{'':<44}{'CPU s':>9}{'wall s':>9}{'CPU of ours':>13}  result")


def side_by_side(title: str, ways: dict, *, repeats: int = 5, show=lambda r: f"{float(r):.6g}") -> dict:
    """Call each function once to warm up, then `repeats` times in turn; the first one is ours.

    Returns the median CPU seconds by name.
    """
    results = {name: call() for name, call in ways.items()}
    cpu, wall = ({name: [] for name in ways} for _ in range(2))
    for _ in range(repeats):
        for name, call in ways.items():
            c, w = time.process_time(), time.perf_counter()
            call()
            cpu[name].append(time.process_time() - c)
            wall[name].append(time.perf_counter() - w)
    median = {name: statistics.median(times) for name, times in cpu.items()}
    ours = next(iter(median.values()))
    print(title)
    for name in ways:
        ratio = f"{median[name] / ours:.1f} x"
        print(
            f"  {name:<42}{median[name]:>9.4f}{statistics.median(wall[name]):>9.4f}{ratio:>13}"
            f"  {show(results[name])}"
        )
    return median
