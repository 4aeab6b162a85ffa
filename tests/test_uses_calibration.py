"""Simulation-based calibration: right samplers pass, wrong ones are found out."""

import pickle

import numpy as np
import pytest
from scipy.stats import chi2, chisquare

import mini_ot as mo


class Mean:
    """One number with a standard normal prior, seen once with unit noise: posterior N(y / 2, 1 / 2)."""

    def __init__(self, dim=1):
        self.dim = self.data_dim = dim
        self.names = tuple(f"t{k}" for k in range(dim))
        self.prior = mo.StandardNormal(dim)

    def simulate(self, theta, rng=None):
        return theta + np.random.default_rng(rng).standard_normal(np.shape(theta))


class Sampler:
    def __init__(self, factor=1.0, shift=0.0):
        self.factor, self.shift = factor, shift

    def __call__(self, data, draws, rng):
        noise = rng.standard_normal((draws, len(data)))
        return data / 2 + self.shift + self.factor * np.sqrt(0.5) * noise


def calibration(problem=None, sampler=None, **options):
    options = {"repeats": 200, "rng": 0, "progress": False} | options
    return mo.simulation_based_calibration(problem or Mean(), sampler or Sampler(), **options)


def test_calibration_counts_its_ranks():
    found = calibration(Mean(3), repeats=150, draws=19, bins=5)
    assert found.ranks.shape == (150, 3) and np.issubdtype(found.ranks.dtype, np.integer)
    assert found.ranks.min() >= 0 and found.ranks.max() <= 19
    expected = np.stack([np.bincount(column // 4, minlength=5) for column in found.ranks.T])
    assert np.array_equal(found.counts, expected)
    assert np.allclose(found.p_values, chisquare(expected, axis=1).pvalue)
    assert (found.bins, found.draws, tuple(found.names)) == (5, 19, ("t0", "t1", "t2"))
    low, high = found.band(0.95)
    assert low < 30 < high
    narrow, wide = found.band(0.5), found.band(0.999)
    assert wide[0] <= low <= narrow[0] and narrow[1] <= high <= wide[1]
    pickle.loads(pickle.dumps(found))


def test_calibration_repeats_with_the_seed():
    once = calibration(rng=3).ranks
    assert np.array_equal(once, calibration(rng=np.random.default_rng(3)).ranks)
    assert not np.array_equal(once, calibration(rng=4).ranks)


def test_an_exact_sampler_is_calibrated_over_many_seeds():
    values = np.concatenate([calibration(Mean(2), rng=seed).p_values for seed in range(10)])
    assert chi2.sf(-2 * np.log(values).sum(), 2 * len(values)) > 0.001  # Fisher's combination


@pytest.mark.jit
def test_the_exact_banana_is_calibrated():
    problem = mo.BananaProblem()
    found = calibration(
        problem, lambda data, n, rng: problem.exact(data).sample(n, rng), repeats=400, draws=19, bins=10
    )
    assert (found.p_values > 0.001).all()


@pytest.mark.parametrize("sampler", [Sampler(0.6), Sampler(1.7), Sampler(shift=0.4)])
def test_a_wrong_sampler_is_found_out(sampler):
    assert calibration(sampler=sampler, repeats=500).p_values[0] < 1e-6


def test_too_narrow_draws_pile_up_at_the_ends_and_a_shift_on_one_side():
    narrow = calibration(sampler=Sampler(0.5), repeats=500).counts[0]
    assert narrow[[0, -1]].mean() > 2 * narrow[8:12].mean()
    up = calibration(sampler=Sampler(shift=1.0), repeats=500).ranks
    assert up.mean() < 35  # draws too high: the truth ranks low


def test_ties_are_broken_at_random():
    seen = []

    class Watched(Mean):
        def simulate(self, theta, rng=None):
            seen.append(np.array(theta))
            return np.array(theta)

    found = calibration(Watched(), lambda data, n, rng: np.tile(data, (n, 1)), repeats=500, draws=99, bins=10)
    assert found.p_values[0] > 0.001


@pytest.mark.parametrize(
    "options, name",
    [
        ({"draws": 100}, "bins"),
        ({"bins": 0}, "bins"),
        ({"bins": 1}, "bins"),
        ({"draws": 0}, "draws"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": 1.5}, "repeats"),
        ({"rng": "seed"}, "rng"),
        ({"sampler": "text"}, "sampler"),
        ({"sampler": lambda data, n, rng: np.zeros((n, 2))}, "sampler"),
        ({"sampler": lambda data, n, rng: np.zeros(n)}, "sampler"),
        ({"sampler": lambda data, n, rng: np.zeros((n - 1, 1))}, "sampler"),
        ({"sampler": lambda data, n, rng: np.full((n, 1), np.nan)}, "sampler"),
        ({"problem": "text"}, "problem"),
    ],
)
def test_wrong_calibrations_are_named(options, name):
    with pytest.raises((TypeError, ValueError), match=name):
        calibration(**options)


def test_band_is_checked():
    found = calibration(repeats=40)
    for bad in (0, 1.5, -1, "a", np.nan):
        with pytest.raises((TypeError, ValueError), match="level"):
            found.band(bad)
