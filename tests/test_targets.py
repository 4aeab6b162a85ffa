"""Targets: the density integrates to one, and the samples follow it."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import mini_ot as mo

TARGETS = [
    mo.StandardNormal(),
    mo.Banana(),
    mo.Checkerboard(),
    mo.RingOfGaussians(),
    mo.TwoMoons(),
    mo.Pinwheel(),
    mo.Spirals(),
    mo.GaussianMixture([[0, 0], [2, 1]], [np.eye(2), [[1.0, 0.5], [0.5, 0.4]]], [1, 3]),
]
# Published or closed-form entropies; see the classes' docstrings.
ENTROPY = {"StandardNormal": np.log(2 * np.pi) + 1, "Banana": 2.14473, "Checkerboard": np.log(32)}


def names(target):
    return type(target).__name__


def cells(target, n):
    """Centres of an n x n grid over a generous box, and the area of a cell."""
    edges = [np.linspace(low - 6, high + 6, n + 1) for low, high in target.bounds]
    centres = [(e[1:] + e[:-1]) / 2 for e in edges]
    area = np.prod([e[1] - e[0] for e in edges])
    return np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 2), area


@pytest.mark.parametrize("target", TARGETS, ids=names)
def test_density_integrates_to_one(target):
    grid, area = cells(target, 150)
    if isinstance(target, mo.Checkerboard):  # its edges must be the grid's, or the sum cannot be exact
        grid, area = (np.stack(np.meshgrid(*[np.arange(-4.95, 5, 0.1)] * 2), -1).reshape(-1, 2), 0.01)
    assert abs(np.exp(target.log_density(grid)).sum() * area - 1) < 2e-3


@pytest.mark.parametrize("target", TARGETS, ids=names)
def test_samples_follow_the_density(target):
    """Counts in boxes against the integral of the density over them, by chi-square."""
    n, side, fine = 20_000, 6, 20
    x = target.sample(n, rng=1)
    edges = [np.linspace(low, high, side + 1) for low, high in target.bounds]
    counts = np.histogram2d(*x.T, bins=edges)[0]
    mids = [np.linspace(low, high, side * fine + 1) for low, high in target.bounds]
    mids = [(m[1:] + m[:-1]) / 2 for m in mids]
    value = np.exp(target.log_density(np.stack(np.meshgrid(*mids, indexing="ij"), -1).reshape(-1, 2)))
    area = np.prod([(high - low) / (side * fine) for low, high in target.bounds])
    mass = value.reshape(side, fine, side, fine).sum(axis=(1, 3)) * area
    seen = mass * n > 5
    chi2 = ((counts[seen] - n * mass[seen]) ** 2 / (n * mass[seen])).sum()
    assert chi2 < seen.sum() + 5 * np.sqrt(2 * seen.sum()) + 10


@pytest.mark.parametrize("target", TARGETS, ids=names)
def test_same_seed_same_samples_and_shapes(target):
    a, b = target.sample(7, rng=3), target.sample(7, rng=np.random.default_rng(3))
    assert a.shape == (7, target.dim)
    assert (a == b).all()
    assert (target.sample(7, rng=4) != a).any()
    assert target.log_density(a).shape == (7,)
    assert np.isfinite(target.log_density(a)).all()
    far = target.log_density(np.full((1, 2), 1e6))
    assert far < -100
    assert not np.isnan(far).any()


@pytest.mark.parametrize("target", TARGETS[:3], ids=names)
def test_entropy(target):
    x = target.sample(40_000, rng=0)
    log_density = target.log_density(x)
    error = 4 * log_density.std() / np.sqrt(len(x)) + 1e-12
    assert abs(-log_density.mean() - ENTROPY[names(target)]) < error


def test_gaussian_mixture_against_scipy(rng):
    x = rng.standard_normal((50, 2))
    ours = TARGETS[-1]
    parts = [multivariate_normal(m, c).pdf(x) for m, c in zip(ours.means, ours.covariances, strict=True)]
    assert np.allclose(np.exp(ours.log_density(x)), 0.25 * parts[0] + 0.75 * parts[1], rtol=1e-12)


@pytest.mark.jit
def test_moons_are_scikit_learns(rng):
    from sklearn.datasets import make_moons

    theirs = make_moons(3000, noise=0.1, random_state=0)[0]
    ours = mo.TwoMoons().sample(3000, rng=0)
    floor = mo.noise_floor(mo.TwoMoons(), 3000, mo.energy_distance, repeats=10)
    assert mo.energy_distance(theirs, ours) < 2 * floor.quantile


def test_curve_quadrature_is_converged(rng):
    """Twice the panels, the same density: the integral is done to rounding error."""
    for kind in (mo.TwoMoons, mo.Spirals):
        fine = kind()
        fine.panels = 2 * kind.panels
        x = kind().sample(50, rng=0)
        assert np.allclose(kind().log_density(x), fine.log_density(x), rtol=0, atol=1e-9)


def test_checkerboard_knows_its_cells():
    board = mo.Checkerboard()
    assert board.dark(board.sample(500, rng=0)).all()
    assert board.dark([[-3.0, -3.0], [-1.0, -3.0], [5.0, 1.0], [0.5, -3.9]]).tolist() == [
        True,
        False,
        False,
        True,
    ]
    assert np.exp(board.log_density([[-3.0, -3.0], [-1.0, -3.0]])).tolist() == [1 / 32, 0.0]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mo.Banana().sample(0), ValueError, "n must be at least 1, got 0"),
        (lambda: mo.Banana().sample(2.5), TypeError, "n must be a whole number"),
        (lambda: mo.Banana().sample(3, rng="seed"), TypeError, "rng must be"),
        (lambda: mo.Banana().sample(3, rng=-1), TypeError, "rng must be"),
        (lambda: mo.Banana().log_density([[1, 2, 3]]), ValueError, r"x must be an array of shape \(n, 2\)"),
        (lambda: mo.Banana().log_density([[np.nan, 2]]), ValueError, "x must be finite"),
        (
            lambda: mo.GaussianMixture([[0.0]], [[[-1.0]]]),
            ValueError,
            "covariances must be symmetric and pos",
        ),
        (
            lambda: mo.GaussianMixture([[0.0]], [[1.0]]),
            ValueError,
            r"covariances must have shape \(1, 1, 1\)",
        ),
        (lambda: mo.GaussianMixture([[0.0]], [[[1.0]]], [0]), ValueError, "weights must be 1 positive"),
        (lambda: mo.StandardNormal(0), ValueError, "dim must be at least 1"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_spread_points_are_normal_and_even():
    """Their averages are far nearer to the expectations than those of independent points."""
    normal = mo.StandardNormal(3)
    x = normal.spread(2000, rng=0)
    assert x.shape == (2000, 3)
    assert np.abs(x.mean(axis=0)).max() < 0.005  # independent points: 0.02
    assert np.abs(np.cov(x.T) - np.eye(3)).max() < 0.02
    assert (x == normal.spread(2000, rng=0)).all()
    assert not (x == normal.spread(2000, rng=1)).any()
    assert normal.spread(1, rng=0).shape == (1, 3)
