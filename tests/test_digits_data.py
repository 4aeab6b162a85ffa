"""The record behind the table of digits in the book, and the parts that the benchmark makes it of."""

import csv
from pathlib import Path

import numpy as np
import pytest

import mini_ot as mo

pytest.importorskip("sklearn", reason="the book's extra")
from benchmarks import digits

FILE = Path(__file__).resolve().parents[1] / "book" / "data" / "digits.csv"


@pytest.fixture(scope="module")
def record():
    with open(FILE, encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def test_the_record_is_whole(record):
    found = {(int(row["split"]), row["method"]) for row in record}
    names = {name for _, name in found}
    assert len(names) == 11 and found == {(s, name) for s in digits.SPLITS for name in names}
    assert 0 not in digits.SPLITS  # the pilot, by which settings were chosen
    for row in record:
        unlabelled = "pooled" in row["method"]
        for measure in digits.MEASURES:
            if unlabelled and measure in ("recognised", "taught"):
                assert row[measure] == ""
            else:
                assert float(row[measure]) >= 0, (row["split"], row["method"], measure)


def test_the_record_says_what_the_chapter_says(record):
    def values(method, measure):
        return np.array([float(row[measure]) for row in record if row["method"] == method])

    flow = "energy flow, by class"
    assert max(values(flow, "nn").max(), values(flow, "nn_grey").max()) < 0.65
    assert (abs(values(flow, "copy") - 1) < 0.2).all()
    assert values(flow, "recognised").min() > 0.97 and values(flow, "taught").min() > 0.95
    assert np.median(values("kernel density", "copy")) < 0.85
    for copier in ("nn", "nn_grey"):  # no better judge than this of what passes without having learnt
        assert abs(values("training digits", copier) - 0.5).max() < 0.05
    assert (values("training digits", "copy") == 0).all()


def test_components_turn_images_and_back():
    rng = np.random.default_rng(0)
    x = rng.random((300, 64))
    components = digits.Components(x)
    full = components.coordinates(x, 64)
    assert np.allclose(components.images(full, rng), x)
    assert np.allclose(np.cov(full.T, bias=True), np.diag(components.sd**2))
    again = components.images(components.coordinates(x, 10), rng)  # 54 coordinates drawn anew
    assert np.allclose(components.coordinates(again, 10), full[:, :10])
    assert np.isclose(again.var(axis=0).sum(), x.var(axis=0).sum(), rtol=0.02)


def test_dequantised_levels_come_back():
    levels = np.random.default_rng(0).integers(0, 17, (50, 64))
    x = digits.dequantise(levels, np.random.default_rng(1))
    assert x.min() >= 0 and x.max() < 1 and (digits.grey_levels(x) == levels).all()


def test_labels_are_kept_apart():
    """Each class's law is asked for as many points as are wanted, and they land where its label stands."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 30)
    x = 100.0 * labels[:, None] + rng.standard_normal((300, 64))
    model = digits.by_class(5, digits.gaussian)(x, labels, rng)
    wanted = rng.permutation(np.r_[labels, np.zeros(7, dtype=int)])
    assert (np.round(model.sample(wanted, rng).mean(axis=1) / 100) == wanted).all()
    copies = digits.Copies(x, labels, 0.0).sample(rng.permutation(labels), rng)
    assert len(np.unique(copies, axis=0)) == len(x) and mo.copy_ratio(copies, x, x + 1) == 0
