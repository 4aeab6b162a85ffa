"""What every method that makes a map promises: the same questions put to all of them (chapters 3 to 5)."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from tqdm import tqdm

import mini_ot as mo
from mini_ot import _jit, _progress

FITS = {
    "triangular_map": {},
    "normalizing_flow": {"steps": 40},
    "dual_ascent_flow": {"steps": 40},
    "planar_flow": {"layers": 3, "steps": 40},
    "radial_flow": {"layers": 3, "steps": 40},
}
DENSITIES = {"inference_map": {"degree": 2}, "variational_flow": {"layers": 3, "steps": 40}}
pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("error")]
every_fit = pytest.mark.parametrize("name", FITS)
every_density = pytest.mark.parametrize("name", DENSITIES)


def bent(n=300, d=2, seed=0):
    """Samples with skew in the first column and a bend in each later one."""
    x = np.random.default_rng(seed).standard_normal((n, d))
    noise = x.copy()
    x[:, 0] += 0.3 * noise[:, 0] ** 2
    for k in range(1, d):
        x[:, k] = 0.7 * noise[:, k] + 0.5 * noise[:, k - 1] ** 2
    return x


def fit(name, x, **options):
    return getattr(mo, name)(x, **{"rng": 0, "progress": False, **FITS[name], **options})


def reach(name, log_density, dim=2, **options):
    return getattr(mo, name)(log_density, dim, **{"rng": 0, "progress": False, **DENSITIES[name], **options})


def log_likelihood(T, x):
    return mo.pullback_log_density(T, mo.StandardNormal(T.dim).log_density, x)


def usable(T, x):
    """T takes the points there and back, normal ones back and there, and gives finite densities."""
    assert np.isfinite(log_likelihood(T, x)).all()
    assert np.abs(T.inverse(T(x)) - x).max() < 1e-6 * (np.abs(x).max() + np.abs(T(x)).max())
    z = mo.StandardNormal(T.dim).sample(50, rng=1)
    assert np.abs(T(T.inverse(z)) - z).max() < 1e-5


def has_its_log_det(T, x):
    for point, log_det in zip(x, T.log_det(x), strict=True):
        h = 1e-5 * np.eye(T.dim)
        assert abs(np.linalg.slogdet((T(point + h) - T(point - h)) / 2e-5)[1] - log_det) < 1e-5


def bent_normal(x):
    """A density of mass 3: each coordinate is normal round a parabola of the one before."""
    residual = np.c_[x[:, :1] - 1, x[:, 1:] - 0.3 * x[:, :-1] ** 2]
    return -0.5 * (residual**2).sum(axis=1) - 0.5 * x.shape[1] * np.log(2 * np.pi) + np.log(3.0)


@every_fit
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_fitted_map_is_a_map_and_its_model_has_mass_one(name, d):
    x = bent(d=d)
    T = fit(name, x)
    usable(T, x)
    has_its_log_det(T, x[:4] + 0.01)
    again = pickle.loads(pickle.dumps(T))
    assert (again(x) == T(x)).all()
    assert (again.stopped, again.history) == (T.stopped, T.history)
    wide = mo.GaussianMixture([x.mean(axis=0)], [3 * np.atleast_2d(np.cov(x.T))])
    q = wide.sample(40_000, rng=2)
    ratio = np.exp(log_likelihood(T, q) - wide.log_density(q))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio)) + 1e-3


@every_fit
def test_it_beats_the_normal_law_and_its_samples_look_like_the_data(name):
    x, fresh = bent(2000), bent(2000, seed=1)
    T, white = fit(name, x, **({} if name == "triangular_map" else {"steps": 200})), mo.affine_map(x)
    assert log_likelihood(T, fresh).mean() > log_likelihood(white, fresh).mean() + 0.02
    z = mo.StandardNormal().sample(2000, rng=2)
    assert mo.energy_distance(T.inverse(z), fresh) < mo.energy_distance(white.inverse(z), fresh)


@every_fit
def test_history(name):
    T = fit(name, bent())
    assert T.stopped
    assert {"training", "held_out"} <= set(T.history)
    assert len({len(values) for values in T.history.values()}) == 1
    assert all(np.isfinite(values).all() for values in T.history.values())


@pytest.mark.parametrize("name", [name for name in FITS if name.endswith("flow")])
def test_the_recorded_likelihood_is_that_of_the_map(name):
    x = bent()
    T = fit(name, x, held_out=0)
    training = T.history["training"]
    assert abs(training[-1] - log_likelihood(T, x).mean()) < 1e-9
    if name in ("normalizing_flow", "dual_ascent_flow"):
        assert len(training) == 41  # after the first map and after each step
        assert min(np.diff(training)) >= 0


@every_fit
@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 5.0), (1e-3, 1.0), (1e100, 0.0)])
def test_units_do_not_matter(name, scale, shift):
    x = bent()
    moved = scale * x + shift
    T = fit(name, moved)
    usable(T, moved)
    wanted = log_likelihood(fit(name, x), x) - np.log(scale * np.ones(2)).sum()
    assert np.abs(log_likelihood(T, moved) - wanted).mean() < 1e-3


@every_fit
def test_the_order_of_the_samples_hardly_matters(name):
    x = bent(600)
    mixed = x[np.random.default_rng(5).permutation(len(x))]
    assert abs(log_likelihood(fit(name, x), x).mean() - log_likelihood(fit(name, mixed), x).mean()) < 0.2


@every_fit
def test_same_seed_same_bits_for_any_number_of_threads(name, monkeypatch):
    monkeypatch.setattr(_jit, "_PAIRS_WORTH_A_THREAD", 100)
    x, seen = bent(), set()
    for threads in (1, 1, 2, 3):
        monkeypatch.setattr(_jit, "num_threads", lambda threads=threads: threads)
        T = fit(name, x)
        seen.add((T(x).tobytes(), T.log_det(x).tobytes(), T.inverse(x).tobytes()))
    assert len(seen) == 1


@every_fit
def test_samples_of_other_kinds_are_taken_and_left_alone(name):
    x = np.asfortranarray(bent(100))
    x.flags.writeable = False
    before = fit(name, x)(x)
    assert np.allclose(fit(name, x.tolist())(x), before, atol=1e-6)
    assert np.allclose(fit(name, np.repeat(x, 2, axis=1)[:, ::2])(x), before, atol=1e-6)
    usable(fit(name, x.astype(np.float32)), x)


HARD = {
    "far outliers": lambda x: np.r_[x, [[1e3, -1e3], [-2e3, 0.0]]],
    "one very far outlier": lambda x: np.r_[x, [[1e6, 1e6]]],
    "every sample five times": lambda x: np.repeat(x[:60], 5, axis=0),
    "rounded": lambda x: np.round(2 * x),
    "half of a column zero": lambda x: x * np.c_[np.arange(len(x)) % 2, np.ones(len(x))],
    "heavily skewed": lambda x: np.exp(3 * x),
    "correlated by 0.999": lambda x: x @ [[1, 0.999], [0, 0.0447]],
    "nearly in a line": lambda x: np.c_[x[:, 0], x[:, 0] + 1e-4 * x[:, 1]],
    "heavy tails": lambda x: np.tan(1.55 * np.tanh(x)),
    "units apart": lambda x: x * [1e-5, 1e5],
    "two values": lambda x: np.sign(x),
    "twelve columns": lambda x: np.random.default_rng(1).standard_normal((400, 12)),
}


@every_fit
@pytest.mark.parametrize("kind", HARD)
def test_hard_data(name, kind):
    x = HARD[kind](bent(200))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(diverged|no bound)", RuntimeWarning)  # of atoms, rightly
        usable(fit(name, x), x)


@every_fit
def test_few_samples_make_a_map_or_an_error_that_says_so(name):
    for n in (1, 2, 3, 4, 5, 8, 12, 20):
        for d in (1, 2, 3):
            x = bent(n, d)
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "diverged", RuntimeWarning)
                    T = fit(name, x)
            except ValueError as error:
                assert str(error).startswith(("x must", "held_out must")), error
            else:
                usable(T, x)


BAD_SAMPLES = {
    "nan": lambda x: np.where(x == x[7], np.nan, x),
    "inf": lambda x: np.where(x == x[7], -np.inf, x),
    "constant column": lambda x: x * [1.0, 0.0] + 0.1,
    "all points equal": lambda x: 0 * x + 0.1,
    "singular covariance": lambda x: np.c_[x[:, 0], 0.1 + 0.3 * x[:, 0]],
    "three axes": lambda x: x[None],
    "a number": lambda x: 3.0,
    "strings": lambda x: x.astype(str).astype(object) + "a",
    "complex": lambda x: x + 1j,
    "empty": lambda x: x[:0],
    "no columns": lambda x: x[:, :0],
    "None": lambda x: None,
    "ragged": lambda x: [[1.0, 2.0], [3.0]],
    "more columns than samples": lambda x: x[:40].reshape(2, -1),
}


@every_fit
@pytest.mark.parametrize("kind", BAD_SAMPLES)
def test_bad_samples(name, kind):
    with pytest.raises((TypeError, ValueError), match=r"^(x|held_out) must"):
        fit(name, BAD_SAMPLES[kind](bent()))


NOT_COUNTS = [-1, 0, 2.5, True, "many", None, np.nan]
FLAT = [lambda x, value=value: np.full(len(x), value) for value in (np.nan, np.inf, -np.inf)]
MISSHAPEN = [
    lambda x: 0.0,
    lambda x: None,
    lambda x: "a",
    lambda x: x,
    lambda x: x[:-1, 0],
    lambda x: x[:, 0] + 1j,
]
BAD = {  # for every other option what is no count
    "held_out": [-0.1, 1.0, 1.5, np.nan, "some", None, [0.2], True],
    "rng": ["seed", -1, 1.5],
    "learning_rate": [-1.0, 0.0, np.nan, np.inf, "fast", True, None],
    "score": [3, lambda x: x[:, 0], lambda x: np.full(x.shape, np.nan), lambda x: x[:1]],
    "log_density": [None, 3.0, *MISSHAPEN, *FLAT],
}
TAKEN = {
    "triangular_map": "degree held_out rng",
    "normalizing_flow": "steps neighbours candidates held_out patience rng",
    "dual_ascent_flow": "steps candidates held_out patience rng",
    "planar_flow": "layers steps batch learning_rate held_out rng",
    "radial_flow": "layers steps batch learning_rate held_out rng",
    "inference_map": "dim degree points steps score log_density rng",
    "variational_flow": "dim layers steps batch learning_rate score log_density rng",
}


@pytest.mark.parametrize(("name", "option"), [(m, o) for m, taken in TAKEN.items() for o in taken.split()])
def test_bad_options(name, option):
    for bad in BAD.get(option, NOT_COUNTS):
        with pytest.raises((TypeError, ValueError), match=rf"^{option} must"):
            if name in FITS:
                fit(name, bent(), **{option: bad})
            else:
                reach(name, **{"log_density": bent_normal, option: bad})


class Halting(tqdm):
    """A progress bar under which the user presses Ctrl+C after some steps."""

    after, seen = 0, 0

    def update(self, n=1):
        self.seen += 1
        if self.seen > self.after:
            raise KeyboardInterrupt

    def __iter__(self):
        for item in self.iterable:
            self.update()
            yield item


@every_fit
@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_interrupted_fit_gives_the_map_so_far(name, after, monkeypatch):
    monkeypatch.setattr(_progress, "tqdm", Halting)
    monkeypatch.setattr(Halting, "after", after)
    x = bent()
    with pytest.warns(UserWarning, match="interrupted"):
        T = fit(name, x)
    usable(T, x)
    assert "interrupted" in T.stopped


class Spoilt:
    """A log density that from some call on does something else instead."""

    def __init__(self, instead=None, at=np.inf):
        self.instead, self.at, self.calls = instead, at, 0

    def __call__(self, x):
        self.calls += 1
        return self.instead(x) if self.calls >= self.at else bent_normal(x)


def interrupt(x):
    raise KeyboardInterrupt


@every_density
def test_an_interrupted_log_density_gives_the_map_so_far(name):
    start = {"start": ([0.5, 0.5], np.eye(2))} if name == "inference_map" else {}
    reach(name, whole := Spoilt(), **start)
    with pytest.warns(UserWarning, match="interrupted"):
        T = reach(name, Spoilt(interrupt, at=whole.calls // 2), **start)
    assert "interrupted" in T.stopped
    usable(T, bent(50))


@every_density
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_log_density_that_fails_on_the_way(name, value):
    """Either an error that names it, or the last good map with a warning that says why."""
    reach(name, whole := Spoilt())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            T = reach(name, Spoilt(lambda x: np.full(len(x), value), at=whole.calls // 2))
        except ValueError as error:
            assert str(error).startswith("log_density must")
            return
    assert [w.category for w in said] == [RuntimeWarning]
    assert T.stopped in str(said[0].message)
    usable(T, bent(50))


@every_density
def test_an_error_in_the_log_density_is_shown(name):
    with pytest.raises(ZeroDivisionError):
        reach(name, lambda x: 1 / 0)


@every_density
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_map_reached_from_a_density(name, d):
    T, x = reach(name, bent_normal, d), mo.StandardNormal(d).sample(200, rng=3)
    assert T.stopped
    usable(T, x)
    has_its_log_det(T, x[:4])
    assert (pickle.loads(pickle.dumps(T))(x) == T(x)).all()
    assert (reach(name, bent_normal, d)(x) == T(x)).all()
    raised = reach(name, lambda x: bent_normal(x) + 700.0, d)
    assert np.abs(raised(x) - T(x)).max() < 1e-4
    key = "elbo" if name == "variational_flow" else "lower_bound"
    assert np.abs(np.subtract(raised.history[key], T.history[key]) - 700).max() < 1e-3
    z = mo.StandardNormal(d).sample(20_000, rng=4)
    bound = (bent_normal(T(z)) + T.log_det(z) - mo.StandardNormal(d).log_density(z)).mean()
    assert bound < np.log(3) + 0.01
    assert abs(T.history[key][-1] - bound) < 0.3


@pytest.mark.parametrize("p", [1, 2])
def test_the_conditional_law_has_mass_one_at_every_covariate(p):
    x = bent(400, p + 1)
    T = mo.conditional_map(x[:, p], x[:, :p], rng=0, progress=False)
    for y in [x[0, :p], x[1, :p], 3 * x[2, :p], np.full(p, 30.0)]:
        law = T.given(y)
        z = np.linspace(*law.map.inverse([[-9.0], [9.0]])[:, 0], 40_001)
        assert abs(np.exp(law.log_density(z)).sum() * (z[1] - z[0]) - 1) < 1e-3
        assert np.allclose(law.log_density(z), T.log_density(z, np.tile(y, (len(z), 1))))
        assert np.allclose(law.log_density(z), log_likelihood(law.map, z[:, None]))
        assert (law.sample(9, rng=4) == T.sample(y, 9, rng=4)).all()
    usable(pickle.loads(pickle.dumps(T)).given(np.full(p, 1e3)).map, x[:, p:])


@every_fit
def test_evaluation_needs_memory_like_the_points(name):
    T, x = fit(name, bent()), bent(50_000)
    for call in (T, T.log_det, T.inverse):
        call(x[:10])
        tracemalloc.start()
        call(x)
        assert tracemalloc.get_traced_memory()[1] < 64 * x.nbytes
        tracemalloc.stop()
