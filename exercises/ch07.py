"""Exercises of chapter 7: quantiles, the discrete determinant, the boundary condition, roots of the scheme."""

import numpy as np

from .engine import Exercise

quantile_exercise = Exercise(
    "7.1",
    "The equation on the line",
    level="warm-up",
    minutes=15,
    text=r"""
    Two densities on $[0, 1]$ are constant on $n$ equal cells; `rho` and `mu` hold their values, which are
    positive but need not be normalised.
    Compute the map {eq}`eq-07-quantiles` at the $n + 1$ edges of the cells.

    Then take $\rho = 1$ and for $\mu(y) = 2 y$ the values at the centres of the cells.
    How far is your map from $\sqrt{x}$, and where is it farthest?
    """,
    hints=(
        """A density that is constant on cells has a cumulative distribution function that is linear on them:
        its values at the edges tell all.""",
        """With F and G the two functions at the edges, starting with 0 and ending with 1, look up the edges
        where G takes the values F: np.interp(F, G, edges).""",
    ),
    answer=r"""
    $G$ takes the right values $(j/n)^2$ at the edges, and $\sqrt{\cdot}$ is interpolated between them.
    Between $(j/n)^2$ and $((j+1)/n)^2$ that costs about $1 / (8 n j)$.
    The first inner edge, $x = 1/n$, lies near $j = \sqrt{n}$, and so the error is about $\frac18 n^{-3/2}$ at
    most, near $x = 0$, where the root bends most.
    """,
)


@quantile_exercise.solution
def quantile_map(rho, mu):
    """Return T at the n + 1 edges, for values rho and mu on n cells of [0, 1]."""
    edges = np.linspace(0, 1, len(rho) + 1)
    F = np.concatenate([[0.0], np.cumsum(rho)]) / np.sum(rho)
    G = np.concatenate([[0.0], np.cumsum(mu)]) / np.sum(mu)
    return np.interp(F, G, edges)


@quantile_exercise.cases
def _(rng):
    for n in (4, 9, 20):
        yield rng.uniform(0.2, 2.0, n), rng.uniform(0.5, 3.0, n)


def _cdf(density):
    return np.concatenate([[0.0], np.cumsum(density)])


@quantile_exercise.mistake(
    """This is the map from mu to rho. T takes x to the place where F_mu has the value F_rho(x): look up in the
    table of F_mu."""
)
def _backwards(rho, mu):
    return quantile_map(mu, rho)


@quantile_exercise.mistake(
    """The densities are used as they stand, but their masses differ, so the two cumulative sums do not end at
    the same value. Divide each by its total."""
)
def _not_normalised(rho, mu):
    edges = np.linspace(0, 1, len(rho) + 1)
    return np.interp(_cdf(rho), _cdf(mu), edges)


@quantile_exercise.mistake(
    """The cumulative distribution function starts at zero: n cells have n + 1 edges, and np.cumsum gives the
    values at n of them only."""
)
def _no_zero(rho, mu):
    edges = np.linspace(0, 1, len(rho) + 1)[1:]
    F, G = np.cumsum(rho) / np.sum(rho), np.cumsum(mu) / np.sum(mu)
    return np.interp(F, G, edges)


@quantile_exercise.mistake(
    """You applied F_mu to F_rho; it is the inverse of F_mu that is needed. Exchange the two tables in
    np.interp."""
)
def _not_inverted(rho, mu):
    edges = np.linspace(0, 1, len(rho) + 1)
    return np.interp(_cdf(rho) / np.sum(rho), edges, _cdf(mu) / np.sum(mu))


