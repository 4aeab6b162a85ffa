"""Distances against brute force, SciPy and POT; noise floors against their definition."""

import time

import numpy as np
import ot
import pytest
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance as scipy_energy_distance
from scipy.stats import norm

import mini_ot as mo


def clouds(rng, n=40, m=30, dim=2):
    return rng.standard_normal((n, dim)), rng.standard_normal((m, dim)) + 0.5


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_energy_distance_is_brute_force(rng, dim):
    x, y = clouds(rng, dim=dim)
    between, xx, yy = cdist(x, y), cdist(x, x), cdist(y, y)
    biased = 2 * between.mean() - xx.mean() - yy.mean()
    unbiased = 2 * between.mean() - xx.sum() / (40 * 39) - yy.sum() / (30 * 29)
    assert np.isclose(mo.energy_distance(x, y, unbiased=False), biased, rtol=1e-10)
    assert np.isclose(mo.energy_distance(x, y), unbiased, rtol=1e-10)


def test_energy_distance_against_scipy(rng):
    x, y = rng.standard_normal(50), rng.standard_normal(60) + 1
    assert np.isclose(mo.energy_distance(x, y, unbiased=False), scipy_energy_distance(x, y) ** 2)


@pytest.mark.jit
def test_energy_distance_of_the_same_law_has_mean_zero():
    values = [
        mo.energy_distance(mo.Banana().sample(50, rng=2 * i), mo.Banana().sample(60, rng=2 * i + 1))
        for i in range(300)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)


def test_energy_distance_beyond_a_tile(rng):
    x, y = clouds(rng, 60, 1100)
    expected = 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
    assert np.isclose(mo.energy_distance(x, y, unbiased=False), expected, rtol=1e-10)


def test_w2_against_pot(rng):
    for dim in (1, 2, 5):
        x, y = clouds(rng, 40, 40, dim)
        exact = ot.emd2(ot.unif(40), ot.unif(40), ot.dist(x, y))
        assert np.isclose(mo.w2(x, y) ** 2, exact, rtol=1e-9)


def test_assignment_is_a_permutation_that_nothing_beats(rng):
    x, y = clouds(rng, 12, 12)
    chosen = mo.assignment(x, y)
    assert sorted(chosen) == list(range(12))
    cost = ((x - y[chosen]) ** 2).sum()
    assert all(((x - y[rng.permutation(12)]) ** 2).sum() >= cost for _ in range(500))
    assert (mo.assignment(x, x) == np.arange(12)).all()


def test_sliced_w2_against_pot(rng):
    x, y = clouds(rng, 40, 30, 3)
    theirs = ot.sliced_wasserstein_distance(x, y, n_projections=4000, seed=0)
    assert np.isclose(mo.sliced_w2(x, y, slices=4000), theirs, rtol=0.02)


def test_sliced_w2_in_one_dimension_is_w2(rng):
    x, y = rng.standard_normal(30), rng.standard_normal(30)
    assert np.isclose(mo.sliced_w2(x, y, slices=3), mo.w2(x, y))
    y = rng.standard_normal(45)
    exact = ot.emd2_1d(x, y)
    assert np.isclose(mo.sliced_w2(x, y, slices=3) ** 2, exact)


def test_sliced_w2_of_a_shift():
    """Shifted by v, every slice sees a shift by <v, direction>: SW2 = |v| / sqrt(d)."""
    x = mo.Spirals().sample(100, rng=0)
    assert np.isclose(mo.sliced_w2(x, x + [3.0, 4.0], slices=20_000), 5 / np.sqrt(2), rtol=0.01)


def test_noise_floor_is_what_two_samples_show():
    calls = []

    def measure(x, y):
        calls.append((len(x), len(y)))
        assert (x != y).all()
        return float(len(calls))

    floor = mo.noise_floor(mo.Banana(), 30, measure, repeats=5)
    assert calls == [(30, 30)] * 5
    assert floor == (3.0, pytest.approx(4.8))
    again = [mo.noise_floor(mo.Banana(), 30, mo.energy_distance, rng=7) for _ in range(2)]
    assert again[0] == again[1]


