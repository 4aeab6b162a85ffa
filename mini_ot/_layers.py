"""Planar and radial layers in a row: forward, backward by hand, and Adam, over one batch.

Points are stored by coordinate, (d, n), so that the inner loops run along the batch and vectorise.
All parameters lie in one vector: shift and log scale of the first, diagonal affine map (d each), then a row
for each layer: u, w, b (2 d + 1 numbers) for a planar one, centre, log alpha, beta_hat (d + 2) for a radial.
"""

import numpy as np

from ._jit import fast_exp, jit

PLANAR, RADIAL = 0, 1
_LEAST = 1e-8  # of 1 + w . u_hat: below, rounding could fold the space
_LOGS_EVERY = 8  # layers whose determinants are multiplied before a logarithm is taken


def row_length(kind: int, dim: int) -> int:
    return 2 * dim + 1 if kind == PLANAR else dim + 2


@jit
def softplus(t):
    """log(1 + e^t) without overflow."""
    return max(t, 0.0) + np.log1p(np.exp(-abs(t)))


@jit
def sigmoid(t):
    e = np.exp(-abs(t))
    return (1.0 if t > 0 else e) / (1.0 + e)


@jit(fastmath=True)
def _dot(a, b):
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@jit
def corrected(u, w):
    """Return s = 1 + w . u_hat > 0 and u_hat = u + (s - 1 - w . u) w / |w|^2 with s = softplus(w . u)."""
    q = _dot(u, w)
    s = max(softplus(q), _LEAST)
    return s, u + (s - 1.0 - q) / _dot(w, w) * w


@jit
def _planar(row, z, out, t, det):
    """One planar layer: out = z + u_hat t with t = tanh(w . z + b), det *= t^2 + s (1 - t^2)."""
    d, n = z.shape
    w = row[d : 2 * d]
    s, u_hat = corrected(row[:d], w)
    for i in range(n):
        t[i] = row[2 * d]
    for j in range(d):
        for i in range(n):
            t[i] += w[j] * z[j, i]
    for i in range(n):
        e = fast_exp(-2.0 * abs(t[i]))
        t[i] = np.copysign((1.0 - e) / (1.0 + e), t[i])
    for i in range(n):
        det[i] *= t[i] * t[i] + s * (1.0 - t[i] * t[i])
    for j in range(d):
        for i in range(n):
            out[j, i] = z[j, i] + u_hat[j] * t[i]


@jit
def _planar_back(row, z, t, g, grad):
    """Turn `g`, the loss's gradient at the layer's images, into that at its points; fill `grad`.

    The loss counts minus the mean log-determinant.
    """
    d, n = z.shape
    u, w = row[:d], row[d : 2 * d]
    s, u_hat = corrected(u, w)
    for_s, a = 0.0, np.zeros(n)  # a: gradient in w . z + b
    for j in range(d):
        grad[j] = _dot(g[j], t)
        for i in range(n):
            a[i] += u_hat[j] * g[j, i]
    bend = np.empty(n)
    for i in range(n):
        h = 1.0 - t[i] * t[i]
        bend[i] = h / (t[i] * t[i] + s * h) / n
        a[i] = h * a[i] + 2.0 * (s - 1.0) * t[i] * bend[i]
    ones = np.ones(n)
    for_s = -_dot(bend, ones)
    grad[2 * d] = _dot(a, ones)
    # The chain rule through u_hat = u + k w, k = (s - 1 - q) / |w|^2, q = w . u
    q, norm, slope = _dot(u, w), _dot(w, w), sigmoid(_dot(u, w))
    k, along = (s - 1.0 - q) / norm, _dot(grad[:d], w)
    for_q = along * (slope - 1.0) / norm + for_s * slope
    for j in range(d):
        grad[d + j] = _dot(z[j], a) + k * (grad[j] - 2.0 * along / norm * w[j]) + for_q * u[j]
        for i in range(n):
            g[j, i] += w[j] * a[i]
    for j in range(d):
        grad[j] += for_q * w[j]


@jit
def _radial(row, z, out, r, det):
    """One radial layer: out = z + beta (z - c) / (alpha + r), beta = s - alpha, s = softplus(beta_hat)."""
    d, n = z.shape
    alpha, s = np.exp(row[d]), softplus(row[d + 1])
    for i in range(n):
        r[i] = 0.0
    for j in range(d):
        for i in range(n):
            r[i] += (z[j, i] - row[j]) ** 2
    for i in range(n):
        r[i] = np.sqrt(r[i])
        h = 1.0 / (alpha + r[i])
        for _ in range(d - 1):
            det[i] *= (s + r[i]) * h
        det[i] *= (r[i] * (r[i] + 2.0 * alpha) + s * alpha) * h * h
    for j in range(d):
        for i in range(n):
            out[j, i] = z[j, i] + (s - alpha) * (z[j, i] - row[j]) / (alpha + r[i])


