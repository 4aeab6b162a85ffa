"""Sums over all pairs of points of radial kernels: exact, in O(n) memory and in threads.

A kernel is a function of r = |x - y| / h, known here by its kind.  The loops need three functions of it:

============  ================  ====================  =====================
kind          value             slope = value' / r    bend = slope' / r
============  ================  ====================  =====================
GAUSSIAN      exp(-r^2 / 2)     -exp(-r^2 / 2)        exp(-r^2 / 2)
LAPLACE       exp(-r)           -exp(-r) / r          exp(-r) (1 + r) / r^3
MULTIQUADRIC  (1 + r^2)^(-1/2)  -(1 + r^2)^(-3/2)     3 (1 + r^2)^(-5/2)
ENERGY        -r                -1 / r                1 / r^3
============  ================  ====================  =====================

The gradient in x is slope (x - y) / h^2, the Hessian slope / h^2 I + bend (x - y)(x - y)' / h^4.
The two kernels with a kink at r = 0 get slope 0 and bend 0 there.

How it is fast: sources pass by in tiles that stay in the first-level cache; exp and 1/sqrt are written in
arithmetic that LLVM vectorises; only sums may be reordered, so the roundings that exp rests on survive.
Sums over a tile are in the precision of the points, the sum over tiles is in float64.
"""

import numpy as np

from ._jit import by_rows, jit, wide_vectors
from ._vector_math import cast, exp2, plus, root, rsqrt, vector_sum

GAUSSIAN, LAPLACE, MULTIQUADRIC, ENERGY = range(4)
VALUE, SLOPE, BEND = range(3)
TILE, BLOCK = 1024, 128
MANY_COLUMNS = 12  # from here on matrix products pay, for kernels without a kink
LOG2_E = np.log2(np.e)


@jit(fastmath={"contract"})
def _moment(t, a, v):
    """sum_j t_j (a - v_j)."""
    wide_vectors()
    total = a - a
    for j in range(len(t)):
        total = plus(total, t[j] * (a - v[j]))
    return total


@jit(fastmath={"contract"})
def _weigh(out, t, scale, a, v):
    """out_j = scale t_j (a - v_j)."""
    wide_vectors()
    for j in range(len(t)):
        out[j] = scale * t[j] * (a - v[j])


@jit(fastmath={"contract"})
def _squares(t, x, y, low):
    """t_j = |x - y_(low + j)|^2, for a point x (d,) and sources y (d, m)."""
    wide_vectors()
    a, v = x[0], y[0, low : low + len(t)]
    for j in range(len(t)):
        t[j] = (a - v[j]) * (a - v[j])
    for k in range(1, len(y)):
        a, v = x[k], y[k, low : low + len(t)]
        for j in range(len(t)):
            t[j] += (a - v[j]) * (a - v[j])


@jit(fastmath={"contract"})
def _profile(kind, order, t, scale, one):
    """Replace |x - y|^2 by value, slope or bend at r^2 = scale |x - y|^2."""
    wide_vectors()
    three, rate = cast(3.0, scale), cast(-LOG2_E, scale)
    if kind == GAUSSIAN:
        rate = cast(-0.5 * LOG2_E * scale, scale)
        sign = -one if order == SLOPE else one
        for j in range(len(t)):
            t[j] = sign * exp2(t[j], rate, rate * one)
    elif kind == LAPLACE:
        for j in range(len(t)):
            p = rsqrt(t[j] * scale)
            e = exp2(t[j] * scale * p, rate, rate * one)
            t[j] = e if order == VALUE else -e * p if order == SLOPE else e * p * p * (one + p)
    elif kind == MULTIQUADRIC:
        for j in range(len(t)):
            p = rsqrt(one + t[j] * scale)
            t[j] = p if order == VALUE else -p * p * p if order == SLOPE else three * p * p * p * p * p
    else:
        for j in range(len(t)):
            p = rsqrt(t[j] * scale)
            t[j] = -root(t[j] * scale, p) if order == VALUE else -p if order == SLOPE else p * p * p


