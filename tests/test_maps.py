"""One contract for every Map that the package can make, and the affine map against known answers."""

import pickle

import numpy as np
import pytest

import mini_ot as mo


def _affine():
    return mo.affine_map(mo.Banana().sample(300, rng=0), mo.Pinwheel().sample(200, rng=1))


def _whitening_in_three_dimensions():
    x = np.random.default_rng(2).standard_normal((100, 3)) @ [[1, 2, 0], [0, 1, 0.5], [0, 0, 3]]
    return mo.affine_map(x)


def _composition():
    return _affine().then(mo.affine_map(mo.TwoMoons().sample(100, rng=3)))


class Bend(mo.Map):
    """A map whose log-determinant depends on the place, and whose first coordinate bends the second."""

    def _forward(self, x):
        return np.c_[np.sinh(x[:, 0]), x[:, 1] + x[:, 0] ** 2]

    def _inverse(self, y):
        first = np.arcsinh(y[:, 0])
        return np.c_[first, y[:, 1] - first**2]

    def _log_det(self, x):
        return np.log(np.cosh(x[:, 0]))


def _bent():
    return _affine().then(Bend(2))


def _convex_sum():
    x, y = mo.Banana().sample(200, rng=0), mo.Pinwheel().sample(200, rng=1)
    return mo.convex_combination_map(x, y[mo.assignment(x, y)], planes=60)


def _straightened():
    x = mo.StandardNormal(2).sample(200, rng=0)
    return mo.straighten(x, x @ [[0.0, 2.0], [-1.0, 0.5]], solver=mo.affine_map, legs=2, rounds=1)


def _elementary():
    z, y = mo.StandardNormal(3).sample(60, rng=0), 0.5 * mo.StandardNormal(3).sample(50, rng=1) + 0.3
    return mo.elementary_map(z, y, y[:5], bandwidth=1.5, step=0.3, kernel="multiquadric")


def _data_driven():
    x, y = mo.StandardNormal().sample(150, rng=0), mo.TwoMoons().sample(150, rng=1)
    return mo.data_driven_flow(x, y, rng=2, steps=4, features=12)


def _mmd_flow():
    x, y = mo.StandardNormal().sample(5, rng=0), mo.Banana().sample(4, rng=1)
    return mo.mmd_flow(x, y, kernel=mo.Gaussian(1.5), step=1.0, steps=2)


def _two_sided():
    x, y = mo.StandardNormal().sample(150, rng=0), mo.TwoMoons().sample(150, rng=1)
    return mo.back_and_forth_samples(x, y, rng=2, steps=4, features=12)


def _grid_transport():
    x = np.linspace(-10, 10, 32, endpoint=False) + 0.3125
    mu = np.exp(-(x[:, None] ** 2 + x**2) / 16) + 0.01
    nu = np.exp(-((x[:, None] - 1) ** 2 + (x + 1) ** 2) / 9) + 0.01
    return mo.back_and_forth(mu, nu, bounds=((-10, 10), (-10, 10)), normalise=True).map


def _triangular():
    return mo.triangular_map(mo.TwoMoons().sample(300, rng=0), degree=3, rng=0)


def _conditional():
    x, noise = mo.Banana().sample(300, rng=0), np.random.default_rng(0).standard_normal((300, 1))
    return mo.conditional_map(x, x[:, :1] ** 3 + noise, degree=2, rng=0).given([0.3]).map


def _inference():
    return mo.inference_map(mo.Banana().log_density, 2, degree=2, points=200, rng=0, progress=False)


def _radial():
    return mo.RadialMap([0.5, -0.3], 0.6, -0.4)


def _normalizing():
    x = mo.TwoMoons().sample(150, rng=0)
    return mo.normalizing_flow(x, rng=1, steps=6, candidates=4, held_out=0, progress=False)


def _dual_ascent():
    x = mo.TwoMoons().sample(150, rng=0)
    return mo.dual_ascent_flow(x, rng=1, steps=6, candidates=2, held_out=0, progress=False)


def _planar():
    return mo.PlanarMap([1.0, -0.5, 0.3], [0.8, 1.2, -0.4], 0.2)


def _planar_flow():
    return mo.planar_flow(mo.TwoMoons().sample(150, rng=0), layers=4, steps=60, rng=1)


def _radial_flow():
    return mo.radial_flow(mo.TwoMoons().sample(150, rng=0), layers=4, steps=60, rng=1)


def _variational_flow():
    return mo.variational_flow(mo.PaperEnergy(2).log_density, 2, layers=4, steps=60, rng=1)


# Every new kind of map goes into this list, and with it through all tests below.
MAKERS = [
    _affine,
    _whitening_in_three_dimensions,
    _composition,
    _bent,
    _straightened,
    _radial,
    _planar,
    # Without Numba these take minutes; their own tests run them on fewer points.
    *(
        pytest.param(m, marks=pytest.mark.jit)
        for m in (
            _triangular,
            _conditional,
            _inference,
            _normalizing,
            _dual_ascent,
            _planar_flow,
            _radial_flow,
            _variational_flow,
            _convex_sum,
            _elementary,
            _data_driven,
            _mmd_flow,
            _two_sided,
            _grid_transport,
        )
    ),
]


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__.strip("_"))
def T(request):
    return request.param()


@pytest.fixture
def x(T, rng):
    return rng.standard_normal((20, T.dim))


def test_round_trip(T, x):
    assert np.allclose(T.inverse(T(x)), x, atol=1e-8)
    assert np.allclose(T(T.inverse(x)), x, atol=1e-8)


