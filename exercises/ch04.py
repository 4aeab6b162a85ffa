"""Exercises of chapter 4: the Jacobian of a radial map, steps that fold, Newton's beta, the rate at which KL falls."""

import numpy as np

from .engine import Exercise

jacobian_exercise = Exercise(
    "4.1",
    "The Jacobian of a radial map",
    level="warm-up",
    minutes=15,
    text=r"""
    Let $T(z) = z + \beta f(r) (z - c)$ with $r = |z - c|$ and any smooth function $f$.

    1. Show that $DT = (1 + \beta f) I + \beta \frac{f'}{r} (z - c)(z - c)^\top$.
    2. Find its eigenvectors and eigenvalues.
       Why does the one along the ray contain the derivative of $r f(r)$?
    3. Write down $\log \det DT$, and its first-order term in $\beta$.
       Compare it with the divergence of $f(r) (z - c)$.
    4. For which $f$ does the map leave all volumes as they are, to first order in $\beta$, away from the centre?
       What is the field then, in the plane and in space?
    """,
    hints=(
        "The gradient of r is the unit vector along the ray, and a product has two derivatives.",
        """A matrix a I + b e e^T has the eigenvector e, and all vectors across it. In part 4 solve
        (d - 1) f + (r f)' = 0: try f = r^(-k).""",
    ),
    answer=r"""
    1. $\nabla r = (z - c) / r$, so the derivative of $f(r) (z - c)$ is $f I + (z - c) (f' \nabla r)^\top = f I + \frac{f'}{r} (z - c)(z - c)^\top$.

    2. Along $z - c$ the eigenvalue is $1 + \beta f + \beta r f' = 1 + \beta (r f)'$; across, in $d - 1$ directions, it is $1 + \beta f$.
    Along the ray the map is a map of the line, $r \mapsto r + \beta r f(r)$, and its stretch is its derivative.
    Across, a sphere of radius $r$ becomes one of radius $r (1 + \beta f)$.

    3. $\log \det DT = (d - 1) \log(1 + \beta f) + \log(1 + \beta (r f)')$, to first order $\beta ((d - 1) f + (r f)')$.
    The divergence is the trace of the Jacobian of the field, $d f + r f'$: the same.

    4. $(d - 1) f + f + r f' = 0$ means $f' / f = -d / r$, hence $f = r^{-d}$ up to a factor.
    The field is $(z - c) / r^d$: in space that of a point charge, which falls like $1 / r^2$, and in the plane that of a line of charges, which falls like $1 / r$.
    All of its divergence sits in the centre.
    """,
)

log_det_exercise = Exercise(
    "4.2",
    "Its log-determinant",
    level="core",
    minutes=20,
    text=r"""
    Write the log-determinant of the radial map with the bell-shaped bump $f(r) = e^{-r^2 / 2}$,

    $$
    T(z) = z + \beta\, e^{-r^2 / 2} (z - c), \qquad r = |z - c| ,
    $$

    for points in any number of dimensions and $\beta$ small enough that $T$ is one-to-one.

    Then check yours at one point in three dimensions by finite differences, as the chapter does for `mo.RadialMap`.
    """,
    hints=(
        "How many directions are there across the ray, and how many along it?",
        """Across: 1 + beta f, in d - 1 directions. Along: 1 + beta (r f)', and the product rule gives
        (r f)' = (1 - r^2) f. The logarithm of a product is a sum.""",
    ),
    answer=r"""
    Outside $r = 1$ the stretch along the ray is less than one for a push: the points from inside come nearer to those farther out, which hardly move.
    """,
)


@log_det_exercise.solution
def log_det(z, c, beta):
    """Return log det DT at the points z (n, d), for the centre c (d,), shape (n,)."""
    d, r2 = z.shape[1], ((z - c) ** 2).sum(axis=1)
    f = np.exp(-r2 / 2)
    return (d - 1) * np.log1p(beta * f) + np.log1p(beta * (1 - r2) * f)


