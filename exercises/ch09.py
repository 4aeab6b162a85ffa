"""Exercises of chapter 9: how far a bump may push, cycles of three, potentials, the optimality gap."""

import numpy as np

import mini_ot as mo

from .engine import Exercise

gap_exercise = Exercise(
    "9.1",
    "What the best pairing saves",
    level="warm-up",
    minutes=15,
    text=r"""
    Write the optimality gap {eq}`eq-09-gap` of pairs $(x_i, T_i)$: the mean squared way as given, less that of
    the best pairing.
    `mo.assignment(x, t)` finds the best pairing: point `x[i]` goes to `t[permutation[i]]`.

    Then turn a normal cloud by angles from 0 to $\pi$ and draw the gap over the angle.
    Where is it largest?
    """,
    hints=(
        "Both terms are means over the points of squared lengths; only the partner differs.",
        "t[mo.assignment(x, t)] are the images in the order of the best pairing.",
    ),
    answer=r"""
    The gap of a turned normal cloud is largest at $\alpha = \pi$: there $T = -x$, every pair gains by swapping,
    and the mean squared way is $4 \, \mathbb{E}|x|^2$, where almost none is needed.
    """,
)


@gap_exercise.solution
def optimality_gap(x, t):
    """Return the gap of the pairs x[i], t[i], both of shape (n, d)."""
    best = t[mo.assignment(x, t)]
    return ((x - t) ** 2).sum(axis=1).mean() - ((x - best) ** 2).sum(axis=1).mean()


@gap_exercise.cases
def _(rng):
    for n, d in ((5, 2), (12, 3), (20, 2)):
        yield rng.normal(size=(n, d)), rng.normal(size=(n, d)) + 0.3


def _way(x, t):
    return ((x - t) ** 2).sum(axis=1)


@gap_exercise.mistake(
    """You subtracted the distance W2 from a squared quantity: square it, or the units do not agree."""
)
def _root_of_one(x, t):
    return _way(x, t).mean() - mo.w2(x, t)


@gap_exercise.mistake(
    """You took square roots before subtracting: the gap is a difference of mean squared ways, which is what
    cycles add up to, and not of their roots."""
)
def _roots(x, t):
    return np.sqrt(_way(x, t).mean()) - mo.w2(x, t)


@gap_exercise.mistake(
    """You summed over the points; each carries the mass 1 / n, so the mean is asked for."""
)
def _sum(x, t):
    return _way(x, t).sum() - len(x) * mo.w2(x, t) ** 2


@gap_exercise.mistake(
    """The permutation is applied to the wrong cloud: mo.assignment(x, t) says where each x goes, so it reorders
    t. Applied to x it gives some pairing, but not the best one."""
)
def _wrong_cloud(x, t):
    return _way(x, t).mean() - _way(x[mo.assignment(x, t)], t).mean()


@gap_exercise.mistake(
    """You averaged over the coordinates too: the squared length of a way is the sum over its coordinates."""
)
def _mean_of_everything(x, t):
    return (_way(x, t).mean() - mo.w2(x, t) ** 2) / x.shape[1]


@gap_exercise.mistake(
    """The sign is turned round: the gap is what is lost, so it is never negative."""
)
def _sign(x, t):
    return mo.w2(x, t) ** 2 - _way(x, t).mean()


triangle_exercise = Exercise(
    "9.2",
    "Three points that no convex function joins",
    level="core",
    minutes=20,
    text=r"""
    Construct three points $x_1, x_2, x_3$ in the plane and vectors $T_1, T_2, T_3$ such that

    - every two of them are in order, $\langle x_i - x_j, T_i - T_j \rangle > 0$ for all $i \ne j$,
    - and yet no convex function has the subgradients $T_i$ at the points $x_i$.

    Do not take the turned triangle of the chapter as it stands: find a $T$ that is linear, $T_i = A x_i$, with
    a matrix $A$ of whole numbers.
    (Any answer with the two properties passes.)
    """,
    hints=(
        """Pairs see only the symmetric part of A, as <z, A z> does. What can the other part do to a cycle of
        three?""",
        """Take A = [[1, -b], [b, 1]]. The pairs do not feel b. Write down the sum over the cycle for the corners
        of a triangle: it is linear in b, with twice the area of the triangle as the slope.""",
    ),
    answer=r"""
    With $A = \begin{pmatrix} 1 & -b \\ b & 1 \end{pmatrix}$ the pairs give $|x_i - x_j|^2 > 0$, whatever $b$ is.
    The sum over a cycle of three is half the sum of the squared sides, plus or minus $b$ times twice the area,
    the sign depending on the sense of the cycle.
    For the triangle $(0,0), (1,0), (0,1)$ this is $2 - b$ in the bad sense, so $b = 3$ will do.
    """,
)