def test_log_det_is_that_of_finite_differences(T, x):
    h = 1e-5
    for i, at in enumerate(x[:5]):
        shift = h * np.eye(T.dim)
        jacobian = (T(at + shift) - T(at - shift)).T / (2 * h)
        assert np.isclose(T.log_det(x)[i], np.linalg.slogdet(jacobian)[1], atol=1e-6)


def test_points_move_on_their_own(T, x):
    """No point's image depends on its neighbours, so new points can be mapped."""
    assert np.allclose(T(x)[3:4], T(x[3:4]), atol=1e-12)
    assert np.allclose(T.inverse(x)[3:4], T.inverse(x[3:4]), atol=1e-12)


def test_shapes_and_dtypes(T, x):
    assert T(x).shape == T.inverse(x).shape == x.shape
    assert T.log_det(x).shape == (len(x),)
    small = x.astype(np.float32)
    for out in (T(small), T.inverse(small), T.log_det(small)):
        assert out.dtype == np.float32
    assert np.allclose(T(small), T(x), rtol=1e-4, atol=1e-4)


def test_input_is_left_alone(T, x):
    before = x.copy()
    T(x), T.inverse(x), T.log_det(x)
    assert (x == before).all()


def test_pickles(T, x):
    again = pickle.loads(pickle.dumps(T))
    assert (again(x) == T(x)).all()
    assert (again.log_det(x) == T.log_det(x)).all()


def test_steps_compose_to_the_map(T, x):
    z, log_det = x, 0.0
    for step in T.steps:
        log_det = log_det + step.log_det(z)
        z = step(z)
    assert np.allclose(z, T(x))
    assert np.allclose(log_det, T.log_det(x))
    assert isinstance(T.history, dict)


def test_then(T, x):
    twice = T.then(T)
    assert np.allclose(twice(x), T(T(x)))
    assert np.allclose(twice.log_det(x), T.log_det(x) + T.log_det(T(x)))
    assert len(twice.steps) == 2 * len(T.steps)


def test_change_of_variables(T):
    """The pulled-back density integrates to one, and pushing it forward gives the reference back."""
    reference = mo.StandardNormal(T.dim)
    y = reference.sample(10, rng=0)
    x = T.inverse(y)
    pulled = mo.pullback_log_density(T, reference.log_density, x)
    back = mo.pushforward_log_density(
        T, lambda points: mo.pullback_log_density(T, reference.log_density, points), y
    )
    assert np.allclose(back, reference.log_density(y), atol=1e-7)
    # Importance sampling with a wide Gaussian: E_q[p / q] = 1.
    image = T.inverse(reference.sample(4000, rng=1))
    wide = mo.GaussianMixture([image.mean(axis=0)], [1.5 * np.cov(image.T)])
    q = wide.sample(20_000, rng=2)
    ratio = np.exp(mo.pullback_log_density(T, reference.log_density, q) - wide.log_density(q))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio)) + 1e-3
    assert np.isfinite(pulled).all()


def test_bad_input(T):
    with pytest.raises(ValueError, match=rf"x must be an array of shape \(n, {T.dim}\)"):
        T(np.zeros((3, T.dim + 1)))
    with pytest.raises(ValueError, match="y must be finite"):
        T.inverse(np.full((3, T.dim), np.nan))
    with pytest.raises(ValueError, match="x must be finite"):
        T.log_det(np.full((3, T.dim), np.inf))
    with pytest.raises(TypeError, match="other must be a Map"):
        T.then(np.sin)
    with pytest.raises(ValueError, match="a map of dimension 1"):
        T.then(mo.affine_map([0.0, 1.0, 2.0]))


def test_affine_map_matches_moments_and_is_optimal():
    x, y = mo.Banana().sample(500, rng=0), mo.TwoMoons().sample(400, rng=1)
    T = mo.affine_map(x, y)
    assert np.allclose(T(x).mean(axis=0), y.mean(axis=0))
    assert np.allclose(np.cov(T(x).T), np.cov(y.T))
    assert np.allclose(T.matrix, T.matrix.T)
    assert (np.linalg.eigvalsh(T.matrix) > 0).all()


def test_affine_map_against_pot():
    import ot

    x, y = mo.Banana().sample(500, rng=0), mo.TwoMoons().sample(400, rng=1)
    matrix, shift = ot.gaussian.bures_wasserstein_mapping(
        x.mean(axis=0), y.mean(axis=0), np.cov(x.T), np.cov(y.T)
    )
    T = mo.affine_map(x, y)
    assert np.allclose(T.matrix, matrix)
    assert np.allclose(T.shift, np.ravel(shift))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mo.affine_map([[0.0, 0], [1, 1], [2, 2]]), "singular covariance"),
        (lambda: mo.affine_map([[0.0, 0], [1, 1]]), "x must spread out in all 2 directions"),
        (lambda: mo.affine_map([[0.0], [1]], [[0.0, 1], [1, 2]]), r"y must be an array of shape \(n, 1\)"),
        (lambda: mo.affine_map([[0.0], [1]], [[3.0], [3.0]]), "y must spread out"),
        (lambda: mo.affine_map([[0.0]]), "n >= 2"),
    ],
)
def test_affine_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_affine_map_class_checks_its_matrix():
    kind = type(_affine())
    with pytest.raises(ValueError, match="matrix must be invertible"):
        kind([[1.0, 1.0], [1.0, 1.0]], [0.0, 0.0])
    with pytest.raises(ValueError, match="matrix must be square"):
        kind([[1.0, 1.0]], [0.0])
