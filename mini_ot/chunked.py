"""Kernel sums and the MMD in blocks, run by Dask: in several processes, or on several machines.

It is the module ``mo.chunked``, and needs ``pip install "mini-ot[cluster]"``; see the page *Outgrowing one
machine*.  Every block is at most `chunk` x `chunk` pairs, one task, and the same compiled loop as in one
process, in O(chunk) memory.  The blocks and the tree by which their sums are added depend only on the numbers
of points and on `chunk`.  So the result is the same to the last bit on any number of workers, also when one
of them is lost and its blocks are computed again.

Where several workers share a machine, start them with ``MINI_OT_NUM_THREADS=1``: each would else use all
cores.  In one process, Dask's default without a client, all tasks share one pool of as many threads as cores.
"""

from functools import partial

import numpy as np

from . import _pairs
from ._pairs import double_sum
from ._validate import count, samples
from .mmd import _checked

try:
    import dask.array as da
    from dask.base import tokenize
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph
except ImportError as missing:
    raise ImportError('mini_ot.chunked needs Dask: pip install "mini-ot[cluster]"') from missing

_TOGETHER = 8  # sums that one task adds up


def kernel_mean(x, y, *, kernel, chunk: int = 50_000) -> da.Array:
    """Return mean_j k(x_i, y_j) lazily: ``kernel.mean(x, y)`` to rounding.

    Parameters
    ----------
    x, y : array_like or dask.array.Array, shapes (n, d) and (m, d)
        Dask arrays are cut anew into blocks of `chunk` rows.  Whether their numbers are finite is seen when
        they are computed, and the ValueError comes then.
    kernel : Gaussian, Laplace, InverseMultiquadric, Energy or Mixture
    chunk : int
        Rows of a block.  A task is chunk^2 pairs: by default about a second; Dask itself costs a millisecond.

    Returns
    -------
    dask.array.Array, shape (n,)
        float32 if both clouds are, else float64.

    Examples
    --------
    >>> import mini_ot as mo
    >>> mean = mo.chunked.kernel_mean([[0.0], [3.0]], [[0.0], [4.0], [5.0]], kernel=mo.Energy(), chunk=2)
    >>> mean.compute().tolist()
    [-3.0, -2.0]
    """
    return _means(_pairs.values, x, y, kernel, chunk)


def kernel_gradient(x, y, *, kernel, chunk: int = 50_000) -> da.Array:
    """Return mean_j grad_x k(x_i, y_j) lazily, shape (n, d): ``kernel.gradient(x, y)`` to rounding.

    Parameters and errors are those of :func:`mini_ot.chunked.kernel_mean`.

    Examples
    --------
    >>> import mini_ot as mo
    >>> slope = mo.chunked.kernel_gradient([[1.0]], [[0.0], [2.0], [3.0]], kernel=mo.Energy(), chunk=2)
    >>> slope.compute().round(12).tolist()
    [[0.333333333333]]
    """
    return _means(_pairs.gradients, x, y, kernel, chunk)


def mmd2(x, y, *, kernel, unbiased: bool = True, chunk: int = 50_000) -> float:
    """Return the squared MMD of two clouds: ``mo.mmd2(x, y, kernel=kernel)`` to rounding.

    Parameters
    ----------
    x, y : array_like or dask.array.Array, shapes (n, d) and (m, d)
        Samples; at least two each for the unbiased estimate.
    kernel : Gaussian, Laplace, InverseMultiquadric, Energy or Mixture
    unbiased : bool
        As in :func:`mini_ot.mmd2`.
    chunk : int
        Rows of a block.  Each pair of points of one cloud is computed once.

    Returns
    -------
    float
        Computed at once, by the client that is there or else in threads of this process.

    Examples
    --------
    >>> import mini_ot as mo
    >>> round(mo.chunked.mmd2([[0.0], [0.0]], [[1.0], [1.0]], kernel=mo.Energy(), chunk=1), 12)
    2.0
    """
    kernel, (x, y) = _checked(kernel), _clouds(x, y, chunk, at_least=2 if unbiased else 1)
    (n, m), own, graph = (len(x), len(y)), int(unbiased), _Graph(x, y, kernel)
    total, p, q = partial(double_sum, kernel), _keys(x), _keys(y)

    def within(blocks):
        once = [graph.task(total, block) for block in blocks]
        pairs = [graph.task(total, a, b) for i, a in enumerate(blocks) for b in blocks[:i]]
        return graph.added(once + pairs + pairs)

    between = graph.added([graph.task(total, a, b) for a in p for b in q])
    last = graph.task(list, [within(p), within(q), between], key=graph.name)
    xx, yy, xy = Delayed(last, graph.built()).compute()
    if not unbiased:
        xx, yy = xx + n * kernel.at_zero, yy + m * kernel.at_zero
    return float(xx / (n * (n - own)) + yy / (m * (m - own)) - 2 * xy / (n * m))