@jit(fastmath={"contract"})
def _gaussian_plane(x, y, low, high, scale, one):
    """Return sum_j e_j and sum_j e_j (x - y_j) for the Gaussian in the plane, in one pass."""
    wide_vectors()
    rate = cast(-0.5 * LOG2_E * scale, scale)
    again = rate * one
    a, b, v, w = x[0], x[1], y[0, low:high], y[1, low:high]
    total = first = second = a - a
    for j in range(len(v)):
        p, q = a - v[j], b - w[j]
        e = exp2(p * p + q * q, rate, again)
        total, first, second = plus(total, e), plus(first, e * p), plus(second, e * q)
    return total, first, second


@jit
def _value_rows(start, stop, out, x, y, kind, scale, one, only_after):
    """out[i] = sum_j value(x_i, y_j), over j > i only where `only_after` is true."""
    tile = np.empty(TILE, x.dtype)
    for low in range(0, y.shape[1], TILE):
        high = min(low + TILE, y.shape[1])
        for i in range(start, stop):
            first = max(low, i + 1) if only_after else low
            if first >= high:
                continue
            if kind == GAUSSIAN and len(y) == 2:
                out[i] += _gaussian_plane(x[i], y, first, high, scale, one)[0]
            else:
                t = tile[: high - first]
                _squares(t, x[i], y, first)
                _profile(kind, VALUE, t, scale, one)
                out[i] += vector_sum(t)


@jit
def _gradient_rows(start, stop, out, x, y, kind, scale, one):
    """out[i] = sum_j slope (x_i - y_j)."""
    tile = np.empty(TILE, x.dtype)
    for low in range(0, y.shape[1], TILE):
        high = min(low + TILE, y.shape[1])
        t = tile[: high - low]
        for i in range(start, stop):
            if kind == GAUSSIAN and len(y) == 2:
                _, first, second = _gaussian_plane(x[i], y, low, high, scale, one)
                out[i, 0] -= first
                out[i, 1] -= second
            else:
                _squares(t, x[i], y, low)
                _profile(kind, SLOPE, t, scale, one)
                for k in range(len(y)):
                    out[i, k] += _moment(t, x[i, k], y[k, low:high])


@jit
def _hessian_rows(start, stop, out, x, y, kind, scale, one):
    """out[i] = sum_j slope I + scale bend (x_i - y_j)(x_i - y_j)', its lower half."""
    slopes, bends, tile = np.empty(TILE, x.dtype), np.empty(TILE, x.dtype), np.empty(TILE, x.dtype)
    for low in range(0, y.shape[1], TILE):
        high = min(low + TILE, y.shape[1])
        slope, bend, t = slopes[: high - low], bends[: high - low], tile[: high - low]
        for i in range(start, stop):
            _squares(slope, x[i], y, low)
            bend[:] = slope
            _profile(kind, SLOPE, slope, scale, one)
            _profile(kind, BEND, bend, scale, one)
            for k in range(len(y)):
                out[i, k, k] += vector_sum(slope)
                _weigh(t, bend, scale, x[i, k], y[k, low:high])
                for other in range(k + 1):
                    out[i, k, other] += _moment(t, x[i, other], y[other, low:high])


@jit
def _table_rows(start, stop, out, x, y, kind, scale, one):
    for i in range(start, stop):
        _squares(out[i], x[i], y, 0)
        _profile(kind, VALUE, out[i], scale, one)


@jit(fastmath={"contract"})
def _squares_of_products(t, square, squares, one):
    """Turn the products x . y_j into |x - y_j|^2, which rounding must not make negative."""
    wide_vectors()
    for j in range(len(t)):
        t[j] = max(square + squares[j] - (one + one) * t[j], one - one)


@jit
def _profile_table(t, total, square_x, square_y, kind, order, scale, one):
    """Turn a table of products into one of values or slopes, and add up its rows."""
    for i in range(len(t)):
        _squares_of_products(t[i], square_x[i], square_y, one)
        _profile(kind, order, t[i], scale, one)
        total[i] += vector_sum(t[i])


