"""The energies of Rezende and Mohamed (2015): their formulas, normalisation, score and samples."""

import numpy as np
import pytest

import mini_ot as mo


def table_1(k, z):
    """The energies as the paper prints them, at one point."""
    z1, z2 = z
    w1, w2 = np.sin(2 * np.pi * z1 / 4), 3 * np.exp(-0.5 * ((z1 - 1) / 0.6) ** 2)
    w3 = 3 / (1 + np.exp(-(z1 - 1) / 0.3))

    def bell(gap, width):
        return np.exp(-0.5 * (gap / width) ** 2)

    if k == 1:
        return 0.5 * ((np.hypot(z1, z2) - 2) / 0.4) ** 2 - np.log(bell(z1 - 2, 0.6) + bell(z1 + 2, 0.6))
    if k == 2:
        return 0.5 * ((z2 - w1) / 0.4) ** 2
    if k == 3:
        return -np.log(bell(z2 - w1, 0.35) + bell(z2 - w1 + w2, 0.35))
    return -np.log(bell(z2 - w1, 0.4) + bell(z2 - w1 + w3, 0.35))


@pytest.fixture(params=[1, 2, 3, 4])
def energy(request):
    return mo.PaperEnergy(request.param)


def test_inside_the_picture_it_is_the_papers_energy(energy, rng):
    z = rng.uniform([-4, -3], [4, 3], size=(300, 2))
    ours = -energy.log_density(z) - energy.log_constant
    assert np.allclose(ours, [table_1(energy.k, point) for point in z], rtol=1e-12, atol=1e-12)
    assert np.allclose(energy.energy(z), ours)


def test_the_soft_edge_is_stated(rng):
    inside, outside = np.array([[4.0, 0.3]]), np.array([[-4.0, 0.3], [4.0, 0.3]])
    energy = mo.PaperEnergy(2)
    further = outside * [1.2, 1]
    gap = energy.energy(further) - [table_1(2, z) for z in further]
    assert np.allclose(gap, 0.5 * (0.8 / 0.4) ** 2)
    assert np.allclose(energy.energy(inside), table_1(2, inside[0]))


def test_the_density_integrates_to_one(energy):
    """Midpoints in Cartesian coordinates: neither the closed form nor the polar grid of the code."""
    a, b = np.linspace(-7, 7, 1401), np.linspace(-8, 5, 1301)
    x = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    density = np.exp(energy.log_density(x))
    assert abs(density.sum() * 1e-4 - 1) < 2e-6
    (l1, h1), (l2, h2) = energy.bounds
    box = (x[:, 0] > l1) & (x[:, 0] < h1) & (x[:, 1] > l2) & (x[:, 1] < h2)
    assert density[box].sum() * 1e-4 > 0.999


def test_the_score_is_the_slope(energy, rng):
    x = np.r_[energy.sample(200, rng=1), rng.uniform(-6, 6, size=(100, 2)), [[4.5, 20.0], [-30.0, -40.0]]]
    h = 1e-5
    slope = np.stack(
        [energy.log_density(x + h * e) - energy.log_density(x - h * e) for e in np.eye(2)], axis=1
    )
    assert np.allclose(energy.score(x), slope / (2 * h), rtol=1e-6, atol=1e-5)


def test_samples_follow_the_density(energy):
    """Cell by cell against quadrature: a chi-squared statistic."""
    n, cells = 40_000, 16
    edges = [np.linspace(low, high, cells + 1) for low, high in energy.bounds]
    counts = np.histogram2d(*energy.sample(n, rng=3).T, bins=edges)[0]
    fine = [(e[:-1, None] + (e[1] - e[0]) * (np.arange(20) + 0.5) / 20).ravel() for e in edges]
    grid = np.stack(np.meshgrid(*fine, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(energy.log_density(grid)).reshape(cells, 20, cells, 20)
    area = np.prod([f[1] - f[0] for f in fine])
    expected = n * density.sum(axis=(1, 3)) * area
    many = expected > 5
    statistic = ((counts - expected)[many] ** 2 / expected[many]).sum()
    assert statistic < many.sum() + 5 * np.sqrt(2 * many.sum())
    assert counts[~many].sum() < 2 * expected[~many].sum() + 20


def test_the_seed_decides(energy):
    assert (energy.sample(50, rng=4) == energy.sample(50, rng=4)).all()
    assert energy.sample(50, rng=4).shape == (50, 2)
    assert repr(energy) == f"PaperEnergy({energy.k})"


def test_the_score_is_finite_at_the_origin_and_far_away(energy):
    assert np.isfinite(energy.score([[0.0, 0.0], [1e6, -1e6]])).all()


@pytest.mark.parametrize(
    ("k", "error"),
    [
        (0, ValueError),
        (5, ValueError),
        ("1", TypeError),
        (1.5, TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_bad_number(k, error):
    with pytest.raises(error, match=r"k must be (one of 1, 2, 3, 4|at least 1|a whole number)"):
        mo.PaperEnergy(k)


def test_bad_points(energy):
    with pytest.raises(ValueError, match=r"x must be an array of shape \(n, 2\)"):
        energy.score(np.zeros((3, 3)))
