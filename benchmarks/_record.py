"""Store what a benchmark found as a table that a chapter reads."""

import csv
import datetime
import platform
from importlib.metadata import version


def write(path: str, script: str, how: str, packages, columns, rows: list[dict], digits: int) -> None:
    """Write `rows` as CSV with so many digits, with what they were made by in comment lines."""
    made = ", ".join(f"{p} {version(p)}" for p in packages)
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(f"# made by benchmarks/{script} on {datetime.date.today()}, {how}\n")
        file.write(f"# Python {platform.python_version()}, {made}\n")
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({k: f"{v:.{digits}g}" if isinstance(v, float) else v for k, v in row.items()})