determinant_exercise = Exercise(
    "7.2",
    "The determinant on oblong cells",
    level="core",
    minutes=20,
    text=r"""
    A grid has the spacings $h_1$ along the first axis of `u` and $h_2$ along the second.
    Write the nine-point determinant $u_{11} u_{22} - u_{12}^2$ at its inner nodes.

    Try it on $u = e^{|x|^2/2}$ in the unit square, with $h_1 = 2 h_2$, and halve both spacings three times.
    What is the order?
    And what is it for the sphere $-\sqrt{2 - |x|^2}$ at the inner node nearest to the corner $(1, 1)$?
    """,
    hints=(
        """Try your function on the quadratics x_1^2, x_2^2 and x_1 x_2, whose determinants you know: the scheme
        is exact on them.""",
        """The mixed difference is a difference of differences: over 2 h_1 in one direction and over 2 h_2 in
        the other.""",
    ),
    answer=r"""
    On the exponential the error falls by four each time: second order.
    On the sphere the relative error at the last node *grows* like $1/h$, and the discrete determinant is negative.
    Near the corner $u$ is like the root of the distance, so at distance $h$ second differences are of size
    $h^{-3/2}$ and their products of size $h^{-3}$, while the determinant is of size $h^{-2}$: in the exact one the
    large terms cancel, in the discrete one they do not.
    The exact solution is far from solving the scheme there.
    """,
)


@determinant_exercise.solution
def determinant(u, h1, h2):
    """Return det D^2 u at the inner nodes of a grid of (n1 + 1) x (n2 + 1) nodes."""
    mid = u[1:-1, 1:-1]
    along = (u[2:, 1:-1] - 2 * mid + u[:-2, 1:-1]) / h1**2
    across = (u[1:-1, 2:] - 2 * mid + u[1:-1, :-2]) / h2**2
    mixed = (u[2:, 2:] + u[:-2, :-2] - u[2:, :-2] - u[:-2, 2:]) / (4 * h1 * h2)
    return along * across - mixed**2


@determinant_exercise.cases
def _(rng):
    for n1, n2, h1, h2 in ((4, 6, 0.25, 0.1), (5, 3, 0.2, 0.5), (8, 8, 0.7, 0.3)):
        yield rng.normal(size=(n1 + 1, n2 + 1)), h1, h2


def _variant(u, h1, h2, quarter=4, sign=-1, power=2, mixed=None, pure=2, corners=-1):
    """Make the determinant with one thing changed."""
    mid = u[1:-1, 1:-1]
    u11 = (u[2:, 1:-1] - 2 * mid + u[:-2, 1:-1]) / h1**pure
    u22 = (u[1:-1, 2:] - 2 * mid + u[1:-1, :-2]) / h2**pure
    u12 = u[2:, 2:] + u[:-2, :-2] + corners * (u[2:, :-2] + u[:-2, 2:])
    u12 = u12 / (quarter * (h1 * h2 if mixed is None else mixed))
    return u11 * u22 + sign * u12**power


@determinant_exercise.mistake(
    """The factor of the mixed derivative is wrong: both differences are taken over two cells, so the corners
    are divided by 4 h_1 h_2, and not by 2 h_1 h_2."""
)
def _half(u, h1, h2):
    return _variant(u, h1, h2, quarter=2)


@determinant_exercise.mistake(
    """The factor of the mixed derivative is missing: each of its differences is taken over two cells, so the
    corners are divided by 4 h_1 h_2."""
)
def _no_quarter(u, h1, h2):
    return _variant(u, h1, h2, quarter=1)


@determinant_exercise.mistake(
    """The sign is wrong: the determinant is u_11 u_22 minus the square of u_12."""
)
def _plus(u, h1, h2):
    return _variant(u, h1, h2, sign=1)


@determinant_exercise.mistake(
    """The mixed derivative must be squared: u_12 and u_21 both stand in the determinant."""
)
def _not_squared(u, h1, h2):
    return _variant(u, h1, h2, power=1)


@determinant_exercise.mistake(
    """The spacings are missing in u_11 and u_22: a second difference is divided by the square of the spacing."""
)
def _no_spacing(u, h1, h2):
    return _variant(u, h1, h2, pure=0)


@determinant_exercise.mistake(
    """You divided the second differences by the spacing: it is its square that turns them into derivatives."""
)
def _one_spacing(u, h1, h2):
    return _variant(u, h1, h2, pure=1)


@determinant_exercise.mistake(
    """You added all four corners. In the mixed derivative those on one diagonal count plus, those on the other
    minus."""
)
def _all_corners(u, h1, h2):
    return _variant(u, h1, h2, corners=1)


