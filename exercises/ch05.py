"""Exercises of chapter 5: layers that stay one-to-one, determinants, two KLs, gradients of the ELBO."""

import numpy as np

from .engine import Exercise

corrected_exercise = Exercise(
    "5.1",
    "Another bend, another condition",
    level="warm-up",
    minutes=20,
    text=r"""
    Take the logistic function $h(t) = 1 / (1 + e^{-t})$ in place of $\tanh$ in the planar layer {eq}`eq-05-planar`.

    1. For which $w \cdot u$ is the layer one-to-one?
       Follow the proof of {prf:ref}`thm-05-planar`.
    2. Write the correction that turns any vector $u$ into a $\hat u$ that satisfies the condition with $>$, in the
       manner of {eq}`eq-05-corrected`: only the part along $w$ changes, and $w \cdot \hat u = \log(1 + e^{w \cdot u}) - c$ with
       the largest $c$ that is allowed.
       It must also work for $w \cdot u = 800$ and $w \cdot u = -800$, without a warning of overflow.
    3. Which layer comes out for $u = 0$?
       Is that a good start for a training?
    """,
    hints=(
        "How steep is the logistic function at its steepest? That replaces the 1 of tanh.",
        """The slope is at most 1/4, so w.u > -4. With s = w . u move u by (softplus(s) - 4 - s) times w, divided by
        the square of |w|; np.logaddexp(0, s) is softplus without overflow.""",
    ),
    answer=r"""
    1. The slope $h' = h (1 - h)$ takes the values in $(0, \frac14]$, so $t + (w \cdot u) h(t + b)$ is increasing exactly if $w \cdot u \ge -4$.

    3. For $u = 0$ the correction gives $w \cdot \hat u = \log 2 - 4 \approx -3.31$.
    So the layer is not the identity, but squeezes to $1 - 3.31 / 4 \approx 0.17$ of the length at its steepest place, and 32 of them start far from anything useful.
    A start near the identity needs $\log(1 + e^s) = 4$, that is $s = \log(e^4 - 1) \approx 3.98$.
    For $\tanh$ the same is true on a smaller scale: there $u = 0$ gives $\log 2 - 1 \approx -0.31$.
    """,
)


@corrected_exercise.solution
def corrected_logistic(u, w):
    """Return u_hat, shape (d,), for u and w of shape (d,), w not zero."""
    s = w @ u
    along = np.logaddexp(0, s) - 4 - s
    return u + along / (w @ w) * w


@corrected_exercise.cases
def _(rng):
    for d, reach in ((2, 1.0), (3, 1.0), (2, -800.0), (3, 800.0)):
        u, w = rng.normal(size=(2, d))
        yield (u * reach / (w @ u) if abs(reach) > 1 else u), w


@corrected_exercise.mistake(
    """That is the condition of tanh, w.u > -1. The logistic function is at most a quarter as steep, so it may be
    used with a stronger pull; yours never folds, but rules out layers that are allowed."""
)
def _as_tanh(u, w):
    s = w @ u
    return u + (np.logaddexp(0, s) - 1 - s) * w / (w @ w)


@corrected_exercise.mistake(
    """You took the steepest slope, 1/4, itself for c. The layer folds where w.u times the slope is below -1, so c
    is one over the slope."""
)
def _a_quarter(u, w):
    s = w @ u
    return u + (np.logaddexp(0, s) - 0.25 - s) * w / (w @ w)


@corrected_exercise.mistake(
    """You moved along w by the right amount, but w has a length: moving u by t w changes w.u by t |w|^2, so
    divide by the square of |w|."""
)
def _no_length(u, w):
    s = w @ u
    return u + (np.logaddexp(0, s) - 4 - s) * w


@corrected_exercise.mistake(
    """You divided by |w| once. That makes w a unit vector, but the inner product with w still carries the second
    factor |w|."""
)
def _one_length(u, w):
    s = w @ u
    return u + (np.logaddexp(0, s) - 4 - s) * w / np.sqrt(w @ w)


@corrected_exercise.mistake(
    """You added the wanted inner product to the one that is there. Subtract s first: the part of u along w is
    replaced, not enlarged."""
)
def _added(u, w):
    return u + (np.logaddexp(0, w @ u) - 4) * w / (w @ w)


