"""Exercises of chapter 12: features in other units, kernels made of features, random centres, preconditioning."""

import numpy as np

from .engine import Exercise

units_exercise = Exercise(
    "12.1",
    "Features in other units",
    level="warm-up",
    minutes=25,
    text=r"""
    Let $F_1, \dots, F_L$ be features with linearly independent gradients in $L^2(\nu)$, so that $G_{lm} = \mathbb{E}_\nu [\nabla F_l \cdot \nabla F_m]$ is invertible.
    All quadrature weights are one.
    Somebody uses $\tilde F = A F$ in place of $F$, that is $\tilde F_l = \sum_m A_{lm} F_m$, with an invertible $L \times L$ matrix $A$.

    1. First let $A$ be diagonal: each feature in its own units.
       What becomes of the kernel {eq}`eq-12-kernel` and of the step with steepest weights?
       And of the Newton step without ridge, $\beta = -G^{-1} b$?
    2. Let $A$ be any invertible matrix.
       For which $A$ do the steepest steps stay as they are, whatever the clouds, and for which the Newton steps with $\lambda = 0$, and with $\lambda > 0$?
    3. Choose $A$ such that steepest descent with $\tilde F$ and $\eta = 1$ makes the Newton step of $F$ without ridge.
       What are the gradients of these features like?
    4. One feature alone: for which $\eta$ is the steepest step the Newton step of {doc}`10_data_driven_flow`?
    """,
    hints=(
        "Write b and G of the new features by those of the old ones and A. The move is beta . grad F.",
        """The new b is A b and the new G is A G A^T; the kernel is F^T A^T A F. Which move comes out of
        beta = -A b, and which of beta = -(A G A^T)^{-1} A b?""",
    ),
    answer=r"""
    The new quantities are $\tilde b = A b$ and $\tilde G = A G A^\top$, and a move is $\tilde\beta \cdot \nabla \tilde F = (A^\top \tilde\beta) \cdot \nabla F$.
    So in terms of the old features the weights are $A^\top \tilde\beta$.

    1. With $A = \operatorname{diag}(s_l)$ the kernel becomes $\sum_l s_l^2 F_l F_l$, and feature $l$ gets the weight $-\eta s_l^2 b_l$: another kernel, another flow.
    Newton: $-A^\top (A G A^\top)^{-1} A b = -G^{-1} b$, the same step.

    2. Steepest: $-\eta A^\top A b$, the same for all $b$ exactly if $A^\top A = I$, that is, if $A$ is orthogonal.
    Newton with $\lambda = 0$: the same for every invertible $A$, by the computation in part 1, which did not use that $A$ is diagonal.
    Newton with $\lambda > 0$: $-A^\top (A G A^\top + \lambda I)^{-1} A b = -(G + \lambda (A^\top A)^{-1})^{-1} b$, the same for all $b$ exactly if $A$ is orthogonal.
    The ridge is where the units come back in.

    3. $-A^\top A b = -G^{-1} b$ for all $b$ if $A^\top A = G^{-1}$, that is, $A G A^\top = I$; for instance $A = G^{-1/2}$.
    Then $\tilde G = I$: the gradients of the new features are orthonormal in $L^2(\nu)$.

    4. The steepest weight is $-\eta b$ and the Newton weight $-b / g$ with $g = \mathbb{E} |\nabla F|^2$, so $\eta = 1 / g$.
    It depends on the feature and on the clouds, so there is no one $\eta$ that suits features of many widths.
    """,
)

kernel_exercise = Exercise(
    "12.2",
    "A kernel made of features",
    level="core",
    minutes=20,
    text=r"""
    Write the kernel {eq}`eq-12-kernel` of the features $F_l(z) = h^2 \exp(-|z - c_l|^2 / (2 h^2))$ with quadrature weights $q_l$, as a table for two clouds.

    Then take the centres on a grid with `centre_grid`, and compare with the Gaussian of width $\sqrt 2 h$.
    From which spacing on can you see the grid in the kernel?
    """,
    hints=(
        "Make one table of features for x and one for x'. The sum over l is then a product of two matrices.",
        "(F * q) @ F2.T, with F of shape (n, L) and F2 of shape (m, L).",
    ),
    answer=r"""
    The table of the kernel needs $n m$ numbers, those of the features $(n + m) L$.
    With few features and many points it is the features that are cheap, with a full grid of centres it is the kernel.
    """,
)


def _features(x, centres, h):
    return h**2 * np.exp(-((x[:, None] - centres) ** 2).sum(axis=2) / (2 * h**2))