def test_long_work_shows_a_bar_and_short_work_none(monkeypatch, capsys):
    def slow(x, y):
        time.sleep(0.05)
        return 0.0

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    mo.noise_floor(mo.Banana(), 5, slow, repeats=4)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("mini_ot._progress.SECONDS", 0.1)
    mo.noise_floor(mo.Banana(), 5, slow, repeats=8)
    assert "noise floor" in capsys.readouterr().err


@pytest.mark.jit
def test_compare_tells_right_from_wrong():
    right = mo.compare(mo.Pinwheel().sample(400, rng=5), mo.Pinwheel(), n_exact=100)
    assert all(line.inside for line in right)
    wrong = mo.compare(mo.StandardNormal().sample(400, rng=5), mo.Pinwheel(), n_exact=100)
    assert not any(line.inside for line in wrong)
    assert "as good as the truth" in repr(right)
    assert "x the 95 % floor" in repr(wrong)
    assert [line.name for line in right] == ["energy distance", "sliced W2", "W2 (100 points)"]


def test_crps_is_its_integral(rng):
    density = mo.kde(rng.standard_normal(15), bandwidth=0.4)
    for z in (-2.0, 0.3, 4.0):
        below = quad(lambda t: density.cdf([t])[0] ** 2, -8, z, limit=200)[0]
        above = quad(lambda t: (1 - density.cdf([t])[0]) ** 2, z, 9, limit=200)[0]
        assert np.isclose(mo.crps(density, [z])[0], below + above, rtol=1e-5)


def test_crps_of_one_gaussian():
    """Gneiting and Raftery (2007), equation 21."""
    z, sd = 0.7, 1.3
    u = z / sd
    closed = sd * (u * (2 * norm.cdf(u) - 1) + 2 * norm.pdf(u) - 1 / np.sqrt(np.pi))
    assert np.isclose(mo.crps(mo.kde([0.0], bandwidth=sd), [z])[0], closed)


def test_crps_of_weighted_forecasts(rng):
    """Weights from covariates: the closed form against sampling."""
    z, y = rng.standard_normal(30), rng.standard_normal(30)
    forecast = mo.conditional_kde(z, y, bandwidth=(0.3, 0.2)).given([0.1])
    a, b = forecast.sample(60_000, rng=0), forecast.sample(60_000, rng=1)
    by_sampling = np.abs(a - 0.5).mean() - 0.5 * np.abs(a - b).mean()
    assert np.isclose(mo.crps(forecast, [0.5])[0], by_sampling, atol=0.01)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mo.energy_distance([[0.0]], [[1.0]]), ValueError, "x must be .* n >= 2, got 1 sample"),
        (lambda: mo.energy_distance([[0.0], [1]], [[1.0, 2], [1, 2]]), ValueError, "got 1 and 2"),
        (lambda: mo.energy_distance([[0.0], [1]], [[1.0], [np.nan]]), ValueError, "y must be finite"),
        (lambda: mo.w2([[0.0], [1]], [[1.0]]), ValueError, "same number of samples, got 2 and 1"),
        (lambda: mo.assignment(np.zeros((20_001, 2)), np.zeros((20_001, 2))), ValueError, "3 GB"),
        (lambda: mo.sliced_w2([[0.0]], [[1.0]], slices=0), ValueError, "slices must be at least 1"),
        (lambda: mo.sliced_w2([[0.0]], [[1.0]], rng="x"), TypeError, "rng must be"),
        (lambda: mo.noise_floor(mo.Banana(), 10, 3.0), TypeError, "measure must be a function"),
        (lambda: mo.noise_floor(mo.Banana(), 10, mo.w2, repeats=1), ValueError, "repeats must be at least 2"),
        (lambda: mo.compare(np.zeros((3, 2)), mo.Banana()), ValueError, "n >= 10"),
        (lambda: mo.crps([1.0], [1.0]), TypeError, "density must be a mini_ot Density"),
        (lambda: mo.crps(mo.kde(np.eye(2)), [1.0]), ValueError, "one-dimensional density"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