@corrected_exercise.mistake(
    """You scaled u as a whole. That gives the right inner product with w, but it changes the part of u across w
    too, which never did any harm, and it fails where w.u = 0."""
)
def _scaled(u, w):
    s = w @ u
    return u * (np.logaddexp(0, s) - 4) / s


@corrected_exercise.mistake(
    """log(1 + exp(s)) overflows for s = 800, though its value is 800. np.logaddexp(0, s) is the same function
    without the overflow."""
)
def _overflows(u, w):
    s = w @ u
    with np.errstate(over="ignore"):
        return u + (np.log(1 + np.exp(s)) - 4 - s) * w / (w @ w)


log_det_exercise = Exercise(
    "5.2",
    "The determinant of a logistic layer",
    level="core",
    minutes=20,
    text=r"""
    A planar layer with the logistic function moves $n$ points by $z \mapsto z + u \, h(w \cdot z + b)$ with
    $h(t) = 1 / (1 + e^{-t})$, and $w \cdot u > -4$ has been taken care of.
    Return the log-determinant of its Jacobian at each point, in a time proportional to $n d$: no table of
    $d \times d$ numbers, no `np.linalg.det`.

    Then show that the logistic layer is a $\tanh$ layer in disguise, up to a shift.
    With which $u$, $w$ and $b$?
    """,
    hints=(
        "The Jacobian is the identity plus a matrix of rank one. Which two vectors is it made of?",
        """The derivative of the logistic function is h (1 - h), so the Jacobian is I + u v^T with v = h (1 - h) w, and
        its determinant is 1 + u.v.""",
    ),
    answer=r"""
    Since $h(t) = \frac12 + \frac12 \tanh(t / 2)$, the layer is $z \mapsto \frac12 u + z + \frac12 u \tanh(\frac12 w \cdot z + \frac12 b)$: a $\tanh$ layer with $\frac12 u$, $\frac12 w$ and $\frac12 b$, and then a shift by $\frac12 u$.
    Its condition $\frac12 w \cdot \frac12 u \ge -1$ is $w \cdot u \ge -4$, as it must be.
    """,
)


@log_det_exercise.solution
def logistic_log_det(z, u, w, b):
    """Return log det, shape (n,), at z (n, d) for u, w of shape (d,) and a number b."""
    h = 1 / (1 + np.exp(-(z @ w + b)))
    slope = h * (1 - h)
    return np.log(1 + slope * (w @ u))


@log_det_exercise.cases
def _(rng):
    for n, d, sign in ((5, 2, 1), (4, 3, -1), (6, 5, 1)):
        u, w = rng.normal(size=(2, d))
        yield rng.normal(size=(n, d)), sign * 0.8 * u / abs(w @ u), w, 0.3


def _h(z, w, b):
    return 1 / (1 + np.exp(-(z @ w + b)))


@log_det_exercise.mistake(
    """The derivative of h is missing: a layer stretches where h is steep and hardly at all where it is flat, so
    the answer must differ from point to point."""
)
def _no_slope(z, u, w, b):
    return np.full(len(z), np.log(1 + w @ u))


@log_det_exercise.mistake(
    """You used h itself where its derivative belongs; the determinant measures how fast the move changes, not how
    large it is."""
)
def _value(z, u, w, b):
    return np.log(1 + _h(z, w, b) * (w @ u))


@log_det_exercise.mistake(
    """1 - h^2 is the derivative of tanh. That of the logistic function is h (1 - h)."""
)
def _tanh_rule(z, u, w, b):
    return np.log(1 + (1 - _h(z, w, b) ** 2) * (w @ u))


@log_det_exercise.mistake(
    """You multiplied the diagonal entries of the Jacobian. That is the determinant of a triangular matrix, and
    this one is not triangular: its other entries are h' u_i w_j."""
)
def _diagonal(z, u, w, b):
    h = _h(z, w, b)
    slope = h * (1 - h)
    return np.log(np.abs(1 + slope[:, None] * (w * u))).sum(axis=1)


@log_det_exercise.mistake(
    """The sign is turned round. The map adds u h(...), so 1 + h' w.u is its stretch; the inverse map has the other
    sign of the logarithm."""
)
def _inverse(z, u, w, b):
    return -logistic_log_det(z, u, w, b)


@log_det_exercise.mistake("""This is the determinant itself; take its logarithm.""")
def _no_log(z, u, w, b):
    return np.exp(logistic_log_det(z, u, w, b))