@jit
def _radial_back(row, z, r, g, grad):
    d, n = z.shape
    alpha, s = np.exp(row[d]), softplus(row[d + 1])
    beta = s - alpha
    pull = np.zeros(n)  # g . (z - c), then the gradient in r over r
    for j in range(d):
        for i in range(n):
            pull[i] += g[j, i] * (z[j, i] - row[j])
    for_alpha, for_beta = 0.0, 0.0
    for i in range(n):
        h = 1.0 / (alpha + r[i])
        side = (d - 1) / (1.0 + beta * h) / n
        ahead = 1.0 / (1.0 + beta * alpha * h * h) / n
        shared = -beta * h * h * (pull[i] - side - 2.0 * alpha * h * ahead)
        for_beta += h * (pull[i] - side - alpha * h * ahead)
        for_alpha += shared - beta * h * h * ahead
        pull[i] = shared / max(r[i], 1e-300)
    grad[d] = alpha * (for_alpha - for_beta)
    grad[d + 1] = for_beta * sigmoid(row[d + 1])
    for j in range(d):
        total = 0.0
        for i in range(n):
            change = beta / (alpha + r[i]) * g[j, i] + pull[i] * (z[j, i] - row[j])
            total += change
            g[j, i] += change
        grad[j] = -total


@jit
def forward(kind, theta, x, path, extra, log_det):
    """Push the batch `x` (d, n); keep every layer's points in `path` (K + 1, d, n) and tanh or radius."""
    d, n = x.shape
    layers = len(path) - 1
    rows = theta[2 * d :].reshape(layers, (len(theta) - 2 * d) // max(layers, 1))
    total = 0.0
    for j in range(d):
        total += theta[d + j]
        scale = np.exp(theta[d + j])
        for i in range(n):
            path[0, j, i] = theta[j] + scale * x[j, i]
    log_det[:] = total
    det = np.ones(n)
    for k in range(layers):
        if kind == PLANAR:
            _planar(rows[k], path[k], path[k + 1], extra[k], det)
        else:
            _radial(rows[k], path[k], path[k + 1], extra[k], det)
        if k % _LOGS_EVERY == _LOGS_EVERY - 1 or k == layers - 1:
            for i in range(n):
                log_det[i] += np.log(det[i])
                det[i] = 1.0


@jit
def backward(kind, theta, x, path, extra, g, grad):
    """Fill `grad` with the gradient of the loss, whose part at the images of the flow is `g` (d, n).

    The loss is minus the mean log-determinant, plus what `g` is the gradient of; `g` is overwritten.
    """
    d, layers = len(x), len(path) - 1
    size = (len(theta) - 2 * d) // max(layers, 1)
    rows, slopes = theta[2 * d :].reshape(layers, size), grad[2 * d :].reshape(layers, size)
    for k in range(layers - 1, -1, -1):
        if kind == PLANAR:
            _planar_back(rows[k], path[k], extra[k], g, slopes[k])
        else:
            _radial_back(rows[k], path[k], extra[k], g, slopes[k])
    for j in range(d):
        grad[j], grad[d + j] = g[j].sum(), np.exp(theta[d + j]) * _dot(g[j], x[j]) - 1.0


@jit
def adam(theta, grad, mean, square, step, rate):
    """One step of Adam, number `step` from 1, with the usual 0.9, 0.999 and 1e-8."""
    for i in range(len(theta)):
        mean[i] += 0.1 * (grad[i] - mean[i])
        square[i] += 0.001 * (grad[i] * grad[i] - square[i])
        unbiased = square[i] / (1.0 - 0.999**step)
        theta[i] -= rate * mean[i] / (1.0 - 0.9**step) / (np.sqrt(unbiased) + 1e-8)


@jit
def solve_planar(right, s):
    """Solve a + (s - 1) tanh(a) = right for each number, in place.

    Newton's method in a shrinking bracket, which is halved wherever Newton would leave it or is slow: left
    alone, it can go round in circles.
    """
    for i in range(len(right)):
        low, high = right[i] - abs(s - 1.0), right[i] + abs(s - 1.0)
        a, last = right[i], high - low
        for _ in range(200):
            t = np.tanh(a)
            miss = a + (s - 1.0) * t - right[i]
            if miss > 0:
                high = a
            else:
                low = a
            move = miss / (t * t + s * (1.0 - t * t))
            if not (low <= a - move <= high and 2.0 * abs(move) <= last):
                move = a - 0.5 * (low + high)
            a -= move
            last = abs(move)
            if last <= 1e-15 * (1.0 + abs(a)):
                break
        right[i] = a