@triangle_exercise.solution
def three_pairs():
    """Return the points x and the vectors t, arrays of shape (3, 2)."""
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return x, x @ np.array([[1.0, -3.0], [3.0, 1.0]]).T


_SHAPE = "Return two arrays of shape (3, 2), the points x and the vectors t, with finite entries."
_LINE = """Your points lie on one line. There the order of pairs decides everything: whoever is in order in pairs
is in order in cycles. Leave the line.""".replace("\n", " ")
_PAIR = """Two of your points already fail as a pair: the inner product of x_i - x_j with T_i - T_j is not
positive. The task asks for a failure that no pair shows.""".replace("\n", " ")
_CONVEX = """A convex function joins your three pairs: no cycle of three has a negative sum. Turn further, but not
beyond a right angle.""".replace("\n", " ")


@triangle_exercise.judge
def _judge(candidate):
    answer = candidate()
    try:
        x, t = (np.asarray(a, dtype=float) for a in answer)
    except (TypeError, ValueError):
        return _SHAPE
    if x.shape != (3, 2) or t.shape != (3, 2) or not np.isfinite([x, t]).all():
        return _SHAPE
    sides = x[1:] - x[0]
    if abs(np.linalg.det(sides)) < 1e-9 * (sides**2).sum():
        return _LINE
    pairs = [(x[i] - x[j]) @ (t[i] - t[j]) for i, j in ((0, 1), (1, 2), (2, 0))]
    if min(pairs) <= 0:
        return _PAIR
    return _CONVEX if mo.certify_convex(x, t).is_monotone else None


@triangle_exercise.mistake(_SHAPE)
def _columns():
    x, t = three_pairs()
    return x.T, t.T


@triangle_exercise.mistake(_LINE)
def _on_a_line():
    x = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    return x, x @ np.array([[1.0, -3.0], [3.0, 1.0]]).T


@triangle_exercise.mistake(_PAIR)
def _half_turn():
    x, _ = three_pairs()
    return x, -x


@triangle_exercise.mistake(_CONVEX)
def _small_turn():
    x, _ = three_pairs()
    return x, x @ np.array([[1.0, -1.0], [1.0, 1.0]]).T


potentials_exercise = Exercise(
    "9.3",
    "The smallest potentials",
    level="core",
    minutes=25,
    text=r"""
    For cyclically monotone pairs, many potentials satisfy $\phi_j \ge \phi_i + \langle T_i, x_j - x_i \rangle$.
    Among those with $\phi_0 = 0$ (the first point) there is a smallest one, at all points at once: minus the
    length of the shortest walk from the first point, with the road lengths {eq}`eq-09-weights`.

    Write it.
    The pairs are few, so a table of all road lengths is allowed.

    Then draw it on the line for twenty samples of $T(x) = x$, together with $x^2 / 2$.
    On which side of the truth does it lie, and what are the largest potentials?
    """,
    hints=(
        """A shortest walk has at most n - 1 roads. What do you get after one round of improving all distances by
        the best last road?""",
        """Start with u = w[0] (the direct roads) and u[0] = 0; n times let u be the smaller of u and
        (u[:, None] + w).min(axis=0). Return -u.""",
    ),
    answer=r"""
    Adding the inequalities along any walk from the first point gives $\phi_j \ge$ minus its length, so none can
    be smaller; and the distances do satisfy them.
    For $T(x) = x$ the smallest potential lies below $x^2 / 2 - x_0^2 / 2$.
    The largest one is the length of the shortest walk *from* $j$ to the first point, and lies above.
    """,
)


