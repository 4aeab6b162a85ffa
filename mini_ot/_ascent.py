"""The dual problem of optimal transport on one grid, and what carries it from a coarse grid to a fine one.

Everything is in coordinates that start at the box's lower corner; densities have mean one.
"""

import numpy as np
from scipy import fft
from scipy.sparse import csr_array

from ._jit import num_threads
from ._push import push, scratch
from .conjugate import conjugate

_LOW = np.zeros(2)


class DualProblem:
    """Two densities on a grid with the potentials phi and psi, both convex, that are being sought.

    The dual value, half the squared distance at its maximum, is the mean of
    ``|x|^2 / 2 (mu + nu) - phi mu - psi nu``.
    """

    def __init__(self, mu, nu, size):
        self.mu, self.nu, self.size = mu, nu, size
        n1, n2 = mu.shape
        h = size / mu.shape
        x1, x2 = (np.arange(n1) + 0.5) * h[0], (np.arange(n2) + 0.5) * h[1]
        self.half_square = (x1[:, None] ** 2 + x2**2) / 2
        self._shift = np.vdot(self.half_square, mu + nu) / mu.size
        laplacian = ((2 - 2 * np.cos(np.pi * np.arange(n1) / n1)) / h[0] ** 2)[:, None] + (
            2 - 2 * np.cos(np.pi * np.arange(n2) / n2)
        ) / h[1] ** 2
        laplacian[0, 0] = np.inf  # the mean of a potential is free
        self._inverse_laplacian = (1 / laplacian).astype(np.float32)
        self._work, self._rho, self._buffers = np.empty_like(mu), np.empty_like(mu), scratch(mu.shape)
        self._workers = 1 if mu.size < 200 * 200 else num_threads()
        self.phi, self.psi = self.half_square.copy(), self.half_square.copy()

    def value(self) -> float:
        """Return the dual value of the potentials."""
        return self._shift - (np.vdot(self.phi, self.mu) + np.vdot(self.psi, self.nu)) / self.mu.size

    def conjugate(self, phi, out) -> None:
        conjugate(phi, _LOW, self.size, self._work, out)

    def inverse_laplacian(self, r) -> np.ndarray:
        """Solve -Laplace w = r with no flux through the edge, by cosine transforms.

        Single precision is enough for a direction of ascent.
        """
        r = fft.dctn(r.astype(np.float32), norm="ortho", workers=self._workers)
        r *= self._inverse_laplacian
        return fft.idctn(r, norm="ortho", workers=self._workers, overwrite_x=True)

    def gradient(self, side: int) -> tuple[np.ndarray, float, float]:
        """Return the H^1 gradient for phi (side 0) or psi (side 1), its squared norm, and the gap there.

        The gap is what the map's own cost exceeds the dual value by; both agree at the optimum.
        """
        phi, psi, mu, nu = self._seen_from(side)
        push(nu, psi, _LOW, self.size, self._buffers, self._rho)
        rest = self._rho - mu
        w = self.inverse_laplacian(rest)
        gap = np.vdot(self.half_square - phi, rest) / rest.size
        return w, float(np.vdot(w, rest)) / rest.size, float(gap)

    def move(self, side: int, step: float, direction) -> None:
        """Add a step to one potential, then make both each other's transform, which never lowers the value."""
        phi, psi, _, _ = self._seen_from(side)
        phi += step * direction
        self.conjugate(phi, psi)
        self.conjugate(psi, phi)

    def start_from(self, coarse: "DualProblem") -> None:
        """Take over the potential of a coarser grid."""
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
