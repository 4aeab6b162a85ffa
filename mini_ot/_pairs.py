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
Partial sums over a tile are in the precision of the points, the sum over tiles is in float64.
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from ._jit import by_rows, jit, wide_vectors

GAUSSIAN, LAPLACE, MULTIQUADRIC, ENERGY = range(4)
TILE = 1024
LOG2_E = np.log2(np.e)


def _make_exp(real, whole, mantissa, lowest, degree):
    """Build exp2 for one precision: (q, a, b) -> 2^(a q) for a q <= 0, where b is a once more.

    Split a q = k + s with k whole and |s| <= 1/2, sum a polynomial for 2^s (interpolation at Chebyshev nodes,
    relative error 2e-14 in float64, 1e-7 in float32), add k to the exponent's bits.
    Two names for one number keep the compiler from sharing the product, so that both become one instruction
    with the sum that follows.  Below 2^lowest the result stays there.
    """
    node = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)) / 2
    c = tuple(real(v) for v in np.linalg.solve(np.vander(node), 2.0**node))
    lowest, shift, magic = real(lowest), whole(mantissa), real(1.5 * 2.0**mantissa)
    short = degree == 5

    @jit(fastmath={"contract"})
    def exp2(q, a, b):
        q = min(q, lowest / a)
        shifted = q * a + magic  # adding 1.5 * 2^mantissa rounds to a whole number ...
        s = q * b - (shifted - magic)
        if short:
            p = ((((c[0] * s + c[1]) * s + c[2]) * s + c[3]) * s + c[4]) * s + c[5]
        else:
            p = ((((c[0] * s + c[1]) * s + c[2]) * s + c[3]) * s + c[4]) * s + c[5]
            p = (((p * s + c[6]) * s + c[7]) * s + c[8]) * s + c[9]
        k = whole(real(shifted).view(whole) << shift)  # ... and leaves it in the low bits
        return whole(real(p).view(whole) + k).view(real)

    return exp2


def _make_rsqrt(real, whole, guess):
    """Build t -> 1 / sqrt(t) for one precision, 0 at t = 0: a guess from the bits, and two cubic steps.

    The processor's own square root and division take five times as long.
    """
    one, half, c2, c3 = (real(v) for v in (1, 1 / 2, 3 / 8, 5 / 16))
    guess, single, huge = whole(guess), whole(1), real(np.finfo(real).max / 16)

    @jit(fastmath={"contract"})
    def rsqrt(t):
        t = min(t, huge)
        y = whole(guess - (real(t).view(whole) >> single)).view(real)
        e = one - t * y * y
        y = y + y * e * (half + e * (c2 + e * c3))
        e = one - t * y * y
        y = y + y * e * (half + e * c2)
        return y if t > 0 else real(0)

    return rsqrt


_exp2_64 = _make_exp(np.float64, np.int64, 52, -1021, 9)
_exp2_32 = _make_exp(np.float32, np.int32, 23, -125, 5)
_rsqrt_64 = _make_rsqrt(np.float64, np.uint64, 0x5FE6EB50C7B537A9)
_rsqrt_32 = _make_rsqrt(np.float32, np.uint32, 0x5F375A86)


def _exp2(q, a, b):
    return 2.0 ** (a * q)


def _rsqrt(t):
    return 1 / np.sqrt(t) if t > 0 else 0.0


def _cast(value, like):
    return value


@overload(_exp2)
def _exp2_typed(q, a, b):
    return (lambda q, a, b: _exp2_32(q, a, b)) if q == types.float32 else (lambda q, a, b: _exp2_64(q, a, b))


@overload(_rsqrt)
def _rsqrt_typed(t):
    return (lambda t: _rsqrt_32(t)) if t == types.float32 else (lambda t: _rsqrt_64(t))


@overload(_cast)
def _cast_typed(value, like):
    kind = like
    return lambda value, like: kind(value)


@jit(fastmath=True)
def _plus(total, term):
    """A sum that may be reordered; its terms may not be."""
    return total + term


@jit(fastmath={"contract"})
def _squares(t, point, y, low):
    """t[j] = |point - y[:, low + j]|^2."""
    wide_vectors()
    a, v = point[0], y[0, low : low + len(t)]
    if len(y) == 1:
        for j in range(len(t)):
            t[j] = (a - v[j]) * (a - v[j])
        return
    b, w = point[1], y[1, low : low + len(t)]
    for j in range(len(t)):
        t[j] = (a - v[j]) * (a - v[j]) + (b - w[j]) * (b - w[j])
    for k in range(2, len(y)):
        a, v = point[k], y[k, low : low + len(t)]
        for j in range(len(t)):
            t[j] += (a - v[j]) * (a - v[j])