@potentials_exercise.solution
def smallest_potentials(x, t):
    """Return phi, shape (n,), with phi[0] = 0, for pairs x, t of shape (n, d)."""
    w = (t * x).sum(axis=1)[:, None] - t @ x.T
    u = w[0].copy()
    for _ in range(len(x)):
        u = np.minimum(u, (u[:, None] + w).min(axis=0))
    return -u


@potentials_exercise.cases
def _(rng):
    for n, d in ((6, 1), (9, 2), (15, 3)):
        x = rng.normal(size=(n, d))
        yield x, x**3 + x


def _walks(x, t, rounds=None, transpose=False, longest=False, sign=1.0):
    w = sign * ((t * x).sum(axis=1)[:, None] - t @ x.T)
    w = w.T if transpose else w
    u, best = w[0].copy(), np.max if longest else np.min
    for _ in range(len(x) if rounds is None else rounds):
        u = best([u, best(u[:, None] + w, axis=0)], axis=0)
    return u


@potentials_exercise.mistake(
    """You returned the distances themselves. The inequality for phi and that for distances have opposite
    directions: phi is minus the distance."""
)
def _distances(x, t):
    return _walks(x, t)


@potentials_exercise.mistake(
    """The table is transposed: the road from i to j uses T at its start, w_ij = <T_i, x_i - x_j>. With T at the
    end you get minus the largest potentials."""
)
def _transposed(x, t):
    return -_walks(x, t, transpose=True)


@potentials_exercise.mistake(
    """These are the longest walks. A longest walk would go round and round; it is the shortest one that exists
    when no round trip is negative."""
)
def _longest(x, t):
    return -_walks(x, t, longest=True)


@potentials_exercise.mistake(
    """The sign of the roads is wrong: <T_i, x_j - x_i> is what phi gains at least, and the road length is minus
    that. With the wrong sign round trips have negative length, and the numbers grow with each round."""
)
def _sign_of_roads(x, t):
    return -_walks(x, t, sign=-1.0)


@potentials_exercise.mistake(
    """You used only the direct roads from the first point. A walk over points in between can be shorter, so
    improve the distances until nothing changes."""
)
def _direct(x, t):
    return -_walks(x, t, rounds=0)


@potentials_exercise.mistake(
    """You improved the distances only once: that finds walks with two roads. A shortest walk can have up to
    n - 1 of them."""
)
def _one_round(x, t):
    return -_walks(x, t, rounds=1)


bump_exercise = Exercise(
    "9.4",
    "How hard may one bump push?",
    level="core",
    minutes=25,
    text=r"""
    An elementary map moves points by a Gaussian bump, $z \mapsto z + \beta \, \nabla F(z)$ with
    $F(z) = e^{-r^2 / (2 h^2)}$ and $r = |z - c|$.

    1. Find the eigenvalues of $D^2 F$ as functions of $r$: one belongs to the direction of $z - c$, the others
       to the directions across.
    2. For which $\beta$ is $\frac12 |z|^2 + \beta F(z)$ convex?
       Give the interval in units of $h^2$.
    3. A positive $\beta$ pulls points towards the centre or pushes them away?
       Which of the two is dangerous where?
    """,
    hints=(
        "Write F as a function of s = r^2 and differentiate twice.",
        """The eigenvalues are (r^2 / h^2 - 1) / h^2 times F along, and -1 / h^2 times F across. Look for the
        smallest and the largest value that any of them takes.""",
    ),
    answer=r"""
    1. $\nabla F = -\frac{1}{h^2} (z - c) F$, so $D^2 F = \frac{1}{h^2} \bigl( \frac{(z-c)(z-c)^\top}{h^2} - I \bigr) F$.
    Across, the eigenvalue is $-\frac{1}{h^2} e^{-r^2/(2h^2)}$; along, it is $\frac{1}{h^2} \bigl(\frac{r^2}{h^2} - 1\bigr) e^{-r^2/(2h^2)}$.

    2. The smallest value is $-1/h^2$, at the centre.
    The largest one is along: with $s = r^2 / h^2$ the derivative of $(s - 1) e^{-s/2}$ vanishes at $s = 3$, and the value is $\frac{2}{h^2} e^{-3/2}$.
    All of $1 + \beta \lambda$ must be at least zero, so

    $$
    -\tfrac12 e^{3/2} \, h^2 \le \beta \le h^2, \qquad \tfrac12 e^{3/2} \approx 2.24 .
    $$

    3. $\beta > 0$ moves by $-\frac{\beta}{h^2} (z - c) F$, towards the centre.
    Too strong a pull folds at the centre, where points overshoot it.
    Too strong a push folds on the sphere $r = \sqrt 3 \, h$, where points from inside overtake those that the bump hardly reaches.
    """,
)