@log_det_exercise.cases
def _(rng):
    for d, beta in ((2, 0.7), (3, -0.4), (5, 0.9)):
        yield rng.normal(size=(6, d)), rng.normal(size=d) / 2, beta


def _parts(z, c, beta):
    r2 = ((z - c) ** 2).sum(axis=1)
    f = np.exp(-r2 / 2)
    return z.shape[1], r2, f, 1 + beta * f, 1 + beta * (1 - r2) * f


@log_det_exercise.mistake(
    """You count d directions across the ray and one along it, d + 1 in all. Across there are d - 1."""
)
def _d_across(z, c, beta):
    d, _, _, across, along = _parts(z, c, beta)
    return d * np.log(across) + np.log(along)


@log_det_exercise.mistake(
    """You gave all d directions the stretch 1 + beta f. Along the ray, f changes with r, and its derivative belongs
    into the stretch: 1 + beta (r f)'."""
)
def _no_derivative(z, c, beta):
    d, _, _, across, _ = _parts(z, c, beta)
    return d * np.log(across)


@log_det_exercise.mistake(
    """You counted one direction across, as in the plane. In d dimensions there are d - 1."""
)
def _as_in_the_plane(z, c, beta):
    _, _, _, across, along = _parts(z, c, beta)
    return np.log(across) + np.log(along)


@log_det_exercise.mistake(
    """You took the logarithm of the sum of the eigenvalues, which is the trace. The determinant is their product, so
    sum the logarithms."""
)
def _log_of_sum(z, c, beta):
    d, _, _, across, along = _parts(z, c, beta)
    return np.log((d - 1) * across + along)


@log_det_exercise.mistake(
    """The sign of the derivative is wrong: the bump falls with r, f' = -r f, so (r f)' = (1 - r^2) f."""
)
def _sign(z, c, beta):
    d, r2, f, across, _ = _parts(z, c, beta)
    return (d - 1) * np.log(across) + np.log(1 + beta * (1 + r2) * f)


@log_det_exercise.mistake(
    """You returned the determinant; its logarithm is asked for, because that is what adds up along a flow."""
)
def _no_logarithm(z, c, beta):
    d, _, _, across, along = _parts(z, c, beta)
    return across ** (d - 1) * along


@log_det_exercise.mistake(
    """This is beta times the divergence: the first-order term. It is near for small beta, but its errors add up over
    thousands of steps."""
)
def _first_order(z, c, beta):
    d, r2, f, _, _ = _parts(z, c, beta)
    return beta * ((d - 1) * f + (1 - r2) * f)


@log_det_exercise.mistake(
    """You differentiated f and forgot the r in front of it: along the ray the point is pushed by r f(r), so its stretch
    is 1 + beta (f + r f'), and you have 1 + beta f'."""
)
def _only_f_prime(z, c, beta):
    d, r2, f, across, _ = _parts(z, c, beta)
    return (d - 1) * np.log(across) + np.log(1 - beta * np.sqrt(r2) * f)


limit_exercise = Exercise(
    "4.3",
    "How far before it folds?",
    level="core",
    minutes=25,
    text=r"""
    A bump moves the point at the distance $r$ to the distance $r + \beta p(r)$ on the same ray, $p(0) = 0$.
    You do not know a formula for $p$, only its values on a grid $0 = r_0 < r_1 < \dots$, which need not be even, and each $p_i$ can be of either sign.

    Return the two ends of the interval of those $\beta$ for which the points of the grid keep their order, $r_i + \beta p_i < r_{i+1} + \beta p_{i+1}$ for all $i$.
    An end may be infinite.

    Then try it on $p = r / (1 + r)$ and on $p = r e^{-r^2/2}$, on a fine grid.
    Which of the two bumps may push as hard as it likes?
    Why need we not look at the directions across the ray?
    """,
    hints=(
        "Write the condition for two neighbours as one on beta and the slope of p between them.",
        """With the slopes q = diff(p) / diff(r) the condition is 1 + beta q > 0. Positive slopes bound beta from below,
        negative ones from above; without any there is no bound on that side.""",
    ),
    answer=r"""
    The bump $r / (1 + r)$ never falls, so it may push as hard as it likes, and may pull with $\beta > -1$: on the grid the limit is a little lower, because a slope between two points is less than the one at $0$.
    The bump $r e^{-r^2/2}$ has its smallest slope $-2 e^{-3/2}$ at $r = \sqrt 3$, so it may push with $\beta < \frac12 e^{3/2} \approx 2.24$ only.

    Across the ray the stretch is $1 + \beta p(r) / r$, and $p(r) / r$ is the mean of the slopes between $0$ and $r$.
    If $1 + \beta p'$ is positive everywhere, so are its means.
    """,
)


