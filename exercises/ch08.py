"""Exercises of chapter 8: hull and transform, Poisson's equation, mass that is lost, a dual that never rises."""

import numpy as np
from scipy.fft import dctn, fftn, idctn, ifftn

from .engine import Exercise

transform_exercise = Exercise(
    "8.1",
    "The transform with the hull",
    level="warm-up",
    minutes=20,
    text=r"""
    Write the Legendre transform on the line, $u^*(s) = \max_i s x_i - u_i$, in linear time: first the corners
    of the lower convex hull, then one walk along them for slopes that rise.
    Do it without looking at the chapter's functions, with a picture of the rolling line before you.

    Then transform twice, with slopes fine enough, and draw $u$ and $u^{**}$ in one picture.
    """,
    hints=(
        """Where does the line of slope s touch? Which points can it never touch, whatever s is?""",
        """Keep a stack of corners. A new point removes the last corner while the slope into that corner is at
        least the slope from it to the new point. In the walk, move on while the next edge is less steep than
        s.""",
    ),
    answer=r"""
    $u^{**}$ is the lower convex hull of the points: equal to $u$ at the corners, below it in the dents.
    """,
)


@transform_exercise.solution
def transform(x, u, slopes):
    """Return max over i of s x[i] - u[i] for rising x and rising slopes s."""
    corners = []
    for i in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (u[b] - u[a]) * (x[i] - x[b]) < (u[i] - u[b]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    x, u = x[corners], u[corners]
    k, touched = 0, []
    for s in slopes:
        while k + 1 < len(x) and u[k + 1] - u[k] < s * (x[k + 1] - x[k]):
            k += 1
        touched.append(k)
    return slopes * x[touched] - u[touched]


@transform_exercise.cases
def _(rng):
    for n, m in ((3, 4), (12, 9), (40, 60)):
        x = np.sort(rng.uniform(-1, 1, n))
        u = x**2 + rng.uniform(0, 0.3, n)
        yield x, u, np.linspace(-2.5, 2.5, m)


def _at(x, u, slopes):
    return slopes[:, None] * x - u


@transform_exercise.mistake(
    """You walked along the points and not along the corners of the hull: in the first dent the walk stops,
    since the next point looks worse although a later one is better."""
)
def _no_hull(x, u, slopes):
    k, values = 0, []
    for s in slopes:
        while k + 1 < len(x) and u[k + 1] - u[k] < s * (x[k + 1] - x[k]):
            k += 1
        values.append(s * x[k] - u[k])
    return np.array(values)


@transform_exercise.mistake(
    """You took the hull from above: corners stay where the slope falls, and the largest value becomes the
    smallest. The line comes from below."""
)
def _from_above(x, u, slopes):
    return _at(x, u, slopes).min(axis=1)


@transform_exercise.mistake(
    """This is where the line meets the vertical axis, and the transform is minus that: s x - u, not u - s x."""
)
def _intercept(x, u, slopes):
    return -_at(x, u, slopes).max(axis=1)


@transform_exercise.mistake(
    """The sign of u is turned round: s x + u is largest on the upper side of the points."""
)
def _plus(x, u, slopes):
    return (slopes[:, None] * x + u).max(axis=1)


@transform_exercise.mistake(
    """You returned the place of the maximum, which is the slope of the transform, and not the value there."""
)
def _place(x, u, slopes):
    return x[_at(x, u, slopes).argmax(axis=1)]


poisson_exercise = Exercise(
    "8.2",
    "The gradient in $H^1$",
    level="core",
    minutes=20,
    text=r"""
    Write the direction in which the dual rises fastest in the norm $\int |\nabla h|^2$ when the residual is
    $r$: the $w$ with $-\Delta w = r$, without flux through the edge of the unit square, with mean zero.

    The grid has $n \times n$ cells; take the five-point Laplacian with mirrored edges, and
    `scipy.fft.dctn` and `idctn`.
    If $r$ has a mean, leave it out: no $w$ without flux can have a Laplacian with a mean.

    Apply the five-point Laplacian to your $w$ and compare with $r$.
    """,
    hints=(
        """The cosine modes are eigenvectors. What does the second difference of cos(pi k x) at the centres of
        the cells give back, and what is the spacing?""",
        """The eigenvalue of mode (k, l) of minus the Laplacian is
        2 n^2 (1 - cos(pi k / n)) + 2 n^2 (1 - cos(pi l / n)). Divide the transform by it; set the entry
        (0, 0) to zero.""",
    ),
    answer=r"""
    The chapter sets the zero eigenvalue to infinity, which is a short way to leave out the constant.
    """,
)


@poisson_exercise.solution
def gradient_h1(r):
    """Return w of shape (n, n), mean 0, with -Laplace w = r - mean(r) and no flux."""
    from scipy.fft import dctn, idctn

    n = len(r)
    one = 2 * n**2 * (1 - np.cos(np.pi * np.arange(n) / n))
    eigenvalue = one[:, None] + one
    eigenvalue[0, 0] = 1.0  # that of the constant, which is left out below
    modes = dctn(r) / eigenvalue
    modes[0, 0] = 0.0
    return idctn(modes)


@poisson_exercise.cases
def _(rng):
    for n in (4, 9, 16):
        yield (rng.standard_normal((n, n)) + 0.5,)


def _eigenvalues(n, turn=np.pi):
    one = 2 * n**2 * (1 - np.cos(turn * np.arange(n) / n))
    return one[:, None] + one


@poisson_exercise.mistake(
    """The sign is turned round: you solved Laplace w = r. It is minus the Laplacian that is positive, so with
    your sign J rises at every step."""
)
def _sign(r):
    return -gradient_h1(r)


@poisson_exercise.mistake(
    """The spacing is missing: second differences must be divided by h^2 = 1 / n^2 to be a Laplacian. Your
    steps are too long by n^2, and the error grows with the grid."""
)
def _no_spacing(r):
    return gradient_h1(r) * len(r) ** 2


@poisson_exercise.mistake(
    """The constant got through: you divided the mode (0, 0) by one, or by something else that is not
    infinite. The mean of w is not zero; w has no part in the mean of r."""
)
def _constant(r):
    eigenvalue = _eigenvalues(len(r))
    eigenvalue[0, 0] = 1.0
    return idctn(dctn(r) / eigenvalue)


@poisson_exercise.mistake(
    """These are periodic waves: what flows out at one edge comes in at the other. The square has walls, and
    the modes without flux are cosines."""
)
def _periodic(r):
    eigenvalue = _eigenvalues(len(r), 2 * np.pi)
    eigenvalue[0, 0] = np.inf
    return ifftn(fftn(r) / eigenvalue).real


@poisson_exercise.mistake(
    """You divided by (pi k)^2 + (pi l)^2, the eigenvalues of the true Laplacian. The five-point Laplacian
    damps short waves less; apply it to your w and you do not get r."""
)
def _continuous(r):
    one = (np.pi * np.arange(len(r))) ** 2
    eigenvalue = one[:, None] + one
    eigenvalue[0, 0] = np.inf
    return idctn(dctn(r) / eigenvalue)


@poisson_exercise.mistake(
    """You transformed forward twice: going back takes idctn, which also has the scale that undoes dctn."""
)
def _forward_twice(r):
    eigenvalue = _eigenvalues(len(r))
    eigenvalue[0, 0] = np.inf
    return dctn(dctn(r) / eigenvalue)


splat_exercise = Exercise(
    "8.3",
    "Not a grain lost",
    level="core",
    minutes=20,
    text=r"""
    Put masses down on the line $[0, 1]$, cut into $n$ cells: each is shared by the two nearest *centres* of
    cells, in proportion to nearness.
    What lies beyond the outermost centres, even outside $[0, 1]$, goes to these.
    The sum over the cells must be the sum of the masses, to rounding.

    Then try 1000 points that a map has squeezed into a tenth of the interval.
    """,
    hints=(
        """Three things can lose mass: the edge, the shares, and several masses in one cell. Check the sum after
        each.""",
        """The place in cells, counted from the first centre, is x n - 1/2. Clip *it* to [0, n - 1], then split
        it into a whole part, at most n - 2, and a rest. np.add.at adds where indices repeat; out[i] += m does
        not.""",
    ),
    answer=r"""
    `np.bincount` adds the weights of equal indices; `np.add.at` does so too, more slowly.
    """,
)


@splat_exercise.solution
def splat_on_line(places, mass, n):
    """Return the masses of the n cells, shape (n,)."""
    p = np.clip(places * n - 0.5, 0, n - 1)
    low = np.minimum(p.astype(int), n - 2)
    right = mass * (p - low)
    return np.bincount(low, mass - right, n) + np.bincount(low + 1, right, n)


@splat_exercise.cases
def _(rng):
    for count, n in ((5, 4), (60, 7), (30, 20)):
        places = np.r_[-0.2, rng.uniform(0, 0.6, count), 1.1]
        yield places, rng.uniform(0.5, 2, count + 2), n


def _shares(places, n, clip_place=True, offset=0.5):
    p = places * n - offset
    if clip_place:
        p = np.clip(p, 0, n - 1)
    low = np.clip(np.floor(p).astype(int), 0, n - 2)
    return low, p - low


def _added(low, rest, mass, n):
    return np.bincount(low, mass * (1 - rest), n) + np.bincount(low + 1, mass * rest, n)


@splat_exercise.mistake(
    """Masses that meet in one cell overwrite one another: out[index] += mass with an array of indices keeps
    only one of those that share an index. Use np.add.at or np.bincount."""
)
def _overwritten(places, mass, n):
    low, rest = _shares(places, n)
    out = np.zeros(n)
    out[low] += mass * (1 - rest)
    out[low + 1] += mass * rest
    return out


@splat_exercise.mistake(
    """You clipped the index of the cell but not the place: beyond the edge one share is larger than one and
    the other negative. The sum is right, but no density is negative."""
)
def _index_clipped(places, mass, n):
    return _added(*_shares(places, n, clip_place=False), mass, n)


@splat_exercise.mistake(
    """What lies outside the interval was thrown away. A map of the square to itself sends nothing out, but
    rounding and long steps do; their mass belongs to the outermost cells."""
)
def _dropped(places, mass, n):
    inside = (places >= 0) & (places <= 1)
    return splat_on_line(places[inside], mass[inside], n)


@splat_exercise.mistake(
    """The whole mass went to one cell. No mass is lost, but the result jumps when a place moves by a hair;
    share it between two cells."""
)
def _nearest(places, mass, n):
    return np.bincount(np.clip((places * n).astype(int), 0, n - 1), mass, n)


@splat_exercise.mistake(
    """Everything is moved by half a cell: the centre of the first cell is at 1 / (2 n) and not at zero."""
)
def _half_a_cell(places, mass, n):
    return _added(*_shares(places, n, offset=0.0), mass, n)


@splat_exercise.mistake(
    """The shares are swapped: the nearer centre must get the larger one."""
)
def _swapped(places, mass, n):
    low, rest = _shares(places, n)
    return _added(low, 1 - rest, mass, n)


dual_exercise = Exercise(
    "8.4",
    "A transform never makes it worse",
    level="core",
    minutes=20,
    text=r"""
    Let $X$ and $Y$ be finite sets of points of $\mathbb{R}^d$, such as the centres of cells, $\mu$ and $\nu$
    weights on them, and $J(\phi, \psi) = \mathbb{E}_\mu \phi + \mathbb{E}_\nu \psi$, to be made small under
    the constraint $\phi(x) + \psi(y) \ge \langle x, y \rangle$ for all $x \in X$, $y \in Y$.

    1. Let $(\phi, \psi)$ obey the constraint. Show that $(\phi, \phi^*)$ does too, and that
       $J(\phi, \phi^*) \le J(\phi, \psi)$.
    2. Show that $\phi^{**} \le \phi$ and $\phi^{***} = \phi^*$, so that the loop's `psi = phi*`,
       `phi = psi*` never raises $J$, and to repeat it changes nothing.
    3. After such a pair of transforms, $J$ is the same whether it is seen as a function of $\phi$ or of
       $\psi$. Why may the loop then take a half step in $\psi$ without spoiling what the half step in
       $\phi$ has gained?
    4. Where can $\phi^{**} < \phi$ happen although $(\phi, \phi^*)$ is a minimiser?
    """,
    hints=(
        """A transform is the smallest function that the constraint allows.""",
        """The constraint says psi(y) >= <x, y> - phi(x) for all x: take the maximum over x. For part 2 use that
        a larger phi has a smaller transform.""",
    ),
    answer=r"""
    1. For given $\phi$ the constraint says $\psi(y) \ge \langle x, y \rangle - \phi(x)$ for all $x$, that is
       $\psi \ge \phi^*$, and $\phi^*$ itself obeys it.
       As $\nu \ge 0$, $\mathbb{E}_\nu \phi^* \le \mathbb{E}_\nu \psi$.
    2. By part 1 with the roles exchanged, the smallest $\phi$ allowed beside $\phi^*$ is $\phi^{**}$, and
       $\phi$ is allowed, so $\phi^{**} \le \phi$.
       Transforms turn the order round, so $\phi^{***} \ge \phi^*$; and $\phi^{***} \le \phi^*$ by what was
       just shown, applied to $\phi^*$.
       Hence $J(\phi^{**}, \phi^*) \le J(\phi, \phi^*)$, and a second round gives the same pair.
    3. The pair $(\phi^{**}, \phi^*)$ obeys the constraint with nothing to spare on either side.
       A half step in $\psi$ starts at this pair, so at the value that the half step in $\phi$ has reached, and
       is judged by the fall from there; a step that is short enough lowers it further.
       Gains add up, since both half steps lower the *same* number.
    4. Only where $\mu$ has no mass: $\mathbb{E}_\mu (\phi - \phi^{**}) = 0$ for a minimiser.
       In a vacuum of $\mu$ the potential is not determined, and the transform picks the smallest one.
    """,
)

first_step_exercise = Exercise(
    "8.5",
    "The first step, three times",
    level="challenge",
    minutes=30,
    text=r"""
    Let $\nu = 1$ on the unit square and $\mu = 1 + \varepsilon g$ with a smooth $g$ of mean zero and a small
    $\varepsilon$; drop what is of third order in $\varepsilon$.
    The loop starts at $\phi = \psi = \frac12 |x|^2$.

    1. Show that the first half step gives $\phi = \frac12 |x|^2 - \sigma w$ with
       $-\Delta w = \varepsilon g$, and by {eq}`eq-08-second` that $J$ has then fallen by
       $(\sigma - \frac12 \sigma^2) \int |\nabla w|^2$. Which $\sigma$ is best, and what does the chapter's
       rule make of $\sigma = \frac14$, of $\sigma = 1$, and of $\sigma = 2$?
    2. Conclude that $W_2^2(\mu, \nu) \approx \int |\nabla w|^2$. This is the squared norm of $\mu - \nu$ in
       $H^{-1}$, and the squared {term}`MMD` for the {term}`Coulomb kernel`.
    3. Put $\phi$ with $\sigma = 1$ into the equation $\mu = \nu(\nabla \phi) \det D^2 \phi$ of
       {doc}`07_monge_ampere`. To which order does it hold?
    4. Now let $\nu = 1$ and $\mu$ be any smooth positive density, and start near the optimal $\phi$ and not near
       the identity. Which equation has Newton's step for the residual $r$, and for which maps is it
       Poisson's?
    """,
    hints=(
        """At the start both maps are the identity, and the transforms cost nothing to second order but the
        quadratic term.""",
        """The derivative of J along h = -sigma w is -sigma times the integral of w r, and integration by parts
        turns it into the integral of |grad w|^2. In part 1 compare the fall with what was promised. In part 4
        minimise the quadratic model with the second derivative of the chapter.""",
    ),
    answer=r"""
    1. $r = \mu - \nu = \varepsilon g$ because $\nabla \psi$ is the identity, which gives the step.
       Along $h = -\sigma w$ the derivative is $-\sigma \int w r = -\sigma \int |\nabla w|^2$ by parts (no
       flux), and the second derivative at the identity is $\int |\nabla h|^2 = \sigma^2 \int |\nabla w|^2$.
       So $J$ falls by $(\sigma - \frac12 \sigma^2) \int |\nabla w|^2$, most for $\sigma = 1$.
       The promise was $\sigma \int |\nabla w|^2$, and the part of it that is kept is $1 - \frac12 \sigma$:
       $\frac78$ for $\sigma = \frac14$, so the step grows; $\frac12$ for $\sigma = 1$, so it stays; nothing
       for $\sigma = 2$, so it shrinks.
    2. At the start $\phi = \psi$ is half the square, and {eq}`eq-08-value` gives zero; the best step lowers
       $J$ by $\frac12 \int |\nabla w|^2$, to second order all there is to gain, because the quadratic model
       has its minimum there.
       So $\frac12 W_2^2 \approx \frac12 \int |\nabla w|^2 = \frac12 \int w r$.
    3. $\det D^2 \phi = \det(I - D^2 w) = 1 - \Delta w + O(\varepsilon^2) = 1 + \varepsilon g + O(\varepsilon^2)$:
       to first order. Poisson's equation is the Monge-Ampere equation near the identity.
    4. The quadratic model is $\int h r + \frac12 \int \langle \nabla h, A \nabla h \rangle$ with
       $A = \det(D^2\phi) (D^2\phi)^{-1}$, so $-\operatorname{div}(A \nabla h) = -r$.
       In the plane $A$ is $D^2 \phi$ with the eigenvalues exchanged; it is the identity only if
       $D^2 \phi = I$, that is for translations. It is a multiple of it for $\phi$ with $D^2 \phi$ a multiple
       of the identity.
    """,
)
