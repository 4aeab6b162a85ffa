"""Simulation-based calibration: what is right passes, what is wrong fails in the right shape."""

import numpy as np
import pytest
from scipy.stats import binom, chisquare

import mini_ot as mo

BANANA = mo.BananaProblem()


class Conjugate:
    """theta ~ N(0, 1), y = theta + e: the posterior is N(y / 2, 1 / 2)."""

    prior = mo.StandardNormal(1)

    def simulate(self, theta, rng):
        return theta + rng.standard_normal(theta.shape)


def gaussian(shift=0.0, scale=1.0):
    def sampler(data, draws, rng):
        return data / 2 + np.sqrt(0.5) * (shift + scale * rng.standard_normal((draws, 1)))

    return sampler


def run(sampler, problem=None, **options):
    return mo.simulation_based_calibration(
        problem or Conjugate(), sampler, **{"repeats": 1000, "rng": 0, "progress": False, **options}
    )


def exact(data, draws, rng):
    return BANANA.exact(data).sample(draws, rng)


def test_what_is_exact_passes():
    assert (run(exact, BANANA, repeats=500).p_values > 0.05).all()
    p = np.array([run(gaussian(), repeats=200, rng=seed).p_values[0] for seed in range(20)])
    assert p.min() > 1e-3
    assert 0.25 < p.mean() < 0.75  # p-values of a true hypothesis are uniform


@pytest.mark.parametrize(
    ("sampler", "shape"),
    [
        (gaussian(scale=0.7), "cup"),
        (gaussian(scale=1.5), "cap"),
        (gaussian(shift=0.4), "falling"),
        (gaussian(shift=-0.4), "rising"),
    ],
)
def test_what_is_wrong_fails_in_its_own_shape(sampler, shape):
    found = run(sampler)
    assert found.p_values[0] < 1e-6
    first, *middle, last = found.counts[0].reshape(5, 4).sum(axis=1)
    ends, middle = (first + last) / 2, np.mean(middle)
    seen = {"cup": ends > 1.3 * middle, "cap": ends < 0.7 * middle}
    seen |= {"falling": first > 1.5 * last, "rising": last > 1.5 * first}
    assert seen[shape]
    if shape in ("cup", "cap"):
        assert first == pytest.approx(last, rel=0.25)


def test_counts_p_values_and_band_against_scipy():
    found = run(exact, BANANA, repeats=200, draws=39, bins=8)
    assert found.ranks.shape == (200, 2)
    for ranks, counts, p in zip(found.ranks.T, found.counts, found.p_values, strict=True):
        assert np.array_equal(counts, np.histogram(ranks, bins=np.arange(0, 41, 5))[0])
        assert p == pytest.approx(chisquare(counts).pvalue)
    assert found.band(0.9) == tuple(binom(200, 1 / 8).interval(0.9))
    assert found.names == ("t1", "t2")


def test_ties_are_broken_at_random():
    class Coin(Conjugate):
        prior = type("Coin", (), {"sample": lambda self, n, rng: rng.integers(0, 2, (n, 1)).astype(float)})()

        def simulate(self, theta, rng):
            return 0 * theta

    found = run(lambda data, draws, rng: rng.integers(0, 2, (draws, 1)).astype(float), Coin())
    assert found.p_values[0] > 0.01


def test_the_seed_and_the_order_of_repeats():
    first, again = run(gaussian(), repeats=50), run(gaussian(), repeats=50)
    assert np.array_equal(first.ranks, again.ranks)
    hungry = run(lambda data, draws, rng: (gaussian()(data, draws, rng), rng.random(9))[0], repeats=50)
    assert np.array_equal(first.ranks, hungry.ranks)  # each repeat has a generator of its own


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        (gaussian(), {"draws": 100}, "multiple of bins"),
        (gaussian(), {"repeats": 0}, "repeats"),
        (gaussian(), {"bins": 1}, "bins"),
        (lambda data, draws, rng: np.zeros((draws + 1, 1)), {}, "sampler must return"),
        (lambda data, draws, rng: np.zeros(draws), {}, "sampler must return"),
        (lambda data, draws, rng: np.full((draws, 1), np.nan), {}, "draws must be finite"),
    ],
)
def test_bad_values(sampler, options, message):
    with pytest.raises(ValueError, match=message):
        run(sampler, **options)


def test_bad_kinds():
    with pytest.raises(TypeError, match="problem"):
        mo.simulation_based_calibration(3, gaussian())
    with pytest.raises(TypeError, match="sampler"):
        mo.simulation_based_calibration(Conjugate(), None)


def test_an_interrupt_returns_the_ranks_so_far():
    left = iter(range(12))

    def sampler(data, draws, rng):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return gaussian()(data, draws, rng)

    with pytest.warns(UserWarning, match="12 of 50"):
        assert len(run(sampler, repeats=50).ranks) == 12
