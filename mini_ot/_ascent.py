"""The dual problem of optimal transport on one grid, and what carries it from a coarse grid to a fine one.

Everything is in coordinates that start at the box's lower corner; densities have mean one.
"""

import numpy as np
from scipy import fft
from scipy.sparse import csr_array

from ._jit import by_rows, jit, num_threads
from ._push import WORTH_THREADS, push, scratch, shares
from .conjugate import conjugate

_LOW = np.zeros(2)
_LEAST_WEIGHT = 1e-3  # of the mean density, added to the weight so that it vanishes nowhere
_LEAST_STEP = 0.05  # under the published rule, whose steps would collapse: the gradient is not exact
RECORD = ("level", "value", "gap", "residual", "step", "norm")


def centres(shape, size) -> list[np.ndarray]:
    """Return the two coordinates of the centres of the cells."""
    return [(np.arange(n) + 0.5) * side / n for n, side in zip(shape, size, strict=True)]


def half_square(shape, size) -> np.ndarray:
    """Return ``|x|^2 / 2`` at the centres of the cells: the potential of the identity."""
    x1, x2 = centres(shape, size)
    return (x1[:, None] ** 2 + x2**2) / 2


class DualProblem:
    """Two densities on a grid with the potentials phi and psi, both convex, that are being sought.

    The dual value, half the squared distance at its maximum, is the mean of
    ``|x|^2 / 2 (mu + nu) - phi mu - psi nu``.
    """

    def __init__(self, mu, nu, size):
        self.mu, self.nu, self.size = mu, nu, size
        n1, n2 = mu.shape
        h = size / mu.shape
        self.half_square = half_square(mu.shape, size)
        self.resolution = h.prod() / 2
        self._shift = np.vdot(self.half_square, mu + nu) / mu.size
        laplacian = ((2 - 2 * np.cos(np.pi * np.arange(n1) / n1)) / h[0] ** 2)[:, None] + (
            2 - 2 * np.cos(np.pi * np.arange(n2) / n2)
        ) / h[1] ** 2
        laplacian[0, 0] = np.inf  # the mean of a potential is free
        self._inverse_laplacian = (1 / laplacian).astype(np.float32)
        self._work, self._rest, self._buffers = np.empty_like(mu), np.empty_like(mu), scratch(mu.shape)
        self._single = np.empty(mu.shape, np.float32)
        self._cuts = [shares(density, len(self._buffers)) for density in (mu, nu)]
        self._workers = num_threads() if mu.size > WORTH_THREADS else 1
        self.phi, self.psi = self.half_square.copy(), self.half_square.copy()
        self._before = np.empty_like(mu), np.empty_like(mu)
        self.gap = np.inf  # of these potentials, relative to the value, once it is known

    def value(self) -> float:
        """Return the dual value of the potentials."""
        return self._shift - (np.vdot(self.phi, self.mu) + np.vdot(self.psi, self.nu)) / self.mu.size

    def conjugate(self, phi, out) -> None:
        conjugate(phi, _LOW, self.size, self._work, out)

    def inverse_laplacian(self, r) -> np.ndarray:
        """Solve -Laplace w = r with no flux through the edge, by cosine transforms.

        Single precision is enough for a direction of ascent.
        """
        self._single[:] = r
        out = fft.dctn(self._single, norm="ortho", workers=self._workers)
        out *= self._inverse_laplacian
        return fft.idctn(out, norm="ortho", workers=self._workers, overwrite_x=True)

    def flat_gradient(self, side: int):
        """Return the gradient in the norm of H^1 with what it is made of.

        Gives what the push of the other density leaves too much, cell by cell; the gradient w, which solves
        -Laplace w = that; the squared norm, the mean of ``|grad w|^2``; and the gap.  The push is by the
        gradient of psi (side 0, where phi is to be changed) or of phi (side 1).  The gap is what that map's
        own cost exceeds the dual value by; at the optimum both agree.
        """
        phi, psi, mu, nu = self._seen_from(side)
        rest = self._rest
        push(nu, psi, _LOW, self.size, self._cuts[1 - side], mu, self._buffers, rest)
        w = self.inverse_laplacian(rest)
        gap = float(np.vdot(self.half_square, rest) - np.vdot(phi, rest)) / rest.size
        return rest, w, float(np.vdot(w, self._single)) / rest.size, gap

    def move(self, side: int, step: float, w) -> None:
        """Add step * w to one potential, and make both each other's transform, which never lowers the value.

        What they were before can be had again by :meth:`undo`.
        """
        (self.phi, self.psi), self._before = self._before, (self.phi, self.psi)
        phi, psi = (self.phi, self.psi) if side == 0 else (self.psi, self.phi)
        np.multiply(w, step, out=phi)
        phi += self._before[side]
        self.conjugate(phi, psi)
        self.conjugate(psi, phi)

    def undo(self) -> None:
        """Take the last move back."""
        (self.phi, self.psi), self._before = self._before, (self.phi, self.psi)

    def weighted_gradient(self, side: int, rest, tol: float = 0.1, most: int = 30):
        """Return the gradient in the norm ``mean of rho |grad w|^2``, its square, and the number of solves.

        It solves -div(rho grad w) = rest, here by conjugate gradients.  With s = rho^(-1/2), the operator
        w -> s (-Laplace)^(-1) (s w) inverts the equation up to a term without derivatives, so few steps do.
        """
        rho = self._seen_from(side)[2] + _LEAST_WEIGHT
        s = 1 / np.sqrt(rho)
        r = rest - rest.mean()
        w, a = np.zeros_like(r), np.empty_like(r)
        z = s * self.inverse_laplacian(s * r)
        p, rz = z.copy(), np.vdot(r, z)
        goal = tol**2 * rz
        for solves in range(1, most + 1):  # noqa: B007
            by_rows(weighted_laplacian, len(r), r.size, rho, p, self.size / r.shape, a)
            length = rz / np.vdot(p, a)
            w += length * p
            r -= length * a
            z = s * self.inverse_laplacian(s * r)
            rz, old = np.vdot(r, z), rz
            if not rz > goal:
                break
            p *= rz / old
            p += z
        return w, float(np.vdot(w, rest)) / rest.size, solves

    def start_from(self, coarse: "DualProblem") -> None:
        """Take over the potential of a coarser grid, and its gap until there is a better guess."""
        self.gap = coarse.gap
        up1, up2 = (_interpolation(*n) for n in zip(coarse.mu.shape, self.mu.shape, strict=True))
        self.phi[:] = up1 @ (coarse.phi - coarse.half_square) @ up2.T + self.half_square
        self.conjugate(self.phi, self.psi)
        self.conjugate(self.psi, self.phi)

    def coarser(self) -> "DualProblem":
        """Return the problem with half as many cells along each side and the same masses."""
        down1, down2 = (_averaging(n, -(-n // 2)) for n in self.mu.shape)
        return DualProblem(down1 @ self.mu @ down2.T, down1 @ self.nu @ down2.T, self.size)

    def _seen_from(self, side):
        return (self.phi, self.psi, self.mu, self.nu) if side == 0 else (self.psi, self.phi, self.nu, self.mu)


class _Step:
    """The length of a step in one norm on one side."""

    def __init__(self, length: float, factor: float):
        self.length, self.factor = length, factor

    def judge(self, rise: float, squared_norm: float) -> None:
        """Lengthen it where the value rose as the gradient promised, shorten it where it fell short."""
        if rise > 0.75 * self.length * squared_norm:
            self.length /= self.factor
        elif rise < 0.25 * self.length * squared_norm:
            self.length *= self.factor


def climb(problem: DualProblem, tol, max_steps, rule, idle, history, tick) -> str:
    """Raise the dual value until the relative gap is below `tol`, and return why it stopped.

    By turns in phi and in psi, in the flat norm or the weighted one: that which paid more for its work when
    last used.  A step that lowers the value is taken back and shortened.  Under the rule "published" the norm
    is flat, both sides share one step, nothing is taken back, and the best potentials are returned.
    It gives up after `idle` steps in a row that raised the value by less than tol / 20, and calls that
    converged where the gap is below what the grid can tell.
    """
    adaptive = rule == "adaptive"
    first = 4 / max(problem.mu.max(), problem.nu.max())
    flat = [_Step(first, 0.8), _Step(first, 0.8)] if adaptive else [_Step(first, 0.8)] * 2
    steps = (flat, [_Step(1.0, 0.6), _Step(1.0, 0.6)])
    value, pay, idled = problem.value(), [np.inf, np.inf if adaptive else -1.0], 0
    best, kept = -np.inf, (problem.phi.copy(), problem.psi.copy())
    try:
        for _ in range(max_steps):
            weighted = int(pay[1] > pay[0])
            before, gaps, work = value, [], 0
            for side in (0, 1):
                rest, w, energy, gap = problem.flat_gradient(side)
                gaps.append(abs(gap) + energy / 2)
                norm, solves = energy, 1
                if weighted:
                    w, norm, solves = problem.weighted_gradient(side, rest)
                step = steps[weighted][side]
                problem.move(side, step.length, w)
                rise = problem.value() - value
                step.judge(rise, norm)
                work += 2 + solves
                if adaptive and not rise > 0:
                    problem.undo()
                else:
                    value += rise
            if not adaptive:
                step.length = max(step.length, _LEAST_STEP)
            scale = max(abs(value), problem.resolution)
            gap, risen = min(gaps) / scale, (value - before) / scale
            if adaptive or value > best:
                problem.gap = gap
            if value > best:
                best = value
                np.copyto(kept[0], problem.phi)
                np.copyto(kept[1], problem.psi)
            pay[weighted] = max(risen, tol / 20) / work
            pay[1 - weighted] *= 1.3  # what was not used is tried again one day
            norm = ("flat", "weighted")[weighted]
            entry = (max(problem.mu.shape), value, gap, energy**0.5, step.length, norm)
            for key, item in zip(RECORD, entry, strict=True):
                history[key].append(item)
            tick()
            idled = 0 if risen > tol / 20 else idled + 1
            if gap <= tol:
                return "converged"
            if idled == idle:
                below = min(gaps) <= problem.resolution
                return "converged" if below else "the value rises no more on this grid"
        return f"max_steps={max_steps} on the last grid"
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        problem.phi, problem.psi = kept


def _averaging(fine: int, coarse: int) -> csr_array:
    """Return the matrix that averages over coarse cells, cut cells by their overlap."""
    edges = np.arange(coarse + 1) * fine / coarse
    first = np.arange(coarse)[:, None] * fine // coarse
    cells = first + np.arange(-(-fine // coarse) + 1)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    overlap = np.where(cells < fine, np.maximum(overlap, 0.0), 0.0) * coarse / fine
    row = np.broadcast_to(np.arange(coarse)[:, None], cells.shape)
    return csr_array((overlap.ravel(), (row.ravel(), np.minimum(cells, fine - 1).ravel())), (coarse, fine))


def _interpolation(coarse: int, fine: int) -> csr_array:
    """Return the matrix of linear interpolation between centres of cells, extended at the ends."""
    at = (np.arange(fine) + 0.5) * coarse / fine - 0.5
    left = np.clip(np.floor(at).astype(int), 0, coarse - 2)
    right = at - left
    rows = np.arange(fine)
    return csr_array(
        (np.r_[1 - right, right], (np.r_[rows, rows], np.r_[left, left + 1])), shape=(fine, coarse)
    )


@jit
def weighted_laplacian(start, stop, rho, w, h, out):
    """Write -div(rho grad w) to `out`, with no flux through the edge and rho averaged on the faces."""
    n1, n2 = w.shape
    c1, c2 = 0.5 / h[0] ** 2, 0.5 / h[1] ** 2
    for i in range(start, stop):
        up, down = min(i + 1, n1 - 1), max(i - 1, 0)
        for j in range(1, n2 - 1):
            out[i, j] = c2 * (
                (rho[i, j] + rho[i, j + 1]) * (w[i, j] - w[i, j + 1])
                + (rho[i, j] + rho[i, j - 1]) * (w[i, j] - w[i, j - 1])
            )
        last = n2 - 1
        out[i, 0] = c2 * (rho[i, 0] + rho[i, 1]) * (w[i, 0] - w[i, 1])
        out[i, last] = c2 * (rho[i, last] + rho[i, last - 1]) * (w[i, last] - w[i, last - 1])
        for j in range(n2):
            out[i, j] += c1 * (
                (rho[i, j] + rho[up, j]) * (w[i, j] - w[up, j])
                + (rho[i, j] + rho[down, j]) * (w[i, j] - w[down, j])
            )
