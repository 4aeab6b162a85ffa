"""Exercises of chapter 3: triangular determinants, log-determinants, inverses, evidence, two divergences."""

import numpy as np

from .engine import Exercise

triangle_exercise = Exercise(
    "3.1",
    "A product, and what it saves",
    level="warm-up",
    minutes=20,
    text=r"""
    Let $T$ be a triangular map of $\mathbb{R}^d$: component $T_k$ depends on $x_1, \dots, x_k$ and increases strictly
    in $x_k$, from $-\infty$ to $\infty$.

    1. Write down $DT(x)$ for $d = 3$, and its determinant.
       Why is the determinant the product of the diagonal for every $d$, and why is it positive if all
       $\partial_k T_k$ are?
    2. Let $T$ be any smooth one-to-one map, whose Jacobian is given as a full matrix.
       How does the number of operations for its determinant grow with $d$, and how for a triangular map?
    3. Describe how one computes $T^{-1}(z)$ without solving for all coordinates at once.
       How many equations in one unknown does that take?
       Why does each have exactly one solution?
    4. The inverse $S = T^{-1}$ is triangular, too.
       Express $\partial_k S_k(z)$ by $T$, without solving any further equation.
    """,
    hints=(
        "Expand the determinant along its first row, in which only one entry is not zero.",
        """For the inverse, the first equation contains only the first unknown. When it is solved, the second
        contains only the second.""",
    ),
    answer=r"""
    1. For $d = 3$

    $$
    DT = \begin{pmatrix} \partial_1 T_1 & 0 & 0 \\ \partial_1 T_2 & \partial_2 T_2 & 0 \\
    \partial_1 T_3 & \partial_2 T_3 & \partial_3 T_3 \end{pmatrix},
    \qquad \det DT = \partial_1 T_1 \, \partial_2 T_2 \, \partial_3 T_3 .
    $$

    In the first row only $\partial_1 T_1$ is not zero.
    Expanding along it leaves $\partial_1 T_1$ times the determinant of the rest, which is a lower triangular
    matrix of one row less; so by induction the determinant is the product of the diagonal.
    A product of positive numbers is positive.

    2. Elimination on a full matrix takes of the order of $d^3$ operations, for every point.
    A triangular map needs the $d$ derivatives $\partial_k T_k$ and a sum of their logarithms; the other
    entries of the Jacobian are not needed at all.

    3. $T_1(x_1) = z_1$ is an equation in $x_1$ alone.
    With $x_1, \dots, x_{k-1}$ known, $T_k(x_1, \dots, x_k) = z_k$ is an equation in $x_k$ alone.
    That makes $d$ equations in one unknown, one after the other.
    Each has a solution as $T_k$ goes from $-\infty$ to $\infty$ continuously, and only one as it increases strictly.
    (The order matters: component $k$ cannot be inverted before those above it.)

    4. The derivative of an increasing function of one variable and that of its inverse are reciprocal, the other
    variables being fixed: $\partial_k S_k(z) = 1 / \partial_k T_k(x_1, \dots, x_k)$ at $x = S(z)$.
    """,
)

affine_exercise = Exercise(
    "3.2",
    "The likelihood of an affine map",
    level="core",
    minutes=20,
    text=r"""
    Write the mean negative log-likelihood of the points $x_i$ under the density that the map $T(x) = A x + b$
    makes of $\mathcal{N}(0, I)$.
    $A$ is invertible, not necessarily triangular, and its determinant may be negative.

    Then differentiate it on paper with respect to $b$ and $A$, and derive {eq}`eq-03-affine`.
    (The derivative of $\log |\det A|$ is $A^{-\top}$.)
    What is the smallest value, as a function of the covariance of the sample?
    """,
    hints=(
        "Three terms: the length of the image, the constant of the normal density, and the stretch.",
        """The constant is d / 2 times log(2 pi) and not half of it; the stretch is np.linalg.slogdet(A)[1], and a
        likelihood that counts it with a plus has a minus here.""",
    ),
    answer=r"""
    With mean $m$ and covariance $\Sigma$ (both with $n$ in the denominator) the value is

    $$
    \tfrac12 |A m + b|^2 + \tfrac12 \mathrm{tr}(A \Sigma A^\top) + \tfrac d2 \log 2 \pi - \log |\det A| .
    $$

    The derivative in $b$ vanishes for $b = -A m$.
    The derivative in $A$ is then $A \Sigma - A^{-\top}$; it vanishes if $A^\top A \Sigma = I$.
    There the second term is $\frac d2$ and $-\log|\det A| = \frac12 \log \det \Sigma$, so the smallest value is
    $\frac d2 \log(2 \pi e) + \frac12 \log \det \Sigma$: the entropy of the Gaussian with this covariance.
    """,
)