def _means(sums, x, y, kernel, chunk):
    kernel, (x, y) = _checked(kernel), _clouds(x, y, chunk)
    graph, dtype = _Graph(x, y, kernel, sums.__name__), np.result_type(x, y)
    chunks = (x.chunks[0], *(x.chunks[1:] if sums is _pairs.gradients else ()))
    block, mean = partial(_block, sums, kernel), partial(_mean, len(y), dtype)
    for i, a in enumerate(_keys(x)):
        row = graph.added([graph.task(block, a, b) for b in _keys(y)])
        graph.task(mean, row, key=(graph.name, i, 0)[: 1 + len(chunks)])
    return da.Array(graph.built(), graph.name, chunks, dtype=dtype)


def _block(sums, kernel, x, y):
    return sum(weight * sums(k.kind, k.bandwidth, x, y) for weight, k in kernel.parts)


def _mean(m, dtype, total):
    return (total / m).astype(dtype, copy=False)


class _Graph:
    """Dask's form of work: tasks by their keys.  Written by hand, since thousands of `delayed` are slow."""

    def __init__(self, x, y, kernel, *more):
        parts = [(weight, k.kind, k.bandwidth) for weight, k in kernel.parts]
        self.name = "kernel-" + tokenize(x.name, y.name, parts, *more)
        self.tasks, self.needs = {}, [x, y]

    def task(self, function, *arguments, key=None):
        key = key or (f"part-{self.name}", len(self.tasks))
        self.tasks[key] = (function, *arguments)
        return key

    def added(self, parts):
        """Add sums by a tree, so that no task waits for more than a few of them."""
        while len(parts) > 1:
            parts = [self.task(sum, parts[k : k + _TOGETHER]) for k in range(0, len(parts), _TOGETHER)]
        return parts[0]

    def built(self):
        return HighLevelGraph.from_collections(self.name, self.tasks, dependencies=self.needs)


def _keys(x):
    return [(x.name, i, 0) for i in range(x.numblocks[0])]


def _clouds(x, y, chunk, at_least=1):
    chunk = count(chunk, "chunk")
    x, y = (_cloud(cloud, name, chunk, at_least) for cloud, name in ((x, "x"), (y, "y")))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must have the same number of columns, got {x.shape[1]} and {y.shape[1]}")
    return x, y


def _cloud(x, name, chunk, at_least):
    """Return a Dask array of checked blocks of `chunk` rows; what is checked at once needs no computing."""
    if not isinstance(x, da.Array):
        return da.from_array(samples(x, name, at_least=at_least), chunks=(chunk, -1))
    wanted = f"{name} must be a Dask array of shape (n, d) with n >= {at_least}"
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{wanted} of real numbers, got dtype {x.dtype}")
    if np.isnan(x.shape).any():
        raise ValueError(f"{wanted}, got unknown chunks: call {name}.compute_chunk_sizes() first")
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or x.shape[1] == 0 or len(x) < at_least:
        raise ValueError(f"{wanted}, got shape {x.shape}")
    x = x.astype(np.float32 if x.dtype == np.float32 else np.float64).rechunk((chunk, -1))
    return x.map_blocks(_finite, label=name, meta=np.empty((0, 0), x.dtype))


def _finite(block, label, block_info):
    low, high = block_info[0]["array-location"][0]
    return samples(block, f"rows {low} to {high - 1} of {label}")
