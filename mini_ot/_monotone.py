"""One component of a triangular map: a function of k variables that increases in the last of them.

f(x) = c(x_<k) + the integral from 0 to x_k of s(x_<k, t) dt, for points in standard units.  c is a polynomial
of total degree p.  The slope s is g(h(x_<k, t)) > 0 at knots t of distance 1/10 and linear between, h
a polynomial of total degree p - 1.  So the trapezoidal rule is exact for the integral, its derivative is s to
the last digit, and the inverse solves one quadratic equation.
Outside a box c goes on linearly, in each variable, and s as a constant: the tails are linear.
"""

import math
from itertools import product

import numpy as np

from ._jit import by_rows, jit

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
    count : int
        Number of coefficients: first those of c, then those of h, both in products of Legendre polynomials.
    """

    def __init__(self, low, high, degree: int):
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        self.low, self.high, self.size, self.degree = low, high, len(low), degree
        self.terms, total = _terms(self.size - 1, degree)
        pairs = [(i, m) for i, t in enumerate(total) for m in range(degree - t)]
        self.pairs = np.array(pairs, dtype=np.int64)  # h is the sum of b_im P_i(x_<k) P_m(t)
        self.count = len(total) + len(pairs)
        first, last = math.floor(low[-1] / _STEP), math.ceil(high[-1] / _STEP)
        self.base = -first  # the knot at zero
        knots = _STEP * np.arange(first, last + 1)
        self.table = np.polynomial.legendre.legvander(
            (2 * knots - low[-1] - high[-1]) / (high[-1] - low[-1]), degree - 1
        )

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
        by_rows(_solve, len(x), len(x) * self.count, x, value, *self._packed(coefficients), out)
        return out

    def _packed(self, coefficients):
        return self.low, self.high, self.terms, self.pairs, self.table, self.base, coefficients


def _terms(variables: int, degree: int):
    """List the products of Legendre polynomials up to a total degree, the lowest first.

    Row i is (parent, variable, power): the product `parent` times P_power of that variable.
    """
    powers = [p for p in product(range(degree + 1), repeat=variables) if sum(p) <= degree]
    powers.sort(key=lambda p: (sum(p), p))
    at = {p: i for i, p in enumerate(powers)}
    rows = [(0, 0, 0)]
    for p in powers[1:]:
        j = max(j for j in range(variables) if p[j])
        rows.append((at[(*p[:j], 0, *p[j + 1 :])], j, p[j]))
    return np.array(rows, dtype=np.int64), [sum(p) for p in powers]


@jit
def _slope(row, h):
    """Return g(h) and its derivative, h the polynomial with the values `row` of its basis."""
    total = 0.0
    for m in range(len(h)):
        total += h[m] * row[m]
    small = np.exp(-abs(total))
    positive = max(total, 0.0) + np.log1p(small)
    return _FLOOR + positive, (1.0 if total > 0 else small) / (1.0 + small)


@jit
def _prepare(x, low, high, terms, pairs, coefficients, powers, extended, clipped, h):
    """Return c at the point x_<k and fill `h`, the polynomial in t that is left there.

    `extended` and `clipped` get the products of Legendre polynomials, continued linearly and constantly.
    """
    degree = powers.shape[2] - 1
    for j in range(len(x)):
        s = (2.0 * x[j] - low[j] - high[j]) / (high[j] - low[j])
        u = min(max(s, -1.0), 1.0)
        powers[0, j, 0], powers[0, j, 1] = 1.0, u
        for m in range(1, degree):
            powers[0, j, m + 1] = ((2 * m + 1) * u * powers[0, j, m] - m * powers[0, j, m - 1]) / (m + 1)
        powers[1, j] = powers[0, j]
        powers[1, j, 1] = s
        if degree >= 2:
            powers[1, j, 2] += 3.0 * (s - u) * u
    extended[0] = clipped[0] = 1.0
    c = coefficients[0]
    for i in range(1, len(terms)):
        parent, j, m = terms[i]
        clipped[i] = clipped[parent] * powers[0, j, m]
        extended[i] = extended[parent] * powers[1, j, m]
        c += coefficients[i] * extended[i]
    h[:] = 0.0
    for e in range(len(pairs)):
        h[pairs[e, 1]] += coefficients[len(terms) + e] * clipped[pairs[e, 0]]
    return c


@jit
def _evaluate(start, stop, x, low, high, terms, pairs, table, base, coefficients, out, gradient):
    """Fill out[:, i] = (f, its derivative in the last variable) and, unless it is empty, their gradients."""
    size, degree, here = len(low), table.shape[1], len(terms)
    powers, extended, clipped = np.empty((2, size - 1, degree + 1)), np.empty(here), np.empty(here)
    h, in_value, in_slope = np.empty(degree), np.empty(degree), np.empty(degree)
    for i in range(start, stop):
        c = _prepare(x[i, : size - 1], low, high, terms, pairs, coefficients, powers, extended, clipped, h)
        way, sign = abs(x[i, size - 1]), (1 if x[i, size - 1] > 0 else -1)
        room = len(table) - 1 - base if sign > 0 else base
        whole = int(min(way / _STEP, room))
        rest = way - _STEP * whole
        j, area = base, 0.0
        in_value[:] = 0.0
        s, bend = _slope(table[j], h)
        for _ in range(whole):
            ahead, bend_ahead = _slope(table[j + sign], h)
            area += 0.5 * _STEP * (s + ahead)
            for m in range(degree):
                in_value[m] += 0.5 * _STEP * (bend * table[j, m] + bend_ahead * table[j + sign, m])
            j, s, bend = j + sign, ahead, bend_ahead
        share, ahead, bend_ahead, last = 0.0, s, bend, j
        if whole < room:
            share, last = rest / _STEP, j + sign
            ahead, bend_ahead = _slope(table[last], h)
        out[0, i] = c + sign * (area + rest * (s + 0.5 * share * (ahead - s)))
        out[1, i] = s + share * (ahead - s)
        if gradient.shape[1] == 0:
            continue
        for m in range(degree):
            here_m, ahead_m = bend * table[j, m], bend_ahead * table[last, m]
            in_value[m] = sign * (in_value[m] + rest * (here_m + 0.5 * share * (ahead_m - here_m)))
            in_slope[m] = here_m + share * (ahead_m - here_m)
        gradient[0, i, :here] = extended
        gradient[1, i, :here] = 0.0
        for e in range(len(pairs)):
            gradient[0, i, here + e] = clipped[pairs[e, 0]] * in_value[pairs[e, 1]]
            gradient[1, i, here + e] = clipped[pairs[e, 0]] * in_slope[pairs[e, 1]]


@jit
def _solve(start, stop, x, value, low, high, terms, pairs, table, base, coefficients, out):
    """Walk from knot to knot until f passes the value; between two knots f is a parabola."""
    size, degree, here = len(low), table.shape[1], len(terms)
    powers, extended, clipped = np.empty((2, size - 1, degree + 1)), np.empty(here), np.empty(here)
    h = np.empty(degree)
    for i in range(start, stop):
        gap = value[i] - _prepare(
            x[i, : size - 1], low, high, terms, pairs, coefficients, powers, extended, clipped, h
        )
        sign, rest = (1 if gap > 0 else -1), abs(gap)
        room = len(table) - 1 - base if sign > 0 else base
        j = base
        s, _ = _slope(table[j], h)
        ahead = s
        for _ in range(room):
            ahead, _ = _slope(table[j + sign], h)
            if rest <= 0.5 * _STEP * (s + ahead):
                break
            rest -= 0.5 * _STEP * (s + ahead)
            j, s = j + sign, ahead
        steep = (ahead - s) / _STEP  # zero beyond the last knot, where s = ahead
        way = 2.0 * rest / (s + np.sqrt(s * s + 2.0 * steep * rest))
        out[i] = _STEP * (j - base) + sign * way