@log_det_exercise.mistake(
    """The offset b is missing inside h: your ridge runs through the origin."""
)
def _no_offset(z, u, w, b):
    return logistic_log_det(z, u, w, 0.0)


two_modes_exercise = Exercise(
    "5.3",
    "Two ways to fit one bump to two",
    level="core",
    minutes=25,
    text=r"""
    On an even grid $t_1, \dots, t_n$ of the line a density $p$ is given by its values, with $\sum_i p(t_i) \, \Delta t = 1$.
    Among the Gaussians $q = \mathcal{N}(m, s^2)$ with $m$ from one list and $s$ from another, find the one with the
    smallest forward KL, $\sum_i p \log \frac{p}{q} \, \Delta t$, and the one with the smallest reverse KL,
    $\sum_i q \log \frac{q}{p} \, \Delta t$.
    Return them as $((m, s), (m, s))$, forward first.

    Then take $p = 0.6 \, \mathcal{N}(-a, 1) + 0.4 \, \mathcal{N}(a, 1)$ and let $a$ grow from 0 to 5.
    Where does each fit put its mean?
    From which $a$ on does the reverse fit give up the second mode?
    """,
    hints=(
        """The two differ in who is averaged over: points of the data (p) or points of the model (q). Both compare
        the same two logarithms.""",
        """Loop over all pairs (m, s); write log q with its constant -log s - log(2 pi) / 2, which depends on s; sum p
        (log p - log q) for the forward and q (log q - log p) for the reverse KL; keep the pair with the
        smallest sum of each.""",
    ),
    answer=r"""
    The forward fit has the mean and the variance of $p$, as far as the lists allow: $m = -0.2 a$ and $s^2 = 1 + 0.96 a^2$.
    Its mean moves slowly to a place where, for large $a$, $p$ has hardly any mass.
    The reverse fit also covers both bumps, with a mean between them, until $a$ is about $2.6$.
    There it jumps onto the heavier mode, with $m \approx -a$ and $s \approx 1$, and its KL tends to $\log(1 / 0.6) \approx 0.51$ nats: what it costs to ignore the other mode.
    """,
)


@two_modes_exercise.solution
def two_fits(t, p, means, sds):
    """Return the best (m, s) in forward, then in reverse KL; t and p: shape (n,)."""
    forward, reverse = {}, {}
    for m in means:
        for s in sds:
            log_q = -(((t - m) / s) ** 2) / 2 - np.log(s) - np.log(2 * np.pi) / 2
            forward[m, s] = (p * (np.log(p) - log_q)).sum()
            reverse[m, s] = (np.exp(log_q) * (log_q - np.log(p))).sum()
    return min(forward, key=forward.get), min(reverse, key=reverse.get)


@two_modes_exercise.cases
def _(rng):
    t = np.linspace(-14.0, 14.0, 281)
    for a, share in ((3.0, 0.6), (2.5, 0.3), (3.5, 0.75)):
        left, right = (
            np.exp(-((t - c) ** 2) / 2) / np.sqrt(2 * np.pi) for c in (-a, a)
        )
        means = np.round(np.linspace(-4, 4, 17), 6)
        yield t, share * left + (1 - share) * right, means, np.linspace(0.5, 5.0, 10)


def _fits(t, p, means, sds, loss_forward, loss_reverse, constant=1.0):
    best = []
    for loss in (loss_forward, loss_reverse):
        value = {}
        for m in means:
            for s in sds:
                log_q = -(((t - m) / s) ** 2) / 2 - constant * (
                    np.log(s) + np.log(2 * np.pi) / 2
                )
                value[m, s] = loss(np.log(p), log_q).sum()
        best.append(min(value, key=value.get))
    return tuple(best)


def _forward(log_p, log_q):
    return np.exp(log_p) * (log_p - log_q)


def _reverse(log_p, log_q):
    return np.exp(log_q) * (log_q - log_p)


@two_modes_exercise.mistake(
    """The two are exchanged: forward means that the average is taken over the data's law p, as maximum likelihood
    does."""
)
def _swapped(t, p, means, sds):
    return _fits(t, p, means, sds, _reverse, _forward)


@two_modes_exercise.mistake(
    """Your second fit averages over p too, with only the two logarithms exchanged. That is minus the forward KL,
    whose minimum is the worst fit; the reverse KL averages over q."""
)
def _same_average(t, p, means, sds):
    return _fits(t, p, means, sds, _forward, lambda a, b: np.exp(a) * (b - a))


