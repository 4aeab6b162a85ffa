"""What transports densities on grids elsewhere: entropic solvers, and POT's exact one on pooled cells.

Each is a function ``(mu, nu, setting)`` of two densities (n, n) on the unit square.  It returns W2^2, and a
function that returns the map at the centres of the cells, (m, m, 2).
The entropic values are debiased, and the maps are those of the debiased potentials.
"""

from functools import cache

import numpy as np

TINY = 1e-300


def centres(n: int) -> np.ndarray:
    """Return the (n, n, 2) centres of the cells of the unit square."""
    s = (np.arange(n) + 0.5) / n
    return np.stack(np.meshgrid(s, s, indexing="ij"), axis=-1)


def kernel(n: int, epsilon: float) -> np.ndarray:
    """Return exp(-(x - y)^2 / epsilon) along one axis; that of the plane is its product with itself."""
    s = (np.arange(n) + 0.5) / n
    return np.exp(-((s[:, None] - s) ** 2) / epsilon)


def entropic(a, b, K, epsilon, tol=1e-3):
    """Sinkhorn's iteration for |x - y|^2 with a separable kernel; return its value and second scaling."""
    v = np.ones_like(a)
    for step in range(1, 1001):
        u = a / np.maximum(K @ v @ K, TINY)
        new = b / np.maximum(K @ u @ K, TINY)
        v = np.sqrt(v * new) if a is b else new
        if step % 10 == 0 and abs(u * (K @ v @ K) - a).sum() < tol:
            break
    logs = (np.log(np.maximum(w, TINY) / np.maximum(p, TINY)) for w, p in ((u, a), (v, b)))
    return epsilon * sum((p * log).sum() for p, log in zip((a, b), logs, strict=True)), v


def sinkhorn_step(mu, nu, K):
    """Do the work of one step of `entropic`; a debiased divergence needs three of them."""
    for density in (mu, nu):
        density / (K @ density @ K)


def debiased_map(K, v, w):
    """Return the points plus the mean of the plan to nu minus that of mu's plan to itself."""
    x = centres(len(K))

    def mean(v):
        sums = np.stack([K @ (v * x[..., k]) @ K for k in (0, 1)], axis=-1)
        return sums / np.maximum(K @ v @ K, TINY)[..., None]

    return x + mean(v) - mean(w)


def numpy_sinkhorn(mu, nu, epsilon):
    a, b, K = mu / mu.sum(), nu / nu.sum(), kernel(len(mu), epsilon)
    (ab, v), (aa, w), (bb, _) = (entropic(*pair, K, epsilon) for pair in ((a, b), (a, a), (b, b)))
    return ab - (aa + bb) / 2, lambda: debiased_map(K, v, w)


@cache
def ott_solver(n: int, epsilon: float):
    """Compile OTT's Sinkhorn divergence; with kernels, as in the logarithms it is about 30 times slower."""
    import jax
    from ott.geometry.grid import Grid
    from ott.tools.sinkhorn_divergence import sinkhorn_divergence

    jax.config.update("jax_enable_x64", True)
    s = jax.numpy.asarray((np.arange(n) + 0.5) / n)
    settings = {"lse_mode": False, "threshold": 1e-3}

    @jax.jit
    def solve(a, b):
        value, out = sinkhorn_divergence(Grid, x=(s, s), epsilon=epsilon, a=a, b=b, solve_kwargs=settings)
        return value, out.potentials[0][1], out.potentials[1][1]

    return solve


def ott(mu, nu, epsilon):
    n = len(mu)
    value, *potentials = ott_solver(n, epsilon)(*(d.ravel() / d.sum() for d in (mu, nu)))
    v, w = (np.exp(np.asarray(g).reshape(n, n) / epsilon) for g in potentials)
    return float(value), lambda: debiased_map(kernel(n, epsilon), v, w)


def geomloss(mu, nu, scaling):
    """Divergence of images, blurred by 1.5 pixels: blurs much larger fail, and 1 pixel is slower."""
    import torch
    from geomloss._legacy.sinkhorn_images import sinkhorn_divergence

    torch.set_num_threads(1)
    a, b = (torch.from_numpy(d / d.sum())[None, None] for d in (mu, nu))
    f, g = sinkhorn_divergence(a, b, blur=1.5 / len(mu), scaling=scaling, potentials=True)
    value = 2 * float((a * f).sum() + (b * g).sum())  # its cost is |x - y|^2 / 2
    slopes = np.gradient(f[0, 0].numpy(), 1 / len(mu))
    return value, lambda: centres(len(mu)) - np.stack(slopes, axis=-1)


def pot(mu, nu, m):
    """POT has no solver for two densities on a grid, so this is its exact one on m x m pooled cells."""
    import ot

    a, b = (d.reshape(m, len(d) // m, m, -1).mean(axis=(1, 3)).ravel() for d in (mu, nu))
    x = centres(m).reshape(-1, 2)
    a, b = a / a.sum(), b / b.sum()
    plan, log = ot.emd(a, b, ot.dist(x, x), numItermax=10**7, log=True)
    return log["cost"], lambda: (plan @ x / np.maximum(a, TINY)[:, None]).reshape(m, m, 2)
