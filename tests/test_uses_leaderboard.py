"""The loop over methods and targets, the checks against copying, and kernel sums in chunks."""

import concurrent.futures
import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.neighbors import NearestNeighbors

import mini_ot as mo
from mini_ot.maps import Map

FIELDS = {"target", "method", "repeat", "seconds", "kl", "sliced_w2", "energy_distance", "copy_ratio"}


def run(methods=None, targets=None, **options):
    methods = methods or {"affine": fit_affine, "kde": fit_kde}
    targets = targets or {"banana": mo.Banana(), "normal": mo.StandardNormal(2)}
    return mo.leaderboard(methods, targets, **{"n": 60, "repeats": 2, "progress": False} | options)


def fit_affine(y, rng):
    return mo.MapModel(mo.affine_map(y), backwards=True)


def fit_kde(y, rng):
    return mo.kde(y)


def fit_noise(y, rng):
    """Draws on the generator that it is given; without a density."""
    return Points(rng.standard_normal(y.shape))


def fit_copies(y, rng):
    return Points(y)


def fit_nothing(y, rng):
    raise ValueError("no fit today")


class Points:
    def __init__(self, points):
        self.points = points

    def sample(self, n, rng=None):
        return self.points[np.random.default_rng(rng).integers(len(self.points), size=n)]


class TrueLaw:
    def __init__(self, target):
        self.target = target

    def __call__(self, y, rng):
        return self.target


