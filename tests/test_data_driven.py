"""The data-driven flow: its features by finite differences, its steps by theory, its fit by known answers."""

import numpy as np
import pytest

import mini_ot as mo
from mini_ot import _features, _jit
from mini_ot._features import Features, packed

KINDS = ("gaussian", "bump", "multiquadric")


def by_hand(kind, z, centre, h):
    """F at points z (n, d), written out."""
    square = ((z - centre) ** 2).sum(axis=1)
    if kind == "gaussian":
        return h**2 * np.exp(-square / (2 * h**2))
    if kind == "bump":
        return h**2 * np.maximum(1 - square / (8 * h**2), 0) ** 4
    return h * np.sqrt(square + h**2)


def some_features(rng, kind, d, size=4):
    return rng.standard_normal((size, d)), rng.uniform(0.5, 1.5, size), kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_features_are_what_they_say(rng, kind, d):
    centres, h, kind = some_features(rng, kind, d)
    z = rng.standard_normal((30, d))
    features = Features(centres, h, [kind] * 4)
    values = np.array([by_hand(kind, z, c, w) for c, w in zip(centres, h, strict=True)])
    step = 1e-5
    slopes = np.array(
        [
            [(by_hand(kind, z + e, c, w) - by_hand(kind, z - e, c, w)) / (2 * step) for e in step * np.eye(d)]
            for c, w in zip(centres, h, strict=True)
        ]
    )  # (features, d, n)
    mean, steep = _features.means(np.ascontiguousarray(z.T), *packed(features))
    assert np.allclose(mean, values.mean(axis=1), rtol=1e-12)
    assert np.allclose(steep, (slopes**2).sum(axis=1).mean(axis=1), rtol=1e-7)
    table = _features.gradients(np.ascontiguousarray(z.T), *packed(features))
    assert np.allclose(table, slopes, atol=1e-8)
    beta = rng.standard_normal(4)
    T = mo.elementary_map(z, z, centres, bandwidth=h, kernel=kind, weights=beta)
    assert np.allclose(T(z), z + np.einsum("l,ldn->nd", beta, slopes), atol=1e-7)


def test_discrepancy_and_gram_against_sums(rng):
    z, y = rng.standard_normal((50, 2)), rng.standard_normal((40, 2)) + 0.5
    centres, h, _ = some_features(rng, "bump", 2)
    features = Features(centres, h, ["bump"] * 4)
    b, _ = features.discrepancy(*(np.ascontiguousarray(p.T) for p in (z, y)))
    expected = [
        by_hand("bump", z, c, w).mean() - by_hand("bump", y, c, w).mean()
        for c, w in zip(centres, h, strict=True)
    ]
    assert np.allclose(b, expected)
    gram = features.gram(*(np.ascontiguousarray(p.T) for p in (z, y)))
    total = 0.0
    for p in (z, y):
        g = _features.gradients(np.ascontiguousarray(p.T), *packed(features))
        total = total + np.einsum("ldn,mdn->lm", g, g) / (2 * len(p))
    assert np.allclose(gram, total)
    assert (np.linalg.eigvalsh(gram) > 0).all()


def dual(F, z, y, grad):
    """E_z F - E_y F + E |grad F|^2 / 2 over both clouds: what a step minimises."""
    return F(z).mean() - F(y).mean() + 0.25 * sum((grad(p) ** 2).sum(axis=1).mean() for p in (z, y))


def test_newton_weights_minimise_the_dual(rng):
    """No small change of the weights lowers the quadratic dual."""
    z, y = rng.standard_normal((80, 2)), 0.5 * rng.standard_normal((60, 2)) + 1
    centres, h, kind = some_features(rng, "gaussian", 2, 3)
    beta = mo.elementary_map(z, y, centres, bandwidth=h, kernel=kind, ridge=1e-12).beta

    def value(weights):
        T = mo.elementary_map(z, y, centres, bandwidth=h, kernel=kind, weights=weights)

        def potential(p):
            return sum(w * by_hand(kind, p, c, s) for w, c, s in zip(weights, centres, h, strict=True))

        return dual(potential, z, y, lambda p: T(p) - p)

    best = value(beta)
    for _ in range(20):
        assert value(beta + 0.05 * rng.standard_normal(3) * np.abs(beta).max()) > best


def test_one_feature_has_the_textbook_weight(rng):
    z, y = rng.standard_normal((200, 2)), rng.standard_normal((300, 2)) + 0.3
    T = mo.elementary_map(z, y, [[0.2, 0.1]], bandwidth=0.8, ridge=1e-13)
    b = by_hand("gaussian", z, [0.2, 0.1], 0.8).mean() - by_hand("gaussian", y, [0.2, 0.1], 0.8).mean()

    def steepness(p):
        gap = p - np.array([0.2, 0.1])
        return ((gap * np.exp(-(gap**2).sum(axis=1) / (2 * 0.64))[:, None]) ** 2).sum(axis=1).mean()

    assert np.isclose(T.beta[0], -b / (0.5 * (steepness(z) + steepness(y))))