hessian_exercise = Exercise(
    "7.3",
    "Two singular solutions",
    level="core",
    minutes=25,
    text=r"""
    1. Let $u(x) = U(r)$ with $r = |x|$ in the plane.
       Show that $D^2 u$ has the eigenvalues $U''(r)$ and $U'(r) / r$, and say for which directions.
    2. Compute the determinants of the test functions *disc*, $\frac12 \max(|x - x_0| - 0.2, 0)^2$, and *sphere*,
       $-\sqrt{2 - |x|^2}$.
    3. Where does the disc fail to be twice differentiable?
       Is it an Alexandrov solution, that is, does the rim carry any mass?
    4. Is $f$ of the sphere integrable on the unit square?
       What does that say about the area of the image of the square under $\nabla u$, and about
       {prf:ref}`thm-07-dirichlet`?
    """,
    hints=(
        "The gradient is U'(r) x / r. Move x along the ray, and across it.",
        """For part 4 put x = (1 - a, 1 - b) near the corner: 2 - |x|^2 is about 2 (a + b). Integrate over
        a + b < epsilon.""",
    ),
    answer=r"""
    1. $\nabla u = U'(r) \, x / r$.
    Along the ray only $U'$ changes, at the rate $U''$; across it only the unit vector $x / r$ turns, at the rate $1/r$.
    So $U''$ belongs to $x / r$ and $U' / r$ to the direction across.

    2. Disc, outside: $U' = r - 0.2$, so $\det = 1 \cdot (r - 0.2) / r = 1 - 0.2 / r$; inside zero.
    Sphere: with $s = \sqrt{2 - r^2}$ we have $U' = r / s$ and $U'' = 1/s + r^2/s^3 = 2 / s^3$, so $\det = \frac{2}{s^3} \cdot \frac1s = 2 / (2 - r^2)^2$.

    3. On the rim $r = 0.2$ the second derivative along the ray jumps from 0 to 1.
    But $\nabla u$ is continuous, so each point of the rim has one subgradient, which is 0: the whole rim is taken to one point, and has no mass.
    It is an Alexandrov solution.

    4. Near the corner $f \approx \frac{2}{4 (a + b)^2}$, and with $t = a + b$, $\int_{t < \varepsilon} \frac{da \, db}{2 (a + b)^2} = \int_0^\varepsilon \frac{t \, dt}{2 t^2} = \infty$.
    So $f$ is not integrable, the gradient takes the square to a set of infinite area (the spike in the figure goes on for ever), and the theorem does not apply: $u$ solves a problem that it does not cover.
    """,
)

boundary_exercise = Exercise(
    "7.4",
    "A wrong boundary condition, found",
    level="core",
    minutes=30,
    text=r"""
    Somebody wants the optimal map from a density $\rho$ on the unit square to the uniform one, and reasons:
    the boundary must stay where it is, so I solve $\det D^2 \phi = \rho$ with $\phi = \frac12 |x|^2$ there.
    The residual is zero and the result is convex.

    But $\nabla \phi$ has to map the square onto itself, each edge to itself: $\partial_1 \phi = 0$ at $x_1 = 0$,
    $\partial_1 \phi = 1$ at $x_1 = 1$, and likewise for the second coordinate.
    Write a function that measures by how much this is missed at most, with one-sided differences of second order,
    $\frac{1}{2h} (-3 \phi_0 + 4 \phi_1 - \phi_2)$ and its mirror image.

    Then try it, for $\rho = 1 + \frac12 \cos(2 \pi x_1)$, on what `mo.monge_ampere` gives with those boundary
    values, and on $\phi = \frac12 |x|^2 - \frac{1}{8 \pi^2} \cos(2 \pi x_1)$.
    What does prescribing $\phi$ on the boundary say about $\nabla \phi$ there, and what does it leave open?
    """,
    hints=(
        """On the two edges where the first coordinate is fixed, look at the derivative along the first axis;
        the transposed array turns the other two edges into these.""",
        """At the far edge the mirror image is (3 p[-1] - 4 p[-2] + p[-3]) / (2 h), and its value should be 1.
        Take the largest modulus over all four edges.""",
    ),
    answer=r"""
    Both have $\det D^2 \phi = \rho$ and are convex.
    The second one has $\partial_1 \phi = x_1 + \frac{1}{4\pi} \sin(2 \pi x_1)$, which is 0 and 1 on the edges: it is the optimal map.
    The first one misses the edges by about a tenth.

    Prescribing $\phi$ fixes the derivative *along* the edge: points there keep their coordinate along it.
    The derivative across is left open, so the edge may move in or out, and bend.
    The transport condition is the opposite one: the derivative across is fixed, and points may slide along the edge.
    For $\phi - \frac12 |x|^2$ it is the Neumann condition of {doc}`08_back_and_forth`.
    """,
)


