"""The record behind the leaderboard of the book: what it holds, and the converter that makes it."""

import csv
import json
import os
import statistics
from pathlib import Path

import pytest

from benchmarks.flows import TARGETS, write_csv

FILE = Path(__file__).resolve().parents[1] / "book" / "data" / "leaderboard.csv"
MEASURES = {"seconds", "kl", "sw2", "ed", "w2", "copy", "per_second"}
WITHOUT_DENSITY = {
    "mini_ot entropic map, 2,000 points",
    "mini_ot MMD flow, 2,500 points",
    "mini_ot sliced flow",
    "mini_ot sliced flow, longer",
    "POT emd, 2,000 points",
    "flow_matching",
}
WITH_DENSITY = {
    "mini_ot affine_map",
    "mini_ot kde",
    "mini_ot triangular_map",
    "mini_ot dual_ascent_flow",
    "mini_ot normalizing_flow",
    "mini_ot planar_flow",
    "mini_ot radial_flow",
    "mini_ot back-and-forth on samples",
    "mini_ot data-driven flow",
    "mini_ot data-driven, backwards",
    "zuko NSF",
    "scikit-learn KDE",
}
BUDGETED = {"mini_ot data-driven flow", "zuko NSF", "flow_matching"}
ONLY_3_SECONDS = {"mini_ot data-driven, backwards"}


def parsed(path):
    """Return the comments and the rows of a record."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line[2:] for line in lines if line.startswith("# ")]
    return head, list(csv.DictReader(line for line in lines if not line.startswith("#")))


# --- the record of the book -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record():
    return parsed(FILE)


def test_every_method_was_run_on_every_target_with_as_many_seeds_as_the_head_says(record):
    (least,) = (int(line.split("at least ")[1].split()[0]) for line in record[0] if "at least" in line)
    assert least == 5
    cases = {(r["target"], r["method"], float(r["budget"]), r["measure"]): r for r in record[1]}
    for target in TARGETS:
        for method in WITHOUT_DENSITY | WITH_DENSITY:
            for budget in (3, 10) if method in BUDGETED else (3,) if method in ONLY_3_SECONDS else (0,):
                here = {m for m in MEASURES if (target, method, budget, m) in cases}
                assert here == MEASURES - ({"kl"} if method in WITHOUT_DENSITY else set()), (target, method)
                for measure in here:
                    assert int(cases[target, method, budget, measure]["seeds"]) == least


def test_each_target_has_its_floors(record):
    floors = {(r["target"], r["method"], r["measure"]): float(r["median"]) for r in record[1]}
    for target in TARGETS:
        for measure in ("sw2", "ed", "w2", "copy"):
            mean, quantile = (floors[target, f"floor {k}", measure] for k in ("mean", "95 %"))
            assert mean < quantile
        assert floors[target, "floor mean", "copy"] == pytest.approx(1, abs=0.05)


def test_medians_lie_between_the_values(record):
    for row in record[1]:
        if not row["method"].startswith("floor"):
            low, middle, high = (float(row[k]) for k in ("min", "median", "max"))
            assert low <= middle <= high, row
            single = sorted(float(row[str(s)]) for s in range(5) if row[str(s)])
            assert len(single) == (int(row["seeds"]) if row["measure"] in {"kl", "sw2"} else 0), row
            if single:
                assert middle == pytest.approx(statistics.median(single), rel=1e-3, abs=1e-9), row
                assert (low, high) == (single[0], single[-1]), row


def test_the_head_says_what_was_run(record):
    head = "\n".join(record[0])
    for package in ("mini-ot", "numpy", "numba", "torch", "zuko", "flow-matching", "POT", "scikit-learn"):
        assert f"{package} " in head.split("versions: ")[1].splitlines()[0], package
    for text in ("10000 training samples", "seeds 0 to 4", "one thread of", "ended 2026-"):
        assert text in head
    assert "failed" not in head


def test_the_record_is_small():
    assert FILE.stat().st_size < 100_000


# --- the converter ---------------------------------------------------------------------------------------


def line(method, seed, *, target="banana", budget=0, **measured):
    known = {"target": target, "method": method, "seed": seed, "budget": budget, "processor": "Abacus"}
    return known | {"version": "9.9"} | measured


def floor(target):
    measured = {"sw2": [0.5, 0.75], "copy": [1.0, 1.25], "nll": [2.0, 2.0]}
    known = {"target": target, "method": "true samples", "seed": 0, "budget": 0, "processor": "Abacus"}
    return known | measured


@pytest.fixture
def results(tmp_path):
    """Make two files of results whose medians are easy: of 1, 2, 6 and of 1, 3."""
    ours = [floor("spirals"), floor("banana")]
    ours += [line("mini_ot kde", s, seconds=v, kl=v / 10, sw2=v, copy=1.0) for s, v in enumerate((6, 1, 2))]
    ours += [line("mini_ot sliced flow", 0, target="spirals", seconds=1.0, kl=None, sw2=0.25)]
    ours += [line("mini_ot affine_map", 0, error="ValueError: x must be finite")]
    peers = [floor("banana")]
    peers += [line("zuko NSF", s, budget=b, seconds=b, kl=v) for b in (10, 3) for s, v in ((1, 1), (0, 3))]
    paths = []
    for name, records in (("ours", ours), ("peers", peers)):
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(r) + "\n" for r in records))
        os.utime(paths[-1], (1_000_000_000, 1_000_000_000))  # 9 September 2001
    return paths


def test_the_converter_takes_medians(results, tmp_path):
    write_csv(tmp_path / "out.csv", results, also="torch 1.0, abacus 2.0")
    head, rows = parsed(tmp_path / "out.csv")
    found = {(r["target"], r["method"], r["budget"], r["measure"]): r for r in rows}
    kde = found["banana", "mini_ot kde", "0", "sw2"]
    assert [kde[k] for k in ("seeds", "median", "min", "max", "0", "1", "2")] == list("3216612")
    assert found["banana", "mini_ot kde", "0", "kl"]["median"] == "0.2"
    assert found["banana", "mini_ot kde", "0", "seconds"]["0"] == ""  # only some measures keep every seed
    for budget in ("3", "10"):
        assert found["banana", "zuko NSF", budget, "kl"]["median"] == "2"
        assert found["banana", "zuko NSF", budget, "seconds"]["median"] == budget
    assert ("spirals", "mini_ot sliced flow", "0", "kl") not in found  # no density, no row
    assert found["banana", "floor mean", "0", "sw2"]["median"] == "0.5"
    assert found["banana", "floor 95 %", "0", "sw2"]["median"] == "0.75"
    assert len([r for r in rows if r["method"].startswith("floor")]) == 8
    assert not [r for r in rows if r["method"] == "mini_ot affine_map"]
    text = "\n".join(head)
    for part in (
        "Abacus; ended 2001-09-09",
        "at least 1",
        "zuko 9.9",
        "mini-ot 9.9",
        "torch 1.0",
        "abacus 2.0",
    ):
        assert part in text
    assert "failed: banana, mini_ot affine_map, 0, seed 0: ValueError: x must be finite" in text


def test_the_order_of_files_and_lines_does_not_matter(results, tmp_path):
    write_csv(tmp_path / "one.csv", results)
    for path in results:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(reversed(lines)))
        os.utime(path, (1_000_000_000, 1_000_000_000))
    write_csv(tmp_path / "other.csv", results[::-1])
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()


def test_the_same_case_twice_is_refused(results, tmp_path):
    with pytest.raises(ValueError, match="two records of banana, mini_ot kde, 0, seed 0"):
        write_csv(tmp_path / "out.csv", [results[0], results[0]])