@limit_exercise.solution
def allowed(r, p):
    """Return (low, high), between which beta keeps the order; r[0] = p[0] = 0."""
    slope = np.diff(p) / np.diff(r)
    low = -1 / slope.max() if slope.max() > 0 else -np.inf
    high = -1 / slope.min() if slope.min() < 0 else np.inf
    return low, high


@limit_exercise.cases
def _(rng):
    r = np.r_[0.0, np.cumsum(rng.uniform(0.05, 0.4, size=30))]
    yield r, r * np.exp(-(r**2) / 2)
    yield r, r / (1 + r)
    yield r, -np.tanh(r) * np.cos(r)


def _ends(slope):
    low = -1 / slope.max() if slope.max() > 0 else -np.inf
    high = -1 / slope.min() if slope.min() < 0 else np.inf
    return low, high


@limit_exercise.mistake(
    """You bounded the stretch across the ray, 1 + beta p / r. Along the ray points can overtake each other long before
    that becomes negative: it is the slope of p that counts."""
)
def _across(r, p):
    return _ends(p[1:] / r[1:])


@limit_exercise.mistake(
    """You took differences of p without dividing by those of r. The grid is not even, and its spacing is not one."""
)
def _no_spacing(r, p):
    return _ends(np.diff(p))


@limit_exercise.mistake(
    """You allowed the same size in both directions. Pushing and pulling have different limits: one is set by the
    steepest rise of p, the other by its steepest fall."""
)
def _symmetric(r, p):
    size = 1 / np.abs(np.diff(p) / np.diff(r)).max()
    return -size, size


@limit_exercise.mistake(
    """The ends belong to the other bump, -p: 1 + beta q > 0 with a positive slope q bounds beta from below."""
)
def _wrong_ends(r, p):
    return _ends(-np.diff(p) / np.diff(r))


@limit_exercise.mistake(
    """You bounded both sides by the largest and the smallest slope whatever their sign. If p never falls, no push is too
    hard: that end is infinite."""
)
def _never_infinite(r, p):
    slope = np.diff(p) / np.diff(r)
    return -1 / np.abs(slope.max()), 1 / np.abs(slope.min())


beta_exercise = Exercise(
    "4.4",
    "Newton's beta",
    level="core",
    minutes=25,
    text=r"""
    Write the Newton step {eq}`eq-04-beta` for one bump with $f(r) = 1 / (\alpha + r)$, capped so that $|\beta| \le \alpha / 2$.

    Then take 300 points of $\mathcal{N}(0, I)$ in the plane, the centre at the origin, and $\alpha = 1$.
    How large is $\beta$?
    And for the same points shrunk by the factor $\frac12$: does one step bring them back?
    """,
    hints=(
        "Write r, f and g as arrays over the points first; then G and H are means of one line each.",
        """g = alpha / (alpha + r)^2. G is the mean of (d - 1) f + g - f z.(z - c), H is minus the mean of
        (f r)^2 + (d - 1) f^2 + g^2, and beta = -G / H is clipped to [-alpha / 2, alpha / 2].""",
    ),
    answer=r"""
    For normal points $\beta$ is near zero; what is left is the chance of the sample.
    For the shrunk ones Newton's step would be larger than the cap, and the capped one brings them only part of the way: the flow has many steps.
    """,
)