def test_steepest_weights_and_quadrature(rng):
    z, y = rng.standard_normal((50, 1)), rng.standard_normal((40, 1)) + 1
    centres = [[0.0], [1.0]]
    b = -mo.elementary_map(z, y, centres, bandwidth=1.0, weights="steepest", quadrature=[1.0, 1.0]).beta
    expected = [
        by_hand("gaussian", z, c, 1.0).mean() - by_hand("gaussian", y, c, 1.0).mean() for c in centres
    ]
    assert np.allclose(b, expected)
    half = mo.elementary_map(z, y, centres, bandwidth=1.0, weights="steepest", step=0.5)
    assert np.allclose(half.beta, -0.25 * b)


def test_a_step_that_folds_says_so(rng):
    z = rng.standard_normal((20, 2))
    T = mo.elementary_map(z, z, [[0.0, 0.0]], bandwidth=1.0, weights=[2.0])  # derivative 1 - 2 at the centre
    with pytest.raises(ValueError, match="folds"):
        T.log_det([[0.0, 0.0]])  # twice: the determinant is positive


@pytest.fixture(scope="module")
def banana_flow():
    x, y = mo.StandardNormal().sample(2000, rng=0), mo.Banana().sample(2000, rng=1)
    return x, y, mo.data_driven_flow(x, y, rng=2, steps=80)


@pytest.mark.jit
def test_new_points_reach_the_target(banana_flow):
    _, y, T = banana_flow
    fresh = T(mo.StandardNormal().sample(2000, rng=3))
    floor = mo.noise_floor(mo.Banana(), 2000, mo.energy_distance)
    assert mo.energy_distance(fresh, mo.Banana().sample(2000, rng=4)) < 2 * floor.quantile
    # Not copied: a generated point is as far from the training samples as a fresh true one.
    from scipy.spatial import cKDTree

    near = [np.median(cKDTree(y).query(p)[0]) for p in (fresh, mo.Banana().sample(2000, rng=5))]
    assert 0.8 < near[0] / near[1] < 1.3


@pytest.mark.jit
def test_history_and_the_limit_on_steps(banana_flow):
    x, _, T = banana_flow
    assert len(T.history["fall"]) == len(T.steps) - 1 == 80
    assert sum(T.history["fall"][:10]) > 10 * sum(T.history["fall"][-10:])
    z = x
    for step in T.steps:
        if isinstance(step, mo.data_driven.ElementaryMap):
            stretch = np.linalg.eigvalsh(step._jacobian(z))
            assert stretch.min() >= 0.5 - 1e-9
            assert stretch.max() <= 1.5 + 1e-9
        z = step(z)


@pytest.mark.jit
def test_density_of_the_flow_is_good_and_normalised(banana_flow):
    _, _, T = banana_flow
    test, normal = mo.Banana().sample(2000, rng=9), mo.StandardNormal()
    model = mo.pushforward_log_density(T, normal.log_density, test)
    affine = mo.pushforward_log_density(T.steps[0], normal.log_density, test)
    assert model.mean() > affine.mean() + 0.3


@pytest.mark.jit
def test_backwards_flow_gives_a_smooth_density(banana_flow):
    """From data to the normal law: smoother on the banana than the flow from the normal law."""
    y, test = mo.Banana().sample(2000, rng=1), mo.Banana().sample(2000, rng=9)
    normal = mo.StandardNormal()
    S = mo.data_driven_flow(y, normal.sample(4000, rng=0), rng=2, steps=80, neighbours=200)
    flow = mo.pullback_log_density(S, normal.log_density, test).mean()
    forward = mo.pushforward_log_density(banana_flow[2], normal.log_density, test).mean()
    assert flow > forward
    assert flow > mo.Banana().log_density(test).mean() - 0.15


@pytest.mark.jit
@pytest.mark.parametrize("d", [1, 10])
def test_other_dimensions(d):
    rng = np.random.default_rng(3)
    means = 1.5 * np.vstack([np.ones(d), -np.ones(d)]) / np.sqrt(d)
    target = mo.GaussianMixture(means, np.tile(0.3**2 * np.eye(d), (2, 1, 1)))
    x, y = rng.standard_normal((1500, d)), target.sample(1500, rng=rng)
    T = mo.data_driven_flow(x, y, rng=0, steps=60)
    fresh, truth = rng.standard_normal((1500, d)), target.sample(1500, rng=rng)
    before, after = (mo.energy_distance(p, truth) for p in (T.steps[0](fresh), T(fresh)))
    assert after < 0.25 * before