@affine_exercise.solution
def affine_nll(x, A, b):
    """Return the mean negative log-likelihood of x (n, d) under T(x) = A x + b."""
    z = x @ A.T + b
    log_normal = -0.5 * (z**2).sum(axis=1) - 0.5 * x.shape[1] * np.log(2 * np.pi)
    return -(log_normal + np.linalg.slogdet(A)[1]).mean()


@affine_exercise.cases
def _(rng):
    for n, d in ((8, 2), (11, 3), (5, 2)):
        A = rng.normal(size=(d, d)) + 2 * np.eye(d)
        A[:, -1] *= -1 if n == 5 else 1  # one determinant is negative
        yield rng.normal(size=(n, d)), A, rng.normal(size=d)


def _nll(x, A, b, det=1.0, constant=None):
    """The right value with `det` times the log-determinant and `constant` halves of log(2 pi)."""
    z = x @ A.T + b
    constant = x.shape[1] if constant is None else constant
    value = 0.5 * (z**2).sum(axis=1).mean() + 0.5 * constant * np.log(2 * np.pi)
    return value - det * np.linalg.slogdet(A)[1]


@affine_exercise.mistake(
    """The log-determinant is forgotten. Without it the best map would squeeze all points into the middle, where
    the normal density is highest; the density of the model would not have mass one."""
)
def _forgotten(x, A, b):
    return _nll(x, A, b, det=0.0)


@affine_exercise.mistake(
    """The log-determinant has the wrong sign, or is that of the inverse. T goes from the data to the normal: where
    it stretches, the data are dense, so stretching raises the likelihood and lowers its negative."""
)
def _wrong_sign(x, A, b):
    return _nll(x, A, b, det=-1.0)


@affine_exercise.mistake(
    """The constant of the normal density is log(2 pi) / 2 for every coordinate: the dimension d is missing."""
)
def _missing_d(x, A, b):
    return _nll(x, A, b, constant=1)


@affine_exercise.mistake(
    """The constant of the normal density is missing. It does not move the best map, but without it the number
    is no likelihood, and cannot be compared with other models."""
)
def _no_constant(x, A, b):
    return _nll(x, A, b, constant=0)


@affine_exercise.mistake(
    """You multiplied by A from the wrong side: with the points in rows, A x is x @ A.T."""
)
def _transposed(x, A, b):
    return _nll(x, A.T, b)


@affine_exercise.mistake(
    """The determinant is taken without its absolute value: where A mirrors the space, its logarithm is not a
    number."""
)
def _no_absolute_value(x, A, b):
    det = np.linalg.det(A)
    return _nll(x, A, b, det=0.0) - np.log(det) if det > 0 else np.nan


@affine_exercise.mistake(
    """You summed over the points; the mean is asked for, so that samples of different sizes can be compared."""
)
def _sum(x, A, b):
    return len(x) * _nll(x, A, b)