rotation_exercise = Exercise(
    "9.5",
    "Small turns need long cycles",
    level="challenge",
    minutes=30,
    text=r"""
    Let $x_1, \dots, x_k$ be the corners of a regular $k$-gon with radius one, in order, and $T_i = R x_i$ with the
    rotation $R$ by the angle $\alpha \in (0, \pi)$.

    1. Compute the sum of {prf:ref}`def-cyclic` over the cycle $1, 2, \dots, k$ in either sense.
       For which $\alpha$ is it negative?
    2. Show that for $\alpha \le \pi / k$ no cycle through the corners violates, whatever its order.
    3. Conclude: no rotation by an angle in $(0, \pi)$ is the gradient of a convex function on the plane; and for every
       $n$ there is a rotation that some $n$ points in general position cannot tell from one.
    4. Let $A$ and $B$ be symmetric positive definite.
       Show that $x \mapsto B A x$ is the gradient of a convex function exactly if $A B = B A$.
    """,
    hints=(
        """The inner product of two unit vectors is the cosine of the angle between them. In one sense the angle
        between T_i and the next corner is smaller than that between T_i and x_i.""",
        """For part 2 look at one step, by an angle theta in the sense of the rotation: its term is
        cos(alpha) - cos(theta - alpha), and theta is at least 2 pi / k. For part 4 a gradient has a symmetric Jacobian.""",
    ),
    answer=r"""
    1. $\langle T_i, x_i \rangle = \cos \alpha$, and $\langle T_i, x_{i \pm 1} \rangle = \cos(2\pi/k \mp \alpha)$.
    The sum is $k \bigl( \cos \alpha - \cos(2 \pi / k - \alpha) \bigr)$ in the sense of the rotation.
    It is negative exactly if $|2 \pi / k - \alpha| < \alpha$, that is $\alpha > \pi / k$.
    In the other sense it is $k(\cos\alpha - \cos(2\pi/k + \alpha))$, which is not negative unless $2\pi/k + \alpha$ exceeds $2\pi - \alpha$; by symmetry this is $\alpha > \pi - \pi/k$.

    2. A step by the angle $\theta$ in the sense of the rotation has the term $\cos\alpha - \cos(\theta - \alpha)$, and $2\pi/k \le \theta < 2\pi$.
    If $\alpha \le \pi / k$, then $\theta \ge 2 \alpha$, so $\theta - \alpha$ lies in $[\alpha, 2\pi - \alpha)$, where the cosine is at most $\cos \alpha$.
    So no term of any cycle is negative.

    3. Given $\alpha$, choose $k > \pi / \alpha$: the $k$-gon violates.
    Given $n$, the corners of the $n$-gon do not violate for $\alpha < \pi / n$; the inequalities are strict there, so they survive small shifts of the points into general position.

    4. The Jacobian of a gradient is symmetric (it is a matrix of second derivatives), so $BA = (BA)^\top = AB$ is necessary.
    If $A$ and $B$ commute, they have a common orthonormal basis of eigenvectors, so $BA$ is symmetric with positive eigenvalues, and $BAx$ is the gradient of the convex function $\frac12 \langle x, B A x \rangle$.
    """,
)