def test_steepest_descent_lowers_the_dual_too():
    x, y = mo.StandardNormal().sample(300, rng=0), mo.TwoMoons().sample(300, rng=1)
    T = mo.data_driven_flow(x, y, rng=2, steps=8, features=8, weights="steepest")
    assert all(f > 0 for f in T.history["fall"])
    assert mo.energy_distance(T(x), y) < mo.energy_distance(T.steps[0](x), y)


@pytest.mark.parametrize("weights", ["newton", "steepest"])
def test_equal_clouds_stay(weights):
    x = mo.Banana().sample(100, rng=0)
    T = mo.data_driven_flow(x, x, rng=1, steps=3, features=8, weights=weights)
    assert np.allclose(T(x), x, atol=1e-9)


def test_stops_early_on_held_out_samples():
    """Two samples of one law: there is nothing to learn, so a flow with held-out samples stays short."""
    x, y = mo.Banana().sample(300, rng=0), mo.Banana().sample(300, rng=1)
    T = mo.data_driven_flow(x, y, rng=2, steps=60, features=16, held_out=0.3, patience=5)
    assert len(T.steps) < 20
    assert len(T.history["held_out"]) < 60


@pytest.mark.jit
def test_same_seed_same_bits_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(_jit, "_PAIRS_WORTH_A_THREAD", 100)
    x, y = mo.StandardNormal().sample(400, rng=0), mo.TwoMoons().sample(300, rng=1)
    seen = set()
    for threads in (1, 2, 3):
        monkeypatch.setattr(_jit, "num_threads", lambda threads=threads: threads)
        seen.add(mo.data_driven_flow(x, y, rng=2, steps=5, features=16)(x).tobytes())
    assert len(seen) == 1
    assert mo.data_driven_flow(x, y, rng=3, steps=5, features=16)(x).tobytes() not in seen


def test_repeated_samples_do_no_harm():
    x = mo.StandardNormal().sample(200, rng=0)
    y = np.repeat(mo.Banana().sample(20, rng=1), 10, axis=0)
    T = mo.data_driven_flow(x, y, rng=2, steps=10, features=16)
    assert np.isfinite(T(x)).all()
    assert np.isfinite(T.log_det(x)).all()


def test_interrupted_returns_the_flow_so_far(monkeypatch):
    real, calls = mo.data_driven.propose, []

    def interrupt(*args, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(mo.data_driven, "propose", interrupt)
    x, y = mo.StandardNormal().sample(100, rng=0), mo.TwoMoons().sample(100, rng=1)
    with pytest.warns(UserWarning, match="3 of 10 steps"):
        T = mo.data_driven_flow(x, y, rng=0, steps=10, features=8)
    assert len(T.steps) == 4


GOOD = np.random.default_rng(0).standard_normal((100, 2))


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "words"),
    [
        (np.where(GOOD > 2, np.nan, GOOD), GOOD, {}, ValueError, "x must be finite"),
        (GOOD, GOOD[:, :1], {}, ValueError, "same number of columns"),
        (GOOD[:30], GOOD, {}, ValueError, "n >= 50"),
        (GOOD, np.zeros((100, 2)), {}, ValueError, "y must spread out"),
        (GOOD[:, [0, 0]], GOOD, {}, ValueError, "x must spread out"),
        (GOOD, GOOD, {"weights": "cg"}, ValueError, "weights must be"),
        (GOOD, GOOD, {"kernel": "box"}, ValueError, "kernel must be"),
        (GOOD, GOOD, {"steps": 0}, ValueError, "steps must be at least 1"),
        (GOOD, GOOD, {"ridge": -1.0}, ValueError, "ridge must be positive"),
        (GOOD, GOOD, {"held_out": 1.0}, ValueError, "held_out must be"),
        (GOOD, GOOD, {"features": 2.5}, TypeError, "features must be a whole number"),
    ],
)
def test_bad_input(x, y, options, error, words):
    with pytest.raises(error, match=words):
        mo.data_driven_flow(x, y, rng=0, **{"steps": 3, **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bandwidth": 0.0}, "bandwidth must be positive"),
        ({"bandwidth": [1.0, 2.0]}, "bandwidth must be one finite number or 3"),
        ({"bandwidth": 1.0, "kernel": "box"}, "kernel must be one of"),
        ({"bandwidth": 1.0, "weights": [1.0, np.nan, 0.0]}, "weights must be one finite number or 3"),
        ({"bandwidth": 1.0, "weights": "cg"}, "weights must be 'newton'"),
    ],
)
def test_bad_elementary_map(options, words):
    with pytest.raises(ValueError, match=words):
        mo.elementary_map(GOOD, GOOD, GOOD[:3], **options)