inverse_exercise = Exercise(
    "3.3",
    "Backwards, coordinate by coordinate",
    level="core",
    minutes=25,
    rtol=1e-5,
    text=r"""
    A triangular map of the plane is given by two functions: `t1(a)` is $T_1$, and `t2(a, b)` is $T_2$ at
    $x_1 = a$, $x_2 = b$.
    Both take arrays and increase strictly in their last argument.
    Write the inverse, by bisection: halve an interval that holds the solution until it is very short.
    All solutions lie between $-10$ and $10$.

    Check it by a round trip, and draw samples of the density that the map
    $T_1 = x_1$, $T_2 = 2 (x_2 - x_1^2)$ makes of the normal one.
    Which target of the course is it?
    """,
    hints=(
        "Solve for the first coordinate of all points at once; what is known then?",
        """Write a function solve(f, value) that keeps arrays low and high, and moves low up to the middle where
        f(middle) < value. Call it with t1, and then with the function b -> t2(x1, b) for the x1 just found.""",
    ),
    answer=r"""
    After 60 halvings the interval has the length $20 \cdot 2^{-60}$, less than rounding.
    The samples are those of the banana.
    """,
)


@inverse_exercise.solution
def invert(t1, t2, z):
    """Return the points x (n, 2) with t1(x1) = z1 and t2(x1, x2) = z2, for z (n, 2)."""

    def solve(f, value):
        low, high = np.full(len(value), -10.0), np.full(len(value), 10.0)
        for _ in range(60):
            middle = (low + high) / 2
            below = f(middle) < value
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    x1 = solve(t1, z[:, 0])
    x2 = solve(lambda b: t2(x1, b), z[:, 1])
    return np.column_stack([x1, x2])


def _t1(a):
    return 0.5 * a + a**3 / 10


def _t2(a, b):
    return (2 + np.sin(a)) * (b + np.tanh(b)) / 2 - a**2 / 3


def _s2(a, b):
    return b * np.exp(a / 4) + np.tanh(a)


@inverse_exercise.cases
def _(rng):
    for n, t2 in ((5, _t2), (9, _s2), (1, _t2)):
        x = rng.normal(size=(n, 2))
        yield _t1, t2, np.column_stack([_t1(x[:, 0]), t2(x[:, 0], x[:, 1])])


def _solve(f, value, upside_down=False, rounds=60):
    low, high = np.full(len(value), -10.0), np.full(len(value), 10.0)
    for _ in range(rounds):
        middle = (low + high) / 2
        below = (f(middle) < value) != upside_down
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


@inverse_exercise.mistake(
    """You put the image z1 into the second component where the point x1 belongs: solve for x1 first, and use the
    solution."""
)
def _image_in_place_of_point(t1, t2, z):
    x1 = _solve(t1, z[:, 0])
    return np.column_stack([x1, _solve(lambda b: t2(z[:, 0], b), z[:, 1])])


@inverse_exercise.mistake(
    """You solved for the second coordinate as if the first were zero: the components cannot be inverted one by
    one without each other. Begin with the first, which needs no other."""
)
def _first_is_zero(t1, t2, z):
    x1 = _solve(t1, z[:, 0])
    return np.column_stack([x1, _solve(lambda b: t2(0 * x1, b), z[:, 1])])


@inverse_exercise.mistake(
    """You applied the map forwards to z. The inverse is the point that the map takes to z."""
)
def _forwards(t1, t2, z):
    return np.column_stack([t1(z[:, 0]), t2(z[:, 0], z[:, 1])])


@inverse_exercise.mistake(
    """You took reciprocals: the inverse of a map undoes it, and has nothing to do with one divided by it."""
)
def _reciprocal(t1, t2, z):
    return np.column_stack([1 / t1(z[:, 0]), 1 / t2(z[:, 0], z[:, 1])])


@inverse_exercise.mistake(
    """Your bisection keeps the wrong half, so it ends at a border of the interval: where t(middle) < z the
    solution lies above the middle, as t increases."""
)
def _wrong_half(t1, t2, z):
    x1 = _solve(t1, z[:, 0], upside_down=True)
    return np.column_stack([x1, _solve(lambda b: t2(x1, b), z[:, 1], upside_down=True)])


@inverse_exercise.mistake(
    """You stopped halving too soon: ten halvings of an interval of length 20 leave one fiftieth. Sixty of them cost
    next to nothing."""
)
def _too_soon(t1, t2, z):
    x1 = _solve(t1, z[:, 0], rounds=10)
    return np.column_stack([x1, _solve(lambda b: t2(x1, b), z[:, 1], rounds=10)])