@two_modes_exercise.mistake(
    """Log q lacks its constant -log s, so q has no total mass of one: for the forward KL the widest Gaussian then
    always wins, since a wide one costs nothing."""
)
def _no_constant(t, p, means, sds):
    return _fits(t, p, means, sds, _forward, _reverse, constant=0.0)


@two_modes_exercise.mistake(
    """Your sums have no weights: every point of the grid counts the same. A KL is an average, over p or over q."""
)
def _no_weights(t, p, means, sds):
    return _fits(t, p, means, sds, lambda a, b: a - b, lambda a, b: b - a)


@two_modes_exercise.mistake(
    """Both of your fits are the forward one. Reverse KL averages over q and cannot see mass of p where q has
    none."""
)
def _both_forward(t, p, means, sds):
    return _fits(t, p, means, sds, _forward, _forward)


@two_modes_exercise.mistake(
    """Your reverse fit averages only log p over q, without log q. Then nothing keeps q wide, and the narrowest
    Gaussian on top of the highest mode wins; the entropy of q is the other half of the reverse KL."""
)
def _no_entropy(t, p, means, sds):
    return _fits(t, p, means, sds, _forward, lambda a, b: -np.exp(b) * a)


lemma_exercise = Exercise(
    "5.4",
    "The matrix determinant lemma",
    level="core",
    minutes=20,
    text=r"""
    1. Show that $\det(I + u v^\top) = 1 + v \cdot u$ for all $u, v \in \mathbb{R}^d$.
    2. What are the eigenvalues of $I + u v^\top$?
       What does the matrix do to vectors across $v$, and to $u$?
    3. Derive the log-determinant {eq}`eq-05-radial-det` of a radial layer from part 1.
    4. A *Sylvester* layer moves by $M$ ridges at once, $z \mapsto z + A \tanh(B z + b)$ with matrices $A$ ($d \times M$)
       and $B$ ($M \times d$).
       Show that its Jacobian determinant is that of an $M \times M$ matrix.
       What is gained when $M$ is small?
    """,
    hints=(
        """Vectors across v are not changed at all, so all but one of the eigenvalues are known. Or use that AB and
        BA have the same eigenvalues other than zero.""",
        """For part 4 multiply the block matrix with rows (I, -A) and (B, I) by triangular ones, once from the left
        and once from the right: its determinant comes out as det(I + AB) and as det(I + BA).""",
    ),
    answer=r"""
    1. If $v = 0$ both sides are one.
    Else every $x$ with $v \cdot x = 0$ satisfies $(I + u v^\top) x = x$: an eigenvalue 1 with a space of dimension $d - 1$.
    In a basis of that space and one further vector $v$ the matrix is triangular by blocks; the last diagonal entry is the one with which $v$ returns modulo that space, $\frac{v \cdot (I + u v^\top) v}{v \cdot v} = 1 + v \cdot u$.
    The determinant is the product $1^{d-1} \cdot (1 + v \cdot u)$.

    2. One, $d - 1$ times, on the vectors across $v$; and $1 + v \cdot u$, with the eigenvector $u$ if $v \cdot u \neq 0$: $(I + u v^\top) u = (1 + v \cdot u) u$.

    3. With $y = z - c$, $r = |y|$, $f = 1 / (\alpha + r)$ and $\nabla r = y / r$ the Jacobian is $(1 + \beta f) I + \beta f' \, y y^\top / r$.
    Take the factor $1 + \beta f$ out of each of the $d$ rows, and use part 1 with $u = \frac{\beta f'}{(1 + \beta f)\, r} y$ and $v = y$:

    $$
    \det = (1 + \beta f)^d \Bigl( 1 + \frac{\beta f' r}{1 + \beta f} \Bigr) = (1 + \beta f)^{d-1} \, (1 + \beta f + \beta f' r) ,
    $$

    and $f + f' r = \alpha / (\alpha + r)^2$.

    4. The Jacobian is $I + A H B$ with the diagonal matrix $H$ of the slopes $\tanh'$.
    Compute the determinant of $\begin{pmatrix} I & -A H \\ B & I \end{pmatrix}$ in two ways.
    Subtracting $B$ times the first block of rows from the second leaves $\det(I + B A H)$, of size $M$.
    Adding $A H$ times the second block of rows to the first leaves $\det(I + A H B)$, of size $d$.
    So $\det(I_d + A H B) = \det(I_M + B A H)$, which costs of the order of $M^2 d + M^3$ operations instead of $d^3$.
    """,
)

