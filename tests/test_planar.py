"""Planar and radial flows: layers, gradients, training, and what happens when things go wrong."""

import numpy as np
import pytest

import mini_ot as mo
from mini_ot import _flow_fit, _layers

KINDS = {"planar": _layers.PLANAR, "radial": _layers.RADIAL}


def random_flow(layer, dim, layers, rng, size=1.0):
    """Random parameters, far from any start."""
    return size * rng.standard_normal(2 * dim + layers * _layers.row_length(KINDS[layer], dim))


def pushed(layer, theta, x, layers):
    """Images and log-determinant of points (n, d) by the compiled loop."""
    d, n = x.shape[1], len(x)
    path, extra, log_det = np.empty((layers + 1, d, n)), np.empty((layers, n)), np.empty(n)
    _layers.forward(KINDS[layer], theta, np.ascontiguousarray(x.T), path, extra, log_det)
    return path, extra, log_det


# Layers


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_planar_map_is_the_papers_formula(dim, rng):
    u, w, b = rng.standard_normal(dim), rng.standard_normal(dim), 0.3
    x = rng.standard_normal((50, dim))
    T = mo.PlanarMap(u, w, b)
    u_hat = u + (np.log(1 + np.exp(w @ u)) - 1 - w @ u) * w / (w @ w)
    assert np.allclose(T.u_hat, u_hat, rtol=1e-12)
    assert np.allclose(T(x), x + np.outer(np.tanh(x @ w + b), u_hat), rtol=1e-12)
    jacobian = np.eye(dim) + (1 - np.tanh(x @ w + b) ** 2)[:, None, None] * np.outer(u_hat, w)
    assert np.allclose(T.log_det(x), np.linalg.slogdet(jacobian)[1], atol=1e-10)
    assert np.allclose(T.inverse(T(x)), x, atol=1e-8)
    assert np.allclose(T(T.inverse(x)), x, atol=1e-8)


@pytest.mark.parametrize("size", [1e-6, 1.0, 30.0, 1e3, 1e6])
def test_the_correction_keeps_every_layer_one_to_one(size, rng):
    for _ in range(100):
        u, w = size * rng.standard_normal((2, 3))
        T = mo.PlanarMap(u, w / size, rng.standard_normal())
        exact = sum(np.array(T.w, dtype=np.longdouble) * T.u_hat.astype(np.longdouble))
        assert exact > -1 - 1e-15 * size
        x = rng.standard_normal((20, 3))
        assert np.isfinite(T.log_det(x)).all()
        if T._s > 1e-3 and size < 1e3:
            assert np.allclose(T.inverse(T(x)), x, atol=1e-8)
        along = np.linspace(-3, 3, 200)[:, None] * T.w  # the map must increase along w
        assert (np.diff(T(along) @ T.w) > -1e-9 * size).all()


def test_steep_planar_map_has_an_inverse():
    """Where the map nearly folds, the bracket of the root must hold Newton's method back."""
    for strength in (-15.0, 40.0, 300.0):
        T = mo.PlanarMap([strength / 5, 0.0], [5.0, 0.0], 0.7)
        y = np.c_[np.linspace(-80, 80, 4001), np.zeros(4001)]
        assert np.allclose(T(T.inverse(y)), y, atol=1e-8)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_radial_layer_is_the_map_of_tabak_and_turner(dim, rng):
    """Rezende and Mohamed's layer and the elementary map of 2013 are one: an identity, to rounding."""
    row = rng.standard_normal(dim + 2)
    x = rng.standard_normal((40, dim))
    path, _, log_det = pushed("radial", np.r_[np.zeros(2 * dim), row], x, 1)
    centre, alpha = row[:dim], np.exp(row[dim])
    beta = np.log(1 + np.exp(row[dim + 1])) - alpha  # softplus keeps it above -alpha
    # Tabak and Turner's f, g = (r f)' and their log-determinant
    r = np.linalg.norm(x - centre, axis=1)
    f, g = 1 / (alpha + r), alpha / (alpha + r) ** 2
    images = x + beta * f[:, None] * (x - centre)
    theirs = (dim - 1) * np.log(1 + beta * f) + np.log(1 + beta * g)
    T = mo.RadialMap(centre, alpha, beta)
    for ours in (path[1].T, T(x)):
        assert np.allclose(ours, images, rtol=1e-13, atol=1e-13)
    for ours in (log_det, T.log_det(x)):
        assert np.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", KINDS)