evidence_exercise = Exercise(
    "3.4",
    "The evidence from the weights",
    level="core",
    minutes=20,
    text=r"""
    A map $T$ was made for an unnormalised density $\pi$, as in {prf:ref}`thm-03-weights`.
    Given independent points $x_i \sim \mathcal{N}(0, I)$ and the values $\log \pi(T(x_i))$ and
    $\log \det DT(x_i)$, write the estimate of $\log Z$.

    Beware: with much data, $\log \pi$ may be $-2000$ everywhere.

    Then answer: is the *logarithm* of the estimate biased, upwards or downwards, although
    the estimate of $Z$ is not?
    """,
    hints=(
        "Write down omega first. Is the mean taken of omega, or of exp(omega)?",
        """omega = log_pi + log_det minus the log of the reference density, which has its constant, too. Subtract the
        largest omega before exp, and add it again in the end.""",
    ),
    answer=r"""
    The logarithm is concave, so by Jensen's inequality the expectation of the logarithm is at most
    the logarithm of the expectation: downwards.
    The bias is about $-\mathrm{Var}(e^\omega) / (2 n Z^2)$, nothing at an exact map, and nothing when $n$ is large.
    """,
)


@evidence_exercise.solution
def log_evidence(x, log_pi, log_det):
    """Return the estimate of log Z from x (n, d), log_pi (n,) and log_det (n,)."""
    d = x.shape[1]
    log_reference = -0.5 * (x**2).sum(axis=1) - 0.5 * d * np.log(2 * np.pi)
    omega = log_pi + log_det - log_reference
    top = omega.max()
    return top + np.log(np.exp(omega - top).mean())


@evidence_exercise.cases
def _(rng):
    for n, d, size in ((20, 2, 0.0), (30, 3, 5.0), (15, 2, -2000.0)):
        x = rng.normal(size=(n, d))
        log_det = 0.3 * np.sin(x[:, 0]) + 0.8
        yield x, size - 0.4 * (x**2).sum(axis=1) - 0.3 * x[:, 1], log_det


def _omega(x, log_pi, log_det, det=1.0, reference=1.0, constant=None):
    constant = x.shape[1] if constant is None else constant
    log_reference = -0.5 * (x**2).sum(axis=1) - 0.5 * constant * np.log(2 * np.pi)
    return log_pi + det * log_det - reference * log_reference


def _log_mean(omega):
    return omega.max() + np.log(np.exp(omega - omega.max()).mean())


@evidence_exercise.mistake(
    """You took the mean of the logarithms. That is the lower bound of the log evidence, smaller than it by the KL
    divergence; the evidence is the mean of the weights themselves, and the logarithm comes last."""
)
def _mean_of_log(x, log_pi, log_det):
    return _omega(x, log_pi, log_det).mean()


@evidence_exercise.mistake(
    """The log-determinant has the wrong sign: dz = det DT(x) dx, so the weight is pi(T(x)) times the determinant."""
)
def _sign_of_det(x, log_pi, log_det):
    return _log_mean(_omega(x, log_pi, log_det, det=-1.0))


@evidence_exercise.mistake(
    """The log-determinant is missing: pi(T(x)) alone does not know how much space each point stands for."""
)
def _no_det(x, log_pi, log_det):
    return _log_mean(_omega(x, log_pi, log_det, det=0.0))


@evidence_exercise.mistake(
    """The reference density is missing: the points are not spread evenly over the space, so each weight is to be
    divided by the density by which its point was drawn."""
)
def _no_reference(x, log_pi, log_det):
    return _log_mean(_omega(x, log_pi, log_det, reference=0.0))


@evidence_exercise.mistake(
    """The constant of the reference density is missing. For a normalised posterior sample it cancels, for the
    evidence it does not: (2 pi)^(d / 2) belongs to it."""
)
def _no_constant_of_reference(x, log_pi, log_det):
    return _log_mean(_omega(x, log_pi, log_det, constant=0))


@evidence_exercise.mistake(
    """You summed the weights; the expectation is their mean, so divide by n (or subtract log n)."""
)
def _sum_of_weights(x, log_pi, log_det):
    return _log_mean(_omega(x, log_pi, log_det)) + np.log(len(x))


