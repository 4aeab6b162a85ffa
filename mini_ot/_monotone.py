"""One component of a triangular map: a function of k variables that increases in the last of them.

f(x) = c(x_<k) + the integral from 0 to x_k of s(x_<k, t) dt, for points in standard units.  c is a polynomial
of total degree p.  The slope s is softplus(h(x_<k, t)) > 0 at knots t of distance 1/10 and linear between,
h a polynomial of total degree p - 1.  So the trapezoidal rule gives the integral exactly, its derivative is s
to the last digit, and the inverse solves one quadratic equation.
Outside a box s goes on as a constant, and so do the terms of c from the third degree on, which would run
away; those of degree 1 and 2 go on linearly.

Their products run away still, and an inverse, which feeds each coordinate into the next ones, squares what is
far out over and over.  So a component may be told where its samples end, and their affine map.  Beyond, it
follows that map: far out in x_<k, f only moves along x_k, as the affine map does; far out in x_k, the slope
rises to the affine one where it is less.
"""

import math
from itertools import combinations_with_replacement

import numpy as np

from ._jit import by_rows, fast_exp, jit

_STEP = 0.1  # between two knots, in standard deviations
_FLOOR = 1e-4  # of the slope, so that the inverse is never steeper than 10,000


class Component:
    """The family f(.; coefficients) of increasing functions of the last of `size` variables.

    Attributes
    ----------
    size : int
        Number k of variables.
    degree : int
        Total degree p of c; h has one less.
    ends : (2, k) array, optional
        Where f begins to follow the affine function, below and above; nowhere by default.
    affine : (k,) array, optional
        Coefficients of that function.
    count : int
        Number of coefficients: first those of c, then those of h, both in products of Legendre polynomials.
    """

    def __init__(self, low, high, degree: int, ends=None, affine=None):
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        self.low, self.high, self.size, self.degree = low, high, len(low), degree
        self.terms, total = _terms(self.size - 1, degree)
        pairs = [(i, m) for i, t in enumerate(total) for m in range(degree - t)]
        self.pairs = np.array(pairs, dtype=np.int64)  # h is the sum of b_im P_i(x_<k) P_m(t)
        self.count = len(total) + len(pairs)
        first, last = math.floor(min(low[-1], 0.0) / _STEP), math.ceil(max(high[-1], 0.0) / _STEP)
        self.base = -first  # the knot at zero
        self.outer = np.outer([-np.inf, np.inf, 0.0], np.ones(self.size))  # ends, and moves of x_k with x_<k
        if affine is not None:
            self.outer[:2], self.outer[2] = ends, np.r_[-affine[:-1] / affine[-1], affine[-1]]
        knots = _STEP * np.arange(first, last + 1)
        knots = (2 * knots - low[-1] - high[-1]) / (high[-1] - low[-1])
        self.table = np.ascontiguousarray(np.polynomial.legendre.legvander(knots, degree - 1).T)

    def identity(self) -> np.ndarray:
        """Return the coefficients of f(x) = x_k."""
        coefficients = np.zeros(self.count)
        coefficients[len(self.terms)] = np.log(np.expm1(1 - _FLOOR))
        return coefficients

    def raised(self, coefficients, to: "Component") -> np.ndarray:
        """Return the coefficients of the same function in the family `to` of a higher degree."""
        here, there = len(self.terms), len(to.terms)
        square = np.zeros((there, to.degree))
        square[self.pairs[:, 0], self.pairs[:, 1]] = coefficients[here:]
        c = np.concatenate([coefficients[:here], np.zeros(there - here)])
        return np.concatenate([c, square[to.pairs[:, 0], to.pairs[:, 1]]])

    def evaluate(self, x, coefficients) -> tuple[np.ndarray, np.ndarray]:
        """Return f and its derivative in the last variable at the points `x` (n, k), each of shape (n,)."""
        out = np.empty((2, len(x)))
        none = np.empty((2, 0, self.count))
        by_rows(_evaluate, len(x), len(x) * self.count, x, *self._packed(coefficients), out, none)
        return out[0], out[1]

    def gradients(self, x, coefficients) -> tuple[np.ndarray, np.ndarray]:
        """Return as one array (2, n) what :meth:`evaluate` does, and their gradients (2, n, count)."""
        out, gradient = np.empty((2, len(x))), np.empty((2, len(x), self.count))
        by_rows(_evaluate, len(x), 4 * gradient.size, x, *self._packed(coefficients), out, gradient)
        return out, gradient

    def solve(self, x, value, coefficients) -> np.ndarray:
        """Return the last variable at which f has the given values (n,), the others (n, k - 1) given."""
        out = np.empty(len(x))
        value = np.ascontiguousarray(value)  # one layout, one compilation
        by_rows(_solve, len(x), len(x) * self.count, x, value, *self._packed(coefficients), out)
        return out

    def _packed(self, coefficients):
        return self.low, self.high, self.terms, self.pairs, self.table, self.base, self.outer, coefficients


