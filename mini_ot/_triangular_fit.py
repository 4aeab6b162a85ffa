"""The coefficients of one component of a triangular map, and its degree, by likelihood."""

import numpy as np

from .maps import affine_map

_PRIOR_POINTS = 2000  # many, lest a hole between them be overlooked where a polynomial runs away
_PRIOR_SHARE, _PRIOR_SAMPLES = 3e-3, 15.0  # their weight: this share, or as much as so many samples
_STEPS = 100  # usually 5 to 20 suffice
_PATIENCE = 4  # degrees without a clear gain: on symmetric data every other one is in vain
_PER_COEFFICIENT = 10  # samples that the search asks for


def climb(found, k, family, tried, u, train, test, record, bar):
    """Put the best degree's component and coefficients into ``found[k]``; return why the search ended."""
    best, (component, coefficients), with_prior = None, found[k], _with_prior(train)
    reason = f"degree {tried[-1]} is the highest tried" if len(tried) > 1 else ""
    for degree in tried:
        new = family(degree)
        if best is not None and _PER_COEFFICIENT * new.count > len(train):
            reason = f"degree {degree} has too many coefficients for {len(train)} samples"
            break
        component, coefficients = new, component.raised(coefficients, new)
        if best is None:
            found[k] = component, coefficients  # filled in place, so that an interrupted fit counts
        ended = maximise_likelihood(component, with_prior, coefficients, 1e-6)
        reason = reason or ended
        on_train, on_test = (log_likelihoods(component, part, coefficients) for part in (train, test))
        record.append((degree, on_train.mean(), on_test.mean()))
        bar.update()
        if best is None or _clearly_positive(on_test - best):
            found[k], best = (component, coefficients), on_test
        if degree - found[k][0].degree >= _PATIENCE:
            reason = f"held-out likelihood has not risen for {_PATIENCE} degrees"
            break
    maximise_likelihood(found[k][0], _with_prior(u), found[k][1], 1e-7)
    return reason


def _with_prior(x):
    """Return the samples and points of the Gaussian with their moments, each with the weight of one point.

    The Gaussian counts a little, as a prior: f cannot run away where there are no samples, and for degree 1
    nothing changes.
    """
    normal = np.random.default_rng(0).standard_normal((_PRIOR_POINTS, x.shape[1]))
    share = min(_PRIOR_SHARE, _PRIOR_SAMPLES / len(x))
    return [(x, (1 - share) / len(x)), (affine_map(normal, x)(normal), share / _PRIOR_POINTS)]


def _clearly_positive(gains):
    gains = np.clip(gains, -3, 3)  # lest one far sample decide alone, or hide what all others say
    return gains.mean() > 2 * gains.std() / np.sqrt(len(gains))


def summed(records, found, units):
    """Sum the components' likelihoods degree by degree; one that has stopped counts as chosen."""
    history = {"degree": [], "training": [], "held_out": []}
    last = [[row for row in r if row[0] == part.degree] for r, (part, _) in zip(records, found, strict=True)]
    for i in range(max(map(len, records)) if all(last) else 0):
        rows = [r[i] if i < len(r) else chosen[0] for r, chosen in zip(records, last, strict=True)]
        for name, values in zip(history, zip(*rows, strict=True), strict=True):
            history[name].append(max(values) if name == "degree" else float(sum(values) + units))
    return history


def log_likelihoods(component, x, coefficients) -> np.ndarray:
    """Return log f' - f^2 / 2 at each row of `x`: up to a constant, log-likelihoods of a normal f."""
    value, slope = component.evaluate(x, coefficients)
    return np.log(slope) - 0.5 * value**2


def maximise_likelihood(component, parts, coefficients, tolerance: float) -> str:
    """Maximise the weighted log-likelihood by damped Gauss-Newton steps, in place; return why they ended.

    The matrix is that of f and log f' made linear in the coefficients, which at the true law is the Hessian.
    `parts` are pairs of points and the weight of each of them.
    """
    damping, loss = 1e-3, _loss(component, parts, coefficients)
    for _ in range(_STEPS):
        gradient, matrix = _quadratic_model(component, parts, coefficients)
        diagonal = np.diag(matrix.diagonal() + 1e-12)
        while damping < 1e8:
            trial = coefficients - np.linalg.solve(matrix + damping * diagonal, gradient)
            new = _loss(component, parts, trial)
            if new < loss:
                break
            damping *= 8
        else:
            return "converged to rounding"
        fall, loss, damping = loss - new, new, max(damping / 8, 1e-9)
        coefficients[:] = trial
        if fall < tolerance:
            return "converged"
    return f"all {_STEPS} steps done"


def _loss(component, parts, coefficients):
    with np.errstate(over="ignore"):  # then the step is refused
        return -sum(weight * log_likelihoods(component, x, coefficients).sum() for x, weight in parts)


def _quadratic_model(component, parts, coefficients):
    """Return gradient and Gauss-Newton matrix of the loss, summed over blocks that fit the cache."""
    gradient, matrix = np.zeros(component.count), np.zeros((component.count, component.count))
    rows = max(256, 100_000 // component.count)
    for x, weight in parts:
        for i in range(0, len(x), rows):
            (value, slope), jacobian = component.gradients(x[i : i + rows], coefficients)
            jacobian[1] /= slope[:, None]
            gradient += weight * (value @ jacobian[0] - jacobian[1].sum(axis=0))
            flat = jacobian.reshape(-1, component.count)
            matrix += weight * (flat.T @ flat)
    return gradient, matrix