@evidence_exercise.mistake(
    """exp underflows where log pi is far below zero, and the logarithm of zero is minus infinity. Subtract the
    largest omega first, and add it again at the end."""
)
def _underflow(x, log_pi, log_det):
    total = np.exp(_omega(x, log_pi, log_det)).mean()
    return np.log(total) if total > 0 else -np.inf


direction_exercise = Exercise(
    "3.5",
    "Which way round?",
    level="challenge",
    minutes=30,
    text=r"""
    1. Show that a one-to-one map changes no KL divergence: if $T$ satisfies the assumptions of
       {prf:ref}`thm-03-change`, then $\mathrm{KL}(T_\# \rho \,\|\, T_\# \mu) = \mathrm{KL}(\rho \,\|\, \mu)$.
       Which two divergences of the chapter are thereby the same?
    2. For each case say which of the two, $\mathrm{KL}(p \,\|\, q)$ or $\mathrm{KL}(q \,\|\, p)$, can be estimated up to a
       constant, where $q$ is a model from which one can sample and whose density one can compute, unless stated:
       (a) samples of $p$, no formula; (b) a formula for $p$ up to a constant, no samples; (c) both; (d) samples of $p$, and
       a $q$ that can be sampled but has no computable density.
    3. Let $p = \mathcal{N}(0, \Sigma)$ in the plane with unit variances and correlation $r$, and let
       $q = \mathcal{N}(0, s^2 I)$.
       Which $s^2$ minimises $\mathrm{KL}(p \,\|\, q)$, and which $\mathrm{KL}(q \,\|\, p)$?
       What happens to each as $r \to 1$?
    4. A colleague has found a map by {eq}`eq-03-reverse` and reports a variance diagnostic of $0.001$.
       Is the posterior mean right?
    """,
    hints=(
        "Part 1: put the change of variables into the definition, and see what cancels.",
        """Part 3: up to constants the first is log s^2 + tr(Sigma) / (2 s^2), the second -log s^2 + s^2
        tr(Sigma^-1) / 2. Part 4: where did the points lie at which the variance was taken?""",
    ),
    answer=r"""
    1. The densities of $T_\# \rho$ and $T_\# \mu$ at $T(x)$ are $\rho(x)$ and $\mu(x)$ over the same $|\det DT(x)|$, so their
    ratio at $T(x)$ is the ratio of $\rho$ and $\mu$ at $x$; and $T(x)$ with $x \sim \rho$ is a sample of $T_\# \rho$.
    So $\mathrm{KL}(\rho \,\|\, \rho_T)$, of the data and the model, is $\mathrm{KL}(T_\# \rho \,\|\, \mathcal{N}(0, I))$, of the data
    through the map and the normal.

    2. (a) $\mathrm{KL}(p \,\|\, q) = \text{const} - \mathbb{E}_p[\log q]$, maximum likelihood.
    (b) $\mathrm{KL}(q \,\|\, p) = \text{const} + \mathbb{E}_q[\log q - \log \pi]$, inference.
    (c) Both.
    (d) Neither: there is no density to put into the logarithm. Distances that need samples only, such as the
    energy distance, still work.

    3. $\mathrm{KL}(p \,\|\, q)$ is up to a constant $\log s^2 + \frac{2}{2 s^2}$, smallest at $s^2 = 1$: the variance of $p$.
    $\mathrm{tr}(\Sigma^{-1}) = \frac{2}{1 - r^2}$, so $\mathrm{KL}(q \,\|\, p)$ is up to a constant
    $-\log s^2 + \frac{s^2}{1 - r^2}$, smallest at $s^2 = 1 - r^2$: the variance of one coordinate *given the other*.
    As $r \to 1$ the first model stays as wide as the data, and covers much space that is empty; the second shrinks to a point, to avoid the empty space.

    4. Not necessarily.
    The variance was taken over points of the map.
    If the posterior has a second mode, far from all of them, it does not show; the evidence then lacks the mass of that
    mode, too.
    If the posterior is known to have one mode, the diagnostic can be trusted.
    """,
)
