"""Sums in blocks equal those in one piece: for all cuts, on real workers, and when one of these is killed."""

import logging
import os
import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster, as_completed, futures_of

import mini_ot as mo
from mini_ot import chunked

KERNELS = [
    mo.Gaussian(0.7),
    mo.Laplace(0.9),
    mo.InverseMultiquadric(0.5),
    mo.Energy(),
    mo.Mixture([mo.Gaussian(0.3), mo.InverseMultiquadric(2.0)], weights=[1.0, 3.0]),
]
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-13}
WAIT = 240  # seconds; long, since only a failure waits


def kernel_id(kernel):
    return type(kernel).__name__


def clouds(rng, d=2, dtype=np.float64, n=23, m=17):
    x, y = rng.standard_normal((n, d)), rng.standard_normal((m, d)) + 0.5
    return x.astype(dtype), y.astype(dtype)


@pytest.fixture
def in_order():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes with one thread each, watched over by nannies, on ports that are free."""
    settings = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "host": "127.0.0.1",
    }
    env = {"MINI_OT_NUM_THREADS": "1"}
    patient = {"distributed.comm.timeouts.connect": WAIT, "distributed.nanny.environ": env}
    with (
        dask.config.set(patient),
        LocalCluster(**settings, processes=True, silence_logs=logging.CRITICAL) as machines,
        Client(machines, timeout=WAIT) as client,
    ):
        yield client


@pytest.fixture
def client(cluster):
    cluster.wait_for_workers(2, timeout=WAIT)
    return cluster


def process_ids(client):
    return set(client.run(os.getpid).values())


# --- the numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_means_are_those_of_one_piece(kernel, d, dtype, rng, in_order):
    x, y = clouds(rng, d, dtype)
    for chunk in (7, 100):
        mean = chunked.kernel_mean(x, y, kernel=kernel, chunk=chunk)
        slope = chunked.kernel_gradient(x, y, kernel=kernel, chunk=chunk)
        assert (mean.shape, mean.dtype) == ((23,), dtype)
        assert (slope.shape, slope.dtype) == ((23, d), dtype)
        mean, slope = dask.compute(mean, slope)
        assert mean.dtype == slope.dtype == dtype
        assert np.abs(mean - kernel.mean(x, y)).max() < TOLERANCE[dtype]
        assert np.abs(slope - kernel.gradient(x, y)).max() < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("kernel", KERNELS, ids=kernel_id)
def test_mmd2_is_that_of_one_piece(kernel, d, dtype, rng, in_order):
    x, y = clouds(rng, d, dtype)
    for unbiased in (True, False):
        for other in (y, x):
            ours = chunked.mmd2(x, other, kernel=kernel, unbiased=unbiased, chunk=6)
            assert isinstance(ours, float)
            assert abs(ours - mo.mmd2(x, other, kernel=kernel, unbiased=unbiased)) < TOLERANCE[dtype]


def test_any_cut_gives_the_full_table(rng, in_order):
    """Also blocks of one point, and trees of more than one storey."""
    x, y = clouds(rng)
    table = KERNELS[4](x, y)
    for chunk in (1, 2, 16, 17, 22, 23, 24):
        mean = chunked.kernel_mean(x, y, kernel=KERNELS[4], chunk=chunk).compute()
        assert np.allclose(mean, table.mean(axis=1), rtol=0, atol=1e-13)
        value = chunked.mmd2(x, y, kernel=KERNELS[4], chunk=chunk)
        assert abs(value - mo.mmd2(x, y, kernel=KERNELS[4])) < 1e-13


def test_mixed_precision_and_lists(rng, in_order):
    x, y = clouds(rng)
    mean = chunked.kernel_mean(x.astype(np.float32), y, kernel=KERNELS[0], chunk=9).compute()
    assert mean.dtype == np.float64
    assert np.allclose(mean, KERNELS[0].mean(x.astype(np.float32), y), rtol=1e-12)
    line = chunked.kernel_mean([0.0, 3.0], [0, 4, 5], kernel=mo.Energy(), chunk=2)
    assert line.compute().tolist() == [-3.0, -2.0]


def test_dask_arrays_however_cut_give_the_same_bits(rng, in_order):
    x, y = clouds(rng)
    want = chunked.kernel_gradient(x, y, kernel=KERNELS[1], chunk=5).compute()
    for cuts in ((4, 1), (23, 2), (1, 2)):
        p, q = da.from_array(x, chunks=cuts), da.from_array(y, chunks=cuts)
        assert (chunked.kernel_gradient(p, q, kernel=KERNELS[1], chunk=5).compute() == want).all()
        ours = chunked.mmd2(p, q, kernel=KERNELS[1], chunk=5)
        assert ours == chunked.mmd2(x, y, kernel=KERNELS[1], chunk=5)
    whole = da.from_array(np.arange(12).reshape(6, 2), chunks=2)  # whole numbers become float64
    assert chunked.kernel_mean(whole, y, kernel=KERNELS[1]).compute().dtype == np.float64


@pytest.mark.jit
def test_threads_give_the_same_bits_as_one(rng):
    x, y = clouds(rng, n=300, m=200)
    values = {}
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler):
            slope = chunked.kernel_gradient(x, y, kernel=KERNELS[3], chunk=20).compute()
            values[scheduler] = slope.tobytes(), chunked.mmd2(x, y, kernel=KERNELS[3], chunk=20)
    assert values["threads"] == values["synchronous"]


def test_each_block_is_loaded_once_and_each_pair_counted_once(rng, in_order, monkeypatch):
    loads, pairs = [], []

    def load(block):
        loads.append(len(block))
        return block

    def counted(kernel, x, y=None):
        pairs.append(len(x) * (len(x) - 1) // 2 if y is None else len(x) * len(y))
        return double_sum(kernel, x, y)

    double_sum = chunked.double_sum
    monkeypatch.setattr(chunked, "double_sum", counted)
    cloud = da.from_array(rng.standard_normal((23, 2)), chunks=(5, 2))
    cloud = cloud.map_blocks(load, meta=np.empty((0, 0)))
    chunked.mmd2(cloud, rng.standard_normal((17, 2)), kernel=KERNELS[0], chunk=5)
    assert sorted(loads) == [3, 5, 5, 5, 5]
    assert sum(pairs) == 23 * 22 // 2 + 17 * 16 // 2 + 23 * 17


# --- bad input ------------------------------------------------------------------------------------------

GOOD = np.zeros((4, 2))
BAD = {
    "columns": (ValueError, "number of columns, got 2 and 3", (GOOD, np.zeros((4, 3))), {}),
    "three axes": (ValueError, "y must be an array of shape", (GOOD, np.zeros((2, 2, 2))), {}),
    "nan": (ValueError, "x must be finite.*row 0", (GOOD * np.nan, GOOD), {}),
    "words": (TypeError, "x must be an array", (["a", "b"], GOOD), {}),
    "none": (ValueError, "y must be an array.*got 0 samples", (GOOD, np.zeros((0, 2))), {}),
    "kernel": (TypeError, "kernel must be one of mini_ot's", (GOOD, GOOD), {"kernel": "gaussian"}),
    "chunk 0": (ValueError, "chunk must be at least 1, got 0", (GOOD, GOOD), {"chunk": 0}),
    "chunk 2.5": (TypeError, "chunk must be a whole number", (GOOD, GOOD), {"chunk": 2.5}),
    "dask axes": (
        ValueError,
        r"y must be a Dask array.*got shape \(2, 2, 2\)",
        (GOOD, da.zeros((2, 2, 2))),
        {},
    ),
    "dask none": (ValueError, r"x must be a Dask array.*got shape \(0, 2\)", (da.zeros((0, 2)), GOOD), {}),
    "dask complex": (TypeError, "x must be.*complex", (da.zeros((4, 2), dtype=complex), GOOD), {}),
    "unknown": (ValueError, "y must be.*compute_chunk_sizes", (GOOD, da.ones(4)[da.ones(4) > 0]), {}),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("function", [chunked.kernel_mean, chunked.kernel_gradient, chunked.mmd2])
def test_bad_input(function, name):
    error, message, arguments, options = BAD[name]
    with pytest.raises(error, match=message):
        function(*arguments, **{"kernel": mo.Gaussian(1.0), **options})


def test_one_point_is_too_few_without_bias():
    for one in (GOOD[:1], da.from_array(GOOD[:1])):
        with pytest.raises(ValueError, match=r"x must be.*n >= 2"):
            chunked.mmd2(one, GOOD, kernel=mo.Energy())
        assert chunked.mmd2(one, GOOD, kernel=mo.Energy(), unbiased=False) == 0.0


def test_nan_in_a_dask_array_is_found_by_its_block(in_order):
    x = np.zeros((12, 2))
    x[7, 1] = np.nan
    mean = chunked.kernel_mean(GOOD, da.from_array(x), kernel=mo.Energy(), chunk=5)
    with pytest.raises(ValueError, match=r"rows 5 to 9 of y must be finite, got \[0.0, nan\] in row 2"):
        mean.compute()


def test_without_dask_it_says_what_to_install():
    code = (
        "import sys; sys.modules['dask'] = None; import mini_ot as mo; mo.Energy()\n"
        "try: mo.chunked\nexcept ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT)
    assert 'pip install "mini-ot[cluster]"' in done.stdout, done.stderr


def test_dask_is_loaded_only_when_asked_for():
    code = "import sys, mini_ot as mo; mo.mmd2; assert 'dask' not in sys.modules; mo.chunked.mmd2"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr


# --- on workers, and without one ------------------------------------------------------------------------


@pytest.mark.jit
def test_workers_give_the_same_bits_as_this_process(client, rng):
    assert len(process_ids(client) - {os.getpid()}) == 2
    assert set(client.run(os.getenv, "MINI_OT_NUM_THREADS").values()) == {"1"}
    x, y = clouds(rng, n=800, m=700, dtype=np.float32)
    for kernel in (KERNELS[0], KERNELS[4]):
        mean = chunked.kernel_mean(x, y, kernel=kernel, chunk=150)
        slope = chunked.kernel_gradient(x, y, kernel=kernel, chunk=150)
        value = chunked.mmd2(x, y, kernel=kernel, chunk=150)
        with dask.config.set(scheduler="synchronous"):
            assert mean.compute().tobytes() == client.compute(mean).result().tobytes()
            assert slope.compute().tobytes() == client.compute(slope).result().tobytes()
            assert value == chunked.mmd2(x, y, kernel=kernel, chunk=150)
        assert abs(value - mo.mmd2(x, y, kernel=kernel)) < 1e-6


@pytest.mark.jit
def test_a_worker_is_killed_when_the_first_blocks_are_done(client, rng):
    """It takes the blocks that it has done with it: they must be computed again."""
    x, y = clouds(rng, n=900, m=800)
    slope = chunked.kernel_gradient(x, y, kernel=KERNELS[0], chunk=150)
    with dask.config.set(scheduler="synchronous"):
        want = slope.compute()
    before = client.run(os.getpid)
    running = client.persist(slope)
    first = next(iter(as_completed(futures_of(running))))
    holder, *_ = client.who_has([first])[first.key]
    psutil.Process(before[holder]).kill()
    assert (running.compute() == want).all()
    client.wait_for_workers(2, timeout=WAIT)
    now = process_ids(client)
    assert before[holder] not in now  # the nanny has started another one
    assert len(now) == 2


@pytest.mark.jit
def test_a_worker_dies_in_the_midst_of_an_mmd(client, rng, tmp_path):
    x, y = clouds(rng, n=240, m=200)
    mark = tmp_path / "died"

    def load(block, block_info):
        if block_info[0]["chunk-location"][0] == 3 and not mark.exists():
            mark.touch()
            os._exit(1)
        return block

    fragile = da.from_array(x, chunks=(40, 2)).map_blocks(load, meta=np.empty((0, 0)))
    value = chunked.mmd2(fragile, y, kernel=KERNELS[4], chunk=40)
    assert mark.exists()
    with dask.config.set(scheduler="synchronous"):
        assert value == chunked.mmd2(x, y, kernel=KERNELS[4], chunk=40)


@pytest.mark.jit
def test_the_leaderboard_outlives_a_worker(client, tmp_path):
    mark = tmp_path / "died"

    def fragile(y, rng):
        if not mark.exists():
            mark.touch()
            os._exit(1)
        return mo.kde(y)

    methods = {"kernel density": lambda y, rng: mo.kde(y), "fragile": fragile}
    targets, options = {"banana": mo.Banana(), "moons": mo.TwoMoons()}, {"n": 100, "repeats": 2, "rng": 3}
    with client.get_executor(retries=3) as executor:
        ours = mo.leaderboard(methods, targets, **options, executor=executor, progress=False)
    assert mark.exists()
    want = mo.leaderboard(methods, targets, **options, progress=False)
    assert not [record for record in ours if "error" in record]
    assert [{**record, "seconds": 0} for record in ours] == [{**record, "seconds": 0} for record in want]