@jit(fastmath={"contract"})
def _profile(kind, order, t, scale, again):
    """Replace |x - y|^2 by value, slope or bend (order 0, 1, 2) at r^2 = scale |x - y|^2."""
    wide_vectors()
    one, three, rate = _cast(1.0, scale), _cast(3.0, scale), _cast(-LOG2_E, scale)
    if kind == GAUSSIAN:
        rate = _cast(-0.5 * LOG2_E * scale, scale)
        for j in range(len(t)):
            t[j] = _exp2(t[j], rate, rate * again)
        if order == 1:
            for j in range(len(t)):
                t[j] = -t[j]
    elif kind == LAPLACE:
        for j in range(len(t)):
            square = t[j] * scale
            p = _rsqrt(square)
            e = _exp2(square * p, rate, rate * again)
            t[j] = e if order == 0 else -e * p if order == 1 else e * p * p * (one + p)
    elif kind == MULTIQUADRIC:
        for j in range(len(t)):
            p = _rsqrt(one + t[j] * scale)
            t[j] = p if order == 0 else -p * p * p if order == 1 else three * p * p * p * p * p
    else:
        for j in range(len(t)):
            p = _rsqrt(t[j] * scale)
            t[j] = -p * t[j] * scale if order == 0 else -p if order == 1 else p * p * p


@jit(fastmath={"contract"})
def _sum(t):
    wide_vectors()
    total = t[0] - t[0]
    for j in range(len(t)):
        total = _plus(total, t[j])
    return total


@jit(fastmath={"contract"})
def _moment(t, a, v):
    """sum_j t_j (a - v_j)."""
    wide_vectors()
    total = a - a
    for j in range(len(t)):
        total = _plus(total, t[j] * (a - v[j]))
    return total


@jit(fastmath={"contract"})
def _second_moment(t, a, v, b, w):
    """sum_j t_j (a - v_j) (b - w_j)."""
    wide_vectors()
    total = a - a
    for j in range(len(t)):
        total = _plus(total, t[j] * (a - v[j]) * (b - w[j]))
    return total


@jit(fastmath={"contract"})
def _gaussian_plane(a, b, v, w, rate, again):
    """Gaussian sum in the plane in one pass: sum_j e_j (a - v_j) and (b - w_j)."""
    wide_vectors()
    first = second = a - a
    for j in range(len(v)):
        p, q = a - v[j], b - w[j]
        e = _exp2(p * p + q * q, rate, again)
        first, second = _plus(first, e * p), _plus(second, e * q)
    return first, second


@jit(fastmath={"contract"})
def _gaussian_plane_sum(a, b, v, w, rate, again):
    """Gaussian sum in the plane in one pass: sum_j e_j."""
    wide_vectors()
    total = a - a
    for j in range(len(v)):
        p, q = a - v[j], b - w[j]
        total = _plus(total, _exp2(p * p + q * q, rate, again))
    return total


@jit
def _value_rows(start, stop, out, x, y, kind, scale, again, only_after):
    """out[i] = sum_j value(x_i, y_j), over j > i only where `only_after` is true."""
    tile = np.empty(TILE, x.dtype)
    rate = _cast(-0.5 * LOG2_E * scale, scale)
    other = rate * again
    for low in range(0, y.shape[1], TILE):
        high = min(low + TILE, y.shape[1])
        for i in range(start, stop):
            first = max(low, i + 1) if only_after else low
            if first >= high:
                continue
            if kind == GAUSSIAN and len(y) == 2:
                out[i] += _gaussian_plane_sum(
                    x[i, 0], x[i, 1], y[0, first:high], y[1, first:high], rate, other
                )
            else:
                t = tile[: high - first]
                _squares(t, x[i], y, first)
                _profile(kind, 0, t, scale, again)
                out[i] += _sum(t)


@jit
def _gradient_rows(start, stop, out, x, y, kind, scale, again):
    """out[i] = sum_j slope (x_i - y_j)."""
    tile = np.empty(TILE, x.dtype)
    rate = _cast(-0.5 * LOG2_E * scale, scale)
    other = rate * again
    for low in range(0, y.shape[1], TILE):
        high = min(low + TILE, y.shape[1])
        t = tile[: high - low]
        for i in range(start, stop):
            if kind == GAUSSIAN and len(y) == 2:
                g, h = _gaussian_plane(x[i, 0], x[i, 1], y[0, low:high], y[1, low:high], rate, other)
                out[i, 0] -= g
                out[i, 1] -= h
            else:
                _squares(t, x[i], y, low)
                _profile(kind, 1, t, scale, again)
                for k in range(len(y)):
                    out[i, k] += _moment(t, x[i, k], y[k, low:high])