def _terms(variables: int, degree: int):
    """List the products of Legendre polynomials up to a total degree, the lowest first; and their degrees.

    Row i is (parent, variable, power): the product `parent` times P_power of that variable.
    """
    factors = [c for t in range(degree + 1) for c in combinations_with_replacement(range(variables), t)]
    at, rows = {c: i for i, c in enumerate(factors)}, [(0, 0, 0)]
    for c in factors[1:]:
        power = c.count(c[-1])
        rows.append((at[c[:-power]], c[-1], power))
    return np.array(rows, dtype=np.int64), [len(c) for c in factors]


@jit
def _softplus(h, small):
    """log(1 + exp(h)), given exp(-|h|)."""
    return max(h, 0.0) + np.log(1.0 + small)


@jit(fastmath={"contract"})
def _heights(h, table, first, stop, height, small):
    """Fill the polynomial h at the knots from `first` to before `stop`, and exp(-|h|)."""
    for j in range(first, stop):
        height[j] = h[0]
    for m in range(1, len(h)):
        for j in range(first, stop):
            height[j] += h[m] * table[m, j]
    for j in range(first, stop):
        small[j] = fast_exp(-abs(height[j]))


@jit(fastmath=True)
def _sum_of_softplus(first, stop, height, small):
    """Sum log(1 + exp(h)) with one logarithm: that of the product, each factor between 1 and 2."""
    total, factors = 0.0, 1.0
    for j in range(first, stop):
        total += max(height[j], 0.0)
        factors *= 1.0 + small[j]
    return total + np.log(factors)


@jit(fastmath=True)
def _weighted_sum(first, stop, weight, table, m):
    total = 0.0
    for j in range(first, stop):
        total += weight[j] * table[m, j]
    return total


@jit
def _prepare(x, i, low, high, terms, pairs, outer, coefficients, powers, extended, clipped, h):
    """Return c at x_<k of row i, and how far f is moved; fill `h`, the polynomial in t that is left there.

    `extended` and `clipped` get the products of Legendre polynomials for c and for h.
    """
    degree, moved = powers.shape[2] - 1, 0.0
    for j in range(len(low) - 1):
        near = min(max(x[i, j], outer[0, j]), outer[1, j])
        moved += outer[2, j] * (x[i, j] - near)
        s = (2.0 * near - low[j] - high[j]) / (high[j] - low[j])
        u = min(max(s, -1.0), 1.0)
        powers[0, j, 0], powers[0, j, 1] = 1.0, u
        for m in range(1, degree):
            powers[0, j, m + 1] = ((2 * m + 1) * u * powers[0, j, m] - m * powers[0, j, m - 1]) / (m + 1)
        for m in range(degree + 1):
            powers[1, j, m] = powers[0, j, m]
        powers[1, j, 1] = s
        if degree >= 2:
            powers[1, j, 2] += 3.0 * (s - u) * u
    extended[0] = clipped[0] = 1.0
    c = coefficients[0]
    for e in range(1, len(terms)):
        parent, j, m = terms[e, 0], terms[e, 1], terms[e, 2]
        clipped[e] = clipped[parent] * powers[0, j, m]
        extended[e] = extended[parent] * powers[1, j, m]
        c += coefficients[e] * extended[e]
    for m in range(degree):
        h[m] = 0.0
    for e in range(len(pairs)):
        h[pairs[e, 1]] += coefficients[len(terms) + e] * clipped[pairs[e, 0]]
    return c, moved


@jit
def _beyond(last, outer):
    """Return how far outside the ends the last variable is."""
    return max(last - outer[1, -1], outer[0, -1] - last, 0.0)


