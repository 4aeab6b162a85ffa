"""The record behind the chapter on research, the benchmark that makes it, and the verdicts drawn from it."""

import csv
import json
import math
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import mini_ot as mo

dimension = pytest.importorskip("benchmarks.dimension")

BOOK = Path(__file__).resolve().parents[1] / "book"
FLOWS = ("data-driven", "sliced")
HEAD = (
    r"# made by benchmarks/dimension\.py on \d{4}-\d\d-\d\d, one thread, n = 2000",
    r"# Python [\d.]+, mini_ot [\d.]+, numpy [\d.]+, scipy [\d.]+, numba [\d.]+",
)


@pytest.fixture(scope="module")
def lines():
    return (BOOK / "data" / "dimension.csv").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def record(lines):
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@pytest.fixture(scope="module")
def median(record):
    """Medians over the seeds, one for each dimension; `over` divides seed by seed."""

    def values(measure, target, method):
        found = {
            (int(r["dim"]), int(r["seed"])): float(r[measure] or "nan")
            for r in record
            if (r["target"], r["method"]) == (target, method)
        }
        return np.array([[found[d, s] for s in dimension.SEEDS] for d in dimension.DIMENSIONS])

    def get(measure, target, method, over=None):
        table = values(measure, target, method)
        return np.nanmedian(table / values(measure, target, over) if over else table, axis=1)

    return get


def test_the_record_is_whole(record):
    methods = ("truth", *dimension.METHODS)
    wanted = set(product(dimension.targets(2), methods, dimension.DIMENSIONS, dimension.SEEDS))
    found = [(r["target"], r["method"], int(r["dim"]), int(r["seed"])) for r in record]
    assert len(found) == len(wanted) and set(found) == wanted
    assert 0 not in dimension.SEEDS and len(dimension.SEEDS) == 5  # seed 0 was the pilot


def test_every_number_is_one(record):
    assert tuple(record[0]) == ("target", "method", "dim", "seed", *dimension.MEASURES)
    for row in record:
        place = tuple(row.values())[:4]
        if row["planes"] == "":  # a fit that failed leaves a gap, and only this method may
            assert row["method"] == "triangular" and not any(row[m] for m in dimension.MEASURES), place
            continue
        for measure in dimension.MEASURES:
            has_none = measure == "excess" and row["method"] == "sliced"
            assert row[measure] == "" if has_none else math.isfinite(float(row[measure])), (place, measure)


def test_the_record_says_what_made_it(lines):
    for pattern, line in zip(HEAD, lines, strict=False):
        assert re.fullmatch(pattern, line), line
    assert sum(line.startswith("#") for line in lines) == len(HEAD)


def test_the_truth_scores_what_the_truth_must(record):
    for row in (r for r in record if r["method"] == "truth"):
        assert float(row["excess"]) == 0
        assert abs(float(row["neighbour"]) - 0.5) < 0.06 and abs(float(row["copy"]) - 1) < 0.15
        assert abs(float(row["planes"])) < 0.02


def verdicts(median) -> list[bool]:
    """Judge the seven hypotheses anew, from the medians alone; those of the chapter must agree."""
    ring = {m: median("planes", "one ring", m, "affine") for m in (*FLOWS, "told the planes")}
    bananas = {m: median("planes", "bananas", m, "affine") for m in ring}
    first = all(ring[m][0] < 0.1 and ring[m][-1] > 0.8 for m in FLOWS)
    second = all((bananas[m] < ring[m])[2:].all() for m in FLOWS)
    second &= bool((bananas["sliced"] < bananas["data-driven"])[3:].all())
    law = dimension.targets(50)["one ring"]
    floor = mo.noise_floor(law, 2000, lambda x, y: mo.sliced_w2(x, y, slices=200), repeats=20)
    third = median("sliced_w2", "one ring", "affine")[-1] <= floor.quantile
    off = {m: abs(median("neighbour", "bananas", m)[-1] - 0.5) for m in ("affine", *FLOWS)}
    fourth = all(off["affine"] < off[m] and bananas[m][-1] < 1 for m in FLOWS)
    gain = {
        t: median("excess", t, "affine") - median("excess", t, "data-driven") for t in ("one ring", "bananas")
    }
    fifth = (gain["bananas"] > 0).all() and (gain["one ring"][2:] <= 0).all()
    sixth = all((lefts["told the planes"] < 0.1).all() for lefts in (ring, bananas))
    high = np.log(dimension.DIMENSIONS[2:])
    slopes = [
        np.polyfit(high, np.log(median("seconds", t, m)[2:]), 1)[0]
        for t, m in product(dimension.targets(2), FLOWS)
    ]
    seventh = all(1.5 <= slope <= 2.5 for slope in slopes)
    return [bool(v) for v in (first, second, third, fourth, fifth, sixth, seventh)]


def test_the_chapter_prints_the_verdicts_of_the_record(median):
    notebook = json.loads((BOOK / "16_research.ipynb").read_text(encoding="utf-8"))
    tables = ["".join(o["text"]) for c in notebook["cells"] for o in c.get("outputs", []) if "text" in o]
    (table,) = (text for text in tables if "hypothesis" in text)
    printed = [word == "held" for word in re.findall(r"hypothesis \d.*(held|refuted)", table)]
    assert printed == verdicts(median)


def test_the_hypotheses_stand_in_the_chapter_as_they_were_written():
    def items(text):
        plain = re.sub(r"[*$_]", "", text.replace(r"\ge", ">="))
        return [
            " ".join(item.split()) for item in re.findall(r"^\d\. (.+(?:\n {3}.+)*)", plain, re.MULTILINE)
        ]

    notebook = json.loads((BOOK / "16_research.ipynb").read_text(encoding="utf-8"))
    sources = ("".join(c["source"]) for c in notebook["cells"])
    (cell,) = (s for s in sources if "\n7. *The seconds*" in s)
    written = items(dimension.__doc__)
    assert len(written) == 7
    assert items(cell)[-7:] == written


def test_planes_are_split_as_they_were_put_together():
    law = dimension.targets(5)["bananas"]
    x = law.sample(300, rng=1)
    assert x.shape == (300, 5) and len(law.split(x)) == 2 and law.rest(x).shape == (300, 1)
    back = np.hstack([*law.split(x), law.rest(x)]) @ law.rotation.T
    np.testing.assert_allclose(back, x, atol=1e-12)
    parts = [mo.Banana().log_density(part) for part in law.split(x)]
    parts.append(mo.StandardNormal(1).log_density(law.rest(x)))
    np.testing.assert_allclose(law.log_density(x), sum(parts))