def _product_rows(start, stop, out, x, y, kind, scale, one, order):
    """The same sums for blocks of rows by matrix products: |x - y|^2 = |x|^2 + |y|^2 - 2 x . y."""
    columns, square_y = np.ascontiguousarray(y.T), (y * y).sum(axis=1)
    work = np.empty(BLOCK * TILE, x.dtype)
    for first in range(start * BLOCK, min(stop * BLOCK, len(x)), BLOCK):
        rows = slice(first, first + BLOCK)
        square_x, total = (x[rows] * x[rows]).sum(axis=1), np.zeros(len(x[rows]))
        for low in range(0, len(y), TILE):
            tile = slice(low, low + TILE)
            shape = len(total), len(square_y[tile])
            t = work[: shape[0] * shape[1]].reshape(shape)
            np.matmul(x[rows], columns[:, tile], out=t)
            _profile_table(t, total, square_x, square_y[tile], kind, order, scale, one)
            if order == SLOPE:
                out[rows] -= t @ y[tile]
        out[rows] += total[:, None] * x[rows] if order == SLOPE else total[:, None]


def _run(rows, shape, power, kind, h, x, y, *more):
    """Run one of the loops above; `power` derivatives bring as many factors `unit`.

    The loops get the number 1 as an argument: in the points' precision, and unknown to the compiler.
    """
    real = np.result_type(x, y).type
    rest, exponent = np.frexp(h)  # dividing by a power of two is exact, so the differences stay so
    unit, scale = real(2.0 ** -int(exponent)), real(1 / rest**2)
    out = np.zeros(shape, real if rows is _table_rows else np.float64)
    u, v = x.astype(real) * unit, y.astype(real) * unit
    largest, allowed = max(np.abs(u).max(), np.abs(v).max()), np.finfo(real).max ** 0.49
    if not largest < allowed:  # its square would overflow
        raise ValueError(
            f"x and y must lie within {allowed:.0e} bandwidths of 0, got {largest:.0e}; rescale them"
        )
    if rows is _product_rows:
        centre = v.mean(axis=0, dtype=np.float64).astype(real)
        blocks, u, v, more = -(-len(x) // BLOCK), u - centre, v - centre, (power,)
    else:
        blocks, v = len(x), np.ascontiguousarray(v.T)
    by_rows(rows, blocks, len(x) * len(y), out, u, v, kind, scale, real(1), *more)
    return out * (float(unit) ** power * float(scale)) if power else out


def _by_products(kind, x):
    """Whether matrix products pay.

    They round |x - y|^2 / h^2 in proportion to |x|^2 / h^2, x being centred: nothing in float64, about 1e-7
    of it in float32.  A kink at 0 would show that, so kernels that have one do not use them.
    """
    return kind in (GAUSSIAN, MULTIQUADRIC) and x.shape[1] >= MANY_COLUMNS


def table(kind, h, x, y):
    """Return all values k(x_i, y_j), shape (n, m)."""
    return _run(_table_rows, (len(x), len(y)), 0, kind, h, x, y)


def values(kind, h, x, y):
    """Return sum_j k(x_i, y_j), shape (n,), in float64."""
    if _by_products(kind, x):
        return _run(_product_rows, (len(x), 1), 0, kind, h, x, y)[:, 0]
    return _run(_value_rows, len(x), 0, kind, h, x, y, False)


def gradients(kind, h, x, y):
    """Return sum_j grad_x k(x_i, y_j), shape (n, d), in float64."""
    return _run(_product_rows if _by_products(kind, x) else _gradient_rows, x.shape, 1, kind, h, x, y)


def hessians(kind, h, x, y):
    """Return sum_j D^2_x k(x_i, y_j), shape (n, d, d), in float64."""
    out = _run(_hessian_rows, (*x.shape, x.shape[1]), 2, kind, h, x, y)
    return out + np.tril(out, -1).transpose(0, 2, 1)


def double_sum(kernel, x, y=None) -> float:
    """Return sum_ij k(x_i, y_j); without `y` the sum of k(x_i, x_j) over i != j, from half the pairs.

    The sum with the diagonal is ``double_sum(kernel, x) + len(x) * kernel.at_zero``.
    """
    total = 0.0
    for weight, k in kernel.parts:
        if y is not None:
            total += weight * values(k.kind, k.bandwidth, x, y).sum()
        elif _by_products(k.kind, x):  # all pairs, less those of a point with itself
            total += weight * (values(k.kind, k.bandwidth, x, x).sum() - len(x) * k.at_zero)
        else:
            total += 2 * weight * _run(_value_rows, len(x), 0, k.kind, k.bandwidth, x, x, True).sum()
    return float(total)