@jit
def _evaluate(start, stop, x, low, high, terms, pairs, table, base, outer, coefficients, out, gradient):
    """Fill out[:, i] = (f, its derivative in the last variable) and, unless it is empty, their gradients."""
    size, (degree, knots), here = len(low), table.shape, len(terms)
    powers, extended, clipped = np.empty((2, size - 1, degree + 1)), np.empty(here), np.empty(here)
    h, in_value, in_slope = np.empty(degree), np.empty(degree), np.empty(degree)
    height, small, weight = np.empty(knots), np.empty(knots), np.empty(knots)
    for i in range(start, stop):
        c, moved = _prepare(x, i, low, high, terms, pairs, outer, coefficients, powers, extended, clipped, h)
        last = x[i, size - 1] - moved
        way, sign = abs(last), (1 if last > 0 else -1)
        room = knots - 1 - base if sign > 0 else base
        whole = int(min(way / _STEP, room))
        rest = way - _STEP * whole
        end = base + sign * whole  # the last knot passed; the next, unless there is none, comes after `rest`
        ahead = end + sign if whole < room else end
        share = rest / _STEP if whole < room else 0.0
        first, stop = (base, ahead + 1) if sign > 0 else (ahead, base + 1)
        _heights(h, table, first, stop, height, small)
        s, s_ahead = _softplus(height[end], small[end]), _softplus(height[ahead], small[ahead])
        area = rest * (s + 0.5 * share * (s_ahead - s)) + _FLOOR * way
        if whole > 0:
            passed = (base, end + 1) if sign > 0 else (end, base + 1)
            ends = _softplus(height[base], small[base]) + s
            area += _STEP * (_sum_of_softplus(passed[0], passed[1], height, small) - 0.5 * ends)
        out[0, i] = c + sign * area
        out[1, i] = s + share * (s_ahead - s) + _FLOOR
        beyond, lack = _beyond(last, outer), max(outer[2, size - 1] - out[1, i], 0.0)
        risen = min(beyond / _STEP, 1.0) if lack > 0 else 0.0
        more = sign * risen * (beyond - 0.5 * _STEP * risen)
        out[0, i] += lack * more
        out[1, i] += lack * risen
        if gradient.shape[1] == 0:
            continue
        for j in range(first, stop):  # the derivative of log(1 + exp(h)), and its weight in the integral
            small[j] = (1.0 if height[j] > 0 else small[j]) / (1.0 + small[j])
            weight[j] = sign * _STEP * small[j]
        weight[ahead] = 0.0
        weight[base] *= 0.5
        weight[end] = sign * small[end] * ((0.5 * _STEP if whole > 0 else 0.0) + rest * (1.0 - 0.5 * share))
        weight[ahead] += sign * small[ahead] * rest * 0.5 * share
        for m in range(degree):
            in_value[m] = _weighted_sum(first, stop, weight, table, m)
            in_slope[m] = (1 - share) * small[end] * table[m, end] + share * small[ahead] * table[m, ahead]
            in_value[m] -= more * in_slope[m]
            in_slope[m] *= 1.0 - risen
        for e in range(here):
            gradient[0, i, e] = extended[e]
            gradient[1, i, e] = 0.0
        for e in range(len(pairs)):
            gradient[0, i, here + e] = clipped[pairs[e, 0]] * in_value[pairs[e, 1]]
            gradient[1, i, here + e] = clipped[pairs[e, 0]] * in_slope[pairs[e, 1]]


@jit
def _solve(start, stop, x, value, low, high, terms, pairs, table, base, outer, coefficients, out):
    """Walk from knot to knot until f passes the value; between two knots f is a parabola."""
    size, (degree, knots), here = len(low), table.shape, len(terms)
    powers, extended, clipped = np.empty((2, size - 1, degree + 1)), np.empty(here), np.empty(here)
    h, height, small = np.empty(degree), np.empty(knots), np.empty(knots)
    for i in range(start, stop):
        c, moved = _prepare(x, i, low, high, terms, pairs, outer, coefficients, powers, extended, clipped, h)
        gap = value[i] - c
        sign, rest = (1 if gap > 0 else -1), abs(gap)
        room = knots - 1 - base if sign > 0 else base
        _heights(h, table, 0, knots, height, small)
        j = base
        s = ahead = _FLOOR + _softplus(height[j], small[j])
        for _ in range(room):
            ahead = _FLOOR + _softplus(height[j + sign], small[j + sign])
            if rest <= 0.5 * _STEP * (s + ahead):
                break
            rest -= 0.5 * _STEP * (s + ahead)
            j, s = j + sign, ahead
        steep = (ahead - s) / _STEP  # zero beyond the last knot, where s = ahead
        way = 2.0 * rest / (s + np.sqrt(s * s + 2.0 * steep * rest))
        last = _STEP * (j - base) + sign * way
        beyond, lack = _beyond(last, outer), outer[2, -1] - s
        if beyond > 0 and lack > 0:  # the same rest on a slope that rises within a step
            rest, rise = s * beyond, _STEP * (s + 0.5 * lack)
            if rest < rise:
                last += sign * (2.0 * rest / (s + np.sqrt(s * s + 2.0 * lack / _STEP * rest)) - beyond)
            else:
                last += sign * (_STEP + (rest - rise) / (s + lack) - beyond)
        out[i] = last + moved