@beta_exercise.solution
def newton_beta(z, c, alpha):
    """Return the capped Newton step for the points z (n, d) and the centre c (d,)."""
    gap, d = z - c, z.shape[1]
    r = np.sqrt((gap**2).sum(axis=1))
    f, g = 1 / (alpha + r), alpha / (alpha + r) ** 2
    G = ((d - 1) * f + g - f * (z * gap).sum(axis=1)).mean()
    H = -((f * r) ** 2 + (d - 1) * f**2 + g**2).mean()
    return np.clip(-G / H, -alpha / 2, alpha / 2)


@beta_exercise.cases
def _(rng):
    for d, alpha, scale in ((2, 2.5, 1.2), (3, 2.0, 0.9), (4, 3.0, 1.1), (2, 0.4, 0.3)):
        yield scale * rng.normal(size=(40, d)) + 0.2, rng.normal(size=d) / 2, alpha


def _terms(z, c, alpha):
    gap, d = z - c, z.shape[1]
    r = np.sqrt((gap**2).sum(axis=1))
    f, g = 1 / (alpha + r), alpha / (alpha + r) ** 2
    return d, r, f, g, f * (z * gap).sum(axis=1)


def _step(G, H, alpha):
    return np.clip(-G / H, -alpha / 2, alpha / 2)


@beta_exercise.mistake(
    """The sign of G is wrong: the step goes downhill. The likelihood gains where volume is stretched, +(d - 1) f + g,
    and loses where points leave the origin, -f z.(z - c)."""
)
def _downhill(z, c, alpha):
    d, r, f, g, pull = _terms(z, c, alpha)
    G = ((d - 1) * f + g - pull).mean()
    return _step(-G, -((f * r) ** 2 + (d - 1) * f**2 + g**2).mean(), alpha)


@beta_exercise.mistake(
    """The factor d - 1 is missing: there are d - 1 directions across the ray, in G as in H. In the plane you would not
    have noticed."""
)
def _one_across(z, c, alpha):
    _, r, f, g, pull = _terms(z, c, alpha)
    return _step((f + g - pull).mean(), -((f * r) ** 2 + f**2 + g**2).mean(), alpha)


@beta_exercise.mistake(
    """This is a step along the gradient, beta = G, with no regard to the curvature. Newton divides by -H, and so needs
    no step size."""
)
def _gradient(z, c, alpha):
    d, _, f, g, pull = _terms(z, c, alpha)
    return np.clip(((d - 1) * f + g - pull).mean(), -alpha / 2, alpha / 2)


@beta_exercise.mistake(
    """The curvature of the log-determinant is missing in H: (d - 1) f^2 + g^2. With (f r)^2 alone the steps are too
    long, above all for bumps near the points."""
)
def _half_curvature(z, c, alpha):
    d, r, f, g, pull = _terms(z, c, alpha)
    return _step(((d - 1) * f + g - pull).mean(), -((f * r) ** 2).mean(), alpha)


@beta_exercise.mistake(
    """The cap is missing. Beyond -alpha the map folds at the centre, and beyond -alpha / 2 the theorem no longer
    promises a gain."""
)
def _no_cap(z, c, alpha):
    d, r, f, g, pull = _terms(z, c, alpha)
    H = ((f * r) ** 2 + (d - 1) * f**2 + g**2).mean()
    return ((d - 1) * f + g - pull).mean() / H


@beta_exercise.mistake(
    """You used z.z in G, as if the points moved along the rays from the origin. They move along z - c, so the log
    density changes by -f z.(z - c)."""
)
def _from_the_origin(z, c, alpha):
    d, r, f, g, _ = _terms(z, c, alpha)
    G = ((d - 1) * f + g - f * (z**2).sum(axis=1)).mean()
    return _step(G, -((f * r) ** 2 + (d - 1) * f**2 + g**2).mean(), alpha)


@beta_exercise.mistake(
    """You used |z - c|^2 in G: that pulls the points to c, as if the normal were centred there. Its slope at z is -z."""
)
def _normal_at_the_centre(z, c, alpha):
    d, r, f, g, _ = _terms(z, c, alpha)
    G = ((d - 1) * f + g - f * r**2).mean()
    return _step(G, -((f * r) ** 2 + (d - 1) * f**2 + g**2).mean(), alpha)