@kernel_exercise.solution
def averaged_kernel(x1, x2, centres, q, h):
    """Return sum_l q_l F_l(x1) F_l(x2), shape (n, m); centres (L, d), q (L,)."""

    def features(x):
        square = ((x[:, None] - centres) ** 2).sum(axis=2)
        return h**2 * np.exp(-square / (2 * h**2))

    return (features(x1) * q) @ features(x2).T


@kernel_exercise.cases
def _(rng):
    for n, m, size, d in ((3, 4, 6, 1), (5, 2, 7, 2)):
        h, q = rng.uniform(0.6, 1.4), rng.uniform(0.5, 1.5, size)
        yield (
            rng.normal(size=(n, d)),
            rng.normal(size=(m, d)),
            rng.normal(size=(size, d)),
            q,
            h,
        )


@kernel_exercise.mistake(
    """You left out the weights q of the quadrature: then two centres close together count as two, and the kernel
    changes when the grid is refined."""
)
def _no_weights(x1, x2, centres, q, h):
    return _features(x1, centres, h) @ _features(x2, centres, h).T


@kernel_exercise.mistake(
    """You squared the weights: q belongs to the sum over the centres, which runs once, not to each of the two
    features."""
)
def _weights_twice(x1, x2, centres, q, h):
    return (_features(x1, centres, h) * q) @ (_features(x2, centres, h) * q).T


@kernel_exercise.mistake(
    """Your features are wider by sqrt(2). It is the kernel that comes out wider by sqrt(2) than the features it
    is made of; the features have the width h."""
)
def _wide_features(x1, x2, centres, q, h):
    wide = [
        h**2 * np.exp(-((x[:, None] - centres) ** 2).sum(axis=2) / (4 * h**2))
        for x in (x1, x2)
    ]
    return (wide[0] * q) @ wide[1].T


@kernel_exercise.mistake(
    """The factor h^2 of the features is there once only: the kernel is a product of two features, so it has the
    factor h^4."""
)
def _one_square(x1, x2, centres, q, h):
    return (_features(x1, centres, h) * q) @ _features(x2, centres, h).T / h**2


@kernel_exercise.mistake(
    "The factor h^2 of the features is missing in both of them: the kernel has the factor h^4."
)
def _no_square(x1, x2, centres, q, h):
    return (_features(x1, centres, h) * q) @ _features(x2, centres, h).T / h**4


@kernel_exercise.mistake(
    """The exponent lacks the 2: features of width h are exp(-r^2 / (2 h^2)), and yours are narrower by
    sqrt(2)."""
)
def _narrow_features(x1, x2, centres, q, h):
    narrow = [
        h**2 * np.exp(-((x[:, None] - centres) ** 2).sum(axis=2) / h**2)
        for x in (x1, x2)
    ]
    return (narrow[0] * q) @ narrow[1].T


steps_exercise = Exercise(
    "12.3",
    "The features of the energy kernel",
    level="core",
    minutes=25,
    text=r"""
    On an interval $[a, b]$ of the line take steps as features: $F_c(z) = 1$ if $z > c$ and $0$ otherwise, for all $c \in [a, b]$.
    All points lie in the interval.

    1. Compute the kernel $K(x, x') = \int_a^b F_c(x) F_c(x') \, dc$.
       Write it with $|x - x'|$ and functions of $x$ and of $x'$ alone.
    2. Why do those functions change neither the MMD nor the slope of the witness?
    3. Let $b_c = \mathbb{E}_z F_c - \mathbb{E}_y F_c$.
       What is $b_c$ in words, and which distance of {doc}`01_probabilistic_modelling` does $\int b_c^2 \, dc$ give?
    4. The features are not differentiable, so {prf:ref}`thm-12-steepest` does not apply.
       What is the move of the witness itself, $-\eta w'(z)$, expressed by $b_c$?
    """,
    hints=(
        "For which centres c are both steps, at x and at x', equal to one?",
        "min(x, x') = (x + x' - |x - x'|) / 2, and the mean of F_c over z is the share of the points beyond c.",
    ),
    answer=r"""
    1. $F_c(x) F_c(x') = 1$ exactly if $c < \min(x, x')$.
    So $K(x, x') = \min(x, x') - a = -\frac12 |x - x'| + \frac12 (x - a) + \frac12 (x' - a)$.

    2. In the witness $w(p) = \mathbb{E}_z K(z, p) - \mathbb{E}_y K(y, p)$ a function of $p$ alone cancels, since it comes once with each sign.
    A function of the other argument becomes a number that does not depend on $p$.
    So $w$ is half the witness of the energy kernel plus a constant.
    In $\mathbb{E}_z w - \mathbb{E}_y w = \mathrm{MMD}^2$ the constant cancels too.

    3. $b_c$ is the share of $z$ beyond $c$ minus the share of $y$ beyond $c$, that is, the cumulative distribution function of $y$ minus that of $z$.
    $\int b_c^2 \, dc = \mathrm{MMD}_K^2$ is half the energy distance.

    4. $w(p) = \int_a^b b_c F_c(p) \, dc = \int_a^p b_c \, dc$, so $w'(p) = b_p$ and the move is $-\eta b_z$.
    Where a larger share of $z$ than of $y$ lies beyond a point, the point moves to the left.
    """,
)

