"""The loop over methods and targets, and the checks against copying, beside independent answers."""

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import mini_ot as mo


def affine(y, rng):
    return mo.MapModel(mo.affine_map(y), backwards=True)


def forwards(y, rng):
    return mo.MapModel(mo.affine_map(mo.StandardNormal(y.shape[1]).sample(len(y), rng=rng), y))


def density(y, rng):
    return mo.kde(y)


def training_set(y, rng):
    class Hand:
        def sample(self, n, rng):
            return y[rng.integers(len(y), size=n)]

    return Hand()


def broken(y, rng):
    raise ValueError("no such luck")


METHODS = {"affine": affine, "forwards": forwards, "kde": density, "copies": training_set, "broken": broken}
TARGETS = {"banana": mo.Banana(), "ring": mo.RingOfGaussians()}


def without_seconds(records):
    return [{k: v for k, v in r.items() if k != "seconds"} for r in records]


# --- models ---------------------------------------------------------------------------------------------


def test_a_model_forwards_and_backwards_is_the_same_law():
    """An affine map A from N(0, I) makes N(b, A A'); its inverse, used backwards, makes the same."""
    T = mo.maps.AffineMap([[2.0, 0.0], [1.0, 0.5]], [1.0, -1.0])
    back = mo.maps.AffineMap(np.linalg.inv(T.matrix), -np.linalg.solve(T.matrix, T.shift))
    known = mo.GaussianMixture([T.shift], [T.matrix @ T.matrix.T])
    points = np.random.default_rng(0).normal(size=(20, 2))
    one, other = mo.MapModel(T), mo.MapModel(back, backwards=True)
    for model in (one, other):
        np.testing.assert_allclose(model.log_density(points), known.log_density(points), rtol=1e-12)
    np.testing.assert_allclose(one.sample(50, rng=3), other.sample(50, rng=3), rtol=1e-12)
    assert np.abs(one.sample(20_000, rng=4).mean(axis=0) - T.shift).max() < 0.05


def test_a_model_may_have_another_reference():
    shifted = mo.GaussianMixture([[5.0, 5.0]], [np.eye(2)])
    model = mo.MapModel(mo.maps.AffineMap(np.eye(2), [0.0, 0.0]), reference=shifted)
    assert np.abs(model.sample(2000, rng=0).mean(axis=0) - 5).max() < 0.2
    assert pickle.loads(pickle.dumps(model)).dim == 2


def test_a_map_without_inverse_gives_samples_and_says_why_no_density():
    x, y = mo.StandardNormal().sample(100, rng=0), mo.TwoMoons().sample(100, rng=1)
    model = mo.MapModel(mo.sliced_mmd_flow(x, y, steps=3, rng=0))
    assert model.sample(10, rng=0).shape == (10, 2)
    with pytest.raises(NotImplementedError):
        model.log_density(y)


# --- copies ---------------------------------------------------------------------------------------------


def test_copy_ratio_tells_copies_from_fresh_samples():
    training, fresh, other = (mo.Pinwheel().sample(2000, rng=k) for k in range(3))
    assert mo.copy_ratio(training, training, fresh) == 0.0
    assert 0.9 < mo.copy_ratio(other, training, fresh) < 1.1
    assert mo.copy_ratio(training + 1e-4, training, fresh) < 0.05


def test_copy_ratio_against_all_distances_and_in_any_unit():
    rng = np.random.default_rng(0)
    x, training, fresh = rng.normal(size=(40, 3)), rng.normal(size=(50, 3)), rng.normal(size=(31, 3))

    def median(cloud):
        return np.median(np.linalg.norm(cloud[:, None] - training, axis=2).min(axis=1))

    ratio = mo.copy_ratio(x, training, fresh)
    assert ratio == pytest.approx(median(x) / median(fresh), rel=1e-12)
    assert mo.copy_ratio(7 * x, 7 * training, 7 * fresh) == pytest.approx(ratio, rel=1e-12)


def test_nearest_neighbour_accuracy_against_scikit_learn():
    x, y = mo.Banana().sample(300, rng=0), mo.Banana().sample(300, rng=1) + [0.5, 0.0]
    pool, label = np.concatenate([x, y]), np.repeat([0, 1], 300)
    right = 0
    for i in range(600):
        rest = np.delete(np.arange(600), i)
        nearest = KNeighborsClassifier(1).fit(pool[rest], label[rest])
        right += nearest.predict(pool[i : i + 1])[0] == label[i]
    assert mo.nearest_neighbour_accuracy(x, y) == right / 600 == mo.nearest_neighbour_accuracy(y, x)


def test_nearest_neighbour_accuracy_at_its_ends():
    x, y = mo.Banana().sample(1000, rng=0), mo.Banana().sample(1000, rng=1)
    assert abs(mo.nearest_neighbour_accuracy(x, y) - 0.5) < 0.05
    assert mo.nearest_neighbour_accuracy(x, x + 100) == 1.0
    assert mo.nearest_neighbour_accuracy(x, x) == 0.0  # nothing but copies
    assert mo.nearest_neighbour_accuracy(x, x[::-1] + 1e-9) < 0.01


# --- the loop -------------------------------------------------------------------------------------------