@boundary_exercise.solution
def edge_defect(phi):
    """Return the largest miss of the normal derivative, phi of shape (n + 1, n + 1)."""
    n, worst = len(phi) - 1, 0.0
    for p in (phi, phi.T):
        low = n * (-3 * p[0] + 4 * p[1] - p[2]) / 2
        high = n * (3 * p[-1] - 4 * p[-2] + p[-3]) / 2
        worst = max(worst, np.abs(low).max(), np.abs(high - 1).max())
    return worst


def _potential(n, a, b, c):
    x = np.linspace(0, 1, n + 1)
    x1, x2 = np.meshgrid(x, x, indexing="ij")
    wave = a * np.sin(2 * x1 + x2) + b * np.cos(3 * x1 * x2) + c * x2**3
    return (x1**2 + x2**2) / 2 + wave


@boundary_exercise.cases
def _(rng):
    yield (_potential(12, 0.1, 0.02, 0.05),)
    yield (_potential(20, -0.05, 0.1, 0.2),)
    yield (_potential(9, 0.02, 0.03, -0.3),)


def _ends(p):
    n = len(p) - 1
    return (
        n * (-3 * p[0] + 4 * p[1] - p[2]) / 2,
        n * (3 * p[-1] - 4 * p[-2] + p[-3]) / 2,
    )


def _worst(*parts):
    return max(np.abs(part).max() for part in parts)


@boundary_exercise.mistake(
    """You compared phi with |x|^2 / 2 on the boundary. That is the wrong condition itself: transport says
    nothing about the values of phi there."""
)
def _values(phi):
    d = phi - _potential(len(phi) - 1, 0, 0, 0)
    return _worst(d[0], d[-1], d[:, 0], d[:, -1])


@boundary_exercise.mistake(
    """You asked for zero on all edges. That is right for phi - |x|^2 / 2; phi itself has to take the far edges
    to the coordinate 1."""
)
def _zero_everywhere(phi):
    return _worst(*_ends(phi), *_ends(phi.T))


@boundary_exercise.mistake(
    """You took the derivative along the edge. Sliding along it is allowed; what must not happen is to leave it,
    so look at the derivative across."""
)
def _tangential(phi):
    x = np.linspace(0, 1, len(phi))
    edges = (phi[0], phi[-1], phi[:, 0], phi[:, -1])
    return _worst(*(np.gradient(edge, x, edge_order=2) - x for edge in edges))


@boundary_exercise.mistake(
    """The mirror image at the far edge has the opposite sign: (3 p[-1] - 4 p[-2] + p[-3]) / (2 h), or a
    function that increases towards the edge gets a negative derivative."""
)
def _sign_at_the_end(phi):
    low, high = _ends(phi)
    left, right = _ends(phi.T)
    return _worst(low, -high - 1, left, -right - 1)


@boundary_exercise.mistake(
    """You looked at two edges only; the other two ask for the derivative along the second axis."""
)
def _one_axis(phi):
    low, high = _ends(phi)
    return _worst(low, high - 1)


@boundary_exercise.mistake(
    """These are differences of first order: even for |x|^2 / 2, which is perfect, they report a defect of h / 2.
    Take three nodes."""
)
def _first_order(phi):
    n = len(phi) - 1
    ends = [(n * (p[1] - p[0]), n * (p[-1] - p[-2]) - 1) for p in (phi, phi.T)]
    return _worst(*(part for pair in ends for part in pair))