rate_exercise = Exercise(
    "4.5",
    "The rate at which KL falls",
    level="challenge",
    minutes=30,
    text=r"""
    Let $\rho_t$ be positive and smooth densities that are carried by the velocity $u_t = -z - \nabla \log \rho_t$, so that $\partial_t \rho_t = -\operatorname{div}(\rho_t u_t)$.
    Assume that they fall off so fast that all integrals exist, time may be differentiated under them, and integration by parts has no boundary terms.

    1. Show $\frac{d}{dt} \mathrm{KL}(\rho_t \,\Vert\, \mu) = -\mathbb{E}_{\rho_t} |u_t|^2$ for $\mu = \mathcal{N}(0, I)$.
    2. Check it for $\rho_t = \mathcal{N}(m e^{-t}, s_t^2)$ on the line, with $s_t$ from {eq}`eq-04-gauss`.
    3. Let now the points follow another field $v_t$.
       Show that KL changes at the rate $-\mathbb{E}_{\rho_t}[u_t \cdot v_t]$.
       So which fields let KL fall although they look nothing like $u_t$?
    4. Of the fields $\theta v$ with one given $v$ and a number $\theta$, which one maximises $\mathbb{E}_\rho[u \cdot \theta v] - \frac12 \mathbb{E}_\rho |\theta v|^2$?
       Compare with the Newton step {eq}`eq-04-newton` for one field.
       What does Newton know that this step does not?
    """,
    hints=(
        "The derivative of rho log rho is (log rho + 1) times that of rho, and mass is conserved.",
        """In part 1, put the continuity equation into the integral of the time derivative of rho times log(rho / mu) and
        integrate by parts. In part 4 the mean of u.v can be written without the score.""",
    ),
    answer=r"""
    1. With $\int \partial_t \rho_t = 0$,

    $$
    \begin{aligned}
    \frac{d}{dt} \int \rho_t \log \frac{\rho_t}{\mu} &= \int \partial_t \rho_t \log \frac{\rho_t}{\mu}
    = - \int \operatorname{div}(\rho_t u_t) \log \frac{\rho_t}{\mu} \\
    &= \int \rho_t\, u_t \cdot \nabla \log \frac{\rho_t}{\mu} = - \int \rho_t |u_t|^2 .
    \end{aligned}
    $$

    2. Write $m_t = m e^{-t}$.
    $\mathrm{KL} = \frac12 (s_t^2 + m_t^2 - 1 - \log s_t^2)$, and $\frac{d}{dt} s_t^2 = 2 (1 - s_t^2)$, so the derivative is $(1 - s_t^2)(1 - 1/s_t^2) - m_t^2 = -(s_t - 1/s_t)^2 - m_t^2$.
    The velocity is $u = -z + (z - m_t)/s_t^2 = -m_t + (1/s_t^2 - 1)(z - m_t)$, and its mean square is $m_t^2 + (1/s_t^2 - 1)^2 s_t^2 = m_t^2 + (1/s_t - s_t)^2$.

    3. The same computation with $\operatorname{div}(\rho_t v_t)$ gives $\int \rho_t\, v_t \cdot \nabla \log(\rho_t / \mu) = -\mathbb{E}[u_t \cdot v_t]$.
    Any field that makes an acute angle with $u_t$ in the mean will do: $u_t$ plus a field $w$ with $\operatorname{div}(\rho_t w) = 0$ gives the same densities at all times, though the points travel differently.

    4. The maximum is at $\theta = \mathbb{E}_\rho[u \cdot v] / \mathbb{E}_\rho |v|^2$, and by {prf:ref}`thm-04-push` the numerator is $\mathbb{E}_\rho[\operatorname{div} v - z \cdot v] = G$.
    Newton divides by $\mathbb{E}_\rho |v|^2 + \mathbb{E}_\rho \operatorname{tr}(Dv)^2$.
    The second term is the curvature of the log-determinant: it knows that a field with steep slopes soon stretches or folds, and takes a shorter step.
    """,
)