def test_records_of_all_cases_in_order():
    records = mo.leaderboard(METHODS, TARGETS, n=200, repeats=2, rng=0)
    cases = [(r["target"], r["method"], r["repeat"]) for r in records]
    assert cases == [(t, m, k) for t in TARGETS for m in METHODS for k in range(2)]
    for r in records:
        if r["method"] == "broken":
            assert r["error"] == "ValueError: no such luck" and "kl" not in r
        else:
            assert r["seconds"] >= 0 and "error" not in r
            assert (r["kl"] is None) == (r["method"] == "copies")
            assert (r["copy_ratio"] < 0.1) == (r["method"] == "copies")


def test_the_loop_by_hand():
    """With the samples that the methods were given, the measures are those of the package."""
    given = {}

    def keep(model, target, training, test, fresh, rng):
        given.update(model=model, training=training, test=test, fresh=fresh)
        return 0.0

    mo.leaderboard(
        {"affine": affine}, {"banana": mo.Banana()}, n=150, repeats=1, rng=5, measures={"keep": keep}
    )
    (r,) = mo.leaderboard({"affine": affine}, {"banana": mo.Banana()}, n=150, repeats=1, rng=5)
    test, model = given["test"], given["model"]
    assert {len(given[k]) for k in ("training", "test", "fresh")} == {150}
    assert not np.isin(test, given["training"]).any() and not np.isin(test, given["fresh"]).any()
    np.testing.assert_array_equal(
        model.T(given["training"]), mo.affine_map(given["training"])(given["training"])
    )
    assert r["kl"] == pytest.approx(
        (mo.Banana().log_density(test) - model.log_density(test)).mean(), abs=1e-12
    )


def test_methods_see_the_same_samples_and_repeats_others():
    seen = []

    def spy(y, rng):
        seen.append(y)
        return mo.kde(y)

    mo.leaderboard({"one": spy, "two": spy}, {"banana": mo.Banana()}, n=50, repeats=2)
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[1], seen[3])
    assert not np.isin(seen[0], seen[1]).any()


def test_adding_a_method_at_the_end_changes_no_other():
    few = dict(list(METHODS.items())[:2])
    a = mo.leaderboard(few, TARGETS, n=100, repeats=2, rng=1)
    b = mo.leaderboard(METHODS, TARGETS, n=100, repeats=2, rng=1)
    assert without_seconds(a) == without_seconds([r for r in b if r["method"] in few])


@pytest.mark.jit
def test_a_process_pool_gives_the_same_records():
    alone = mo.leaderboard(METHODS, TARGETS, n=100, repeats=2, rng=3)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        far = mo.leaderboard(METHODS, TARGETS, n=100, repeats=2, rng=3, executor=pool)
        assert pool.submit(sum, [1, 2]).result() == 3  # it is left open
    assert without_seconds(far) == without_seconds(alone)


def test_same_seed_same_records_and_threads_do_not_matter():
    a, b, other = (mo.leaderboard({"kde": density}, TARGETS, n=80, repeats=2, rng=seed) for seed in (7, 7, 8))
    with ThreadPoolExecutor(2) as pool:
        c = mo.leaderboard({"kde": density}, TARGETS, n=80, repeats=2, rng=7, executor=pool)
    assert without_seconds(a) == without_seconds(b) == without_seconds(c) != without_seconds(other)


def test_interrupted_it_returns_the_records_so_far():
    calls = []

    def impatient(y, rng):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return mo.kde(y)

    with pytest.warns(UserWarning, match="2 of 5"):
        records = mo.leaderboard({"kde": impatient}, {"banana": mo.Banana()}, n=50, repeats=5)
    assert len(records) == 2


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: mo.MapModel("T"), TypeError, "T must be a Map"),
        (lambda: mo.MapModel(mo.affine_map([[0.0], [1.0]]), reference=3), TypeError, "reference"),
        (lambda: mo.MapModel(mo.affine_map([[0.0], [1.0]])).sample(0), ValueError, "n must"),
        (lambda: mo.copy_ratio([[0.0]], [[0.0, 1.0]], [[1.0, 1.0]]), ValueError, "x must"),
        (lambda: mo.copy_ratio([[0.0]], [[1.0]], [[1.0]]), ValueError, "fresh must not"),
        (lambda: mo.copy_ratio([[np.nan]], [[1.0]], [[2.0]]), ValueError, "x must be finite"),
        (lambda: mo.nearest_neighbour_accuracy([[0.0]], [[1.0]]), ValueError, "x must"),
        (lambda: mo.nearest_neighbour_accuracy(np.eye(2), np.eye(3)[:, :2]), ValueError, "same number"),
        (lambda: mo.leaderboard({}, TARGETS), TypeError, "methods must"),
        (lambda: mo.leaderboard([affine], TARGETS), TypeError, "methods must"),
        (lambda: mo.leaderboard({"a": 3}, TARGETS), TypeError, "'a'"),
        (lambda: mo.leaderboard(METHODS, {"b": object()}), TypeError, "targets must"),
        (lambda: mo.leaderboard(METHODS, TARGETS, repeats=0), ValueError, "repeats"),
        (lambda: mo.leaderboard(METHODS, TARGETS, n=True), TypeError, "n must"),
        (lambda: mo.leaderboard(METHODS, TARGETS, measures={}), TypeError, "measures"),
        (lambda: mo.leaderboard(METHODS, TARGETS, executor=3), TypeError, "executor"),
        (lambda: mo.leaderboard(METHODS, TARGETS, rng="x"), TypeError, "rng"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