@jit
def _hessian_rows(start, stop, out, x, y, kind, scale, again):
    """Lower half of out[i] = sum_j slope I + bend scale (x_i - y_j)(x_i - y_j)'."""
    slope, bend = np.empty(TILE, x.dtype), np.empty(TILE, x.dtype)
    for low in range(0, y.shape[1], TILE):
        high = min(low + TILE, y.shape[1])
        s, t = slope[: high - low], bend[: high - low]
        for i in range(start, stop):
            _squares(t, x[i], y, low)
            s[:] = t
            _profile(kind, 1, s, scale, again)
            _profile(kind, 2, t, scale, again)
            trace = _sum(s)
            for k in range(len(y)):
                for l in range(k + 1):
                    moment = _second_moment(t, x[i, k], y[k, low:high], x[i, l], y[l, low:high])
                    out[i, k, l] += moment * scale
                out[i, k, k] += trace


@jit
def _table_rows(start, stop, out, x, y, kind, scale, again):
    for i in range(start, stop):
        _squares(out[i], x[i], y, 0)
        _profile(kind, 0, out[i], scale, again)


def _in_units(h, x, y):
    """Divide by the power of two next to h, which is exact; return also that power and 1 / (rest of h)^2."""
    rest, exponent = np.frexp(h)
    unit = x.dtype.type(2.0 ** -float(exponent))
    return (
        x * unit,
        np.ascontiguousarray((y * unit).T),
        float(unit),
        x.dtype.type(1 / rest**2),
        x.dtype.type(1),
    )


def table(kind, h, x, y):
    """Return all values k(x_i, y_j), shape (n, m)."""
    u, v, _, scale, one = _in_units(h, x, y)
    out = np.empty((len(x), len(y)), x.dtype)
    by_rows(_table_rows, len(x), out.size, out, u, v, kind, scale, one)
    return out


def values(kind, h, x, y):
    """Return sum_j k(x_i, y_j), shape (n,), in float64."""
    u, v, _, scale, one = _in_units(h, x, y)
    out = np.zeros(len(x))
    by_rows(_value_rows, len(x), len(x) * len(y), out, u, v, kind, scale, one, False)
    return out


def values_after(kind, h, x):
    """Return the sum of k(x_i, x_j) over j > i, shape (n,), in float64."""
    u, v, _, scale, one = _in_units(h, x, x)
    out = np.zeros(len(x))
    by_rows(_value_rows, len(x), len(x) ** 2 // 2, out, u, v, kind, scale, one, True)
    return out


def gradients(kind, h, x, y):
    """Return sum_j grad_x k(x_i, y_j), shape (n, d), in float64."""
    u, v, unit, scale, one = _in_units(h, x, y)
    out = np.zeros(x.shape)
    by_rows(_gradient_rows, len(x), len(x) * len(y), out, u, v, kind, scale, one)
    return out * (unit * float(scale))


def hessians(kind, h, x, y):
    """Return sum_j D^2_x k(x_i, y_j), shape (n, d, d), in float64."""
    u, v, unit, scale, one = _in_units(h, x, y)
    out = np.zeros((*x.shape, x.shape[1]))
    by_rows(_hessian_rows, len(x), len(x) * len(y), out, u, v, kind, scale, one)
    lower = np.tril(out, -1)
    return (out + lower.transpose(0, 2, 1)) * (unit * unit * float(scale))


def double_sum(kernel, x, y=None) -> float:
    """Return sum_ij k(x_i, y_j); without `y` the sum of k(x_i, x_j) over i != j, from half the pairs.

    The sum with the diagonal is ``double_sum(kernel, x) + len(x) * kernel.at_zero``.
    """
    total = 0.0
    for weight, k in kernel.parts:
        if y is None:
            total += 2 * weight * values_after(k.kind, k.bandwidth, x).sum()
        else:
            total += weight * values(k.kind, k.bandwidth, x, y).sum()
    return float(total)


def times(kernel, x, y, weights):
    """Return the table of k(x_i, y_j) times `weights` (m, p), shape (n, p), in O(n p) memory."""
    rows = max(1, 2_000_000 // len(y))
    return np.concatenate([kernel(x[i : i + rows], y) @ weights for i in range(0, len(x), rows)])