def test_compiled_layers_are_the_maps(layer, rng):
    """The training loop and the maps it returns are two pieces of code for one thing."""
    flow = _flow_fit.Flow(layer, 11, 2, 30, rng)
    flow.theta[:] = random_flow(layer, 2, 11, rng, 0.7)
    x = rng.standard_normal((30, 2))
    images, log_det = flow.push(np.ascontiguousarray(x.T))
    from mini_ot.planar import _composition

    T = _composition(flow, mo.affine_map(x), {}, "")
    z = mo.affine_map(x).inverse(x)  # so that the first map is the flow's own affine one
    assert np.allclose(T(z), images.T, rtol=1e-9, atol=1e-9)
    assert np.allclose(T.log_det(z) - mo.affine_map(x).log_det(z), log_det, rtol=1e-9, atol=1e-9)


# Gradients and Adam


def differences(loss, theta, h=1e-6):
    return np.array([(loss(theta + h * e) - loss(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])


@pytest.mark.parametrize("layer", KINDS)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_gradient_of_the_likelihood(layer, dim, rng):
    layers, x = 3, rng.standard_normal((12, dim))
    theta = random_flow(layer, dim, layers, rng)

    def loss(theta):
        path, _, log_det = pushed(layer, theta, x, layers)
        return -(mo.StandardNormal(dim).log_density(path[-1].T) + log_det).mean()

    path, extra, _ = pushed(layer, theta, x, layers)
    g, grad = path[-1] / len(x), np.empty_like(theta)  # minus the score of the standard normal
    _layers.backward(KINDS[layer], theta, np.ascontiguousarray(x.T), path, extra, g, grad)
    assert np.allclose(grad, differences(loss, theta), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("layer", KINDS)
def test_gradient_of_the_evidence_bound(layer, rng):
    layers, z, energy = 4, rng.standard_normal((12, 2)), mo.PaperEnergy(3)
    theta = random_flow(layer, 2, layers, rng, 0.5)

    def loss(theta):
        path, _, log_det = pushed(layer, theta, z, layers)
        return -(energy.log_density(path[-1].T) + log_det).mean()

    path, extra, _ = pushed(layer, theta, z, layers)
    g, grad = np.ascontiguousarray(-energy.score(path[-1].T).T / len(z)), np.empty_like(theta)
    _layers.backward(KINDS[layer], theta, np.ascontiguousarray(z.T), path, extra, g, grad)
    assert np.allclose(grad, differences(loss, theta), rtol=1e-5, atol=1e-6)


def test_adam_step_by_hand(rng):
    theta, mean, square = rng.standard_normal(5), np.zeros(5), np.zeros(5)
    wanted, m, v = theta.copy(), np.zeros(5), np.zeros(5)
    for step in range(1, 6):
        grad = rng.standard_normal(5)
        _layers.adam(theta, grad, mean, square, step, 0.02)
        m = 0.9 * m + 0.1 * grad
        v = 0.999 * v + 0.001 * grad**2
        wanted = wanted - 0.02 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    assert np.allclose(theta, wanted, rtol=1e-12)


# Maximum likelihood


@pytest.mark.jit
@pytest.mark.parametrize("fit", [mo.planar_flow, mo.radial_flow], ids=["planar", "radial"])
def test_flow_of_samples_beats_the_affine_map(fit):
    moons = mo.TwoMoons()
    x, fresh = moons.sample(2000, rng=0), moons.sample(2000, rng=1)
    T = fit(x, layers=16, steps=3000, rng=2)
    normal = mo.StandardNormal().log_density
    nll = -mo.pullback_log_density(T, normal, fresh).mean()
    affine = -mo.pullback_log_density(mo.affine_map(x), normal, fresh).mean()
    assert nll < affine - 0.3
    assert T.stopped == "all 3000 steps done"
    assert len(T.steps) == 17
    assert np.allclose(T.inverse(T(fresh)), fresh, atol=1e-8)
    # The history is in the data's units: its best entry is what fresh samples see, up to chance.
    assert abs(max(T.history["held_out"]) + nll) < 0.1
    assert abs(T.history["training"][-1] + nll) < 0.1
    assert len(T.history["step"]) == len(T.history["training"]) == len(T.history["held_out"]) == 31


@pytest.mark.jit
def test_held_out_samples_end_the_flow_at_its_best():
    x = mo.TwoMoons().sample(60, rng=0)  # few enough to be learnt by heart
    T = mo.planar_flow(x, layers=16, steps=2000, rng=1, held_out=0.5)
    white = x[np.random.default_rng(1).permutation(60)][:30]
    reached = mo.pullback_log_density(T, mo.StandardNormal().log_density, white).mean()
    assert np.isclose(reached, max(T.history["held_out"]))
    assert T.history["held_out"][-1] < max(T.history["held_out"])
    every = mo.planar_flow(x, layers=4, steps=300, rng=1, held_out=0)
    reached = mo.pullback_log_density(every, mo.StandardNormal().log_density, x).mean()
    assert every.history["held_out"] == []
    assert np.isclose(reached, every.history["training"][-1])


# The evidence bound


def correlated():
    return mo.GaussianMixture([[1.0, -2.0]], [[[1.5, 0.6], [0.6, 0.5]]])


@pytest.mark.jit
@pytest.mark.parametrize("layer", KINDS)
def test_variational_flow_of_a_gaussian(layer):
    """The bound reaches the known log integral (here 3), and the law is the Gaussian."""
    law = mo.GaussianMixture([[1.0, -2.0]], [[[1.5, 0.0], [0.0, 0.2]]]) if layer == "radial" else correlated()
    T = mo.variational_flow(lambda x: law.log_density(x) + 3, 2, layer=layer, layers=8, steps=3000, rng=0)
    z = mo.StandardNormal().sample(50_000, rng=1)
    gain = law.log_density(T(z)) + 3 + T.log_det(z) - mo.StandardNormal().log_density(z)
    assert 2.99 < gain.mean() < 3.001
    assert abs(np.mean(T.history["elbo"][-5:]) - 3) < 0.05
    assert np.allclose(T(z).mean(axis=0), [1, -2], atol=0.03)
    assert np.allclose(np.cov(T(z).T), law.covariances[0], atol=0.05)


@pytest.mark.jit
def test_variational_flow_finds_both_arcs():
    energy = mo.PaperEnergy(1)
    T = mo.variational_flow(energy.log_density, 2, score=energy.score, layers=16, steps=4000, rng=0)
    z = mo.StandardNormal().sample(20_000, rng=1)
    kl = (mo.StandardNormal().log_density(z) - T.log_det(z) - energy.log_density(T(z))).mean()
    assert 0 < kl < 0.05
    assert abs((T(z)[:, 0] > 0).mean() - 0.5) < 0.1


@pytest.mark.jit
def test_score_by_differences_gives_the_same_flow():
    energy = mo.PaperEnergy(2)
    settings = {"layers": 4, "steps": 50, "rng": 0}
    exact = mo.variational_flow(energy.log_density, 2, score=energy.score, **settings)
    differenced = mo.variational_flow(energy.log_density, 2, **settings)
    z = mo.StandardNormal().sample(100, rng=1)
    assert np.allclose(exact(z), differenced(z), atol=1e-5)
    assert not np.array_equal(exact(z), differenced(z))


def small(**settings):
    return mo.variational_flow(**({"log_density": correlated().log_density, "dim": 2} | settings))


BRIEF = {"layers": 2, "batch": 8, "steps": 3, "rng": 5}


def test_the_seed_decides():
    x = mo.Banana().sample(40, rng=0)
    for make in (
        lambda seed: small(**{**BRIEF, "rng": seed}),
        lambda seed: mo.planar_flow(x, **{**BRIEF, "rng": seed}),
        lambda seed: mo.radial_flow(x, **{**BRIEF, "rng": seed}),
    ):
        assert (make(1)(x) == make(1)(x)).all()
        assert not (make(1)(x) == make(2)(x)).all()


# When things go wrong


@pytest.mark.parametrize("fit", [mo.planar_flow, mo.radial_flow], ids=["planar", "radial"])
def test_bad_samples_and_settings(fit):
    x = mo.Banana().sample(40, rng=0)
    for bad, message in (
        (np.c_[x[:, 0], x[:, 0]], "x must spread out in all 2 directions"),
        (np.c_[x[:, 0], np.ones(40)], "x must vary in every column"),
        (np.where(x > 5, np.nan, x), "x must be finite"),
        (x[:1], "with n >= 2"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(bad)
    for settings, message in (
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"held_out": 1.0}, "held_out must be a share"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(x, **settings)
        if "held_out" not in settings:
            with pytest.raises(ValueError, match=message):
                small(**settings)


def test_bad_layers():
    with pytest.raises(ValueError, match="w must not be zero"):
        mo.PlanarMap([1.0, 0.0], [0.0, 0.0], 0.0)
    with pytest.raises(ValueError, match="u must be a vector of 2 finite"):
        mo.PlanarMap([1.0], [1.0, 0.0], 0.0)
    with pytest.raises(ValueError, match="b must be"):
        mo.PlanarMap([1.0], [1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="w must be finite"):
        mo.PlanarMap([1.0], [np.nan], 0.0)


def test_bad_densities():
    def broken(value):
        return lambda x: np.where(x[:, 0] > 0.5, value, -0.5 * (x**2).sum(axis=1))

    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match=rf"log_density must be finite, got {value} at \["):
            small(log_density=broken(value), **BRIEF)
    with pytest.raises(ValueError, match=r"log_density must return real numbers of shape \(1000,\)"):
        small(log_density=lambda x: x, **BRIEF)
    with pytest.raises(ValueError, match=r"score must return real numbers of shape \(8, 2\)"):
        small(score=lambda x: x[:, 0], **BRIEF)
    with pytest.raises(ValueError, match="score must be finite, got"):
        small(score=lambda x: np.full(x.shape, np.nan), **BRIEF)
    with pytest.raises(TypeError, match="log_density must be a function"):
        small(log_density=3.0)
    with pytest.raises(TypeError, match="score must be a function"):
        small(score=3.0)
    with pytest.raises(ValueError, match="layer must be one of 'planar', 'radial'"):
        small(layer="spline")
    with pytest.raises(ValueError, match="dim must be at least 1"):
        small(dim=0)


@pytest.mark.parametrize("rate", [1e3, 1e200])
def test_divergence_returns_the_last_good_map(rate):
    x = mo.Banana().sample(200, rng=0)
    for fit in (
        lambda: mo.planar_flow(x, learning_rate=rate, layers=3, steps=200, batch=8, rng=0),
        lambda: mo.planar_flow(x, learning_rate=rate, layers=3, steps=200, batch=8, rng=0, held_out=0),
        lambda: small(learning_rate=rate, layers=3, steps=200, batch=8, rng=0),
    ):
        with pytest.warns(
            RuntimeWarning, match=r"diverged at step \d+: .*; the last good map is returned"
        ) as w:
            T = fit()
        assert [v.filename for v in w if "diverged" in str(v.message)] == [__file__]  # the user's line
        assert T.stopped.startswith("diverged at step ")
        assert np.isfinite(T(x)).all()
        assert np.isfinite(T.log_det(x)).all()


def test_interruption_returns_the_map_so_far(monkeypatch):
    def interrupted(steps, **_):
        for k in steps:
            if k == 4:
                raise KeyboardInterrupt
            yield k

    monkeypatch.setattr(_flow_fit._progress, "progress", interrupted)
    x = mo.Banana().sample(40, rng=0)
    for fit in (
        lambda: mo.radial_flow(x, layers=2, batch=8, steps=9, rng=0),
        lambda: small(layers=2, batch=8, steps=9, rng=0),
    ):
        with pytest.warns(UserWarning, match="interrupted in step 3 of 9: the map so far is returned"):
            T = fit()
        assert T.stopped == "interrupted"
        assert np.allclose(T.inverse(T(x)), x, atol=1e-8)