roots_exercise = Exercise(
    "7.5",
    "Two roots at every node",
    level="challenge",
    minutes=35,
    text=r"""
    Consider the nine-point scheme, $f \ge 0$, and one inner node with the value $t$; all other values are
    fixed.
    Let $A$ and $B$ be the means of the two neighbours along the first and along the second axis.

    1. Show that the equation of the node is a quadratic equation for $t$ with two real roots
       $t_- \le \min(A, B)$ and $t_+ \ge \max(A, B)$.
       What do they say about convexity along the axes?
    2. Let $N = 2$, $f = 1$ and $u = \frac12 |x|^2$ on the boundary.
       Find both solutions.
    3. How many solutions can there be for general $N$, at most, if they are finitely many?
    4. Suppose $f > 0$ and that every node has its smaller root.
       Show that the discrete Hessian matrix $\begin{pmatrix} u_{11} & u_{12} \\ u_{12} & u_{22} \end{pmatrix}$
       is positive definite at every node.
       Find values at nine nodes for which this matrix is the identity at the middle one, and yet the second difference
       along a diagonal is negative.
    5. Solving node after node for the smaller root, again and again, is one of the methods of
       {cite:t}`benamou_two_2010`.
       Write it for $N = 16$ and the exponential test, and count the sweeps until the error no longer falls.
    """,
    hints=(
        "Neither u_12 nor f contains t. Write u_11 and u_22 by A, B and t.",
        """For part 3: a system of m quadratic equations in m unknowns. For part 4: a positive trace and a
        positive determinant; and u_12 sees only the difference of the two diagonals.""",
    ),
    answer=r"""
    1. $u_{11} = 2 (A - t) / h^2$ and $u_{22} = 2 (B - t) / h^2$, so the equation is
    $(A - t)(B - t) = \frac14 h^4 (f + u_{12}^2) =: q \ge 0$, with the roots
    $t_\pm = \frac12 (A + B) \pm \sqrt{\frac14 (A - B)^2 + q}$.
    Since $q \ge 0$ the root is at least $\frac12 |A - B|$, which gives the two bounds.
    At $t_-$ both second differences are non-negative, at $t_+$ neither is positive.

    2. $h = \frac12$, $A = B = \frac12 (0.125 + 0.625) = 0.375$ and $u_{12} = \frac{1}{4 h^2} (1 + 0 - 0.5 - 0.5) = 0$, so $(0.375 - t)^2 = \frac{1}{64}$ and $t = 0.25$ or $t = 0.5$.
    The first is $\frac12 |x|^2$ at the middle, the second is concave there.

    3. By Bézout's theorem $2^m$ with $m = (N - 1)^2$ unknowns, complex solutions included.

    4. Smaller roots make $u_{11}, u_{22} \ge 0$, and $u_{11} u_{22} = f + u_{12}^2 > 0$ makes them positive: positive trace and determinant $f > 0$, so the matrix is positive definite.
    But take $h = 1$, the middle value 0, the four neighbours along the axes $\frac12$, and all four corners $-\frac14$.
    Then $u_{11} = u_{22} = 1$ and $u_{12} = 0$, while the second difference along either diagonal is $-\frac12$.

    5. A sweep moves information by one node, like Gauss-Seidel for Poisson's equation, so the number of sweeps grows like $N^2$; for $N = 16$ it takes about 350.

    ```python
    def sweep(u, f):
        n = len(u) - 1
        for i in range(1, n):
            for j in range(1, n):
                A, B = (u[i + 1, j] + u[i - 1, j]) / 2, (u[i, j + 1] + u[i, j - 1]) / 2
                c = u[i + 1, j + 1] + u[i - 1, j - 1] - u[i + 1, j - 1] - u[i - 1, j + 1]
                q = f[i - 1, j - 1] / (4 * n**4) + (c / 8) ** 2
                u[i, j] = (A + B) / 2 - np.sqrt((A - B) ** 2 / 4 + q)
    ```
    """,
)
