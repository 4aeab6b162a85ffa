"""The package as a whole: names, import time, compiled helpers, threads."""

import os
import subprocess
import sys

import numpy as np
import pytest

import mini_ot as mo
from mini_ot import _jit


def run(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env={**os.environ, **env}
    )


def test_every_public_name_is_there_and_documented():
    for name in mo.__all__:
        thing = getattr(mo, name)
        assert (thing.__doc__ or "").strip(), f"mo.{name} has no docstring"
    assert set(mo.__all__) <= set(dir(mo))


def test_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'kdee'.*kde"):
        _ = mo.kdee


def test_import_loads_nothing_heavy():
    code = (
        "import sys, mini_ot as mo; "
        "heavy = {'numba', 'scipy', 'matplotlib', 'ipywidgets'} & set(sys.modules); "
        "assert not heavy, heavy; mo.Banana; assert 'numba' not in sys.modules"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_fast_exp_is_exp():
    t = -np.r_[np.linspace(0, 40, 501), np.linspace(40, 707, 301), 1e-12, 1e-300]
    ours = np.array([_jit.fast_exp(v) for v in t])
    assert np.abs(ours / np.exp(t) - 1).max() < 1e-14
    assert _jit.fast_exp(-709.0) == _jit.fast_exp(-np.inf) == 0.0


def test_fast_sum_and_max(rng):
    for n in (1, 2, 3, 4, 5, 511):
        v = rng.standard_normal(n)
        assert _jit.fast_max(v) == v.max()
        assert abs(_jit.fast_sum(v) - v.sum()) < 1e-12
    assert _jit.fast_max(np.full(5, -np.inf)) == -np.inf
    assert _jit.fast_max(np.array([-np.inf, 3.0])) == 3.0


def test_same_bits_for_any_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr(_jit, "_PAIRS_WORTH_A_THREAD", 100)
    x, y = rng.standard_normal((67, 2)), rng.standard_normal((53, 2))
    seen = set()
    for threads in (1, 2, 3, 8):
        monkeypatch.setattr(_jit, "num_threads", lambda threads=threads: threads)
        seen.add((mo.energy_distance(x, y), mo.kde(x).log_density(y).tobytes()))
    assert len(seen) == 1


def test_thread_count_from_the_environment():
    code = "from mini_ot._jit import num_threads; print(num_threads())"
    assert run(code, MINI_OT_NUM_THREADS="3").stdout.strip() == "3"
    assert "MINI_OT_NUM_THREADS must be" in run(code, MINI_OT_NUM_THREADS="many").stderr


def test_works_where_no_cache_can_be_written(tmp_path):
    """A read-only install without a home folder: Numba raises, the package compiles uncached."""
    code = (
        "import numba.core.caching as c; "
        "c.CacheImpl.__init__ = lambda *a: (_ for _ in ()).throw(RuntimeError('no locator')); "
        "import mini_ot as mo; print(mo.energy_distance([[0.], [0.]], [[1.], [1.]]))"
    )
    done = run(code)
    assert done.stdout.strip() == "2.0", done.stderr


@pytest.mark.jit
def test_warmup_compiles_everything_the_first_chapters_use():
    code = (
        "import mini_ot as mo; mo.warmup(); "
        "from mini_ot import _pairs, conditional, density; "
        "assert all(k.signatures for k in (density._kernel_sums, conditional._conditional_terms, "
        "_pairs._value_rows))"
    )
    assert run(code).returncode == 0


@pytest.mark.jit
def test_examples_in_docstrings():
    import doctest

    failed = tried = 0
    for name in mo._WHERE:
        result = doctest.testmod(mo._load(name))
        failed, tried = failed + result.failed, tried + result.attempted
    assert failed == 0
    assert tried > 20