random_exercise = Exercise(
    "12.4",
    "Random centres from any density",
    level="core",
    minutes=25,
    text=r"""
    Centres on a square waste most of their features on empty space.
    Let them be drawn from a density $\pi$ instead, such as a blurred copy of the clouds.
    Write one step of the data-driven flow {eq}`eq-12-step` with steepest weights and the features $F_l(z) = h^2 \exp(-|z - c_l|^2 / (2 h^2))$, such that its expectation is the step of the MMD flow for *any* density $\pi$ that is positive everywhere.
    You get the centres and the values $\pi(c_l)$.

    Then measure the distance to the MMD flow as in the chapter, for $\pi$ the kernel density estimate of both clouds together (`mo.kde(np.concatenate([x, y]), bandwidth=h)` samples and has a `log_density`).
    By how much does the distance fall against the square?
    """,
    hints=(
        "A mean over draws from pi approximates the integral of the function times pi, and you want the integral without pi.",
        "The weight of centre l is -eta b_l / (L pi(c_l)); the gradient of F_l at z is F_l(z) (c_l - z) / h^2.",
    ),
    answer=r"""
    $\frac1L \sum_l f(c_l) / \pi(c_l)$ has the expectation $\int \frac{f}{\pi} \pi = \int f$.
    That $\pi$ be positive wherever $f$ is not zero is all that the expectation needs.
    The variance also needs that $f^2 / \pi$ has a finite integral: tails of $\pi$ that are much lighter than those of the features make a few centres enormously important.
    """,
)


@random_exercise.solution
def random_step(z, y, centres, density, h, eta):
    """Return z (n, d) after one step; density (L,) holds pi at the centres (L, d)."""

    def features(p):
        square = ((p[:, None] - centres) ** 2).sum(axis=2)
        return h**2 * np.exp(-square / (2 * h**2))

    b = features(z).mean(axis=0) - features(y).mean(axis=0)
    beta = -eta * b / (len(centres) * density)
    slopes = features(z)[:, :, None] * (centres - z[:, None]) / h**2
    return z + np.einsum("l,nld->nd", beta, slopes)


@random_exercise.cases
def _(rng):
    for n, m, size, d in ((4, 5, 6, 1), (6, 3, 8, 2)):
        c = rng.normal(size=(size, d))
        density = np.exp(-(c**2).sum(axis=1) / 2) / (2 * np.pi) ** (d / 2)
        z, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.7
        yield z, y, c, density, rng.uniform(0.6, 1.2), rng.uniform(0.2, 0.5)


def _step(z, y, centres, weights, h):
    b = _features(z, centres, h).mean(axis=0) - _features(y, centres, h).mean(axis=0)
    slopes = _features(z, centres, h)[:, :, None] * (centres - z[:, None]) / h**2
    return z + ((weights * b)[:, None] * slopes).sum(axis=1)


@random_exercise.mistake(
    """The importance weights are missing: without 1 / pi(c_l) the centres count more where pi is large, and the
    expected step belongs to another kernel."""
)
def _no_importance(z, y, centres, density, h, eta):
    return _step(z, y, centres, -eta / len(centres), h)


@random_exercise.mistake(
    """You multiplied by the density: centres where pi is large come often enough by themselves and must count
    less, so divide."""
)
def _times_density(z, y, centres, density, h, eta):
    return _step(z, y, centres, -eta * density / len(centres), h)


@random_exercise.mistake(
    """The factor 1 / L is missing: this is a sum over the centres, and its expectation grows with their
    number."""
)
def _no_mean(z, y, centres, density, h, eta):
    return _step(z, y, centres, -eta / density, h)


@random_exercise.mistake(
    """The sign is turned round: this step climbs the witness, and drives the clouds apart."""
)
def _uphill(z, y, centres, density, h, eta):
    return _step(z, y, centres, eta / (len(centres) * density), h)


@random_exercise.mistake(
    """You made the weights sum to one. That is tempting and often good, but a ratio of two random sums has not
    the right expectation, and here not even the right limit: 1 / (L pi) sums to the volume of the space."""
)
def _normalised(z, y, centres, density, h, eta):
    q = 1 / density
    return _step(z, y, centres, -eta * q / q.sum(), h)