elbo_exercise = Exercise(
    "5.5",
    "Two gradients of one expectation",
    level="challenge",
    minutes=30,
    text=r"""
    The gradient of the ELBO can be estimated from samples of $q_\theta$ in two ways.
    Let $q_\theta$ be the law of $T_\theta(\varepsilon)$ with $\varepsilon \sim \mathcal{N}(0, I)$, all functions smooth enough that
    derivatives and expectations may be exchanged.

    1. Derive the *path* gradient: $\nabla_\theta \mathrm{ELBO} = \mathbb{E}_\varepsilon \bigl[ (\partial_\theta T_\theta)^\top s(T_\theta(\varepsilon)) + \nabla_\theta \log \det DT_\theta(\varepsilon) \bigr]$ with the score $s = \nabla \log \tilde p$.
       Which constant of $\tilde p$ need not be known?
    2. Show that $\mathbb{E}_q[\nabla_\theta \log q_\theta] = 0$, and derive from it a gradient that needs no score: $\mathbb{E}_q\bigl[ (\log \tilde p - \log q_\theta) \nabla_\theta \log q_\theta \bigr]$.
    3. On the line let $\tilde p = \mathcal{N}(0, 1)$ and $q_m = \mathcal{N}(m, 1)$.
       Compute the variance of both estimates from a single sample.
       Which is better far from the optimum, and which at it?
    4. Differentiate $\log \tilde p(m + \varepsilon) - \log q_{m'}(m + \varepsilon)$ by $m$ only, and then set $m' = m$.
       Show that this third estimate is also right on average, and that here its variance is zero for every $m$.
    """,
    hints=(
        """For part 1 write the ELBO as an expectation over epsilon, whose law does not depend on theta; for part 2
        differentiate the integral of q, which is one.""",
        """For part 3 put x = m + e: the path estimate is -x, the other one is (e^2 - x^2) e / 2. You need the moments
        0, 1, 0, 3 of e. For part 4, the term left out is the one of part 2.""",
    ),
    answer=r"""
    1. By the change of variables $\log q_\theta(T_\theta(\varepsilon)) = \log \mathcal{N}(\varepsilon) - \log \det DT_\theta(\varepsilon)$.
    So $\mathrm{ELBO} = \mathbb{E}_\varepsilon[\log \tilde p(T_\theta(\varepsilon)) + \log \det DT_\theta(\varepsilon)] + \text{const}$; differentiate inside, with the chain rule for the first term.
    The factor $Z$ adds a constant to $\log \tilde p$ and does not appear in the score.

    2. $\mathbb{E}_q[\nabla \log q] = \int \nabla q \, dx = \nabla \int q \, dx = \nabla 1 = 0$.
    Then $\nabla \int q (\log \tilde p - \log q) = \int \nabla q \, (\log \tilde p - \log q) - \int q \, \nabla \log q$, the last integral is zero, and $\nabla q = q \nabla \log q$.

    3. With $x = m + \varepsilon$ the path estimate is $-(m + \varepsilon)$, since the log-determinant is zero: mean $-m$, variance $1$.
    For the other, $\log \tilde p - \log q = \frac12 \varepsilon^2 - \frac12 (m + \varepsilon)^2 = -\frac12 m^2 - m \varepsilon$ and $\partial_m \log q = \varepsilon$, so it is $-\frac12 m^2 \varepsilon - m \varepsilon^2$.
    Its mean is $-m$ too; its second moment is $\frac14 m^4 + 3 m^2$ (the mixed term has the mean of $\varepsilon^3$, zero), so its variance is $\frac14 m^4 + 2 m^2$.
    Far away the path gradient is better by any factor.
    At the optimum $m = 0$ it is the other way round: the path estimate still has variance one, the other one has none.
    They are equal at $m^2 = 2 \sqrt 5 - 4$, $|m| \approx 0.69$.

    4. The full path gradient of $\log q_m(m + \varepsilon)$ has two parts, by the point and by the parameter; the second is $\partial_{m'} \log q_{m'}(x)$ at $m' = m$, whose mean is zero by part 2.
    Leaving it out changes nothing on average.
    What stays is $-(m + \varepsilon) + \varepsilon = -m$, without any noise.
    """,
)
