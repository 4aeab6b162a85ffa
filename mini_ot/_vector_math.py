"""Arithmetic that LLVM vectorises, in float64 and float32: 2^x, 1/sqrt(x), and sums that may be reordered.

Numba's wheels call a scalar library for exp, and the processor's own square root and division are slow.
The names without a leading underscore are plain Python with Numba off; compiled code gets the versions
made here, chosen by the type of the argument.
Never call them under ``fastmath=True``: reordering would cancel the rounding that `exp2` rests on.
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from ._jit import jit, wide_vectors


def _make_exp(real, whole, mantissa, degree):
    """Build exp2 for one precision: (q, a, b) -> 2^(a q) for a q <= 0, where b is a once more.

    Split a q = k + s with k whole and |s| <= 1/2, sum a polynomial for 2^s (interpolation at Chebyshev nodes,
    relative error 2e-14 in float64, 1e-7 in float32), add k to the exponent's bits.
    Two names for one number keep the compiler from sharing the product, so that each becomes one instruction
    with the sum that follows.  Where the result would be subnormal it stays at the smallest normal number.
    """
    node = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)) / 2
    c = tuple(real(v) for v in np.linalg.solve(np.vander(node), 2.0**node))
    lowest, shift, magic = real(np.finfo(real).minexp + 1), whole(mantissa), real(1.5 * 2.0**mantissa)
    single = degree == 5

    @jit(fastmath={"contract"})
    def exp2(q, a, b):
        q = min(q, lowest / a)
        shifted = q * a + magic  # adding 1.5 * 2^mantissa rounds to a whole number ...
        s = q * b - (shifted - magic)
        p = ((((c[0] * s + c[1]) * s + c[2]) * s + c[3]) * s + c[4]) * s + c[5]
        if not single:
            p = (((p * s + c[6]) * s + c[7]) * s + c[8]) * s + c[9]
        k = whole(real(shifted).view(whole) << shift)  # ... and leaves it in the low bits
        return whole(real(p).view(whole) + k).view(real)

    return exp2


def _make_rsqrt(real, whole, guess):
    """Build t -> 1 / sqrt(t) for one precision, 0 at t = 0: a guess from the bits, then two cubic steps.

    The processor's own square root and division take five times as long.
    """
    one, half, c2, c3 = (real(v) for v in (1, 1 / 2, 3 / 8, 5 / 16))
    guess, one_bit, huge = whole(guess), whole(1), real(np.finfo(real).max / 16)

    @jit(fastmath={"contract"})
    def rsqrt(t):
        t = min(t, huge)
        y = whole(guess - (real(t).view(whole) >> one_bit)).view(real)
        e = one - t * y * y
        y = y + y * e * (half + e * (c2 + e * c3))
        e = one - t * y * y
        y = y + y * e * (half + e * (c2 + e * c3))
        return y if t > 0 else real(0)

    return rsqrt


_exp2_64 = _make_exp(np.float64, np.int64, 52, 9)
_exp2_32 = _make_exp(np.float32, np.int32, 23, 5)
_rsqrt_64 = _make_rsqrt(np.float64, np.uint64, 0x5FE6EB50C7B537A9)
_rsqrt_32 = _make_rsqrt(np.float32, np.uint32, 0x5F375A86)


def exp2(q, a, b):
    """2^(a q) for a q <= 0; pass a twice, under names that the compiler cannot tell to be equal."""
    return 2.0 ** (a * q)


def rsqrt(t):
    """1 / sqrt(t), and 0 at t = 0."""
    return 1 / np.sqrt(t) if t > 0 else 0.0


def cast(value, like):
    """The number `value` in the precision of `like`."""
    return value


@overload(exp2)
def _exp2_typed(q, a, b):
    return (lambda q, a, b: _exp2_32(q, a, b)) if q == types.float32 else (lambda q, a, b: _exp2_64(q, a, b))


@overload(rsqrt)
def _rsqrt_typed(t):
    return (lambda t: _rsqrt_32(t)) if t == types.float32 else (lambda t: _rsqrt_64(t))


@overload(cast)
def _cast_typed(value, like):
    real = like
    return lambda value, like: real(value)


@jit(fastmath={"contract"})
def root(t, p):
    """sqrt(t) given p = rsqrt(t), the last digit right by one step of Heron's rule."""
    r = t * p
    return r + cast(0.5, t) * p * (t - r * r)


@jit(fastmath=True)
def plus(total, term):
    """A sum that may be reordered; its terms may not be."""
    return total + term


@jit(fastmath={"contract"})
def vector_sum(t):
    """Sum of an array, in its own precision."""
    wide_vectors()
    total = t[0] - t[0]
    for j in range(len(t)):
        total = plus(total, t[j])
    return total