@random_exercise.mistake(
    """The slope of a feature is F_l(z) (c_l - z) / h^2; your step lacks the division by h^2."""
)
def _no_width(z, y, centres, density, h, eta):
    return _step(z, y, centres, -eta * h**2 / (len(centres) * density), h)


newton_exercise = Exercise(
    "12.5",
    "Through the kernel",
    level="challenge",
    minutes=35,
    text=r"""
    Let $J$ hold the gradients of $L$ features at the $n$ particles, $J_{l, i} = \nabla F_l(z_i) \in \mathbb{R}^d$.
    The Newton weights with averages over the particles are $\beta = -(G + \lambda I)^{-1} b$ with $G_{lm} = \frac1n \sum_i J_{l,i} \cdot J_{m,i}$, and particle $i$ moves by $\sum_l \beta_l J_{l,i}$.

    1. Show on paper that the same moves come from a system of size $n d$ instead of $L$ ({prf:ref}`thm-12-newton` for finitely many features; do not use it, multiply out).
    2. Write a function that returns the moves by whichever of the two systems is smaller.
    3. Time both for $n d = 200$ and $L = 2000$.
    """,
    hints=(
        "Lay J out as a matrix A of L rows and n d columns. Then G = A A^T / n. Which product gives the moves from beta?",
        "(A A^T / n + lambda I) A = A (A^T A / n + lambda I). Multiply by both inverses.",
    ),
    answer=r"""
    With $A$ the $L \times n d$ matrix the moves are $A^\top \beta = -A^\top (\frac1n A A^\top + \lambda I)^{-1} b$.
    From $(\frac1n A^\top A + \lambda I) A^\top = A^\top (\frac1n A A^\top + \lambda I)$, multiplied by the inverses from the left and from the right, the moves are $-(\frac1n A^\top A + \lambda I)^{-1} A^\top b$.
    $A^\top b$ holds the slopes of the witness and $A^\top A$ the mixed second derivatives of the kernel $\sum_l F_l F_l$, so that the second form needs no features at all.
    """,
)


@newton_exercise.solution
def newton_moves(J, b, ridge):
    """Return the moves of the particles, (n, d), for J (L, n, d) and b (L,)."""
    size, n, d = J.shape
    A = J.reshape(size, n * d)
    if size < n * d:
        beta = -np.linalg.solve(A @ A.T / n + ridge * np.eye(size), b)
        return (A.T @ beta).reshape(n, d)
    table = A.T @ A / n + ridge * np.eye(n * d)
    return -np.linalg.solve(table, A.T @ b).reshape(n, d)


@newton_exercise.cases
def _(rng):
    for size, n, d in ((5, 6, 2), (20, 4, 2), (12, 3, 3)):
        yield (
            rng.normal(size=(size, n, d)),
            rng.normal(size=size),
            rng.uniform(0.3, 0.8),
        )


def _moves(J, b, ridge, mean=1.0):
    size, n, d = J.shape
    A = J.reshape(size, n * d)
    table = A @ A.T / (n if mean else 1) + ridge * np.eye(size)
    return -(A.T @ np.linalg.solve(table, b)).reshape(n, d)


@newton_exercise.mistake(
    """The sign is turned round: beta is minus the solution, since the dual falls against b."""
)
def _newton_sign(J, b, ridge):
    return -_moves(J, b, ridge)


@newton_exercise.mistake(
    """The mean over the particles is missing: G has the factor 1 / n, and so has the table of size n d."""
)
def _newton_sum(J, b, ridge):
    return _moves(J, b, ridge, mean=0.0)


@newton_exercise.mistake(
    """You divided by n d: G is a mean over particles of inner products, and the inner product sums over the d
    coordinates without dividing."""
)
def _newton_coordinates(J, b, ridge):
    d = J.shape[2]
    return d * _moves(J, b, d * ridge)


@newton_exercise.mistake(
    """You scaled the ridge by 1 / n together with the table: lambda stands beside the mean, not inside it."""
)
def _newton_ridge(J, b, ridge):
    return _moves(J, b, ridge / J.shape[1])


@newton_exercise.mistake(
    """You left the ridge out. Where there are more features than coordinates of particles, G is singular, and
    where there are fewer, the answer is another one."""
)
def _newton_no_ridge(J, b, ridge):
    size, n, d = J.shape
    A = J.reshape(size, n * d)
    return -(A.T @ np.linalg.pinv(A @ A.T / n) @ b).reshape(n, d)
