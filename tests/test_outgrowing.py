"""The page on clusters is true: its code runs in order, and its table is there."""

import csv
import re
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[1] / "book"
TEXT = (BOOK / "outgrowing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
ELSEWHERE = "# on your cluster"


@pytest.mark.jit
def test_the_code_of_the_page_runs(capsys):
    names = {"__name__": "__main__"}
    try:
        for k, block in enumerate(BLOCKS):
            code = compile(block, f"outgrowing.md, block {k + 1}", "exec")  # those not run must be Python too
            if not block.startswith(ELSEWHERE):
                exec(code, names)
    finally:
        for name in ("client", "cluster"):
            if name in names:
                names[name].close()
    assert capsys.readouterr().out.endswith("8 records\n")
    assert not [record for record in names["records"] if "error" in record]


def test_few_blocks_are_left_out():
    assert sum(block.startswith(ELSEWHERE) for block in BLOCKS) == 2 <= len(BLOCKS) - 6


def test_the_table_holds_what_was_measured():
    (name,) = re.findall(r"^:file: (\S+)$", TEXT, re.MULTILINE)
    with (BOOK / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["work"] for row in rows} == {"kernel mean", "gradient", "MMD^2"}
    grid, exact = (
        next(float(row["CPU (s)"]) for row in rows if (row["work"], row["way"]) == ("gradient", way))
        for way in ("one process, on a grid", "one process")
    )
    assert grid < exact / 10  # what the page recommends first


def test_what_the_page_says_of_the_costs_is_in_its_table():
    (name,) = re.findall(r"^:file: (\S+)$", TEXT, re.MULTILINE)
    with (BOOK / name).open(encoding="utf-8") as file:
        cpu = {(r["points"], r["work"], r["way"]): float(r["CPU (s)"]) for r in csv.DictReader(file)}
    share = {
        (points, work): round(seconds / cpu[points, work, "one process"], 1)
        for (points, work, way), seconds in cpu.items()
        if way.startswith("Dask")
    }
    small = [value for (points, _), value in share.items() if points == "50,000"]
    said = re.search(r"with 50,000 points, a second of work, ([\d.]+) to ([\d.]+) times", TEXT)
    assert (min(small), max(small)) == tuple(float(number) for number in said.groups())
    assert "a tenth for the kernel mean and the MMD, and a fifth for the gradient" in TEXT
    large = {work: value for (points, work), value in share.items() if points == "1,000,000"}
    assert large == {"kernel mean": 1.1, "gradient": 1.2, "MMD^2": 1.1}


def test_one_sentence_per_line():
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"[a-z]{2}[.?] [A-Z]\w+", re.sub(r"\*\*.*?\*\*", "", prose))