def without_time(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


# --- models made of maps ----------------------------------------------


def affine(dim, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((50, dim)) @ rng.standard_normal((dim, dim)) + 3
    return x, mo.affine_map(x)  # to the standard normal


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_whitening_map_models_the_gaussian_of_its_data(dim):
    x, T = affine(dim)
    model = mo.MapModel(T, backwards=True)
    covariance = np.atleast_2d(np.cov(x.T, bias=True))
    found = model.log_density(x)
    candidates = [
        multivariate_normal(x.mean(axis=0), covariance * k).logpdf(x) for k in (1, len(x) / (len(x) - 1))
    ]
    assert model.dim == dim and found.shape == (50,)
    assert any(np.allclose(found, candidate, atol=1e-6) for candidate in candidates)
    samples = model.sample(20_000, rng=0)
    assert samples.shape == (20_000, dim)
    error = np.sqrt(np.diag(covariance) / 20_000)
    assert (np.abs(samples.mean(axis=0) - x.mean(axis=0)) < 4.5 * error).all()
    assert np.allclose(np.cov(samples.T), covariance, rtol=0.1, atol=0.1 * np.diag(covariance).max())


def test_forwards_and_backwards_are_inverse_to_each_other():
    _, T = affine(2)

    class Inverse(Map):
        def _forward(self, x):
            return T.inverse(x)

        def _inverse(self, y):
            return T(y)

        def _log_det(self, x):
            return -T.log_det(T.inverse(x))

    forwards, backwards = mo.MapModel(Inverse(2)), mo.MapModel(T, backwards=True)
    points = forwards.sample(30, rng=4)
    assert np.allclose(points, backwards.sample(30, rng=4))
    assert np.allclose(forwards.log_density(points), backwards.log_density(points))


def test_a_model_has_the_reference_that_it_is_given():
    _, T = affine(2)
    reference = mo.Banana()
    model = mo.MapModel(T, reference=reference)
    y = model.sample(40, rng=2)
    assert np.allclose(y, T(reference.sample(40, rng=2)))
    x = T.inverse(y)
    assert np.allclose(model.log_density(y), reference.log_density(x) - T.log_det(x))


def test_a_map_without_an_inverse_samples_but_says_that_it_has_no_density():
    class OneWay(Map):
        def _forward(self, x):
            return x + 1

    model = mo.MapModel(OneWay(2))
    assert model.sample(7, rng=0).shape == (7, 2)
    with pytest.raises(NotImplementedError, match=r"inverse|density"):
        model.log_density(np.zeros((2, 2)))


def test_models_pickle_and_repeat_with_the_seed():
    model = fit_affine(affine(2)[0], None)
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.sample(5, rng=1), model.sample(5, rng=np.random.default_rng(1)))
    assert not np.array_equal(model.sample(5, rng=1), model.sample(5, rng=2))
    assert model.sample(5).shape == (5, 2)


def test_references_are_checked():
    _, T = affine(2)
    for bad in (mo.StandardNormal(3), "normal"):
        with pytest.raises((TypeError, ValueError), match="reference"):
            mo.MapModel(T, reference=bad)


def test_wrong_models_are_named():
    _, T = affine(2)
    with pytest.raises(TypeError, match="T "):
        mo.MapModel(lambda x: x)
    model = mo.MapModel(T)
    for n in (-1, 2.5, "a", True):
        with pytest.raises((TypeError, ValueError), match="n "):
            model.sample(n)
    with pytest.raises((TypeError, ValueError), match="rng"):
        model.sample(3, rng="seed")


def test_wrong_points_are_named():
    for model in (mo.MapModel(affine(2)[1]), mo.MapModel(affine(2)[1], backwards=True)):
        for bad in (np.zeros((2, 3)), np.full((2, 2), np.nan), "text"):
            with pytest.raises((TypeError, ValueError), match="x must"):
                model.log_density(bad)


# --- copying ----------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 9])
def test_copy_ratio_is_its_definition(dim, rng):
    x, training, fresh = (rng.standard_normal((n, dim)) for n in (30, 41, 52))
    near = NearestNeighbors(n_neighbors=1).fit(training)
    expected = np.median(near.kneighbors(x)[0]) / np.median(near.kneighbors(fresh)[0])
    assert isinstance(mo.copy_ratio(x, training, fresh), float)
    assert np.isclose(mo.copy_ratio(x, training, fresh), expected)
    assert np.isclose(mo.copy_ratio(7e3 * x + 1, 7e3 * training + 1, 7e3 * fresh + 1), expected)
    clouds = (cloud.astype("f4") for cloud in (x, training, fresh))
    assert np.isclose(mo.copy_ratio(*clouds), expected, rtol=1e-4)
    assert np.isclose(mo.copy_ratio(x.tolist(), training.tolist(), fresh.tolist()), expected)


def test_copies_have_ratio_zero_and_unseen_samples_one(rng):
    training, fresh, x = rng.standard_normal((3, 4000, 2))
    assert mo.copy_ratio(training[:50], training, fresh) == 0
    assert abs(mo.copy_ratio(x, training, fresh) - 1) < 0.1


def test_wrong_copies_are_named(rng):
    x, training, fresh = rng.standard_normal((3, 20, 2))
    clouds = {"x": x, "training": training, "fresh": fresh}
    for name in clouds:
        for bad in (np.full((4, 2), np.nan), "text", np.empty((0, 2))):
            with pytest.raises((TypeError, ValueError), match=name):
                mo.copy_ratio(**clouds | {name: bad})
        with pytest.raises(ValueError, match="shape"):
            mo.copy_ratio(**clouds | {name: np.zeros((3, 3))})
    with pytest.raises(ValueError, match="fresh"):  # not unseen: no nan, no infinity
        mo.copy_ratio(x, training, training)


@pytest.mark.parametrize("dim", [1, 2, 9])
def test_nearest_neighbours_against_scikit_learn(dim, rng):
    x, y = rng.standard_normal((40, dim)), rng.standard_normal((40, dim)) + 0.7
    both = np.concatenate([x, y])
    nearest = NearestNeighbors(n_neighbors=2).fit(both).kneighbors(both)[1][:, 1]
    expected = np.mean((nearest < 40) == (np.arange(80) < 40))
    found = mo.nearest_neighbour_accuracy(x, y)
    assert isinstance(found, float) and found == expected
    assert mo.nearest_neighbour_accuracy(y, x) == expected
    assert mo.nearest_neighbour_accuracy(rng.permutation(x), rng.permutation(y)) == expected
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    assert mo.nearest_neighbour_accuracy(5 * x @ turn + 2, 5 * y @ turn + 2) == expected
    assert mo.nearest_neighbour_accuracy(x.tolist(), y.tolist()) == expected


def test_nearest_neighbours_of_one_law_and_of_two(rng):
    x, y = rng.standard_normal((2, 3000, 2))
    assert abs(mo.nearest_neighbour_accuracy(x, y) - 0.5) < 0.03
    assert mo.nearest_neighbour_accuracy(x, y + 100) == 1


def test_exact_copies_count_as_of_the_other_cloud(rng):
    x = rng.standard_normal((30, 2))
    assert mo.nearest_neighbour_accuracy(x, x) == 0
    assert mo.nearest_neighbour_accuracy(x, rng.permutation(x)) == 0
    thrice = np.repeat(x, 3, axis=0)
    assert mo.nearest_neighbour_accuracy(thrice, thrice) == 0  # each has copies at home, too
    assert mo.nearest_neighbour_accuracy(np.zeros((50, 2)), np.zeros((50, 2))) == 0
    assert mo.nearest_neighbour_accuracy(thrice, thrice + 100) == 1
    half = np.concatenate([x[:15], x[15:] + 100])
    low = mo.nearest_neighbour_accuracy(x, half)
    assert low == mo.nearest_neighbour_accuracy(half, x) and low <= 0.5


def test_wrong_neighbours_are_named(rng):
    x = rng.standard_normal((20, 2))
    with pytest.raises(ValueError, match="same"):
        mo.nearest_neighbour_accuracy(x, x[:-1])
    for bad in (np.zeros((20, 3)), np.full((20, 2), np.inf), "text", np.empty((0, 2))):
        with pytest.raises((TypeError, ValueError), match=r"\b[xy]\b"):
            mo.nearest_neighbour_accuracy(x, bad)
    with pytest.raises(ValueError):
        mo.nearest_neighbour_accuracy(np.zeros((20, 2)), np.full((20, 2), np.nan))
    with pytest.raises(ValueError, match="x"):
        mo.nearest_neighbour_accuracy([[0.0]], [[1.0]])  # the other point is all that there is


# --- the loop ---------------------------------------------------------


def test_a_record_for_each_case():
    records = run({"affine": fit_affine, "noise": fit_noise, "broken": fit_nothing})
    cases = {(r["target"], r["method"], r["repeat"]) for r in records}
    names = ("affine", "noise", "broken")
    assert cases == {(t, m, k) for t in ("banana", "normal") for m in names for k in (0, 1)}
    assert len(records) == 12
    for record in records:
        if record["method"] == "broken":
            assert record["error"] == "ValueError: no fit today"
            assert FIELDS - record.keys() - {"seconds"} == {
                "kl",
                "sliced_w2",
                "energy_distance",
                "copy_ratio",
            }
            continue
        assert set(record) == FIELDS
        assert (record["kl"] is None) == (record["method"] == "noise")
        assert record["seconds"] >= 0
        assert all(np.isfinite(record[name]) for name in ("sliced_w2", "energy_distance", "copy_ratio"))


@pytest.mark.jit
def test_the_true_law_is_as_good_as_fresh_samples():
    target = mo.Banana()
    records = run({"truth": TrueLaw(target), "copies": fit_copies}, {"banana": target}, n=500, repeats=4)
    truth = [r for r in records if r["method"] == "truth"]
    assert all(abs(r["kl"]) < 1e-12 for r in truth)
    assert abs(np.mean([r["copy_ratio"] for r in truth]) - 1) < 0.15
    assert all(r["copy_ratio"] == 0 for r in records if r["method"] == "copies")
    floor = mo.noise_floor(target, 500, mo.sliced_w2, repeats=10)
    assert np.mean([r["sliced_w2"] for r in truth]) < 2 * floor.mean


@pytest.mark.jit
def test_kl_is_the_kl_of_gaussians():
    """Log rho - log model, the mean over unseen samples: for N(0, 1) by N(m, 1) this is m^2 / 2."""

    class Shifted(mo.StandardNormal):
        def log_density(self, x):
            return super().log_density(np.asarray(x) - 2)

    records = run({"shifted": TrueLaw(Shifted(1))}, {"normal": mo.StandardNormal(1)}, n=4000, repeats=2)
    assert np.allclose([r["kl"] for r in records], 2, atol=4.5 * 2 / np.sqrt(4000))


def test_the_loop_repeats_with_the_seed_and_repeats_differ():
    methods = {"noise": fit_noise, "kde": fit_kde}
    once = without_time(run(methods, rng=3))
    assert once == without_time(run(methods, rng=3))
    assert once != without_time(run(methods, rng=4))
    assert once[0]["sliced_w2"] != once[1]["sliced_w2"]


def test_a_case_depends_on_positions_and_seed_alone():
    short = without_time(run({"noise": fit_noise}))
    long = without_time(run({"noise": fit_noise, "broken": fit_nothing}, repeats=3))
    kept = [r for r in long if r["method"] == "noise" and r["repeat"] < 2]
    assert short == kept


def test_methods_do_not_share_their_random_numbers():
    first, second = run({"a": fit_noise, "b": fit_noise}, {"normal": mo.StandardNormal(2)}, repeats=1)
    assert first["sliced_w2"] != second["sliced_w2"]


def test_threads_give_the_same_numbers_in_the_same_order():
    methods = {"noise": fit_noise, "kde": fit_kde, "broken": fit_nothing}
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        assert without_time(run(methods, executor=executor)) == without_time(run(methods))


@pytest.mark.jit
def test_processes_give_the_same_numbers_in_the_same_order():
    from multiprocessing import get_context

    methods = {"noise": fit_noise, "broken": fit_nothing}
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert without_time(run(methods, executor=executor)) == without_time(run(methods))


def test_own_measures_replace_the_others():
    shapes = []

    def spread(model, target, training, test, fresh, rng):
        shapes.append((training.shape, test.shape, fresh.shape))
        assert not np.array_equal(training, test) and not np.array_equal(test, fresh)
        return float(model.sample(10, rng).std() + fresh.std())

    records = run({"noise": fit_noise}, measures={"spread": spread})
    assert all(set(r) == {"target", "method", "repeat", "seconds", "spread"} for r in records)
    assert shapes == [((60, 2),) * 3] * 4


def test_models_get_the_same_training_data():
    seen = {}

    def remember(name):
        def fit(y, rng):
            seen.setdefault(name, []).append(y.copy())
            y += 1  # a method that spoils its data must not spoil them for the next
            return Points(y)

        return fit

    run({"a": remember("a"), "b": remember("b")})
    assert all(np.array_equal(a, b) for a, b in zip(seen["a"], seen["b"], strict=True))


class NoLaw:
    dim = 2


@pytest.mark.parametrize(
    "options, name",
    [
        ({"methods": {}}, "methods"),
        ({"methods": [fit_kde]}, "methods"),
        ({"methods": {"kde": "text"}}, "kde|methods"),
        ({"targets": {}}, "targets"),
        ({"targets": mo.Banana()}, "targets"),
        ({"targets": {"banana": NoLaw()}}, "banana|targets"),
        ({"n": 0}, "n "),
        ({"n": 10.5}, "n "),
        ({"repeats": 0}, "repeats"),
        ({"repeats": True}, "repeats"),
        ({"measures": {"spread": 3}}, "spread|measures"),
        ({"measures": [max]}, "measures"),
        ({"rng": "seed"}, "rng"),
        ({"executor": "processes"}, "executor"),
    ],
)
def test_wrong_loops_are_named(options, name):
    options = {"methods": {"kde": fit_kde}, "targets": {"banana": mo.Banana()}, "n": 20} | options
    with pytest.raises((TypeError, ValueError), match=name):
        mo.leaderboard(options.pop("methods"), options.pop("targets"), progress=False, **options)


def test_no_dask_and_no_scikit_learn_before_they_are_used():
    code = (
        "import sys, mini_ot as mo; mo.leaderboard; mo.copy_ratio; mo.metropolis; mo.BananaProblem; "
        "heavy = {'dask', 'distributed', 'sklearn', 'torch'} & set(sys.modules); assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- kernel sums in chunks --------------------------------------------

dask_array = pytest.importorskip("dask.array")
KERNELS = [mo.Gaussian(0.7), mo.Energy(), mo.Laplace(1.0), mo.InverseMultiquadric(0.5)]


@pytest.mark.jit
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("dim", [1, 3])
def test_chunks_add_up(kernel, dim, rng):
    x, y = rng.standard_normal((53, dim)), rng.standard_normal((38, dim))
    for chunk in (7, 38, 1000):
        mean = mo.chunked.kernel_mean(x, y, kernel=kernel, chunk=chunk)
        gradient = mo.chunked.kernel_gradient(x, y, kernel=kernel, chunk=chunk)
        assert isinstance(mean, dask_array.Array) and isinstance(gradient, dask_array.Array)
        assert mean.shape == (53,) and gradient.shape == (53, dim)
        assert np.allclose(mean.compute(), kernel.mean(x, y), rtol=1e-10)
        assert np.allclose(gradient.compute(), kernel.gradient(x, y), rtol=1e-10, atol=1e-14)
        for unbiased in (True, False):
            whole = mo.mmd2(x, y, kernel=kernel, unbiased=unbiased)
            parts = mo.chunked.mmd2(x, y, kernel=kernel, unbiased=unbiased, chunk=chunk)
            assert isinstance(parts, float) and np.isclose(parts, whole, rtol=1e-9, atol=1e-13)
            assert np.isclose(
                parts, mo.chunked.mmd2(y, x, kernel=kernel, unbiased=unbiased, chunk=chunk), atol=1e-13
            )


def test_chunks_against_brute_force(rng):
    x, y = rng.standard_normal((20, 2)), rng.standard_normal((31, 2))
    table = np.exp(-(cdist(x, y) ** 2) / (2 * 0.7**2))
    found = mo.chunked.kernel_mean(x, y, kernel=mo.Gaussian(0.7), chunk=6).compute()
    assert np.allclose(found, table.mean(axis=1))
    mixture = mo.Mixture([mo.Gaussian(0.7), mo.Energy()])
    assert np.isclose(
        mo.chunked.mmd2(x, y, kernel=mixture, chunk=6), mo.mmd2(x, y, kernel=mixture), atol=1e-13
    )


def test_chunks_of_dask_arrays_float32_and_lists(rng):
    x, y = rng.standard_normal((40, 2)), rng.standard_normal((30, 2))
    kernel = mo.Gaussian(0.5)
    expected = kernel.mean(x, y)
    lazy = dask_array.from_array(x, chunks=(11, 1)), dask_array.from_array(y, chunks=(13, 2))
    assert np.allclose(mo.chunked.kernel_mean(*lazy, kernel=kernel, chunk=9).compute(), expected)
    assert np.allclose(mo.chunked.kernel_mean(x, lazy[1], kernel=kernel).compute(), expected)
    assert np.isclose(mo.chunked.mmd2(*lazy, kernel=kernel, chunk=9), mo.mmd2(x, y, kernel=kernel))
    assert np.allclose(mo.chunked.kernel_mean(x.tolist(), y.tolist(), kernel=kernel).compute(), expected)
    single = mo.chunked.kernel_mean(x.astype("f4"), y.astype("f4"), kernel=kernel)
    assert single.dtype == np.float32 == single.compute().dtype
    assert np.allclose(single.compute(), expected, rtol=1e-4)


@pytest.mark.jit
def test_chunks_do_not_depend_on_the_scheduler(rng):
    import dask

    x, y = rng.standard_normal((200, 3)), rng.standard_normal((170, 3))
    values = []
    for options in ({"scheduler": "synchronous"}, {"scheduler": "threads", "num_workers": 4}):
        with dask.config.set(**options):
            values.append(
                (
                    mo.chunked.mmd2(x, y, kernel=mo.Energy(), chunk=23),
                    mo.chunked.kernel_gradient(x, y, kernel=mo.Gaussian(1.0), chunk=23).compute().tobytes(),
                )
            )
    assert values[0] == values[1]  # to the last bit


@pytest.mark.parametrize("name", ["kernel_mean", "kernel_gradient", "mmd2"])
def test_wrong_chunks_are_named(name, rng):
    function = getattr(mo.chunked, name)
    good = {"x": rng.standard_normal((9, 2)), "y": rng.standard_normal((8, 2)), "kernel": mo.Gaussian(1.0)}
    wrong = [("kernel", "gaussian"), ("kernel", None), ("chunk", 0), ("chunk", 2.5), ("chunk", True)]
    wrong += [(key, bad) for key in "xy" for bad in ("text", np.zeros((5, 3)), np.empty((0, 2)))]
    wrong += [(key, np.full((5, 2), np.nan)) for key in "xy"]
    for key, bad in wrong:
        with pytest.raises((TypeError, ValueError), match=rf"\b{key}\b"):
            found = function(**good | {key: bad})
            getattr(found, "compute", float)()  # at the latest when it is computed
    if name == "mmd2":
        for bad in (rng.standard_normal((1, 2)),):
            with pytest.raises(ValueError, match="x"):
                function(**good | {"x": bad})


def test_without_dask_there_is_an_error_that_says_what_to_install():
    code = (
        "import sys; sys.modules['dask'] = None; sys.modules['dask.array'] = None\n"
        "import mini_ot as mo\n"
        "try:\n    mo.chunked.mmd2([[0.0], [1.0]], [[0.0], [2.0]], kernel=mo.Energy())\n"
        "except ImportError as error:\n    assert 'mini-ot[cluster]' in str(error), error\n"
        "else:\n    raise AssertionError('no error')\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
